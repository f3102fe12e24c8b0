"""The state of the shared limiter that one process keeps, and its messages to and from Redis. No I/O.

A ``Replica`` keeps the process's own windows current beside the shared ones, with the same slots, for the time that
Redis is away; it knows by id what the process holds, so that it can report it again; and it writes the script's
arguments and reads its replies.
"""

from __future__ import annotations

import math
from collections import deque
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b2b_async.ratelimit.buckets import Buckets
    from b2b_async.ratelimit.feedback import QuotaFeedback
    from b2b_async.ratelimit.quota import Lane
    from b2b_async.ratelimit.window import LeaseWindow, Ticket

__all__ = [
    "Lease",
    "Replica",
    "Reply",
    "ScriptCall",
    "SharedWindow",
    "Verb",
    "script",
]

Verb = Literal["acquire", "release", "unsent", "tell", "watch"]

_NOTHING = 0.0
_HEAD_VALUES, _WINDOW_VALUES = 6, 13
_TOLD_AT_ONCE = 500
_JUMP = 0.05
"""Seconds by which the clock of Redis may differ from this process's more than the answers explain."""
_LONGEST_LEASE = 1.1
"""Windows for which a slot is held after the response, at most."""


def script() -> str:
    """Return the Lua script."""
    return resources.files("b2b_async.ratelimit.redis").joinpath("lease_window.lua").read_text("utf-8")


@attrs.frozen
class SharedWindow:
    """One quota's state in Redis, as the script replies it; the fields are those of ``answer`` there."""

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
        """Seconds until an interactive call could have a slot; None if that depends on a response in flight."""
        return None if self.next_in < 0 else self.next_in


@attrs.frozen
class Reply:
    """What the script answers."""

    granted: bool
    """Whether the slots were granted."""
    wait: float
    """Seconds until it may be worth asking again; infinity for "after the next release"."""
    of_endpoint: bool
    """Whether the endpoint's own quota says so."""
    earliest: float
    """Seconds before which there can be no slot."""
    processes: int
    """How many processes take part."""
    now: float
    """The time on the clock of Redis."""
    windows: tuple[SharedWindow, ...]
    """The quotas that were asked."""


@attrs.define(eq=False)
class Lease:
    """Slots of one request of this process, as Redis must know them."""

    id: str
    """What they are known by."""
    routes: tuple[str, ...]
    """Whose quotas: "" for the store's, then perhaps the endpoint."""
    since: float = 0.0
    """When they were granted."""
    until: tuple[float, ...] | None = None
    """When each comes back; None while the request is in flight, 0 if it is free and Redis may not know that."""
    granted: Reply | None = None
    """What Redis said when it granted them; None if they were granted here."""
    forget_at: float = 0.0
    """When it is of no use any more."""


@attrs.frozen
class ScriptCall:
    """One run of the script."""

    verb: Verb
    """What is to be done."""
    lease: Lease
    """With which slots."""
    lane: Lane = "interactive"
    """For whom."""
    route: str = ""
    """For which endpoint, whether it has a quota of its own or not."""
    arguments: tuple[object, ...] = ()
    """What the verb needs."""


