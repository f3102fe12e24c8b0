"""The truth test: what the client says of each call, against the sandbox's ledger of what really happened.

Every kind of fault is mixed into half PUTs and half POSTs, on a clock that jumps. Used small by ``test_truth.py`` and
large by ``benchmarks/truth.py``.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
from helpers import unknowns

from b2b_async import (
    B2BError,
    Client,
    Credentials,
    DeadlineExceededError,
    Quota,
    QuotaWaitTooLongError,
    RateLimiter,
    RetryPolicy,
    Timeouts,
    v2,
    v3,
)
from b2b_async.sandbox import FAULTS, Entry, Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from b2b_async.events import OutcomeUnknown

CALL = 60.0
"""Seconds that a call has."""
LATE = 0.05
"""Seconds past its time that a call may end, for scheduling."""
LATENCY = 0.015
"""Seconds for each answer: more than a late copy of the answer before needs."""
PERSISTENT = RetryPolicy(attempts=10_000, internal_errors=10_000, throttled=10_000, budget=1_000_000)
"""Only the call's time ends its attempts."""

_DISPLACED, _NEAR = "more answers than requests", 64
"""What a call says whose answer may be another's, and how many entries before its own that one may be."""
_DONE = frozenset({"succeeded", "applied"})
_UNDONE = frozenset({"rejected", "not_sent", "cancelled"})
# What leaves a sender without an answer that says what was done.
_HIDING = frozenset(FAULTS) - {
    "429",
    "429-retry-after",
    "429-core",
    "429-bare",
    "503-delay",
    "envelope-400",
    "envelope-429",
    "redirect",
    "content-type",
}


@attrs.frozen(kw_only=True)
class Told:
    """What the client said of one call."""

    method: str
    path: str
    outcome: str
    error: BaseException | None
    seconds: float
    closed: bool = False


@attrs.define
class Report:
    """What the comparison found; ``examples`` show the first faults."""

    calls: int = 0
    requests: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    lies: int = 0
    """Calls whose outcome was another than the one that was told."""
    doubles: int = 0
    """Creations that were sent although they had been carried out."""
    foreign: int = 0
    """Errors that are not the client's own."""
    late: int = 0
    """Calls that ended past their time."""
    unjustified: int = 0
    """Calls told as unknown, though no answer was hidden, or though there was time and a way to find out."""
    refused_later: int = 0
    """PUTs of which one attempt was lost and a later one refused for good: honestly unknown before their time."""
    missed: int = 0
    """Creations told as unknown whose last look found nothing, though they had been carried out long before."""
    unknown_but_done: int = 0
    """Calls told as unknown that were carried out."""
    faulty: int = 0
    """Requests that met a fault."""
    examples: list[str] = attrs.field(factory=list)

    @property
    def clean(self) -> bool:
        """Whether every word was true, and every call in time."""
        return not (self.lies or self.doubles or self.foreign or self.late or self.unjustified or self.missed)

    @property
    def worth(self) -> bool:
        """Whether there was anything to judge: most calls succeeded, faults were met, some creations stayed unknown."""
        done = self.outcomes["PUT succeeded"] + self.outcomes["POST succeeded"]
        return done > 0.8 * self.calls and self.faulty > 0.05 * self.requests and self.outcomes["POST unknown"] > 0


_OUTCOMES = ("succeeded", "applied", "rejected", "not_sent", "unknown")
_CANCELLED = ("cancelled", "cancelled, unknown", "cancelled, applied")
_WRONG = ("lies", "doubles", "foreign", "late", "unjustified", "missed")


def rows(report: Report) -> list[tuple[str, int]]:
    """Give all counts of a report by name, for a table."""
    counts = [("requests at the server", report.requests)]
    counts += [
        (f"{method} {outcome}", report.outcomes[f"{method} {outcome}"])
        for method in ("PUT", "POST")
        for outcome in (*_OUTCOMES, *_CANCELLED)
    ]
    names = (*_WRONG, "refused_later", "unknown_but_done")
    return counts + [(name.replace("_", " "), getattr(report, name)) for name in names]


