"""Events and the log: what is reported of a call, and that the log, the events, the error and the outcome agree."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from helpers import CREDENTIALS, client_of, http, raw_server

from b2b_async import (
    AmbiguousOutcomeError,
    B2BError,
    BCOrderId,
    Client,
    ConfigurationError,
    NotFoundError,
    Quota,
    RateLimiter,
    ResponseValidationError,
    RetryPolicy,
    ServerError,
    UserId,
    v2,
    v3,
)
from b2b_async._logging import FIELDS
from b2b_async._messages import UNDECODED
from b2b_async.bulk import BulkJob, Item
from b2b_async.events import (
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallEvent,
    CallStarted,
    JobEnded,
    JobStarted,
    OutcomeUnknown,
    QuotaWaited,
    RetryScheduled,
    Throttled,
    notify,
)
from b2b_async.middleware.observe import Observe
from b2b_async.middleware.retry import Retry
from b2b_async.sandbox import Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async import Handler, Request, Response
    from b2b_async.events import Event

GOOD = http(200, '{"code": 200, "data": {"total": 3}}', "X-Request-Id: r1")
MISFIT = http(200, '{"code": 200, "data": {"poNumber": "1"}}', "X-Request-Id: r1")


def names(events: list[Event]) -> list[str]:
    """Return the classes of events."""
    return [type(event).__name__ for event in events]


async def assign(client: Client) -> Any:
    """Make an idempotent call."""
    return await v3.orders.assign_customer_orders(client, 1001)


async def change(client: Client) -> Any:
    """Make a call whose response must have data."""
    return await v3.orders.update_order(client, BCOrderId(1001), po_number="1")


async def hang(*_streams: object) -> None:
    """Answer nothing for a minute."""
    await asyncio.sleep(60)


async def create(client: Client) -> Any:
    """Make a call that is not idempotent."""
    return await v2.orders.create_order(client, "1", "1001", order_id="9001", total_inc_tax=Decimal(1), reconcile=False)


async def test_a_call_has_its_events_in_order() -> None:
    """With the operation, the ids, the lane and the store on each of them."""
    events: list[Event] = []
    faults = Faults(script=["429", "503"])
    async with Sandbox(faults=faults) as sandbox, client_of(sandbox, listeners=[events.append]) as client:
        await assign(client.with_options(lane="bulk"))

    assert names(events) == [
        *("CallStarted", "AttemptStarted", "Throttled", "AttemptEnded", "RetryScheduled"),
        *("AttemptStarted", "QuotaWaited", "AttemptEnded", "RetryScheduled"),
        *("AttemptStarted", "AttemptEnded", "CallEnded"),
    ]
    for event in events:
        assert isinstance(event, CallEvent)
        assert (event.operation, event.method) == ("Assign Customer Orders to Company", "PUT")
        assert event.path == "/api/v3/io/customers/1001/orders/b2b"
        assert (event.lane, event.store) == ("bulk", sandbox.store_hash)
        assert event.call_id == events[0].call_id  # type: ignore[union-attr]
        assert event.time > 1_700_000_000
    throttled, waited = events[2], events[6]
    assert isinstance(throttled, Throttled)
    assert throttled.held_for is not None
    assert isinstance(waited, QuotaWaited)
    assert waited.seconds == pytest.approx(throttled.held_for, abs=0.2)
    scheduled = [event for event in events if isinstance(event, RetryScheduled)]
    assert [(event.attempt, event.reason) for event in scheduled] == [(1, "throttled"), (2, "transient")]
    ended = [event for event in events if isinstance(event, AttemptEnded)]
    assert [(event.attempt, event.status, event.error, event.outcome) for event in ended] == [
        (1, 429, "RateLimitError", "rejected"),
        (2, 503, "ServerError", "unknown"),
        (3, 200, None, "applied"),
    ]
    last = events[-1]
    assert isinstance(last, CallEnded)
    assert (last.status, last.error, last.outcome, last.attempts) == (200, None, "applied", 3)
    assert last.request_id == ended[-1].request_id == "sandbox-3"
    assert last.elapsed >= sum(event.elapsed for event in ended)


async def test_all_listeners_are_called_in_order_and_one_that_fails_breaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those of the client before those of the view."""
    heard: list[str] = []

    def failing(_event: Event) -> None:
        heard.append("failing")
        message = "the disk is full"
        raise OSError(message)

    async with Sandbox() as sandbox, client_of(sandbox, listeners=[failing]) as client:
        view = client.with_options(listeners=[lambda event: heard.append(type(event).__name__)])
        assigned = await assign(view)
        assert len(view.listeners) == 2

    assert assigned.total == 3
    assert heard == [
        *("failing", "CallStarted", "failing", "AttemptStarted", "failing", "AttemptEnded"),
        *("failing", "CallEnded"),
    ]
    assert caplog.text.count("the disk is full") == 4


