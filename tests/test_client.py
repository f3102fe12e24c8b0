"""The client over the sandbox: middlewares of one's own, lanes, logging, the whole line."""

from __future__ import annotations

import asyncio
import copy
import gzip
import logging
import pickle
import tracemalloc
from collections.abc import MutableMapping
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from helpers import CREDENTIALS, client_of, http, raw_server, unknowns

from b2b_async import Client, CompanyId, Credentials, Operation, Quota, RateLimiter, Request, Timeouts, UserId, v2, v3
from b2b_async._call import CallState
from b2b_async._messages import Headers
from b2b_async.errors import (
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InvalidArgumentError,
    NotFoundError,
    ResponseValidationError,
    ServerError,
)
from b2b_async.middleware.auth import Auth
from b2b_async.sandbox import Faults, Order, Sandbox, Store

if TYPE_CHECKING:
    from b2b_async import Handler, Response


async def test_the_plugin_gives_a_client_of_a_sandbox(b2b_sandbox: Sandbox, b2b_client: Client) -> None:
    """As users' own tests have it."""
    assert (await v3.orders.assign_customer_orders(b2b_client, 1001)).total == 3
    assert (await v3.orders.assign_customer_orders(b2b_client, 1001)).total == 0
    assert b2b_sandbox.requests == ["PUT /api/v3/io/customers/1001/orders/b2b"] * 2


