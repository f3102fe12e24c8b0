"""Nothing sent twice, nothing retried in vain, nothing left behind: the traps that catch other clients, on the wire."""

from __future__ import annotations

import asyncio
import gc
import logging
import pickle
import random
import traceback
import tracemalloc
import zlib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http_writer import StreamWriter
from helpers import CREDENTIALS, GOOD, client_of, http, raw_server, unknowns

from b2b_async import (
    AmbiguousOutcomeError,
    APIConnectionError,
    APITimeoutError,
    B2BError,
    BadRequestError,
    Client,
    ConfigurationError,
    DeadlineExceededError,
    Quota,
    RateLimiter,
    RateLimitError,
    ResponseValidationError,
    RetryPolicy,
    ServerError,
    Timeouts,
    v2,
    v3,
)
from b2b_async._call import CallState
from b2b_async._transport import _Body
from b2b_async.sandbox import FAULTS, Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async.events import OutcomeUnknown

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

REFUSED = "X-Requests-Remaining: 0 times", "X-Request-Window-Resets-After: {0} s", "Retry-After: {0}"


def refused(seconds: int) -> bytes:
    """Give a 429 with the quota's headers."""
    return http(429, '{"detail": "Request was throttled."}', *(line.format(seconds) for line in REFUSED))


def now() -> float:
    """Give the jumping time."""
    return asyncio.get_running_loop().time()


async def put(client: Client, customer: int = 1001) -> int:
    """Assign, and give the total."""
    return (await v3.orders.assign_customer_orders(client, customer)).total


async def post(client: Client, order: str = "9001", **options: Any) -> v2.orders.CreatedOrder:
    """Register the order that ``sandbox_with_order`` knows."""
    return await v2.orders.create_order(client, "1", "1001", order_id=order, total_inc_tax=Decimal("1.10"), **options)


def sandbox_with_order(**options: Any) -> Sandbox:
    """Make a sandbox that knows order 9001."""
    store = Store(2, 5)
    store.add_order(Order("9001", 1001, Decimal(1)))
    return Sandbox(store, **{"quota": "10000/60s", **options})


# -- waiting, and being cancelled ------------------------------------------------------------------------------------


async def test_one_of_three_waiting_calls_is_cancelled_and_the_others_run() -> None:
    """A cancelled waiter that hangs the queue for ever is a classic."""
    async with Sandbox(quota="1/60s") as sandbox:
        async with client_of(
            sandbox, limiter=RateLimiter(Quota(1, 60.0, reserve=0)), timeout=Timeouts(call=900)
        ) as client:
            await put(client)
            calls = [asyncio.ensure_future(put(client)) for _ in range(3)]
            await asyncio.sleep(1)
            calls[1].cancel()
            results = await asyncio.gather(*calls, return_exceptions=True)

    assert [type(result) for result in results] == [int, asyncio.CancelledError, int]
    assert sandbox.throttle.refused == 0
    assert len(sandbox.requests) == 3
    assert now() == pytest.approx(2 * 60.1, abs=0.1)


async def test_after_a_cancellation_during_a_hold_the_next_call_goes_at_the_reset() -> None:
    """The hold belongs to the store and not to the call that met it."""
    async with raw_server(refused(30), GOOD) as (url, arrived), Client(CREDENTIALS, base_url=url) as client:
        first = asyncio.ensure_future(put(client))
        await asyncio.sleep(5)
        first.cancel()
        await asyncio.sleep(1)
        assert await put(client) == 3

    assert first.cancelled()
    assert len(arrived) == 2
    assert now() == pytest.approx(30.1, abs=0.05)


