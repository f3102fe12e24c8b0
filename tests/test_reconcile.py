"""Lost answers: what is looked up, what that settles, and who is told when nothing does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from aiohttp import web
from helpers import CREDENTIALS, client_of, http, raw_server, unknowns

from b2b_async import (
    AmbiguousOutcomeError,
    BadRequestError,
    Client,
    ConfigurationError,
    ConflictError,
    Credentials,
    DeadlineExceededError,
    InvalidArgumentError,
    Operation,
    ResponseValidationError,
    RetryPolicy,
    Timeouts,
    VerificationResult,
    v2,
    v3,
)
from b2b_async.middleware.deadline import CallDeadline
from b2b_async.middleware.reconcile import Reconcile
from b2b_async.middleware.retry import Retry
from b2b_async.sandbox import Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from b2b_async import Handler, Request, Response
    from b2b_async.events import OutcomeUnknown

ORDER = "9001"
V3_LOOK, V2_LOOK = f"GET /api/v3/io/orders/{ORDER}", f"GET /api/v2/io/orders/{ORDER}/companyIdBCId"


def sandbox_with(*script: str | None, order: str = ORDER, **options: Any) -> Sandbox:
    """Make a sandbox that knows an order and meets the faults of *script*."""
    store = Store(2, 5)
    store.add_order(Order(order, 1001, Decimal(1)))
    return Sandbox(store, faults=Faults(script=script), **options)


async def create(client: Client, order: str = ORDER, **options: Any) -> v2.orders.CreatedOrder:
    """Register the order."""
    return await v2.orders.create_order(client, 1, 1001, order_id=order, total_inc_tax=Decimal(1), **options)


@contextlib.asynccontextmanager
async def serving(handler: Callable[[web.Request], Any]) -> AsyncGenerator[str]:
    """Serve everything by one handler; give the base URL."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}"
    await runner.cleanup()


def posts(sandbox: Sandbox) -> int:
    """Count the creations that arrived."""
    return sum(entry.method == "POST" for entry in sandbox.ledger)


@pytest.mark.parametrize(
    "fault", ["reset-after", "close-after", "truncated", "malformed", "500-after", "504-after", "html-after"]
)
async def test_a_lost_answer_is_found_again(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """One POST, one look, and the caller has the answer."""
    async with sandbox_with(fault) as sandbox, client_of(sandbox) as client:
        created = await create(client)

    assert created == v2.orders.CreatedOrder(ORDER, reconciled=True)
    assert sandbox.requests[1:] == [V3_LOOK]
    assert "a verification shows that it was carried out" in caplog.text


async def test_an_answer_that_is_not_lost_is_not_verifications() -> None:
    """And says so."""
    async with sandbox_with() as sandbox, client_of(sandbox) as client:
        assert await create(client) == v2.orders.CreatedOrder(ORDER, reconciled=False)

    assert len(sandbox.requests) == 1


async def test_a_record_that_appears_late_is_looked_for_again() -> None:
    """With growing pauses."""
    async with sandbox_with("reset-after", lag=10) as sandbox, client_of(sandbox) as client:
        assert (await create(client)).reconciled

    looks = len(sandbox.requests) - 1
    assert 4 <= looks <= 6
    assert 10 <= asyncio.get_running_loop().time() <= 26


async def test_without_a_trace_the_outcome_stays_unknown() -> None:
    """Until the call's time is over; nothing is sent again, and the error lists the looks."""
    async with sandbox_with("reset-before") as sandbox, client_of(sandbox) as client:
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client)

    error = caught.value
    assert posts(sandbox) == 1
    assert error.outcome == "unknown"
    assert len(error.verifications) == len(sandbox.requests) - 1 >= 7
    assert {(look.operation, look.result, look.error) for look in error.verifications} == {
        ("Get Order", "absent", None)
    }
    assert error.verifications[0].request_id == "sandbox-2"
    assert [look.after for look in error.verifications] == sorted(look.after for look in error.verifications)
    assert f"; verified {len(error.verifications)} times in" in str(error)
    assert 60 < asyncio.get_running_loop().time() < 120
    assert pickle.loads(pickle.dumps(error)).verifications == error.verifications  # noqa: S301 -- made in the line itself


