"""The endpoint functions: what they send, what they understand, what they refuse."""

from __future__ import annotations

import json
from decimal import Decimal, FloatOperation, localcontext
from typing import TYPE_CHECKING, Any

import pytest
from helpers import BASE_URL, CREDENTIALS

from b2b_async import (
    AmbiguousOutcomeError,
    APIStatusError,
    B2BError,
    BadRequestError,
    Client,
    ConfigurationError,
    Credentials,
    InvalidArgumentError,
    NotFoundError,
    ResponseValidationError,
    RetryPolicy,
    ServerError,
    v2,
    v3,
)
from b2b_async.testing import mocked_api

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

ASSIGN_URL = f"{BASE_URL}/api/v3/io/customers/321/orders/b2b"
CREATE_URL = f"{BASE_URL}/api/v2/io/companies/4/user/12/orders"


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    """Give a client that does not retry."""
    async with Client(CREDENTIALS, retry=RetryPolicy(attempts=1, throttled=0)) as client:
        yield client


async def create(client: Client, **changes: Any) -> v2.orders.CreatedOrder:
    """Register the order of the documentation, with *changes*."""
    arguments: dict[str, Any] = {
        "company_id": "4",
        "customer_id": "12",
        "order_id": "BC123456789",
        "total_inc_tax": Decimal("259.99"),
        **changes,
    }
    return await v2.orders.create_order(client, **arguments)


def sent(mock: Any) -> dict[str, Any]:
    """Give the arguments of the one request that left."""
    ((call,),) = mock.requests.values()
    arguments: dict[str, Any] = call.kwargs
    return arguments


async def test_assign_sends_a_signed_put_with_an_empty_object(client: Client) -> None:
    """The request is the one of the contract, with v3's credentials and not v2's."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, payload={"code": 200, "data": {"total": 3}, "message": "SUCCESS"})
        assigned = await v3.orders.assign_customer_orders(client, 321)
        arguments = sent(mock)

    assert assigned == v3.orders.AssignedOrders(total=3)
    assert arguments["data"].decode() == "{}"
    assert arguments["headers"]["X-Auth-Token"] == "secret-token"
    assert arguments["headers"]["X-Store-Hash"] == "hash"
    assert "authToken" not in arguments["headers"]
    assert arguments["allow_redirects"] is False


async def test_create_sends_the_amount_with_just_its_digits(client: Client) -> None:
    """Decimal("259.99") leaves as the number 259.99, under v2's credential alone."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, payload={"code": 200, "data": {"orderId": "BC123456789"}, "message": "Success"})
        created = await create(client, po_number="P-1")
        arguments = sent(mock)

    assert created == v2.orders.CreatedOrder(order_id="BC123456789")
    assert arguments["data"].decode() == '{"orderId":"BC123456789","totalIncTax":259.99,"poNumber":"P-1"}'
    assert arguments["headers"]["authToken"] == "secret-legacy"
    assert "X-Store-Hash" not in arguments["headers"]


async def test_create_leaves_out_a_missing_purchase_order_number(client: Client) -> None:
    """None is not sent as null."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, payload={"code": 200, "data": {"orderId": "BC123456789"}})
        await create(client, po_number=None)

        assert json.loads(sent(mock)["data"].decode()) == {"orderId": "BC123456789", "totalIncTax": 259.99}


@pytest.mark.parametrize(
    "payload",
    [
        {"code": 200, "data": {"total": 11}, "message": "SUCCESS"},
        {"code": 200, "meta": {"message": "SUCCESS"}, "data": {"total": 11}},
        {"code": "200", "data": {"total": "11", "new": None}},
        {"data": {"total": 11}},
    ],
)
async def test_all_forms_of_success_are_understood(client: Client, payload: dict[str, Any]) -> None:
    """The message may be at the top, in meta, or missing; numbers may be strings; new fields do not matter."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, payload=payload)

        assert await v3.orders.assign_customer_orders(client, 321) == v3.orders.AssignedOrders(11)


