"""The books of the quota, as a pure state machine: invariants under any latency, order and loss."""

from __future__ import annotations

import copy
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from helpers import ended
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import MODELS, BurstGateway, CountingGateway, DRFLog, PlainLog, Trip, simulate, told

from b2b_async.ratelimit.buckets import Buckets
from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.quota import Quota
from b2b_async.ratelimit.window import LeaseWindow, Ticket

if TYPE_CHECKING:
    from servers import Gateway, Server

    from b2b_async._messages import Lane

SILENCE = QuotaFeedback()


def said(remaining: int, resets_after: float = 0.4, **more: Any) -> QuotaFeedback:
    """Give headers with *remaining*."""
    return QuotaFeedback(remaining=remaining, resets_after=resets_after, **more)


def books_of(quota: Quota | None = None) -> LeaseWindow:
    """Give books whose jitter is in the middle."""
    return LeaseWindow(quota or Quota(10, 60.0, "burst"), lambda: 0.5)


def grant(books: LeaseWindow, now: float, lane: Lane = "interactive") -> Ticket:
    """Take a slot that must be free."""
    ticket = books.try_acquire(now, lane)
    assert isinstance(ticket, Ticket)
    return ticket


def until(books: LeaseWindow, now: float, lane: Lane = "interactive") -> float:
    """Be told to wait."""
    time = books.try_acquire(now, lane)
    assert isinstance(time, float)
    assert time > now
    return time


TRIPS = st.lists(
    st.builds(
        Trip,
        there=st.floats(0.0, 3.0),
        back=st.floats(0.0, 3.0),
        fate=st.sampled_from(["answered"] * 8 + ["lost", "given up"]),
    ),
    min_size=1,
    max_size=12,
)
QUOTAS = st.builds(
    Quota,
    limit=st.integers(1, 7),
    window=st.just(10.0),
    pacing=st.sampled_from(["auto", "burst", "smooth"]),
    share=st.sampled_from([0.5, 1.0]),
    headroom=st.integers(0, 2),
    reserve=st.integers(0, 9),
    concurrency=st.sampled_from([None, None, 1, 3]),
)
LANES = st.sampled_from(["bulk", "interactive"])
GARBAGE = st.lists(
    st.dictionaries(
        st.sampled_from(["X-Requests-Remaining", "X-Request-Window-Resets-After", "Retry-After"]),
        st.text(max_size=4) | st.integers(-5, 9).map(str),
    ),
    min_size=1,
    max_size=9,
)
MANY = settings(max_examples=20 * settings.default.max_examples)
LATE = 0.83
"""A twelfth of the window, and a bit less."""


def buckets_of(quota: Quota, endpoints: dict[str, Quota] | None = None) -> Buckets:
    """Give the books of a store whose jitter is in the middle."""
    return Buckets(quota, endpoints or {}, lambda: 0.5)


class Watched:
    """A server that knows how many requests it accepted within a window, at most."""

    def __init__(self, server: Server, window: float) -> None:
        """Watch *server*."""
        self.server, self.window = server, window
        self.arrivals: deque[float] = deque()
        self.most = 0

    def admit(self, now: float) -> tuple[bool, dict[str, str], float]:
        """Count a request, if there is room."""
        answer = self.server.admit(now)
        if answer[0]:
            self.arrivals.append(now)
            while self.arrivals[0] <= now - self.window:
                self.arrivals.popleft()
            self.most = max(self.most, len(self.arrivals))
        return answer


@MANY
@given(
    model=st.sampled_from(sorted(MODELS)),
    quota=QUOTAS,
    trips=TRIPS,
    workers=st.integers(1, 12),
    lane=LANES,
    phase=st.floats(0, 10),
)
def test_alone_no_server_refuses_anything(
    model: str, quota: Quota, trips: list[Trip], workers: int, lane: Lane, phase: float
) -> None:
    """Whatever the latencies, the order of the answers, and what gets lost or given up; and all of it ends."""
    server = Watched(MODELS[model](quota.limit, quota.window, phase), quota.window)
    simulate(buckets_of(quota), server.admit, trips, workers=workers, total=18, lane=lane, late=LATE)

    assert server.server.refused == 0
    assert server.most <= max(1, int(quota.limit * quota.share))


