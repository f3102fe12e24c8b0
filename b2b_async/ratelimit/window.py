"""The lease window: one quota as a pure state machine. The essay in ``quota.py`` says why it works.

``LeaseWindow`` applies the rules; each of its four parts keeps the state of one idea:

- ``_Leases``: our own requests;
- ``_ServerView``: what the server's headers say others hold, and the probes of an exhausted quota;
- ``_Holds``: refusals, the pauses after them, and what refusals teach about a gateway in front of the server;
- ``_Pacing``: how evenly bulk is spread, and what it leaves to others.

Redis keeps the same state in ``redis/lease_window.lua``; a test compares every decision of the two.
"""

from __future__ import annotations

import bisect
import math
import random
from collections import deque
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async.ratelimit.feedback import QuotaFeedback
    from b2b_async.ratelimit.quota import Lane, Quota

__all__ = [
    "INF",
    "LONGEST_HOLD",
    "LeaseWindow",
    "Ticket",
]

INF = math.inf

_MARGIN = 1 / 600
"""Part of the window that a lease outlives it, for clock drift and timer jitter: 0.1 s of 60 s."""
_IN_FLIGHT = 1 / 12
"""Part of the window by which a request that was given up may still reach the server: 5 s of 60 s."""
_WARMING_UP = 5
"""Requests in flight while the server has said nothing yet."""
_EVEN_WINDOWS = 5.0
"""Windows for which bulk stays evenly paced after a sign of others."""
_HEADROOM_PART = 0.15
"""Most headroom for others, as a part of the limit."""
_HEADROOM_HALF_LIFE = 10.0
"""Windows after which half of the headroom is given up."""
_BURST_MEMORY = 1 / 6
"""Windows within which what others take counts as one burst."""
_PROBE = 1 / 12
"""First pause between probes of an exhausted quota, in windows; it doubles up to one window."""
_JITTER = 1 / 120
"""Jitter after the second refusal in a row, in windows, before doubling."""
_PACED_PART: dict[str, float] = {"auto": 0.2, "burst": 0.0, "smooth": 1.0}
"""Part of the quota over which bulk is paced; it takes the rest at once."""
_HEADERLESS_SHRINK, _HEADERLESS_GROW, _HEADERLESS_LEAST = 0.7, 0.01, 0.05
_LEARNED_GROWTH = 1.02
"""Growth of a learned limit in a window, from the fifth one after the last refusal on."""
_LEAST_LEARNED = 0.05
"""Part of the user's own quota that is learned at least."""
_DOUBTS = 2
"""Refusals that contradict the headers, until these are not believed any more."""
_WARY = 2
"""Requests in flight above the user's own limit, for five windows after a refusal; ``_WARMING_UP`` before."""
_APPROACH = 10
"""Of so many slots above the user's own limit, one more request may be in flight."""
_OVERLOAD_MOST = 60.0
"""Seconds, not windows: how long an overloaded platform takes has nothing to do with the quota."""
_OVERLOAD_SPEED = 0.5
_ENOUGH_DOUBLINGS = 100
"""Beyond a thousand, a float overflows."""
_ROUNDING = 1e-9
"""Keeps 0.57 of 100 from being 56 in floating point."""
LONGEST_HOLD = 120.0
"""Seconds; a server that asks for more is asked again after this."""


@attrs.define(eq=False)
class Ticket:
    """One granted slot. Give it back with ``release`` or ``unsent``; a second time does nothing."""

    granted_at: float
    """When it was granted, on the caller's clock."""
    completed: int
    """How many requests had ended by then."""
    released: int
    """How many leases had ended by then."""
    route: str = ""
    """The endpoint that it was granted for."""
    stacked: tuple[LeaseWindow, Ticket] | None = None
    """The window of the endpoint's own quota, and the slot there."""
    open: bool = True
    """Not given back yet."""