async def test_an_order_id_may_come_back_as_an_integer(client: Client) -> None:
    """An official example has 2 for orderId; users get a string."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, payload={"code": 200, "data": {"orderId": 2}, "message": "Success"})

        assert await create(client, order_id="2") == v2.orders.CreatedOrder(order_id="2")


@pytest.mark.parametrize("order_id", ["", None, "BC2", 2, "BC1234567890", {"id": 1}])
async def test_a_success_about_another_order_is_not_handed_out(client: Client, order_id: object) -> None:
    """The response may be that of another request, so what became of this one is unknown."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, payload={"code": 200, "data": {"orderId": order_id}, "message": "Success"})
        with pytest.raises(AmbiguousOutcomeError, match=r"not about order BC123456789|it names no order") as caught:
            await create(client, reconcile=False)

    assert caught.value.outcome == "unknown"
    assert caught.value.ids == {"companyId": "4", "customerId": "12", "orderId": "BC123456789"}


@pytest.mark.parametrize(("order_id", "known"), [(None, True), ("BC1", True), ("", False), ("BC2", False)])
async def test_a_creation_without_a_company_need_not_name_its_order(
    client: Client, order_id: str | None, *, known: bool
) -> None:
    """The vendor's schema has no order id there; where there is one, it is that of this request."""
    url = f"{BASE_URL}/api/v2/io/companies/users/12/orders"
    with mocked_api() as mock:
        mock.post(url, payload={"code": 200, "data": {"orderId": order_id, "companyId": "4"}})
        call = v2.orders.create_order_without_company_id(
            client, "12", order_id="BC1", total_inc_tax=Decimal(1), reconcile=False
        )
        if known:
            assert (await call).order_id == "BC1"
        else:
            with pytest.raises(AmbiguousOutcomeError):
                await call


@pytest.mark.parametrize(
    "payload",
    [
        {"code": 200, "data": [{"orderId": "999"}]},
        {"code": 200, "data": '{"orderId": "999"}'},
        {"code": 200, "data": [{"orderId": ""}]},
        {"code": 200, "data": {"order_id": "999"}},
        {"code": 200, "data": {}},
        {"code": 200, "data": None},
        [],
        None,
    ],
)
async def test_no_form_of_another_order_is_handed_out(client: Client, payload: Any) -> None:
    """In a list, encoded as a string, in snake_case, or not named at all: the outcome is unknown, and verified."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, body=json.dumps(payload))
        with pytest.raises(AmbiguousOutcomeError):
            await create(client, reconcile=False)
        mock.post(CREATE_URL, body=json.dumps(payload))
        mock.get(
            f"{BASE_URL}/api/v2/io/orders/BC123456789/companyIdBCId", payload={"code": 200, "data": {"companyId": "4"}}
        )
        assert await create(client) == v2.orders.CreatedOrder("BC123456789", reconciled=True)


async def test_a_creation_without_content_is_verified(client: Client) -> None:
    """204 names no order."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, status=204)
        mock.get(
            f"{BASE_URL}/api/v2/io/orders/BC123456789/companyIdBCId", payload={"code": 200, "data": {"companyId": "4"}}
        )
        assert await create(client) == v2.orders.CreatedOrder("BC123456789", reconciled=True)


