"""A call of every endpoint function, by the operation of the contract that it is for."""

from __future__ import annotations

import inspect
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async import BCGroupId, BCOrderId, ChannelId, CompanyId, CustomerId, UserId, v2, v3
from b2b_async.sandbox import Order, Store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async import Client, Operation
    from b2b_async.sandbox import Sandbox

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
CHANGES = v2.orders.OrderChanges(
    po_number="P-3",
    staff_notes="",
    total_ex_tax=Decimal("12.50"),
    items_total=3,
    is_deleted=False,
    billing_address=v2.orders.BillingAddressChanges(city="Irvine", street_one="1 Main Street"),
    products=[v2.orders.ProductChanges(product_id="71", quantity=2, price_inc_tax=Decimal("1.10"))],
)


@attrs.frozen
class Call:
    """A way to call an endpoint function."""

    operation: Operation
    """What it is for."""
    function: Callable[..., Any]
    """The endpoint function."""
    make: Callable[[Client], Awaitable[Any]]
    """Calls it, for things that ``store()`` has."""

    @property
    def name(self) -> str:
        """The function, as users write it."""
        plain = inspect.unwrap(self.function)
        return f"{plain.__module__.removeprefix('b2b_async.')}.{plain.__name__}"

    @property
    def route(self) -> tuple[str, str, str]:
        """Version, method and path."""
        return self.operation.version, self.operation.method, self.operation.template


def store() -> Store:
    """Make a store that has what the calls are about."""
    made = Store(3, 3)
    made.companies["1"].extra_fields["Tax code"] = "G"
    made.assign(1001)
    made.add_order(Order("9000", 1001, Decimal("12.50"), "1", "P-1", extra_fields={"Fintech ID": "7"}))
    for number in ("9001", "9002"):
        made.add_order(Order(number, 1002, Decimal("12.50")))
    return made


def place(sandbox: Sandbox) -> None:
    """Place the order that is too young for B2B Edition to know it."""
    sandbox.store.place_order(1003, Decimal("99.95"), "9003")


