"""v2 Order (deprecated by the vendor, and in some stores the only one there is).

An order is named by its BigCommerce order id, which v2 has as a string.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from b2b_async import _arguments as arguments
from b2b_async._envelope import names
from b2b_async._messages import Operation
from b2b_async._record import Record, also
from b2b_async.errors import APIStatusError, ConflictError, InvalidArgumentError, ResponseValidationError
from b2b_async.ids import (
    BCGroupId,
    BCOrderId,
    ChannelId,
    CompanyId,
    CustomerId,
)
from b2b_async.v2._deprecated import deprecated
from b2b_async.v2._registration import GET_COMPANY_BY_BC_ORDER_ID, Registration
from b2b_async.v2.order_changes import BillingAddressChanges, OrderChanges, ProductChanges, changed
from b2b_async.v2.order_detail import BillingAddress, DetailedProduct, OrderDetail, ShippingAddress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async._pagination import Listing
    from b2b_async.client import Client

__all__ = [
    "BillingAddress",
    "BillingAddressChanges",
    "CompanyOrder",
    "CreatedOrder",
    "DetailedProduct",
    "OrderChanges",
    "OrderCompany",
    "OrderDetail",
    "OrderImage",
    "OrderProduct",
    "OrderProductOption",
    "ProductChanges",
    "ShippingAddress",
    "UpdatedOrder",
    "create_order",
    "create_order_without_company_id",
    "find_created_order",
    "get_company_by_bc_order_id",
    "get_company_id_by_order_id",
    "get_order_detail",
    "get_order_product",
    "get_orders_images",
    "list_company_orders",
    "update_bc_orders_company",
    "update_company_order",
    "update_user_orders_company",
]

CREATE_ORDER_WITHOUT_COMPANY_ID = Operation(
    "Create Order Without CompanyID", "v2", "POST", "/companies/users/{customerId}/orders"
)
LIST_COMPANY_ORDERS = Operation("Get Company Orders", "v2", "GET", "/companies/{companyId}/orders")
CREATE_ORDER = Operation("Create An Order", "v2", "POST", "/companies/{companyId}/user/{customerId}/orders")
UPDATE_COMPANY_ORDER = Operation("Update Company Order With BC OrderId", "v2", "PUT", "/orders")
UPDATE_BC_ORDERS_COMPANY = Operation("Update BC Order's 'Company attribute'", "v2", "POST", "/orders/company")
UPDATE_USER_ORDERS_COMPANY = Operation("Update B2BE User's Orders' company attribute", "v2", "PUT", "/orders/company")
GET_ORDERS_IMAGES = Operation("Get Orders Images", "v2", "GET", "/orders/images")
GET_COMPANY_ID_BY_ORDER_ID = Operation("Get Company Id By Order Id", "v2", "GET", "/orders/{orderId}/companyId")
GET_ORDER_DETAIL = Operation("Get Order Detail", "v2", "GET", "/orders/{orderId}/details")
GET_ORDER_PRODUCT = Operation("Get Order Product", "v2", "GET", "/orders/{orderId}/products")

LARGEST_PAGE = 200
"""Orders that a page may have; the vendor names no limit, and this one is v3's."""


@attrs.frozen(kw_only=True)
class CompanyOrder(Record):
    """An order of a company."""

    STRICT: ClassVar[tuple[str, ...]] = ("total_inc_tax",)

    order_id: str
    """The BigCommerce order id."""
    order_status: str | None = attrs.field(default=None, metadata=also("OrderStatus"))
    """The status, in BigCommerce's words."""
    total_inc_tax: Decimal | None = None
    """The total with tax, in the order's currency."""
    company_name: str | None = None
    """What the company is called."""
    first_name: str | None = None
    """The buyer's first name."""
    last_name: str | None = None
    """The buyer's last name."""
    is_invoice_order: bool | None = None
    """Whether it pays an invoice."""
    channel_id: ChannelId | None = None
    """The channel (storefront) that it came by."""
    channel_name: str | None = None
    """The name of that channel."""
    created_at: datetime | None = None
    """When it was placed."""
    updated_at: datetime | None = None
    """When it was changed last."""