class _Leases:
    """Our own requests: those in flight, and the slots of answered ones until their leases end."""

    def __init__(self) -> None:
        # Invariant: len(ends) + in_flight <= capacity whenever a slot is granted.
        self.ends: deque[float] = deque()  # in order
        self.in_flight = self.granted = self.returned = self.completed = self.released = 0

    @property
    def active(self) -> int:
        """Slots that we hold."""
        return len(self.ends) + self.in_flight

    @property
    def next_end(self) -> float:
        """When the next lease ends; infinity if there is none."""
        return self.ends[0] if self.ends else INF

    def expire(self, now: float) -> None:
        """Free the slots of leases that have ended."""
        while self.ends and self.ends[0] <= now:
            self.ends.popleft()
            self.released += 1

    def open(self, granted_at: float) -> Ticket:
        """Count a request that is sent."""
        self.granted += 1
        self.in_flight += 1
        return Ticket(granted_at, self.completed, self.released)

    def close(self, ticket: Ticket) -> bool:
        """Count the end of a request; return whether this is the first time."""
        if not ticket.open:
            return False
        ticket.open = False
        self.in_flight -= 1
        self.completed += 1
        return True

    def add(self, end: float) -> None:
        """Hold a slot until *end*."""
        ends = self.ends
        if ends and end < ends[-1]:  # after one that was given up, or since the window has become shorter
            bisect.insort(ends, end)
        else:
            ends.append(end)

    def shorten(self, latest: float) -> None:
        """End all leases by *latest*."""
        self.ends = deque(min(end, latest) for end in self.ends)

    def end_of(self, place: int, capacity: int, lease: float, now: float) -> float:
        """Return when slot number *place* of *capacity* can be free; those in flight hold a *lease* from now."""
        before = bisect.bisect_right(self.ends, now + lease)
        later = place - (capacity - len(self.ends))
        if place < before:
            return self.ends[place]
        return self.ends[later] if later >= before else now + lease


class _ServerView:
    """What others hold, as far as the server's headers say, and the probes of a quota that they exhaust."""

    def __init__(self, probe_gap: float, *, headerless: bool) -> None:
        self.foreign = 0  # slots that others hold
        self.heard_at = -INF  # the last response with quota headers
        self.headerless = headerless
        self.counts_before = False  # headers are written before the request is counted
        self.probe_at = -INF
        self.probe_gap = probe_gap
        self.probing = False

    def clamp(self, at_least: int, at_most: int) -> None:
        """Keep the estimate within what a response proves: responses that arrive out of order cannot corrupt it."""
        self.foreign = max(0, at_least, min(self.foreign, at_most))


class _Holds:
    """Refusals: the pauses after them, and whether they contradict the headers.

    A *row* is a sequence of episodes of refusals in which no request was let through between them.
    """

    def __init__(self) -> None:
        self.until = self.since = -INF
        self.slow_until = -INF
        self.wary_until = -INF
        self.accepted = 0
        self.row = 0  # episodes since a request was let through
        self.row_since = self.mark_at = -INF  # the start of this row, and of the last one
        self.mark = 0  # requests accepted when the last row started
        self.tested_at = -INF  # when the last request was sent to test whether requests are let through again
        self.unnamed = False  # a refusal of this row named no time
        self.contradicts = self.used_up = False  # headers claimed slots at its start; it says that none are left
        self.accepted_before, self.accepted_in = 0, 0.0  # requests before this row, and the seconds that they took
        self.doubts = 0

    def start(
        self, now: float, seconds: float, *, named: bool, leased: int, window: float, longest: float, learned: bool
    ) -> None:
        """Hold after the first refusal of an episode.

        A time that proved too early is not believed again: the next hold is twice as long, up to *longest*.

        Args:
            now: The time.
            seconds: How long, by what the server named or by how an overload is waited out.
            named: The server named a time.
            leased: Requests that were accepted in the last window.
            window: Length of the window in seconds.
            longest: The longest hold in seconds that earlier ones lead to.
            learned: The limit was learned from refusals.
        """
        if not self.row:
            recent = now - self.mark_at < window
            self.accepted_before = self.accepted - self.mark if recent else leased
            self.accepted_in = now - self.mark_at if recent else 0.0
            self.row_since = self.mark_at = now
            self.mark, self.unnamed, self.used_up = self.accepted, False, False
            least = self.until - self.since if learned else 0.0
        else:
            least = 2 * (self.until - self.since)
        self.row += 1
        self.unnamed = self.unnamed or not named
        self.since = now
        self.prolong(now, max(seconds, min(least, longest)))

    def prolong(self, now: float, seconds: float) -> None:
        """Hold for so many seconds from *now* on, unless a longer hold is on."""
        self.until = max(self.until, now + min(seconds, LONGEST_HOLD))

    def backoff(self) -> float:
        """Return the factor of a pause that doubles with each episode of this row."""
        return 2.0 ** min(_ENOUGH_DOUBLINGS, self.row)