@pytest.mark.parametrize("total", [-1, "-3", "-1.0000"])
@pytest.mark.parametrize("form", [lambda data: data, lambda data: [data], json.dumps, lambda data: json.dumps([data])])
async def test_a_negative_number_of_orders_is_no_success(
    client: Client, total: object, form: Callable[[Any], Any]
) -> None:
    """It is in nobody's contract."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, payload={"code": 200, "data": form({"total": total})})
        with pytest.raises(ResponseValidationError, match="negative"):
            await v3.orders.assign_customer_orders(client, 321)


async def test_a_field_error_is_on_the_exception(client: Client) -> None:
    """The code is the envelope's, the status is HTTP's, and the field has the server's name."""
    payload = {"code": 40010, "data": {"bc_order_id": "orderId can not be null"}, "message": "Bad Request Error"}
    with mocked_api() as mock:
        mock.post(CREATE_URL, status=400, payload=payload, headers={"X-Request-Id": "r1", "Trace-Id": "t1"})
        with pytest.raises(BadRequestError) as caught:
            await create(client)

    error = caught.value
    assert (error.status, error.code, error.message) == (400, 40010, "Bad Request Error")
    assert error.fields == {"bc_order_id": "orderId can not be null"}
    assert (error.request_id, error.trace_id) == ("r1", "t1")
    assert error.outcome == "rejected"
    assert error.answer.payload == payload
    assert str(error) == (
        "Create An Order: 400 Bad Request Error; bc_order_id: orderId can not be null "
        "(code 40010, request id r1, trace id t1)"
    )
    assert error.call_id
    assert [attempt.status for attempt in error.attempts] == [400]


@pytest.mark.parametrize(
    ("payload", "message", "fields"),
    [
        ({"code": 404, "data": {"errMsg": "Gone"}, "message": "Not Found Error"}, "Not Found Error: Gone", {}),
        ({"code": 404, "data": {"errMsg": "Gone"}}, "Gone", {}),
        ({"code": 404, "data": {}, "meta": {"message": "No user."}}, "No user.", {}),
        ({"code": 404, "data": [], "message": "No."}, "No.", {}),
        ({"detail": "Not here."}, "Not here.", {}),
        (
            {"code": 404, "data": {"errMsg": {"orders": {"0": ["bad", "old"], "1": {"deep": {"er": {"x": 1}}}}}}},
            None,
            {"orders[0]": "bad; old", "orders[1][deep][er][x]": "1"},
        ),
        ({"data": {"name": None, "id": [1, {"a": 2}]}}, None, {"id[0]": "1", "id[1][a]": "2"}),
        (["odd"], '["odd"]', {}),
        ([{"status": 413, "message": "Too large", "details": {"max": 250}}, {}], "Too large", {"max": "250"}),
        ({"status": 504, "title": "Timeout", "type": "https://x", "errors": {}}, "Timeout", {}),
        ({"title": "Bad", "errors": {"name": "too long", "a": {"b": ["c"]}}}, "Bad", {"name": "too long", "a[b]": "c"}),
        ({"message": "Bad", "errors": [{"field": "po", "message": "x"}, "y"]}, "Bad", {"po": "x", "errors[1]": "y"}),
        (
            {"errors": [{"field": "po", "message": "x"}, {"field": "po", "detail": "y"}]},
            None,
            {"po": "x", "po[1]": "y"},
        ),
        ({"error": "invalid_request", "error_description": "No."}, "invalid_request: No.", {}),
        ({"error": {"code": "x1", "message": "No."}}, "No.", {}),
        ({"errors": "No."}, "No.", {}),
        (
            {"poNumber": ["Too long.", "Odd."], "non_field_errors": ["No."]},
            None,
            {"poNumber": "Too long.; Odd.", "non_field_errors": "No."},
        ),
        ({"code": 404, "reasons": {"x": 1}}, None, {"reasons[x]": "1"}),
        ({"message": ["A", "B"]}, None, {"message": "A; B"}),
        ({"message": {"poNumber": ["A"]}}, None, {"message[poNumber]": "A"}),
        ({"meta": {"message": ["A"]}}, None, {"meta[message]": "A"}),
        ({"meta": "A"}, None, {"meta": "A"}),
        ({"status": "A"}, '{"status": "A"}', {}),
        ({"code": ["A"]}, '{"code": ["A"]}', {}),
        ({"message": "Bad", "code": "A"}, "Bad", {"code": "A"}),
        ({"message": "Bad", "data": ["A"]}, "Bad", {"data": "A"}),
        ({"message": "Bad", "data": "A"}, "Bad", {"data": "A"}),
        ({"message": "Bad", "data": {"errMsg": ["A"]}}, "Bad", {"errMsg": "A"}),
        ({"data": {"errMsg": {"a": "x"}, "poNumber": "A"}}, None, {"a": "x", "poNumber": "A"}),
        ({"errors": {"products": [{"quantity": ["A"]}]}}, None, {"products[0][quantity]": "A"}),
        ({"message": "One", "meta": {"message": "Two"}}, "Two: One", {}),
        ({"message": "Bad", "meta": {"detail": "A"}}, "Bad", {"meta[detail]": "A"}),
        ({"message": "Bad", "details": "A", "reason": "B"}, "Bad", {"details": "A", "reason": "B"}),
        ({"message": "Bad", "errMsg": {"a": "x"}}, "Bad", {"a": "x"}),
        ({"message": "Bad", "error": ["A"]}, "Bad", {"error": "A"}),
        ({"error": {"message": "m", "details": "A"}}, "m", {"error[details]": "A"}),
        ({"errors": [{"message": "A", "detail": "B", "line": 5}]}, None, {"errors[0]": "A: B", "errors[0][line]": "5"}),
        ([{"message": "Bad", "details": "A"}], "Bad", {"details": "A"}),
        ([{"message": "Bad", "details": ["A"]}], "Bad", {"errors[0]": "A"}),
        ({"code": 404, "status": 404, "data": None}, None, {}),
    ],
)
async def test_all_forms_of_error_are_understood(
    client: Client, payload: object, message: str | None, fields: dict[str, str]
) -> None:
    """Wherever the server puts its words, they are on the exception."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=404, body=json.dumps(payload))
        with pytest.raises(NotFoundError) as caught:
            await v3.orders.assign_customer_orders(client, 321)

    assert caught.value.message == message
    assert caught.value.fields == fields


@pytest.mark.parametrize("code", [404, "404", 40400])
async def test_an_error_in_the_envelope_of_a_200_is_an_error(client: Client, code: object) -> None:
    """The envelope's word counts, not HTTP's."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, payload={"code": code, "data": {}, "message": "No."})
        with pytest.raises(NotFoundError) as caught:
            await v3.orders.assign_customer_orders(client, 321)

    assert caught.value.status == 404
    assert caught.value.answer.under_success


