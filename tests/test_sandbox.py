"""The sandbox: its limiter, its rules, its faults; over plain aiohttp, without our client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from b2b_async.sandbox import FAULTS, Faults, Order, Sandbox, SlidingLog, Store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture
async def session() -> AsyncGenerator[aiohttp.ClientSession]:
    """Give a bare session."""
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(
    session: aiohttp.ClientSession, sandbox: Sandbox, method: str, path: str, **options: Any
) -> tuple[int, Any, Any]:
    """Ask with good credentials; give status, headers and JSON."""
    if "headers" not in options:
        v3 = path.startswith("/api/v3")
        signed = {"X-Auth-Token": sandbox.access_token, "X-Store-Hash": sandbox.store_hash}
        options["headers"] = signed if v3 else {"authToken": sandbox.legacy_token}
    async with session.request(method, sandbox.url + path, **options) as answer:
        return answer.status, answer.headers, await answer.json(content_type=None) if answer.status != 503 else None


ASSIGN = "/api/v3/io/customers/1001/orders/b2b"
CREATE = "/api/v2/io/companies/1/user/1001/orders"


def test_the_documented_header_is_that_of_an_empty_log() -> None:
    """60/151 exactly."""
    accepted, headers, _ = SlidingLog.parse("150/60s").admit(0.0)

    assert accepted
    assert headers == {
        "X-Requests-Allocated": "150 times/60 s",
        "X-Requests-Window-Length": "0 times",
        "X-Requests-Remaining": "150 times",
        "X-Request-Window-Resets-After": "0.3973509933774834 s",
    }


def test_a_sliding_log_forgets_after_a_window_and_does_not_count_refusals() -> None:
    """Two in ten seconds."""
    log = SlidingLog(2, 10.0)

    assert [log.admit(now)[0] for now in (0.0, 4.0, 5.0, 9.9, 10.0, 13.9, 14.0)] == [
        True,
        True,
        False,
        False,
        True,
        False,
        True,
    ]
    accepted, headers, wait = log.admit(15.0)
    assert (accepted, wait, headers["Retry-After"]) == (False, 5.0, "5")
    assert (log.accepted, log.refused) == (4, 4)


@pytest.mark.parametrize("text", ["150", "0/60s", "150/0s", "x/y"])
def test_a_bad_quota_is_refused(text: str) -> None:
    """With the form that it should have."""
    with pytest.raises(ValueError, match="150/60s"):
        SlidingLog.parse(text)


async def test_a_refusal_has_the_frameworks_body(session: aiohttp.ClientSession) -> None:
    """And the headers, and Retry-After."""
    async with Sandbox(quota="1/60s") as sandbox:
        await ask(session, sandbox, "PUT", ASSIGN)
        status, headers, body = await ask(session, sandbox, "PUT", ASSIGN)

    assert status == 429
    assert body == {"detail": "Request was throttled. Expected available in 60 seconds."}
    assert headers["Retry-After"] == "60"
    assert headers["X-Requests-Remaining"] == "0 times"
    assert headers["X-Request-Id"] == "sandbox-2"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (ASSIGN, {}, 401),
        (ASSIGN, {"X-Auth-Token": "sandbox-access-token"}, 500),
        (ASSIGN, {"X-Auth-Token": "sandbox-access-token", "X-Store-Hash": "other"}, 500),
        (ASSIGN, {"X-Auth-Token": "other", "X-Store-Hash": "sandbox-store"}, 401),
        (ASSIGN, {"authToken": "sandbox-legacy-token"}, 200),
        (ASSIGN, {"authToken": "sandbox-legacy-token", "X-Store-Hash": "sandbox-store"}, 500),
        ("/api/v2/io/x", {"X-Auth-Token": "sandbox-access-token", "X-Store-Hash": "sandbox-store"}, 401),
    ],
)
async def test_the_authentication_rules(
    session: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int
) -> None:
    """As the vendor describes them; nobody who is turned away uses up quota."""
    async with Sandbox() as sandbox:
        answered, _, _ = await ask(session, sandbox, "PUT", path, headers=headers)

    assert answered == status
    assert sandbox.throttle.accepted == (status == 200)


async def test_assigning_moves_orders_once(session: aiohttp.ClientSession) -> None:
    """The second call finds nothing left to assign; strangers are refused."""
    store = Store(1, 1, 1)
    async with Sandbox(store) as sandbox:
        first = await ask(session, sandbox, "PUT", ASSIGN)
        second = await ask(session, sandbox, "PUT", ASSIGN)
        stranger = await ask(session, sandbox, "PUT", ASSIGN.replace("1001", "1002"))
        nobody = await ask(session, sandbox, "PUT", ASSIGN.replace("1001", "x"))

    total = first[2]["data"]["total"]
    assert first[2] == {"code": 200, "data": {"total": total}, "message": "SUCCESS"}
    assert total == sum(order.company_id == "1" for order in store.orders.values()) > 0
    assert second[2]["data"]["total"] == 0
    assert (stranger[0], nobody[0]) == (404, 404)
    assert stranger[2]["meta"]["message"] == "User does not exist or action not support for this user."


async def test_orders_are_registered_once(session: aiohttp.ClientSession) -> None:
    """With the vendor's refusals for everything else."""
    store = Store(2, 1)
    order, other = Order("9001", 1001, Decimal(1)), Order("9002", 1002, Decimal(1))
    store.add_order(order)
    store.add_order(other)
    good = {"orderId": order.id, "totalIncTax": 12.5, "poNumber": "P"}
    path = "/api/v2/io/companies/1/user/1001/orders"
    cases: list[tuple[str, Any, int, Any]] = [
        (path, {**good, "orderId": None}, 400, {"bc_order_id": "orderId can not be null"}),
        (path, [1], 400, {"bc_order_id": "orderId can not be null"}),
        (path, "{", 400, {"bc_order_id": "orderId can not be null"}),
        (path, {**good, "totalIncTax": "12"}, 400, {"total_inc_tax": "totalIncTax must be a number"}),
        (path, {**good, "totalIncTax": True}, 400, {"total_inc_tax": "totalIncTax must be a number"}),
        (path.replace("companies/1", "companies/9"), good, 404, {"errMsg": "Companies Does not Exist"}),
        (path.replace("1001", "1002"), good, 404, {"errMsg": "User Does not Exist"}),
        (path.replace("1001", "x"), good, 404, {"errMsg": "User Does not Exist"}),
        (path, {**good, "orderId": other.id}, 404, {"errMsg": "Order Does not Exist"}),
        (path, {**good, "orderId": "0"}, 404, {"errMsg": "Order Does not Exist"}),
        (path, good, 200, {"orderId": order.id}),
        (path, good, 400, {"errMsg": "The order already exists."}),
    ]
    async with Sandbox(store) as sandbox:
        for url, body, status, data in cases:
            sent = {"data": body} if isinstance(body, str) else {"json": body}
            answered, _, payload = await ask(session, sandbox, "POST", url, **sent)

            assert (answered, payload["data"]) == (status, data)

    assert (order.company_id, order.po_number, str(order.total_inc_tax)) == ("1", "P", "12.5")