class FlakyResolver(aiohttp.abc.AbstractResolver):
    """Finds this machine, most of the time: where it does not, nothing can have been sent."""

    def __init__(self, rate: float, seed: int) -> None:
        """Set how often it fails."""
        self._rate = rate
        self._random = random.Random(seed)

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        """Look a name up."""
        if self._random.random() < self._rate:
            raise OSError(None, "no such name")
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is open."""


def filled_store(calls: int) -> Store:
    """Make a store in which every call has a customer of its own, so that paths tell calls apart."""
    store = Store(10, -(-calls // 10))
    for number in range(1, calls, 2):
        customer = Store.FIRST_CUSTOMER + number
        store.add_order(Order(str(1_000_000 + number), customer, Decimal("1.10")))
    return store


async def ask(
    client: Client, store: Store, number: int, *, turns: int | None = None, closed: Client | None = None
) -> Told:
    """Make call *number*: a PUT or a POST, by turns; cancel it after so many turns of the loop, if any.

    With *closed*, that client makes the call and is closed then, instead.

    A cancelled call has no error, but ``on_unknown`` has heard of it, or it was not carried out.
    """
    clock = asyncio.get_running_loop().time
    heard: list[OutcomeUnknown] = []
    client = (closed or client).with_options(listeners=[unknowns(heard)])
    customer = Store.FIRST_CUSTOMER + number
    company = store.users[customer].company_id or ""
    call: Awaitable[Any]
    if number % 2:
        method, path = "POST", f"/api/v2/io/companies/{company}/user/{customer}/orders"
        order = str(1_000_000 + number)
        call = v2.orders.create_order(client, company, customer, order_id=order, total_inc_tax=Decimal("1.10"))
    else:
        method, path = "PUT", f"/api/v3/io/customers/{customer}/orders/b2b"
        call = v3.orders.assign_customer_orders(client, customer)
    started, error, outcome = clock(), None, "succeeded"
    try:
        if turns is None:
            await call
        elif closed is not None:
            await closed_after(closed, call, turns)
        else:
            await cancelled_after(call, turns)
    except B2BError as caught:
        error, outcome = caught, caught.outcome
        if (outcome == "unknown") != bool(heard):
            outcome = "foreign"  # the hook hears of just the unknown ones
    except asyncio.CancelledError:
        outcome = heard[0].outcome if heard else "cancelled"
    except Exception as caught:  # noqa: BLE001 -- to be counted, whatever it is
        error, outcome = caught, "foreign"
    seconds = clock() - started
    return Told(method=method, path=path, outcome=outcome, error=error, seconds=seconds, closed=closed is not None)


async def cancelled_after(call: Awaitable[Any], turns: int) -> None:
    """Cancel *call* after so many turns of the loop, wherever it is by then, unless it has ended before."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    task.cancel()
    await task


