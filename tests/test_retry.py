"""Retry: what is tried again, when, how often; and the end of a call's time."""

from __future__ import annotations

import asyncio
import logging
import pickle
import traceback
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import tenacity
from helpers import CREDENTIALS, GOOD, client_of, http, raw_server
from hypothesis import given, settings
from hypothesis import strategies as st

from b2b_async import (
    AmbiguousOutcomeError,
    APIStatusError,
    Client,
    ConfigurationError,
    DeadlineExceededError,
    NotFoundError,
    PermissionDeniedError,
    Quota,
    QuotaWaitTooLongError,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
    ServerError,
    Timeouts,
    UnexpectedRedirectError,
    v2,
    v3,
)
from b2b_async._policy import RetryDecision, Tally, backoff, decide, meaning_of
from b2b_async.errors import Answer, APIConnectionError, B2BError, ResponseValidationError, class_for_status
from b2b_async.middleware.retry import Retry
from b2b_async.sandbox import Faults, Sandbox

if TYPE_CHECKING:
    from b2b_async import Handler, Request, Response
    from b2b_async._call import Outcome

POLICY = RetryPolicy()
TRANSIENT = {304, 408, 429, 500, 502, 503, 504, 509, *range(520, 528), 529, 530}
BUSY = http(503, '{"code": 503}')


def status_error(status: int, delay: float | None = None, *, under_success: bool = False) -> B2BError:
    """Return the error that ``RaiseForStatus`` makes of *status*."""
    answer = Answer(status=status, retry_after=delay, under_success=under_success)
    return class_for_status(status)(
        "x", answer=answer, outcome=meaning_of(status, delay=delay is not None, under_success=under_success).outcome
    )


def broken(outcome: Outcome, *, retryable: bool = True) -> B2BError:
    """Give a connection error."""
    error = APIConnectionError("x", outcome=outcome)
    error.retryable = retryable
    return error


def garbled(outcome: Outcome = "applied", *, retryable: bool = True) -> B2BError:
    """Give a success with an unreadable body."""
    error = ResponseValidationError("x", outcome=outcome)
    error.retryable = retryable
    return error


AGAIN, DELAYED, THROTTLED = ("retry", "transient"), ("retry", "delay"), ("retry", "throttled")
RAISE, AMBIGUOUS = ("raise", "transient"), ("ambiguous", "transient")


@pytest.mark.parametrize(
    ("error", "idempotent", "other"),
    [
        (broken("not_sent"), AGAIN, AGAIN),
        (broken("not_sent", retryable=False), RAISE, RAISE),
        (broken("unknown"), AGAIN, AMBIGUOUS),
        (broken("applied"), AGAIN, AMBIGUOUS),
        (garbled("applied"), AGAIN, AMBIGUOUS),
        (garbled("unknown"), AGAIN, AMBIGUOUS),
        (garbled(retryable=False), RAISE, RAISE),
        (status_error(429, 5.0), THROTTLED, THROTTLED),
        (status_error(429), THROTTLED, THROTTLED),
        (status_error(429, under_success=True), THROTTLED, RAISE),
        (status_error(503, 5.0), DELAYED, DELAYED),
        (status_error(502, 5.0), DELAYED, AMBIGUOUS),
        *[(status_error(status), AGAIN, AMBIGUOUS) for status in (408, 500, 502, 503, 504, 520, 524)],
        (status_error(507), RAISE, AMBIGUOUS),
        *[(status_error(status), RAISE, RAISE) for status in (301, 302, 303, 400, 401, 403, 404, 409, 422, 501, 505)],
        (status_error(429, 121.0), RAISE, RAISE),
        (status_error(503, 121.0), RAISE, RAISE),
    ],
)
def test_the_outcome_table(error: B2BError, idempotent: tuple[str, str], other: tuple[str, str]) -> None:
    """Row by row, for operations that may be sent twice and for those that may not."""
    for is_idempotent, expected in ((True, idempotent), (False, other)):
        decision = decide(error, idempotent=is_idempotent, tally=Tally().after(error), policy=POLICY)

        assert (decision.action, decision.reason) == expected