async def test_a_hold_stays_as_long_as_it_is_while_another_call_ends() -> None:
    """An event that the end of any call sets would let the store be asked too early."""
    times: list[float] = []

    def answer(data: bytes, after: float = 0.0) -> Serve:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            times.append(now())
            await asyncio.sleep(after)
            writer.write(data)

        return serve

    async with raw_server(answer(GOOD, 1.0), answer(refused(2)), answer(GOOD)) as (url, _):
        async with Client(CREDENTIALS, base_url=url) as client:
            slow = asyncio.ensure_future(put(client))
            await asyncio.sleep(0.1)
            held = asyncio.ensure_future(put(client))
            await asyncio.sleep(0.1)
            late = asyncio.ensure_future(put(client))
            await asyncio.gather(slow, held, late)

    assert times[:2] == pytest.approx([0, 0.1], abs=0.01)
    assert [time >= 2.1 for time in times[2:]] == [True, True]


@pytest.mark.parametrize("method", [put, post])
@pytest.mark.parametrize(
    "fault", ["hang-before", "hang-after", "slow", "trickle", "429", "429-bare", "503-delay", "500"]
)
async def test_a_timeout_around_a_call_always_ends_it(fault: str, method: Callable[[Client], Awaitable[Any]]) -> None:
    """At once, wherever the call is; the limiter, the pool and the session go on."""
    faults = Faults({fault: 1.0}, slow_seconds=50)
    async with sandbox_with_order(faults=faults) as sandbox, client_of(sandbox, connections=1) as client:
        started = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.35):
                await method(client)
        ended = now()
        sandbox.faults = Faults()
        await put(client)
        books = client.quota

    assert ended - started == pytest.approx(0.35, abs=0.001)
    assert (books.waiting_interactive, books.waiting_bulk) == (0, 0)


@pytest.mark.parametrize("fault", [None, "slow", "trickle"])
@pytest.mark.parametrize("turns", range(14))
async def test_a_cancellation_at_any_moment_leaves_everything_sound(turns: int, fault: str | None) -> None:
    """Turn by turn of the loop: a slot whose request arrived is held, any other comes back; the next call works."""
    heard: list[OutcomeUnknown] = []
    faults = Faults(script=[fault], slow_seconds=5)
    async with sandbox_with_order(faults=faults) as sandbox:
        async with client_of(sandbox, connections=1, listeners=[unknowns(heard)]) as client:
            call = asyncio.ensure_future(post(client))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await asyncio.sleep(6)  # what has left arrives
            arrived, used = len(sandbox.ledger), client.quota.used
            sandbox.faults = Faults()
            assert await asyncio.wait_for(put(client), 1) >= 0

        assert used >= arrived
        assert bool(heard) >= (call.cancelled() and arrived > 0), "it may have been carried out, and nobody was told"
        assert call.cancelled() or call.result().order_id == "9001"
    assert client.limiter._buckets.overall.in_flight == 0


async def test_cancellations_meet_calls_at_every_stage() -> None:
    """Fourteen turns are enough to be cancelled before the request leaves, under way, and never."""
    seen = set()
    for turns in range(14):
        async with sandbox_with_order() as sandbox, client_of(sandbox) as client:
            call = asyncio.ensure_future(post(client))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await asyncio.sleep(1)
            seen.add((call.cancelled(), len(sandbox.ledger)))

    assert seen >= {(True, 0), (True, 1), (False, 1)}


@pytest.mark.parametrize("fault", ["hang-before", "reset-before", "slow"])
async def test_a_request_that_left_keeps_its_slot(fault: str) -> None:
    """However it was lost, the server may have counted it."""
    faults = Faults(script=[fault], slow_seconds=50)
    options: dict[str, Any] = {"retry": RetryPolicy(attempts=1), "timeout": Timeouts(attempt=3)}
    async with sandbox_with_order(faults=faults) as sandbox, client_of(sandbox, **options) as client:
        with pytest.raises((APIConnectionError, TimeoutError)):
            async with asyncio.timeout(None if fault != "slow" else 1):
                await put(client)
        assert client.quota.used == 1


# -- how often something is sent -------------------------------------------------------------------------------------


