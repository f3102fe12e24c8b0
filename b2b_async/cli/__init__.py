"""The command line: words become calls; nothing else.

Exit status: 0 all succeeded, 1 some failed or unknown, 2 wrong usage or bad input (nothing was sent),
3 stopped early (run it again to go on), 4 fatal (credentials, configuration).
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from b2b_async._version import __version__
from b2b_async.cli import _net
from b2b_async.cli.assign import assign
from b2b_async.cli.check import check
from b2b_async.cli.create_orders import create_orders
from b2b_async.cli.demo import demo
from b2b_async.cli.journals import export, report, status
from b2b_async.cli.resources import companies, orders, users
from b2b_async.cli.run import run
from b2b_async.cli.sandbox import sandbox

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Commands(click.Group):
    """Commands that end in words and with an exit status, whatever ends them."""

    def main(  # type: ignore[override]  # it always exits
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **options: Any,  # noqa: ANN401 -- those of click
    ) -> NoReturn:
        """Run the command that the words ask for, and exit."""
        words = list(sys.argv[1:] if args is None else args)
        call = partial(super().main, words, prog_name or "b2b-async", **{**options, "standalone_mode": False})
        sys.exit(_net.status_of(call, words))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="b2b-async")
def commands() -> None:
    """Work with BigCommerce B2B Edition from the command line.

    Credentials come from the environment: B2B_ACCESS_TOKEN and B2B_STORE_HASH for v3, B2B_LEGACY_TOKEN for v2,
    B2B_BASE_URL for another address than the vendor's.

    Exit status: 0 all succeeded, 1 some failed or unknown, 2 wrong usage or bad input (nothing was sent),
    3 stopped early, or its output could not be written (run it again to go on), 4 fatal (credentials).
    """


for _command in (demo, assign, create_orders, run, orders, users, companies, check, status, export, report, sandbox):
    commands.add_command(_command)
