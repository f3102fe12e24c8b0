"""What one process knows of the books in Redis, and what it says to them. No I/O.

A ``Mirror`` keeps the process's own books warm beside the shared ones, with the same slots, for the time that Redis
is away; it knows by id what the process holds, for the case that Redis must be told again; and it writes the
script's arguments and reads its answers.
"""

from __future__ import annotations

import math
from collections import deque
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b2b_async._buckets import Buckets
    from b2b_async._headers import QuotaHeaders
    from b2b_async._messages import Lane
    from b2b_async.quota import LeaseWindow, Ticket

Verb = Literal["acquire", "report", "unsent", "tell"]

_TOO_MANY_REQUESTS = 429
_FLIGHT, _NOTHING = -1.0, 0.0
_HEAD_VALUES, _BOOK_VALUES = 5, 10


def script() -> str:
    """Give the Lua script."""
    return resources.files("b2b_async.redis").joinpath("books.lua").read_text("utf-8")


@attrs.frozen
class SharedBook:
    """One quota's books in Redis, as the script's answer shows them; the fields are those of ``answer`` there."""

    epoch: float
    limit: float
    window: float
    active: float
    foreign: float
    left: float
    held_for: float
    next_in: float
    completed: float
    released: float

    @property
    def next_seconds(self) -> float | None:
        """Seconds until an interactive call could have a slot; None if only an answer under way can tell."""
        return None if self.next_in < 0 else self.next_in


@attrs.frozen
class Answer:
    """What the script answers."""

    granted: bool
    """Whether the slots were granted."""
    wait: float
    """Seconds until it may be worth asking again; infinity for "after the next report"."""
    of_endpoint: bool
    """Whether the endpoint's own quota says so."""
    processes: int
    """How many processes take part."""
    now: float
    """The time on the clock of the books."""
    books: tuple[SharedBook, ...]
    """The quotas that were asked."""


@attrs.define(eq=False)
class Held:
    """Slots of one request of this process, as Redis must know them."""

    id: str
    """What they are known by."""
    routes: tuple[str, ...]
    """Whose quotas: "" for the store's, then perhaps the endpoint."""
    until: float | None = None
    """When they come back; None while the request is under way, 0 if they are free and Redis may not know that."""
    granted: Answer | None = None
    """What Redis said when it granted them; None if they were granted here."""
    forget_at: float = 0.0
    """When nobody needs to know any more."""


@attrs.frozen
class Call:
    """One run of the script."""

    verb: Verb
    """What is to be done."""
    held: Held
    """With which slots."""
    lane: Lane = "interactive"
    """For whom."""
    route: str = ""
    """For which endpoint, whether it has a quota of its own or not."""
    arguments: tuple[object, ...] = ()
    """What the verb needs."""