CALLS = (
    Call(
        v3.orders.LIST_ORDERS,
        v3.orders.list_orders,
        lambda client: v3.orders.list_orders(
            client,
            company_id=CompanyId(1),
            bc_order_id=BCOrderId(9000),
            min_created=BEGIN,
            max_created=END,
            min_modified=BEGIN,
            max_modified=END,
            channel_ids=[ChannelId(1), ChannelId(2)],
            show_extra=True,
            sort_by="createdAt",
            order_by="ASC",
            limit=200,
        ),
    ),
    Call(
        v3.orders.CREATE_ORDER,
        v3.orders.create_order,
        lambda client: v3.orders.create_order(
            client,
            bc_order_id=BCOrderId(9003),
            customer_id=CustomerId(1003),
            po_number="P-9",
            extra_fields=[v3.orders.ExtraField("Fintech ID", "1")],
        ),
    ),
    Call(v3.orders.GET_ORDER, v3.orders.get_order, lambda client: v3.orders.get_order(client, BCOrderId(9000))),
    Call(
        v3.orders.UPDATE_ORDER,
        v3.orders.update_order,
        lambda client: v3.orders.update_order(
            client, BCOrderId(9000), po_number="P-2", extra_fields=[v3.orders.ExtraField("Cost center", "12")]
        ),
    ),
    Call(
        v3.orders.REASSIGN_ORDERS,
        v3.orders.reassign_orders,
        lambda client: v3.orders.reassign_orders(client, CustomerId(1001), bc_group_id=BCGroupId(702)),
    ),
    Call(
        v3.orders.LIST_ORDER_PRODUCTS,
        v3.orders.list_order_products,
        lambda client: v3.orders.list_order_products(client, BCOrderId(9000)),
    ),
    Call(
        v3.orders.ASSIGN_CUSTOMER_ORDERS,
        v3.orders.assign_customer_orders,
        lambda client: v3.orders.assign_customer_orders(client, CustomerId(1002)),
    ),
    Call(
        v3.orders.LIST_ORDER_EXTRA_FIELD_CONFIGS,
        v3.orders.list_order_extra_field_configs,
        lambda client: v3.orders.list_order_extra_field_configs(client, limit=1, offset=1),
    ),
    Call(
        v3.users.LIST_USERS,
        v3.users.list_users,
        lambda client: v3.users.list_users(
            client,
            company_id=CompanyId(1),
            email="buyer1001@example.com",
            q="buyer",
            roles=[0, 1],
            channel_id=ChannelId(1),
            min_created=BEGIN,
            max_created=END,
            min_modified=BEGIN,
            max_modified=END,
            include_extra_fields=True,
            limit=250,
        ),
    ),
    Call(v3.users.GET_USER, v3.users.get_user, lambda client: v3.users.get_user(client, UserId(50_000))),
    Call(
        v3.users.GET_USER_BY_CUSTOMER_ID,
        v3.users.get_user_by_customer_id,
        lambda client: v3.users.get_user_by_customer_id(client, CustomerId(1001)),
    ),
    Call(
        v3.companies.LIST_COMPANIES,
        v3.companies.list_companies,
        lambda client: v3.companies.list_companies(
            client,
            q="company",
            company_status=1,
            customer_id=CustomerId(1001),
            bc_order_id=BCOrderId(9000),
            bc_group_id=BCGroupId(701),
            order_id="9000",
            extra_fields={"Tax code": "G"},
            extra_field_filter_type="exact-match",
            min_created=BEGIN,
            max_created=END,
            min_modified=BEGIN,
            max_modified=END,
            include_extra_fields=True,
            sort_by="companyName",
            order_by="ASC",
            limit=249,
        ),
    ),
    Call(
        v3.companies.GET_COMPANY,
        v3.companies.get_company,
        lambda client: v3.companies.get_company(client, CompanyId(1)),
    ),
    Call(
        v2.orders.CREATE_ORDER_WITHOUT_COMPANY_ID,
        v2.orders.create_order_without_company_id,
        lambda client: v2.orders.create_order_without_company_id(
            client, "1002", order_id="9001", total_inc_tax=Decimal("12.50"), po_number="P-4"
        ),
    ),
    Call(
        v2.orders.LIST_COMPANY_ORDERS,
        v2.orders.list_company_orders,
        lambda client: v2.orders.list_company_orders(
            client,
            CompanyId(1),
            begin_date_at=date(2020, 1, 31),
            end_date_at=date(2099, 1, 1),
            channel_id=ChannelId(1),
            include_extra=True,
            order_by="createdAt",
            limit=200,
        ),
    ),
    Call(
        v2.orders.CREATE_ORDER,
        v2.orders.create_order,
        lambda client: v2.orders.create_order(
            client, "1", "1002", order_id=BCOrderId(9002), total_inc_tax=Decimal("12.50"), po_number="P-5"
        ),
    ),
    Call(
        v2.orders.UPDATE_COMPANY_ORDER,
        v2.orders.update_company_order,
        lambda client: v2.orders.update_company_order(client, "9000", CHANGES),
    ),
    Call(
        v2.orders.UPDATE_BC_ORDERS_COMPANY,
        v2.orders.update_bc_orders_company,
        lambda client: v2.orders.update_bc_orders_company(client, CustomerId(1002)),
    ),
    Call(
        v2.orders.UPDATE_USER_ORDERS_COMPANY,
        v2.orders.update_user_orders_company,
        lambda client: v2.orders.update_user_orders_company(client, CustomerId(1001), customer_group_id=BCGroupId(702)),
    ),
    Call(
        v2.orders.GET_ORDERS_IMAGES,
        v2.orders.get_orders_images,
        lambda client: v2.orders.get_orders_images(client, [BCOrderId(9000), "9001"]),
    ),
    Call(
        v2.orders.GET_COMPANY_BY_BC_ORDER_ID,
        v2.orders.get_company_by_bc_order_id,
        lambda client: v2.orders.get_company_by_bc_order_id(client, "9000"),
    ),
    Call(
        v2.orders.GET_COMPANY_ID_BY_ORDER_ID,
        v2.orders.get_company_id_by_order_id,
        lambda client: v2.orders.get_company_id_by_order_id(client, "9000"),
    ),
    Call(
        v2.orders.GET_ORDER_DETAIL,
        v2.orders.get_order_detail,
        lambda client: v2.orders.get_order_detail(client, "9000"),
    ),
    Call(
        v2.orders.GET_ORDER_PRODUCT,
        v2.orders.get_order_product,
        lambda client: v2.orders.get_order_product(client, "9000"),
    ),
    Call(
        v2.companies.LIST_BC_ORDER_IDS,
        v2.companies.list_bc_order_ids,
        lambda client: v2.companies.list_bc_order_ids(
            client, "1", begin_date_at=date(2020, 1, 31), end_date_at=date(2099, 1, 1), limit=200
        ),
    ),
    Call(
        v2.companies.GET_COMPANY_BY_CUSTOMER_ID,
        v2.companies.get_company_by_customer_id,
        lambda client: v2.companies.get_company_by_customer_id(client, "1001"),
    ),
)