@attrs.frozen
class UpdatedOrder(Record):
    """An order after a change. The vendor's schema names the company, and its example the order."""

    STRICT: ClassVar[tuple[str, ...]] = ("order_id", "company_id")

    order_id: str | None = None
    """The BigCommerce order id."""
    company_id: CompanyId | None = None
    """The B2B company id."""


@attrs.frozen
class OrderImage(Record):
    """A picture of what was ordered."""

    order_id: str
    """The BigCommerce order id."""
    image_url: str | None = None
    """Where it is."""


@attrs.frozen
class OrderCompany(Record):
    """The company that an order is registered with."""

    STRICT: ClassVar[tuple[str, ...]] = ("customer_group_id",)

    company_id: CompanyId
    """The B2B company id."""
    company_name: str | None = None
    """What it is called."""
    customer_group_id: BCGroupId | None = None
    """The BigCommerce customer group that stands for it."""


@attrs.frozen
class OrderProductOption(Record):
    """What a buyer chose of a product's options."""

    option_id: str | None = None
    """The id of the option."""
    option_value: str | None = None
    """What was chosen."""


@attrs.frozen(kw_only=True)
class OrderProduct(Record):
    """A line of an order."""

    product_id: str | None = None
    """The BigCommerce product id."""
    variant_id: str | None = None
    """The BigCommerce variant id."""
    quantity: int | None = None
    """How many were ordered."""
    option_list: tuple[OrderProductOption, ...] = ()
    """What was chosen of its options."""


@attrs.frozen
class CreatedOrder:
    """A registered order."""

    order_id: str
    """The BigCommerce order id."""
    reconciled: bool = False
    """The answer was lost, and a look-up found the order registered with the company."""


@deprecated(None)
async def create_order(
    client: Client,
    company_id: CompanyId | str,
    customer_id: CustomerId | str,
    *,
    order_id: BCOrderId | str,
    total_inc_tax: Decimal,
    po_number: str | None = None,
    reconcile: bool = True,
    resend_if_absent: bool = False,
) -> CreatedOrder:
    """Register an order that exists in BigCommerce with a company; it places no order.

    Source: v2 Order, "Create An Order" (POST /companies/{companyId}/user/{customerId}/orders).
    Not idempotent: when the answer is lost it is not sent again, but looked up with growing pauses until the call's
    time is over, by v3 "Get Order" or v2 "Get Company By BC OrderId", whichever the credentials allow.
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
    company = arguments.path_id(company_id, "company_id")
    customer = arguments.path_id(customer_id, "customer_id")
    body, order = _registration(order_id, total_inc_tax, po_number)
    registration = Registration(client, CREATE_ORDER, company, order)
    registered = await client.call(
        CREATE_ORDER,
        {"companyId": company, "customerId": customer},
        body=body,
        into=_Registered,
        check=registration.check,
        reconcile=registration.reconciliation(wanted=reconcile, resend_if_absent=resend_if_absent),
    )
    return CreatedOrder(registered.order_id, reconciled=registration.found)


@deprecated(None)
async def create_order_without_company_id(
    client: Client,
    customer_id: CustomerId | str,
    *,
    order_id: BCOrderId | str,
    total_inc_tax: Decimal,
    po_number: str | None = None,
    reconcile: bool = True,
    resend_if_absent: bool = False,
) -> CreatedOrder:
    """Register an order that exists in BigCommerce with the company of its buyer; it places no order.

    Source: v2 Order, "Create Order Without CompanyID" (POST /companies/users/{customerId}/orders).
    Not idempotent: when the answer is lost it is looked up as ``create_order`` does it, and found where the order is
    registered with any company.

    Args:
        client: The client.
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
        NotFoundError: the customer does not exist, or belongs to no company.
        AmbiguousOutcomeError: it may have been registered, but the answer is lost and no look-up has found it.
        B2BError: any other of ``b2b_async.errors``.
    """
    customer = arguments.path_id(customer_id, "customer_id")
    body, order = _registration(order_id, total_inc_tax, po_number)
    registration = Registration(client, CREATE_ORDER_WITHOUT_COMPANY_ID, None, order)
    updated = await client.call(
        CREATE_ORDER_WITHOUT_COMPANY_ID,
        {"customerId": customer},
        body=body,
        into=UpdatedOrder,
        check=registration.check,
        reconcile=registration.reconciliation(wanted=reconcile, resend_if_absent=resend_if_absent),
    )
    # The vendor's schema has no order id in the response; the server took the one that was sent.
    return CreatedOrder(updated.order_id or order, reconciled=registration.found)


async def find_created_order(
    client: Client, company_id: CompanyId | str, *, order_id: BCOrderId | str
) -> CreatedOrder | None:
    """Check whether an order is registered with a company, as ``create_order`` does when a response is lost.

    Source: v3 Orders, "Get Order" (GET /orders/{bcOrderId}), or v2 Order, "Get Company By BC OrderId"
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
    company = arguments.path_id(company_id, "company_id")
    order = arguments.path_id(arguments.text_id(order_id, "order_id"), "order_id")
    registration = Registration(client, CREATE_ORDER, company, order)
    *others, last = registration.verifications()
    for verification in (*others, last):
        try:
            parameters = registration.parameters(verification.operation)
            found = verification.read(await client.send(verification.operation, parameters))
        except (APIStatusError, ResponseValidationError) as error:
            if isinstance(error, ConflictError) and error.outcome == "unknown":  # what was read, not the query itself
                raise
            if error.code in verification.absent:
                return None
            if verification is last:
                raise
        else:
            return None if found is None else CreatedOrder(order, reconciled=True)
    raise AssertionError("unreachable")  # noqa: EM101 -- the words that coverage excludes


