"""v2 Order (deprecated by the vendor, and in some stores the only one there is)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from b2b_async import _arguments as arguments
from b2b_async._messages import Operation

if TYPE_CHECKING:
    from decimal import Decimal

    from b2b_async.client import Client

CREATE_ORDER = Operation("Create An Order", "v2", "POST", "/companies/{companyId}/user/{customerId}/orders")


@attrs.frozen
class CreatedOrder:
    """A registered order."""

    order_id: str
    """The BigCommerce order id."""


async def create_order(
    client: Client,
    company_id: str | int,
    customer_id: str | int,
    *,
    order_id: str,
    total_inc_tax: Decimal,
    po_number: str | None = None,
) -> CreatedOrder:
    """Register an order that exists in BigCommerce with a company; it places no order.

    Source: v2 Order, "Create An Order" (POST /companies/{companyId}/user/{customerId}/orders).
    Not idempotent: when the answer is lost, this raises ``AmbiguousOutcomeError`` and sends nothing again.

    Args:
        client: The client.
        company_id: The B2B company id.
        customer_id: The buyer's BigCommerce customer id.
        order_id: The BigCommerce order id.
        total_inc_tax: The order's total with tax, in the order's currency; leaves with just its digits.
        po_number: The purchase order number; left out if None.

    Returns:
        The registered order.

    Raises:
        InvalidArgumentError: an id is empty or would change the path, or the amount is negative, not finite,
            or a float that is not exactly what it looks like; nothing was sent.
        BadRequestError: the server refuses a field; see ``fields``.
        NotFoundError: the company or the customer does not exist.
        AmbiguousOutcomeError: it may have been registered, but the answer is lost.
        B2BError: any other of ``b2b_async.errors``.
    """
    path = arguments.path_id(company_id, "company_id"), arguments.path_id(customer_id, "customer_id")
    body: dict[str, str | Decimal] = {
        "orderId": arguments.text(order_id, "order_id"),
        "totalIncTax": arguments.money(total_inc_tax, "total_inc_tax"),
    }
    if po_number is not None:
        body["poNumber"] = arguments.text(po_number, "po_number")
    return await client.call(CREATE_ORDER, *path, body=arguments.encode_json(body), into=CreatedOrder)