class _Pacing:
    """How evenly bulk is spread, and what it leaves to others."""

    def __init__(self) -> None:
        self.even_until = self.interactive_until = self.last_bulk = -INF
        self.headroom = self.burst = 0.0
        self.headroom_at = self.burst_at = -INF

    def decayed_headroom(self, now: float, window: float) -> float:
        """Return what is left of the headroom."""
        return self.headroom * math.pow(2.0, (self.headroom_at - now) / (window * _HEADROOM_HALF_LIFE))

    def note_burst(self, now: float, held: int, before: int, *, window: float, most: float) -> None:
        """Note how many slots others hold and held before, and keep headroom for as many as they took, up to *most*."""
        decay = math.pow(2.0, (self.burst_at - now) / (window * _BURST_MEMORY))
        self.burst, self.burst_at = self.burst * decay + held - before, now
        headroom = max(self.decayed_headroom(now, window), self.burst)
        self.headroom, self.headroom_at = min(most, headroom), now

    def shorten(self, latest: float) -> None:
        """End all that lasts for some windows by *latest*."""
        self.even_until = min(self.even_until, latest)
        self.interactive_until = min(self.interactive_until, latest)


class LeaseWindow:
    """One quota as a pure state machine: every method takes the time, in seconds of any clock.

    Args:
        quota: The user's quota; what the server's headers say of limit and window replaces it.
        uniform: A source of random numbers in [0, 1), for jitter.
        headerless: No header is expected to speak of this quota, so that no response is awaited before further
            requests are sent.
        overload: Seconds of the first hold after a refusal that names no time.
    """

    def __init__(
        self,
        quota: Quota,
        uniform: Callable[[], float] = random.random,
        *,
        headerless: bool = False,
        overload: float = 5.0,
    ) -> None:
        """Start without any slot taken."""
        self._quota = quota
        self._warms_up = not headerless
        self.share: float = 1.0
        """The part of all limits that this process uses."""
        self._most_at_once = quota.concurrency
        self._overload = overload
        self._uniform = uniform
        self.limit: int = quota.limit
        """Requests in a window, as far as is known."""
        self.window: float = quota.window
        """Length of the window in seconds, as far as is known."""
        self.refused: int = 0
        """Requests that were refused for their rate."""
        self._claimed: tuple[int, float] | None = None  # limit and window of headers that are not believed
        self._cap, self._cap_at = 1.0, -INF  # part of the limit that refusals without headers leave
        self._leases = _Leases()
        self._view = _ServerView(self.window * _PROBE, headerless=headerless)
        self._holds = _Holds()
        self._pacing = _Pacing()

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def active(self) -> int:
        """Slots that we hold."""
        return self._leases.active

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have not ended."""
        return self._leases.in_flight

    @property
    def granted(self) -> int:
        """Slots that were granted since the start."""
        return self._leases.granted

    @property
    def returned(self) -> int:
        """Slots among them whose requests were never sent."""
        return self._leases.returned

    @property
    def foreign(self) -> int:
        """Slots that others hold, by the last headers."""
        return self._view.foreign

    @property
    def is_headerless(self) -> bool:
        """True if the server sends no headers about this quota."""
        return self._view.headerless

    @property
    def held_until(self) -> float:
        """When a hold after a refusal ends."""
        return self._holds.until

    @property
    def size(self) -> tuple[int, float]:
        """Limit and window, as the server's headers state them."""
        return self._claimed or (self.limit, self.window)

    @property
    def knows_from_headers(self) -> bool:
        """True if the server's headers state what others hold."""
        return not self._view.headerless and self._view.heard_at > -INF

    @property
    def terms(self) -> tuple[float, ...]:
        """The parameters that the same state in another place needs: eleven numbers."""
        quota = self._quota
        shares = (quota.share, quota.headroom, quota.reserve, quota.concurrency or 0)
        modes = (_PACED_PART[quota.pacing], not self._warms_up, self._overload)
        return (*self.size, *shares, *modes, quota.limit, quota.window)

    def headroom(self, now: float) -> float:
        """Return the slots that bulk leaves to others at the moment."""
        return max(float(self._quota.headroom), self._pacing.decayed_headroom(now, self.window))

    def next_in(self, now: float) -> float | None:
        """Return the seconds until an interactive call could have a slot; None if a response in flight decides that."""
        at = self.ask(now, "interactive")
        return None if at == INF else max(0.0, at - now)

    def left(self, now: float) -> int:
        """Return the slots that an interactive call could take at the moment."""
        leases, view = self._leases, self._view
        leases.expire(now)
        if now < self._holds.until:
            return 0
        free = min(self._capacity(now) - leases.active, self._most_in_flight(now) - leases.in_flight)
        if self._holds.row:
            free = min(free, 1)
        if not view.headerless:
            if self._has_recent_headers(now):
                free = min(free, self.limit - leases.active - view.foreign)
            elif self._warms_up:
                free = min(free, _WARMING_UP - leases.in_flight)
        return max(0, int(free))

    def others(self, now: float) -> int:
        """Return the slots that others hold, if the server has said so lately."""
        return self._view.foreign if self._has_recent_headers(now) else 0

    def earliest(self, now: float, ahead: int) -> float:
        """Return when a call with *ahead* others before it can have a slot at the earliest.

        Those before it are taken to make their requests, and those in flight to be accepted.
        """
        leases = self._leases
        leases.expire(now)
        start = max(now, self._holds.until)
        # Not the capacity of this moment: what narrows it may be over at the next response.
        capacity = max(1, int(self.limit * max(1.0, self._cap) * self._quota.share * self.share + _ROUNDING))
        place = ahead - (capacity - leases.active)
        if place < 0:
            return start
        # Slots end one by one: leases, and what is in flight or could be taken now, a lease from now at the earliest.
        places = max(capacity, leases.active)
        rounds, place = divmod(place, places)
        lease = self.window * (1 + _MARGIN)
        return max(start, leases.end_of(place, places, lease, now) + rounds * lease)

    def lease_end(self, now: float, *, given_up: bool) -> float:
        """Return when the slot of a request that is answered, or given up, at *now* comes back."""
        return now + self.window * (1 + _MARGIN + (_IN_FLIGHT if given_up else 0.0))

    def adds_nothing_to(self, store: LeaseWindow, now: float, windows: float) -> bool:
        """Return whether this window of an endpoint can go: it is as free as its store's, or silent for *windows*."""
        old = -INF < self._view.heard_at < now - windows * self.window
        return self._cap >= 1.0 and now >= self._holds.until and (old or self.size == store.size)

    # -- granting --------------------------------------------------------------------------------------------------

    def try_acquire(self, now: float, lane: Lane) -> Ticket | float:
        """Grant a slot, or return when to ask again."""
        at = self.ask(now, lane)
        return self.grant(now, lane) if at <= now else at

    def ask(self, now: float, lane: Lane) -> float:
        """Return when a slot may be granted: *now*, or when to ask again; infinity for "after the next release"."""
        leases, view, holds = self._leases, self._view, self._holds
        if leases.ends and leases.ends[0] <= now:
            leases.expire(now)
        view.probing = False
        if now < holds.until:
            return holds.until
        if leases.in_flight and leases.in_flight >= self._most_in_flight(now):
            return INF
        if holds.row and leases.in_flight and now < holds.tested_at + self.window * _PROBE:
            return holds.tested_at + self.window * _PROBE
        bulk = lane == "bulk"
        capacity, active = self._capacity(now), leases.active
        next_lease = leases.next_end
        reserved = min(self._quota.reserve, (capacity - 1) // 2) if bulk and now < self._pacing.interactive_until else 0
        available: float = capacity - active - reserved
        if available < 1:  # our own requests fill the window
            return min(next_lease, holds.slow_until) if now < holds.slow_until else next_lease
        if not view.headerless:
            if now - view.heard_at <= self.window:
                headroom = self.headroom(now) if bulk else 0.0
                available = min(available, self.limit - active - view.foreign - headroom - reserved)
                if available < 1:  # the server's view leaves nothing
                    return self._probe(now, next_lease, bulk=bulk)
            elif self._warms_up:  # nothing is known (any more)
                return next_lease if leases.in_flight >= _WARMING_UP else now
        if bulk:
            not_before = self._pacing.last_bulk + self._gap(now, capacity, available, next_lease)
            if now < not_before:
                return min(not_before, next_lease)
        return now

    def grant(self, now: float, lane: Lane) -> Ticket:
        """Take the slot that ``ask`` has just offered."""
        view, pacing = self._view, self._pacing
        if lane == "bulk":
            pacing.last_bulk = now
        else:
            pacing.interactive_until = pacing.even_until = now + self.window * _EVEN_WINDOWS
        if self._holds.row:
            self._holds.tested_at = now
        if view.probing:
            view.probe_gap = min(self.window, 2 * view.probe_gap) * (0.8 + 0.4 * self._uniform())
        return self._leases.open(now)

    def record_external_grant(self, granted_at: float) -> Ticket:
        """Count a request that was sent without asking here."""
        return self._leases.open(granted_at)

    def remember(self, now: float, seconds_ago: float, count: int) -> None:
        """Hold the slots of requests that another process sent: *count*, the last of them *seconds_ago*."""
        end = self.lease_end(now - seconds_ago, given_up=True)
        if end > now:
            for _ in range(count):
                self._leases.add(end)

    def hold_until(self, at: float) -> None:
        """Grant nothing before *at*."""
        self._holds.until = max(self._holds.until, at)

    # -- releasing -------------------------------------------------------------------------------------------------

    def release(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> None:
        """Take a slot back whose request has ended, with what its end says about this quota."""
        if not self._leases.close(ticket):
            return
        self._leases.expire(now)
        refused = feedback.result == "refused"
        if not refused:
            self._leases.add(self.lease_end(now, given_up=feedback.result == "lost"))
        if feedback.result == "lost":
            return
        remaining = None if self._claimed is not None else feedback.remaining
        if refused:
            self.refused += 1
            self._judge_headers(now)
        else:
            half_free = remaining is not None and 2 * remaining > self.limit
            self._let_through(ticket, now, failed=feedback.result == "failed", contradicts=half_free)
        delay = feedback.delay if refused else None
        if remaining is None or (refused and delay is None):
            if refused and delay is not None and not self._view.headerless:
                self._refuse(ticket, now, delay)
            else:
                # Where no time is named, the platform is overloaded, whatever else the headers say.
                self._release_headerless(ticket, now, feedback)
        elif refused:
            self._trust_headers()
            self._refuse(ticket, now, delay)
            self._view.heard_at = now
        elif self._claimed is None:  # else this very response has taught that its headers are wrong
            self._trust_headers()
            self._view.heard_at = now
            self._learn(ticket, now, remaining, feedback.resets_after or 0.0)
        if refused and remaining == 0:
            self._holds.used_up = True

    def release_unattributed(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> None:
        """Take a slot back whose request may have been counted, and whose response says nothing about this quota."""
        if not self._leases.close(ticket):
            return
        self._leases.expire(now)
        self._leases.add(self.lease_end(now, given_up=feedback.result == "lost"))
        if feedback.result in {"accepted", "failed"}:
            failed = feedback.result == "failed"
            self._let_through(ticket, now, failed=failed, contradicts=False)
            if not failed:
                self._recover(now)

    def unsent(self, ticket: Ticket) -> None:
        """Take a slot back whose request was never sent: it is free at once."""
        self._leases.returned += self._leases.close(ticket)

    # -- changing the limits ---------------------------------------------------------------------------------------

    def resize(self, now: float, limit: int, window: float) -> None:
        """Use the limit and the window (seconds) that the server states, unless refusals have contradicted it."""
        if self._claimed is not None and limit * self.window >= self.limit * window:
            self._claimed = limit, window
            return
        self._claimed = None
        self._set_size(now, limit, window)

    def set_share(self, share: float) -> None:
        """Use a fraction of every limit; other processes use the rest independently."""
        concurrency = self._quota.concurrency
        self.share = share
        self._most_at_once = None if concurrency is None else max(1, int(concurrency * share + _ROUNDING))

    def assume_foreign(self, now: float, slots: int) -> None:
        """Assume that others hold so many slots, until the server says otherwise or a window is over."""
        view = self._view
        view.foreign, view.heard_at, view.headerless = max(view.foreign, slots), now, False
        view.probe_at = now + self.window

    def note_response(self, now: float) -> None:
        """Note that the server responds, and that its last headers still count."""
        self._view.heard_at = now

    def copy_leases(self, other: LeaseWindow) -> None:
        """Hold what *other* holds: its requests may have been counted here, too."""
        self._leases.ends = deque(other._leases.ends)

    # -- the rules -------------------------------------------------------------------------------------------------

    def _set_size(self, now: float, limit: int, window: float) -> None:
        if window < self.window:  # what was reckoned with the longer one lasts for the shorter one at most
            self._leases.shorten(now + window * (1 + _MARGIN + _IN_FLIGHT))
            self._pacing.shorten(now + window * _EVEN_WINDOWS)
        self.limit, self.window = limit, window

    def _capacity(self, now: float) -> int:
        speed = _OVERLOAD_SPEED if now < self._holds.slow_until else 1.0
        limit = self.limit * max(1.0, self._cap)  # a learned limit grows beyond itself
        return max(1, int(limit * min(self._quota.share, self._cap, speed) * self.share + _ROUNDING))

    def _most_in_flight(self, now: float) -> float:
        """Return how many requests may be in flight."""
        known, most = self._quota.limit, INF if self._most_at_once is None else self._most_at_once
        if self.limit * self._quota.window <= known * self.window:
            return most
        # Headers that name a larger limit than the user may be wrong.
        wary = now < self._holds.wary_until
        return min(most, _WARY if wary else _WARMING_UP + max(0, self._leases.active - known) // _APPROACH)

    def _has_recent_headers(self, now: float) -> bool:
        return now - self._view.heard_at <= self.window

    def _trust_headers(self) -> None:
        self._view.headerless, self._cap = False, 1.0

    def _learn(self, ticket: Ticket, now: float, remaining: int, resets_after: float) -> None:
        """Learn what others hold from an accepted request's headers."""
        leases, view = self._leases, self._view
        if remaining >= self.limit:
            view.counts_before = True
        remaining -= view.counts_before
        counted_later = leases.granted - ticket.completed - 1  # ours that may have reached the server after this one
        taken = self.limit - remaining - leases.active
        at_least = taken - (leases.released - ticket.released)
        if at_least - view.foreign >= 1:
            self._pacing.note_burst(now, at_least, view.foreign, window=self.window, most=_HEADROOM_PART * self.limit)
            self._pace_evenly(now)
        view.clamp(at_least, max(0, taken + counted_later))
        first_gap = self.window * _PROBE
        if view.probe_gap != first_gap and self.limit - leases.active - view.foreign - self.headroom(now) >= 1:
            view.probe_gap = first_gap
        if remaining <= 0:
            view.probe_at = max(view.probe_at, now + min(resets_after, self.window) + self.window * _MARGIN)

    def _probe(self, now: float, next_lease: float, *, bulk: bool) -> float:
        view = self._view
        if self._leases.in_flight:  # their responses will say more
            return next_lease
        at = max(view.probe_at, view.heard_at + (view.probe_gap if bulk else 0.0))
        if now < at:
            return min(at, next_lease)
        view.probing = True
        return now

    def _gap(self, now: float, capacity: int, available: float, next_lease: float) -> float:
        """Return the seconds that bulk keeps between two requests."""
        even = now < self._pacing.even_until or self._claimed is not None
        if not even and available > _PACED_PART[self._quota.pacing] * capacity:
            return 0.0
        # Spread what is left until our next slot comes back, and only our part of it if others use the quota, too.
        until = next_lease if next_lease < INF else now + self.window
        left = max(0.0, until - max(self._pacing.last_bulk, now - self.window))
        active, foreign = self._leases.active, self._view.foreign
        ours = 1.0 if foreign < 1 else max(0.2, (active + 1) / (active + foreign + 1))
        gap = left / (available * ours + 1)
        return max(gap, self.window / capacity) if even else gap

    def _pace_evenly(self, now: float) -> None:
        self._pacing.even_until = now + self.window * _EVEN_WINDOWS

    def _refuse(self, ticket: Ticket, now: float, delay: float | None) -> None:
        """Hold after a refusal whose headers speak of this quota."""
        leases, holds = self._leases, self._holds
        # The remaining of a refusal is no budget: it may be that of another quota.
        held = self.limit - leases.active - (leases.released - ticket.released)
        self._view.foreign = max(self._view.foreign, held)
        self._pace_evenly(now)
        if ticket.granted_at < holds.since:  # sent before the hold: the same episode
            self._prolong(now, delay)
            return
        jitter = 0.0
        if holds.row:
            jitter = self._uniform() * min(self.window / 4, self.window * _JITTER * 2 * holds.backoff())
        self._hold(now, (delay or 0.0) + self.window * _MARGIN + jitter, named=delay is not None)

    def _release_headerless(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> None:
        if feedback.result == "failed":
            return  # a gateway's page, which says nothing about the server's headers
        if feedback.result == "accepted":
            if not self._has_recent_headers(now):
                self._view.headerless = True
            self._recover(now)
            return
        holds, delay = self._holds, feedback.delay
        if ticket.granted_at < holds.since:  # sent before the hold: the same episode
            self._prolong(now, delay)
            return
        self._pace_evenly(now)
        if delay is not None:
            self._hold(now, delay + self.window * _MARGIN, named=True)
        else:
            self._hold(now, min(_OVERLOAD_MOST, self._overload * holds.backoff()), named=False)
            holds.slow_until = holds.until + self.window
        if self._view.headerless:
            self._cap, self._cap_at = max(_HEADERLESS_LEAST, self._cap * _HEADERLESS_SHRINK), now

    def _prolong(self, now: float, delay: float | None) -> None:
        """Hold on for as long as a further refusal of the same episode says, if that is longer."""
        if delay is not None:
            self._holds.prolong(now, delay + self.window * _MARGIN)

    def _hold(self, now: float, seconds: float, *, named: bool) -> None:
        self._holds.start(
            now,
            seconds,
            named=named,
            leased=len(self._leases.ends),
            window=self.window,
            longest=self.size[1],
            learned=self._claimed is not None,
        )
        self._holds.wary_until = now + self.window * _EVEN_WINDOWS

    def _judge_headers(self, now: float) -> None:
        """Note, when a row of refusals starts, whether the headers claim that more than half of the quota is free."""
        holds = self._holds
        if now - holds.until > self.size[1]:  # nothing was sent for long since the last row
            holds.row = 0
        if not holds.row:
            free = self.limit - self._leases.active - self._view.foreign
            holds.contradicts = self._has_recent_headers(now) and 2 * free > self.limit

    def _let_through(self, ticket: Ticket, now: float, *, failed: bool, contradicts: bool) -> None:
        """End a row of refusals if a request that was sent after the hold was not refused.

        Args:
            ticket: The request's slot.
            now: The time.
            failed: It was answered by a server error, which may come from the gateway that refuses.
            contradicts: Its headers claim that more than half of the quota is free.
        """
        holds = self._holds
        holds.accepted += 1
        if not holds.row and holds.doubts and now - holds.mark_at > self.window:
            holds.doubts = 0
        if not holds.row or ticket.granted_at < holds.since or failed:
            return
        row, holds.row = holds.row, 0
        if self._claimed is not None:
            return
        # A time that proved right speaks for the rest of the headers; and others may have used up the quota, and given
        # it back meanwhile.
        contradicts = contradicts and holds.contradicts and (row > 1 or holds.unnamed)
        holds.doubts = holds.doubts + (1 if holds.used_up else row) if contradicts else 0
        limit = holds.accepted_before
        window = min(self.window, max(holds.accepted_in, ticket.granted_at - holds.row_since))
        known = self._quota.limit / self._quota.window
        if holds.doubts < _DOUBTS or not _LEAST_LEARNED * known <= limit / window < self.limit / self.window:
            return
        self._claimed, holds.doubts = (self.limit, self.window), 0
        self._set_size(now, limit, window)
        self._view.headerless, self._view.foreign = True, 0
        self._cap, self._cap_at, holds.slow_until = 1.0, now, now

    def _recover(self, now: float) -> None:
        """Grow the cap again that refusals without headers have left."""
        since = now - self._cap_at
        if not self._view.headerless or since < self.window / 10:
            return
        self._cap_at = now
        if self._claimed is None:
            self._cap = min(1.0, self._cap + _HEADERLESS_GROW)
            return
        if now < self._holds.wary_until:
            return
        self._cap *= math.pow(_LEARNED_GROWTH, min(since / self.window, 2.0))
        limit, window = self._claimed
        if self.limit * self._cap * window >= limit * self.window:  # the headers were right after all, or are now
            # Slots of the shorter window have come back too early for this one: go on as at the start.
            self._claimed, self._cap = None, 1.0
            self._view.headerless, self._view.heard_at = False, now - 2 * window
            self._set_size(now, limit, window)
