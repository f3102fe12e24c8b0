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

``LeaseWindow`` (``window.py``) is the state machine: no clock, no loop, no I/O. ``Buckets`` (``buckets.py``) keeps one
for the store and one for each endpoint with a quota of its own, and attributes each response to one of them.
``RateLimiter`` (``limiter.py``) queues the waiters on top. ``redis/`` keeps the same state where several processes can
reach it. ``feedback.py`` makes a value of a response's headers.
"""

from __future__ import annotations

import re
from typing import Literal

import attrs

from b2b_async._validation import is_number, is_whole, must_be
from b2b_async.errors import ConfigurationError

__all__ = ["EndpointSnapshot", "Lane", "Quota", "QuotaSnapshot"]

Lane = Literal["interactive", "bulk"]
"""The priority of a call when the quota is short: interactive calls go before bulk ones."""

_MOST_LIMIT, _MOST_WINDOW = 100_000, 3_600.0
_QUOTA_TEXT = re.compile(r"(\d{1,9})/(\d{1,9}(?:\.\d{1,9})?)s?")
_PACINGS = ("auto", "burst", "smooth")

_limit = must_be(
    f"a whole number of requests from 1 to {_MOST_LIMIT:,}", lambda value: is_whole(value, 1, _MOST_LIMIT), of="quota"
)
_window = must_be(
    f"seconds above 0 and up to {_MOST_WINDOW:,.0f}",
    lambda value: is_number(value, above=0, most=_MOST_WINDOW),
    of="quota",
)
_share = must_be("a part of the limit above 0 and up to 1", lambda value: is_number(value, above=0, most=1), of="quota")
_slots = must_be("a whole number of slots, 0 or more", lambda value: is_whole(value, 0), of="quota")
_concurrency = must_be(
    "a whole number of requests, 1 or more, or None", lambda value: value is None or is_whole(value, 1), of="quota"
)
_pacing = must_be(f"one of {', '.join(_PACINGS)}", lambda value: value in _PACINGS, of="quota")


@attrs.frozen
class Quota:
    """How many requests a store, or one of its endpoints, allows, and which part of that is ours."""

    limit: int = attrs.field(default=150, validator=_limit)
    """Requests in a window; what the server's headers state replaces it."""
    window: float = attrs.field(default=60.0, validator=_window)
    """Length of the window in seconds; what the server's headers state replaces it."""
    pacing: Literal["auto", "burst", "smooth"] = attrs.field(default="auto", validator=_pacing)
    """How bulk spends a window: the first 80 % at once, all at once, or evenly."""
    share: float = attrs.field(default=1.0, validator=_share)
    """The part of the limit that this client may use at all."""
    headroom: int = attrs.field(default=0, validator=_slots)
    """Slots that bulk always leaves to other integrations."""
    reserve: int = attrs.field(default=1, validator=_slots)
    """Slots that bulk leaves to interactive calls for five windows after one of them."""
    concurrency: int | None = attrs.field(default=None, validator=_concurrency)
    """Requests in flight at once, at most; None for no such limit."""

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


@attrs.frozen
class QuotaSnapshot:
    """The state of the limiter at one moment."""

    limit: int
    """Requests that the store allows in a window."""
    window: float
    """Length of the window in seconds."""
    used: int
    """Slots that we hold; a shared limiter counts those of all its processes."""
    foreign: int
    """Slots that others hold, as far as the server's headers state."""
    left: int
    """Slots that we could take now."""
    next_in: float | None
    """Seconds until an interactive call could have a slot; None if that depends on a response in flight."""
    held_for: float
    """Seconds for which the store is on hold after a refusal; 0 if it is not."""
    waiting_interactive: int
    """Interactive calls that wait for a slot."""
    waiting_bulk: int
    """Bulk calls that wait for a slot."""
    requests: int
    """Requests that were sent since the start, those in flight included."""
    refused: int
    """Requests that were refused for their rate (429) since the start."""
    endpoints: tuple[EndpointSnapshot, ...] = ()
    """The endpoints with a quota of their own, as far as they are known, that were called."""
    degraded: bool = False
    """A shared limiter goes on with the state of its own process, since it cannot reach the shared one."""

    @property
    def narrowest(self) -> QuotaSnapshot | EndpointSnapshot:
        """The quota, of the store or an endpoint, that allows the fewest requests a second."""
        quotas: list[QuotaSnapshot | EndpointSnapshot] = [self, *self.endpoints]
        return min(quotas, key=lambda quota: quota.limit / quota.window)


@attrs.frozen
class EndpointSnapshot:
    """The state of one endpoint's own quota at one moment."""

    route: str
    """Method and path of the endpoint."""
    limit: int
    """Requests that it allows in a window."""
    window: float
    """Length of the window in seconds."""
    used: int
    """Slots that we hold."""
    next_in: float | None
    """Seconds until an interactive call could have a slot; None if that depends on a response in flight."""