async def test_the_end_comes_in_the_context_of_the_start() -> None:
    """So that a variable that was set at the start can be reset at the end."""
    current = contextvars.ContextVar[str]("current", default="nothing")
    tokens: dict[str, contextvars.Token[str]] = {}

    def listen(event: Event) -> None:
        if isinstance(event, CallStarted):
            tokens[event.call_id] = current.set(event.call_id)
        elif isinstance(event, CallEnded):
            assert current.get() == event.call_id
            current.reset(tokens.pop(event.call_id))

    async with Sandbox() as sandbox, client_of(sandbox, listeners=[listen]) as client:
        await asyncio.gather(*(assign(client) for _ in range(5)))
        assert [user async for user in v3.users.list_users(client, limit=20)]
        with pytest.raises(NotFoundError):
            await v3.orders.assign_customer_orders(client, 9999)

    assert (tokens, current.get()) == ({}, "nothing")


async def test_a_verification_is_an_attempt_of_its_own_operation() -> None:
    """Its call id is that of the call with a suffix."""
    events: list[Event] = []
    store = Store()
    store.add_order(Order("9001", 1001, Decimal(1)))
    async with Sandbox(store, faults=Faults(script=["reset-after"])) as sandbox:
        async with client_of(sandbox, listeners=[events.append]) as client:
            created = await v2.orders.create_order(client, "1", "1001", order_id="9001", total_inc_tax=Decimal(1))

    assert created.reconciled
    started = [event for event in events if isinstance(event, AttemptStarted)]
    call_id = started[0].call_id
    assert [(event.operation, event.call_id) for event in started] == [
        ("Create An Order", call_id),
        ("Get Order", f"{call_id}-verify-1"),
    ]
    assert names(events)[-1] == "CallEnded"
    assert not any(isinstance(event, OutcomeUnknown) for event in events)


async def test_a_job_has_events_beside_those_of_its_calls() -> None:
    """With what it is, and what became of it."""
    events: list[Event] = []
    async with Sandbox() as sandbox, client_of(sandbox, listeners=[events.append]) as client:
        await BulkJob(client, [1001, 1002, 9999], journal=None, total=3, about={"input": "a list"}).run()
        broken = BulkJob(client, [Item(2, 1001), Item(1, 1002)], journal=None)
        with pytest.raises(ConfigurationError, match="greater than that before"):
            await broken.run()

    first, last = events[0], next(event for event in events if isinstance(event, JobEnded))
    assert isinstance(first, JobStarted)
    assert (first.job, first.store, first.total, first.about["input"]) == ("assign", sandbox.store_hash, 3, "a list")
    assert (last.reason, last.succeeded, last.failed, last.unknown) == ("finished", 2, 1, 0)
    assert last.elapsed >= 0
    assert isinstance(events[-1], JobEnded)
    assert events[-1].reason == "broken off"
    assert sum(isinstance(event, CallEnded) for event in events) == 3