async def test_an_unknown_status_has_the_base_class(client: Client) -> None:
    """415 has no class of its own."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=415, payload={})
        with pytest.raises(APIStatusError, match="415 without a message") as caught:
            await v3.orders.assign_customer_orders(client, 321)

    assert type(caught.value) is APIStatusError


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"code": 200, "data": {}}', r"\$\.data\.bcOrderId is missing"),
        ('{"code": 200, "data": {"bcOrderId": "many"}}', r"\$\.data\.bcOrderId must be an integer, not a string"),
        ('{"code": 200, "data": {"bcOrderId": 731, "companyId": {}, "totalIncTax": "?"}}', r"\.totalIncTax must be an"),
        ('{"code": 200, "data": []}', r"\$\.data must be an object"),
        ('{"code": 200}', r"\$\.data must be an object"),
        ("null", r"\$\.data must be an object"),
    ],
)
async def test_a_body_that_does_not_fit_names_the_json_path(client: Client, body: str, text: str) -> None:
    """Users see the vendor's key, and that the server has acted."""
    with mocked_api() as mock:
        mock.put(f"{BASE_URL}/api/v3/io/orders/731", body=body)
        with pytest.raises(ResponseValidationError, match=text) as caught:
            await v3.orders.update_order(client, 731, po_number="1")

    assert caught.value.outcome == ("applied" if '"code": 200' in body else "unknown")
    assert not caught.value.retryable
    assert caught.value.status == 200