@MANY
@given(quota=QUOTAS, trips=TRIPS, workers=st.integers(1, 12), garbage=GARBAGE)
def test_garbage_headers_refuse_nothing_and_hang_nothing(
    quota: Quota, trips: list[Trip], workers: int, garbage: list[dict[str, str]]
) -> None:
    """Headers only ever narrow."""
    server = DRFLog(quota.limit, quota.window)
    turn = iter(range(10**9))
    simulate(
        buckets_of(quota),
        server.admit,
        trips,
        workers=workers,
        total=10,
        late=LATE,
        change=lambda _: garbage[next(turn) % len(garbage)],
    )

    assert server.refused == 0


@MANY
@given(
    quota=QUOTAS,
    own=QUOTAS,
    trips=TRIPS,
    workers=st.integers(1, 12),
    lane=LANES,
    declared=st.booleans(),
    who_tells=st.booleans(),
)
def test_an_endpoints_own_quota_is_kept_on_top_of_the_stores(
    quota: Quota, own: Quota, trips: list[Trip], workers: int, lane: Lane, *, declared: bool, who_tells: bool
) -> None:
    """Nothing is refused where it is declared; where it is not, it is found out at the price of some refusals."""
    store, endpoint = DRFLog(quota.limit, quota.window), DRFLog(own.limit, own.window)

    def admit(now: float) -> tuple[bool, dict[str, str], float]:
        # As the framework does: both are asked, whatever the first one says.
        (good, headers, wait), (good_here, headers_here, wait_here) = store.admit(now), endpoint.admit(now)
        if good and good_here:
            return True, headers_here if who_tells else headers, 0.0
        return False, headers_here if good else headers, wait_here if good else wait

    books = buckets_of(quota, {"PUT /x": own} if declared else {})
    simulate(books, admit, trips, workers=workers, total=15, lane=lane, route="PUT /x", late=LATE)

    assert store.refused + endpoint.refused <= (0 if declared else 15)


@MANY
@given(quota=QUOTAS, trips=TRIPS, lane=LANES, origin=st.sampled_from([-(2.0**20), 2.0**10, 2.0**20]))
def test_the_clocks_origin_does_not_matter(quota: Quota, trips: list[Trip], lane: Lane, origin: float) -> None:
    """Only differences of times are used, so the same is decided at the same time.

    Times are on a grid of powers of two, so that moving them rounds nothing: an answer just one window old is that
    whatever the origin. The window is one too, since its parts are added to times.
    """

    def grid(now: float) -> float:
        return now if now == math.inf else round(now * 1024) / 1024

    @attrs.define
    class Shifted:
        books: Buckets
        by: float

        def try_acquire(self, now: float, lane: Lane, route: str) -> Ticket | float:
            answer = self.books.try_acquire(grid(now) + self.by, lane, route)
            return answer if isinstance(answer, Ticket) else max(grid(answer - self.by), grid(now) + 1 / 1024)

        def release(self, ticket: Ticket, now: float, feedback: QuotaFeedback) -> None:
            self.books.release(ticket, grid(now) + self.by, feedback)

    runs: list[list[object]] = []
    for by in (0.0, origin):
        server, decisions = DRFLog(quota.limit, quota.window), list[object]()
        shifted = Shifted(buckets_of(quota), by)
        simulate(shifted, server.admit, trips, workers=5, total=10, lane=lane, decisions=decisions)
        runs.append(decisions)

    assert runs[0] == runs[1]


@pytest.mark.parametrize("model", MODELS)
def test_alone_the_whole_quota_is_used(model: str) -> None:
    """3,000 requests at 150 in 60 s: bursting within 2 % of the best, the default at most a window later."""
    trips = [Trip(0.05 + 0.01 * n, 0.2 - 0.01 * n) for n in range(15)]
    best = 1140.0
    for pacing, bound in (("burst", best / 0.98), ("auto", best / 0.98 + 60), ("smooth", best / 0.98 + 60)):
        server = MODELS[model](150, 60.0, 0.0)
        end = simulate(buckets_of(Quota(pacing=pacing)), server.admit, trips, workers=64, total=3000)

        assert server.refused == 0
        assert end <= bound


# -- one rule at a time --------------------------------------------------------------------------------------------