async def returns_none(request: Request, handler: Handler) -> None:
    """Forget to return the response."""
    await handler(request)


async def raises_ours(request: Request, handler: Handler) -> Response:
    """Raise one of our errors after the success."""
    await handler(request)
    message = "the cache is away"
    raise B2BError(message)


async def raises_another(request: Request, handler: Handler) -> Response:
    """Raise an error that is not ours after the success."""
    await handler(request)
    message = "the cache is away"
    raise KeyError(message)


async def asks_before_it_returns(request: Request, handler: Handler) -> Response:
    """Make another call after the success, which fails."""
    await handler(request)
    async with raw_server(http(404, '{"code": 404}')) as (url, _), Client(CREDENTIALS, base_url=url) as other:
        await v3.users.get_user(other, UserId(1))
    raise AssertionError


async def lingers(request: Request, handler: Handler) -> Response:
    """Take a minute after the success."""
    response = await handler(request)
    await asyncio.sleep(60)
    return response


Case = tuple[str, "Callable[[Client], Awaitable[Any]]", dict[str, Any], Any, str | None, str, bool]
CASES: list[Case] = [
    # name, call, options, response of the server, error, outcome, is it unknown to the caller
    ("a success", assign, {}, GOOD, None, "applied", False),
    ("a misfit under 200", change, {}, MISFIT, "ResponseValidationError", "applied", False),
    (
        "a middleware that returns None",
        assign,
        {"per_call": [returns_none]},
        GOOD,
        "ConfigurationError",
        "applied",
        False,
    ),
    ("... per attempt", assign, {"per_attempt": [returns_none]}, GOOD, "ConfigurationError", "unknown", True),
    ("one that raises after success", assign, {"per_call": [raises_ours]}, GOOD, "B2BError", "applied", False),
    ("... of its own", assign, {"per_call": [raises_another]}, GOOD, "KeyError", "applied", True),
    ("... per attempt, too", assign, {"per_attempt": [raises_another]}, GOOD, "KeyError", "unknown", True),
    ("a cancelled POST", create, {}, hang, "CancelledError", "unknown", True),
    ("a POST cancelled after success", create, {"per_call": [lingers]}, GOOD, "CancelledError", "applied", True),
    ("a refusal", assign, {}, http(404, '{"code": 404}'), "NotFoundError", "rejected", False),
    ("a lost response", create, {}, http(502, "x"), "AmbiguousOutcomeError", "unknown", True),
    (
        "a failed call inside a POST",
        create,
        {"per_call": [asks_before_it_returns]},
        GOOD,
        "NotFoundError",
        "applied",
        True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
async def test_the_log_the_events_the_error_and_the_outcome_agree(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    """However a call ends."""
    _, call, options, answer, name, outcome, unknown = case
    if call is create and answer is GOOD:
        answer = http(200, '{"code": 200, "data": {"orderId": "9001"}}', "X-Request-Id: r1")
    events: list[Event] = []
    error: BaseException | None = None
    async with raw_server(answer) as (url, _):
        async with Client(CREDENTIALS, base_url=url, listeners=[events.append], **options) as client:
            with caplog.at_level(logging.DEBUG, logger="b2b_async"):
                task = asyncio.ensure_future(call(client))
                if name == "CancelledError":
                    await asyncio.sleep(1)
                    task.cancel()
                try:
                    await task
                except BaseException as raised:  # noqa: BLE001 -- however it ends
                    error = raised

    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert (ended.error, ended.outcome) == (name, outcome)
    assert (None if error is None else type(error).__name__) == name
    if isinstance(error, B2BError):
        assert error.outcome == outcome
    if isinstance(error, B2BError) and "inside" not in case[0]:
        assert (error.call_id, error.path, error.operation) == (ended.call_id, ended.path, ended.operation)
        assert (error.status, error.request_id) == (ended.status, ended.request_id)
        assert "1001" in error.ids.values()
    assert [event.outcome for event in events if isinstance(event, OutcomeUnknown)] == ([outcome] if unknown else [])
    record = caplog.records[-1]
    assert record.levelno == (logging.DEBUG if name is None else logging.INFO)
    assert {field: getattr(record, field) for field in FIELDS} == {
        field: getattr(ended, field, None) for field in FIELDS
    }
    assert record.getMessage().startswith(f"{ended.operation} {'answered 200' if name is None else 'failed after'}")


async def test_without_listeners_and_log_no_event_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost nothing then."""

    def fail(*_args: object) -> None:
        pytest.fail("an event was made")

    for module in ("observe", "rate_limit", "retry"):
        monkeypatch.setattr(f"b2b_async.middleware.{module}.about", fail)
    async with Sandbox(faults=Faults(script=["429", "503"])) as sandbox, client_of(sandbox) as client:
        assert (await assign(client)).total == 3


async def test_a_users_own_pipeline_has_observation_and_decoding() -> None:
    """Where it has them already, they are used once."""
    events: list[Event] = []
    async with raw_server(GOOD, MISFIT, GOOD) as (url, _):
        pipelines = Client(CREDENTIALS)._middlewares
        whole: dict[str, Any] = {"base_url": url, "listeners": [events.append]}
        status = [one for one in pipelines if type(one).__name__ in {"RaiseForStatus", "Auth"}]
        async with Client(CREDENTIALS, middlewares=status, **whole) as client:
            assert (await assign(client)).total == 3
            with pytest.raises(ResponseValidationError):
                await change(client)
        assert names(events) == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"] * 2
        events.clear()
        async with Client(CREDENTIALS, middlewares=pipelines, **whole) as client:
            assert (await assign(client)).total == 3
    assert names(events) == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]


async def test_a_response_that_a_middleware_kept_is_returned_again() -> None:
    """With its value; and one that has none is decoded, as long as its envelope is parsed."""
    kept: list[Response] = []

    async def cache(request: Request, handler: Handler) -> Response:
        if not kept:
            kept.append(await handler(request))
        return kept[0]

    async with Sandbox() as sandbox, client_of(sandbox, per_call=[cache]) as client:
        first = await assign(client)
        second = await assign(client)
        kept[0] = attrs.evolve(kept[0], value=UNDECODED)
        third = await assign(client)
        assert len(sandbox.requests) == 1

    assert first is second is not third == first


# -- views with other options --------------------------------------------------------------------------------------


async def test_a_view_has_its_own_time_and_retries_and_the_clients_budget() -> None:
    """The client keeps its own."""
    loop = asyncio.get_running_loop()
    async with Sandbox(faults=Faults({"503": 1.0})) as sandbox, client_of(sandbox) as client:
        once = client.with_options(retry=RetryPolicy(attempts=1))
        with pytest.raises(ServerError) as caught:
            await assign(once)
        assert len(caught.value.attempts) == 1
        with pytest.raises(ServerError) as caught:
            await assign(client)
        assert len(caught.value.attempts) == 4
        twice = client.with_options(retry=RetryPolicy(attempts=9, budget=10**6))
        with pytest.raises(ServerError) as caught:
            await assign(twice)
        assert caught.value.not_retried == "budget"

    async with Sandbox(faults=Faults({"hang-before": 1.0})) as sandbox, client_of(sandbox) as client:
        for options, seconds in (({"timeout": 2}, 2.0), ({"timeout": 3.5}, 3.5)):
            started = loop.time()
            with pytest.raises(B2BError):
                await assign(client.with_options(**options))  # type: ignore[arg-type]
            assert loop.time() - started == pytest.approx(seconds, abs=0.05)


async def test_a_view_may_have_shorter_attempts() -> None:
    """The transport of the client is as it was."""
    from b2b_async import Timeouts

    events: list[AttemptEnded] = []

    def keep(event: Event) -> None:
        if isinstance(event, AttemptEnded):
            events.append(event)

    async with Sandbox(faults=Faults({"hang-before": 1.0})) as sandbox:
        async with client_of(sandbox, retry=RetryPolicy(attempts=1), listeners=[keep]) as client:
            for view in (client.with_options(timeout=Timeouts(attempt=2)), client):
                with pytest.raises(B2BError):
                    await assign(view)

    assert [round(event.elapsed) for event in events] == [2, 30]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": 5}, "timeout= has nothing to apply to: the client's own middlewares have no CallDeadline"),
        ({"retry": RetryPolicy()}, "retry= has nothing to apply to: the client's own middlewares have no Retry"),
        ({"retry": 3}, "retry must be a RetryPolicy"),
        ({"timeout": "5"}, "timeout must be a number of seconds"),
        ({"listeners": "x"}, "listeners must be a list of functions"),
        ({"listeners": [1]}, r"listeners\[0\] must be a plain function of one event"),
    ],
)
def test_what_a_view_cannot_do_is_refused(options: dict[str, Any], words: str) -> None:
    """Rather than ignored."""
    with pytest.raises(ConfigurationError, match=words):
        Client(CREDENTIALS, middlewares=[]).with_options(**options)


def test_an_unknown_option_of_a_client_is_refused() -> None:
    """The message has those that there are."""
    with pytest.raises(TypeError, match="Client has no option timeouts; it has base_url, retry, limiter, timeout"):
        Client(CREDENTIALS, timeouts=5)  # type: ignore[call-arg]


async def test_a_lost_response_of_a_post_is_one_error_with_one_event() -> None:
    """Its attempts are the same on both."""
    events: list[OutcomeUnknown] = []

    def keep(event: Event) -> None:
        if isinstance(event, OutcomeUnknown):
            events.append(event)

    async with Sandbox(faults=Faults({"reset-before": 1.0})) as sandbox:
        async with client_of(sandbox, listeners=[keep]) as client:
            with pytest.raises(AmbiguousOutcomeError) as caught:
                await create(client)

    (event,) = events
    assert event.attempts == caught.value.attempts
    assert event.body == b'{"orderId":"9001","totalIncTax":1}'
    assert "body" not in repr(event)


async def test_at_info_there_is_a_line_for_each_call_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    """And no other."""
    async with Sandbox(faults=Faults(script=["503"])) as sandbox, client_of(sandbox) as client:
        with caplog.at_level(logging.INFO, logger="b2b_async"):
            await assign(client)
            with pytest.raises(NotFoundError):
                await v3.orders.assign_customer_orders(client, 9999)

    assert [record.getMessage().partition(" after")[0] for record in caplog.records] == [
        "Assign Customer Orders to Company failed"
    ]


async def test_a_slot_without_a_wait_is_no_event() -> None:
    """Also where the limiter can only be asked by waiting."""

    class Waiting(RateLimiter):
        def try_acquire(self, lane: Any = "interactive", route: str = "") -> None:
            """Return None, as a shared limiter does."""

    events: list[Event] = []
    async with Sandbox() as sandbox, client_of(sandbox, limiter=Waiting(), listeners=[events.append]) as client:
        await assign(client)

    assert names(events) == ["CallStarted", "AttemptStarted", "AttemptEnded", "CallEnded"]


@pytest.mark.parametrize("kind", [asyncio.CancelledError, GeneratorExit])
async def test_a_listener_that_raises_a_cancellation_cancels_nothing(kind: type[BaseException]) -> None:
    """It is not that of the call, which is not waiting for anything; no slot is lost."""

    def failing(_event: Event) -> None:
        raise kind

    limiter = RateLimiter(Quota(2, 60.0, concurrency=1))
    async with Sandbox(quota="2/60s") as sandbox, client_of(sandbox, limiter=limiter, listeners=[failing]) as client:
        assert len(await asyncio.gather(*(assign(client) for _ in range(3)))) == 3
    assert limiter._buckets.overall.in_flight == 0


async def test_a_listener_can_end_the_process() -> None:
    """An interrupt that comes while it runs is not swallowed."""

    def interrupted(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        notify((interrupted,), JobStarted(job="assign", store="x", time=0.0, about={}, total=None))


async def test_a_wait_for_quota_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG, with its seconds."""
    limiter = RateLimiter(Quota(1, 60.0))
    async with Sandbox(quota="1/60s") as sandbox, client_of(sandbox, limiter=limiter) as client:
        with caplog.at_level(logging.DEBUG, logger="b2b_async"):
            await assign(client)
            await assign(client)

    assert any("waited" in record.getMessage() for record in caplog.records)


async def test_a_listeners_arguments_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A partial holds what may be a secret."""

    def send(event: Event, api_key: str) -> None:
        raise KeyError(type(event).__name__, len(api_key))

    async with Sandbox() as sandbox:
        async with client_of(sandbox, listeners=[functools.partial(send, api_key="SECRET")]) as client:
            await assign(client)

    assert "the listener partial raised an error on CallStarted" in caplog.text
    assert "SECRET" not in caplog.text


async def test_a_users_own_observation_sees_a_misfit_and_has_the_clients_listeners() -> None:
    """Decoding stands inside it; the job's events go to its listeners, too."""
    events: list[Event] = []
    async with raw_server(MISFIT) as (url, _):
        whole = [Observe((events.append,)), *(one for one in Client(CREDENTIALS)._middlewares[6:])]
        async with Client(CREDENTIALS, base_url=url, middlewares=whole) as client:
            assert client.listeners == (events.append,)
            with pytest.raises(ResponseValidationError):
                await change(client)

    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert (ended.error, ended.store) == ("ResponseValidationError", "hash")


async def test_a_success_acknowledged_at_the_deadline_is_applied() -> None:
    """An empty 200 stands when the next attempt hangs."""
    events: list[Event] = []
    async with raw_server(http(200, ""), hang) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=5, listeners=[events.append]) as client:
            assigned = await assign(client)

    ended = events[-1]
    assert isinstance(ended, CallEnded)
    assert (assigned.total, ended.error, ended.outcome) == (None, None, "applied")


async def test_an_attempt_that_was_never_sent_gives_its_slot_back_after_a_success() -> None:
    """A middleware has called its handler a second time."""

    async def twice(request: Request, handler: Handler) -> Response:
        await handler(request)
        return await handler(request)

    events: list[Event] = []
    limiter = RateLimiter(Quota(1, 60.0))
    async with raw_server(GOOD) as (url, _):
        options: dict[str, Any] = {"per_call": [twice], "limiter": limiter, "listeners": [events.append]}
        async with Client(CREDENTIALS, base_url=url, **options) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await assign(client)

    outcomes = [event.outcome for event in events if isinstance(event, AttemptEnded)]
    assert outcomes == ["applied", "not_sent"]
    assert isinstance(events[-1], CallEnded)
    assert events[-1].outcome == "applied"


async def test_a_number_of_seconds_leaves_the_other_times_of_a_view() -> None:
    """It is the time of a call."""
    from b2b_async import Timeouts

    client = Client(CREDENTIALS, timeout=Timeouts(call=60, attempt=3, connect=1, read=2))

    assert client.with_options(timeout=50)._transport.timeouts == Timeouts(50, 3, 1, 2)
    assert client.with_options(timeout=Timeouts(attempt=7))._transport.timeouts == Timeouts(attempt=7)


async def test_a_view_keeps_a_users_own_class() -> None:
    """Of a middleware that it copies."""

    class MyRetry(Retry):
        """A retry of one's own."""

    client = Client(CREDENTIALS, middlewares=[MyRetry(RetryPolicy())])
    view = client.with_options(retry=RetryPolicy(attempts=2))
    (mine,) = (one for one in view._middlewares if isinstance(one, Retry))

    assert (type(mine), mine.policy.attempts) == (MyRetry, 2)