async def test_a_good_status_without_a_record_is_no_proof() -> None:
    """The server said yes and broke off; nobody can find the order; so nobody knows."""
    broken = b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"code": 200, '
    outcomes = []
    for reconcile in (False, True):
        async with raw_server(broken, http(404, '{"code": 404}')) as (url, _):
            async with Client(CREDENTIALS, base_url=url) as client:
                with pytest.raises(AmbiguousOutcomeError) as caught:
                    await create(client, reconcile=reconcile)
        outcomes.append(caught.value.outcome)

    assert outcomes == ["applied", "unknown"]


async def test_an_order_of_another_company_is_a_conflict() -> None:
    """It says of which, and it is not what was asked for."""
    async with sandbox_with("reset-before") as sandbox, client_of(sandbox) as client:
        sandbox.store.orders[ORDER].company_id = "2"
        with pytest.raises(ConflictError, match="registered with company 2, not with company 1") as caught:
            await create(client)

    assert (caught.value.outcome, caught.value.request_id) == ("unknown", "sandbox-2")
    assert (caught.value.status, caught.value.answer.under_success) == (409, True)
    assert [attempt.outcome for attempt in caught.value.attempts] == ["unknown"]
    assert caught.value.call_id


@pytest.mark.parametrize(
    ("changes", "order", "look"),
    [
        ({}, ORDER, V3_LOOK),
        ({"access_token": None, "store_hash": None}, ORDER, V2_LOOK),
        ({}, "BC9001", "GET /api/v2/io/orders/BC9001/companyIdBCId"),
    ],
)
async def test_the_credentials_and_the_id_choose_the_look(changes: dict[str, None], order: str, look: str) -> None:
    """V3 takes numbers only; v2 is all that a legacy token alone is sure to open."""
    async with sandbox_with("close-after", order=order) as sandbox:
        credentials = attrs.evolve(client_of(sandbox).credentials, **changes)
        async with Client(credentials, base_url=sandbox.url) as client:
            assert (await create(client, order)).reconciled

    assert sandbox.requests[1:] == [look]


async def test_where_one_way_is_closed_the_other_is_taken() -> None:
    """The v3 token may be wrong; v2 knows too."""
    async with sandbox_with("close-after") as sandbox:
        credentials = Credentials("wrong", sandbox.store_hash, sandbox.legacy_token)
        async with Client(credentials, base_url=sandbox.url) as client:
            assert (await create(client)).reconciled

    assert sandbox.requests[1:] == [V3_LOOK, V2_LOOK]


async def test_where_every_way_is_closed_nothing_more_is_asked() -> None:
    """Further looks would only use up quota."""
    async with raw_server(b"", http(401, '{"code": 401}')) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(AmbiguousOutcomeError) as caught:
                await create(client)

    assert len(arrived) == 3
    assert [(look.result, look.error) for look in caught.value.verifications] == [("failed", "AuthenticationError")] * 2
    assert caught.value.outcome == "unknown"


@pytest.mark.parametrize(
    ("data", "result"),
    [
        ('{"companyId": 1}', "found"),
        ('{"bcOrderId": 9001, "companyId": "01"}', "found"),
        ('{"bcOrderId": "009001", "companyId": "1"}', "found"),
        ('[{"bcOrderId": 1, "companyId": 2}, {"bcOrderId": "9001", "companyId": 1}]', "found"),
        ('{"bcOrderId": 9001, "companyId": null}', "absent"),
        ('{"bcOrderId": 9001, "companyId": 0}', "absent"),
        ('{"bcOrderId": 9001, "companyId": ""}', "absent"),
        ('{"bcOrderId": 9001, "companyId": "0"}', "absent"),
        ("[]", "absent"),
        ('{"bcOrderId": 9001}', "failed"),
        ('{"bcOrderId": 9002, "companyId": 1}', "failed"),
        ("[1]", "failed"),
        ("{}", "failed"),
        ("null", "failed"),
        ('"9001"', "failed"),
    ],
)
async def test_all_forms_of_a_record_are_understood(data: str, result: str) -> None:
    """An object in practice, a list in the contract; what is not understood is no absence, which might send again."""
    answer = http(200, f'{{"code": 200, "data": {data}}}', "X-Request-Id: id-1")
    async with raw_server(b"", answer) as (url, arrived), Client(CREDENTIALS, base_url=url) as client:
        if result == "found":
            assert (await create(client, resend_if_absent=True)).reconciled
        else:
            with pytest.raises(AmbiguousOutcomeError) as caught:
                await create(client, resend_if_absent=result == "failed")
            assert {look.result for look in caught.value.verifications} == {result}
            assert caught.value.verifications[0].request_id == "id-1"

    assert sum(request.startswith(b"POST") for request in arrived) == 1