def test_attempts_are_counted_and_refusals_are_not() -> None:
    """Four attempts, six refusals beside them, a 500 at most twice more."""
    busy, refused, internal = status_error(503), status_error(429), status_error(500)
    assert decide(busy, idempotent=True, tally=Tally(attempts=3, throttled=6), policy=POLICY).action == "retry"
    assert decide(busy, idempotent=True, tally=Tally(attempts=4), policy=POLICY).action == "raise"
    assert decide(refused, idempotent=True, tally=Tally(attempts=3, throttled=6), policy=POLICY).action == "retry"
    assert decide(refused, idempotent=True, tally=Tally(throttled=7), policy=POLICY).action == "raise"
    assert decide(internal, idempotent=True, tally=Tally(2, 2), policy=POLICY).action == "retry"
    assert decide(internal, idempotent=True, tally=Tally(3, 3), policy=POLICY).action == "raise"


def test_the_pause_doubles_up_to_its_bound() -> None:
    """0.5, 1, 2, 4, 8, 8 seconds at most."""
    policy = RetryPolicy(attempts=99)
    pauses = [backoff(policy, attempts) for attempts in range(1, 7)]

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert decide(status_error(503, 9.0), idempotent=True, tally=Tally(1), policy=policy) == RetryDecision(
        "retry", "delay", 9.0
    )


async def assign(sandbox: Sandbox, **options: Any) -> v3.orders.AssignedOrders:
    """Make one assignment with a client of its own."""
    async with client_of(sandbox, **options) as client:
        return await v3.orders.assign_customer_orders(client, 1001)


async def test_transient_failures_are_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """The caller sees the success; the log has a line for each retry, at DEBUG."""
    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.DEBUG, logger="b2b_async"):
        async with Sandbox(faults=Faults(script=["503", "500", "503"])) as sandbox:
            assigned = await assign(sandbox)

    assert assigned.total == 3
    assert len(sandbox.requests) == 4
    assert [record.levelname for record in caplog.records] == ["DEBUG"] * 7
    assert caplog.text.count("is followed by another one in") == 3
    assert 0.25 + 0.5 + 1 <= loop.time() <= 0.5 + 1 + 2 + 0.01


async def test_the_last_error_tells_of_all_attempts() -> None:
    """With their outcomes, statuses, ids and pauses."""
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox:
        with pytest.raises(ServerError) as caught:
            await assign(sandbox)

    error = caught.value
    assert [attempt.number for attempt in error.attempts] == [1, 2, 3, 4]
    assert {attempt.status for attempt in error.attempts} == {503}
    assert [attempt.request_id for attempt in error.attempts] == [f"sandbox-{n}" for n in (1, 2, 3, 4)]
    assert [attempt.delay is None for attempt in error.attempts] == [False, False, False, True]
    assert error.outcome == "unknown"
    assert f"call {error.call_id}, 4 attempts" in error.__notes__


async def test_the_outcome_is_that_of_all_attempts() -> None:
    """A 404 after an attempt that may have acted does not undo it."""
    async with raw_server(b"", http(404, "{}")) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(B2BError) as caught:
            await v3.orders.assign_customer_orders(client, 1)

    assert [attempt.outcome for attempt in caught.value.attempts] == ["unknown", "rejected"]
    assert caught.value.outcome == "unknown"


async def test_a_post_is_tried_again_only_when_it_did_nothing() -> None:
    """A 503 with a delay turned it away at the door; one without may have let it in."""
    loop = asyncio.get_running_loop()
    good = http(200, '{"code": 200, "data": {"orderId": "3"}}')
    async with raw_server(http(503, "{}", "Retry-After: 3"), good) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=Decimal(1))
        assert len(arrived) == 2
        assert 3 <= loop.time() <= 3.25
    async with raw_server(BUSY, good) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(AmbiguousOutcomeError):
                await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=Decimal(1), reconcile=False)
        assert len(arrived) == 1


