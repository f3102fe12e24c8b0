"""A store's quota and the smaller ones of single endpoints: a request needs a slot of each, all or nothing.

**Which quota an answer speaks of.** Its headers do not say. But an endpoint's own quota stacks on the store's, so it is
smaller. What an endpoint is told counts when two answers in a row agree, or three if it is more than before: one
garbled header must neither let a flood through nor stop anybody. Then

- more than the store's quota is the store's;
- less is the endpoint's own, unless two others are told the same and none is told the old one any more: then the
  store's has changed. (Where one endpoint alone is used, it makes no difference.)

**A refusal while something remains**, or one with another quota's headers, is not the store's: an endpoint's own quota,
or its limit of requests at once. It holds that endpoint and nothing else, which then goes on as on a server without
headers: slower after a refusal, faster again as time passes. The request may have been counted by the store all the
same (Django REST framework asks all throttles even if one has refused), so it keeps its slot there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

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
_AGREE_LESS, _AGREE_MORE = 2, 3
"""Answers in a row that must agree."""
_AGREE_OTHERS = 2
"""Other endpoints that must be told the same if less is to be the store's."""
_LATELY = 2.0
"""Windows for which what an endpoint was told says something about the store's quota."""
_FORGET_ENDPOINT = 60.0
"""Windows after which a quota of which no answer speaks any more is forgotten; it may be told in refusals only."""

Size = tuple[int, float]
"""Limit and window."""
Verdict = tuple[Literal["store", "endpoint", "nobody"], QuotaHeaders]
"""Whose quota an answer speaks of, and what it says of that."""


