"""What type checkers must accept. It is read by them, and never run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from b2b_async import OMITTED, Answered, BCOrderId, Client, CompanyId, CustomerId, ItemIterator, Page, v2, v3


async def use(client: Client) -> None:
    """Use the endpoints as users do."""
    since = datetime(2026, 1, 1, tzinfo=UTC)
    page: Page[v3.orders.Order] = await v3.orders.list_orders(client, company_id=CompanyId(4), min_created=since)
    orders: ItemIterator[v3.orders.Order] = v3.orders.list_orders(client, order_by="DESC").items()
    async for order in orders:
        total: Decimal | None = order.total_inc_tax
        await v3.orders.update_order(client, order.bc_order_id, po_number=None, extra_fields=order.extra_fields)
        await v3.orders.update_order(client, order.bc_order_id, po_number=OMITTED, extra_fields=[])
        print(total, order.created_at, order.extra["new"], order.raw["createdAt"])
    for user in (await v3.users.list_users(client)).items:
        if user.customer_id is not None:
            await v3.orders.assign_customer_orders(client, user.customer_id)
        await v3.users.get_user(client, user.id)
    await v3.orders.assign_customer_orders(client, CustomerId(321))
    order_id: BCOrderId = page.items[0].bc_order_id
    created: v2.orders.CreatedOrder = await v2.orders.create_order(
        client, "4", CustomerId(12), order_id=order_id, total_inc_tax=Decimal("259.99"), po_number=None
    )
    await v2.orders.create_order(client, CompanyId(4), "12", order_id=created.order_id, total_inc_tax=Decimal(1))
    company: CompanyId = await v2.orders.get_company_id_by_order_id(client, "117")
    await v3.companies.get_company(client, company)
    changes = v2.orders.OrderChanges(staff_notes=None, total_ex_tax=Decimal("1.10"))
    await v2.orders.update_company_order(client, order_id, changes)
    answered: Answered[v3.orders.Order] = await client.with_response(v3.orders.get_order, order_id)
    also: Answered[v2.orders.OrderDetail] = await client.with_response(v2.orders.get_order_detail, order_id)
    print(answered.value.status, answered.response.quota_left, also.response.status)
    for listed in page:
        print(listed.bc_order_id)