async def test_no_content_does_not_fit_an_endpoint_that_promises_some(client: Client) -> None:
    """204 is a success without an envelope."""
    with mocked_api() as mock:
        mock.get(f"{BASE_URL}/api/v3/io/orders/731", status=204)
        with pytest.raises(ResponseValidationError, match="must be an object"):
            await v3.orders.get_order(client, 731)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (204, ""),
        (202, '{"code": 202, "data": {}, "message": "Accepted"}'),
        (202, ""),
        (200, ""),
        (200, " \n"),
        (200, "{}"),
        (200, "[]"),
        (200, "null"),
        (200, '{"code": 200, "data": {}}'),
        (200, '{"code": 200, "data": []}'),
        (200, '{"code": "200", "data": null}'),
        (200, '{"code": 200, "data": "done"}'),
        (200, '{"code": 200, "data": {"total": null}}'),
        (200, '{"code": 200, "data": {"total": "many"}}'),
        (200, '{"code": 200}'),
        (200, '{"code": 200.0, "data": []}'),
        (200, '{"data": []}'),
        (200, '{"data": {}}'),
        (200, '{"data": null}'),
        (200, '{"data": false}'),
        (200, "\ufeff"),
        (202, "Accepted"),
    ],
)
async def test_a_success_without_a_number_settles_an_assignment(client: Client, status: int, body: str) -> None:
    """Else its item stays unknown for ever, and every run of a job sends it again."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=status, body=body)

        assert await v3.orders.assign_customer_orders(client, 321) == v3.orders.AssignedOrders(None)


@pytest.mark.parametrize(
    "body",
    [
        '"OK"',
        "[1]",
        '{"status": "ok"}',
        "7",
        "false",
        "<html></html>",
        "Accepted",
        '{"error": "User does not exist", "data": {}}',
        '{"data": {"errMsg": "User does not exist"}}',
        '{"code": 200, "data": {"errMsg": "User does not exist"}}',
        '{"errors": [{"message": "x"}], "data": {}}',
        '{"code": "E404", "message": "fail", "data": {}}',
        '{"code": 0, "data": {}}',
        '{"code": 302, "data": {}}',
        '{"code": 70010, "data": {}}',
    ],
)
async def test_a_200_that_is_not_the_apis_settles_nothing(client: Client, body: str) -> None:
    """Something in front of the API may say it; whether the API has seen the request is unknown."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, body=body)
        with pytest.raises(ResponseValidationError) as caught:
            await v3.orders.assign_customer_orders(client, 321)

    assert caught.value.outcome == "unknown"


async def test_a_number_in_any_form_is_the_total(client: Client) -> None:
    """In a list of one, encoded as a string; an error's code that is written as a decimal is one."""
    for data in ({"total": 3}, [{"total": "3"}], '{"total": 3}', json.dumps(json.dumps([{"total": "3.0"}]))):
        with mocked_api() as mock:
            mock.put(ASSIGN_URL, payload={"code": 200, "data": data})
            assert (await v3.orders.assign_customer_orders(client, 321)).total == 3
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, body='{"code": 404.0, "data": {}}')
        with pytest.raises(NotFoundError):
            await v3.orders.assign_customer_orders(client, 321)


async def test_a_reassignment_needs_its_yes(client: Client) -> None:
    """An empty body is no word of the API's; a success without a number is one."""
    url = f"{BASE_URL}/api/v3/io/customers/321/orders/company"
    with mocked_api() as mock:
        mock.put(url, payload={"code": 200, "data": {}})
        assert (await v3.orders.reassign_orders(client, 321, bc_group_id=7)).total is None
        for body in ("", "{}", '{"code": 200, "data": {"errMsg": "x"}}'):
            mock.put(url, body=body)
            with pytest.raises(ResponseValidationError):
                await v3.orders.reassign_orders(client, 321, bc_group_id=7)