@attrs.define
class _Word:
    """What one endpoint is told."""

    size: Size
    """What counts."""
    at: float = -INF
    """When it was last told so."""
    other: Size | None = None
    """What the last answers said instead."""
    times: int = 0
    """How many of them."""

    def hear(self, size: Size, now: float) -> bool:
        """Listen, and say whether what counts has changed."""
        if size == self.size:
            self.at, self.other = now, None
            return False
        self.times = self.times + 1 if size == self.other else 1
        self.other = size
        if self.times < (_AGREE_MORE if _more(size, self.size) else _AGREE_LESS):
            return False
        self.size, self.at, self.other = size, now, None
        return True


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
        self._declared: dict[str, Size] = {}
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
        self._words: dict[str, _Word] = {}
        self._refusals: dict[str, _Word] = {}

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

    def report(self, ticket: Ticket, now: float, status: int | None, headers: QuotaHeaders) -> Verdict:
        """Take back the slots of a request that was answered with *status*, or given up (None).

        Returns:
            Whose quota the answer spoke of, and what it said of that.
        """
        store, route = self.store, ticket.route
        if status == 429:
            self.refused += ticket.open
        elif route not in self.endpoints and not headers.core:  # the usual case
            word = self._words.get(route)
            if headers.allocated is None:
                store.report(ticket, now, status, headers)
                return "store", headers
            if word is not None and headers.allocated == word.size == store.size:
                word.at, word.other = now, None
                store.report(ticket, now, status, headers)
                return "store", headers
        if not ticket.open:
            return "nobody", headers
        subject, headers = self._sort(now, route, status, headers)
        endpoint, own = ticket.stacked or self._stack(ticket, needed=subject == "endpoint")
        if subject == "store":
            store.report(ticket, now, status, headers)
        else:
            store.settle(ticket, now, status)
        if endpoint is None or own is None:
            return subject, headers
        if subject == "endpoint":
            if status != 429:
                store.heard_at = now  # the server is there, and says what it knows
            endpoint.report(own, now, status, headers)
        else:
            endpoint.settle(own, now, status)
            if route not in self._declared and endpoint.adds_nothing_to(store, now, _FORGET_ENDPOINT):
                self.endpoints.pop(route, None)
        return subject, headers

    # -- inside ------------------------------------------------------------------------------------------------

    def _open(self, route: str, quota: Quota) -> LeaseWindow:
        books = LeaseWindow(quota, self._uniform, bare=True, overload=_ENDPOINT_OVERLOAD)
        books.take_part(self.store.part)
        self.endpoints[route] = books
        return books

    def _stack(self, ticket: Ticket, *, needed: bool) -> tuple[LeaseWindow | None, Ticket | None]:
        """Write a request down in the books of its endpoint, if it was sent before they were known to be needed."""
        endpoint = self.endpoints.get(ticket.route)
        if endpoint is None:
            if not needed:
                return None, None
            endpoint = self._open(ticket.route, self._like(self.store.limit, self.store.window))
        return endpoint, endpoint.adopt(ticket.granted_at)

    def _like(self, limit: int, window: float) -> Quota:
        return attrs.evolve(self._quota, limit=limit, window=window, headroom=0, concurrency=None)

    def _sort(self, now: float, route: str, status: int | None, headers: QuotaHeaders) -> Verdict:
        """Take the server's word; say whose quota it speaks of, and what it says of that."""
        size, store = headers.allocated, self.store
        if status == 429:
            if size is not None and size != store.size:
                self._hear_refusal(now, route, size)
                if size == self._size(route):
                    return "endpoint", headers
            if headers.core or headers.remaining or size not in {None, store.size}:
                return "endpoint", QuotaHeaders(retry_after=headers.delay)
            return "store", headers
        if headers.core:
            return "store", QuotaHeaders()
        if size is None or self._hear(now, route, size) == store.size:
            return "store", headers
        # What is not agreed on yet says nothing.
        return ("endpoint" if size == self._size(route) else "nobody"), headers

    def _hear(self, now: float, route: str, size: Size) -> Size:
        """Listen to what an accepted request was told, and give what its endpoint is told, if that is agreed on."""
        store = self.store
        word = self._words.setdefault(route, _Word(self._declared.get(route, store.size)))
        changed = word.hear(size, now)
        if size != word.size or size == self._declared.get(route):
            return size  # it is not agreed on yet; or it was known
        endpoint = self.endpoints.get(route)
        if size == store.size:
            if changed and route not in self._declared:
                self.endpoints.pop(route, None)  # what was its own is the store's now
        elif _more(size, store.size):
            self._raise_store(now, size)
        elif endpoint is None or endpoint.size != size:
            # Also where it was agreed on before, and another has changed the books since.
            since = now - store.window * _LATELY
            lately = [other.size for name, other in self._words.items() if name != route and other.at >= since]
            if lately.count(size) >= _AGREE_OTHERS and store.size not in lately:
                store.resize(now, *size)
            else:
                self._resize_endpoint(now, route, size)
        return size

    def _hear_refusal(self, now: float, route: str, size: Size) -> None:
        """Listen to what a refused request was told of another quota than the store's."""
        word = self._refusals.setdefault(route, _Word(self._size(route)))
        if word.hear(size, now):
            self._resize_endpoint(now, route, size)

    def _raise_store(self, now: float, size: Size) -> None:
        before = self.store.size
        self.store.resize(now, *size)
        for route, word in self._words.items():
            if word.size == before and word.at > -INF and route not in self.endpoints:
                # What it was told was its own; its requests are among the store's.
                self._open(route, self._like(*before)).copy_leases(self.store)

    def _resize_endpoint(self, now: float, route: str, size: Size) -> None:
        endpoint = self.endpoints.get(route)
        if endpoint is None:
            self._open(route, self._like(*size))
        else:
            endpoint.resize(now, *size)

    def _size(self, route: str) -> Size:
        endpoint = self.endpoints.get(route)
        return self.store.size if endpoint is None else endpoint.size


def _more(size: Size, than: Size) -> bool:
    """Say whether a quota allows more in every way."""
    return size[0] >= than[0] and size[1] <= than[1]
