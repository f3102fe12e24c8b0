"""The quota: how to spend all of it, never more, and be a good neighbour.

**What is known.** A store allows 150 requests in 60 seconds, to all its integrations together.
The vendor's headers point to a sliding log: every accepted request holds one of 150 slots for 60 seconds
from the moment the server saw it; a refused one holds none.
But nobody promises that, and a client sees the server only through headers that are late,
out of order, sometimes missing, and written before the request itself was counted.

**The lease window.** So the books here rest on one thing alone, our own requests.
A request that is granted takes a slot. The slot comes back ``window`` seconds and a margin after *its answer
arrived*, which is the latest moment at which the server can have counted it. (An attempt that was given up may
still be under way: its slot is held for another twelfth of the window. A request that reaches the server later than
that breaks the rule.)
With at most ``limit`` slots out, grant number k+limit is sent after the answer to number k arrived, plus the
window; so no interval of one window at the server ever holds more than ``limit`` of our requests.
That is true for sliding logs, for fixed windows of any phase, for leaky buckets, whatever the latencies,
without comparing clocks. The price is one latency for each window, about half a percent of the quota.
A refused request was not counted, so it gives its slot back at once.

**The server's view can only lower ours.** ``X-Requests-Remaining`` brackets what *others* hold:
at least ``limit - remaining`` less all of ours that may have been counted by then,
at most ``limit - remaining`` less those of ours that certainly were. Our estimate is clamped into that bracket,
so that answers out of order cannot corrupt it. Since headers never raise the budget,
reading them wrongly costs nothing but speed. ``X-Request-Window-Resets-After`` says nothing about when
the window ends (it is an advised gap between requests), so nothing is refilled on it; it matters after a 429 only.

**Neighbours.** What others took recently is kept as head-room for a while (half of it after ten windows,
never more than 15 % of the limit). When the server says that nothing is left, one request probes,
then at growing intervals.

**Two lanes.** Interactive calls go before bulk ones. Bulk bursts through the first 80 % of the quota and is
paced over the rest; after an interactive call, foreign use or a refusal it is paced evenly for five windows,
and after an interactive call it leaves ``reserve`` slots free, so that the next one waits tenths of a second
and not half a minute.

**Refusals.** A 429 holds the whole store until the server's time, the longest that any refusal of an
episode names, with jitter that doubles with each episode in a row. A 429 without any time is overload:
hold 5 s, doubling to 60 s, then go on at half speed for a window. The hold is a time stamp, raised with ``max()``.
After a hold, one request tests whether requests are let through again; another one follows when it is answered, or is
not answered for a twelfth of the window. If it is refused, the time was named too early, and the next hold is at least
twice as long, up to a window.

**Headers that refusals contradict.** A gateway in front of the API may allow less than the API's headers say. A limit
above the user's own is therefore approached with five requests in flight (two after a refusal). If requests are
refused twice in a row while the headers claim, before and after, that more than half of the quota is free, the headers
are not believed any more: the limit becomes what was accepted up to the refusals, and the window becomes the time
after which a request was accepted again. Bulk is paced evenly over it, a further refusal shrinks it to 70 %, and after
five windows without one it grows by 2 % a window. (Refusals that say that nothing is left count once a row, since
others may have used the quota up.)

**Cold start and bare servers.** Until the first answer at most five requests are in flight.
A server that sends no headers for a window leaves our own books; refusals then shrink the cap to 70 %, and it recovers
slowly.

**What cannot be had.** Without a word from a neighbour no client can avoid being refused now and then, or refusing him:
what it knows is one answer old. On a sliding log nobody can use all of a quota without a refusal, since the moment
of arrival is known only to within a round trip. On a counter that smears its last window over this one, any burst must
be refused once before that can be known. And a slot that is left for others is a slot that is not used.

``LeaseWindow`` is the state machine: no clock, no loop, no I/O. ``Buckets`` (``_buckets.py``) keeps one for the store
and one for each endpoint with a quota of its own, and finds out which of them an answer speaks of. ``RateLimiter``
(``_limiter.py``) seats the waiters on top. ``redis/`` keeps the same books where several processes can reach them.
"""

from __future__ import annotations