def test_a_slot_comes_back_a_window_after_its_answer() -> None:
    """Plus a margin of a six-hundredth of the window."""
    books = books_of(Quota(1, 60.0))
    ticket = grant(books, 0.0)
    assert until(books, 1.0) == math.inf
    books.release(ticket, 2.0, ended(200, said(1)))
    assert until(books, 3.0) == 62.1
    assert books.left(62.0) == 0
    grant(books, 62.1)


def test_a_refused_or_unsent_slot_comes_back_at_once() -> None:
    """It was not counted."""
    books = books_of()
    ticket = grant(books, 0.0)
    books.unsent(ticket)
    books.unsent(ticket)
    books.release(ticket, 0.0, ended(200, SILENCE))
    assert books.active == 0
    refused = grant(books, 0.0)
    books.release(refused, 1.0, ended(429, said(0, 2.0)))
    assert books.active == 0
    assert books.refused == 1


def test_until_the_first_answer_few_are_in_flight() -> None:
    """Five, whatever the limit."""
    books = books_of()
    tickets = [grant(books, 0.0) for _ in range(5)]
    assert until(books, 0.0) == math.inf
    books.release(tickets[0], 1.0, ended(200, said(9)))
    grant(books, 1.0)


def test_what_others_hold_is_left_to_them() -> None:
    """Ten allowed, three left after ours: six are held by others."""
    books = books_of()
    books.release(grant(books, 0.0), 1.0, ended(200, said(10)))
    books.release(grant(books, 1.0), 2.0, ended(200, said(3)))
    assert books.foreign == 6
    assert books.left(2.0) == 2
    books.release(grant(books, 2.0), 3.0, ended(200, said(8)))
    assert books.foreign == 0


def test_head_room_for_others_fades() -> None:
    """Bulk leaves some slots for a while; interactive calls may take them."""
    books = books_of(Quota(100, 60.0, "burst"))
    books.release(grant(books, 0.0, "bulk"), 1.0, ended(200, said(80)))
    assert books.headroom(1.0) == pytest.approx(15.0)
    assert books.headroom(601.0) == pytest.approx(7.5)


def test_an_exhausted_quota_is_probed_at_growing_intervals() -> None:
    """One request at a time, then twice as late."""
    books = books_of(Quota(10, 60.0, "burst"))
    books.release(grant(books, 0.0, "bulk"), 1.0, ended(200, said(0, 3.0)))
    first = until(books, 1.0, "bulk")
    assert first == pytest.approx(6.0)
    books.release(grant(books, 6.0, "bulk"), 6.5, ended(200, said(0, 3.0)))
    assert until(books, 6.5, "bulk") == pytest.approx(16.5)
    probe = grant(books, 16.5, "bulk")
    assert until(books, 16.5, "bulk") == pytest.approx(61.1)
    books.release(probe, 17.0, ended(200, said(9)))
    assert books.foreign < 9


def test_bulk_bursts_first_and_is_paced_then() -> None:
    """Eight of ten at once, the rest spread over what is left of the window."""
    books = books_of(Quota(10, 60.0, "auto"))
    for n in range(8):
        books.release(grant(books, 0.0, "bulk"), 0.0, ended(200, said(10 - n)))
    assert 10 < until(books, 0.0, "bulk") < 40
    grant(books, 0.0, "interactive")


def test_after_an_interactive_call_bulk_leaves_a_slot() -> None:
    """So that the next one need not wait for a window."""
    books = books_of(Quota(3, 60.0, "burst", reserve=1))
    books.release(grant(books, 0.0), 0.0, ended(200, said(3)))
    books.release(grant(books, 50.0, "bulk"), 50.0, ended(200, said(2)))
    until(books, 55.0, "bulk")
    grant(books, 55.0)


def test_a_refusal_holds_once_per_episode() -> None:
    """Not once for each request in flight, but as long as the longest of them says; a time too early is doubled."""
    books = books_of(Quota(10, 60.0))
    tickets = [grant(books, 0.0) for _ in range(3)]
    books.release(tickets[0], 1.0, ended(429, said(0, 5.0)))
    assert until(books, 1.0) == pytest.approx(6.1)
    books.release(tickets[1], 2.0, ended(429, said(0, 1.0)))
    assert until(books, 2.0) == pytest.approx(6.1)
    books.release(tickets[2], 2.5, ended(429, said(0, retry_after=9.0)))
    assert until(books, 2.5) == pytest.approx(11.6)
    books.release(grant(books, 11.6), 11.7, ended(200, said(5)))
    again = grant(books, 11.8)
    books.release(again, 12.0, ended(429, said(0, 5.0, retry_after=8.0)))
    assert until(books, 12.0) == pytest.approx(20.1)
    third = grant(books, 20.1)
    books.release(third, 21.0, ended(429, said(0, 5.0)))
    assert until(books, 21.0) == pytest.approx(21 + 2 * 8.1), "8.1 s were too few, and 5 would be, too"


