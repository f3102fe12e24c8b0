"""Which quota an answer speaks of: the store's, or an endpoint's own."""

from __future__ import annotations

import pytest
from helpers import ended

from b2b_async import ConfigurationError, Quota
from b2b_async.ratelimit.buckets import Buckets
from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.window import Ticket

A, B, C = "PUT /a", "GET /b", "GET /c"
STORE = (150, 60.0)


class World:
    """Books of a store, asked and answered one call at a time."""

    def __init__(self, endpoints: dict[str, Quota] | None = None, quota: Quota | None = None) -> None:
        """Start at time 0."""
        self.books = Buckets(quota or Quota(*STORE, "burst", reserve=0), endpoints or {}, lambda: 0.5)
        self.now = 0.0

    def call(self, route: str, allocated: tuple[int, float] | None = STORE, status: int = 200, **said: float) -> None:
        """Make a call that takes a tenth of a second; it must be granted at once."""
        ticket = self.books.try_acquire(self.now, "interactive", route)
        assert isinstance(ticket, Ticket), f"wait until {ticket}"
        self.now += 0.1
        left = (allocated or STORE)[0] if status == 200 else 0
        headers = QuotaFeedback(**{"allocated": allocated, "remaining": left, **said})  # type: ignore[arg-type]
        self.books.release(ticket, self.now, ended(status, headers))
        self.books.release(ticket, self.now, ended(status, headers))

    def free_at(self, route: str) -> float:
        """Say when the next call of *route* may leave; 0 for now."""
        granted = self.books.try_acquire(self.now, "interactive", route)
        if isinstance(granted, Ticket):
            self.books.unsent(granted)
            return 0.0
        return granted - self.now

    @property
    def sizes(self) -> dict[str, tuple[int, float]]:
        """Give all quotas that are known."""
        return {"": self.books.overall.size, **{route: books.size for route, books in self.books.endpoints.items()}}


def test_one_garbled_header_changes_nothing() -> None:
    """Neither less nor more, for an endpoint or the store, in an accepted answer or a refused one."""
    world = World({C: Quota(15, 60.0)})
    for garbled in ((1, 3600.0), (5000, 60.0), (150, 3600.0)):
        world.call(A, garbled)
        world.call(A)
        world.call(C, garbled)
        world.call(C, (15, 60.0))
    world.call(A, (1, 3600.0), status=429, retry_after=1.0)
    assert world.sizes == {"": STORE, C: (15, 60.0), A: STORE}
    assert world.free_at(A) == pytest.approx(1.1)
    assert world.free_at(B) == 0.0


def test_more_is_the_stores_when_three_in_a_row_agree() -> None:
    """In a row of one endpoint."""
    world = World()
    for route in (A, B, C):
        world.call(route, (300, 60.0))
        world.call(route)
    assert world.sizes == {"": STORE}
    for _ in range(3):
        assert world.sizes == {"": STORE}
        world.call(A, (300, 60.0))
    assert world.sizes == {"": (300, 60.0), B: STORE, C: STORE}, "they were told less"
    for route in (B, C):
        for _ in range(3):
            world.call(route, (300, 60.0))
    assert world.sizes == {"": (300, 60.0)}
    world.call(B)
    world.call(B, (300, 60.0))
    world.call(B)
    assert world.sizes == {"": (300, 60.0)}, "late words"


def test_less_is_an_endpoints_own() -> None:
    """The store's other endpoints go on; the very first word may be that of an endpoint, too."""
    world = World()
    for _ in range(16):  # the first one is not believed
        world.call(A, (15, 60.0), remaining=15)
    assert world.sizes == {"": STORE, A: (15, 60.0)}
    assert world.free_at(A) > 50
    for _ in range(50):
        world.call(B)


def test_the_stores_quota_gets_smaller() -> None:
    """When three endpoints are told the same and none is told the old one any more."""
    world = World()
    for route in (A, B, C):
        world.call(route)
    world.now += 130
    for _ in range(2):
        world.call(A, (30, 60.0))
    assert world.sizes == {"": STORE, A: (30, 60.0)}
    for route in (B, C):
        for _ in range(2):
            world.call(route, (30, 60.0))
    assert world.sizes == {"": (30, 60.0), A: (30, 60.0), B: (30, 60.0)}
    for route in (A, B):
        world.call(route, (30, 60.0))
    assert world.sizes == {"": (30, 60.0)}, "they add nothing any more"


def test_what_was_agreed_on_counts_again_when_the_books_have_been_changed() -> None:
    """By another process that shares them, or since they were lost."""
    world = World()
    for route in (A, B, C):
        for _ in range(3):
            world.call(route, (300, 60.0))
    world.books.overall.resize(world.now, 20, 60.0)
    world.call(A, (300, 60.0))
    assert world.books.overall.size == (300, 60.0)
    world.now += 130
    for route in (A, B, C):
        for _ in range(2):
            world.call(route, (50, 60.0))
    world.books.overall.resize(world.now, 300, 60.0)
    world.call(C, (50, 60.0))
    assert world.books.overall.size == (50, 60.0)