@pytest.mark.parametrize("company", [4, "4", "04"])
async def test_an_id_is_the_same_however_it_is_written(company: object) -> None:
    """No false conflict because of a zero."""
    async with raw_server(b"", http(200, '{"code": 200, "data": {"companyId": "4"}}')) as (url, _):
        async with Client(CREDENTIALS, base_url=url) as client:
            created = await v2.orders.create_order(
                client,
                company,
                1001,
                order_id=ORDER,
                total_inc_tax=Decimal(1),  # type: ignore[arg-type]
            )

    assert created.reconciled


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No\r\n\r\n",
        http(404, "<html>", content_type="text/html"),
        http(400, '{"code": 40010, "data": {}, "message": "Bad Request Error"}'),
        http(429, "{}", "Retry-After: 1"),
        http(503, "{}"),
        http(503, '{"code": 503}', "Retry-After: 1"),
        http(409, '{"code": 409, "message": "try later"}'),
        http(200, '{"code": 409, "message": "try later"}'),
        http(200, '{"code": 200, "data": {}}'),
    ],
)
async def test_an_answer_that_says_nothing_of_the_order_is_no_absence(answer: bytes) -> None:
    """Of a gateway without the route, of a server that is busy, of one that does not like the id."""
    async with raw_server(b"", answer) as (url, arrived), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client, resend_if_absent=True)

    assert {look.result for look in caught.value.verifications} == {"failed"}
    assert sum(request.startswith(b"POST") for request in arrived) == 1
    refused = b" 404 " in answer or b" 400 " in answer
    assert (len(caught.value.verifications) == 2) == refused, "where every way is refused, nothing more is asked"


async def test_the_deadline_ends_the_search_with_the_ambiguous_error() -> None:
    """Even in the middle of a look that hangs; what was looked up before is listed."""

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    absent = http(404, '{"code": 404}')
    async with raw_server(b"", absent, hang) as (url, _):
        async with Client(CREDENTIALS, base_url=url, timeout=Timeouts(call=9)) as client:
            with pytest.raises(AmbiguousOutcomeError) as caught:
                await create(client)

    assert asyncio.get_running_loop().time() == pytest.approx(9, abs=0.01)
    assert [look.result for look in caught.value.verifications] == ["absent"]
    assert any("ended during a verification" in note for note in caught.value.__notes__)


async def test_a_short_call_keeps_time_to_look() -> None:
    """The attempt that hangs gets half of it, whatever Timeouts.attempt says; a call without look-ups gets all."""
    async with sandbox_with("hang-after", None, "hang-after") as sandbox:
        async with client_of(sandbox, timeout=Timeouts(call=10, attempt=30)) as client:
            assert (await create(client)).reconciled
            looked = asyncio.get_running_loop().time()
            with pytest.raises(DeadlineExceededError, match="Check whether it was carried out") as caught:
                await create(client, reconcile=False)
            ended = asyncio.get_running_loop().time()

    assert looked == pytest.approx(5.4, abs=0.2)
    assert ended - looked == pytest.approx(10, abs=0.01)
    assert caught.value.outcome == "unknown"


async def test_a_call_that_was_found_is_done_whatever_comes_after() -> None:
    """A slow middleware of the user's does not bring the lost error back."""

    async def dawdle(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        await asyncio.sleep(60)
        return response

    async with sandbox_with("reset-after") as sandbox:
        async with client_of(sandbox, timeout=Timeouts(call=9), per_call=[dawdle]) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await create(client)

    assert caught.value.outcome == "applied"


async def test_a_look_is_a_call_of_the_same_kind() -> None:
    """In the call's lane, with its headers and within its time; with an id of its own on the log lines."""
    seen: list[Request] = []

    async def watch(request: Request, handler: Handler) -> Response:
        seen.append(request)
        return await handler(request)

    async def tell_who_asks(request: Request, handler: Handler) -> Response:
        return await handler(request.with_headers({"User-Agent": "nightly"}))

    async with sandbox_with("reset-after") as sandbox:
        options: dict[str, Any] = {"per_call": [tell_who_asks], "per_attempt": [watch]}
        async with client_of(sandbox, **options) as client:
            await create(client.with_options(lane="bulk"))

    post, look = seen
    assert look.lane == "bulk"
    assert look.headers["User-Agent"] == "nightly"
    assert look.call.deadline is post.call.deadline is not None
    assert look.call.id == f"{post.call.id}-verify-1"


async def test_a_way_that_fails_moves_behind_one_that_works_and_costs_no_retry_budget() -> None:
    """A look is not tried again by itself: the next look is that. One lost answer must not spend others' retries."""
    asked: list[str] = []

    async def server(request: web.Request) -> web.Response:
        asked.append(request.path.split("/")[2])
        if request.method == "POST":
            assert request.transport is not None
            request.transport.abort()
        if "v3" in request.path:
            return web.json_response({"code": 500, "data": {}}, status=500)
        return web.json_response({"code": 40013, "data": {}}, status=400)

    async with serving(server) as url, Client(CREDENTIALS, base_url=url) as client:
        room = next(room for room in client._middlewares if isinstance(room, Retry))
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client)

    assert room.budget.left == 100
    assert asked[:4] == ["v2", "v3", "v2", "v2"], "the POST, both looks, and from then on the way that answers"
    assert asked.count("v3") == 1
    assert [look.result for look in caught.value.verifications[:3]] == ["failed", "absent", "absent"]


