"""v3 Orders.

An order has two ids: the one that BigCommerce gave it (``BCOrderId``), which all endpoints take, and that of its record
in B2B Edition (``B2BOrderId``), which is only shown.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, Literal

import attrs

from b2b_async import _arguments as arguments
from b2b_async._arguments import OMITTED, Omitted
from b2b_async._envelope import names
from b2b_async._messages import Operation
from b2b_async._record import Record
from b2b_async.errors import InvalidArgumentError
from b2b_async.ids import (
    B2BOrderId,
    BCGroupId,
    BCOrderId,
    ChannelId,
    CompanyId,
    CustomerId,
)
from b2b_async.v3._extra_field import ExtraField

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async._envelope import Envelope
    from b2b_async._pagination import Listing
    from b2b_async.client import Client

__all__ = [
    "ASSIGN_CUSTOMER_ORDERS",
    "CREATE_ORDER",
    "GET_ORDER",
    "LARGEST_PAGE",
    "LIST_ORDERS",
    "LIST_ORDER_EXTRA_FIELD_CONFIGS",
    "LIST_ORDER_PRODUCTS",
    "REASSIGN_ORDERS",
    "UPDATE_ORDER",
    "AddressIds",
    "AssignedOrders",
    "ExtraField",
    "Money",
    "Order",
    "OrderExtraFieldConfig",
    "OrderProduct",
    "ProductOption",
    "assign_customer_orders",
    "create_order",
    "get_order",
    "list_order_extra_field_configs",
    "list_order_products",
    "list_orders",
    "reassign_orders",
    "update_order",
]

LIST_ORDERS = Operation("List Orders", "v3", "GET", "/orders")
CREATE_ORDER = Operation("Create Order", "v3", "POST", "/orders")
GET_ORDER = Operation("Get Order", "v3", "GET", "/orders/{bcOrderId}")
UPDATE_ORDER = Operation("Update Order", "v3", "PUT", "/orders/{bcOrderId}")
REASSIGN_ORDERS = Operation(
    "Reassign Orders to Different Company",
    "v3",
    "PUT",
    "/customers/{customerId}/orders/company",
)
LIST_ORDER_PRODUCTS = Operation("List Order Products", "v3", "GET", "/orders/{bcOrderId}/products")
ASSIGN_CUSTOMER_ORDERS = Operation(
    "Assign Customer Orders to Company", "v3", "PUT", "/customers/{customerId}/orders/b2b", data_optional=True
)
LIST_ORDER_EXTRA_FIELD_CONFIGS = Operation("List Order Extra Field Configs", "v3", "GET", "/orders/extra-fields")

LARGEST_PAGE = 200
"""Orders, or extra fields, that a page may have."""


@attrs.frozen(kw_only=True)
class Money(Record):
    """How amounts of an order's currency are written."""

    currency_location: str | None = None
    """Where the sign of the currency stands: "left" or "right"."""
    currency_token: str | None = None
    """The sign of the currency."""
    decimal_token: str | None = None
    """What separates whole units from parts of them."""
    decimal_places: int | None = None
    """Digits behind it."""
    thousands_token: str | None = None
    """What separates thousands."""


@attrs.frozen(kw_only=True)
class AddressIds(Record):
    """The addresses of an order, by their B2B ids."""

    billing_address_id: int | None = None
    """The id of the billing address."""
    shipping_address_id: int | None = None
    """The id of the shipping address."""