async def test_middlewares_of_ones_own() -> None:
    """Per call it runs once, per attempt each time; behind auth it sees what is sent."""
    seen: list[str] = []

    async def per_call(request: Request, handler: Handler) -> Response:
        seen.append("call")
        return await handler(attrs.evolve(request, headers={"X-Mine": "1"}))

    async def per_attempt(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        seen.append(f"attempt {request.attempt}: {response.status} {sorted(request.headers)}")
        return response

    async with Sandbox(faults=Faults(script=["503"])) as sandbox:
        async with client_of(sandbox, per_call=[per_call], per_attempt=[per_attempt]) as client:
            await v3.orders.assign_customer_orders(client, 1001)

    assert seen == [
        "call",
        "attempt 1: 503 ['X-Auth-Token', 'X-Mine', 'X-Store-Hash']",
        "attempt 2: 200 ['X-Auth-Token', 'X-Mine', 'X-Store-Hash']",
    ]


async def test_views_share_everything_but_their_options() -> None:
    """A bulk view has the same limiter, session and ids."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        bulk = client.with_options(lane="bulk")
        await v3.orders.assign_customer_orders(bulk, 1001)
        await v3.orders.assign_customer_orders(bulk.with_options(), 1001)

        assert client.quota.requests == 2
        assert bulk.limiter is client.limiter


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"access_token": "wrong"}, AuthenticationError),
        ({"store_hash": "wrong"}, ServerError),
        ({"access_token": None, "legacy_token": "wrong"}, AuthenticationError),
    ],
)
async def test_wrong_credentials(changes: dict[str, str | None], error: type[Exception]) -> None:
    """A wrong store hash looks like a broken server, and the message says so."""
    async with Sandbox(faults=Faults()) as sandbox:
        client = client_of(sandbox)
        credentials: Credentials = attrs.evolve(client.credentials, **changes)
        async with Client(credentials, base_url=sandbox.url) as client:
            with pytest.raises(error) as caught:
                await v3.orders.assign_customer_orders(client, 1001)

    assert ("b2b-async check" in str(caught.value)) == (error is ServerError)


async def test_one_log_line_for_each_call(caplog: pytest.LogCaptureFixture) -> None:
    """Success at debug, failure at info, with the call's id; never a token."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        with caplog.at_level(logging.DEBUG, logger="b2b_async"):
            await v3.orders.assign_customer_orders(client, 1001)
            with pytest.raises(NotFoundError) as caught:
                await v3.orders.assign_customer_orders(client, 9999)
            lines = [(record.levelname, record.getMessage()) for record in caplog.records]

    assert [level for level, _ in lines] == ["DEBUG", "DEBUG", "INFO"]
    assert "answered 200" in lines[0][1]
    assert "attempt 1 ended with NotFoundError (status 404)" in lines[1][1]
    assert f"NotFoundError [call {caught.value.call_id}, PUT /api/v3/io/customers/9999/orders/b2b" in lines[2][1]
    assert sandbox.access_token not in caplog.text


async def test_a_raw_call_gives_the_answer_as_it_is() -> None:
    """For endpoints that have no function here."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        response = await client.send(Operation("List Companies", "v3", "GET", "/companies"), query={"limit": "2"})

    assert response.envelope is not None
    assert [company["companyId"] for company in response.envelope.data] == [10, 9]
    assert response.request_id == "sandbox-1"
    assert response.trace_id == "trace-1"


async def test_a_thousand_calls_at_the_real_quota() -> None:
    """150 in 60 s, nothing refused, at most a window over the best possible time."""
    loop = asyncio.get_running_loop()
    async with Sandbox(latency=0.1) as sandbox, client_of(sandbox, limiter=RateLimiter(Quota())) as client:
        bulk = client.with_options(lane="bulk")
        turn = iter(range(1000))

        async def work() -> None:
            for _ in turn:
                await v3.orders.assign_customer_orders(bulk, 1001)

        async with asyncio.TaskGroup() as group:
            for _ in range(16):
                group.create_task(work())

    assert sandbox.throttle.refused == 0
    assert sandbox.throttle.accepted == 1000
    assert loop.time() <= 6 * 60 + 60


async def test_an_interactive_call_does_not_wait_behind_bulk() -> None:
    """A second at most, in the middle of a job that uses all of the quota."""
    loop = asyncio.get_running_loop()
    async with Sandbox(latency=0.1) as sandbox, client_of(sandbox) as client:
        bulk = client.with_options(lane="bulk")

        async def work() -> None:
            while True:
                await v3.orders.assign_customer_orders(bulk, 1001)

        workers = [asyncio.ensure_future(work()) for _ in range(32)]
        waits = []
        await asyncio.sleep(100)
        for _ in range(20):
            await asyncio.sleep(17)
            started = loop.time()
            await v3.orders.assign_customer_orders(client, 1002)
            waits.append(loop.time() - started)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)

    # The very first one may meet a window that a burst has emptied to its last fifth.
    assert sorted(waits)[18] <= 1.0
    assert sandbox.throttle.refused == 0


async def test_a_pipeline_without_the_status_room_still_tells_what_happened() -> None:
    """A 401 whose envelope nobody has opened was not carried out."""
    async with Sandbox() as sandbox:
        credentials = Credentials("wrong", "wrong-store")
        async with Client(credentials, base_url=sandbox.url, middlewares=[Auth(credentials)]) as client:
            with pytest.raises(ResponseValidationError) as caught:
                await v3.orders.assign_customer_orders(client, 1001)

    assert caught.value.outcome == "unknown", "the sandbox says 500 to a wrong store"


async def test_a_class_that_cannot_be_made_is_an_error_of_ours() -> None:
    """Though the call was carried out."""

    @attrs.frozen
    class Odd:
        total: complex

    async with Sandbox() as sandbox, client_of(sandbox) as client:
        with pytest.raises(ResponseValidationError, match=r"\$\.data\.total cannot be made into complex") as caught:
            await client.call(v3.orders.ASSIGN_CUSTOMER_ORDERS, {"customerId": 1001}, body=b"{}", into=Odd)

    assert caught.value.outcome == "applied"


async def test_a_body_of_ones_own_may_be_anything() -> None:
    """The ids on an error are those that can be read."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        for body in (b"", b"{", b"[1]", b'{"customerId": [1]}', b"\xff"):
            with pytest.raises(NotFoundError) as caught:
                await client.send(v3.orders.ASSIGN_CUSTOMER_ORDERS, {"customerId": 9999}, body=body)
            assert caught.value.ids == {"customerId": "9999"}


def test_what_holds_a_token_is_not_pickled() -> None:
    """And shows the names of its headers only."""
    request = Request(operation=v3.orders.ASSIGN_CUSTOMER_ORDERS, path="/x", call=CallState("1"))
    signed = request.with_headers({"X-Auth-Token": "secret"})

    assert repr(signed.headers) == "<headers X-Auth-Token>"
    for holder in (signed, Auth(Credentials(legacy_token="secret"))):
        with pytest.raises(TypeError, match="not picklable"):
            pickle.dumps(holder)


def test_a_token_is_blanked_out_in_every_form() -> None:
    """Also where it holds quotes, or where one token is the beginning of the other."""
    odd = Credentials('se"cret\\tok', "store", 'se"cret\\tok-legacy')

    assert odd.redact('a se"cret\\tok b se"cret\\tok-legacy c') == "a *** b *** c"
    assert odd.redact(r"{'a': 'se\"cret\\tok-legacy'}") == "{'a': '***'}"
    assert Credentials(legacy_token="a/b").redact(r"a\/b a%2Fb a/b") == "*** *** ***"


async def test_a_token_in_an_id_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Not on success either."""
    async with raw_server(http(200, '{"data": {"total": 1}}', "X-Request-Id: secret-token")) as (url, _):
        with caplog.at_level(logging.DEBUG, logger="b2b_async"):
            async with Client(CREDENTIALS, base_url=url) as client:
                await v3.orders.assign_customer_orders(client, 1)

    assert "answered 200" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("depth", [10, 100, 700, 900, 5000])
async def test_deep_answers_make_errors_that_pickle(depth: int) -> None:
    """What is nested beyond reason is left out."""
    body = '{"code": 400, "data": {"x": ' + "[" * depth + "]" * depth + "}}"
    async with raw_server(http(400, body, "X-Request-Id: \xff")) as (url, _):
        async with Client(CREDENTIALS, base_url=url) as client:
            with pytest.raises(BadRequestError) as caught:
                await v3.orders.assign_customer_orders(client, 1)

    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 -- made in the line itself
    assert (error.answer.payload is None) == (depth > 64)
    assert str(error).encode()


async def test_a_huge_error_costs_little() -> None:
    """15 kB of gzip that are 15 MB of blanks: only the beginning is looked at."""
    page = gzip.compress(b"ab " * 5_000_000)
    async with raw_server(http(400, page, "Content-Encoding: gzip", content_type="text/html")) as (url, _):
        async with Client(CREDENTIALS, base_url=url) as client:
            tracemalloc.start()
            with pytest.raises(BadRequestError) as caught:
                await v3.orders.assign_customer_orders(client, 1)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

    assert peak < 4 << 20
    assert caught.value.message == ("ab " * 70)[:200]


async def test_the_answer_beside_the_value() -> None:
    """Status, headers, ids, quota left, and the attempts that failed before; one mechanism for every function."""
    async with Sandbox(faults=Faults(script=["503"])) as sandbox, client_of(sandbox) as client:
        answered = await client.with_response(v3.users.get_user, UserId(50_000))
        page = await client.with_response(v3.users.list_users, limit=2)
        ten = await client.with_options(lane="bulk").with_response(partial(v3.companies.list_companies, limit=10))

    assert answered.value.customer_id == 1001
    assert (answered.response.status, answered.response.request_id, answered.response.trace_id) == (
        200,
        "sandbox-2",
        "trace-2",
    )
    assert answered.response.headers["X-Requests-Allocated"] == "150 times/60 s"
    assert answered.response.quota_left == 150
    assert [attempt.status for attempt in answered.attempts] == [503]
    assert answered.call_id
    assert answered.response.envelope is not None
    assert answered.response.envelope.data["id"] == 50_000
    assert (len(page.value.items), page.response.quota_left, page.attempts) == (2, 149, ())
    assert len(ten.value.items) == 10


async def test_the_last_answer_may_be_an_error() -> None:
    """That a function has taken for its answer."""

    async def exists(client: Client) -> bool:
        await v3.users.get_user(client, UserId(50_000))
        try:
            await v3.users.get_user(client, UserId(1))
        except NotFoundError:
            return False
        raise AssertionError

    async with Sandbox() as sandbox, client_of(sandbox) as client:
        answered = await client.with_response(exists)
        absent = await client.with_response(v2.orders.find_created_order, CompanyId(1), order_id="BC1")

    assert (answered.value, answered.response.status, answered.response.request_id) == (False, 404, "sandbox-2")
    assert (absent.value, absent.response.status) == (None, 400)


async def test_a_reconciled_call_gives_the_look_ups_answer() -> None:
    """With the lost attempt before it."""
    store = Store(1, 1)
    store.add_order(Order("9001", 1001, Decimal(1)))
    async with Sandbox(store, faults=Faults(script=["reset-after"])) as sandbox, client_of(sandbox) as client:
        answered = await client.with_response(
            v2.orders.create_order, "1", "1001", order_id="9001", total_inc_tax=Decimal("1.50")
        )

    assert answered.value == v2.orders.CreatedOrder("9001", reconciled=True)
    assert (answered.response.status, answered.response.request_id) == (200, "sandbox-2")
    assert [attempt.outcome for attempt in answered.attempts] == ["unknown"]


async def test_what_has_no_answer_is_told() -> None:
    """A list of all pages has many; a function that does not ask has none."""

    async def nothing(_client: Client) -> None:
        return None

    async with Sandbox() as sandbox, client_of(sandbox) as client:
        with pytest.raises(InvalidArgumentError, match="with_response takes a function to await"):
            await client.with_response(lambda view: v3.users.list_users(view).items())  # type: ignore[arg-type, return-value]
        with pytest.raises(RuntimeError, match="made no call with the client that it was given"):
            await client.with_response(nothing)

    assert sandbox.requests == []


# -- refused or working, never silent ------------------------------------------------------------------------------


async def forgetful(request: Request, handler: Handler) -> None:
    """Forget to return the response."""
    await handler(request)


@pytest.mark.parametrize(("place", "outcome"), [("per_call", "applied"), ("per_attempt", "unknown")])
async def test_a_middleware_that_returns_nothing_is_named(place: str, outcome: str) -> None:
    """The order is created, and the error says that it may be."""
    unknown: list[Any] = []
    store = Store()
    store.add_order(Order("9001", 1001, Decimal("1.10")))
    options: dict[str, Any] = {place: [forgetful], "listeners": [unknowns(unknown)]}
    async with Sandbox(store) as sandbox, client_of(sandbox, **options) as client:
        with pytest.raises(ConfigurationError, match="the middleware forgetful returned NoneType instead") as caught:
            await v2.orders.create_order(client, "1", "1001", order_id="9001", total_inc_tax=Decimal("1.10"))
    assert caught.value.outcome == outcome
    assert [one.outcome for one in unknown] == (["unknown"] if outcome == "unknown" else [])
    assert [entry.applied for entry in sandbox.ledger] == [True]


async def test_a_whole_pipeline_cannot_be_given_the_time_of_a_call() -> None:
    """Nothing in it would end the call; the other times are the transport's."""
    with pytest.raises(ConfigurationError, match=r"put b2b_async.middleware.deadline.CallDeadline\(5\) into it"):
        Client(CREDENTIALS, middlewares=[], timeout=5)
    Client(CREDENTIALS, middlewares=[], timeout=Timeouts(attempt=5))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "takes the path parameters thingId, not none"),
        ({"thingId": 1, "other": 2}, "takes the path parameters thingId, not thingId, other"),
        ({"id": 1}, "takes the path parameters thingId, not id"),
        ({"thingId": ".."}, "the path parameter thingId must be an id, not '..'"),
        ({"thingId": ""}, "the path parameter thingId must be an id, not ''"),
    ],
)
async def test_a_path_takes_its_parameters_by_name(given: dict[str, Any], words: str) -> None:
    """None may be missing or surplus, and none may change the path; nothing is sent."""
    operation = Operation("Get Thing", "v3", "GET", "/things/{thingId}")
    async with Client(CREDENTIALS) as client:
        with pytest.raises(InvalidArgumentError, match=words):
            await client.send(operation, given)