async def test_a_refusal_holds_the_store_until_the_servers_time() -> None:
    """And does not use up an attempt."""
    loop = asyncio.get_running_loop()
    async with Sandbox(faults=Faults(script=["429"])) as sandbox:
        await assign(sandbox, retry=RetryPolicy(attempts=1))

    assert 60 <= loop.time() <= 60.2


async def test_endless_refusals_end_by_count() -> None:
    """Six more tries, then the error with the server's delay."""
    headers = "X-Requests-Remaining: 0 times", "X-Request-Window-Resets-After: 1 s", "Retry-After: 1"
    async with raw_server(http(429, '{"detail": "Request was throttled."}', *headers)) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(RateLimitError) as caught:
                await v3.orders.assign_customer_orders(client, 1)

    assert len(arrived) == 7
    assert caught.value.retry_after == 1.0
    assert caught.value.message == "Request was throttled."
    assert caught.value.outcome == "rejected"


async def test_a_delay_beyond_the_deadline_is_refused_at_once() -> None:
    """Not slept."""
    loop = asyncio.get_running_loop()
    for answer in (http(429, "{}", "Retry-After: 3"), http(503, "{}", "Retry-After: 3")):
        async with raw_server(answer) as (url, _):
            async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=0.5)) as client:
                started = loop.time()
                with pytest.raises((RateLimitError, ServerError)) as caught:
                    await v3.orders.assign_customer_orders(client, 1)

        assert loop.time() - started < 0.05
        assert caught.value.retry_after == 3.0
        assert any("after the call's deadline" in note for note in caught.value.__notes__)
        assert caught.value.not_retried == "deadline"


async def test_the_budget_stops_retries_in_an_outage() -> None:
    """100 units at 10 each: ten retries for all calls of the client together; successes fill it up again."""
    async with Sandbox(quota="1000/60s", faults=Faults(script=["503"] * 22)) as sandbox, client_of(sandbox) as client:
        for _ in range(6):
            with pytest.raises(ServerError) as caught:
                await v3.orders.assign_customer_orders(client, 1001)
        arrived = len(sandbox.requests)
        while len(sandbox.requests) < 22:
            with pytest.raises(ServerError):
                await v3.orders.assign_customer_orders(client, 1001)
        for _ in range(10):
            await v3.orders.assign_customer_orders(client, 1001)
        sandbox.faults = Faults(script=["503"])
        await v3.orders.assign_customer_orders(client, 1001)

    assert arrived == 6 + 10
    assert caught.value.not_retried == "budget"
    assert any("retry budget" in note for note in caught.value.__notes__)


async def test_a_retry_that_helps_gives_its_budget_back() -> None:
    """Else a long job with rare failures would end up without."""
    async with Sandbox(faults=Faults(script=["503", "503"])) as sandbox, client_of(sandbox) as client:
        retry = next(room for room in client._middlewares if isinstance(room, Retry))
        await v3.orders.assign_customer_orders(client, 1001)

    assert retry.budget.left == 100


async def test_the_deadline_ends_a_hanging_call() -> None:
    """It says what may have happened."""
    loop = asyncio.get_running_loop()

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=40, attempt=30)) as client:
            with pytest.raises(DeadlineExceededError, match="after 1 failed attempts") as caught:
                await v3.orders.assign_customer_orders(client, 1)

    assert loop.time() == pytest.approx(40, abs=0.01)
    assert caught.value.outcome == "unknown"
    assert len(caught.value.attempts) == 1
    assert caught.value.call_id


