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

Verb = Literal["acquire", "report", "unsent", "tell", "watch"]

_TOO_MANY_REQUESTS = 429
_NOTHING = 0.0
_HEAD_VALUES, _BOOK_VALUES = 6, 13
_TOLD_AT_ONCE = 500
_JUMP = 0.05
"""Seconds by which the clock of Redis may differ from this process's more than the answers explain."""
_LONGEST_LEASE = 1.1
"""Windows for which a slot is held after the answer, at most."""


def script() -> str:
    """Give the Lua script."""
    return resources.files("b2b_async.redis").joinpath("books.lua").read_text("utf-8")


@attrs.frozen
class SharedBook:
    """One quota's books in Redis, as the script's answer shows them; the fields are those of ``answer`` there."""

    epoch: float
    version: float
    limit: float
    window: float
    active: float
    foreign: float
    left: float
    held_for: float
    next_in: float
    completed: float
    released: float
    claimed_limit: float
    claimed_window: float

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
    earliest: float
    """Seconds before which there can be no slot."""
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
    since: float = 0.0
    """When they were granted."""
    until: tuple[float, ...] | None = None
    """When each comes back; None while the request is under way, 0 if it is free and Redis may not know that."""
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
        processes: How many processes share the quota, at least.
    """

    def __init__(
        self,
        buckets: Buckets,
        *,
        prefix: str,
        process: str,
        attempt: float,
        uniform: Callable[[], float],
        processes: int = 1,
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
        self._epochs: dict[str, float] = {}
        self._doubtful: dict[str, float] = {}  # epochs that somebody may have granted something outside of
        self._least_processes = processes
        self._seen_processes = 1  # the most in the last window
        self._processes_at = -math.inf
        self._clock: tuple[float, float] | None = None  # bounds of the clock of Redis, less that of this process
        self._clock_at = -math.inf
        self._clock_jumped = False
        self._ended: deque[Held] = deque()
        self.seen: dict[str, SharedBook] = {}
        """The shared books at the last word from Redis, the store's as "" and the endpoints'."""

    @property
    def processes(self) -> int:
        """The number of processes that share the quota: the most that were seen in the last window."""
        return max(self._least_processes, self._seen_processes)

    # -- what is to be said ------------------------------------------------------------------------------------

    def ask(self, lane: Lane, route: str) -> Call:
        """Ask for the slots of a request."""
        return Call("acquire", self._new(route), lane, route)

    def watch(self) -> Call:
        """Ask whether the shared state still knows what this process holds."""
        return Call("watch", Held("", ("",)))

    def holds(self, now: float) -> bool:
        """Return whether this process holds a slot, or may hold one by what Redis knows."""
        while self._ended and self._ended[0].forget_at <= now:
            self._ended.popleft()
        return bool(self._held or self._ended)

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
        said = (status or 0, *map(_or_minus, (headers.remaining, headers.resets_after, headers.retry_after)))
        arguments: list[object] = []
        until: list[float] = []
        for place, name in enumerate(held.routes):
            book = self._book(name)
            heard = subject == ("endpoint" if name else "store")
            if heard:
                event = "stacked" if name and stacked else "heard"
            else:
                event = "seen" if subject == "endpoint" and status != _TOO_MANY_REQUESTS else "settled"
            resized = book.size if book.size != sizes.get(name, book.size) else (0, 0.0)
            arguments += [event, *self._remembered(held, place, now), *said, *resized]
            free = heard and status == _TOO_MANY_REQUESTS
            until.append(_NOTHING if free else book.lease_end(now, given_up=status is None))
        self._end(held, now, tuple(until))
        return Call("report", held, arguments=tuple(arguments))

    def unsent(self, ticket: Ticket, now: float) -> Call | None:
        """Give back the slots of a request that never left; once."""
        held = self._held.pop(ticket, None)
        if held is None:
            return None
        self._buckets.unsent(ticket)
        self._end(held, now, (_NOTHING,) * len(held.routes))
        return Call("unsent", held)

    def tell(self, now: float, routes: tuple[str, ...], run: str) -> list[Call]:
        """Tell what this process holds, for *routes* and all other quotas of which it holds something.

        Args:
            now: The time.
            routes: What must be told in any case.
            run: The run of the server, which is another one after it has started again.
        """
        calls: list[Call] = []
        for route in (*self._buckets.endpoints, ""):
            told = [pair for held in (*self._ended, *self._held.values()) for pair in self._told(held, route, now)]
            if not told and route and route not in routes:
                continue
            doubtful: object = self._doubtful.get(route, 0.0)
            hold = max(0.0, self._book(route).held_until - now)
            for start in range(0, max(1, len(told)), _TOLD_AT_ONCE):
                some = told[start : start + _TOLD_AT_ONCE]
                head = (doubtful, run, hold, start + _TOLD_AT_ONCE >= len(told))
                arguments = (*head, *(value for pair in some for value in pair))
                calls.append(Call("tell", Held("", (route,)), arguments=arguments))
                doubtful = 0.0
        return calls

    def knows(self, call: Call, answer: Answer) -> bool:
        """Return whether the state that answered is the one that this process has told what it holds."""
        if self._clock_jumped:  # slots may have been freed too early
            self._doubtful.update(self._epochs)
            return False
        return not self.went_back(call, answer) and all(
            self._epochs.get(route) == book.epoch for route, book in zip(call.held.routes, answer.books, strict=True)
        )

    def went_back(self, call: Call, answer: Answer) -> bool:
        """Say whether the books are older than those that were seen, since Redis has read an old file."""
        back = False
        for route, book in zip(call.held.routes, answer.books, strict=True):
            seen = self.seen.get(route)
            if seen is not None and seen.epoch == book.epoch and book.version <= seen.version:
                self._doubtful[route] = book.epoch
                back = True
        return back

    def joined(self, call: Call, answer: Answer) -> None:
        """Note that the books of *answer* know what this process holds."""
        self._clock_jumped = False
        for route, book in zip(call.held.routes, answer.books, strict=True):
            self._epochs[route] = book.epoch
            self._doubtful.pop(route, None)

    def write(self, call: Call, time: float | None) -> tuple[list[str], list[str]]:
        """Give the keys and arguments of *call*; *time* is None for the server's clock."""
        keys = [f"{self._prefix}:processes", f"{self._prefix}:run"]
        terms: list[object] = []
        for route in call.held.routes:
            name = f"{self._prefix}:{route or 'store'}"
            keys += [name, f"{name}:leases", f"{name}:flights"]
            terms += self._book(route).terms
        head = (call.verb, "" if time is None else time, self._process, call.lane, call.held.id)
        processes = 1 if call.held.routes[0] else self._seen_processes
        more = (self._attempt, self._uniform(), len(call.held.routes), processes)
        return keys, [_text(value) for value in (*head, *more, *terms, *call.arguments)]

    # -- what was answered -------------------------------------------------------------------------------------

    def read(self, call: Call, values: Iterable[Any], now: float, asked: float) -> Answer:
        """Read an answer.

        Args:
            call: What was asked.
            values: What Redis returned.
            now: The time.
            asked: The time when it was asked.

        Raises:
            ValueError: it is none.
        """
        numbers = [float(value) for value in values]
        if len(numbers) != _HEAD_VALUES + len(call.held.routes) * _BOOK_VALUES:
            message = "what answers does not know the script"
            raise ValueError(message)
        granted, wait, of_endpoint, earliest, processes, time = numbers[:_HEAD_VALUES]
        starts = range(_HEAD_VALUES, len(numbers), _BOOK_VALUES)
        books = tuple(SharedBook(*numbers[start : start + _BOOK_VALUES]) for start in starts)
        self._compare_clocks(time, asked, now)
        count, is_old = int(processes), now - self._processes_at > self._buckets.store.window * _LONGEST_LEASE
        if count >= self._seen_processes or is_old:
            self._seen_processes, self._processes_at = count, now
        if call.verb == "acquire":
            call.held.since = now
        wait = math.inf if wait < 0 else wait
        return Answer(granted == 1, wait, of_endpoint == 1, earliest, int(processes), time, books)

    def take_over(self, call: Call, answer: Answer, now: float) -> None:
        """Take over what the books say of limits, windows and holds."""
        for route, seen in zip(call.held.routes, answer.books, strict=True):
            book = self._book(route)
            self.seen[route] = seen
            book.resize(now, int(seen.claimed_limit), seen.claimed_window)
            book.held_until = max(book.held_until, now + seen.held_for)

    def granted(self, call: Call, answer: Answer, now: float) -> Ticket:
        """Take over the slots that Redis has granted."""
        call.held.granted = answer
        ticket = self._buckets.adopt(now, call.lane, call.route)
        self._held[ticket] = call.held
        return ticket

    def lost(self, call: Call, now: float) -> None:
        """Give up *call*, whose answer got lost or is of no use: its slots may have been granted, and must be free."""
        self._end(call.held, now, (_NOTHING,) * len(call.held.routes))

    def granted_here(self, ticket: Ticket) -> None:
        """Take over slots that the process's own books have granted."""
        held = self._held[ticket] = self._new(ticket.route)
        held.since = ticket.granted_at

    def go_alone(self, now: float, *, again: bool) -> None:
        """Use an equal part of all quotas.

        The others may hold all slots that this process does not hold. Where no headers say what they hold, it uses in
        the first window only the slots that it holds; after that the others hold their parts.

        Args:
            now: The time.
            again: It was alone until it tried Redis just now.
        """
        self._doubtful.update(self._epochs)
        for route in ("", *self._buckets.endpoints):
            book, seen = self._book(route), None if again else self.seen.get(route)
            if seen is not None and self.processes > 1 and not book.knows_from_headers:
                book.suppose(now, book.limit - book.active)
            elif seen is not None and seen.active > book.active:
                book.suppose(now, int(seen.active + seen.foreign) - book.active)
            book.take_part(1 / self.processes)

    def go_together(self) -> None:
        """Take no part any more: the shared books decide."""
        self._epochs.clear()
        for route in ("", *self._buckets.endpoints):
            self._book(route).take_part(1.0)

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

    def _compare_clocks(self, time: float, asked: float, now: float) -> None:
        """Note if the clock of Redis has jumped: it was *time* there at some moment between *asked* and *now*."""
        bounds, last = (time - now, time - asked), self._clock
        is_recent = now - self._clock_at <= self._buckets.store.window * _LONGEST_LEASE
        if last is not None and is_recent and (bounds[0] > last[1] + _JUMP or bounds[1] < last[0] - _JUMP):
            self._clock_jumped = True
        self._clock, self._clock_at = bounds, now

    def _end(self, held: Held, now: float, until: tuple[float, ...]) -> None:
        held.until = until
        held.forget_at = max(*until, now + self._attempt)
        self._ended.append(held)
        self.holds(now)  # forgets what is over

    def _told(self, held: Held, route: str, now: float) -> Iterable[tuple[object, object]]:
        if route not in held.routes:
            return ()
        if held.until is None:
            return ((held.id, -max(1.0, held.since + self._attempt - now)),)
        return ((held.id, max(_NOTHING, held.until[held.routes.index(route)] - now)),)

    def _remembered(self, held: Held, place: int, now: float) -> tuple[float, float, float]:
        """What a ticket of these books remembers; without it, when it was granted, on the clock of the books."""
        granted, store = held.granted, self.seen.get("")
        if granted is None or store is None or granted.books[0].epoch != store.epoch:
            return held.since - now - 1e-9, -1.0, -1.0
        if place == len(granted.books):  # it was not asked for this one
            return granted.now, 0.0, 0.0
        return granted.now, granted.books[place].completed, granted.books[place].released


def _or_minus(value: float | None) -> float:
    return -1.0 if value is None else float(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(float(value))  # type: ignore[arg-type]
