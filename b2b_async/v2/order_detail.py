"""The models of v2 "Get Order Detail": the order as the core BigCommerce API has it, passed through.

What the core API gives no documented shape is ``Any``.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import attrs

from b2b_async._record import Record, also
from b2b_async.ids import ChannelId, CustomerId

__all__ = [
    "BillingAddress",
    "DetailedProduct",
    "OrderDetail",
    "ShippingAddress",
]


@attrs.frozen(kw_only=True)
class BillingAddress(Record):
    """Whom the invoice goes to."""

    # Words.
    city: str | None = None
    company: str | None = None
    country: str | None = None
    country_iso2: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    state: str | None = None
    street_one: str | None = attrs.field(default=None, metadata=also("street_1", "street1"))
    street_two: str | None = attrs.field(default=None, metadata=also("street_2", "street2"))
    zip: str | None = None

    # Of no documented shape.
    form_fields: Any = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class ShippingAddress(Record):
    """Where the order goes to, and what that costs: amounts are in the currency of the order."""

    # Ids.
    shipping_zone_id: int | None = None
    id: str | None = None
    order_id: str | None = None

    # Amounts, in the currency of the order.
    base_cost: Decimal | None = None
    base_handling_cost: Decimal | None = None
    cost_ex_tax: Decimal | None = None
    cost_inc_tax: Decimal | None = None
    cost_tax: Decimal | None = None
    handling_cost_ex_tax: Decimal | None = None
    handling_cost_inc_tax: Decimal | None = None
    handling_cost_tax: Decimal | None = None

    # How many.
    items_shipped: int | None = None
    items_total: int | None = None

    # Tax classes.
    cost_tax_class_id: int | None = None
    handling_cost_tax_class_id: int | None = None

    # Words.
    city: str | None = None
    company: str | None = None
    country: str | None = None
    country_iso2: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    shipping_method: str | None = None
    shipping_zone_name: str | None = None
    state: str | None = None
    street_one: str | None = attrs.field(default=None, metadata=also("street_1", "street1"))
    street_two: str | None = attrs.field(default=None, metadata=also("street_2", "street2"))
    zip: str | None = None

    # Of no documented shape.
    form_fields: Any = attrs.field(default=None, hash=False)
    shipping_quotes: Any = attrs.field(default=None, hash=False, metadata=also("shipping_quoteseg", "shippingQuoteseg"))


@attrs.frozen(kw_only=True)
class DetailedProduct(Record):
    """A line of an order, with everything that BigCommerce knows of it.

    Amounts are in the currency of the order; weight and sizes in the units of the store.
    """

    # Ids.
    ebay_item_id: str | None = None
    ebay_transaction_id: str | None = None
    external_id: str | None = None
    external_merchant_id: str | None = None
    id: str | None = None
    option_set_id: str | None = None
    order_address_id: str | None = None
    order_id: str | None = None
    parent_order_product_id: str | None = None
    product_id: str | None = None
    return_id: int | None = None
    tax_provider_id: str | None = None
    variant_id: str | None = None

    # Amounts, in the currency of the order.
    base_cost_price: Decimal | None = None
    base_price: Decimal | None = None
    base_total: Decimal | None = None
    base_wrapping_cost: Decimal | None = None
    cost_price_ex_tax: Decimal | None = None
    cost_price_inc_tax: Decimal | None = None
    cost_price_tax: Decimal | None = None
    fixed_shipping_cost: Decimal | None = None
    price_ex_tax: Decimal | None = None
    price_inc_tax: Decimal | None = None
    price_tax: Decimal | None = None
    refund_amount: Decimal | None = None
    total_ex_tax: Decimal | None = None
    total_inc_tax: Decimal | None = None
    total_tax: Decimal | None = None
    wrapping_cost_ex_tax: Decimal | None = None
    wrapping_cost_inc_tax: Decimal | None = None
    wrapping_cost_tax: Decimal | None = None

    # Rates of exchange.
    store_default_to_transactional_exchange_rate: Decimal | None = None

    # In the store's units.
    depth: Decimal | None = None
    height: Decimal | None = None
    weight: Decimal | None = None
    width: Decimal | None = None

    # How many.
    quantity: int | None = None
    quantity_refunded: int | None = None
    quantity_shipped: int | None = None

    # Yes or no.
    is_bundled_product: bool | None = None
    is_refunded: bool | None = None

    # Words.
    bin_picking_number: str | None = None
    custom_status: str | None = None
    event_date: str | None = None
    event_name: str | None = None
    fulfillment_source: str | None = None
    name: str | None = None
    sku: str | None = None
    store_default_currency_code: str | None = None
    type: str | None = None
    upc: str | None = None
    wrapping_message: str | None = None
    wrapping_name: str | None = None

    # Of no documented shape.
    applied_discounts: Any = attrs.field(default=None, hash=False)
    configurable_fields: Any = attrs.field(default=None, hash=False)
    coupons: Any = attrs.field(default=None, hash=False)
    po_number: Any = attrs.field(default=None, hash=False)
    product_options: Any = attrs.field(default=None, hash=False)
    shipments: Any = attrs.field(default=None, hash=False)
    shipping_address: Any = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class OrderDetail(Record):
    """An order, with everything that BigCommerce knows of it.

    Amounts are in the currency of ``currency_code``; rates of exchange are from it to that of the store.
    """

    STRICT: ClassVar[tuple[str, ...]] = ("id", "customer_id", "total_inc_tax")

    # Ids.
    cart_id: str | None = None
    currency_id: int | None = None
    customer_id: CustomerId | None = None
    default_currency_id: int | None = None
    ebay_order_id: str | None = None
    id: str | None = None
    payment_provider_id: str | None = None
    status_id: int | None = None
    channel_id: ChannelId | None = None
    external_id: str | None = None
    external_merchant_id: str | None = None
    tax_provider_id: str | None = None

    # Amounts, in the currency of the order.
    base_handling_cost: Decimal | None = None
    base_shipping_cost: Decimal | None = None
    base_wrapping_cost: Decimal | None = None
    coupon_discount: Decimal | None = None
    discount_amount: Decimal | None = None
    gift_certificate_amount: Decimal | None = None
    handling_cost_ex_tax: Decimal | None = None
    handling_cost_inc_tax: Decimal | None = None
    handling_cost_tax: Decimal | None = None
    refunded_amount: Decimal | None = None
    shipping_cost_ex_tax: Decimal | None = None
    shipping_cost_inc_tax: Decimal | None = None
    shipping_cost_tax: Decimal | None = None
    store_credit_amount: Decimal | None = None
    subtotal_ex_tax: Decimal | None = None
    subtotal_inc_tax: Decimal | None = None
    subtotal_tax: Decimal | None = None
    total_ex_tax: Decimal | None = None
    total_inc_tax: Decimal | None = None
    total_tax: Decimal | None = None
    wrapping_cost_ex_tax: Decimal | None = None
    wrapping_cost_inc_tax: Decimal | None = None
    wrapping_cost_tax: Decimal | None = None

    # Rates of exchange.
    currency_exchange_rate: Decimal | None = None
    store_default_to_transactional_exchange_rate: Decimal | None = None

    # How many.
    items_shipped: int | None = None
    items_total: int | None = None
    shipping_address_count: int | None = None

    # Times.
    date_created: datetime | None = None
    date_modified: datetime | None = None
    date_shipped: datetime | None = None

    # Yes or no.
    is_deleted: bool | None = None
    is_email_opt_in: bool | None = None
    order_is_digital: bool | None = None

    # Tax classes.
    handling_cost_tax_class_id: int | None = None
    shipping_cost_tax_class_id: int | None = None
    wrapping_cost_tax_class_id: int | None = None

    # Words.
    credit_card_type: str | None = None
    currency_code: str | None = None
    customer_message: str | None = None
    default_currency_code: str | None = None
    external_source: str | None = None
    geoip_country: str | None = None
    geoip_country_iso2: str | None = None
    ip_address: str | None = None
    order_source: str | None = None
    payment_method: str | None = None
    payment_status: str | None = None
    staff_notes: str | None = None
    status: str | None = None
    channel_name: str | None = None
    custom_status: str | None = None
    po_number: str | None = None
    store_default_currency_code: str | None = None

    # Of no documented shape.
    coupons: Any = attrs.field(default=None, hash=False)
    shipments: Any = attrs.field(default=None, hash=False)
    shipping_addresses: Any = attrs.field(default=None, hash=False)

    # Its parts.
    billing_address: BillingAddress | None = None
    shipping_address: ShippingAddress | None = None
    products: tuple[DetailedProduct, ...] = ()