async def test_an_odd_value_is_logged_once_a_call(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """With the paths and without the values."""
    rows = [{"bcOrderId": number, "statusCode": "pat@example.com", "items": {}} for number in range(1, 21)]
    with mocked_api() as mock:
        mock.get(f"{BASE_URL}/api/v3/io/orders?limit=10&offset=0", payload={"code": 200, "data": rows})
        page = await v3.orders.list_orders(client)

    assert [order.bc_order_id for order in page] == list(range(1, 21))
    assert {order.misfits for order in page} == {("$.statusCode",)}
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "List Orders: values that do not fit their fields" in record.getMessage()
    assert "$.data[0].statusCode" in record.getMessage()
    assert "and 10 more" in record.getMessage()
    assert "pat@" not in record.getMessage()


async def test_a_misfit_of_an_order_id_is_told_by_its_json_name(client: Client) -> None:
    """The Python field is order_id, the server's is orderId."""
    with mocked_api() as mock:
        mock.get(f"{BASE_URL}/api/v2/io/orders/7/companyIdBCId", payload={"data": {"companyName": "x"}})
        with pytest.raises(ResponseValidationError, match=r"\$\.data\.companyId is missing"):
            await v2.orders.get_company_by_bc_order_id(client, "7")


@pytest.mark.parametrize("value", [0, -1, True, "321", 3.0, None])
async def test_a_bad_customer_id_is_refused_before_anything_is_sent(client: Client, value: Any) -> None:
    """Only a positive integer is a customer id."""
    with mocked_api() as mock:
        with pytest.raises(InvalidArgumentError, match="customer_id must be an id, a positive integer"):
            await v3.orders.assign_customer_orders(client, value)

        assert not mock.requests


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"company_id": ""}, "company_id must be an id"),
        ({"company_id": "."}, "company_id must be an id"),
        ({"customer_id": ".."}, "customer_id must be an id"),
        ({"customer_id": True}, "customer_id must be an id, a positive"),
        ({"company_id": -1}, "company_id must be an id, a positive"),
        ({"company_id": 10**5000}, "not an integer that is too large"),
        ({"total_inc_tax": 10**5000}, "not an integer that is too large"),
        ({"company_id": None}, "company_id must be an id"),
        ({"customer_id": "1\r\n"}, "customer_id must be an id"),
        ({"order_id": ""}, "order_id must be a non-empty"),
        ({"order_id": 5.0}, "order_id must be a non-empty"),
        ({"po_number": ""}, "po_number must be a non-empty"),
        ({"total_inc_tax": Decimal(-1)}, "at least 0"),
        ({"total_inc_tax": Decimal("NaN")}, "finite"),
        ({"total_inc_tax": Decimal("Infinity")}, "finite"),
        ({"total_inc_tax": float("inf")}, "finite"),
        ({"total_inc_tax": 259.99}, r"pass Decimal\('259.99'\)"),
        ({"total_inc_tax": "12.10"}, "must be a Decimal"),
        ({"company_id": " "}, "company_id must be an id"),
        ({"order_id": " "}, "order_id must be a non-empty"),
        ({"total_inc_tax": None}, "must be a Decimal"),
        ({"total_inc_tax": True}, "must be a Decimal"),
        ({"total_inc_tax": Decimal("1E+999999")}, "amount of money"),
        ({"total_inc_tax": Decimal("1E-999999")}, "amount of money"),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(
    client: Client, changes: dict[str, Any], text: str
) -> None:
    """The message names the argument; it is a ValueError too."""
    with mocked_api() as mock:
        with pytest.raises(InvalidArgumentError, match=text) as caught:
            await create(client, **changes)

        assert not mock.requests
    assert isinstance(caught.value, ValueError)
    assert caught.value.outcome == "not_sent"