class Replica:
    """One process's side of the shared state.

    Args:
        buckets: The process's own state.
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
        self._open_leases: dict[Ticket, Lease] = {}
        self._windows: dict[str, LeaseWindow] = {}
        self._epochs: dict[str, float] = {}
        self._doubtful: dict[str, float] = {}  # epochs that somebody may have granted something outside of
        self._least_processes = processes
        self._seen_processes = 1  # the most in the last window
        self._processes_at = -math.inf
        self._clock: tuple[float, float] | None = None  # bounds of the clock of Redis, less that of this process
        self._clock_at = -math.inf
        self._clock_jumped = False
        self._ended: deque[Lease] = deque()
        self.seen: dict[str, SharedWindow] = {}
        """The shared windows by the last reply of Redis, the store's as "" and the endpoints'."""

    @property
    def processes(self) -> int:
        """The number of processes that share the quota: the most that were seen in the last window."""
        return max(self._least_processes, self._seen_processes)

    # -- what is to be said ------------------------------------------------------------------------------------

    def ask(self, lane: Lane, route: str) -> ScriptCall:
        """Ask for the slots of a request."""
        return ScriptCall("acquire", self._new(route), lane, route)

    def watch(self) -> ScriptCall:
        """Ask whether the shared state still knows what this process holds."""
        return ScriptCall("watch", Lease("", ("",)))

    def holds(self, now: float) -> bool:
        """Return whether this process holds a slot, or may hold one by what Redis knows."""
        while self._ended and self._ended[0].forget_at <= now:
            self._ended.popleft()
        return bool(self._open_leases or self._ended)

    def release(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> ScriptCall | None:
        """Give back the slots of a request that has ended; once."""
        lease = self._open_leases.pop(ticket, None)
        if lease is None:
            return None
        buckets, route = self._buckets, ticket.route
        sizes = {name: self._window(name).size for name in lease.routes}
        attribution = buckets.release(ticket, now, feedback)
        subject, feedback = attribution.subject, attribution.feedback
        stacked = route in buckets.endpoints and len(lease.routes) == 1
        if stacked:
            lease.routes = ("", route)
        times = (feedback.remaining, feedback.resets_after, feedback.retry_after)
        said = (feedback.result, *map(_or_minus, times))
        arguments: list[object] = []
        until: list[float] = []
        for place, name in enumerate(lease.routes):
            window = self._window(name)
            attributed = subject == ("endpoint" if name else "store")
            if attributed:
                event = "stacked" if name and stacked else "heard"
            else:
                event = "seen" if subject == "endpoint" and not feedback.is_refusal else "settled"
            resized = window.size if window.size != sizes.get(name, window.size) else (0, 0.0)
            arguments += [event, *self._remembered(lease, place, now), *said, *resized]
            free = attributed and feedback.is_refusal
            until.append(_NOTHING if free else window.lease_end(now, given_up=feedback.result == "lost"))
        self._end(lease, now, tuple(until))
        return ScriptCall("release", lease, arguments=tuple(arguments))

    def unsent(self, ticket: Ticket, now: float) -> ScriptCall | None:
        """Give back the slots of a request that was never sent; once."""
        lease = self._open_leases.pop(ticket, None)
        if lease is None:
            return None
        self._buckets.unsent(ticket)
        self._end(lease, now, (_NOTHING,) * len(lease.routes))
        return ScriptCall("unsent", lease)

    def tell(self, now: float, routes: tuple[str, ...], run: str) -> list[ScriptCall]:
        """Return the calls that report what this process holds, for *routes* and all others where it holds slots.

        Args:
            now: The time.
            routes: What must be told in any case.
            run: The run of the server, which is another one after it has started again.
        """
        calls: list[ScriptCall] = []
        for route in (*self._buckets.endpoints, ""):
            told = [
                pair for lease in (*self._ended, *self._open_leases.values()) for pair in self._told(lease, route, now)
            ]
            if not told and route and route not in routes:
                continue
            doubtful: object = self._doubtful.get(route, 0.0)
            hold = max(0.0, self._window(route).held_until - now)
            for start in range(0, max(1, len(told)), _TOLD_AT_ONCE):
                some = told[start : start + _TOLD_AT_ONCE]
                head = (doubtful, run, hold, start + _TOLD_AT_ONCE >= len(told))
                arguments = (*head, *(value for pair in some for value in pair))
                calls.append(ScriptCall("tell", Lease("", (route,)), arguments=arguments))
                doubtful = 0.0
        return calls

    def knows(self, call: ScriptCall, reply: Reply) -> bool:
        """Return whether the state that answered is the one that this process has told what it holds."""
        if self._clock_jumped:  # slots may have been freed too early
            self._doubtful.update(self._epochs)
            return False
        return not self.went_back(call, reply) and all(
            self._epochs.get(route) == window.epoch
            for route, window in zip(call.lease.routes, reply.windows, strict=True)
        )

    def went_back(self, call: ScriptCall, reply: Reply) -> bool:
        """Return whether the state is older than what was seen, since Redis has read an old file."""
        back = False
        for route, window in zip(call.lease.routes, reply.windows, strict=True):
            seen = self.seen.get(route)
            if seen is not None and seen.epoch == window.epoch and window.version <= seen.version:
                self._doubtful[route] = window.epoch
                back = True
        return back

    def joined(self, call: ScriptCall, reply: Reply) -> None:
        """Note that the state in Redis has what this process holds."""
        self._clock_jumped = False
        for route, window in zip(call.lease.routes, reply.windows, strict=True):
            self._epochs[route] = window.epoch
            self._doubtful.pop(route, None)

    def write(self, call: ScriptCall, time: float | None) -> tuple[list[str], list[str]]:
        """Return the keys and arguments of *call*; *time* is None for the server's clock."""
        keys = [f"{self._prefix}:processes", f"{self._prefix}:run"]
        terms: list[object] = []
        for route in call.lease.routes:
            name = f"{self._prefix}:{route or 'store'}"
            keys += [name, f"{name}:leases", f"{name}:flights"]
            terms += self._window(route).terms
        head = (call.verb, "" if time is None else time, self._process, call.lane, call.lease.id)
        processes = 1 if call.lease.routes[0] else self._seen_processes
        more = (self._attempt, self._uniform(), len(call.lease.routes), processes)
        return keys, [_text(value) for value in (*head, *more, *terms, *call.arguments)]

    # -- what was answered -------------------------------------------------------------------------------------

    def read(self, call: ScriptCall, values: Iterable[Any], now: float, asked: float) -> Reply:
        """Read a reply.

        Args:
            call: What was asked.
            values: What Redis returned.
            now: The time.
            asked: The time when it was asked.

        Raises:
            ValueError: it is none.
        """
        numbers = [float(value) for value in values]
        if len(numbers) != _HEAD_VALUES + len(call.lease.routes) * _WINDOW_VALUES:
            message = "what answers does not know the script"
            raise ValueError(message)
        granted, wait, of_endpoint, earliest, processes, time = numbers[:_HEAD_VALUES]
        starts = range(_HEAD_VALUES, len(numbers), _WINDOW_VALUES)
        windows = tuple(SharedWindow(*numbers[start : start + _WINDOW_VALUES]) for start in starts)
        self._compare_clocks(time, asked, now)
        count, is_old = int(processes), now - self._processes_at > self._buckets.overall.window * _LONGEST_LEASE
        if count >= self._seen_processes or is_old:
            self._seen_processes, self._processes_at = count, now
        if call.verb == "acquire":
            call.lease.since = now
        wait = math.inf if wait < 0 else wait
        return Reply(granted == 1, wait, of_endpoint == 1, earliest, int(processes), time, windows)

    def take_over(self, call: ScriptCall, reply: Reply, now: float) -> None:
        """Take over what the shared windows say of limits, windows and holds."""
        for route, seen in zip(call.lease.routes, reply.windows, strict=True):
            window = self._window(route)
            self.seen[route] = seen
            window.resize(now, int(seen.claimed_limit), seen.claimed_window)
            window.hold_until(now + seen.held_for)

    def granted(self, call: ScriptCall, reply: Reply, now: float) -> Ticket:
        """Take over the slots that Redis has granted."""
        call.lease.granted = reply
        ticket = self._buckets.record_external_grant(now, call.lane, call.route)
        self._open_leases[ticket] = call.lease
        return ticket

    def lost(self, call: ScriptCall, now: float) -> None:
        """Give up *call*, whose reply got lost or is of no use: its slots may have been granted, and must be free."""
        self._end(call.lease, now, (_NOTHING,) * len(call.lease.routes))

    def granted_here(self, ticket: Ticket) -> None:
        """Take over slots that the process's own state has granted."""
        lease = self._open_leases[ticket] = self._new(ticket.route)
        lease.since = ticket.granted_at

    def enter_fallback(self, now: float, *, again: bool) -> None:
        """Use an equal part of all quotas.

        The others may hold all slots that this process does not hold. Where no headers say what they hold, it uses in
        the first window only the slots that it holds; after that the others hold their parts.

        Args:
            now: The time.
            again: It was alone until it tried Redis just now.
        """
        self._doubtful.update(self._epochs)
        for route in ("", *self._buckets.endpoints):
            window, seen = self._window(route), None if again else self.seen.get(route)
            if seen is not None and self.processes > 1 and not window.knows_from_headers:
                window.assume_foreign(now, window.limit - window.active)
            elif seen is not None and seen.active > window.active:
                window.assume_foreign(now, int(seen.active + seen.foreign) - window.active)
            window.set_share(1 / self.processes)

    def leave_fallback(self) -> None:
        """Use the whole quota again: the shared state decides."""
        self._epochs.clear()
        for route in ("", *self._buckets.endpoints):
            self._window(route).set_share(1.0)

    # -- inside ------------------------------------------------------------------------------------------------

    def _new(self, route: str) -> Lease:
        self._number += 1
        return Lease(f"{self._process}:{self._number}", ("", route) if route in self._buckets.endpoints else ("",))

    def _window(self, route: str) -> LeaseWindow:
        if not route:
            return self._buckets.overall
        # One that was closed meanwhile may still have slots out.
        window = self._windows[route] = self._buckets.endpoints.get(route) or self._windows[route]
        return window

    def _compare_clocks(self, time: float, asked: float, now: float) -> None:
        """Note if the clock of Redis has jumped: it was *time* there at some moment between *asked* and *now*."""
        bounds, last = (time - now, time - asked), self._clock
        is_recent = now - self._clock_at <= self._buckets.overall.window * _LONGEST_LEASE
        if last is not None and is_recent and (bounds[0] > last[1] + _JUMP or bounds[1] < last[0] - _JUMP):
            self._clock_jumped = True
        self._clock, self._clock_at = bounds, now

    def _end(self, lease: Lease, now: float, until: tuple[float, ...]) -> None:
        lease.until = until
        lease.forget_at = max(*until, now + self._attempt)
        self._ended.append(lease)
        self.holds(now)  # forgets what is over

    def _told(self, lease: Lease, route: str, now: float) -> Iterable[tuple[object, object]]:
        if route not in lease.routes:
            return ()
        if lease.until is None:
            return ((lease.id, -max(1.0, lease.since + self._attempt - now)),)
        return ((lease.id, max(_NOTHING, lease.until[lease.routes.index(route)] - now)),)

    def _remembered(self, lease: Lease, place: int, now: float) -> tuple[float, float, float]:
        """Return what a ticket of this window remembers; without it, when it was granted, on the clock of Redis."""
        granted, store = lease.granted, self.seen.get("")
        if granted is None or store is None or granted.windows[0].epoch != store.epoch:
            return lease.since - now - 1e-9, -1.0, -1.0
        if place == len(granted.windows):  # it was not asked for this one
            return granted.now, 0.0, 0.0
        return granted.now, granted.windows[place].completed, granted.windows[place].released


def _or_minus(value: float | None) -> float:
    return -1.0 if value is None else float(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(float(value))  # type: ignore[arg-type]
