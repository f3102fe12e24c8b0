"""The envelope parser: any bytes in, an envelope or one error out."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from helpers import BASE_URL, CREDENTIALS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from b2b_async import B2BError, Client, RetryPolicy, v2, v3
from b2b_async._envelope import Envelope, UndecodableBodyError
from b2b_async.testing import mocked_api

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
# Values near the envelope's own forms find more than wholly random ones.
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "code": st.sampled_from([200, "200", 404, "404", 40010, "40010", 0, -1, 10**30, True, 2.5, None]) | JSON,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "total": st.integers() | st.text(max_size=4) | JSON,
                "orderId": st.integers() | st.text(max_size=4) | JSON,
                "errMsg": JSON,
            },
        )
        | JSON,
        "message": st.text() | JSON,
        "meta": st.fixed_dictionaries({}, optional={"message": JSON}) | JSON,
        "detail": JSON,
    },
)
STATUSES = st.sampled_from(
    [200, 201, 202, 204, 301, 400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 500, 501, 503, 507]
)


@settings(max_examples=500)
@given(st.binary())
@example(b"[" * 100_000)
@example(b"1" * 5000)
@example(b'{"a": NaN}')
@example(b"\xff\xfe\x00")
@example(b"1E999999999999999999999999")
@example(b"")
def test_any_bytes_are_an_envelope_or_undecodable(body: bytes) -> None:
    """The parser has one error, and it does not quote the body."""
    try:
        envelope = Envelope.parse(body)
    except UndecodableBodyError as error:
        message = str(error)
    else:
        message = "the body (length 0) is JSON"
        assert isinstance(envelope.fields, dict)

    assert message.startswith("the body (length ")


@settings(max_examples=500)
@given(JSON | ENVELOPES)
def test_any_json_value_is_an_envelope(value: Any) -> None:
    """Whatever the server says, its words come out as text, its code as a plausible integer."""
    try:
        envelope = Envelope.parse(json.dumps(value).encode())
    except UndecodableBodyError:
        assert "NaN" in json.dumps(value) or "Infinity" in json.dumps(value)
        return

    assert envelope.message is None or isinstance(envelope.message, str)
    assert envelope.code is None or 100 <= envelope.code < 60_000
    assert envelope.error_status is None or 400 <= envelope.error_status < 600
    assert all(isinstance(text, str) for text in envelope.fields.values())


@settings(max_examples=300)
@given(status=STATUSES, value=JSON | ENVELOPES)
async def test_any_json_answer_is_a_result_or_our_error(status: int, value: Any) -> None:
    """No other exception escapes an endpoint function."""
    async with Client(CREDENTIALS, retry=RetryPolicy(attempts=1, throttled=0)) as client:
        with mocked_api() as mock:
            mock.put(f"{BASE_URL}/api/v3/io/customers/1/orders/b2b", status=status, body=json.dumps(value))
            mock.post(f"{BASE_URL}/api/v2/io/companies/1/user/1/orders", status=status, body=json.dumps(value))
            try:
                assigned = await v3.orders.assign_customer_orders(client, 1)
            except B2BError:
                pass
            else:
                assert assigned.total is None or assigned.total >= 0
            try:
                created = await v2.orders.create_order(client, "1", "1", order_id="1", total_inc_tax=Decimal(1))
            except B2BError:
                pass
            else:
                assert isinstance(created.order_id, str)


def test_money_is_read_without_a_float() -> None:
    """0.1 stays 0.1."""
    assert Envelope.parse(b'{"data": {"x": 0.1}}').data == {"x": Decimal("0.1")}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("200", None),
        ("40013", 400),
        ("500", 500),
        ('"404"', 404),
        ("true", None),
        ("7", None),
        ("null", None),
        ("302", None),
    ],
)
def test_the_code_tells_of_errors_only(code: str, status: int | None) -> None:
    """Five digits begin with the status; what is no error status is none."""
    assert Envelope.parse(f'{{"code": {code}}}'.encode()).error_status == status