async def test_cancellation_passes_through_at_once() -> None:
    """An asyncio.timeout around a call works, and the client goes on."""
    loop = asyncio.get_running_loop()
    async with Sandbox(faults=Faults(script=["slow", "503"], slow_seconds=9)) as sandbox, client_of(sandbox) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await v3.orders.assign_customer_orders(client, 1001)
        assert loop.time() == pytest.approx(1, abs=0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await v3.orders.assign_customer_orders(client, 1001)
        await v3.orders.assign_customer_orders(client, 1001)

    assert client.limiter.snapshot().waiting_interactive == 0


async def test_a_timeout_of_somebody_elses_is_left_alone() -> None:
    """A middleware of the user's that raises TimeoutError has not met our deadline."""

    async def impatient(_request: Any, _handler: Any) -> Any:
        message = "mine"
        raise TimeoutError(message)

    async with Client(CREDENTIALS, per_call=[impatient]) as client:
        with pytest.raises(TimeoutError, match="mine"):
            await v3.orders.assign_customer_orders(client, 1)


async def test_a_bug_in_a_middleware_is_no_reason_to_try_again() -> None:
    """It comes out as it is, and the slot comes back, since nothing was sent."""
    calls = 0

    async def buggy(_request: Any, _handler: Any) -> Any:
        nonlocal calls
        calls += 1
        raise KeyError(calls)

    async with raw_server(BUSY) as (url, _), Client(CREDENTIALS, base_url=url, per_attempt=[buggy]) as client:
        with pytest.raises(KeyError):
            await v3.orders.assign_customer_orders(client, 1)

    assert calls == 1
    assert client.quota.used == 0


async def test_a_bug_after_a_failure_comes_out_as_it_is() -> None:
    """Tenacity does not wrap it."""
    calls = 0

    async def buggy(request: Any, handler: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyError(calls)
        return await handler(request)

    async with raw_server(BUSY) as (url, _), Client(CREDENTIALS, base_url=url, per_attempt=[buggy]) as client:
        with pytest.raises(KeyError):
            await v3.orders.assign_customer_orders(client, 1)


@pytest.mark.parametrize("error", [APIConnectionError("mine"), B2BError("mine")])
async def test_an_error_of_a_middleware_that_does_not_say_has_the_outcome_of_the_wire(error: B2BError) -> None:
    """It comes after the answer, so the request was sent, and a POST must not go again."""

    async def convert(request: Any, handler: Any) -> Any:
        await handler(request)
        raise error

    async with raw_server(http(200, '{"code": 200, "data": {"orderId": "3"}}')) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url, per_attempt=[convert]) as client:
            with pytest.raises(B2BError) as caught:
                await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=Decimal(1), reconcile=False)
            used = client.quota.used

    assert (len(arrived), used, caught.value.outcome) == (1, 1, "unknown")


async def test_thousands_of_attempts_do_not_overflow() -> None:
    """2 to the power of attempts is no float for ever."""
    policy = RetryPolicy(attempts=1200, backoff=1e-4, backoff_max=1e-4, budget=10**9)
    async with raw_server(http(502, "{}")) as (url, arrived):
        limiter = RateLimiter(Quota(100_000, 1.0))
        async with Client(CREDENTIALS, base_url=url, retry=policy, limiter=limiter) as client:
            with pytest.raises(ServerError):
                await v3.orders.assign_customer_orders(client, 1)

    assert len(arrived) == 1200


async def test_without_a_limiter_a_refusal_waits_for_the_servers_delay() -> None:
    """A pipeline of one's own may leave rooms out; then retry itself waits."""
    loop = asyncio.get_running_loop()
    async with raw_server(http(429, "{}", "Retry-After: 5"), GOOD) as (url, _):
        async with Client(CREDENTIALS, base_url=url) as client:
            rooms = [room for room in client._middlewares if type(room).__name__ not in {"RateLimit", "CallDeadline"}]
        async with Client(CREDENTIALS, base_url=url, middlewares=rooms) as client:
            await v3.orders.assign_customer_orders(client, 1)

    assert 5 <= loop.time() <= 5.25


async def test_a_refusal_in_an_envelope_is_not_hammered() -> None:
    """The limiter does not see it, so retry itself waits as for an overload."""
    loop = asyncio.get_running_loop()
    async with raw_server(http(200, '{"code": 429, "data": {}}'), GOOD) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            await v3.orders.assign_customer_orders(client, 1)

    assert len(arrived) == 2
    assert 5 <= loop.time() <= 5.25


