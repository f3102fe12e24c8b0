"""Servers with a quota, as models in simulated time: what a limiter may meet, and a network in front of it."""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
from helpers import ended

from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.window import Ticket
from b2b_async.sandbox import SlidingLog as DRFLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from b2b_async._messages import Lane

Admission = tuple[bool, dict[str, str], float]
"""Whether a request is accepted, the headers of the answer, and the seconds to wait if it is not."""


class Server(Protocol):
    """A quota at a server."""

    refused: int

    def admit(self, now: float) -> Admission:
        """Count a request, if there is room."""
        ...


def told(limit: int, window: float, remaining: float, reset: float) -> dict[str, str]:
    """Write the vendor's headers."""
    return {
        "X-Requests-Allocated": f"{limit} times/{window:g} s",
        "X-Requests-Remaining": f"{math.floor(remaining)} times",
        "X-Request-Window-Resets-After": f"{reset} s",
    }


class _Model:
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self.accepted = self.refused = 0

    def _answer(self, accepted: bool, remaining: float, reset: float) -> Admission:  # noqa: FBT001 -- internal
        self.accepted += accepted
        self.refused += not accepted
        headers = told(self.limit, self.window, remaining, reset)
        if not accepted:
            headers["Retry-After"] = str(math.ceil(reset))
        return accepted, headers, reset


class FixedWindow(_Model):
    """Counts in windows that begin with the first request, or (with a *phase*) when its clock says so."""

    def __init__(self, limit: int, window: float, phase: float | None = None) -> None:
        """Start with an empty window."""
        super().__init__(limit, window)
        self._phase = phase
        self._start = -math.inf
        self._used = 0

    def admit(self, now: float) -> Admission:
        """Count a request, if there is room."""
        start = (
            now if self._phase is None else math.floor((now + self._phase) / self.window) * self.window - self._phase
        )
        if now >= self._start + self.window:
            self._start, self._used = start, 0
        accepted = self._used < self.limit
        self._used += accepted
        return self._answer(accepted, self.limit - self._used, self._start + self.window - now)


class PlainLog(_Model):
    """A sliding log that tells what is left after the request, and when its oldest entry leaves."""

    def __init__(self, limit: int, window: float) -> None:
        """Start with an empty log."""
        super().__init__(limit, window)
        self._log: deque[float] = deque()

    def admit(self, now: float) -> Admission:
        """Count a request, if there is room."""
        log = self._log
        while log and log[0] <= now - self.window:
            log.popleft()
        accepted = len(log) < self.limit
        if accepted:
            log.append(now)
        return self._answer(accepted, self.limit - len(log), log[0] + self.window - now)


class GCRA(_Model):
    """A leaky bucket: *limit* at once, then one each ``window / limit``; it tells when it will be empty."""

    def __init__(self, limit: int, window: float) -> None:
        """Start with an empty bucket."""
        super().__init__(limit, window)
        self._full_at = -math.inf

    def admit(self, now: float) -> Admission:
        """Count a request, if there is room."""
        gap = self.window / self.limit
        after = max(self._full_at, now) + gap
        accepted = after - now <= self.window + 1e-9
        if accepted:
            self._full_at = after
        level = max(0.0, self._full_at - now)
        return self._answer(accepted, (self.window - level) / gap, level if accepted else after - now - self.window)


class TwoBuckets(_Model):
    """A sliding counter, as proxies have it: the last window's count weighted by what of it still counts.

    It refuses even *limit* in a window if they came in a burst, so it is no model that anything can be safe with.
    """

    def __init__(self, limit: int, window: float, phase: float = 0.0) -> None:
        """Start with empty buckets."""
        super().__init__(limit, window)
        self._phase = phase
        self._place, self._last, self._this = 0, 0, 0

    def admit(self, now: float) -> Admission:
        """Count a request, if there is room."""
        place, into = divmod(now + self._phase, self.window)
        if place != self._place:
            self._last = self._this if place == self._place + 1 else 0
            self._place, self._this = int(place), 0
        used = self._last * (1 - into / self.window) + self._this
        accepted = used + 1 <= self.limit
        self._this += accepted
        left = max(0.0, self.limit - used - accepted)
        return self._answer(accepted, left, self.window / self.limit if left < 1 else self.window - into)


class Gateway(Protocol):
    """A limit in front of the server."""

    refused: int

    def passes(self, now: float) -> bool:
        """Count a request; return whether it is let through."""
        ...


class BurstGateway:
    """Counts as nginx does (``limit_req`` with ``burst`` and ``nodelay``)."""

    def __init__(self, rate: float, burst: int) -> None:
        """Start with an empty bucket; *rate* is in requests a second."""
        self._gap, self._burst = 1 / rate, burst
        self._full_at = -math.inf
        self.refused = 0

    def passes(self, now: float) -> bool:
        """Count a request; return whether it is let through."""
        after = max(self._full_at, now) + self._gap
        passes = after - now <= (self._burst + 1) * self._gap + 1e-9
        if passes:
            self._full_at = after
        self.refused += not passes
        return passes


