"""v3 Orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from b2b_async._arguments import customer_number
from b2b_async._messages import Operation

if TYPE_CHECKING:
    from b2b_async.client import Client
    from b2b_async.ids import CustomerId

ASSIGN_CUSTOMER_ORDERS = Operation(
    "Assign Customer Orders to Company", "v3", "PUT", "/customers/{customerId}/orders/b2b"
)


@attrs.frozen
class AssignedOrders:
    """What an assignment did."""

    total: int
    """Orders that the server assigned before it answered; 0 if all of them were assigned before.

    Where an attempt was repeated because its answer was lost, the lost one may have assigned them."""


async def assign_customer_orders(client: Client, customer_id: CustomerId | int) -> AssignedOrders:
    """Associate all orders of a buyer with the Company account that the buyer belongs to.

    Source: v3 Orders, "Assign Customer Orders to Company" (PUT /customers/{customerId}/orders/b2b).
    Idempotent: repeating it is safe.

    Args:
        client: The client.
        customer_id: The buyer's BigCommerce customer id, not the B2B user id.

    Returns:
        How many orders were assigned.

    Raises:
        InvalidArgumentError: *customer_id* is not a positive integer; nothing was sent.
        NotFoundError: the customer does not exist, or belongs to no company.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = customer_number(customer_id, "customer_id")
    return await client.call(ASSIGN_CUSTOMER_ORDERS, number, body=b"{}", into=AssignedOrders)