async def test_every_attempt_at_a_closing_server_is_on_record() -> None:
    """Aiohttp's hidden resend would make more hits than records."""
    async with raw_server(b"") as (url, arrived), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(APIConnectionError) as caught:
            await put(client)

    assert [attempt.outcome for attempt in caught.value.attempts] == ["unknown"] * 4
    assert len(arrived) == 4
    assert caught.value.not_retried == "attempts"


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes."""
    await reader.read()


async def test_a_post_that_times_out_after_it_was_sent_is_sent_once() -> None:
    """Whatever is looked up afterwards."""
    options: dict[str, Any] = {"timeout": Timeouts(call=60, attempt=2)}
    async with raw_server(hang) as (url, arrived), Client(CREDENTIALS, base_url=url, **options) as client:
        with pytest.raises(AmbiguousOutcomeError) as alone:
            await post(client, reconcile=False)
        with pytest.raises(AmbiguousOutcomeError) as looked:
            await post(client)

    posts = [request for request in arrived if request.startswith(b"POST")]
    assert len(posts) == 2
    assert (alone.value.outcome, looked.value.outcome) == ("unknown", "unknown")
    assert isinstance(alone.value.__cause__, APITimeoutError)


async def test_a_post_that_is_refused_with_a_delay_is_sent_once() -> None:
    """A 400 says no; its Retry-After changes nothing."""
    async with raw_server(http(400, '{"code": 400}', "Retry-After: 1")) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(BadRequestError) as caught:
                await post(client)

    assert len(arrived) == 1
    assert caught.value.not_retried is None


async def test_endless_refusals_end_by_the_deadline() -> None:
    """Each hold is short, their sum is not."""
    policy = RetryPolicy(throttled=10_000)
    async with raw_server(refused(1)) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url, retry=policy, timeout=Timeouts(call=10)) as client:
            with pytest.raises(B2BError) as caught:
                await put(client)

    assert now() <= 10
    assert 3 <= len(arrived) <= 10
    assert caught.value.outcome == "rejected"
    assert caught.value.not_retried == "deadline"


async def test_three_long_refusals_with_a_pool_of_two_finish() -> None:
    """A body that is not read to its end would keep its connection."""
    asked, connections = 0, set()

    async def serve(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        connections.add(request.transport)
        if asked <= 9:
            return web.Response(status=503, body=b"x" * 2_000_000)
        return web.json_response({"data": {"total": 3}})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    policy = RetryPolicy(attempts=10, budget=1000)
    async with Client(CREDENTIALS, base_url=f"http://{host}:{port}", connections=2, retry=policy) as client:
        assert await asyncio.gather(*(put(client) for _ in range(3))) == [3, 3, 3]
    await runner.cleanup()

    assert asked == 12
    assert len(connections) == 2, "an answer that is not read to its end costs its connection"


def open_files() -> int:
    """Count the files and sockets of this process, where the system tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.heavy
async def test_ten_thousand_calls_leave_nothing_behind() -> None:
    """No task, no socket, no warning (they are errors here), with failures and cancellations among them."""
    before, complaints = open_files(), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    faults = Faults({"reset-after": 0.01, "truncated": 0.01, "500": 0.01, "hang-before": 0.001, "429": 0.001})
    async with sandbox_with_order(quota="50000/1s", faults=faults) as sandbox:
        limiter = RateLimiter(Quota(50_000, 1.0))
        async with client_of(sandbox, limiter=limiter, retry=RetryPolicy(budget=100_000)) as client:
            turn, dice = iter(range(10_000)), random.Random(1)

            async def work() -> None:
                for number in turn:
                    call = asyncio.ensure_future(post(client, reconcile=False) if number % 2 else put(client))
                    if number % 50 == 0:
                        for _ in range(dice.randrange(14)):
                            await asyncio.sleep(0)
                        call.cancel()
                    await asyncio.wait([call])
                    _ = call.cancelled() or call.exception()

            await asyncio.gather(*(work() for _ in range(32)))
    await asyncio.sleep(1)
    gc.collect()

    assert complaints == []
    assert len(asyncio.all_tasks()) == 1
    assert limiter._buckets.overall.in_flight == 0
    assert open_files() <= before


