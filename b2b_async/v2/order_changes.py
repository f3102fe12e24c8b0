"""What v2 "Update Company Order With BC OrderId" takes. A field that is ``OMITTED`` is not sent; None is sent as null.

The vendor takes all values as strings; amounts are written with just their digits, numbers and yes or no as 1 and 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from b2b_async import _arguments as arguments
from b2b_async._arguments import OMITTED, Omitted
from b2b_async._record import camel
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from decimal import Decimal

    Text = str | Omitted | None
    Amount = Decimal | Omitted | None
    Count = int | Omitted | None
    Flag = bool | Omitted | None


@attrs.frozen(kw_only=True)
class BillingAddressChanges:
    """What changes of the address that the invoice goes to."""

    first_name: Text = OMITTED
    last_name: Text = OMITTED
    company: Text = OMITTED
    street_one: Text = OMITTED
    street_two: Text = OMITTED
    city: Text = OMITTED
    state: Text = OMITTED
    zip: Text = OMITTED
    country: Text = OMITTED
    country_iso2: Text = OMITTED
    phone: Text = OMITTED
    email: Text = OMITTED
    form_fields: Text = OMITTED


@attrs.frozen(kw_only=True)
class ProductChanges:
    """What changes of a line of the order."""

    product_id: Text = OMITTED
    variant_id: Text = OMITTED
    name: Text = OMITTED
    sku: Text = OMITTED
    upc: Text = OMITTED
    product_options: Text = OMITTED
    quantity: Count = OMITTED
    # In the currency of the order.
    price_ex_tax: Amount = OMITTED
    price_inc_tax: Amount = OMITTED


@attrs.frozen(kw_only=True)
class OrderChanges:
    """What changes of an order."""

    # Amounts, in the currency of the order.
    base_handling_cost: Amount = OMITTED
    base_shipping_cost: Amount = OMITTED
    base_wrapping_cost: Amount = OMITTED
    discount_amount: Amount = OMITTED
    gift_certificate_amount: Amount = OMITTED
    handling_cost_ex_tax: Amount = OMITTED
    handling_cost_inc_tax: Amount = OMITTED
    refunded_amount: Amount = OMITTED
    shipping_cost_ex_tax: Amount = OMITTED
    shipping_cost_inc_tax: Amount = OMITTED
    subtotal_ex_tax: Amount = OMITTED
    subtotal_inc_tax: Amount = OMITTED
    total_ex_tax: Amount = OMITTED
    wrapping_cost_ex_tax: Amount = OMITTED
    wrapping_cost_inc_tax: Amount = OMITTED

    # How many.
    items_shipped: Count = OMITTED
    items_total: Count = OMITTED

    # Yes or no.
    is_deleted: Flag = OMITTED
    order_is_digital: Flag = OMITTED

    # Words and ids.
    channel_id: Text = OMITTED
    credit_card_type: Text = OMITTED
    customer_message: Text = OMITTED
    date_created: Text = OMITTED
    ebay_order_id: Text = OMITTED
    external_id: Text = OMITTED
    external_merchant_id: Text = OMITTED
    external_source: Text = OMITTED
    geoip_country: Text = OMITTED
    geoip_country_iso2: Text = OMITTED
    ip_address: Text = OMITTED
    payment_method: Text = OMITTED
    payment_provider_id: Text = OMITTED
    po_number: Text = OMITTED
    staff_notes: Text = OMITTED
    status_id: Text = OMITTED
    tax_provider_id: Text = OMITTED

    # Its parts.
    billing_address: BillingAddressChanges | Omitted = OMITTED
    products: Sequence[ProductChanges] | Omitted = OMITTED


def changed(changes: object, path: str = "changes", kind: type[Any] = OrderChanges) -> dict[str, arguments.JSONOut]:
    """Give what is not omitted in the vendor's form.

    Raises:
        InvalidArgumentError: *changes* is not of this *kind*, a value is of another type than its field, or there is
            nothing to change.
    """
    if not isinstance(changes, kind):
        message = f"{path} must be {kind.__name__}, not {arguments.shown(changes)}"
        raise InvalidArgumentError(message)
    body: dict[str, arguments.JSONOut] = {}
    for field in attrs.fields(kind):
        value, place = getattr(changes, field.name), f"{path}.{field.name}"
        if not isinstance(value, Omitted):
            body[camel(field.name)] = _WRITERS[str(field.type)](value, place)
    if not body:
        message = f"{path} changes nothing"
        raise InvalidArgumentError(message)
    return body


def _amount(value: object, path: str) -> str | None:
    return None if value is None else format(arguments.money(value, path), "f")


def _count(value: object, path: str) -> str | None:
    return None if value is None else str(arguments.within(value, path, 0))


def _flag(value: object, path: str) -> str | None:
    return None if value is None else str(int(arguments.flag(value, path)))


def _address(value: object, path: str) -> arguments.JSONOut:
    return changed(value, path, BillingAddressChanges)


def _products(value: object, path: str) -> arguments.JSONOut:
    lines = arguments.several(value, path)
    return [changed(line, f"{path}[{number}]", ProductChanges) for number, line in enumerate(lines)]


_WRITERS: Final[dict[str, Callable[[object, str], arguments.JSONOut]]] = {
    "Text": arguments.new_text,
    "Amount": _amount,
    "Count": _count,
    "Flag": _flag,
    "BillingAddressChanges | Omitted": _address,
    "Sequence[ProductChanges] | Omitted": _products,
}
"""How the values of a field are written, by the type that stands beside it above."""