@pytest.mark.parametrize(("place", "outcome"), [("per_call", "applied"), ("per_attempt", "unknown")])
async def test_a_deadline_after_the_answer_knows_the_answer(place: str, outcome: str) -> None:
    """A slow middleware does not make an applied creation look unsent; behind the status room nobody has read it."""

    async def dawdle(request: Any, handler: Any) -> Any:
        response = await handler(request)
        await asyncio.sleep(3)
        return response

    options: dict[str, Any] = {place: [dawdle], "timeout": Timeouts(call=0.5)}
    async with raw_server(http(200, '{"code": 200, "data": {"orderId": "3"}}')) as (url, _):
        async with Client(CREDENTIALS, base_url=url, **options) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=Decimal(1))

    assert caught.value.outcome == outcome


async def test_a_wait_for_quota_past_the_deadline_is_refused_at_once() -> None:
    """The error says how long it would have been, and why."""
    loop = asyncio.get_running_loop()
    async with Sandbox(quota="3/60s") as sandbox:
        limiter = RateLimiter(Quota(3, 60.0))
        async with client_of(sandbox, limiter=limiter, timeout=Timeouts(call=10)) as client:
            for _ in range(3):
                await v3.orders.assign_customer_orders(client, 1001)
            started = loop.time()
            with pytest.raises(QuotaWaitTooLongError, match="3 requests in 60 s") as caught:
                await v3.orders.assign_customer_orders(client, 1001)

    error = caught.value
    assert loop.time() == started
    assert (error.limit, error.window, error.queued, error.outcome) == (3, 60.0, 0, "not_sent")
    assert error.wait == pytest.approx(60.1, abs=0.1)


async def test_bulk_waits_for_quota_beyond_the_deadline() -> None:
    """In a job, waiting for quota is no failure, and the call's time does not run meanwhile."""
    loop = asyncio.get_running_loop()
    async with Sandbox(quota="3/60s") as sandbox:
        limiter = RateLimiter(Quota(3, 60.0, "burst"))
        async with client_of(sandbox, limiter=limiter, timeout=Timeouts(call=1)) as client:
            bulk = client.with_options(lane="bulk")
            for _ in range(7):
                await v3.orders.assign_customer_orders(bulk, 1001)

    assert loop.time() >= 120
    assert sandbox.throttle.refused == 0


async def test_bulk_waits_out_a_refusal_beyond_the_deadline() -> None:
    """A hold of the store is a wait for quota too."""
    async with Sandbox(faults=Faults(script=["429"])) as sandbox:
        async with client_of(sandbox, timeout=Timeouts(call=1)) as client:
            await v3.orders.assign_customer_orders(client.with_options(lane="bulk"), 1001)

    assert len(sandbox.requests) == 2


# -- what must hold for every failure --------------------------------------------------------------------------

STATUSES = st.one_of(
    st.sampled_from([301, 304, 400, 404, 408, 429, 500, 501, 502, 503, 504, 505, 507, 520, 524]), st.integers(300, 599)
)
DELAYS = st.none() | st.floats(0, 1_000)
FAILURES = st.one_of(
    st.builds(broken, st.sampled_from(["not_sent", "unknown", "applied"]), retryable=st.booleans()),
    st.builds(garbled, st.sampled_from(["unknown", "applied"]), retryable=st.booleans()),
    st.builds(status_error, STATUSES, DELAYS, under_success=st.booleans()),
    st.builds(QuotaWaitTooLongError, st.just("x")),
    st.builds(ConfigurationError, st.just("x")),
)
TALLIES = st.builds(Tally, st.integers(1, 12), st.integers(0, 12), st.integers(0, 12))
POLICIES = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 10),
    internal_errors=st.integers(0, 5),
    throttled=st.integers(0, 10),
    max_delay=st.floats(0, 500),
)


