"""A store's quota and the smaller ones of single endpoints: a request needs a slot of each, all or nothing.

**Which quota a response speaks of.** Its headers do not say. But an endpoint's own quota stacks on the store's, so it
is smaller. What the headers of an endpoint report counts when two responses in a row agree, or three if it is more than
before: one garbled header must neither let a flood through nor stop anybody. Then

- more than the store's quota is the store's;
- less is the endpoint's own, unless two other endpoints report the same and none reports the old one any more: then the
  store's has changed. (Where one endpoint alone is used, it makes no difference.)

**A refusal while something remains**, or one with another quota's headers, is not the store's: an endpoint's own quota,
or its limit of requests at once. It holds that endpoint and nothing else, which then goes on as on a server without
headers: slower after a refusal, faster again as time passes. The request may have been counted by the store all the
same (Django REST framework asks all throttles even if one has refused), so it keeps its slot there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from b2b_async.errors import ConfigurationError
from b2b_async.ratelimit.window import INF, LeaseWindow, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b2b_async.ratelimit.feedback import QuotaFeedback
    from b2b_async.ratelimit.quota import Lane, Quota

__all__ = [
    "Attribution",
    "Buckets",
    "Size",
    "Subject",
]

_ENDPOINT_OVERLOAD = 1.0
"""Seconds of the first hold of an endpoint whose refusal names no time."""
_AGREE_LESS, _AGREE_MORE = 2, 3
"""Responses in a row that must agree."""
_AGREE_OTHERS = 2
"""Other endpoints that must report the same if less is to be the store's."""
_LATELY = 2.0
"""Windows for which what an endpoint reported says something about the store's quota."""
_FORGET_ENDPOINT = 60.0
"""Windows after which a quota that no response reports any more is forgotten; refusals alone may report it."""

Size = tuple[int, float]
"""Limit and window."""
Subject = Literal["store", "endpoint", "none"]


@attrs.frozen
class Attribution:
    """The quota that a response speaks of, and what it says of that."""

    subject: Subject
    """The quota; "none" as long as it is not agreed on."""
    feedback: QuotaFeedback
    """What it says."""


@attrs.define
class _ReportedQuota:
    """The quota that the responses of one endpoint report."""

    size: Size
    """What counts."""
    at: float = -INF
    """When it was last reported."""
    other: Size | None = None
    """What the last responses reported instead."""
    times: int = 0
    """How many of them."""

    def observe(self, size: Size, now: float) -> bool:
        """Take a reported size in; return whether what counts has changed."""
        if size == self.size:
            self.at, self.other = now, None
            return False
        self.times = self.times + 1 if size == self.other else 1
        self.other = size
        if self.times < (_AGREE_MORE if _allows_more(size, self.size) else _AGREE_LESS):
            return False
        self.size, self.at, self.other = size, now, None
        return True