import bisect
import math
import random
import re
from collections import deque
from typing import TYPE_CHECKING, Literal

import attrs

from b2b_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._headers import QuotaHeaders
    from b2b_async._messages import Lane

INF = math.inf

_MARGIN = 1 / 600
"""Part of the window that a lease outlives it, for clock drift and timer jitter: 0.1 s of 60 s."""
_UNDER_WAY = 1 / 12
"""Part of the window by which a request that was given up may still reach the server: 5 s of 60 s."""
_COLD = 5
"""Requests in flight while the server has said nothing yet."""
_CALM_WINDOWS = 5.0
"""Windows for which bulk stays evenly paced after a sign of others."""
_ROOM_PART = 0.15
"""Most head-room for others, as a part of the limit."""
_ROOM_HALF_LIFE = 10.0
"""Windows after which half of the head-room is given up."""
_BURST_MEMORY = 1 / 6
"""Windows within which what others take counts as one burst."""
_PROBE = 1 / 12
"""First pause between probes of an exhausted quota, in windows; it doubles up to one window."""
_JITTER = 1 / 120
"""Jitter after the second refusal in a row, in windows, before doubling."""
_PACED_PART: dict[str, float] = {"auto": 0.2, "burst": 0.0, "smooth": 1.0}
"""Part of the quota over which bulk is paced; it takes the rest at once."""
_BARE_SHRINK, _BARE_GROW, _BARE_LEAST = 0.7, 0.01, 0.05
_LEARNED_GROWTH = 1.02
"""Growth of a learned limit in a window, from the fifth one after the last refusal on."""
_LEAST_LEARNED = 0.05
"""Part of the user's own quota that is learned at least."""
_DOUBTS = 2
"""Refusals that contradict the headers, until these are not believed any more."""
_WARY = 2
"""Requests in flight above the user's own limit, for five windows after a refusal; ``_COLD`` before."""
_APPROACH = 10
"""Of so many slots above the user's own limit, one more request may be in flight."""
_OVERLOAD_MOST = 60.0
"""Seconds, not windows: how long an overloaded platform takes has nothing to do with the quota."""
_OVERLOAD_SPEED = 0.5
_ENOUGH_DOUBLINGS = 100
"""Beyond a thousand, a float overflows."""
LONGEST_HOLD = 120.0
"""Seconds; a server that asks for more is asked again after this."""

_MOST_LIMIT, _MOST_WINDOW = 100_000, 3_600.0
_QUOTA_TEXT = re.compile(r"(\d{1,9})/(\d{1,9}(?:\.\d{1,9})?)s?")