# -- what a server can say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("3", 3.0, 3.25),
        ("2.5", 2.5, 2.75),
        ("0", 0.0, 0.25),
        ("soon", 0.25, 0.5),
        ("-5", 0.25, 0.5),
        ("nan", 0.25, 0.5),
        ("inf", 0.25, 0.5),
        ("", 0.25, 0.5),
        ("3 seconds", 3.0, 3.25),
        ("3s", 3.0, 3.25),
        ("3, 4", 3.0, 3.25),
        ("3 minutes", 0.25, 0.5),
        ("1_0", 0.25, 0.5),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 7.0, 7.25),
        ("Fri, 99 Dec 1999 23:59:59 GMT", 0.25, 0.5),
    ],
)
async def test_a_delay_is_honoured_to_the_letter_and_nonsense_is_none(value: str, least: float, most: float) -> None:
    """Never early, hardly late; and no header makes a call fail in a way of its own."""
    busy = http(503, "{}", f"Retry-After: {value}", "Date: Fri, 31 Dec 1999 23:59:52 GMT")
    async with raw_server(busy, GOOD) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        assert await put(client) == 3

    assert least <= now() <= most + 0.01


@pytest.mark.parametrize("value", ["121", "1e9", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_delay_that_is_too_long_is_handed_to_the_caller(value: str) -> None:
    """At once, with the seconds that were asked for."""
    async with raw_server(http(503, "{}", f"Retry-After: {value}")) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=10_000)) as client:
            with pytest.raises(ServerError) as caught:
                await put(client)

    too_long = value != "9" * 400  # a number that is infinite is none
    assert len(arrived) == (1 if too_long else 4)
    assert caught.value.not_retried == ("delay" if too_long else "attempts")
    assert (caught.value.retry_after is not None) == too_long


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        (["X-Requests-Remaining: many", "X-Request-Window-Resets-After: later", "Retry-After: soon"], 5.0),
        (["X-Requests-Remaining: -3 times", "X-Request-Window-Resets-After: -1 s"], 5.0),
        (["X-Requests-Allocated: 0 times/0 s", "X-Requests-Remaining: 0 times"], 5.0),
        (["X-Requests-Remaining: 0 times", "X-Request-Window-Resets-After: soon"], 5.0),
        (["X-Rate-Limit-Requests-Left: 0", "X-Rate-Limit-Time-Reset-Ms: 1500"], 1.6),
        (["X-Requests-Remaining: 0 times", "X-Request-Window-Resets-After: 2 s", "Retry-After: soon"], 2.1),
    ],
)
async def test_a_refusal_holds_as_long_as_its_headers_say(lines: list[str], seconds: float) -> None:
    """And where they name no time, as for an overload."""
    async with raw_server(http(429, "{}", *lines), GOOD) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=500)) as client:
            await put(client)

    assert now() == pytest.approx(seconds, abs=0.05)


async def test_a_refusal_for_ages_is_handed_to_the_caller_and_holds_for_two_minutes() -> None:
    """Then the server is asked again."""
    async with raw_server(http(429, "{}", "Retry-After: " + "9" * 30), GOOD) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=500)) as client:
            with pytest.raises(RateLimitError) as caught:
                await put(client)
            started, held = now(), client.quota.held_for
            await put(client)

    assert caught.value.not_retried == "delay"
    assert (started, held) == (pytest.approx(0, abs=0.01), pytest.approx(120, abs=0.2))
    assert now() == pytest.approx(120, abs=0.2)


async def test_a_silence_ends_an_attempt_before_its_time() -> None:
    """Timeouts.read bounds the gap between two pieces; here after the head."""

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n")
        writer.write(b'{"code": 200,')
        await reader.read()

    timeouts = Timeouts(read=2.5)
    async with raw_server(stall) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=timeouts, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(APITimeoutError) as caught:
                await put(client)

    assert caught.value.outcome == "applied"
    assert now() == pytest.approx(2.5, abs=0.01)