class CountingGateway:
    """Counts as HAProxy does (``http_req_rate``): refused requests, too, and the last period by its weight."""

    def __init__(self, limit: int, period: float) -> None:
        """Start with empty counts; *period* is in seconds."""
        self._limit, self._period = limit, period
        self._began, self._last, self._this = math.nan, 0, 0
        self.refused = 0

    def passes(self, now: float) -> bool:
        """Count a request; return whether it is let through."""
        if math.isnan(self._began):
            self._began = now
        periods = int((now - self._began) // self._period)
        if periods:
            self._last, self._this = self._this if periods == 1 else 0, 0
            self._began += periods * self._period
        self._this += 1
        passes = self._this + self._last * (1 - (now - self._began) / self._period) <= self._limit
        self.refused += not passes
        return passes


MODELS: dict[str, Callable[[int, float, float], Server]] = {
    "fixed window, from the first request": lambda limit, window, _: FixedWindow(limit, window),
    "fixed window, by the clock": FixedWindow,
    "sliding log": lambda limit, window, _: PlainLog(limit, window),
    "leaky bucket": lambda limit, window, _: GCRA(limit, window),
    "Django REST framework": lambda limit, window, _: DRFLog(limit, window),
}
"""The servers that a client can use in full without a refusal; made of limit, window and phase."""

Fate = Literal["answered", "lost", "given up"]


@attrs.frozen
class Trip:
    """The way of one request."""

    there: float
    """Seconds to the server."""
    back: float
    """Seconds from the server."""
    fate: Fate = "answered"
    """Answered; or its answer gets lost, which the client notices when it should have come; or the client gives it
    up before it has arrived."""


class Books(Protocol):
    """What grants slots, as a pure state machine."""

    def try_acquire(self, now: float, lane: Lane, route: str) -> Ticket | float:
        """Grant a slot, or say when to ask again."""
        ...

    def release(self, ticket: Any, now: float, feedback: QuotaFeedback) -> Any:
        """Take a slot back."""
        ...


def simulate(
    books: Books,
    admit: Callable[[float], Admission],
    trips: Sequence[Trip],
    *,
    workers: int,
    total: int,
    lane: Lane = "bulk",
    route: str = "",
    late: float = 0.0,
    change: Callable[[dict[str, str]], dict[str, str]] = dict,
    decisions: list[object] | None = None,
) -> float:
    """Send *total* requests from *workers*, whose ways are *trips*, in turns; one that is refused goes again.

    Args:
        books: Grants the slots.
        admit: The server.
        trips: The ways.
        workers: Requests under way at once, at most.
        total: How many must be accepted or lost.
        lane: Their lane.
        route: Their endpoint.
        late: Seconds by which a request that was given up arrives later, at most.
        change: What becomes of the headers on their way back.
        decisions: Gets everything that the books decided.

    Returns:
        The time at which all was over.
    """
    now, free, sent, done = 0.0, workers, 0, 0
    events: list[tuple[float, int, str, Any]] = []
    number = 0
    while done < total:
        wake = math.inf
        while free and sent < total:
            ticket = books.try_acquire(now, lane, route)
            if decisions is not None:
                decisions.append(ticket if isinstance(ticket, float) else "granted")
            if not isinstance(ticket, Ticket):
                assert ticket > now
                wake = ticket
                break
            trip = trips[number % len(trips)]
            number, free, sent = number + 1, free - 1, sent + 1
            heapq.heappush(events, (now + trip.there, number, "arrive", (ticket, trip)))
            if trip.fate == "given up":
                number += 1
                heapq.heappush(events, (now + max(0.0, trip.there - late), number, "answer", (ticket, None, {})))
        assert events or wake < math.inf, "nothing is under way and nothing will ever free a slot"
        if not events or wake < events[0][0]:
            now = wake
            continue
        now, _, what, detail = heapq.heappop(events)
        if what == "arrive":
            ticket, trip = detail
            accepted, headers, _ = admit(now)
            status = None if trip.fate == "lost" else 200 if accepted else 429
            if trip.fate != "given up":
                number += 1
                heapq.heappush(events, (now + trip.back, number, "answer", (ticket, status, headers)))
        else:
            ticket, status, headers = detail
            said = (
                QuotaFeedback()
                if status is None
                else QuotaFeedback.from_headers(change(headers), "refused" if status == 429 else "accepted")
            )
            books.release(ticket, now, ended(status, said))
            free += 1
            if status == 429:
                sent -= 1
            else:
                done += 1
    return now