@attrs.frozen(kw_only=True)
class Order(Record):
    """An order, as B2B Edition knows it."""

    STRICT: ClassVar[tuple[str, ...]] = ("company_id", "total_inc_tax")

    bc_order_id: BCOrderId
    """The BigCommerce order id: the one that endpoints take."""
    id: B2BOrderId | None = None
    """The id of B2B Edition's record of the order, which no endpoint takes."""
    company_id: CompanyId | None = None
    """The company that it is registered with, by its B2B company id; None for none."""
    total_inc_tax: Decimal | None = None
    """The total with tax, in the currency of ``currency_code``."""
    usd_inc_tax: Decimal | None = None
    """The total with tax, in US dollars."""
    currency_code: str | None = None
    """The currency, by its ISO 4217 code."""
    money: tuple[Money, ...] = ()
    """How amounts of that currency are written."""
    po_number: str | None = None
    """The purchase order number."""
    items: int | None = None
    """How many articles were ordered."""
    status: str | None = None
    """The status, in BigCommerce's words."""
    custom_status: str | None = None
    """The status, in the store's own words."""
    status_code: int | None = None
    """The number of the status in BigCommerce."""
    is_archived: bool | None = None
    """Whether it is archived."""
    cart_id: str | None = None
    """The cart that it was made of."""
    channel_id: ChannelId | None = None
    """The channel (storefront) that it came by."""
    channel_name: str | None = None
    """The name of that channel."""
    is_invoice_order: bool | None = None
    """Whether it pays an invoice. Only single orders show it."""
    invoice_id: int | None = None
    """The id of its invoice. Only single orders show it."""
    invoice_number: str | None = None
    """The number of its invoice, as the store writes it: "000123", "INV-1001". Only single orders show it."""
    invoice_status: int | None = None
    """The status of its invoice. Only single orders show it."""
    extra_fields: tuple[ExtraField, ...] = ()
    """Extra fields; in a list only if they are asked for."""
    extra_info: tuple[AddressIds, ...] = ()
    """Its addresses; in a list only if extra fields are asked for."""
    extra_int1: int | None = None
    """A company's extra field of older stores, as the following ones are."""
    extra_int2: int | None = None
    extra_int3: int | None = None
    extra_int4: int | None = None
    extra_int5: int | None = None
    extra_str1: str | None = None
    extra_str2: str | None = None
    extra_str3: str | None = None
    extra_str4: str | None = None
    extra_str5: str | None = None
    extra_text: str | None = None
    created_at: datetime | None = None
    """When it was placed."""
    updated_at: datetime | None = None
    """When it was changed last."""


@attrs.frozen(kw_only=True)
class ProductOption(Record):
    """What a buyer chose of a product's options."""

    id: int | None = None
    """The id of this choice."""
    option_id: int | None = None
    """The id of the option."""
    product_option_id: int | None = None
    """The id of the option of the product."""
    order_product_id: int | None = None
    """The id of the order's line."""
    display_name: str | None = None
    """What the option is called."""
    display_name_customer: str | None = None
    """What buyers see that it is called."""
    display_name_merchant: str | None = None
    """What the merchant sees that it is called."""
    display_value: str | None = None
    """What was chosen."""
    display_value_customer: str | None = None
    """What buyers see that was chosen."""
    display_value_merchant: str | None = None
    """What the merchant sees that was chosen."""
    value: str | None = None
    """The id of what was chosen, or the text that was written."""
    type: str | None = None
    """The kind of option."""
    name: str | None = None
    """The option's internal name."""
    display_style: str | None = None
    """How it is shown."""


@attrs.frozen(kw_only=True)
class OrderProduct(Record):
    """A line of an order."""

    id: int | None = None
    """The id of the line."""
    product_id: int | None = None
    """The BigCommerce product id."""
    variant_id: int | None = None
    """The BigCommerce variant id."""
    product_name: str | None = None
    """What it is called."""
    product_brand_name: str | None = None
    """Its brand."""
    variant_sku: str | None = None
    """The SKU of the variant."""
    quantity: int | None = None
    """How many were ordered."""
    options: tuple[ProductOption, ...] = ()
    """What was chosen of its options."""
    created_at: datetime | None = None
    """When the line was made."""
    updated_at: datetime | None = None
    """When it was changed last."""


@attrs.frozen(kw_only=True)
class OrderExtraFieldConfig(Record):
    """An extra field that orders of the store have."""

    field_name: str
    """Its name, as ``ExtraField.field_name`` has it."""
    id: int | None = None
    """Its id."""
    uuid: str | None = None
    """An id from another system."""
    field_type: int | None = None
    """0 text, 1 several lines of text, 2 a number, 3 one of ``list_of_values``."""
    is_required: bool | None = None
    """Whether an order must have a value."""
    is_unique: bool | None = None
    """Whether no two orders may have the same value."""
    visible_to_enduser: bool | None = None
    """Whether buyers see it."""
    config_type: int | None = None
    """A number of the vendor's; the contract does not say what it means."""
    default_value: str | None = None
    """The value of an order that names none."""
    label_name: str | None = None
    """What people read."""
    maximum_length: int | None = None
    """Characters that a text may have."""
    number_of_rows: int | None = None
    """Lines that are shown of a text of several lines."""
    maximum_value: Decimal | None = None
    """The largest number that is allowed."""
    list_of_values: tuple[str, ...] = ()
    """The values to choose from."""