@pytest.mark.parametrize(
    ("amount", "digits"),
    [
        (Decimal("259.990"), b"259.990"),
        (Decimal("1E+2"), b"100"),
        (Decimal("0.1"), b"0.1"),
        (Decimal("-0"), b"0"),
        (5, b"5"),
        (259.5, b"259.5"),
    ],
)
async def test_amounts_leave_exactly(client: Client, amount: Any, digits: bytes) -> None:
    """No amount goes through a float."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, payload={"code": 200, "data": {"orderId": "BC123456789"}})
        await create(client, total_inc_tax=amount)

        assert b'"totalIncTax":' + digits + b"}" in await sent(mock)["data"].as_bytes()


async def test_ids_are_quoted_into_the_path(client: Client) -> None:
    """An id with a slash or a dot segment cannot reach another endpoint."""
    with mocked_api() as mock:
        mock.post(
            f"{BASE_URL}/api/v2/io/companies/a%2F..%2Fb/user/12%3Fx/orders",
            payload={"code": 200, "data": {"orderId": "1"}},
        )
        await create(client, order_id="1", company_id="a/../b", customer_id="12?x")
        ((_, url),) = mock.requests

    assert url.raw_path == "/api/v2/io/companies/a%2F..%2Fb/user/12%3Fx/orders"


async def test_v2_needs_its_own_credential() -> None:
    """A client for v3 only raises before anything is sent, and says what is missing."""
    async with Client(Credentials("token", "hash")) as client:
        with mocked_api() as mock:
            with pytest.raises(ConfigurationError, match="needs legacy_token") as caught:
                await create(client)

            assert not mock.requests
    assert caught.value.outcome == "not_sent"


async def test_a_legacy_token_alone_opens_v3_too() -> None:
    """v3 still takes authToken, if it comes alone."""
    async with Client(Credentials(legacy_token="legacy")) as client:
        with mocked_api() as mock:
            mock.put(ASSIGN_URL, payload={"data": {"total": 0}})
            await v3.orders.assign_customer_orders(client, 321)
            headers = sent(mock)["headers"]

    assert headers["authToken"] == "legacy"
    assert "X-Auth-Token" not in headers
    assert "X-Store-Hash" not in headers


async def test_a_5xx_on_the_first_call_hints_at_the_credentials(client: Client) -> None:
    """The server answers a wrong store hash with a 5xx; after a good answer the hint would mislead."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=500, payload={"code": 500})
        with pytest.raises(ServerError, match="check the credentials") as caught:
            await v3.orders.assign_customer_orders(client, 321)
        assert caught.value.outcome == "unknown"

        mock.put(ASSIGN_URL, payload={"data": {"total": 0}})
        await v3.orders.assign_customer_orders(client, 321)
        mock.put(ASSIGN_URL, status=500, payload={"code": 500})
        with pytest.raises(ServerError) as later:
            await v3.orders.assign_customer_orders(client, 321)

    assert "credentials" not in str(later.value)


async def test_a_post_that_may_have_acted_is_ambiguous(client: Client) -> None:
    """It is not sent again, and the error carries what the server said."""
    with mocked_api() as mock:
        mock.post(CREATE_URL, status=500, payload={"code": 500, "message": "Oops"})
        with pytest.raises(AmbiguousOutcomeError, match="not safe to send again") as caught:
            await create(client)

        assert len(next(iter(mock.requests.values()))) == 1
    assert caught.value.outcome == "unknown"
    assert caught.value.message == "Oops"
    assert isinstance(caught.value.__cause__, ServerError)


async def test_an_echoed_token_is_blanked_out(client: Client) -> None:
    """A debug page that shows the request's headers does not bring the token into our logs."""
    page = "<html>" + " " * 190 + "X-Auth-Token: secret-token</html>"
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=500, body=page, content_type="text/html")
        with pytest.raises(ServerError) as caught:
            await v3.orders.assign_customer_orders(client, 321)
        mock.put(ASSIGN_URL, status=400, payload={"message": "secret-token", "data": {"x": "secret-token"}})
        with pytest.raises(BadRequestError) as other:
            await v3.orders.assign_customer_orders(client, 321)
        mock.get(f"{BASE_URL}/api/v3/io/orders/731", payload={"data": {"bcOrderId": "secret-token"}})
        with pytest.raises(ResponseValidationError) as third:
            await v3.orders.get_order(client, 731)

    for error in (caught.value, other.value, third.value):
        assert "secret-token" not in f"{error!r}{error.answer!r}{error.__dict__}"
    assert caught.value.message == "X-Auth-Token: ***"


