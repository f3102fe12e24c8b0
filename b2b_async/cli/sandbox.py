"""``b2b-async sandbox``: a local, pretend B2B Edition to try things on."""

from __future__ import annotations

import asyncio
import contextlib
import signal

import click

from b2b_async.cli._common import Exit, refuse
from b2b_async.sandbox import FAULTS, Faults, Sandbox, Store

_LEDGER_SIZE = 1000
"""Entries of the ledger that are kept; the command shows only how many requests arrived."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--quota", default="150/60s", show_default=True, help="As requests/seconds.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same store and faults.")
@click.option("--companies", type=click.IntRange(1), default=100, show_default=True)
@click.option("--users", type=click.IntRange(1), default=10, show_default=True, help="Buyers of each company.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=RATE", help=f"503=0.1, for example; of {', '.join(FAULTS)}."
)
@click.option("--latency", type=click.FloatRange(0), default=0.0, show_default=True, help="Seconds for each answer.")
@click.option(
    "--lag", type=click.FloatRange(0), default=0.0, show_default=True, help="Seconds until what is registered shows up."
)
def sandbox(
    *, port: int, quota: str, seed: int, companies: int, users: int, faults: tuple[str, ...], latency: float, lag: float
) -> None:
    """Run a pretend B2B Edition on this machine until Ctrl-C."""
    try:
        rates = dict(map(_rate, faults))
        server = Sandbox(
            Store(companies, users, seed=seed),
            quota=quota,
            faults=Faults(rates, seed=seed),
            port=port,
            latency=latency,
            lag=lag,
            ledger_size=_LEDGER_SIZE,
        )
        asyncio.run(_serve(server))
    except ValueError as error:
        refuse("sandbox", Exit.USAGE, [str(error)], as_json=False)
    except OSError as error:
        refuse("sandbox", Exit.USAGE, [f"cannot listen on port {port}: {error.strerror}"], as_json=False)


def _rate(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        message = f"--fault {text}: write NAME=RATE, for example 503=0.1"
        raise ValueError(message) from None


async def _serve(server: Sandbox) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is a KeyboardInterrupt
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with server:
        first = Store.FIRST_CUSTOMER
        last, orders = first + len(server.store.users) - 1, list(server.store.orders)
        click.echo(
            f"Sandbox with companies 1 to {len(server.store.companies)}, customers {first} to {last} "
            f"and their BigCommerce orders {orders[0]} to {orders[-1]}; Ctrl-C ends it. To use it:"
        )
        click.echo(f"export B2B_BASE_URL={server.url} B2B_ACCESS_TOKEN={server.access_token}")
        click.echo(f"export B2B_STORE_HASH={server.store_hash} B2B_LEGACY_TOKEN={server.legacy_token}")
        await stopped.wait()
        log = server.throttle
        click.echo(f"{server.arrived} requests arrived, {log.accepted} accepted, {log.refused} refused.")
