"""v2 Order (deprecated by the vendor, and in some stores the only one there is)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from b2b_async import _arguments as arguments
from b2b_async._envelope import Envelope
from b2b_async._messages import LookUp, Operation, Reconciliation
from b2b_async.errors import Answer, ConflictError, InvalidArgumentError

if TYPE_CHECKING:
    from decimal import Decimal

    from b2b_async._messages import Response
    from b2b_async.client import Client

CREATE_ORDER = Operation("Create An Order", "v2", "POST", "/companies/{companyId}/user/{customerId}/orders")

# Where an order is registered; both for look-ups only.
_GET_COMPANY = Operation("Get Company of an Order", "v2", "GET", "/orders/{orderBCId}/companyIdBCId")
_GET_ORDER = Operation("Get an Order", "v3", "GET", "/orders/{bcOrderId}")


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
    A timeout of one attempt (``Timeouts.attempt``) that is well below that of the call leaves time for it.

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
    how = _reconciliation(client, str(company_id), order_id, resend_if_absent=send_again) if look else None
    return await client.call(CREATE_ORDER, *path, body=arguments.encode_json(body), into=CreatedOrder, reconcile=how)


def _reconciliation(client: Client, company_id: str, order_id: str, *, resend_if_absent: bool) -> Reconciliation:
    """Say how to find out whether *order_id* is registered with *company_id*."""
    segment = arguments.path_id(order_id, "order_id")

    def read(response: Response) -> Response | None:
        company = _company_of(order_id, None if response.envelope is None else response.envelope.data)
        if company is None:
            return None
        if company != company_id:
            message = (
                f"{CREATE_ORDER.name}: the answer was lost, and a look-up shows order {order_id} registered with "
                f"company {company}, not with company {company_id}"
            )
            answer = Answer(status=response.status, request_id=response.request_id, trace_id=response.trace_id)
            raise ConflictError(message, answer=answer, outcome="unknown", operation=CREATE_ORDER.name)
        # What the lost answer would have said.
        data = {"orderId": order_id, "reconciled": True}
        return attrs.evolve(response, envelope=Envelope({"code": 200, "data": data}))

    v2 = LookUp(operation=_GET_COMPANY, path=_GET_COMPANY.path(segment), read=read, absent=frozenset({400, 404}))
    if client.credentials.access_token is None or not (order_id.isascii() and order_id.isdigit()):
        return Reconciliation(lookups=(v2,), resend_if_absent=resend_if_absent)
    # v2 answers for any order id; v3 is not deprecated, but takes numbers only.
    v3 = LookUp(operation=_GET_ORDER, path=_GET_ORDER.path(segment), read=read, absent=frozenset({404}))
    return Reconciliation(lookups=(v3, v2), resend_if_absent=resend_if_absent)


def _company_of(order_id: str, data: Any) -> str | None:  # noqa: ANN401 -- any JSON value
    """Read the company that an order is registered with; v3 sends the order alone or in a list, v2 the company."""
    for record in cast("list[object]", data) if isinstance(data, list) else [data]:
        if isinstance(record, dict):
            known = cast("dict[str, object]", record)
            company = known.get("companyId")
            if str(known.get("bcOrderId", order_id)) == order_id and isinstance(company, str | int) and company:
                return str(company)
    return None