def test_overload_holds_longer_each_time_and_halves_the_speed() -> None:
    """A 429 that says nothing: 5 s, 10 s, then half the slots for a window."""
    books = books_of(Quota(4, 60.0))
    books.release(grant(books, 0.0), 0.0, ended(200, said(4)))
    first, late = grant(books, 1.0), grant(books, 1.0)
    books.release(first, 2.0, ended(429, SILENCE))
    books.release(late, 3.0, ended(429, SILENCE))
    assert until(books, 3.0) == 7.0
    books.release(grant(books, 7.0), 8.0, ended(429, SILENCE))
    assert until(books, 8.0) == 18.0
    test = grant(books, 18.0)
    assert books.left(18.0) == 0, "two of four"
    assert until(books, 18.0) == 23.0, "one request tests whether others are let through; if it is lost, another one"
    books.release(test, 18.5, ended(200, SILENCE))
    assert until(books, 18.5) == pytest.approx(60.1)
    grant(books, 78.0)


def test_a_server_without_headers_leaves_our_own_books() -> None:
    """A refusal then shrinks the cap; it grows again slowly."""
    books = books_of(Quota(10, 60.0, "burst"))
    books.release(grant(books, 0.0), 1.0, ended(200, SILENCE))
    assert books.left(1.0) == 9
    books.release(grant(books, 1.0), 2.0, ended(429, QuotaFeedback(retry_after=3.0)))
    assert until(books, 2.0) == pytest.approx(5.1)
    assert books.left(2.0) == 0
    assert books.left(5.1) == 1, "it tests whether others are let through"
    books.release(grant(books, 6.0), 20.0, ended(200, SILENCE))
    books.release(grant(books, 20.0), 21.0, ended(404, SILENCE))
    assert books.left(300.0) == 7


def test_a_gateways_page_does_not_end_the_cold_start() -> None:
    """A 5xx without headers says nothing about the server behind."""
    books = books_of()
    books.release(grant(books, 0.0), 1.0, ended(503, SILENCE))
    assert not books.is_headerless
    for _ in range(5):
        grant(books, 1.0)
    until(books, 1.0)


def test_silence_after_headers_is_not_a_server_without_headers() -> None:
    """A proxy's error page has none, and changes nothing."""
    books = books_of()
    books.release(grant(books, 0.0), 1.0, ended(200, said(10)))
    books.release(grant(books, 1.0), 2.0, ended(503, SILENCE))
    assert not books.is_headerless


def test_a_shorter_window_keeps_the_leases_in_order() -> None:
    """The slots of before still come back when they were going to."""
    books = books_of(Quota(3, 60.0, "burst"))
    tickets = [grant(books, 0.0) for _ in range(3)]
    books.release(tickets[0], 1.0, ended(200, said(3)))
    books.resize(2.0, 3, 30.0)
    books.release(tickets[1], 2.0, ended(200, said(3)))
    assert [round(books.earliest(2.0, ahead), 2) for ahead in range(2)] == [32.05, 32.05]
    assert until(books, 2.0) == pytest.approx(32.05)


def test_a_request_that_was_given_up_may_still_be_under_way() -> None:
    """Its slot comes back a twelfth of the window later than that of one that was answered."""
    books = books_of(Quota(2, 60.0, "burst"))
    given_up, answered = grant(books, 0.0), grant(books, 0.0)
    books.release(given_up, 1.0, ended(None, SILENCE))
    books.release(answered, 2.0, ended(200, said(1)))
    assert books.earliest(2.0, 0) == pytest.approx(62.1)
    assert books.earliest(2.0, 1) == pytest.approx(66.1)