async def test_the_look_ups(session: aiohttp.ClientSession) -> None:
    """Companies by page, and the company of a user."""
    async with Sandbox(Store(3, 1, 1)) as sandbox:
        _, _, page = await ask(session, sandbox, "GET", "/api/v3/io/companies?limit=2&offset=2")
        refused, _, _ = await ask(session, sandbox, "GET", "/api/v3/io/companies?limit=x")
        for query in ("limit=x", "limit=251", "limit=0", "offset=-1"):
            assert (await ask(session, sandbox, "GET", f"/api/v3/io/users?{query}"))[0] == 422
        _, _, company = await ask(session, sandbox, "GET", "/api/v2/io/users/1002/companies")
        stranger, _, _ = await ask(session, sandbox, "GET", "/api/v2/io/users/1004/companies")
        nowhere, _, lost = await ask(session, sandbox, "GET", "/api/v3/io/nowhere")

    assert [company["companyId"] for company in page["data"]] == [1]  # what changed last comes first
    assert page["meta"]["pagination"] == {"totalCount": 3, "limit": 2, "offset": 2}
    assert (company["data"]["companyId"], company["data"]["companyName"]) == ("2", "Company 2")
    assert (refused, stranger, nowhere, lost["code"]) == (422, 404, 404, 404)