@attrs.frozen
class AssignedOrders(Record):
    """What an assignment did."""

    total: int | None = None
    """Orders that the server assigned before it answered; 0 if all of them were assigned before; None if the server
    reported success without a number.

    Where an attempt was repeated because its answer was lost, the lost one may have assigned them."""


def list_orders(
    client: Client,
    *,
    company_id: CompanyId | None = None,
    bc_order_id: BCOrderId | None = None,
    min_created: datetime | None = None,
    max_created: datetime | None = None,
    min_modified: datetime | None = None,
    max_modified: datetime | None = None,
    channel_ids: Iterable[ChannelId] | None = None,
    show_extra: bool = False,
    sort_by: Literal["createdAt", "updatedAt"] | None = None,
    order_by: Literal["ASC", "DESC"] | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Listing[Order]:
    """List orders. Nothing is sent until the list is awaited or iterated.

    Source: v3 Orders, "List Orders" (GET /orders).
    **Without min_created or min_modified the server hides what is older than a year; without channel_ids, by the
    contract, what came by another channel than 1.**

    Args:
        client: The client.
        company_id: Only those of this company, by its B2B company id.
        bc_order_id: Only this one, by its BigCommerce order id.
        min_created: Only those placed after this time.
        max_created: Only those placed before this time.
        min_modified: Only those changed after this time.
        max_modified: Only those changed before this time.
        channel_ids: Only those of these channels (storefronts); None for the server's choice.
        show_extra: With extra fields and the addresses' ids.
        sort_by: The time that the list is sorted by. None is the server's choice for one page, "updatedAt", and
            "createdAt" for all pages, so that orders that are placed meanwhile come at the end and move no others.
        order_by: Oldest ("ASC") or newest ("DESC") first. None is the server's choice for one page, "DESC", and "ASC"
            for all pages.
        limit: The size of a page, 1 to 200; by default 10 for one page, and 200 for all pages.
        offset: Orders before the first one.

    Returns:
        A ``Listing``: await it for one page, iterate over it for all orders, or ask for its ``items``.
        Each order comes once; a warning is logged, and ``missed`` says so, if some may have been missed.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        B2BError: any other of ``b2b_async.errors``, when a page is fetched.
    """
    query: dict[str, str | list[str]] = {
        **arguments.time_filters(
            min_created=min_created, max_created=max_created, min_modified=min_modified, max_modified=max_modified
        )
    }
    if company_id is not None:
        query["companyId"] = str(arguments.number_id(company_id, "company_id"))
    if bc_order_id is not None:
        query["bcOrderId"] = str(arguments.number_id(bc_order_id, "bc_order_id"))
    if channel_ids is not None:
        channels = arguments.several(channel_ids, "channel_ids")
        query["channelIds[]"] = [str(arguments.number_id(one, "each of channel_ids")) for one in channels]
    if arguments.flag(show_extra, "show_extra"):
        query["showExtra"] = "true"
    if sort_by is not None:
        query["sortBy"] = arguments.choice(sort_by, "sort_by", "createdAt", "updatedAt")
    if order_by is not None:
        query["orderBy"] = arguments.choice(order_by, "order_by", "ASC", "DESC")
    return client.listing(
        LIST_ORDERS,
        into=Order,
        key=lambda order: order.bc_order_id,
        largest=LARGEST_PAGE,
        limit=limit,
        offset=offset,
        query=query,
        query_of_all={"sortBy": "createdAt", "orderBy": "ASC"},
    )


async def create_order(
    client: Client,
    *,
    bc_order_id: BCOrderId,
    customer_id: CustomerId,
    po_number: str | None = None,
    extra_fields: Iterable[ExtraField] | None = None,
) -> Order:
    """Make B2B Edition's record of an order that a buyer has just placed, to add what the vendor's own would not have.

    Source: v3 Orders, "Create Order" (POST /orders). It places no order. **It must arrive within ten seconds of the
    order**: then B2B Edition has made the record itself, and the server refuses with 400; ``update_order`` will do.
    Not idempotent: when the answer is lost it is not sent again, and not looked up either, since a record that is
    found may be B2B Edition's own; read it with ``get_order``.

    Args:
        client: The client.
        bc_order_id: The BigCommerce order id.
        customer_id: The buyer's BigCommerce customer id.
        po_number: The purchase order number; left out if None.
        extra_fields: Extra fields and their values.

    Returns:
        The record.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        BadRequestError: the record exists already, or a field is refused.
        AmbiguousOutcomeError: the answer is lost.
        B2BError: any other of ``b2b_async.errors``.
    """
    body: dict[str, arguments.JSONOut] = {
        "bcOrderId": arguments.number_id(bc_order_id, "bc_order_id"),
        "customerId": arguments.number_id(customer_id, "customer_id"),
    }
    if po_number is not None:
        body["poNumber"] = arguments.text(po_number, "po_number")
    if extra_fields is not None:
        body["extraFields"] = _extra_fields(extra_fields)
    return await client.call(CREATE_ORDER, body=arguments.encode_json(body), into=Order)


async def get_order(client: Client, bc_order_id: BCOrderId) -> Order:
    """Get one order.

    Source: v3 Orders, "Get Order" (GET /orders/{bcOrderId}).

    Args:
        client: The client.
        bc_order_id: The BigCommerce order id, not the ``id`` of B2B Edition's record.

    Returns:
        The order.

    Raises:
        InvalidArgumentError: *bc_order_id* is not a positive integer; nothing was sent.
        NotFoundError: B2B Edition has no record of it (yet).
        ResponseValidationError: the server says yes, and shows no order, or several.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(bc_order_id, "bc_order_id")
    return await client.call(GET_ORDER, {"bcOrderId": number}, into=Order, check=names("bcOrderId", number))


async def update_order(
    client: Client,
    bc_order_id: BCOrderId,
    *,
    po_number: str | Omitted | None = OMITTED,
    extra_fields: Iterable[ExtraField] | Omitted | None = OMITTED,
) -> Order:
    """Change what B2B Edition knows of an order.

    Source: v3 Orders, "Update Order" (PUT /orders/{bcOrderId}). Idempotent: repeating it is safe.

    Args:
        client: The client.
        bc_order_id: The BigCommerce order id, not the ``id`` of B2B Edition's record.
        po_number: The purchase order number; None is sent as null, ``OMITTED`` leaves it as it is.
        extra_fields: Extra fields and their values; None is sent as null, ``OMITTED`` leaves them as they are.
            The vendor does not say whether those that are not named stay; a store with required extra fields wants
            those in every update.

    Returns:
        The order after the change.

    Raises:
        InvalidArgumentError: an argument cannot be used, or there is nothing to change; nothing was sent.
        NotFoundError: B2B Edition has no record of it (yet).
        UnprocessableEntityError: an extra field is refused, or a required one is missing.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(bc_order_id, "bc_order_id")
    body: dict[str, arguments.JSONOut] = {}
    if not isinstance(po_number, Omitted):
        body["poNumber"] = arguments.new_text(po_number, "po_number")
    if not isinstance(extra_fields, Omitted):
        body["extraFields"] = None if extra_fields is None else _extra_fields(extra_fields)
    if not body:
        message = "update_order needs po_number or extra_fields: there is nothing to change"
        raise InvalidArgumentError(message)
    check = names("bcOrderId", number)
    return await client.call(
        UPDATE_ORDER, {"bcOrderId": number}, body=arguments.encode_json(body), into=Order, check=check
    )


async def reassign_orders(client: Client, customer_id: CustomerId, *, bc_group_id: BCGroupId) -> AssignedOrders:
    """Move all orders of a buyer to another company. The buyer stays where they are.

    Source: v3 Orders, "Reassign Orders to Different Company" (PUT /customers/{customerId}/orders/company).
    For stores with the legacy behaviour "Dependent Companies" only. Idempotent: repeating it is safe.

    Args:
        client: The client.
        customer_id: The buyer's BigCommerce customer id, not the B2B user id.
        bc_group_id: The BigCommerce customer group of the company that gets the orders: its ``bc_group_id``.

    Returns:
        How many orders were moved, if the server says so.

    Raises:
        InvalidArgumentError: an id is not a positive integer; nothing was sent.
        NotFoundError: the customer does not exist, or the store does not support it.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(customer_id, "customer_id")
    body = arguments.encode_json({"bcGroupId": arguments.number_id(bc_group_id, "bc_group_id")})
    return await client.call(
        REASSIGN_ORDERS, {"customerId": number}, body=body, into=AssignedOrders, check=_impossible_total
    )


async def list_order_products(client: Client, bc_order_id: BCOrderId) -> tuple[OrderProduct, ...]:
    """List the products of an order, all of them.

    Source: v3 Orders, "List Order Products" (GET /orders/{bcOrderId}/products).

    Args:
        client: The client.
        bc_order_id: The BigCommerce order id, not the ``id`` of B2B Edition's record.

    Returns:
        A line for each product.

    Raises:
        InvalidArgumentError: *bc_order_id* is not a positive integer; nothing was sent.
        NotFoundError: B2B Edition has no record of the order (yet).
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(bc_order_id, "bc_order_id")
    return await client.call(LIST_ORDER_PRODUCTS, {"bcOrderId": number}, into=tuple[OrderProduct, ...])


async def assign_customer_orders(client: Client, customer_id: CustomerId) -> AssignedOrders:
    """Associate all orders of a buyer with the Company account that the buyer belongs to.

    Source: v3 Orders, "Assign Customer Orders to Company" (PUT /customers/{customerId}/orders/b2b).
    Idempotent: repeating it is safe.

    Args:
        client: The client.
        customer_id: The buyer's BigCommerce customer id, not the B2B user id.

    Returns:
        How many orders were assigned, if the server says so.

    Raises:
        InvalidArgumentError: *customer_id* is not a positive integer; nothing was sent.
        NotFoundError: the customer does not exist, or belongs to no company.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(customer_id, "customer_id")
    return await client.call(
        ASSIGN_CUSTOMER_ORDERS, {"customerId": number}, body=b"{}", into=AssignedOrders, check=_impossible_total
    )


def list_order_extra_field_configs(
    client: Client, *, limit: int | None = None, offset: int = 0
) -> Listing[OrderExtraFieldConfig]:
    """List the extra fields that orders of the store have. Nothing is sent until the list is awaited or iterated.

    Source: v3 Orders, "List Order Extra Field Configs" (GET /orders/extra-fields).

    Args:
        client: The client.
        limit: The size of a page, 1 to 200; by default 10 for one page, and 200 for all pages.
        offset: Extra fields before the first one.

    Returns:
        A ``Listing``: await it for one page, iterate over it for all extra fields, or ask for its ``items``.
        Each extra field comes once; a warning is logged, and ``missed`` says so, if some may have been missed.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        B2BError: any other of ``b2b_async.errors``, when a page is fetched.
    """
    return client.listing(
        LIST_ORDER_EXTRA_FIELD_CONFIGS,
        into=OrderExtraFieldConfig,
        key=lambda config: config.field_name,
        largest=LARGEST_PAGE,
        limit=limit,
        offset=offset,
    )


def _impossible_total(envelope: Envelope) -> str | None:
    """Return what is wrong with the number of orders in a response that reports success."""
    total = str(envelope.only_object.get("total", "")).strip()
    return "the number of orders in its data is negative" if total.startswith("-") else None


def _extra_fields(fields: object) -> list[arguments.JSONOut]:
    body: list[arguments.JSONOut] = []
    for number, field in enumerate(arguments.several(fields, "extra_fields", empty=True)):
        if not isinstance(field, ExtraField):
            message = f"extra_fields[{number}] must be an ExtraField, not {arguments.shown(field)}"
            raise InvalidArgumentError(message)
        name = arguments.text(field.field_name, f"extra_fields[{number}].field_name")
        body.append({"fieldName": name, "fieldValue": arguments.new_text(field.field_value, f"the value of {name}")})
    return body