@deprecated("v3.orders.list_orders(company_id=...)")
def list_company_orders(
    client: Client,
    company_id: CompanyId | str,
    *,
    begin_date_at: date | None = None,
    end_date_at: date | None = None,
    channel_id: ChannelId | None = None,
    include_extra: bool = False,
    order_by: Literal["bcOrderId", "totalIncTax", "createdAt"] | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Listing[CompanyOrder]:
    """List the orders of a company. Nothing is sent until the list is awaited or iterated.

    Source: v2 Order, "Get Company Orders" (GET /companies/{companyId}/orders).

    Args:
        client: The client.
        company_id: The B2B company id.
        begin_date_at: Only orders from this day on.
        end_date_at: Only orders up to this day.
        channel_id: Only orders of this channel.
        include_extra: With extra fields, which are in ``extra`` of each order.
        order_by: The field that the list is sorted by. None is the server's choice for one page, and "bcOrderId" for
            all pages, so that orders that are placed meanwhile move no others.
        limit: The size of a page, 1 to 200; by default 10 for one page, and 200 for all pages.
        offset: Orders before the first one.

    Returns:
        A ``Listing``: await it for one page, iterate over it for all orders, or ask for its ``items``.
        Each order comes once; a warning is logged, and ``missed`` says so, if some may have been missed.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        NotFoundError: the company does not exist, when a page is fetched.
        B2BError: any other of ``b2b_async.errors``, when a page is fetched.
    """
    query = arguments.days(begin_date_at, end_date_at)
    if channel_id is not None:
        query["channelId"] = str(arguments.number_id(channel_id, "channel_id"))
    if order_by is not None:
        query["orderBy"] = arguments.choice(order_by, "order_by", "bcOrderId", "totalIncTax", "createdAt")
    if arguments.flag(include_extra, "include_extra"):
        query["includeExtra"] = "1"
    return client.listing(
        LIST_COMPANY_ORDERS,
        {"companyId": arguments.path_id(company_id, "company_id")},
        into=CompanyOrder,
        key=lambda order: order.order_id,
        largest=LARGEST_PAGE,
        limit=limit,
        offset=offset,
        query=query,
        query_of_all={"orderBy": "bcOrderId"},
    )


@deprecated("v3.orders.update_order")
async def update_company_order(client: Client, order_id: BCOrderId | str, changes: OrderChanges) -> UpdatedOrder:
    """Change an order of a company, in B2B Edition and in BigCommerce.

    Source: v2 Order, "Update Company Order With BC OrderId" (PUT /orders). Idempotent: repeating it is safe.

    Args:
        client: The client.
        order_id: The BigCommerce order id.
        changes: What changes; what is not set in it is not sent.

    Returns:
        What the server names of the order.

    Raises:
        InvalidArgumentError: an argument cannot be used, or there is nothing to change; nothing was sent.
        BadRequestError: the server refuses a field, or BigCommerce refuses the change.
        NotFoundError: the order does not exist, or has no company.
        B2BError: any other of ``b2b_async.errors``.
    """
    body = {"orderId": arguments.text_id(order_id, "order_id"), **changed(changes)}
    return await client.call(UPDATE_COMPANY_ORDER, body=arguments.encode_json(body), into=UpdatedOrder)


@deprecated("v3.orders.assign_customer_orders")
async def update_bc_orders_company(client: Client, customer_id: CustomerId | str) -> None:
    """Make the orders of a customer orders of the company that the customer belongs to.

    Source: v2 Order, "Update BC Order's 'Company attribute'" (POST /orders/company).
    Not idempotent by its method: when the answer is lost it is not sent again. To do so by hand is harmless.

    Args:
        client: The client.
        customer_id: The BigCommerce customer id.

    Raises:
        InvalidArgumentError: *customer_id* is empty; nothing was sent.
        BadRequestError: the customer does not exist, or belongs to no company.
        AmbiguousOutcomeError: the answer is lost.
        B2BError: any other of ``b2b_async.errors``.
    """
    body = arguments.encode_json({"customerID": arguments.text_id(customer_id, "customer_id")})
    await client.send(UPDATE_BC_ORDERS_COMPANY, body=body)


@deprecated("v3.orders.reassign_orders")
async def update_user_orders_company(
    client: Client, customer_id: CustomerId | str, *, customer_group_id: BCGroupId | str
) -> None:
    """Move the orders of a company's buyer to another company.

    Source: v2 Order, "Update B2BE User's Orders' company attribute" (PUT /orders/company).
    Idempotent: repeating it is safe.

    Args:
        client: The client.
        customer_id: The buyer's BigCommerce customer id.
        customer_group_id: The BigCommerce customer group of the company that gets the orders.

    Raises:
        InvalidArgumentError: an id is empty; nothing was sent.
        BadRequestError: the customer or the group does not exist.
        B2BError: any other of ``b2b_async.errors``.
    """
    body = {
        "customerGroupID": arguments.text_id(customer_group_id, "customer_group_id"),
        "customerID": arguments.text_id(customer_id, "customer_id"),
    }
    await client.send(UPDATE_USER_ORDERS_COMPANY, body=arguments.encode_json(body))


@deprecated(None)
async def get_orders_images(client: Client, order_ids: Iterable[BCOrderId | str]) -> tuple[OrderImage, ...]:
    """Get pictures of what was ordered.

    Source: v2 Order, "Get Orders Images" (GET /orders/images).

    Args:
        client: The client.
        order_ids: BigCommerce order ids, sent in one parameter with commas between them.

    Returns:
        A picture for each order that has one.

    Raises:
        InvalidArgumentError: there are no ids, or one is empty or has a comma in it; nothing was sent.
        B2BError: any other of ``b2b_async.errors``.
    """
    ids = [arguments.text_id(one, "each of order_ids") for one in arguments.several(order_ids, "order_ids")]
    if wrong := [one for one in ids if "," in one]:
        message = f"order_ids: {arguments.shown(wrong[0])} has a comma in it, and would be taken for several ids"
        raise InvalidArgumentError(message)
    query = {"orderIds": ",".join(ids)}
    return await client.call(GET_ORDERS_IMAGES, query=query, into=tuple[OrderImage, ...])


@deprecated("v3.companies.list_companies(bc_order_id=...)")
async def get_company_by_bc_order_id(client: Client, order_id: BCOrderId | str) -> OrderCompany:
    """Get the company that an order is registered with.

    Source: v2 Order, "Get Company By BC OrderId" (GET /orders/{orderBCId}/companyIdBCId).

    Args:
        client: The client.
        order_id: The BigCommerce order id.

    Returns:
        The company.

    Raises:
        InvalidArgumentError: *order_id* is empty or would change the path; nothing was sent.
        BadRequestError: the order is not registered (code 40013).
        B2BError: any other of ``b2b_async.errors``.
    """
    return await client.call(
        GET_COMPANY_BY_BC_ORDER_ID, {"orderBCId": arguments.path_id(order_id, "order_id")}, into=OrderCompany
    )


@deprecated("v3.orders.get_order")
async def get_company_id_by_order_id(client: Client, order_id: BCOrderId | str) -> CompanyId:
    """Get the id of the company that an order is registered with.

    Source: v2 Order, "Get Company Id By Order Id" (GET /orders/{orderId}/companyId).

    Args:
        client: The client.
        order_id: The BigCommerce order id.

    Returns:
        The B2B company id.

    Raises:
        InvalidArgumentError: *order_id* is empty or would change the path; nothing was sent.
        BadRequestError: the order is not registered (code 40013).
        B2BError: any other of ``b2b_async.errors``.
    """
    order = arguments.path_id(order_id, "order_id")
    return (await client.call(GET_COMPANY_ID_BY_ORDER_ID, {"orderId": order}, into=_OrderCompanyId)).company_id


@deprecated("v3.orders.get_order")
async def get_order_detail(client: Client, order_id: BCOrderId | str) -> OrderDetail:
    """Get everything that BigCommerce knows of an order.

    Source: v2 Order, "Get Order Detail" (GET /orders/{orderId}/details).

    Args:
        client: The client.
        order_id: The BigCommerce order id.

    Returns:
        The order.

    Raises:
        InvalidArgumentError: *order_id* is empty or would change the path; nothing was sent.
        NotFoundError: the order does not exist.
        B2BError: any other of ``b2b_async.errors``.
    """
    order = arguments.path_id(order_id, "order_id")
    return await client.call(GET_ORDER_DETAIL, {"orderId": order}, into=OrderDetail, check=names("id", order))


@deprecated("v3.orders.list_order_products")
async def get_order_product(client: Client, order_id: BCOrderId | str) -> tuple[OrderProduct, ...]:
    """Get the products of an order.

    Source: v2 Order, "Get Order Product" (GET /orders/{orderId}/products).

    Args:
        client: The client.
        order_id: The BigCommerce order id.

    Returns:
        A line for each product that the server shows; the contract has one alone, without a list around it.

    Raises:
        InvalidArgumentError: *order_id* is empty or would change the path; nothing was sent.
        NotFoundError: the order does not exist.
        B2BError: any other of ``b2b_async.errors``.
    """
    order = arguments.path_id(order_id, "order_id")
    return await client.call(GET_ORDER_PRODUCT, {"orderId": order}, into=tuple[OrderProduct, ...])


def _registration(order_id: BCOrderId | str, total_inc_tax: Decimal, po_number: str | None) -> tuple[bytes, str]:
    """Return the body that registers an order, and the order id in it."""
    order = arguments.text_id(order_id, "order_id")
    total = arguments.money(total_inc_tax, "total_inc_tax")
    body: dict[str, str | Decimal] = {"orderId": order, "totalIncTax": total}
    if po_number is not None:
        body["poNumber"] = arguments.text(po_number, "po_number")
    return arguments.encode_json(body), order


@attrs.frozen
class _OrderCompanyId:
    company_id: CompanyId


@attrs.frozen
class _Registered:
    order_id: str