@settings(max_examples=2000)
@given(error=FAILURES, idempotent=st.booleans(), tally=TALLIES, policy=POLICIES)
def test_what_holds_for_every_failure(error: B2BError, idempotent: bool, tally: Tally, policy: RetryPolicy) -> None:  # noqa: FBT001
    """Nothing is sent twice that may have acted, nothing asked again that cannot change, all within the policy."""
    decision = decide(error, idempotent=idempotent, tally=tally, policy=policy)
    settled = error.outcome in {"not_sent", "rejected"}
    answer = error.answer

    assert decision == decide(error, idempotent=idempotent, tally=tally, policy=policy), "it depends on nothing else"
    if decision.action == "retry":
        assert idempotent or (settled and not (answer and answer.under_success))
        assert isinstance(error, APIConnectionError | ResponseValidationError) or error.status in TRANSIENT
        assert decision.delay <= policy.max_delay
        assert decision.stopped is None
        assert decision.delay >= (error.retry_after or 0.0), "never before the server's time"
        if decision.reason == "throttled":
            assert tally.throttled <= policy.throttled
        else:
            assert tally.attempts < policy.attempts
    if decision.action == "ambiguous":
        assert not idempotent
        assert not settled
    if decision.action == "raise" and not idempotent:
        fits_not = isinstance(error, ResponseValidationError) and error.outcome == "applied"
        assert settled or fits_not or isinstance(error, UnexpectedRedirectError)
    if decision.stopped is not None:
        assert decision.action != "retry"
        patient = attrs.evolve(policy, attempts=100, throttled=100, max_delay=1e9, internal_errors=100)
        assert decide(error, idempotent=idempotent, tally=tally, policy=patient).action == "retry"


@given(error=FAILURES, idempotent=st.booleans(), tally=TALLIES, policy=POLICIES)
def test_who_has_spent_more_gets_no_more(error: B2BError, idempotent: bool, tally: Tally, policy: RetryPolicy) -> None:  # noqa: FBT001
    """A further attempt never brings back what was given up."""
    later = Tally(tally.attempts + 1, tally.internal_errors + 1, tally.throttled + 1)
    actions = [decide(error, idempotent=idempotent, tally=one, policy=policy).action for one in (tally, later)]

    assert actions != ["raise", "retry"]
    assert actions != ["ambiguous", "retry"]


# -- what the real world answers -------------------------------------------------------------------------------

PAGE = "<html><head><title>Access denied</title></head><body>" + "x" * 500 + "</body></html>"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 509, *range(520, 528), 529, 530])
async def test_statuses_that_pass_are_tried_again(status: int) -> None:
    """Those of edges, too."""
    async with raw_server(http(status, PAGE, content_type="text/html"), GOOD) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3

    assert len(arrived) == 2


@pytest.mark.parametrize("status", [525, 526, 530])
async def test_what_never_reached_the_origin_is_sent_again(status: int) -> None:
    """A creation, too: the edge could not even connect."""
    good = http(200, '{"code": 200, "data": {"orderId": "1"}}')
    async with raw_server(http(status, PAGE, content_type="text/html"), good) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            created = await v2.orders.create_order(client, "4", "12", order_id="1", total_inc_tax=Decimal(1))

    assert (created.order_id, created.reconciled, len(arrived)) == ("1", False, 2)


async def test_a_500_says_what_the_vendor_advises() -> None:
    """A single call is not made to wait that long."""
    async with raw_server(http(500, "{}")) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(ServerError, match="three to five times, with pauses of at least a minute"):
            await v3.orders.assign_customer_orders(client, 1)
        assert asyncio.get_running_loop().time() < 10


async def test_a_page_under_403_is_a_refusal_for_the_rate() -> None:
    """Of something in front of the API: the store is held as after a 429 without headers, and no credentials blamed."""
    forbidden = http(403, PAGE, content_type="text/html")
    async with raw_server(forbidden, http(403, "  <p>no</p>"), GOOD) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3
            assert client.quota.refused == 2
    assert asyncio.get_running_loop().time() == pytest.approx(15, abs=0.5)
    assert len(arrived) == 3
    async with raw_server(forbidden) as (url, _):
        async with Client(CREDENTIALS, base_url=url, retry=RetryPolicy(attempts=1, throttled=0)) as client:
            with pytest.raises(RateLimitError, match="403 Access denied") as caught:
                await v3.orders.assign_customer_orders(client, 1)
    assert (caught.value.status, caught.value.outcome) == (403, "rejected")
    assert "in front of the API" in str(caught.value)
    async with raw_server(http(403, '{"code": 403, "message": "Forbidden"}')) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(PermissionDeniedError):
                await v3.orders.assign_customer_orders(client, 1)
    assert len(arrived) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["Retry-After: 3", "X-Retry-After: 7"], 7),
        (["X-Retry-After: 7"], 7),
        (["X-Rate-Limit-Time-Reset-Ms: 7000"], 7),
        (["X-Request-Window-Resets-After: 7 s"], 7),
        (["Retry-After: 2", "X-Rate-Limit-Time-Reset-Ms: 7000", "X-Request-Window-Resets-After: 5 s"], 7),
        (["Retry-After: soon", "X-Retry-After: NaN", "X-Rate-Limit-Time-Reset-Ms: -1"], 5),
    ],
)
async def test_the_largest_time_of_a_refusal_counts(headers: list[str], seconds: float) -> None:
    """Each header is read on its own; a malformed one says nothing, and then the platform is overloaded."""
    async with raw_server(http(429, "", *headers), GOOD) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        assert (await v3.orders.assign_customer_orders(client, 1)).total == 3
        assert asyncio.get_running_loop().time() == pytest.approx(seconds + 0.1, abs=0.15)