class Buckets:
    """The windows of a store and its endpoints, as a pure state machine: every method takes the time.

    Args:
        quota: The store's quota and our part of it.
        endpoints: The quotas of single endpoints, by method and path.
        uniform: A source of random numbers in [0, 1), for jitter.

    Raises:
        ConfigurationError: an endpoint is not named as method and path.
    """

    def __init__(self, quota: Quota, endpoints: Mapping[str, Quota], uniform: Callable[[], float]) -> None:
        """Start without any slot taken."""
        self._quota = quota
        self._uniform = uniform
        self.overall: LeaseWindow = LeaseWindow(quota, uniform)
        self.endpoints: dict[str, LeaseWindow] = {}
        self._declared: dict[str, Size] = {}
        for route, own in endpoints.items():
            self.declare(route, own)
        self.refused: int = 0
        self._reported: dict[str, _ReportedQuota] = {}
        self._reported_in_refusals: dict[str, _ReportedQuota] = {}

    def declare(self, route: str, quota: Quota, now: float = 0.0) -> None:
        """State the quota of one endpoint, unless one is stated already.

        Raises:
            ConfigurationError: the endpoint is not named as method and path.
        """
        if not route.partition(" ")[2].startswith("/"):
            message = (
                "limiter: an endpoint is named by method and path, for example "
                f"'POST /api/v3/io/companies/{{companyId}}/attachments', not {route!r}"
            )
            raise ConfigurationError(message)
        if route not in self._declared:
            self._declared[route] = (quota.limit, quota.window)
            if route in self.endpoints:  # it was learned: its requests count on
                self.endpoints[route].resize(now, quota.limit, quota.window)
            else:
                self._open(route, quota)

    def held_back(self, now: float, lane: Lane, route: str) -> float:
        """Return until when the endpoint's own quota holds a call back; *now* if it does not."""
        endpoint = self.endpoints.get(route)
        return now if endpoint is None else endpoint.ask(now, lane)

    def try_acquire(self, now: float, lane: Lane, route: str) -> Ticket | float:
        """Grant a slot of the store's quota and one of the endpoint's, or return when to ask again."""
        endpoint = self.endpoints.get(route)
        if endpoint is None:
            granted = self.overall.try_acquire(now, lane)
            if isinstance(granted, Ticket):
                granted.route = route
            return granted
        at = endpoint.ask(now, lane)
        if at > now:
            return at
        granted = self.overall.try_acquire(now, lane)
        if isinstance(granted, Ticket):
            granted.route = route
            granted.stacked = endpoint, endpoint.grant(now, lane)
        return granted

    def record_external_grant(self, now: float, lane: Lane, route: str) -> Ticket:
        """Count slots that were granted elsewhere."""
        ticket = self.overall.grant(now, lane)
        ticket.route = route
        endpoint = self.endpoints.get(route)
        if endpoint is not None:
            ticket.stacked = endpoint, endpoint.grant(now, lane)
        return ticket

    def earliest(self, now: float, ahead: int, ahead_here: int, route: str) -> tuple[float, LeaseWindow]:
        """Return when a call can have its slots at the very earliest, and whose quota decides that.

        Args:
            now: The time.
            ahead: How many others are certain to go before it.
            ahead_here: How many of them want the same endpoint.
            route: The endpoint.
        """
        at, window = self.overall.earliest(now, ahead), self.overall
        endpoint = self.endpoints.get(route)
        if endpoint is not None and (later := endpoint.earliest(now, ahead_here)) > at:
            at, window = later, endpoint
        return at, window

    def unsent(self, ticket: Ticket) -> None:
        """Take back the slots of a request that was never sent."""
        self.overall.unsent(ticket)
        if ticket.stacked is not None:
            endpoint, own = ticket.stacked
            endpoint.unsent(own)

    def remember(self, now: float, seconds_ago: float, count: int) -> None:
        """Hold the slots of requests that another process sent: *count*, the last of them *seconds_ago*."""
        self.overall.remember(now, seconds_ago, count)

    def release(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> Attribution:
        """Take back the slots of a request that has ended; return which quota its end spoke of."""
        store, route = self.overall, ticket.route
        if feedback.is_refusal:
            self.refused += ticket.open
        elif route not in self.endpoints and not feedback.core:  # the usual case
            reported = self._reported.get(route)
            if feedback.allocated is None:
                store.release(ticket, now, feedback)
                return Attribution("store", feedback)
            if reported is not None and feedback.allocated == reported.size == store.size:
                reported.at, reported.other = now, None
                store.release(ticket, now, feedback)
                return Attribution("store", feedback)
        if not ticket.open:
            return Attribution("none", feedback)
        attribution = self._attribute(now, route, feedback)
        subject, feedback = attribution.subject, attribution.feedback
        endpoint, own = ticket.stacked or self._stack(ticket, needed=subject == "endpoint")
        if subject == "store":
            store.release(ticket, now, feedback)
        else:
            store.release_unattributed(ticket, now, feedback)
        if endpoint is None or own is None:
            return attribution
        if subject == "endpoint":
            if not feedback.is_refusal:
                store.note_response(now)
            endpoint.release(own, now, feedback)
        else:
            endpoint.release_unattributed(own, now, feedback)
            if route not in self._declared and endpoint.adds_nothing_to(store, now, _FORGET_ENDPOINT):
                self.endpoints.pop(route, None)
        return attribution

    # -- attribution -----------------------------------------------------------------------------------------------

    def _open(self, route: str, quota: Quota) -> LeaseWindow:
        window = LeaseWindow(quota, self._uniform, headerless=True, overload=_ENDPOINT_OVERLOAD)
        window.set_share(self.overall.share)
        self.endpoints[route] = window
        return window

    def _stack(self, ticket: Ticket, *, needed: bool) -> tuple[LeaseWindow | None, Ticket | None]:
        """Count a request in the window of its endpoint, if it was sent before that was known to be needed."""
        endpoint = self.endpoints.get(ticket.route)
        if endpoint is None:
            if not needed:
                return None, None
            endpoint = self._open(ticket.route, self._like(self.overall.limit, self.overall.window))
        return endpoint, endpoint.record_external_grant(ticket.granted_at)

    def _like(self, limit: int, window: float) -> Quota:
        return attrs.evolve(self._quota, limit=limit, window=window, headroom=0, concurrency=None)

    def _attribute(self, now: float, route: str, feedback: QuotaFeedback) -> Attribution:
        size, store = feedback.allocated, self.overall
        if feedback.is_refusal:
            if size is not None and size != store.size:
                self._observe_refusal(now, route, size)
                if size == self._size(route):
                    return Attribution("endpoint", feedback)
            if feedback.core or feedback.remaining or size not in {None, store.size}:
                return Attribution("endpoint", feedback.silent(feedback.delay))
            return Attribution("store", feedback)
        if feedback.core:
            return Attribution("store", feedback.silent())
        if size is None or self._observe(now, route, size) == store.size:
            return Attribution("store", feedback)
        # What is not agreed on yet says nothing.
        return Attribution("endpoint" if size == self._size(route) else "none", feedback)

    def _observe(self, now: float, route: str, size: Size) -> Size:
        """Take in what an accepted request's headers report; return what its endpoint reports, if that is agreed on."""
        store = self.overall
        reported = self._reported.setdefault(route, _ReportedQuota(self._declared.get(route, store.size)))
        changed = reported.observe(size, now)
        if size != reported.size or size == self._declared.get(route):
            return size  # it is not agreed on yet; or it was known
        endpoint = self.endpoints.get(route)
        if size == store.size:
            if changed and route not in self._declared:
                self.endpoints.pop(route, None)  # what was its own is the store's now
        elif _allows_more(size, store.size):
            self._raise_overall(now, size)
        elif endpoint is None or endpoint.size != size:
            # Also where it was agreed on before, and another endpoint has changed the windows since.
            since = now - store.window * _LATELY
            lately = [other.size for name, other in self._reported.items() if name != route and other.at >= since]
            if lately.count(size) >= _AGREE_OTHERS and store.size not in lately:
                store.resize(now, *size)
            else:
                self._resize_endpoint(now, route, size)
        return size

    def _observe_refusal(self, now: float, route: str, size: Size) -> None:
        """Take in what a refused request's headers report of another quota than the store's."""
        reported = self._reported_in_refusals.setdefault(route, _ReportedQuota(self._size(route)))
        if reported.observe(size, now):
            self._resize_endpoint(now, route, size)

    def _raise_overall(self, now: float, size: Size) -> None:
        before = self.overall.size
        self.overall.resize(now, *size)
        for route, reported in self._reported.items():
            if reported.size == before and reported.at > -INF and route not in self.endpoints:
                # What it reported was its own; its requests are among the store's.
                self._open(route, self._like(*before)).copy_leases(self.overall)

    def _resize_endpoint(self, now: float, route: str, size: Size) -> None:
        endpoint = self.endpoints.get(route)
        if endpoint is None:
            self._open(route, self._like(*size))
        else:
            endpoint.resize(now, *size)

    def _size(self, route: str) -> Size:
        endpoint = self.endpoints.get(route)
        return self.overall.size if endpoint is None else endpoint.size


def _allows_more(size: Size, than: Size) -> bool:
    """Return whether a quota allows more in every way."""
    return size[0] >= than[0] and size[1] <= than[1]