async def test_faults_come_by_script_then_by_rate(session: aiohttp.ClientSession) -> None:
    """The script first; the same seed makes the same faults."""
    script = ["429", "429-bare", "500", "503", "503-delay", "slow", None]
    async with Sandbox(faults=Faults({"500": 0.5}, script=script, seed=3)) as sandbox:
        statuses = []
        for _ in range(27):
            async with session.put(sandbox.url + ASSIGN, headers={"authToken": sandbox.legacy_token}) as answer:
                statuses.append(answer.status)
                delay = answer.headers.get("Retry-After")
                if len(statuses) == 1:
                    assert delay == "60"
                elif len(statuses) == 5:
                    assert delay == "3"
                else:
                    assert delay is None

    assert statuses[:7] == [429, 429, 500, 503, 503, 200, 200]
    assert 4 <= statuses[7:].count(500) <= 16
    first, second = (Faults({"500": 0.5}, seed=3) for _ in range(2))
    assert [first.next() for _ in range(20)] == [second.next() for _ in range(20)]


@pytest.mark.parametrize("rates", [{"501": 0.1}, {"500": -0.1}, {"500": 0.6, "503": 0.6}])
def test_bad_faults_are_refused(rates: dict[str, float]) -> None:
    """Unknown names and impossible rates."""
    with pytest.raises(ValueError, match="fault"):
        Faults(rates)


async def test_leaving_without_entering_is_harmless() -> None:
    """Nothing listens, nothing is closed."""
    await Sandbox().__aexit__(None, None, None)


ACTS = {
    "500-after",
    "504-after",
    "reset-after",
    "close-after",
    "hang-after",
    "truncated",
    "truncated-chunks",
    "cut-gzip",
}
ACTS |= {"malformed", "html-after", "content-type", "slow", "trickle", "answered-twice", "answered-twice-late"}
ACTS |= {"304-after", "unenveloped-after"}
LOST = {"reset-before", "reset-after", "close-before", "close-after", "hang-before", "hang-after"}
STATUSES = {"redirect": 307, "content-type": 400, "slow": 400, "trickle": 400, "cut-gzip": 400, "malformed": 400}
STATUSES |= {"truncated": 400, "truncated-chunks": 400, "answered-twice": 400, "answered-twice-late": 400}


class Met:
    """What a creation without an order id, which is answered 400, meets under a fault."""

    status: int | None = None
    headers: Any = None
    body = b""
    error: Exception | None = None
    seconds = 0.0
    entry: Any = None


async def meet(session: aiohttp.ClientSession, fault: str) -> Met:
    """Make a creation under *fault*."""
    met, started = Met(), asyncio.get_running_loop().time()
    async with Sandbox(Store(1, 1), faults=Faults({fault: 1.0}, slow_seconds=5, hang_seconds=30)) as sandbox:
        options: Any = {"headers": {"authToken": sandbox.legacy_token}, "json": {}, "allow_redirects": False}
        try:
            async with session.post(sandbox.url + CREATE, **options) as answer:
                met.status, met.headers = answer.status, answer.headers
                met.body = await answer.read()
        except aiohttp.ClientError as caught:
            met.error = caught
        met.seconds = asyncio.get_running_loop().time() - started
        (met.entry,) = sandbox.ledger
    return met


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_has_its_status_and_its_place(session: aiohttp.ClientSession, fault: str) -> None:
    """On the wire and in the ledger, which knows whether the endpoint was reached."""
    met = await meet(session, fault)
    family = fault.partition("-")[0]
    expected = STATUSES.get(fault, int(family) if family.isdigit() else None if fault in LOST else 200)

    assert (met.status, met.entry.status, met.entry.fault) == (expected, expected, fault)
    assert (met.entry.subject is not None) == (fault in ACTS)


@pytest.mark.parametrize("fault", sorted(LOST))
async def test_a_lost_connection_ends_as_it_says(session: aiohttp.ClientSession, fault: str) -> None:
    """By RST, by FIN, or by FIN after a long silence."""
    met = await meet(session, fault)

    assert isinstance(met.error, aiohttp.ClientOSError if "reset" in fault else aiohttp.ServerDisconnectedError)
    assert met.seconds == pytest.approx(30 if "hang" in fault else 0, abs=0.1)


@pytest.mark.parametrize("fault", ["truncated", "truncated-chunks", "envelope-cut"])
async def test_a_truncated_answer_is_not_whole_http(session: aiohttp.ClientSession, fault: str) -> None:
    """By its length, or by its chunks."""
    assert isinstance((await meet(session, fault)).error, aiohttp.ClientPayloadError)


