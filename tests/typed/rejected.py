"""What type checkers must reject: every line that ends in a word on it. It is read by them, and never run."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import b2b_async
from b2b_async import BCOrderId, Client, CompanyId, CustomerId, UserId, v2, v3


async def swap_ids(client: Client, order: v3.orders.Order, user: v3.users.User, company: CompanyId) -> None:
    """Ids of another kind, and integers that could be any."""
    await v3.orders.get_order(client, order.id)  # rejected
    await v3.orders.get_order(client, company)  # rejected
    await v3.orders.get_order(client, 117)  # rejected
    await v3.orders.update_order(client, order.id, po_number="P")  # rejected
    await v3.orders.assign_customer_orders(client, user.id)  # rejected
    await v3.orders.assign_customer_orders(client, user.customer_id)  # rejected
    await v3.orders.assign_customer_orders(client, order.bc_order_id)  # rejected
    await v3.orders.list_orders(client, company_id=user.id)  # rejected
    await v3.orders.list_orders(client, bc_order_id=order.id)  # rejected
    await v3.users.get_user(client, CustomerId(1))  # rejected
    await v3.users.get_user_by_customer_id(client, UserId(1))  # rejected
    await v3.companies.get_company(client, CustomerId(1))  # rejected
    await v3.orders.reassign_orders(client, CustomerId(1), bc_group_id=company)  # rejected
    await v2.orders.get_order_detail(client, order.id)  # rejected
    await v2.companies.get_company_by_customer_id(client, user.id)  # rejected
    await v2.orders.create_order(client, CustomerId(1), "2", order_id="3", total_inc_tax=Decimal(1))  # rejected
    await v2.orders.create_order(client, "1", company, order_id="3", total_inc_tax=Decimal(1))  # rejected
    await client.with_response(v3.orders.get_order, order.id)  # rejected
    bc_order_id: BCOrderId = order.id  # rejected
    print(bc_order_id)


async def wrong_money(client: Client, order: v3.orders.Order) -> None:
    """Floats and texts."""
    await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=259.99)  # rejected
    await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax="259.99")  # rejected
    v2.orders.OrderChanges(total_ex_tax=0.1)  # rejected
    v2.orders.ProductChanges(price_inc_tax="1.10")  # rejected
    total: float = order.total_inc_tax  # rejected
    print(total)


async def wrong_words(client: Client, order: v3.orders.Order, since: datetime) -> None:
    """Other words than the vendor's, values that are frozen, lists for single values."""
    await v3.orders.list_orders(client, sort_by="id")  # rejected
    await v3.orders.list_orders(client, order_by="asc")  # rejected
    await v3.orders.list_orders(client, min_created=since.timestamp())  # rejected
    await v3.orders.update_order(client, order.bc_order_id, extra_fields={"a": "b"})  # rejected
    await v3.orders.create_order(client, bc_order_id=order.bc_order_id)  # rejected
    order.po_number = "P"  # rejected
    b2b_async.nothing  # rejected
    v3.nothing  # rejected