async def test_a_way_whose_answer_is_not_understood_is_followed_by_the_other() -> None:
    """V3 names no company, v2 does."""

    async def server(request: web.Request) -> web.Response:
        if request.method == "POST":
            assert request.transport is not None
            request.transport.abort()
        data = {"bcOrderId": 9001} if "v3" in request.path else {"companyId": "1"}
        return web.json_response({"code": 200, "data": data})

    async with serving(server) as url, Client(CREDENTIALS, base_url=url) as client:
        assert (await create(client)).reconciled


@pytest.mark.parametrize("company", ["[5]", '{"id": 1}', "true", "1.0", "9" * 5000])
async def test_a_company_that_is_no_id_is_not_understood(company: str) -> None:
    """Neither a conflict nor an error that is not ours; a number without end is just another company."""
    answer = http(200, f'{{"code": 200, "data": {{"companyId": {company}}}}}')
    async with raw_server(b"", answer) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client)

    assert {look.result for look in caught.value.verifications} == {"failed"}


@pytest.mark.parametrize(("company", "same"), [('" 1"', True), ('"' + "9" * 5000 + '"', False)])
async def test_odd_ids_are_compared_as_text(company: str, same: object) -> None:
    """Python refuses to read thousands of digits."""
    answer = http(200, f'{{"code": 200, "data": {{"companyId": {company}}}}}')
    async with raw_server(b"", answer) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        if same:
            assert (await create(client)).reconciled
        else:
            with pytest.raises(ConflictError):
                await create(client)


async def test_a_closed_client_looks_no_further() -> None:
    """Nor one whose certificates are not accepted."""

    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with raw_server(hang) as (url, _):
        client = Client(CREDENTIALS, base_url=url)
        async with client:
            call = asyncio.ensure_future(create(client))
            await asyncio.sleep(1)
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await call

    assert [look.error for look in caught.value.verifications] == ["ConfigurationError"] * 2
    assert asyncio.get_running_loop().time() < 5


async def test_the_servers_ids_are_redacted_in_looks() -> None:
    """A debug server may echo a token in any header."""
    answer = http(200, '{"code": 200, "data": {"companyId": "secret-token"}}', "X-Request-Id: secret-token")
    async with raw_server(b"", answer) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(ConflictError) as conflict:
            await create(client)
    absent = http(404, '{"code": 404}', "X-Request-Id: secret-token")
    async with raw_server(b"", absent) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client)

    assert "secret" not in f"{conflict.value} {vars(conflict.value)} {caught.value} {vars(caught.value)}"


async def test_pauses_are_spread() -> None:
    """Between half and the whole of 0.5 s before the first look, so that many calls do not all look at once."""
    times = []
    for uniform in (0.0, 1.0):
        async with sandbox_with("reset-after") as sandbox, client_of(sandbox) as client:
            room = next(room for room in client._middlewares if isinstance(room, Reconcile))
            room.uniform = lambda uniform=uniform: uniform
            started = asyncio.get_running_loop().time()
            await create(client)
            times.append(asyncio.get_running_loop().time() - started)

    assert times == pytest.approx([0.25, 0.5], abs=0.01)


async def test_a_search_without_a_deadline_ends_too() -> None:
    """After about four minutes."""
    async with sandbox_with("reset-before") as sandbox, client_of(sandbox) as client:
        rooms = [room for room in client._middlewares if not isinstance(room, CallDeadline)]
    async with sandbox_with("reset-before") as sandbox, client_of(sandbox, middlewares=rooms) as client:
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client)

    assert len(caught.value.verifications) == 12
    assert 100 < asyncio.get_running_loop().time() < 300