def test_an_endpoint_that_nobody_speaks_of_has_its_own_books() -> None:
    """There is no first answer to wait for; and a slot that is given back twice changes nothing."""
    books = LeaseWindow(Quota(10, 60.0, "burst"), lambda: 0.5, headerless=True)
    books.release(grant(books, 0.0), 0.0, ended(200, said(9)))
    late = grant(books, 1.0)
    books.release_unattributed(late, 2.0, ended(200))
    books.release_unattributed(late, 3.0, ended(200))
    assert books.left(2.0) == 8
    assert books.left(61.5) == 9, "the server's word is old by then"
    for _ in range(9):
        grant(books, 61.5)


def test_a_slow_window_ends_before_its_leases() -> None:
    """What can be had at the earliest is not what the half speed of an overloaded hour would give."""
    books = books_of(Quota(4, 600.0))
    for _ in range(3):
        books.release(grant(books, 0.0), 0.0, ended(200, said(4)))
    books.release(grant(books, 0.0), 0.0, ended(429, SILENCE))
    assert books.earliest(6.0, 0) == 6.0
    assert books.earliest(6.0, 1) == pytest.approx(601.0)
    given_up = LeaseWindow(Quota(3, 60.0), lambda: 0.5)
    tickets = [grant(given_up, 0.0) for _ in range(3)]
    given_up.release(tickets[0], 0.0, ended(200, said(3)))
    given_up.release(tickets[1], 2.0, ended(None, SILENCE))
    assert [round(given_up.earliest(2.0, ahead), 1) for ahead in range(4)] == [60.1, 62.1, 67.1, 120.2]


def test_bulk_is_not_starved_by_the_reserve() -> None:
    """Where there are two slots, both are for all."""
    books = books_of(Quota(2, 60.0, "burst", reserve=1))
    books.release(grant(books, 0.0), 0.0, ended(200, said(2)))
    grant(books, 50.0, "bulk")


def test_a_limit_of_requests_at_once() -> None:
    """The next one leaves when one is answered."""
    books = books_of(Quota(10, 60.0, concurrency=2))
    assert books.left(0.0) == 2
    first, _ = grant(books, 0.0), grant(books, 0.0)
    assert books.left(0.0) == 0
    assert until(books, 0.0) == math.inf
    books.release(first, 1.0, ended(200, said(10)))
    grant(books, 1.0)


def test_a_share_is_a_share() -> None:
    """0.57 of 100 is 57."""
    books = books_of(Quota(100, 60.0, "burst", share=0.57))
    books.release(grant(books, 0.0), 0.0, ended(200, said(100)))
    for _ in range(56):
        grant(books, 0.0)
    until(books, 0.0)


def test_the_earliest_slot_of_a_queue() -> None:
    """A bound from below: free slots now, then leases as they end, then a window later again."""
    books = books_of(Quota(2, 60.0, "burst"))
    assert books.earliest(0.0, 1) == 0.0
    books.release(grant(books, 0.0), 1.0, ended(200, said(2)))
    second = grant(books, 1.0)
    assert books.earliest(1.0, 0) == pytest.approx(61.1)
    assert books.earliest(1.0, 1) == pytest.approx(61.1)
    books.release(second, 5.0, ended(200, said(1)))
    assert [round(books.earliest(5.0, ahead), 1) for ahead in range(4)] == [61.1, 65.1, 121.2, 125.2]


# -- gateways that allow less than the headers say -----------------------------------------------------------------

QUICK = [Trip(there=0.005 + 0.001 * number, back=0.03 - 0.001 * number) for number in range(17)]
CLAIM = told(100_000, 60.0, 99_999, 0.0006)


def pass_gateway(
    gateway: Gateway, headers: str, *, total: int, refusal: dict[str, str] | None = None, lane: Lane = "bulk"
) -> float:
    """Send *total* requests through *gateway*; return the seconds that they took."""
    log = PlainLog(150, 60.0)

    def admit(now: float) -> tuple[bool, dict[str, str], float]:
        if not gateway.passes(now):
            return False, refusal or {}, 0.0
        honest = log.admit(now)[1]
        return True, {"honest": honest, "absent": {}, "contradicting": CLAIM}[headers], 0.0

    return simulate(buckets_of(Quota()), admit, QUICK, workers=4, total=total, lane=lane)