class Mirror:
    """One process's side of the shared books.

    Args:
        buckets: The process's own books.
        prefix: What the names of the keys begin with.
        process: The name of the process.
        attempt: Seconds after which the slot of a request counts as given up.
        uniform: A source of random numbers in [0, 1).
    """

    def __init__(
        self, buckets: Buckets, *, prefix: str, process: str, attempt: float, uniform: Callable[[], float]
    ) -> None:
        """Start without any slot."""
        self._buckets = buckets
        self._prefix = prefix
        self._process = process
        self._attempt = attempt
        self._uniform = uniform
        self._number = 0
        self._held: dict[Ticket, Held] = {}
        self._books: dict[str, LeaseWindow] = {}
        self._ended: deque[Held] = deque()
        self.seen: dict[str, SharedBook] = {}
        """The shared books at the last word from Redis, the store's as "" and the endpoints'."""

    # -- what is to be said ------------------------------------------------------------------------------------

    def ask(self, lane: Lane, route: str) -> Call:
        """Ask for the slots of a request."""
        return Call("acquire", self._new(route), lane, route)

    def report(self, ticket: Ticket, now: float, status: int | None, headers: QuotaHeaders) -> Call | None:
        """Give back the slots of a request that was answered with *status*, or given up (None); once."""
        held = self._held.pop(ticket, None)
        if held is None:
            return None
        buckets, route = self._buckets, ticket.route
        sizes = {name: self._book(name).size for name in held.routes}
        subject, headers = buckets.report(ticket, now, status, headers)
        stacked = route in buckets.endpoints and len(held.routes) == 1
        if stacked:
            held.routes = ("", route)
        known = () if held.granted is None else held.granted.books
        arguments: list[object] = []
        for place, name in enumerate(held.routes):
            if subject == ("endpoint" if name else "store"):
                event = "stacked" if name and stacked else "heard"
            else:
                event = "seen" if subject == "endpoint" and status != _TOO_MANY_REQUESTS else "settled"
            arguments.append(event)
            if held.granted is not None and place < len(known):
                arguments += [held.granted.now, known[place].completed, known[place].released]
            else:
                arguments += [0, 0, 0]
            size = self._book(name).size
            arguments += [status or 0, *map(_or_minus, (headers.remaining, headers.resets_after, headers.retry_after))]
            arguments += size if size != sizes.get(name, size) else (0, 0.0)
        if status != _TOO_MANY_REQUESTS or subject != "store":
            held.until = buckets.store.lease_end(now, given_up=status is None)
        self._end(held, now)
        return Call("report", held, arguments=tuple(arguments))

    def unsent(self, ticket: Ticket, now: float) -> Call | None:
        """Give back the slots of a request that never left; once."""
        held = self._held.pop(ticket, None)
        if held is None:
            return None
        self._buckets.unsent(ticket)
        self._end(held, now)
        return Call("unsent", held)

    def tell(self, now: float) -> list[Call]:
        """Tell all that this process holds, for each quota."""
        calls: list[Call] = []
        for route in ("", *self._buckets.endpoints):
            told: list[object] = []
            for held in (*self._ended, *self._held.values()):
                if route in held.routes:
                    told += [held.id, _FLIGHT if held.until is None else max(_NOTHING, held.until - now)]
            if told or not route:
                calls.append(Call("tell", Held("", (route,)), arguments=tuple(told)))
        return calls

    def write(self, call: Call, time: float | None) -> tuple[list[str], list[str]]:
        """Give the keys and arguments of *call*; *time* is None for the server's clock."""
        keys = [f"{self._prefix}:processes"]
        terms: list[object] = []
        for route in call.held.routes:
            name = f"{self._prefix}:{route or 'store'}"
            keys += [name, f"{name}:leases", f"{name}:flights"]
            terms += self._book(route).terms
        head = (call.verb, "" if time is None else time, self._process, call.lane, call.held.id)
        more = (self._attempt, self._uniform(), len(call.held.routes))
        return keys, [_text(value) for value in (*head, *more, *terms, *call.arguments)]

    # -- what was answered -------------------------------------------------------------------------------------

    def read(self, call: Call, values: Iterable[Any], now: float) -> Answer:
        """Read an answer, and take over what it says of limits and windows."""
        numbers = [float(value) for value in values]
        granted, wait, of_endpoint, processes, time = numbers[:_HEAD_VALUES]
        starts = range(_HEAD_VALUES, len(numbers), _BOOK_VALUES)
        books = tuple(SharedBook(*numbers[start : start + _BOOK_VALUES]) for start in starts)
        for route, book in zip(call.held.routes, books, strict=True):
            self.seen[route] = book
            self._book(route).resize(now, int(book.limit), book.window)
        return Answer(granted == 1, math.inf if wait < 0 else wait, of_endpoint == 1, int(processes), time, books)

    def granted(self, call: Call, answer: Answer, now: float) -> Ticket:
        """Take over the slots that Redis has granted."""
        call.held.granted = answer
        ticket = self._buckets.adopt(now, call.lane, call.route)
        self._held[ticket] = call.held
        return ticket

    def lost(self, call: Call, now: float) -> None:
        """Give up *call*, whose answer got lost: its slots may have been granted, and must be free."""
        self._end(call.held, now)

    def granted_here(self, ticket: Ticket) -> None:
        """Take over slots that the process's own books have granted."""
        self._held[ticket] = self._new(ticket.route)

    # -- inside ------------------------------------------------------------------------------------------------

    def _new(self, route: str) -> Held:
        self._number += 1
        return Held(f"{self._process}:{self._number}", ("", route) if route in self._buckets.endpoints else ("",))

    def _book(self, route: str) -> LeaseWindow:
        if not route:
            return self._buckets.store
        # One that was closed meanwhile may still have slots out.
        book = self._books[route] = self._buckets.endpoints.get(route) or self._books[route]
        return book

    def _end(self, held: Held, now: float) -> None:
        if held.until is None:
            held.until = _NOTHING
        held.forget_at = held.until or now + self._attempt
        self._ended.append(held)
        while self._ended[0].forget_at <= now:
            self._ended.popleft()


def _or_minus(value: float | None) -> float:
    return -1.0 if value is None else float(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(float(value))  # type: ignore[arg-type]