# -- sent again, because the caller said so --------------------------------------------------------------------------


async def test_it_is_sent_again_only_if_the_caller_says_so() -> None:
    """And after several looks that found nothing."""
    async with sandbox_with("reset-before") as sandbox, client_of(sandbox) as client:
        created = await create(client, resend_if_absent=True)

    assert created == v2.orders.CreatedOrder(ORDER, reconciled=False)
    assert [line.split()[0] for line in sandbox.requests] == ["POST", *["GET"] * 4, "POST"]


async def test_a_second_loss_is_verifications_and_not_sent_a_third_time() -> None:
    """Once is what was said."""
    async with (
        sandbox_with("reset-before", None, None, None, None, "reset-after") as sandbox,
        client_of(sandbox) as client,
    ):
        assert (await create(client, resend_if_absent=True)).reconciled
    assert posts(sandbox) == 2

    script = ["reset-before", None, None, None, None, "reset-before"]
    async with sandbox_with(*script) as sandbox, client_of(sandbox) as client:
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(client, resend_if_absent=True)
    assert posts(sandbox) == 2
    assert len(caught.value.attempts) == 2


async def test_a_refusal_of_the_second_may_mean_that_the_first_was_late() -> None:
    """The server says that it exists already; a look tells with whom."""
    async with sandbox_with("slow", lag=30) as sandbox:
        sandbox.faults.slow_seconds = 3
        async with client_of(sandbox, timeout=Timeouts(attempt=1)) as client:
            assert (await create(client, resend_if_absent=True)).reconciled

    assert [entry.applied for entry in sandbox.ledger if entry.method == "POST"] == [True, False]
    assert [entry.repeated for entry in sandbox.ledger if entry.method == "POST"] == [False, True]


@pytest.mark.parametrize(
    "options", [{"reconcile": "no"}, {"resend_if_absent": 1}, {"reconcile": False, "resend_if_absent": True}]
)
async def test_the_choices_are_checked_before_anything_is_sent(options: dict[str, Any]) -> None:
    """A string would count as true."""
    async with sandbox_with() as sandbox, client_of(sandbox) as client:
        with pytest.raises(InvalidArgumentError, match=r"reconcile|resend_if_absent"):
            await create(client, **options)

    assert sandbox.requests == []


# -- who is told -----------------------------------------------------------------------------------------------------


async def assign(client: Client) -> v3.orders.AssignedOrders:
    """Assign the orders of the first buyer."""
    return await v3.orders.assign_customer_orders(client, 1001)


@pytest.mark.parametrize(("fault", "outcome"), [("hang-before", "unknown"), ("trickle", "unknown")])
@pytest.mark.parametrize("call", [assign, create])
async def test_a_cancelled_call_that_was_in_flight_is_told(
    call: Callable[[Client], Any], fault: str, outcome: str
) -> None:
    """At once and in the call's own task, before the cancellation goes on."""
    heard: list[OutcomeUnknown] = []
    async with sandbox_with(fault) as sandbox, client_of(sandbox, listeners=[unknowns(heard)]) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await call(client)

    (told,) = heard
    assert (told.outcome, told.error, told.attempts) == (outcome, None, ())
    assert told.path == sandbox.ledger[0].path
    assert told.body == (b"{}" if call is assign else b'{"orderId":"9001","totalIncTax":1}')
    assert told.call_id
    assert told.operation in {"Create An Order", "Assign Customer Orders to Company"}


async def test_an_unknown_error_is_told_and_raised() -> None:
    """With its name and its attempts."""
    heard: list[OutcomeUnknown] = []
    async with sandbox_with("reset-before", "reset-before") as sandbox, client_of(sandbox) as client:
        view = client.with_options(listeners=[unknowns(heard)])
        with pytest.raises(AmbiguousOutcomeError) as caught:
            await create(view, reconcile=False)
        with pytest.raises(AmbiguousOutcomeError):
            await create(client, reconcile=False)

    (told,) = heard
    assert (told.error, told.outcome, told.call_id) == ("AmbiguousOutcomeError", "unknown", caught.value.call_id)
    assert told.attempts == caught.value.attempts