@pytest.mark.parametrize("fault", ["truncated", "truncated-chunks", "cut-gzip", "malformed"])
async def test_an_answer_that_is_not_whole_is_noticed(fault: str) -> None:
    """However it was cut: by its length, its chunks, its compression, or its own brackets."""
    async with sandbox_with_order(faults=Faults({fault: 1.0})) as sandbox, client_of(sandbox) as client:
        with pytest.raises((APIConnectionError, ResponseValidationError)) as caught:
            await put(client)

    assert caught.value.outcome == "applied"
    assert len(caught.value.attempts) == 4


@pytest.mark.parametrize("status", [200, 500])
async def test_a_bomb_stops_early(status: int) -> None:
    """128 MiB in 130 kB of gzip: less than 32 MiB of memory."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(128)) + packer.flush()
    async with raw_server(http(status, bomb, "Content-Encoding: gzip")) as (url, _):
        async with Client(CREDENTIALS, base_url=url, retry=RetryPolicy(attempts=1)) as client:
            tracemalloc.start()
            with pytest.raises(B2BError) as caught:
                await put(client)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

    assert peak < 32 << 20
    assert isinstance(caught.value, ResponseValidationError if status == 200 else ServerError)


# -- what may have reached the server --------------------------------------------------------------------------------


async def test_a_deadline_while_connecting_means_not_sent() -> None:
    """The connection is still shaking hands; the body has not been asked for."""
    async with raw_server(hang) as (url, _):
        # A server that never answers the client's hello.
        slow = url.replace("http://127.0.0.1", "https://localhost")
        heard: list[Any] = []
        timeouts = Timeouts(call=2, connect=10, attempt=30)
        async with Client(CREDENTIALS, base_url=slow, timeout=timeouts, listeners=[unknowns(heard)]) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await post(client, reconcile=False)
            used = client.quota.used

    assert (caught.value.outcome, used, heard) == ("not_sent", 0, [])


@pytest.mark.parametrize(("name", "value"), [("X-Mine", "a\r\nX-Auth-Token: other"), ("X-Mine", None), ("X\n", "a")])
async def test_a_header_that_cannot_be_written_is_a_mistake_and_not_sent(name: str, value: Any) -> None:
    """A middleware may not smuggle in a line, and aiohttp's own error does not come through."""

    async def smuggle(request: Any, handler: Any) -> Any:
        return await handler(request.with_headers({name: value}))

    async with raw_server(GOOD) as (url, arrived), Client(CREDENTIALS, base_url=url, per_call=[smuggle]) as client:
        with pytest.raises(ConfigurationError, match="nothing was sent") as caught:
            await put(client)

    assert caught.value.outcome == "not_sent"
    assert "secret" not in str(caught.value)
    assert arrived == []


class ClosingConnector(aiohttp.TCPConnector):
    """Hands out a connection that closes before it is written to, as a server's idle timeout makes it happen."""

    closings = 1

    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, and close."""
        connection = await super().connect(*args, **kwargs)
        if self.closings:
            self.closings -= 1
            assert connection.transport is not None
            connection.transport.close()
        return connection


async def test_a_connection_that_closes_before_the_first_byte_has_sent_nothing() -> None:
    """So that a POST may go again: it left once."""
    async with sandbox_with_order() as sandbox, aiohttp.ClientSession(connector=ClosingConnector()) as session:
        async with client_of(sandbox, session=session) as client:
            created = await post(client)

    assert created == v2.orders.CreatedOrder("9001")
    assert len(sandbox.requests) == 1


class ClosingWriter(StreamWriter):
    """A connection that closes as soon as it is written to."""

    def __init__(self) -> None:
        """There is no connection."""

    async def write(self, *_args: Any, **_kwargs: Any) -> None:
        """Close."""
        raise aiohttp.ClientConnectionResetError

    @property
    def protocol(self) -> Any:
        """The connection has been quiet."""
        return None


@pytest.mark.parametrize(("size", "outcome"), [(2, "not_sent"), (70_000, "unknown")])
async def test_a_long_body_may_be_on_its_way_when_its_connection_closes(size: int, outcome: str) -> None:
    """A short one goes in one piece or not at all; of a long one nobody can tell how much was written."""
    call = CallState("1")
    with pytest.raises(aiohttp.ClientConnectionResetError):
        await _Body(b" " * size, call).write_with_length(ClosingWriter(), None)

    assert call.observed_outcome == outcome


# -- secrets ---------------------------------------------------------------------------------------------------------


def everything_shown(error: BaseException) -> str:
    """Give all that logs, debuggers, error trackers and other processes get of an error, its causes and contexts."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    shown += repr(error) + str(vars(error)) + str(getattr(error, "__notes__", ""))
    chain: list[BaseException] = [error]
    for link in chain:
        shown += repr(link.args)
        assert not type(link).__module__.startswith(("aiohttp", "tenacity", "cattrs", "json")), "not one of ours"
        chain += [next_one for next_one in (link.__cause__, link.__context__) if next_one is not None]
    if isinstance(error, B2BError):
        shown += pickle.dumps(error).decode("latin-1")
    return shown


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a debug page does: with the request's headers."""
    page = "<html>X-Auth-Token: secret-token authToken: secret-legacy</html>"
    writer.write(http(500, page, "X-Request-Id: secret-token", content_type="text/html"))
    await writer.drain()
    del reader