async def closed_after(client: Client, call: Awaitable[Any], turns: int) -> None:
    """Close *client* after so many turns of the loop, whatever *call* has come to by then."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    await client.close()
    await task


async def run(calls: int, concurrency: int, one: Callable[[int], Awaitable[Told]]) -> list[Told]:
    """Make all calls, so many at once."""
    numbers, told = iter(range(calls)), list[Told]()

    async def work() -> None:
        for number in numbers:
            told.append(await one(number))

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return told


def judge(
    told: Iterable[Told],
    ledger: Iterable[Entry],
    *,
    call: float = CALL,
    persistent: bool = True,
    hidden: Callable[[Told, list[Entry]], bool] | None = None,
) -> Report:
    """Compare what was told with what happened.

    Args:
        told: What the client said.
        ledger: What the server did.
        call: Seconds that each call had.
        persistent: Whether only its time ends a call's attempts, so that a PUT is unknown only at its deadline.
        hidden: Whether a fault kept what was done from the caller; None asks the ledger.
    """
    report, by_path = Report(), defaultdict[str, list[Entry]](list)
    copies: set[int] = set()
    for entry in ledger:
        if entry.fault is not None and entry.fault.startswith("answered-twice"):
            copies.update(range(entry.number, entry.number + _NEAR))
        report.requests += 1
        report.faulty += entry.fault is not None
        by_path[entry.path].append(entry)
    for one in told:
        report.calls += 1
        entries = [entry for entry in by_path[one.path] if entry.method == one.method]
        faults = _faults_of(one, entries, call)
        under_way = one.error is None and one.outcome in {"unknown", "applied"}  # and cancelled
        if one.outcome == "unknown" and not under_way:
            over = one.closed or one.seconds >= call
            displaced = _DISPLACED in str(one.error) and any(entry.number in copies for entry in entries)
            if not (
                (one.closed or displaced or (hidden or _hidden)(one, entries))
                and (over or _justified(one, persistent=persistent))
            ):
                faults.append("unjustified")
            report.refused_later += _refused_later(one)
            report.unknown_but_done += any(entry.applied for entry in entries)
        for fault in faults:
            setattr(report, fault, getattr(report, fault) + 1)
        report.outcomes[f"{one.method} {'cancelled, ' if under_way else ''}{one.outcome}"] += 1
        if faults and len(report.examples) < 10:
            report.examples.append(f"{faults} {one} {entries}")
    return report


def _faults_of(one: Told, entries: list[Entry], call: float) -> list[str]:
    applied = sum(entry.applied for entry in entries)
    found = []
    if one.outcome == "foreign":
        found.append("foreign")
    if (one.outcome in _DONE and not applied) or (one.outcome in _UNDONE and applied):
        found.append("lies")
    if one.outcome == "not_sent" and entries:
        found.append("lies")
    if one.method == "POST" and (applied > 1 or any(entry.repeated for entry in entries)):
        found.append("doubles")
    verifications = getattr(one.error, "verifications", ())
    if verifications and verifications[-1].result == "absent" and applied:
        found.append("missed")
    if one.seconds > call + LATE:
        found.append("late")
    return found


def _hidden(_one: Told, entries: list[Entry]) -> bool:
    return any(entry.fault in _HIDING or entry.status is None for entry in entries)


def _justified(one: Told, *, persistent: bool) -> bool:
    """Whether a look-up found nothing, or the time was over."""
    error: Any = one.error
    over = isinstance(error, DeadlineExceededError | QuotaWaitTooLongError) or error.not_retried == "deadline"
    if one.method == "POST":
        return over or bool(getattr(error, "verifications", ()))
    return over or not persistent or _refused_later(one)


def _refused_later(one: Told) -> bool:
    error: Any = one.error
    return one.method == "PUT" and bool(error.attempts) and error.attempts[-1].outcome == "rejected"


async def measure(
    calls: int,
    *,
    seed: int,
    part: float = 0.25,
    concurrency: int = 32,
    cancelled: float = 0.05,
    closed: float = 0.02,
    kinds: Iterable[str] = FAULTS,
    retry: RetryPolicy = PERSISTENT,
) -> Report:
    """Make *calls* against a sandbox in which *part* of all requests meet a fault, each of *kinds* as often.

    A part of the calls, *cancelled*, is cancelled at a random moment; the clients of another part are *closed*.
    """
    random.seed(seed)  # the client's jitter comes from there
    dice = random.Random(seed)
    # A call that meets no fault takes about twelve turns of the loop.
    turns = [dice.choice((*range(12), 20, 40)) if dice.random() < cancelled + closed else None for _ in range(calls)]
    closing = [dice.random() < closed / (cancelled + closed) for _ in range(calls)]
    kinds = tuple(kinds)
    mixed = dict.fromkeys(kinds, part / len(kinds))
    store = filled_store(calls)
    # What is slow is carried out after its sender has given up, and an order shows up in look-ups after a while.
    faults = Faults(mixed, seed=seed, slow_seconds=7)
    async with Sandbox(store, quota="50000/1s", faults=faults, lag=0.7, latency=LATENCY) as sandbox:
        resolver = FlakyResolver(part / 5, seed)
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, limit=concurrency)
        options: dict[str, Any] = {
            "credentials": Credentials(sandbox.access_token, sandbox.store_hash, sandbox.legacy_token),
            "limiter": RateLimiter(Quota(50_000, 1.0)),
            "retry": retry,
            "timeout": Timeouts(call=CALL, attempt=5, connect=2),
        }
        url = sandbox.url.replace("127.0.0.1", "localhost")

        async def one(number: int) -> Told:
            if turns[number] is None or not closing[number]:
                return await ask(client, store, number, turns=turns[number])
            async with Client(base_url=sandbox.url, **options) as other:
                return await ask(other, store, number, turns=turns[number], closed=other)

        async with (
            aiohttp.ClientSession(connector=connector) as session,
            Client(base_url=url, session=session, **options) as client,
        ):
            told = await run(calls, concurrency, one)
        return judge(told, sandbox.ledger, persistent=retry is PERSISTENT)