@pytest.mark.parametrize("fault", ["429", "503-delay", "envelope-400"])
async def test_nobody_is_told_of_what_is_known(fault: str) -> None:
    """A refusal, or a call that still waits for its turn."""
    heard: list[OutcomeUnknown] = []
    async with sandbox_with(fault) as sandbox, client_of(sandbox, listeners=[unknowns(heard)]) as client:
        with pytest.raises((TimeoutError, BadRequestError)):
            async with asyncio.timeout(1):
                await assign(client)

    assert heard == []


async def test_nobody_is_told_of_what_changes_nothing() -> None:
    """A look-up may be repeated by anybody."""
    heard: list[OutcomeUnknown] = []
    async with sandbox_with("html-before") as sandbox:
        async with client_of(sandbox, listeners=[unknowns(heard)], retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(ResponseValidationError) as caught:
                await client.send(Operation("List Companies", "v3", "GET", "/companies"))

    assert (caught.value.outcome, heard) == ("unknown", [])


async def test_an_answer_that_does_not_fit_is_known() -> None:
    """It was carried out; the error says so."""
    heard: list[OutcomeUnknown] = []
    async with raw_server(http(200, '{"code": 200}')) as (url, _):
        async with Client(CREDENTIALS, base_url=url, listeners=[unknowns(heard)]) as client:
            with pytest.raises(ResponseValidationError) as caught:
                await v3.orders.update_order(client, 1, po_number="1")

    assert (caught.value.outcome, heard) == ("applied", [])


async def test_a_hook_that_fails_does_not_change_how_the_call_ends(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged."""

    def broken(_told: OutcomeUnknown) -> None:
        message = "the disk is full"
        raise OSError(message)

    with caplog.at_level(logging.ERROR, logger="b2b_async"):
        async with sandbox_with("reset-before") as sandbox, client_of(sandbox, listeners=[broken]) as client:
            with pytest.raises(AmbiguousOutcomeError):
                await create(client, reconcile=False)

    assert "the disk is full" in caplog.text


async def hook_that_is_async(_told: OutcomeUnknown) -> None:
    """Nobody would await it."""


class AsyncHook:
    """Neither would anybody this."""

    async def __call__(self, told: OutcomeUnknown) -> None:
        """Do nothing."""


def hook_that_is_a_generator(_told: OutcomeUnknown) -> Iterator[None]:
    """Nobody would go through it."""
    yield


@pytest.mark.parametrize("hook", ["x", 1, hook_that_is_async, hook_that_is_a_generator, AsyncHook()])
def test_a_hook_that_cannot_be_called_at_once_is_refused(hook: Any) -> None:
    """When the client is made, and not when the first record is lost."""
    with pytest.raises(ConfigurationError, match="plain function"):
        Client(CREDENTIALS, listeners=[hook])
    with pytest.raises(ConfigurationError, match="plain function"):
        Client(CREDENTIALS).with_options(listeners=[hook])


async def test_an_async_hook_in_disguise_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can see it before it is called."""

    def disguised(told: OutcomeUnknown) -> object:
        return hook_that_is_async(told)

    with caplog.at_level(logging.ERROR, logger="b2b_async"):
        async with (
            sandbox_with("reset-before") as sandbox,
            client_of(sandbox, listeners=[disguised]) as client,
        ):
            with pytest.raises(AmbiguousOutcomeError):
                await create(client, reconcile=False)

    assert "is async, so it was not carried out" in caplog.text


async def test_a_call_that_is_cancelled_when_it_was_answered_was_applied() -> None:
    """A slow middleware of the user's had the answer in hand."""
    heard: list[OutcomeUnknown] = []

    async def dawdle(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        await asyncio.sleep(60)
        return response

    async with sandbox_with() as sandbox:
        async with client_of(sandbox, per_call=[dawdle], listeners=[unknowns(heard)]) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await create(client)

    assert [told.outcome for told in heard] == ["applied"]


async def test_the_servers_json_does_not_say_how_we_know() -> None:
    """A field of that name is the vendor's business."""
    answer = http(200, '{"code": 200, "data": {"orderId": "9001", "reconciled": "x"}}')
    async with raw_server(answer) as (url, _), Client(CREDENTIALS, base_url=url) as client:
        assert await create(client) == v2.orders.CreatedOrder(ORDER, reconciled=False)


def test_results_of_looks_are_plain_values() -> None:
    """They pickle with their error."""
    look = VerificationResult(operation="x", result="failed", error="ServerError", request_id=None, after=1.0)

    assert pickle.loads(pickle.dumps(look)) == look  # noqa: S301 -- made in the line itself
