"""v2 Order (deprecated by the vendor, and in some stores the only one there is)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import attrs

from b2b_async import _arguments as arguments
from b2b_async._envelope import Envelope
from b2b_async._messages import LookUp, Operation, Reconciliation
from b2b_async.errors import (
    Answer,
    APIStatusError,
    ConflictError,
    InvalidArgumentError,
    ResponseValidationError,
)

if TYPE_CHECKING:
    from decimal import Decimal

    from b2b_async._messages import Response
    from b2b_async.client import Client

CREATE_ORDER = Operation("Create An Order", "v2", "POST", "/companies/{companyId}/user/{customerId}/orders")

# Where an order is registered; both for look-ups only.
_GET_COMPANY = Operation("Get Company of an Order", "v2", "GET", "/orders/{orderBCId}/companyIdBCId")
_GET_ORDER = Operation("Get an Order", "v3", "GET", "/orders/{bcOrderId}")
_ABSENT = frozenset({404, 40013})
"""v3 says 404 and v2 40013, "Order does not exist."; any other refusal of a look-up is not about the order."""


@attrs.frozen
class CreatedOrder:
    """A registered order."""

    order_id: str
    """The BigCommerce order id."""
    reconciled: bool = False
    """The answer was lost, and a look-up found the order registered with the company."""


async def create_order(
    client: Client,
    company_id: str | int,
    customer_id: str | int,
    *,
    order_id: str,
    total_inc_tax: Decimal,
    po_number: str | None = None,
    reconcile: bool = True,
    resend_if_absent: bool = False,
) -> CreatedOrder:
    """Register an order that exists in BigCommerce with a company; it places no order.

    Source: v2 Order, "Create An Order" (POST /companies/{companyId}/user/{customerId}/orders).
    Not idempotent: when the answer is lost it is not sent again, but looked up with growing pauses until the call's
    time is over, by v3 "Get an Order" or v2 "Get Company of an Order", whichever the credentials allow.
    So that there is time for it, the attempt itself gets half of the call's time at most.

    Args:
        client: The client.
        company_id: The B2B company id.
        customer_id: The buyer's BigCommerce customer id.
        order_id: The BigCommerce order id.
        total_inc_tax: The order's total with tax, in the order's currency; leaves with just its digits.
        po_number: The purchase order number; left out if None.
        reconcile: Look the order up if the answer is lost; False raises ``AmbiguousOutcomeError`` at once.
        resend_if_absent: Send it again, once, if it is not there after several looks in about seven seconds.
            If the first one was only late, the server gets it twice.

    Returns:
        The registered order; ``reconciled`` if that is known from a look-up.

    Raises:
        InvalidArgumentError: an id is empty or would change the path, or the amount is negative, not finite,
            or a float that is not exactly what it looks like; nothing was sent.
        BadRequestError: the server refuses a field; see ``fields``.
        NotFoundError: the company or the customer does not exist.
        ConflictError: the answer was lost, and the order is registered with another company.
        AmbiguousOutcomeError: it may have been registered, but the answer is lost and no look-up has found it.
        B2BError: any other of ``b2b_async.errors``.
    """
    path = arguments.path_id(company_id, "company_id"), arguments.path_id(customer_id, "customer_id")
    body: dict[str, str | Decimal] = {
        "orderId": arguments.text(order_id, "order_id"),
        "totalIncTax": arguments.money(total_inc_tax, "total_inc_tax"),
    }
    if po_number is not None:
        body["poNumber"] = arguments.text(po_number, "po_number")
    look, send_again = arguments.flag(reconcile, "reconcile"), arguments.flag(resend_if_absent, "resend_if_absent")
    if send_again and not look:
        message = "resend_if_absent needs reconcile: only a look-up can say that the order is absent"
        raise InvalidArgumentError(message)
    lookup = _LookUp(client, unquote(path[0]), order_id) if look else None
    registered = await client.call(
        CREATE_ORDER,
        *path,
        body=arguments.encode_json(body),
        into=_Registered,
        reconcile=None if lookup is None else lookup.reconciliation(resend_if_absent=send_again),
    )
    return CreatedOrder(registered.order_id, reconciled=lookup is not None and lookup.found)


async def find_created_order(client: Client, company_id: str | int, *, order_id: str) -> CreatedOrder | None:
    """Look whether an order is registered with a company, as ``create_order`` does when an answer is lost.

    Source: v3 Orders, "Get an Order" (GET /orders/{bcOrderId}), or v2 Order, "Get Company of an Order"
    (GET /orders/{orderBCId}/companyIdBCId), whichever the credentials allow.

    Args:
        client: The client.
        company_id: The B2B company id.
        order_id: The BigCommerce order id.

    Returns:
        The order, ``reconciled``; None if it is not there, which is no proof that it will not be: records may
        appear late, and a request may still be under way.

    Raises:
        InvalidArgumentError: an id is empty or would change the path; nothing was sent.
        ConflictError: the order is registered with another company.
        ResponseValidationError: the answer shows neither.
        B2BError: any other of ``b2b_async.errors``.
    """
    company = unquote(arguments.path_id(company_id, "company_id"))
    lookup = _LookUp(client, company, arguments.text(order_id, "order_id"))
    segment = arguments.path_id(order_id, "order_id")
    *others, last = lookup.reconciliation(resend_if_absent=False).lookups
    for way in (*others, last):
        try:
            found = way.read(await client.send(way.operation, segment))
        except (APIStatusError, ResponseValidationError) as error:
            if isinstance(error, ConflictError) and error.outcome == "unknown":  # what was read, not the look itself
                raise
            if error.code in way.absent:
                return None
            if way is last:
                raise
        else:
            return None if found is None else CreatedOrder(order_id, reconciled=True)
    raise AssertionError("unreachable")  # noqa: EM101 -- the words that coverage excludes


@attrs.frozen
class _Registered:
    order_id: str


class _LookUp:
    """Finds out whether an order is registered with a company, and remembers that it has."""

    def __init__(self, client: Client, company_id: str, order_id: str) -> None:
        self._credentials = client.credentials
        self._company_id, self._order_id = company_id, order_id
        self._segment = arguments.path_id(order_id, "order_id")
        self.found = False

    def reconciliation(self, *, resend_if_absent: bool) -> Reconciliation:
        """Say how to look, given what the credentials of the client open."""
        path = _GET_COMPANY.path(self._segment)
        v2 = LookUp(operation=_GET_COMPANY, path=path, read=self._read, absent=_ABSENT)
        if self._credentials.access_token is None or not _is_number(self._order_id):
            return Reconciliation(lookups=(v2,), resend_if_absent=resend_if_absent)
        # v2 answers for any order id; v3 is not deprecated, but takes numbers only.
        path = _GET_ORDER.path(self._segment)
        v3 = LookUp(operation=_GET_ORDER, path=path, read=self._read, absent=_ABSENT)
        return Reconciliation(lookups=(v3, v2), resend_if_absent=resend_if_absent)

    def _read(self, response: Response) -> Response | None:
        company = self._company(response)
        if company is None:
            return None
        if not _same(company, self._company_id):
            message = (
                f"{CREATE_ORDER.name}: a look-up shows order {self._order_id} registered "
                f"with company {self._credentials.redact(company)}, not with company {self._company_id}"
            )
            request_id = self._credentials.redact(response.request_id or "") or None
            answer = Answer(status=409, under_success=True, request_id=request_id)
            raise ConflictError(message, answer=answer, outcome="unknown", operation=CREATE_ORDER.name)
        self.found = True
        # What the lost answer would have said.
        return attrs.evolve(response, envelope=Envelope({"code": 200, "data": {"orderId": self._order_id}}))

    def _company(self, response: Response) -> str | None:
        """Read the company that the order is registered with; v3 sends the order alone or in a list, v2 the company."""
        data = None if response.envelope is None else response.envelope.data
        if data == []:
            return None
        for record in cast("list[object]", data) if isinstance(data, list) else [data]:
            known = cast("dict[str, object]", record) if isinstance(record, dict) else {}
            if _same(known.get("bcOrderId", self._order_id), self._order_id) and "companyId" in known:
                company = known["companyId"]
                if company is None or str(company).strip() in {"", "0"}:
                    return None
                if isinstance(company, str | int) and not isinstance(company, bool):
                    return str(company) if isinstance(company, str) else f"{company:d}"
        # To take it for an absence could bring about a second creation.
        message = "the answer to a look-up names no company of the order that was looked for"
        raise ResponseValidationError(message, answer=Answer(status=response.status, request_id=response.request_id))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _same(one: object, other: object) -> bool:
    """Whether two ids are the same: 7, "7" and "07" are."""
    first, second = str(one).strip(), str(other)
    return first == second or (_is_number(first) and _is_number(second) and first.lstrip("0") == second.lstrip("0"))