@pytest.mark.parametrize("fault", ["cut-gzip", "malformed", "html-before", "html-after"])
async def test_a_bad_body_is_whole_http_and_no_json(session: aiohttp.ClientSession, fault: str) -> None:
    """Nothing below JSON tells."""
    met = await meet(session, fault)

    assert met.error is None
    assert met.body.startswith(b"<html>") == fault.startswith("html")
    with pytest.raises(json.JSONDecodeError):
        json.loads(met.body)


@pytest.mark.parametrize("fault", ["content-type", "slow", "trickle"])
async def test_a_good_body_may_come_oddly(session: aiohttp.ClientSession, fault: str) -> None:
    """By another name, late, or byte by byte."""
    met = await meet(session, fault)

    assert json.loads(met.body)["code"] == 40010
    assert met.headers["Content-Type"].startswith("text/plain") == (fault == "content-type")
    assert met.seconds == pytest.approx(0 if fault == "content-type" else 5, abs=0.1)


@pytest.mark.parametrize("code", [400, 429, 500])
async def test_an_envelope_may_say_no_under_200(session: aiohttp.ClientSession, code: int) -> None:
    """As the vendor's does."""
    assert json.loads((await meet(session, f"envelope-{code}")).body)["code"] == code


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        ("429", {"Retry-After", "X-Requests-Remaining"}),
        ("429-retry-after", {"Retry-After"}),
        ("429-core", {"X-Rate-Limit-Requests-Left"}),
        ("429-bare", set()),
    ],
)
async def test_a_refusal_comes_in_each_form(session: aiohttp.ClientSession, fault: str, names: set[str]) -> None:
    """By its headers."""
    headers = (await meet(session, fault)).headers

    assert {
        name for name in ("Retry-After", "X-Requests-Remaining", "X-Rate-Limit-Requests-Left") if name in headers
    } == names


async def test_a_redirect_points_elsewhere(session: aiohttp.ClientSession) -> None:
    """To another origin."""
    assert (await meet(session, "redirect")).headers["Location"] == "http://localhost:9/elsewhere"


async def test_the_ledger_knows_what_was_done(session: aiohttp.ClientSession) -> None:
    """Also where nobody was told, and that a creation came twice."""
    store = Store(1, 1)
    store.add_order(Order("9001", 1001, Decimal(1)))
    body = {"orderId": "9001", "totalIncTax": 1}
    async with Sandbox(store, faults=Faults(script=["reset-after", "500"])) as sandbox:
        options: Any = {"headers": {"authToken": sandbox.legacy_token}, "json": body}
        for _ in range(3):
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(sandbox.url + CREATE, **options):
                    pass
        await ask(session, sandbox, "PUT", ASSIGN)

    assert [(entry.number, entry.subject, entry.applied, entry.repeated, entry.status) for entry in sandbox.ledger] == [
        (1, "order 9001", True, False, None),
        (2, None, False, False, 500),
        (3, "order 9001", False, True, 400),
        (4, "customer 1001", True, False, 200),
    ]


async def test_a_hanging_server_lets_go_when_its_client_does(session: aiohttp.ClientSession) -> None:
    """And a trickling one stops."""
    for fault in ("hang-before", "trickle", "reset-after"):
        async with Sandbox(faults=Faults({fault: 1.0}, slow_seconds=500)) as sandbox:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(2):
                    await ask(session, sandbox, "PUT", ASSIGN)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started <= 10


async def test_a_reset_of_a_connection_that_is_gone_is_harmless(session: aiohttp.ClientSession) -> None:
    """The client left while its request was being carried out."""
    async with Sandbox(latency=5, faults=Faults({"reset-after": 0.5, "close-after": 0.5})) as sandbox:
        for _ in range(6):
            with contextlib.suppress(TimeoutError, aiohttp.ClientError):
                async with asyncio.timeout(2):
                    await ask(session, sandbox, "PUT", ASSIGN)
        await asyncio.sleep(10)

    assert [entry.applied for entry in sandbox.ledger] == [True] * 6