@pytest.mark.parametrize("call", [put, post])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
        http(200, '{"code": 400, "data": {"field": "secret-token"}, "message": "secret-legacy"}'),
        http(200, '{"data": {"total": "-secret-token", "orderId": ["secret-legacy"]}}'),
        http(200, '{"secret-token": secret-legacy'),
        http(200, "<html>secret-token</html>", content_type="text/html; secret-legacy"),
        http(302, "", "Location: http://127.0.0.1:9/?secret-token"),
        http(404, '{"code": 404, "data": {"errMsg": "secret-token"}}'),
        http(429, '{"detail": "secret-token"}', "Retry-After: 200"),
        echo,
        hang,
    ],
)
async def test_no_secret_is_told(
    answer: bytes | Serve, call: Callable[[Client], Awaitable[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a repr, log, traceback with its variables, note, cause, context or pickle; not even where it is echoed."""
    caplog.set_level(logging.DEBUG)
    shown = ""
    async with raw_server(answer) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=8, attempt=5)) as client:
            shown += await _shown_by(call, client, None)
            shown += await _shown_by(call, client, 0.001)
            shown += repr(client) + repr(client.quota) + repr(client._middlewares) + repr(vars(client._transport))
            shown += "".join(repr(vars(room)) for room in client._middlewares)

    assert "secret" not in shown
    assert "secret" not in caplog.text


async def _shown_by(call: Callable[[Client], Awaitable[Any]], client: Client, seconds: float | None) -> str:
    """Give all that is shown of the error that *call* ends with, within *seconds* if not None."""
    try:
        async with asyncio.timeout(seconds):
            await call(client)
    except (B2BError, TimeoutError) as error:
        return everything_shown(error)
    pytest.fail("it was to fail")


async def test_no_token_reaches_the_target_of_a_redirect() -> None:
    """Nothing does."""
    async with raw_server(GOOD) as (target, taken):
        faults = Faults({"redirect": 1.0}, redirect_to=target)
        async with sandbox_with_order(faults=faults) as sandbox, client_of(sandbox) as client:
            for call in (put, post):
                with pytest.raises(B2BError, match="307"):
                    await call(client)

    assert taken == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_the_sandbox_brings_an_error_that_is_not_ours(fault: str) -> None:
    """Each alone, for both methods, without a second attempt."""
    faults = Faults({fault: 1.0}, slow_seconds=3, hang_seconds=20)
    options: dict[str, Any] = {"retry": RetryPolicy(attempts=1, throttled=0), "timeout": Timeouts(call=30, attempt=5)}
    async with sandbox_with_order(faults=faults) as sandbox, client_of(sandbox, **options) as client:
        for call in (put, post):
            try:
                await call(client)
            except B2BError as error:
                everything_shown(error)
            else:
                assert fault in {"content-type", "slow", "trickle", "answered-twice-late"}