def test_a_path_parameter_is_encoded() -> None:
    """In one place, whatever it is."""
    operation = Operation("Get Thing", "v3", "GET", "/things/{thingId}/of/{other}")
    path = operation.path({"other": "ä b", "thingId": "1/2?"})

    assert path == "/api/v3/io/things/1%2F2%3F/of/%C3%A4%20b"
    assert operation.ids(path) == {"thingId": "1/2?", "other": "ä b"}


def test_headers_cannot_be_changed_and_show_no_value() -> None:
    """However they are copied, merged or walked through."""
    headers = Headers({"X-Auth-Token": "secret"})
    forms: list[object] = [
        headers,
        headers.copy(),
        copy.copy(headers),
        copy.deepcopy(headers),
        headers | {"A": "secret"},
        {"A": "secret"} | headers,
        headers.items(),
        headers.values(),
    ]
    request = Request(
        operation=Operation("Get", "v3", "GET", "/x"), path="/x", call=CallState("1"), headers={"A": "secret"}
    )
    forms += [request, attrs.asdict(request, recurse=False), attrs.evolve(request, headers={"A": "secret"})]
    assert "secret" not in repr(forms)
    assert headers | {"A": "b"} == {"X-Auth-Token": "secret", "A": "b"}
    assert {"A": "b"} | headers == {"X-Auth-Token": "secret", "A": "b"}
    assert not isinstance(headers, MutableMapping)
    assert len(headers) == 1


@pytest.mark.parametrize(
    "echo",
    [
        r"tok\u002fen",
        r"tok\\u002Fen",
        r"\u0074\u006f\u006b\u002f\u0065\u006e",
        r"tok\/en",
        "tok%2Fen",
        "tok%252fen",
    ],
)
def test_an_escaped_token_is_redacted(echo: str) -> None:
    """Once, twice, in part or as a whole."""
    assert Credentials("tok/en", "hash").redact(f'{{"a": "{echo}') == '{"a": "***'