async def test_an_order_shows_up_where_it_is_registered(session: aiohttp.ClientSession) -> None:
    """Not before it is, and with a lag if asked for."""
    store = Store(1, 1)
    store.add_order(Order("9001", 1001, Decimal("1.50")))
    v2, v3 = "/api/v2/io/orders/9001/companyIdBCId", "/api/v3/io/orders/9001"
    async with Sandbox(store, lag=5) as sandbox:
        before = [(await ask(session, sandbox, "GET", path))[0] for path in (v2, v3, "/api/v3/io/orders/x")]
        await ask(session, sandbox, "POST", CREATE, json={"orderId": "9001", "totalIncTax": 1.5})
        hidden = [(await ask(session, sandbox, "GET", path))[0] for path in (v2, v3)]
        assert (await ask(session, sandbox, "GET", v3))[2]["data"][0]["companyId"] is None
        await asyncio.sleep(5)
        company, (order,) = [(await ask(session, sandbox, "GET", path))[2]["data"] for path in (v2, v3)]

    assert (before, hidden) == ([400, 200, 404], [400, 200])
    assert company == {"companyId": "1", "companyName": "Company 1", "customerGroupId": "701"}
    assert (order["bcOrderId"], order["companyId"], order["poNumber"], order["totalIncTax"]) == (9001, 1, "", 1.5)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("GET", "/api/v3/io/orders?sortBy=id", None, 422, {"sortBy": {"0": ['"id" is not a valid choice.']}}),
        ("GET", "/api/v3/io/orders?minCreated=x", None, 422, {"minCreated": {"0": ["A valid integer is required."]}}),
        ("GET", "/api/v3/io/companies?limit=250", None, 422, {"limit": {"0": ["Ensure this value is from 1 to 249."]}}),
        ("PUT", "/api/v3/io/orders/9000", [], 422, "poNumber or extraFields is required"),
        ("PUT", "/api/v3/io/orders/9000", {"extraFields": ""}, 422, "extraFields is not valid"),
        ("PUT", "/api/v3/io/customers/1001/orders/company", {"bcGroupId": True}, 404, None),
        ("PUT", "/api/v2/io/orders", {"orderId": "9000", "poNumber": 5}, 400, None),
        ("POST", CREATE, {"orderId": "9000", "totalIncTax": 10**13}, 400, None),
        ("POST", CREATE, {"orderId": "9000", "totalIncTax": -1}, 400, None),
        ("GET", "/api/v3/io/users?roles=99", None, 422, {"roles": {"0": ['"99" is not a valid choice.']}}),
        ("PUT", "/api/v3/io/orders/9000", {"poNumber": 5}, 422, "poNumber is not valid"),
        ("PUT", "/api/v3/io/orders/9000", {"extraFields": [{"fieldName": 1}]}, 422, "extraFields is not valid"),
        ("PUT", "/api/v3/io/orders/9000", {"extraFields": "x"}, 422, "extraFields is not valid"),
        ("POST", "/api/v3/io/orders", {"bcOrderId": 9001, "customerId": 1001, "extraFields": [5]}, 422, None),
        ("POST", "/api/v3/io/orders", {"bcOrderId": True, "customerId": 1001}, 400, None),
        ("GET", "/api/v3/io/orders/9001/products", None, 404, None),
        ("POST", "/api/v2/io/companies/users/1001/orders", {}, 400, None),
        ("POST", CREATE, {"orderId": "9000", "totalIncTax": 1, "poNumber": 5}, 400, None),
        ("PUT", "/api/v2/io/orders", {"poNumber": "P"}, 400, None),
        ("GET", "/api/v2/io/companies/1/orders?beginDateAt=2026-01-31", None, 400, None),
        ("GET", "/api/v2/io/companies/1/orders?limit=0", None, 400, None),
    ],
)
async def test_what_the_vendor_refuses(
    session: aiohttp.ClientSession, method: str, path: str, body: Any, status: int, told: Any
) -> None:
    """In its words; nothing is changed by it."""
    store = Store(1, 1)
    store.add_order(Order("9000", 1001, Decimal(1), "1", "P"))
    async with Sandbox(store) as sandbox:
        sandbox.store.place_order(1001, Decimal(1), "9001")
        answered, _, payload = await ask(session, sandbox, method, path, json=body)

    assert answered == status
    assert payload["code"] in {status, 40010}
    assert told is None or payload["data"]["errMsg"] == told
    assert not any(entry.applied for entry in sandbox.ledger)
    assert (store.orders["9000"].po_number, store.orders["9000"].changes) == ("P", {})


def test_a_placed_order_gets_a_free_number() -> None:
    """And its record a number of its own, whatever vanished before."""
    store = Store(1, 1)
    first = store.place_order(1001, Decimal(1))
    store.add_order(Order(str(int(first.id) + 1), 1001, Decimal(1)))
    store.remove_order("100")
    second = store.place_order(1001, Decimal(1))

    assert int(second.id) == int(first.id) + 2
    assert len({order.record_id for order in store.orders.values()}) == len(store.orders)


