"""Requests and answers against the vendor's contract, operation by operation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from contract import openapi, table
from contract.calls import CALLS, place, store
from helpers import BASE_URL, CREDENTIALS, client_of

from b2b_async import APIStatusError, Client, Page, Record, RetryPolicy
from b2b_async.sandbox import Sandbox
from b2b_async.testing import mocked_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import SimpleNamespace

    from contract.calls import Call


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_requests_and_answers_keep_the_contract(call: Call) -> None:
    """What the function sends on the wire, with all its arguments, and what the sandbox answers."""
    async with Sandbox(store()) as sandbox:
        place(sandbox)
        await check(sandbox, call)


async def test_all_calls_in_a_row_keep_the_contract() -> None:
    """What some have changed is shown in the contract's types by the others."""
    async with Sandbox(store()) as sandbox:
        place(sandbox)
        # Orders that are assigned cannot be registered any more, so that comes last.
        for call in sorted(CALLS, key=lambda call: call.name == "v3.orders.assign_customer_orders"):
            await check(sandbox, call)


async def check(sandbox: Sandbox, call: Call) -> None:
    """Make a call, and compare its request, as it leaves, and its answer with the contract."""
    sent: list[bytes] = []
    seen: list[aiohttp.TraceRequestEndParams] = []

    async def send(_session: object, _context: SimpleNamespace, what: aiohttp.TraceRequestChunkSentParams) -> None:
        sent.append(what.chunk)

    async def end(_session: object, _context: SimpleNamespace, what: aiohttp.TraceRequestEndParams) -> None:
        seen.append(what)

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(send)
    trace.on_request_end.append(end)
    async with aiohttp.ClientSession(trace_configs=[trace]) as session:
        async with client_of(sandbox, session=session) as client:
            answered = await client.with_response(call.make)
    (request,) = seen

    openapi.check(
        call.operation.version,
        method=request.method,
        path=request.url.path,
        query=list(request.url.query.items()),
        headers=request.headers,
        body=b"".join(sent),
        status=request.response.status,
        answer=answered.response.body,
    )
    assert request.response.status == 200


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_the_contracts_samples_fit_the_models(call: Call) -> None:
    """An answer made of the examples of all its fields; every one of them has its place."""
    version, method, path = call.route
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            payload = {**about_what_was_sent(path, openapi.sample(version, method, path)), "code": 200}
            mock.add(re.compile(re.escape(BASE_URL)), method, payload=payload)
            value = await call.make(client)

    records = list(records_in(value))
    assert [record.extra for record in records] == [{}] * len(records)


SENT: dict[str, tuple[str, object]] = {
    "/companies/users/{customerId}/orders": ("orderId", "9001"),
    "/companies/{companyId}/user/{customerId}/orders": ("orderId", "9002"),
    "/companies/{companyId}": ("companyId", 1),
    "/orders/{bcOrderId}": ("bcOrderId", 9000),
    "/users/{userId}": ("id", 50_000),
    "/users/customer/{customerId}": ("customerId", 1001),
    "/orders/{orderId}/details": ("id", "9000"),
}
"""The id that a call sends, and the field of the answer that has it."""


def about_what_was_sent(path: str, payload: Any) -> Any:
    """Put the id that the call sends into the vendor's example, which shows that of no request."""
    name, sent = SENT.get(path, ("", None))
    record = payload["data"][0] if isinstance(payload["data"], list) and payload["data"] else payload["data"]
    if name in record:
        record[name] = sent
    return payload


def records_in(value: Any) -> Iterator[Record]:
    """Find all records in what a function gives."""
    if isinstance(value, Page):
        value = value.items
    if isinstance(value, tuple):
        for one in value:
            yield from records_in(one)
    if isinstance(value, Record):
        yield value
        for field in attrs.fields(type(value)):
            yield from records_in(getattr(value, field.name))


@pytest.mark.parametrize("example", openapi.examples(), ids=lambda one: f"{one.method} {one.path} {one.status}")
async def test_the_contracts_examples_are_understood(example: openapi.Answer) -> None:
    """A good answer fits the model, a bad one becomes the error of its status."""
    (call,) = [call for call in CALLS if call.route == (example.version, example.method, example.path)]
    async with Client(CREDENTIALS, retry=RetryPolicy(attempts=1)) as client:
        with mocked_api() as mock:
            payload = about_what_was_sent(example.path, example.payload)
            mock.add(re.compile(re.escape(BASE_URL)), example.method, status=example.status, payload=payload)
            if example.status == 200:
                assert [record.extra for record in records_in(await call.make(client)) if record.extra] == []
            else:
                with pytest.raises(APIStatusError) as caught:
                    await call.make(client)
                assert (caught.value.status, caught.value.code) == (example.status, example.payload["code"])


def test_every_operation_of_the_contract_has_a_function() -> None:
    """And no function is for another one; the path parameters are those of the contract."""
    named = {call.route for call in CALLS}

    assert {route for version in ("v3", "v2") for route in openapi.operations(version)} == named
    assert len(named) == len(CALLS)
    orders = [route for route in named if "order" in route[2].lower()]
    assert (len([r for r in orders if r[0] == "v3"]), len([r for r in orders if r[0] == "v2"])) == (8, 12)


def test_the_readme_has_the_table_of_all_operations() -> None:
    """``python tests/contract/table.py`` writes it."""
    assert table.in_the_readme() == table.table()
