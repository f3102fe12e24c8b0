"""A store's quota and the smaller ones of single endpoints: a request needs a slot of each, all or nothing.

**Which quota an answer speaks of.** Its headers do not say. But an endpoint's own quota is smaller than the store's,
which it stacks on. So the largest quota that any endpoint was told lately is the store's, and an endpoint that is told
less has one of its own. Where one endpoint alone is used the two are the same, and nothing is lost by taking its word.
A smaller quota counts at once; a larger one when three answers in a row agree, or if it has been proven before,
since one garbled header must not let a flood through.

**A refusal while something remains** is not the store's: an endpoint's own quota, or its limit of requests at once.
It holds that endpoint and nothing else, which then goes on as on a server without headers: slower after a refusal,
faster again as time passes. The request may have been counted by the other quota all the same (Django REST framework
asks all throttles even if one has refused), so it keeps its slot there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from b2b_async._headers import QuotaHeaders
from b2b_async.errors import ConfigurationError
from b2b_async.quota import INF, LeaseWindow, Quota, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b2b_async._messages import Lane

ENDPOINTS: Mapping[str, Quota] = {"POST /api/v3/io/companies/{companyId}/attachments": Quota(15, 60.0)}
"""The quotas of single endpoints that the vendor documents."""

_ENDPOINT_OVERLOAD = 1.0
"""Seconds of the first hold of an endpoint whose refusal names no time."""
_AGREE = 3
_FORGET_TOLD = 5.0
"""Windows after which what an endpoint was told says nothing about the store's quota any more."""
_FORGET_ENDPOINT = 60.0
"""Windows after which a quota of which no answer speaks any more is forgotten; it may be told in refusals only."""

_Allocated = tuple[int, float]