async def test_the_wait_after_a_refusal_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It is the limiter's, not the pause of the retry; a longer one than the limiter keeps is said."""
    limiter = RateLimiter()
    policy = RetryPolicy(max_delay=1000)
    async with raw_server(http(429, "", "Retry-After: 900"), GOOD) as (url, _):
        async with Client(CREDENTIALS, base_url=url, limiter=limiter, retry=policy, timeout=1000) as client:
            answered = await client.with_response(v3.orders.assign_customer_orders, 1)

    assert answered.attempts[0].delay == pytest.approx(120)
    assert "the server refuses requests for 900 s; the limiter tries one again after 120 s" in caplog.text


async def test_an_error_says_which_call_it_was() -> None:
    """By operation, path, ids and call id; and its traceback has no retry machinery for what was not tried again."""
    async with raw_server(http(404, '{"code": 404, "message": "None."}')) as (url, _):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(NotFoundError) as caught:
                await v3.orders.assign_customer_orders(client, 321)
            with pytest.raises(NotFoundError) as other:
                await v2.orders.create_order(client, "a/b", 12, order_id="BC1", total_inc_tax=Decimal(1), po_number="P")

    error = caught.value
    assert (error.operation, error.method) == ("Assign Customer Orders to Company", "PUT")
    assert (error.path, error.ids) == ("/api/v3/io/customers/321/orders/b2b", {"customerId": "321"})
    assert other.value.path == "/api/v2/io/companies/a%2Fb/user/12/orders"
    assert other.value.ids == {"companyId": "a/b", "customerId": "12", "orderId": "BC1"}
    assert "tenacity" not in "".join(traceback.format_exception(error))
    assert "path='/api/v3/io/customers/321/orders/b2b', status=404" in repr(error)
    assert "None." not in repr(error)
    again = pickle.loads(pickle.dumps(other.value))  # noqa: S301 -- our own
    assert (again.ids, again.path) == (other.value.ids, other.value.path)


async def test_an_empty_success_is_asked_about_once_more() -> None:
    """Something in front of the API may have sent it; a number is better, an empty one again is taken."""
    empty, gone = http(200, ""), http(404, '{"code": 404, "message": "None."}')
    for answers, total, requests in (
        ([empty, GOOD], 3, 2),
        ([empty], None, 2),
        ([empty, http(503, ""), empty], None, 3),
    ):
        async with raw_server(*answers) as (url, arrived), Client(CREDENTIALS, base_url=url) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == total
        assert len(arrived) == requests
    async with raw_server(empty, gone) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(NotFoundError):
            await v3.orders.assign_customer_orders(client, 1)
    for busy in (http(503, ""), http(503, "", "Retry-After: 1"), http(429, "", "Retry-After: 1")):
        async with raw_server(empty, busy) as (url, _), Client(CREDENTIALS, base_url=url) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total is None
    async with raw_server(empty, http(503, "")) as (url, arrived), Client(CREDENTIALS, base_url=url) as client:
        answered = await client.with_response(v3.orders.assign_customer_orders, 1)
    assert (answered.value.total, len(answered.attempts), len(arrived)) == (None, 4, 4)