def test_an_answer_without_headers_takes_no_word_back() -> None:
    """A gateway's page between two answers that agree."""
    world = World()
    for _ in range(2):
        world.call(A, (50, 60.0))
        world.call(A, None, status=502, remaining=None)  # type: ignore[arg-type]
    assert world.sizes == {"": STORE, A: (50, 60.0)}


def test_two_endpoints_with_the_same_own_quota_are_not_the_store() -> None:
    """While a third one is told the store's."""
    world = World()
    for _ in range(3):
        world.call(C)
        world.call(A, (15, 60.0))
        world.call(B, (15, 60.0))
    assert world.sizes == {"": STORE, A: (15, 60.0), B: (15, 60.0)}


def test_an_own_quota_that_was_taken_for_the_stores_stays_one() -> None:
    """When another endpoint is told more, what the first one holds is not forgotten."""
    world = World(quota=Quota(15, 60.0, "burst", reserve=0))
    for _ in range(11):
        world.call(A, (15, 60.0), remaining=15)
    for _ in range(3):
        world.call(B)
    assert world.sizes == {"": STORE, A: (15, 60.0)}
    for _ in range(2):
        world.call(A, (15, 60.0), remaining=4)
    assert world.free_at(A) > 50, "11 of its own, 2 that may be, and these two"
    world.call(B)


def test_a_refusal_while_something_remains_holds_its_endpoint_only() -> None:
    """It is slower then, recovers with time, and is forgotten in the end."""
    world = World()
    world.call(A)
    world.call(A, status=429, remaining=50, retry_after=2.0)
    assert world.free_at(A) == pytest.approx(2.1)
    assert world.books.refused == 1
    world.call(B)
    world.now += 3
    assert world.books.endpoints[A].left(world.now) == 1, "it tests whether others are let through"
    world.call(A, status=429, remaining=50, resets_after=None, retry_after=None)
    assert world.free_at(A) == pytest.approx(4.2), "no time was named, and 2.1 s were too few"
    for _ in range(90):
        world.now += 6
        world.call(A)
    assert world.sizes == {"": STORE}


def test_a_quota_told_in_refusals_only_is_learnt_from_them() -> None:
    """At the second; it is forgotten an hour after the last."""
    world = World()
    for _ in range(2):
        world.call(A)
        world.call(A, (2, 60.0), status=429, retry_after=61.0)
        world.now += 62
    assert world.sizes == {"": STORE, A: (2, 60.0)}
    world.call(A)
    world.now += 61
    world.call(A)
    world.call(A, (2, 60.0), status=429, retry_after=30.0)
    assert world.free_at(A) == pytest.approx(30.1, abs=2)
    world.call(B)
    world.now += 3601
    world.call(A)
    assert world.sizes == {"": STORE}


def test_the_core_api_speaks_of_another_quota() -> None:
    """What remains of it is not the store's, and its refusal holds the endpoint that was passed on."""
    world = World()
    world.call(B, remaining=51)
    assert world.books.overall.foreign == 98
    world.call(A, None, remaining=19_998, core=True)
    world.call(A, None, remaining=0, core=True)
    assert world.books.overall.foreign == 98
    world.call(A, None, status=429, remaining=0, core=True, resets_after=15.0)
    assert world.free_at(A) == pytest.approx(15.1)
    assert world.free_at(B) == 0.0


def test_a_server_that_stops_sending_headers_is_a_server_without() -> None:
    """One stray header must not keep the cold start going for ever."""
    world = World()
    world.call(A)
    for _ in range(2):
        world.now += 61
        world.call(A, None, remaining=None)  # type: ignore[arg-type]
    for _ in range(9):
        assert isinstance(world.books.try_acquire(world.now, "interactive", A), Ticket)


def test_the_vendors_own_small_quota_is_known() -> None:
    """15 a minute for attachments."""
    attachments = "POST /api/v3/io/companies/{companyId}/attachments"
    world = World({attachments: Quota(15, 60.0)})
    for _ in range(15):
        world.call(attachments, (15, 60.0), remaining=15)
    assert world.free_at(attachments) > 50
    assert world.free_at(A) == 0.0


def test_an_endpoint_is_named_by_method_and_path() -> None:
    """Else nobody would ever find it."""
    with pytest.raises(ConfigurationError, match="method and path"):
        Buckets(Quota(), {"/orders": Quota(4)}, lambda: 0.5)
    with pytest.raises(ConfigurationError, match="concurrency"):
        Quota(concurrency=0)