class Buckets:
    """The books of a store and its endpoints, as a pure state machine: every method is told the time.

    Args:
        quota: The store's quota and our part of it.
        endpoints: The quotas of single endpoints, by method and path.
        uniform: A source of random numbers in [0, 1), for jitter.

    Raises:
        ConfigurationError: an endpoint is not named as method and path.
    """

    def __init__(self, quota: Quota, endpoints: Mapping[str, Quota], uniform: Callable[[], float]) -> None:
        """Start with empty books."""
        self._quota = quota
        self._uniform = uniform
        self.store = LeaseWindow(quota, uniform)
        self.endpoints: dict[str, LeaseWindow] = {}
        self._declared: dict[str, _Allocated] = {}
        for route, own in endpoints.items():
            if not route.partition(" ")[2].startswith("/"):
                message = (
                    "limiter: an endpoint is named by method and path, for example "
                    f"'POST /api/v3/io/companies/{{companyId}}/attachments', not {route!r}"
                )
                raise ConfigurationError(message)
            self._declared[route] = (own.limit, own.window)
            self._open(route, own)
        self.refused = 0
        self._told: dict[str, tuple[_Allocated, float]] = {}
        self._proven: _Allocated = (quota.limit, quota.window)
        self._rising: _Allocated | None = None
        self._agreed: list[str] = []  # the endpoints that were told so

    def held_back(self, now: float, lane: Lane, route: str) -> float:
        """Say until when the endpoint's own quota holds a call back; *now* if it does not."""
        endpoint = self.endpoints.get(route)
        return now if endpoint is None else endpoint.ask(now, lane)

    def try_acquire(self, now: float, lane: Lane, route: str) -> Ticket | float:
        """Grant a slot of the store's quota and one of the endpoint's, or say when to ask again."""
        endpoint = self.endpoints.get(route)
        if endpoint is None:
            granted = self.store.try_acquire(now, lane)
            if isinstance(granted, Ticket):
                granted.route = route
            return granted
        at = endpoint.ask(now, lane)
        if at > now:
            return at
        granted = self.store.try_acquire(now, lane)
        if isinstance(granted, Ticket):
            granted.route = route
            granted.stacked = endpoint, endpoint.grant(now, lane)
        return granted

    def adopt(self, now: float, lane: Lane, route: str) -> Ticket:
        """Write down slots that were granted elsewhere."""
        ticket = self.store.grant(now, lane)
        ticket.route = route
        endpoint = self.endpoints.get(route)
        if endpoint is not None:
            ticket.stacked = endpoint, endpoint.grant(now, lane)
        return ticket

    def earliest(self, now: float, ahead: int, ahead_here: int, route: str) -> tuple[float, LeaseWindow]:
        """Say when a call can have its slots at the very earliest, and whose quota decides that.

        Args:
            now: The time.
            ahead: How many others are certain to go before it.
            ahead_here: How many of them want the same endpoint.
            route: The endpoint.
        """
        at, books = self.store.earliest(now, ahead), self.store
        endpoint = self.endpoints.get(route)
        if endpoint is not None and (later := endpoint.earliest(now, ahead_here)) > at:
            at, books = later, endpoint
        return at, books

    def unsent(self, ticket: Ticket) -> None:
        """Take back the slots of a request that never left."""
        self.store.unsent(ticket)
        if ticket.stacked is not None:
            endpoint, own = ticket.stacked
            endpoint.unsent(own)

    def report(self, ticket: Ticket, now: float, status: int | None, headers: QuotaHeaders) -> bool:
        """Take back the slots of a request that was answered with *status*, or given up (None).

        Returns:
            Whether the answer spoke of the endpoint's own quota and not of the store's.
        """
        store, allocated = self.store, headers.allocated
        if status == 429:
            self.refused += ticket.open
        if ticket.stacked is None:
            usual = allocated is None or allocated == (store.limit, store.window)
            if usual and (status != 429 or not headers.remaining):
                if allocated is not None:
                    self._agree(now, ticket.route, allocated)
                store.report(ticket, now, status, headers)
                return False
        if not ticket.open:
            return False
        of_endpoint = allocated is not None and self._sort(now, ticket.route, allocated, refused=status == 429)
        if status == 429 and headers.remaining and not of_endpoint:
            of_endpoint = True
            headers = QuotaHeaders(retry_after=headers.delay)
        endpoint, own = ticket.stacked or self._stack(ticket, of_endpoint=of_endpoint)
        if of_endpoint and endpoint is not None and own is not None:
            store.settle(ticket, now, given_up=False)
            endpoint.report(own, now, status, headers)
            return True
        store.report(ticket, now, status, headers)
        if endpoint is not None and own is not None:
            endpoint.settle(own, now, given_up=status is None)
        return False

    # -- inside ------------------------------------------------------------------------------------------------

    def _open(self, route: str, quota: Quota) -> LeaseWindow:
        books = LeaseWindow(quota, self._uniform, bare=True, overload=_ENDPOINT_OVERLOAD)
        self.endpoints[route] = books
        return books

    def _stack(self, ticket: Ticket, *, of_endpoint: bool) -> tuple[LeaseWindow | None, Ticket | None]:
        """Write a request down in the books of its endpoint, if it was sent before they were known to be needed."""
        endpoint = self.endpoints.get(ticket.route)
        if endpoint is None:
            if not of_endpoint:
                return None, None
            endpoint = self._open(ticket.route, self._like(self.store.limit, self.store.window))
        return endpoint, endpoint.grant(ticket.granted_at, "bulk")

    def _like(self, limit: int, window: float) -> Quota:
        return attrs.evolve(self._quota, limit=limit, window=window, headroom=0, concurrency=None)

    def _sort(self, now: float, route: str, allocated: _Allocated, *, refused: bool) -> bool:
        """Take the server's word on a quota, and say whether it is the endpoint's own."""
        store = self.store
        if allocated == (store.limit, store.window):
            self._agree(now, route, allocated)
            endpoint = self.endpoints.get(route)
            if (
                endpoint is not None
                and route not in self._declared
                and self._is_old(now, endpoint.heard_at, _FORGET_ENDPOINT)
            ):
                del self.endpoints[route]  # nobody has spoken of a quota of its own for long
            return False
        if allocated == self._declared.get(route):
            return True
        self._told = {name: told for name, told in self._told.items() if not self._is_old(now, told[1], _FORGET_TOLD)}
        if not refused:  # a refusal comes from the narrowest quota
            self._told[route] = allocated, now
        if _rate(allocated) < max((_rate(told) for told, _ in self._told.values()), default=0.0):
            endpoint = self.endpoints.get(route) or self._open(route, self._like(*allocated))
            endpoint.resize(*allocated)
            return True
        if allocated != self._rising:
            self._rising, self._agreed = allocated, []
        self._agreed.append(route)
        if len(self._agreed) >= _AGREE:
            self._proven = allocated
        narrower = allocated[0] <= store.limit and allocated[1] >= store.window
        if narrower or allocated == self._proven:
            store.resize(*allocated)
        return False

    def _is_old(self, now: float, at: float, windows: float) -> bool:
        return -INF < at < now - self.store.window * windows

    def _agree(self, now: float, route: str, allocated: _Allocated) -> None:
        """Note that the server still says what it said."""
        self._told[route] = allocated, now
        if self._rising is not None and route in self._agreed:  # not three in a row
            self._rising = None


def _rate(allocated: _Allocated) -> float:
    return allocated[0] / allocated[1]