async def test_an_empty_success_stands_at_the_deadline() -> None:
    """The attempt after it takes too long."""

    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with raw_server(http(200, ""), never) as (url, _), Client(CREDENTIALS, base_url=url, timeout=5) as client:
        assert (await v3.orders.assign_customer_orders(client, 1)).total is None


async def test_an_empty_success_of_a_creation_is_none() -> None:
    """It needs its yes."""
    async with raw_server(http(200, "")) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(AmbiguousOutcomeError):
            await v2.orders.create_order(client, "4", "12", order_id="1", total_inc_tax=Decimal(1), reconcile=False)


# -- tenacity's own strategies ----------------------------------------------------------------------------------------


async def test_any_wait_strategy_of_tenacity_takes_the_place_of_the_backoff() -> None:
    """A sum of them, too; it counts the attempts, and not the refusals between them."""
    loop = asyncio.get_running_loop()
    policy = RetryPolicy(wait=tenacity.wait_incrementing(start=10, increment=10) + tenacity.wait_fixed(1))
    faults = Faults(script=["503", "429", "500", "503"])
    async with Sandbox(faults=faults) as sandbox, client_of(sandbox, retry=policy, timeout=300) as client:
        answered = await client.with_response(v3.orders.assign_customer_orders, 1001)

    delays = [attempt.delay for attempt in answered.attempts]
    assert [delays[0], *delays[2:]] == [11, 21, 31]
    assert loop.time() >= 63


async def test_a_servers_delay_comes_before_a_strategy_of_ones_own() -> None:
    """Exactly, plus a little jitter."""
    policy = RetryPolicy(wait=tenacity.wait_fixed(60))
    async with Sandbox(faults=Faults(script=["503-delay"])) as sandbox, client_of(sandbox, retry=policy) as client:
        answered = await client.with_response(v3.orders.assign_customer_orders, 1001)

    (attempt,) = answered.attempts
    assert attempt.delay is not None
    assert attempt.delay < 10


async def _waits(_state: object) -> float:
    return 1.0


@pytest.mark.parametrize("wait", [3, tenacity.wait_fixed, _waits])
def test_a_strategy_must_be_one(wait: Any) -> None:
    """Neither a number, nor a class, nor an async function."""
    with pytest.raises(ConfigurationError, match="retry: wait must be one of tenacity's wait strategies"):
        RetryPolicy(wait=wait)


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        (lambda _: float("nan"), "the wait strategy returned nan"),
        (lambda _: float("inf"), "the wait strategy returned inf"),
        (lambda _: timedelta(seconds=1), "the wait strategy returned datetime"),
        (lambda _: 1 / 0, "the wait strategy raised ZeroDivisionError"),
    ],
)
async def test_a_strategy_that_fails_ends_the_call_in_order(wait: Any, words: str) -> None:
    """With what the attempts may have done."""
    policy = RetryPolicy(wait=wait)
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox, client_of(sandbox, retry=policy) as client:
        with pytest.raises(ConfigurationError, match=words) as caught:
            await v3.orders.assign_customer_orders(client, 1001)

    assert (caught.value.outcome, len(caught.value.attempts)) == ("unknown", 1)


async def test_a_call_that_is_cancelled_in_its_pause_gets_its_units_back() -> None:
    """The attempt that they were for is not made."""
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox, client_of(sandbox) as client:
        (retry,) = (one for one in client._middlewares if isinstance(one, Retry))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await v3.orders.assign_customer_orders(client, 1001)

    assert retry.budget.left == 100


async def test_an_error_that_a_middleware_makes_is_not_tried_again() -> None:
    """There is no status that could pass."""

    async def locked(request: Request, handler: Handler) -> Response:
        await handler(request)
        message = "423 locked"
        raise APIStatusError(message)

    async with Sandbox() as sandbox, client_of(sandbox, per_attempt=[locked]) as client:
        with pytest.raises(APIStatusError, match="423 locked"):
            await v3.orders.assign_customer_orders(client, 1001)

    assert len(sandbox.requests) == 1