@pytest.mark.parametrize("headers", ["honest", "absent", "contradicting"])
@pytest.mark.parametrize(
    ("gateway", "best"),
    [(BurstGateway(2.5, 149), 120), (BurstGateway(2.5, 20), 172), (CountingGateway(150, 60.0), 120)],
    ids=["nginx, burst 149", "nginx, burst 20", "HAProxy"],
)
def test_a_gateway_refuses_few_requests_whatever_the_headers_say(headers: str, gateway: Gateway, best: float) -> None:
    """450 requests need at most ten refusals and twice the time of the optimum."""
    gateway = copy.copy(gateway)
    seconds = pass_gateway(gateway, headers, total=450)
    assert gateway.refused <= 10
    assert seconds < 2 * best


@pytest.mark.parametrize("lane", ["bulk", "interactive"])
def test_a_harsh_gateway_is_learned_from_its_refusals(lane: Lane) -> None:
    """It allows 30 requests in 3 s, counts those that it refuses, and names a delay that is far too short."""
    gateway = CountingGateway(30, 3.0)
    refusal = {"X-Request-Window-Resets-After": "0.15 s"}
    seconds = pass_gateway(gateway, "contradicting", total=200, refusal=refusal, lane=lane)
    assert gateway.refused <= 15
    assert seconds < 60, "18 s are the optimum"


def learned() -> LeaseWindow:
    """Return a state that has learned 4 requests in 6 s, where the headers claim 100 in 60 s; it is 7 s."""
    books = books_of(Quota(100, 60.0, "burst"))
    tickets = [grant(books, 0.0) for _ in range(4)]
    for ticket in tickets:
        books.release(ticket, 1.0, ended(200, said(99)))
    books.release(grant(books, 1.0), 1.0, ended(429, QuotaFeedback(resets_after=1.9)))
    books.release(grant(books, 3.0), 3.0, ended(429, QuotaFeedback(resets_after=1.9)))
    assert books.size == (100, 60.0)
    test = grant(books, 7.0)
    books.release(test, 7.0, ended(200, said(99)))
    return books


def test_refusals_in_a_row_that_contradict_the_headers_teach_the_quota() -> None:
    """What was accepted before them is the limit; the time until one was accepted again is the window."""
    books = learned()
    assert (books.limit, books.window) == (4, 6.0)
    assert books.size == (100, 60.0), "as the headers say"
    assert until(books, 7.0, "bulk") > 7.0, "bulk is paced evenly"


def test_a_learned_quota_shrinks_with_refusals_and_grows_slowly() -> None:
    """A refusal holds it for as long as was needed the last time."""
    books = learned()
    books.release(grant(books, 14.0), 14.0, ended(429, said(0, 0.1)))
    assert until(books, 14.0) == pytest.approx(14 + 4.0), "the hold is not shorter than the one that was long enough"
    books.release(grant(books, 18.0), 18.0, ended(200, said(99)))
    assert books.left(30.0) == 2, "70 % of 4"
    books.resize(30.0, 2000, 60.0)
    assert (books.limit, books.size) == (4, (2000, 60.0)), "larger claims are noted and not believed"
    books.resize(30.0, 5, 60.0)
    assert (books.limit, books.size) == (5, (5, 60.0)), "smaller ones are"


def test_a_learned_quota_is_given_up_where_the_headers_prove_right() -> None:
    """After five windows without a refusal it grows by 2 % a window."""
    books = books_of(Quota(20, 60.0, "burst"))
    books.release(grant(books, 0.0), 0.0, ended(200, said(19)))
    for ticket in [grant(books, 0.0) for _ in range(8)]:
        books.release(ticket, 0.0, ended(200, said(19)))
    books.release(grant(books, 0.0), 0.0, ended(429, SILENCE))
    books.release(grant(books, 5.0), 5.0, ended(429, SILENCE))
    books.release(grant(books, 62.0), 62.0, ended(200, said(19)))
    assert (books.limit, books.size) == (9, (20, 60.0))
    now, tenths = 62.0, 0
    while books.limit == 9:
        now += 7.0
        tenths += 1
        books.release(grant(books, now), now, ended(200, said(19)))
    assert books.limit == 20
    grows = math.log(20 / 9) / math.log(1.02) * 60 / 7
    assert tenths == pytest.approx(5 * 60 / 7 + grows, rel=0.05)
    assert books.left(now) == 5, "as at the start"