def _check_limit(_instance: object, _attribute: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_LIMIT:
        message = f"quota: limit must be a whole number of requests from 1 to {_MOST_LIMIT:,}, not {value!r}"
        raise ConfigurationError(message)


def _check_window(_instance: object, _attribute: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MOST_WINDOW:
        message = f"quota: window must be seconds above 0 and up to {_MOST_WINDOW:,.0f}, not {value!r}"
        raise ConfigurationError(message)


def _check_share(_instance: object, _attribute: object, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        message = f"quota: share must be a part of the limit above 0 and up to 1, not {value!r}"
        raise ConfigurationError(message)


def _check_slots(_instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        message = f"quota: {attribute.name} must be a whole number of slots, 0 or more, not {value!r}"
        raise ConfigurationError(message)


def _check_concurrency(_instance: object, attribute: attrs.Attribute[int | None], value: int | None) -> None:
    if value is not None:
        _check_count(value, attribute.name)


def _check_count(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        message = f"quota: {name} must be a whole number of requests, 1 or more, or None, not {value!r}"
        raise ConfigurationError(message)


def _check_pacing(_instance: object, _attribute: object, value: object) -> None:
    if value not in _PACED_PART:
        message = f"quota: pacing must be one of {', '.join(_PACED_PART)}, not {value!r}"
        raise ConfigurationError(message)


@attrs.frozen
class Quota:
    """How many requests a store, or one of its endpoints, allows, and which part of that is ours."""

    limit: int = attrs.field(default=150, validator=_check_limit)
    """Requests in a window; the server's word replaces it."""
    window: float = attrs.field(default=60.0, validator=_check_window)
    """Length of the window in seconds; the server's word replaces it."""
    pacing: Literal["auto", "burst", "smooth"] = attrs.field(default="auto", validator=_check_pacing)
    """How bulk spends a window: the first 80 % at once, all at once, or evenly."""
    share: float = attrs.field(default=1.0, validator=_check_share)
    """The part of the limit that this client may use at all."""
    headroom: int = attrs.field(default=0, validator=_check_slots)
    """Slots that bulk always leaves to other integrations."""
    reserve: int = attrs.field(default=1, validator=_check_slots)
    """Slots that bulk leaves to interactive calls for five windows after one of them."""
    concurrency: int | None = attrs.field(default=None, validator=_check_concurrency)
    """Requests under way at once, at most; None for no such limit."""

    @classmethod
    def parse(cls, text: str) -> Quota:
        """Read "150/60s" as 150 requests in 60 seconds.

        Raises:
            ConfigurationError: *text* has another form, or a number is out of range.
        """
        match = _QUOTA_TEXT.fullmatch(text.strip())
        if match is None:
            message = f"quota: write requests/seconds, for example 150/60s, not {text!r}"
            raise ConfigurationError(message)
        return cls(int(match[1]), float(match[2]))


@attrs.define(eq=False)
class Ticket:
    """One granted slot. Give it back with ``report`` or ``unsent``; a second time does nothing."""

    granted_at: float
    """When it was granted, on the caller's clock."""
    completed: int
    """How many requests were over by then."""
    released: int
    """How many leases had ended by then."""
    route: str = ""
    """The endpoint that it was granted for."""
    stacked: tuple[LeaseWindow, Ticket] | None = None
    """The books of the endpoint's own quota, and the slot there."""
    open: bool = True
    """Not given back yet."""


@attrs.frozen
class QuotaSnapshot:
    """The limiter's books at one moment."""

    limit: int
    """Requests that the store allows in a window."""
    window: float
    """Length of the window in seconds."""
    used: int
    """Slots that we hold; a shared limiter counts those of all its processes."""
    foreign: int
    """Slots that others hold, as far as the server's headers tell."""
    left: int
    """Slots that we could take now."""
    next_in: float | None
    """Seconds until an interactive call could have a slot; None if only an answer under way can tell."""
    held_for: float
    """Seconds for which the store is on hold after a refusal; 0 if it is not."""
    waiting_interactive: int
    """Interactive calls that wait for a slot."""
    waiting_bulk: int
    """Bulk calls that wait for a slot."""
    requests: int
    """Requests that left since the start, those under way included."""
    refused: int
    """429 answers since the start."""
    endpoints: tuple[EndpointSnapshot, ...] = ()
    """The endpoints with a quota of their own, as far as they are known, that were called."""
    degraded: bool = False
    """A shared limiter goes on with its own books, since it cannot reach the shared ones."""

    @property
    def narrowest(self) -> QuotaSnapshot | EndpointSnapshot:
        """The books of the store, or of the endpoint, that let the fewest requests a second through."""
        quotas: list[QuotaSnapshot | EndpointSnapshot] = [self, *self.endpoints]
        return min(quotas, key=lambda books: books.limit / books.window)


@attrs.frozen
class EndpointSnapshot:
    """The books of one endpoint's own quota at one moment."""

    route: str
    """Method and path of the endpoint."""
    limit: int
    """Requests that it allows in a window."""
    window: float
    """Length of the window in seconds."""
    used: int
    """Slots that we hold."""
    next_in: float | None
    """Seconds until an interactive call could have a slot; None if only an answer under way can tell."""


class LeaseWindow:
    """The books as a pure state machine: every method is told the time, in seconds of any clock.

    Args:
        quota: The user's word; the server's word on limit and window replaces it.
        uniform: A source of random numbers in [0, 1), for jitter.
        bare: No header is expected to speak of this quota, so there is no answer to wait for before others may leave.
        overload: Seconds of the first hold after a refusal that names no time.
    """

    def __init__(
        self, quota: Quota, uniform: Callable[[], float] = random.random, *, bare: bool = False, overload: float = 5.0
    ) -> None:
        """Start with empty books."""
        self._quota = quota
        self._cold = not bare
        self.part = 1.0
        self._at_once = quota.concurrency
        self._overload = overload
        self._uniform = uniform
        self.limit = quota.limit
        self.window = quota.window
        # Our own requests. Invariant: len(_leases) + in_flight <= capacity whenever a slot is granted.
        self._leases: deque[float] = deque()  # when answered requests free their slots; in order
        self.in_flight = 0
        self.granted = self.returned = self.refused = self._completed = self._released = 0
        # The server's view.
        self.foreign = 0  # slots that others hold
        self.heard_at = -INF  # last answer with quota headers
        self._bare = bare
        self._counts_before = False  # headers are written before the request is counted
        # Holds and probes.
        self.held_until = self._held_since = -INF
        self._slow_until = -INF
        # Refusals in a row, and what they may teach.
        self._accepted = 0
        self._row = 0  # episodes of refusals since a request was let through
        self._row_since = self._mark_at = -INF  # the start of this row, and of the last one
        self._mark = 0  # requests accepted when the last row started
        self._tested_at = -INF  # when the last request was sent to test whether requests are let through again
        self._row_unnamed = False  # a refusal of this row named no time
        self._row_contradicts = self._row_used_up = False  # headers claimed slots at its start; it says none are left
        self._accepted_before, self._accepted_in = 0, 0.0  # requests before this row, and the seconds they took
        self._wary_until = -INF
        self._doubts = 0
        self._claimed: tuple[int, float] | None = None  # limit and window of headers that are not believed
        self._probe_at = -INF
        self._probing = False
        self._probe_gap = self.window * _PROBE
        # Neighbours and pacing.
        self._calm_until = self._interactive_until = self._last_bulk = -INF
        self._room = self._burst = 0.0
        self._room_at = self._burst_at = -INF
        self._cap, self._cap_at = 1.0, -INF

    @property
    def active(self) -> int:
        """Slots that we hold."""
        return len(self._leases) + self.in_flight

    def take_part(self, part: float) -> None:
        """Take a part of all limits: several processes go on without a word with each other."""
        concurrency = self._quota.concurrency
        self.part = part
        self._at_once = None if concurrency is None else max(1, int(concurrency * part + 1e-9))

    def suppose(self, now: float, foreign: int) -> None:
        """Take others to hold so many slots, until the server says otherwise or a window is over."""
        self.foreign, self.heard_at, self._bare = max(self.foreign, foreign), now, False
        self._probe_at = now + self.window

    @property
    def size(self) -> tuple[int, float]:
        """Limit and window, as the server's headers state them."""
        return self._claimed or (self.limit, self.window)

    @property
    def knows_from_headers(self) -> bool:
        """True if the server's headers state what others hold."""
        return not self._bare and self.heard_at > -INF

    @property
    def terms(self) -> tuple[float, ...]:
        """The parameters that the same state in another place needs: eleven numbers."""
        quota = self._quota
        shares = (quota.share, quota.headroom, quota.reserve, quota.concurrency or 0)
        modes = (_PACED_PART[quota.pacing], not self._cold, self._overload)
        return (*self.size, *shares, *modes, quota.limit, quota.window)

    def headroom(self, now: float) -> float:
        """Slots that bulk leaves to others at the moment."""
        decay = math.pow(2.0, (self._room_at - now) / (self.window * _ROOM_HALF_LIFE))
        return max(float(self._quota.headroom), self._room * decay)

    def next_in(self, now: float) -> float | None:
        """Seconds until an interactive call could have a slot; None if only an answer under way can tell."""
        at = self.ask(now, "interactive")
        return None if at == INF else max(0.0, at - now)

    def left(self, now: float) -> int:
        """Slots that an interactive call could take at the moment."""
        self._expire(now)
        if now < self.held_until:
            return 0
        free = min(self._capacity(now) - self.active, self._most_in_flight(now) - self.in_flight)
        if self._row:
            free = min(free, 1)
        if not self._bare:
            if self._is_fresh(now):
                free = min(free, self.limit - self.active - self.foreign)
            elif self._cold:
                free = min(free, _COLD - self.in_flight)
        return max(0, int(free))

    def others(self, now: float) -> int:
        """Slots that others hold, if the server has said so lately."""
        return self.foreign if self._is_fresh(now) else 0

    def try_acquire(self, now: float, lane: Lane) -> Ticket | float:
        """Grant a slot, or say when to ask again."""
        at = self.ask(now, lane)
        return self.grant(now, lane) if at <= now else at

    def ask(self, now: float, lane: Lane) -> float:
        """Say when a slot may be granted: *now*, or when to ask again; infinity for "after the next report"."""
        leases = self._leases
        if leases and leases[0] <= now:
            self._expire(now)
        self._probing = False
        if now < self.held_until:
            return self.held_until
        if self.in_flight and self.in_flight >= self._most_in_flight(now):
            return INF
        if self._row and self.in_flight and now < self._tested_at + self.window * _PROBE:
            return self._tested_at + self.window * _PROBE
        bulk = lane == "bulk"
        capacity = self._capacity(now)
        active = len(leases) + self.in_flight
        next_lease = leases[0] if leases else INF
        keep = min(self._quota.reserve, (capacity - 1) // 2) if bulk and now < self._interactive_until else 0
        available: float = capacity - active - keep
        if available < 1:  # our own books are full
            return min(next_lease, self._slow_until) if now < self._slow_until else next_lease
        if not self._bare:
            if now - self.heard_at <= self.window:
                room = self.headroom(now) if bulk else 0.0
                available = min(available, self.limit - active - self.foreign - room - keep)
                if available < 1:  # the server's view leaves nothing
                    return self._probe(now, next_lease, bulk=bulk)
            elif self._cold:  # nobody has told us anything (lately)
                return next_lease if self.in_flight >= _COLD else now
        if bulk:
            not_before = self._last_bulk + self._gap(now, capacity, available, next_lease)
            if now < not_before:
                return min(not_before, next_lease)
        return now

    def grant(self, now: float, lane: Lane) -> Ticket:
        """Take the slot that ``ask`` has just offered."""
        self.granted += 1
        self.in_flight += 1
        if lane == "bulk":
            self._last_bulk = now
        else:
            self._interactive_until = now + self.window * _CALM_WINDOWS
            self._calm_until = self._interactive_until
        if self._row:
            self._tested_at = now
        if self._probing:
            self._probe_gap = min(self.window, 2 * self._probe_gap) * (0.8 + 0.4 * self._uniform())
        return Ticket(now, self._completed, self._released)

    def adopt(self, granted_at: float) -> Ticket:
        """Write down a slot of a request that was sent without asking here."""
        self.granted += 1
        self.in_flight += 1
        return Ticket(granted_at, self._completed, self._released)

    def report(self, ticket: Ticket, now: float, status: int | None, headers: QuotaHeaders) -> None:
        """Take a slot back after its request was answered with *status*, or given up (None).

        Args:
            ticket: The slot.
            now: The time.
            status: The HTTP status; None if no answer came.
            headers: What the answer says about this quota.
        """
        if not self._close(ticket):
            return
        self._expire(now)
        refused = status == 429
        if not refused:
            self._lease(now, given_up=status is None)
        if status is None:
            return
        if self._claimed is not None:
            headers = attrs.evolve(headers, remaining=None)
        if refused:
            self.refused += 1
            self._judge_headers(now)
        else:
            is_half_free = headers.remaining is not None and 2 * headers.remaining > self.limit
            self._let_through(ticket, now, status, contradicts=is_half_free)
        if headers.remaining is None or (refused and headers.delay is None):
            if refused and headers.delay is not None and not self._bare:
                self._refusal(ticket, now, headers)
            else:
                # Where nobody says when to come back, the platform is overloaded, whatever else is said.
                self._report_bare(ticket, now, headers, status)
        elif refused:
            self._trust_headers()
            self._refusal(ticket, now, headers)
            self.heard_at = now
        elif self._claimed is None:  # else this very answer has taught that its headers are wrong
            self._trust_headers()
            self.heard_at = now
            self._look(ticket, now, headers.remaining, headers.resets_after or 0.0)
        if refused and headers.remaining == 0:
            self._row_used_up = True

    def settle(self, ticket: Ticket, now: float, status: int | None) -> None:
        """Take a slot back whose request may have been counted; the answer, if any, said nothing about this quota."""
        if self._close(ticket):
            self._expire(now)
            self._lease(now, given_up=status is None)
            if status is not None and status != 429:
                self._let_through(ticket, now, status, contradicts=False)
                if status < 500:
                    self._recover(now)

    def resize(self, now: float, limit: int, window: float) -> None:
        """Use the limit and the window (seconds) that the server states, unless refusals have contradicted it."""
        if self._claimed is not None and limit * self.window >= self.limit * window:
            self._claimed = limit, window
            return
        self._claimed = None
        self._set_size(now, limit, window)

    def _set_size(self, now: float, limit: int, window: float) -> None:
        if window < self.window:  # what was reckoned with the longer one lasts for the shorter one at most
            bound, calm = now + window * (1 + _MARGIN + _UNDER_WAY), now + window * _CALM_WINDOWS
            self._leases = deque(min(end, bound) for end in self._leases)
            self._calm_until = min(self._calm_until, calm)
            self._interactive_until = min(self._interactive_until, calm)
        self.limit, self.window = limit, window

    def copy_leases(self, other: LeaseWindow) -> None:
        """Hold what *other* holds: its requests may have been counted here, too."""
        self._leases = deque(other._leases)

    def adds_nothing_to(self, store: LeaseWindow, now: float, windows: float) -> bool:
        """Say whether these books of an endpoint can be closed: it is as free as its store, or silent for *windows*."""
        old = -INF < self.heard_at < now - windows * self.window
        return self._cap >= 1.0 and now >= self.held_until and (old or self.size == store.size)

    def lease_end(self, now: float, *, given_up: bool) -> float:
        """Say when the slot of a request that is answered, or given up, at *now* comes back."""
        return now + self.window * (1 + _MARGIN + (_UNDER_WAY if given_up else 0.0))

    def unsent(self, ticket: Ticket) -> None:
        """Take a slot back whose request never left: it is free at once."""
        self.returned += self._close(ticket)

    def earliest(self, now: float, ahead: int) -> float:
        """Say when a call with *ahead* others before it can have a slot at the earliest.

        Those before it are taken to make their requests, and those under way to be accepted.
        """
        self._expire(now)
        start = max(now, self.held_until)
        # Not the capacity of this moment: what narrows it may be over at the next answer.
        capacity = max(1, int(self.limit * max(1.0, self._cap) * self._quota.share * self.part + 1e-9))
        place = ahead - (capacity - self.active)
        if place < 0:
            return start
        # Slots end one by one: leases, and what is under way or could be taken now, a lease from now at the earliest.
        rounds, place = divmod(place, max(capacity, self.active))
        lease = self.window * (1 + _MARGIN)
        before = bisect.bisect_right(self._leases, now + lease)
        later = place - (max(capacity, self.active) - len(self._leases))
        end = self._leases[place] if place < before else self._leases[later] if later >= before else now + lease
        return max(start, end + rounds * lease)

    # -- inside ------------------------------------------------------------------------------------------------

    def _lease(self, now: float, *, given_up: bool) -> None:
        leases, end = self._leases, self.lease_end(now, given_up=given_up)
        if leases and end < leases[-1]:  # after one that was given up, or since the server has told a shorter window
            place = len(leases)
            while place and leases[place - 1] > end:
                place -= 1
            leases.insert(place, end)
        else:
            leases.append(end)

    def _expire(self, now: float) -> None:
        while self._leases and self._leases[0] <= now:
            self._leases.popleft()
            self._released += 1

    def _capacity(self, now: float) -> int:
        speed = _OVERLOAD_SPEED if now < self._slow_until else 1.0
        # A learned limit grows beyond itself. The tiny addend keeps 0.57 of 100 from being 56 in floating point.
        limit = self.limit * max(1.0, self._cap)
        return max(1, int(limit * min(self._quota.share, self._cap, speed) * self.part + 1e-9))

    def _close(self, ticket: Ticket) -> bool:
        if not ticket.open:
            return False
        ticket.open = False
        self.in_flight -= 1
        self._completed += 1
        return True

    def _probe(self, now: float, next_lease: float, *, bulk: bool) -> float:
        if self.in_flight:  # their answers will tell
            return next_lease
        at = max(self._probe_at, self.heard_at + (self._probe_gap if bulk else 0.0))
        if now < at:
            return min(at, next_lease)
        self._probing = True
        return now

    def _gap(self, now: float, capacity: int, available: float, next_lease: float) -> float:
        """Seconds that bulk keeps between two requests."""
        calm = now < self._calm_until or self._claimed is not None
        if not calm and available > _PACED_PART[self._quota.pacing] * capacity:
            return 0.0
        # Spread what is left until our next slot comes back, and only our part of it if others are about.
        until = next_lease if next_lease < INF else now + self.window
        left = max(0.0, until - max(self._last_bulk, now - self.window))
        ours = 1.0 if self.foreign < 1 else max(0.2, (self.active + 1) / (self.active + self.foreign + 1))
        gap = left / (available * ours + 1)
        return max(gap, self.window / capacity) if calm else gap

    def _prolong(self, now: float, delay: float | None) -> None:
        """Hold on for as long as a further refusal of the same episode says, if that is longer."""
        if delay is not None:
            self.held_until = max(self.held_until, now + min(delay + self.window * _MARGIN, LONGEST_HOLD))

    def _judge_headers(self, now: float) -> None:
        """Note, when a row of refusals starts, whether the headers claim that more than half of the quota is free."""
        if now - self.held_until > self.size[1]:  # nothing was sent for long since the last row
            self._row = 0
        if not self._row:
            free = self.limit - self.active - self.foreign
            self._row_contradicts = self._is_fresh(now) and 2 * free > self.limit

    def _trust_headers(self) -> None:
        self._bare, self._cap = False, 1.0

    def _hold(self, now: float, seconds: float, *, is_named: bool) -> None:
        """Hold the store after the first refusal of an episode.

        A time that proved too early is not believed again: the next hold is twice as long, up to a window.
        """
        if not self._row:
            is_recent = now - self._mark_at < self.window
            self._accepted_before = self._accepted - self._mark if is_recent else len(self._leases)
            self._accepted_in = now - self._mark_at if is_recent else 0.0
            self._row_since = self._mark_at = now
            self._mark, self._row_unnamed, self._row_used_up = self._accepted, False, False
            least = 0.0 if self._claimed is None else self.held_until - self._held_since
        else:
            least = 2 * (self.held_until - self._held_since)
        self._row += 1
        self._row_unnamed = self._row_unnamed or not is_named
        self._wary_until = now + self.window * _CALM_WINDOWS
        self._held_since = now
        seconds = max(seconds, min(least, self.size[1]))
        self.held_until = max(self.held_until, now + min(seconds, LONGEST_HOLD))

    def _let_through(self, ticket: Ticket, now: float, status: int, *, contradicts: bool) -> None:
        """End a row of refusals if a request that was sent after the hold was not refused.

        Args:
            ticket: The request's slot.
            now: The time.
            status: The HTTP status; a 5xx may come from the gateway that refuses.
            contradicts: Its headers claim that more than half of the quota is free.
        """
        self._accepted += 1
        if not self._row and self._doubts and now - self._mark_at > self.window:
            self._doubts = 0
        if not self._row or ticket.granted_at < self._held_since or status >= 500:
            return
        row, self._row = self._row, 0
        if self._claimed is not None:
            return
        # Who names a time after which requests are let through indeed may be right about all else; and others may have
        # used up the quota, and given it back meanwhile.
        contradicts = contradicts and self._row_contradicts and (row > 1 or self._row_unnamed)
        self._doubts = self._doubts + (1 if self._row_used_up else row) if contradicts else 0
        limit = self._accepted_before
        window = min(self.window, max(self._accepted_in, ticket.granted_at - self._row_since))
        known = self._quota.limit / self._quota.window
        if self._doubts < _DOUBTS or not _LEAST_LEARNED * known <= limit / window < self.limit / self.window:
            return
        self._claimed, self._doubts = (self.limit, self.window), 0
        self._set_size(now, limit, window)
        self._bare, self._cap, self._cap_at, self._slow_until, self.foreign = True, 1.0, now, now, 0

    def _most_in_flight(self, now: float) -> float:
        """Return how many requests may be in flight."""
        known, most = self._quota.limit, INF if self._at_once is None else self._at_once
        if self.limit * self._quota.window <= known * self.window:
            return most
        # Headers that name a larger limit than the user may be wrong.
        return min(most, _WARY if now < self._wary_until else _COLD + max(0, self.active - known) // _APPROACH)

    def _calm(self, now: float) -> None:
        self._calm_until = now + self.window * _CALM_WINDOWS

    def _report_bare(self, ticket: Ticket, now: float, headers: QuotaHeaders, status: int) -> None:
        if status >= 500:
            return  # a gateway's page, which says nothing about the server's headers
        if status != 429:
            if not self._is_fresh(now):
                self._bare = True
            self._recover(now)
            return
        delay = headers.delay
        if ticket.granted_at < self._held_since:  # sent before the hold: one episode
            self._prolong(now, delay)
            return
        self._calm(now)
        if delay is not None:
            self._hold(now, delay + self.window * _MARGIN, is_named=True)
        else:
            seconds = min(_OVERLOAD_MOST, self._overload * 2.0 ** min(_ENOUGH_DOUBLINGS, self._row))
            self._hold(now, seconds, is_named=False)
            self._slow_until = self.held_until + self.window
        if self._bare:
            self._cap, self._cap_at = max(_BARE_LEAST, self._cap * _BARE_SHRINK), now

    def _recover(self, now: float) -> None:
        since = now - self._cap_at
        if not self._bare or since < self.window / 10:
            return
        self._cap_at = now
        if self._claimed is None:
            self._cap = min(1.0, self._cap + _BARE_GROW)
            return
        if now < self._wary_until:
            return
        self._cap *= math.pow(_LEARNED_GROWTH, min(since / self.window, 2.0))
        limit, window = self._claimed
        if self.limit * self._cap * window >= limit * self.window:  # the headers were right after all, or are now
            # Slots of the shorter window have come back too early for this one: go on as at the start.
            self._claimed, self._cap, self._bare, self.heard_at = None, 1.0, False, now - 2 * window
            self._set_size(now, limit, window)

    def _is_fresh(self, now: float) -> bool:
        return now - self.heard_at <= self.window

    def _refusal(self, ticket: Ticket, now: float, headers: QuotaHeaders) -> None:
        # The remaining of a refusal is no budget: it may be that of another bucket.
        held = self.limit - self.active - (self._released - ticket.released)
        self.foreign = max(self.foreign, held)
        self._calm(now)
        if ticket.granted_at < self._held_since:
            self._prolong(now, headers.delay)
            return
        jitter = 0.0
        if self._row:
            jitter = self._uniform() * min(
                self.window / 4, self.window * _JITTER * 2.0 ** min(_ENOUGH_DOUBLINGS, self._row + 1)
            )
        self._hold(now, (headers.delay or 0.0) + self.window * _MARGIN + jitter, is_named=headers.delay is not None)

    def _look(self, ticket: Ticket, now: float, remaining: int, resets_after: float) -> None:
        """Learn what others hold from an accepted request's headers."""
        if remaining >= self.limit:
            self._counts_before = True
        remaining -= self._counts_before
        counted_later = self.granted - ticket.completed - 1  # ours that may have reached the server after this one
        taken = self.limit - remaining - self.active
        at_least = taken - (self._released - ticket.released)
        at_most = max(0, taken + counted_later)
        if at_least - self.foreign >= 1:
            decay = math.pow(2.0, (self._burst_at - now) / (self.window * _BURST_MEMORY))
            self._burst, self._burst_at = self._burst * decay + at_least - self.foreign, now
            room = max(self.headroom(now), self._burst)
            self._room, self._room_at = min(_ROOM_PART * self.limit, room), now
            self._calm(now)
        self.foreign = max(0, at_least, min(self.foreign, at_most))
        first_gap = self.window * _PROBE
        if self._probe_gap != first_gap and self.limit - self.active - self.foreign - self.headroom(now) >= 1:
            self._probe_gap = first_gap
        if remaining <= 0:
            hint = min(resets_after, self.window)
            self._probe_at = max(self._probe_at, now + hint + self.window * _MARGIN)