async def test_odd_requests_are_no_errors_of_the_server(session: aiohttp.ClientSession) -> None:
    """Numbers without end, the last day of all."""
    async with Sandbox(Store(1, 1)) as sandbox:
        for body in (b'{"orderId": 1e9999999999999999999999}', b"[" * 100_000, b"\xff", b"NaN"):
            assert (await ask(session, sandbox, "POST", CREATE, data=body))[0] == 400
        days = "/api/v2/io/companies/1/orders?beginDateAt=01/01/0001&endDateAt=12/31/9999"
        assert (await ask(session, sandbox, "GET", days))[0] == 200


async def test_what_changes_is_seen_everywhere(session: aiohttp.ClientSession) -> None:
    """By both versions, in lists and alone; bounds are in their windows."""
    store = Store(1, 1)
    store.add_order(Order("9000", 1001, Decimal(1), created_at=1_700_000_000))
    async with Sandbox(store) as sandbox:
        since = int(store.clock())
        young = store.place_order(1001, Decimal(1), "9")
        await ask(session, sandbox, "PUT", "/api/v3/io/customers/1001/orders/b2b")
        path = f"/api/v3/io/orders?minModified={since}&bcOrderId=9000"
        changed = (await ask(session, sandbox, "GET", path))[2]["data"]
        until = changed[0]["updatedAt"]
        counts = [
            (await ask(session, sandbox, "GET", f"{path}&maxModified={moment}"))[2]["meta"]["pagination"]["totalCount"]
            for moment in (until, until - 1)
        ]
        for words in ({"poNumber": "A"}, {"poNumber": "B", "staffNotes": "n"}, {"staffNotes": "m"}):
            await ask(session, sandbox, "PUT", "/api/v2/io/orders", json={"orderId": "9000", **words})
        order = (await ask(session, sandbox, "GET", "/api/v3/io/orders/9000"))[2]["data"][0]
        await ask(session, sandbox, "PUT", "/api/v3/io/orders/9000", json={"poNumber": "C"})
        await ask(session, sandbox, "PUT", "/api/v2/io/orders", json={"orderId": "9000", "staffNotes": "o"})
        again = (await ask(session, sandbox, "GET", "/api/v3/io/orders/9000"))[2]["data"][0]
        before = (await ask(session, sandbox, "GET", "/api/v2/io/companies/1/orderBCIds"))[2]["data"]["list"]
        await asyncio.sleep(11)
        after = (await ask(session, sandbox, "GET", "/api/v2/io/companies/1/orders?limit=200"))[2]["data"]["list"]

    assert counts == [1, 0]
    assert (order["poNumber"], again["poNumber"]) == ("B", "C")
    assert {"orderId": young.id} not in before
    ids = [row["orderId"] for row in after]
    assert ids == sorted(ids, key=int)
    assert "9" in ids


async def test_a_record_is_made_once_whatever_the_lag(session: aiohttp.ClientSession) -> None:
    """And not later than B2B Edition makes it."""
    async with Sandbox(Store(1, 1), lag=30) as sandbox:
        sandbox.store.place_order(1001, Decimal(1), "9001")
        body = {"bcOrderId": 9001, "customerId": 1001, "poNumber": "P"}
        statuses = [(await ask(session, sandbox, "POST", "/api/v3/io/orders", json=body))[0] for _ in range(2)]
        await asyncio.sleep(11)
        statuses.append((await ask(session, sandbox, "POST", "/api/v3/io/orders", json=body))[0])
        shown, _, _ = await ask(session, sandbox, "GET", "/api/v3/io/orders/9001")

    assert (statuses, shown) == ([200, 400, 400], 200)


async def test_the_ledger_can_be_bounded(session: aiohttp.ClientSession) -> None:
    """It keeps the newest entries, by their numbers."""
    async with Sandbox(ledger_size=2) as sandbox:
        for _ in range(3):
            async with session.get(f"{sandbox.url}/api/v3/io/companies/1") as answer:
                await answer.read()
    assert [entry.number for entry in sandbox.ledger] == [2, 3]
    assert sandbox.arrived == 3


async def test_a_client_that_has_gone_gets_no_copy() -> None:
    """Nobody is there to take it."""
    async with Sandbox(faults=Faults(script=["answered-twice"]), latency=0.5) as sandbox:
        host, _, port = sandbox.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /api/v3/io/companies/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(1)
    assert [entry.fault for entry in sandbox.ledger] == ["answered-twice"]