def test_a_refusal_that_names_the_right_time_contradicts_nothing() -> None:
    """A fixed window that others have used up is whole again after it."""
    books = books_of(Quota(10, 60.0, "burst"))
    books.release(grant(books, 0.0), 0.0, ended(200, said(9)))
    for _ in range(3):
        now = books.held_until + 1 if books.held_until > 0 else 1.0
        books.release(grant(books, now), now, ended(429, said(0, 20.0)))
        books.release(grant(books, now + 21), now + 21, ended(200, said(9)))
    assert books.limit == 10


def test_what_was_accepted_at_a_higher_rate_than_the_headers_claim_teaches_nothing() -> None:
    """Four in five seconds are more than ten in sixty."""
    books = books_of(Quota(10, 60.0, "burst"))
    for ticket in [grant(books, 0.0) for _ in range(3)]:
        books.release(ticket, 0.0, ended(200, said(9)))
    for now in (1.0, 7.0):
        books.release(grant(books, now), now, ended(429, SILENCE))
        books.release(grant(books, now + 5), now + 5, ended(200, said(9)))
    assert books.limit == 10


def test_a_limit_above_the_users_own_is_approached_with_few_requests_in_flight() -> None:
    """Five, and one more for each ten beyond it; two after a refusal."""
    books = books_of(Quota(10, 60.0, "burst"))
    books.release(grant(books, 0.0), 0.0, ended(200, said(9)))
    books.resize(0.0, 1000, 60.0)
    assert books.left(0.0) == 5
    flying = [grant(books, 0.0) for _ in range(5)]
    assert books.ask(0.0, "interactive") == math.inf
    for ticket in flying:
        books.release(ticket, 0.0, ended(200, said(990)))
    for _ in range(34):
        books.release(grant(books, 0.0), 0.0, ended(200, said(900)))
    assert books.active == 40
    assert books.left(0.0) == 8
    books.release(grant(books, 0.0), 0.0, ended(429, said(0, 1.0)))
    books.release(grant(books, 2.0), 2.0, ended(200, said(900)))
    assert books.left(2.0) == 2


def test_what_others_use_up_teaches_nothing() -> None:
    """At the start nothing is known; and a quota that others have used up is free again after their window."""
    books = books_of(Quota(150, 60.0, "burst"))
    for ticket in [grant(books, 0.0) for _ in range(5)]:
        books.release(ticket, 0.2, ended(429, SILENCE))
    for _ in range(2):
        now = books.held_until
        books.release(grant(books, now), now, ended(429, SILENCE))
    now = books.held_until
    books.release(grant(books, now), now, ended(200, said(149)))
    assert books.limit == 150
    for _ in range(3):
        books.release(grant(books, now), now, ended(429, said(0, 1.0)))
        now = books.held_until
    books.release(grant(books, now), now, ended(200, said(149)))
    assert books.limit == 150


def test_two_refusals_that_are_far_apart_teach_nothing() -> None:
    """Days may lie between them."""
    books = books_of(Quota(150, 60.0, "burst"))
    now = 0.0
    for _ in range(3):
        for _ in range(10):
            books.release(grant(books, now), now, ended(200, said(149)))
            now += 20.0
        books.release(grant(books, now), now, ended(429, SILENCE))
        now = books.held_until
        books.release(grant(books, now), now, ended(200, said(149)))
    assert books.limit == 150


def test_a_learned_limit_grows_beyond_itself() -> None:
    """More is granted as time passes without a refusal."""
    books = learned()
    now = 7.0
    for _ in range(200):
        now += 7.0
        books.release(grant(books, now), now, ended(200, said(99)))
    assert books.size == (100, 60.0)
    assert books.left(now + 60) > 4


def test_a_row_of_refusals_ends_where_nothing_was_sent_for_long() -> None:
    """The next refusal is the first of another row."""
    books = books_of(Quota(10, 60.0, "burst"))
    books.release(grant(books, 0.0), 0.0, ended(200, said(10)))
    books.release(grant(books, 1.0), 1.0, ended(429, said(0, 2.0)))
    books.release(grant(books, 500.0), 500.0, ended(429, said(0, 2.0)))
    assert until(books, 500.0) == pytest.approx(502.1)