async def test_a_token_behind_jsons_escapes_is_blanked_out_too() -> None:
    r"""tok\/en and tok\u002fen are tok/en; and the ids of an answer may echo one as well."""
    headers = {"X-Request-Id": "r tok/en+abc", "Trace-Id": "tok/en+abc"}
    async with Client(Credentials("tok/en+abc", "hash"), retry=RetryPolicy(attempts=1)) as client:
        with mocked_api() as mock:
            mock.put(
                ASSIGN_URL,
                status=400,
                body='{"message": "bad tok\\u002fen+abc tok\\/en+abc", "data": {"n": 0.5}}',
                headers=headers,
            )
            with pytest.raises(BadRequestError) as caught:
                await v3.orders.assign_customer_orders(client, 321)

    assert "tok/en" not in f"{caught.value!r}{caught.value.answer!r}"
    assert (caught.value.message, caught.value.request_id) == ("bad *** ***", "r ***")


async def test_halves_of_surrogate_pairs_do_not_reach_files(client: Client) -> None:
    """JSON can hold them; nothing that prints or writes can."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=404, body='{"message": "a\\ud800b", "data": {"x": "\\ud800"}}')
        with pytest.raises(NotFoundError) as caught:
            await v3.orders.assign_customer_orders(client, 321)

    assert (caught.value.message, caught.value.fields) == ("a?b", {"x": "?"})
    assert str(caught.value).encode()


async def test_money_does_not_depend_on_the_callers_decimal_context(client: Client) -> None:
    """Neither its precision nor its traps."""
    with mocked_api() as mock, localcontext() as context:
        context.prec = 4
        context.traps[FloatOperation] = True
        mock.post(CREATE_URL, payload={"code": 200, "data": {"orderId": "BC123456789"}}, repeat=True)
        await create(client, total_inc_tax=Decimal("12345.67"))
        await create(client, total_inc_tax=0.5)
        bodies = [call.kwargs["data"].decode() for calls in mock.requests.values() for call in calls]

    assert [body.rpartition(":")[2] for body in bodies] == ["12345.67}", "0.5}"]


async def test_every_error_of_a_call_is_ours(client: Client) -> None:
    """One except clause is enough."""
    with mocked_api() as mock:
        mock.put(ASSIGN_URL, status=418)
        with pytest.raises(B2BError):
            await v3.orders.assign_customer_orders(client, 321)


async def test_a_row_that_is_null_hides_no_other(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """It is no row; the log says where it stood. A row that is something else must be looked at."""
    url = f"{BASE_URL}/api/v3/io/orders?limit=10&offset=0"
    with mocked_api() as mock:
        mock.get(url, payload={"code": 200, "data": [{"bcOrderId": 1}, None, {"bcOrderId": 2}, False]})
        page = await v3.orders.list_orders(client)
        mock.get(url, payload={"code": 200, "data": {"0": {"bcOrderId": 1}, "1": {"bcOrderId": 2}}})
        by_number = await v3.orders.list_orders(client)
        mock.get(url, payload={"code": 200, "data": [{"bcOrderId": 1}, "x"]})
        with pytest.raises(ResponseValidationError, match=r"\$\.data\[1\] must be an object, not a string"):
            await v3.orders.list_orders(client)

    assert [order.bc_order_id for order in page] == [order.bc_order_id for order in by_number] == [1, 2]
    assert "kept in raw: $.data[1], $.data[3]" in caplog.text
