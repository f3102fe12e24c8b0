"""What v2 "Update Company Order With BC OrderId" takes. A field that is ``OMITTED`` is not sent; None is sent as null.

The vendor takes all values as strings; amounts are written with just their digits, numbers and yes or no as 1 and 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async import _arguments as arguments
from b2b_async._arguments import OMITTED, Omitted
from b2b_async._record import camel
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Amount",
    "BillingAddressChanges",
    "Count",
    "Flag",
    "OrderChanges",
    "ProductChanges",
    "Text",
    "changed",
]

Text = str | Omitted | None
"""A text, or an id, in the vendor's words."""
Amount = Decimal | Omitted | None
"""An amount, in the currency of the order."""
Count = int | Omitted | None
"""How many."""
Flag = bool | Omitted | None
"""Yes or no."""


_WRITE = "write"


def _written(write: Callable[[object, str], arguments.JSONOut]) -> Any:  # noqa: ANN401 -- attrs takes it for any field
    """Make a field that is omitted unless it is set, and say how its value is checked and written."""
    return attrs.field(default=OMITTED, metadata={_WRITE: write})


def _write_amount(value: object, path: str) -> str | None:
    return None if value is None else format(arguments.money(value, path), "f")


def _write_count(value: object, path: str) -> str | None:
    return None if value is None else str(arguments.within(value, path, 0))


def _write_flag(value: object, path: str) -> str | None:
    return None if value is None else str(int(arguments.flag(value, path)))


def _write_address(value: object, path: str) -> arguments.JSONOut:
    return changed(value, path, BillingAddressChanges)


def _write_products(value: object, path: str) -> arguments.JSONOut:
    lines = arguments.several(value, path)
    return [changed(line, f"{path}[{number}]", ProductChanges) for number, line in enumerate(lines)]


_text, _amount = partial(_written, arguments.new_text), partial(_written, _write_amount)
_count, _flag = partial(_written, _write_count), partial(_written, _write_flag)


@attrs.frozen(kw_only=True)
class BillingAddressChanges:
    """What changes of the address that the invoice goes to."""

    first_name: Text = _text()
    last_name: Text = _text()
    company: Text = _text()
    street_one: Text = _text()
    street_two: Text = _text()
    city: Text = _text()
    state: Text = _text()
    zip: Text = _text()
    country: Text = _text()
    country_iso2: Text = _text()
    phone: Text = _text()
    email: Text = _text()
    form_fields: Text = _text()


@attrs.frozen(kw_only=True)
class ProductChanges:
    """What changes of a line of the order."""

    product_id: Text = _text()
    variant_id: Text = _text()
    name: Text = _text()
    sku: Text = _text()
    upc: Text = _text()
    product_options: Text = _text()
    quantity: Count = _count()
    # In the currency of the order.
    price_ex_tax: Amount = _amount()
    price_inc_tax: Amount = _amount()


@attrs.frozen(kw_only=True)
class OrderChanges:
    """What changes of an order."""

    # Amounts, in the currency of the order.
    base_handling_cost: Amount = _amount()
    base_shipping_cost: Amount = _amount()
    base_wrapping_cost: Amount = _amount()
    discount_amount: Amount = _amount()
    gift_certificate_amount: Amount = _amount()
    handling_cost_ex_tax: Amount = _amount()
    handling_cost_inc_tax: Amount = _amount()
    refunded_amount: Amount = _amount()
    shipping_cost_ex_tax: Amount = _amount()
    shipping_cost_inc_tax: Amount = _amount()
    subtotal_ex_tax: Amount = _amount()
    subtotal_inc_tax: Amount = _amount()
    total_ex_tax: Amount = _amount()
    wrapping_cost_ex_tax: Amount = _amount()
    wrapping_cost_inc_tax: Amount = _amount()

    # How many.
    items_shipped: Count = _count()
    items_total: Count = _count()

    # Yes or no.
    is_deleted: Flag = _flag()
    order_is_digital: Flag = _flag()

    # Words and ids.
    channel_id: Text = _text()
    credit_card_type: Text = _text()
    customer_message: Text = _text()
    date_created: Text = _text()
    ebay_order_id: Text = _text()
    external_id: Text = _text()
    external_merchant_id: Text = _text()
    external_source: Text = _text()
    geoip_country: Text = _text()
    geoip_country_iso2: Text = _text()
    ip_address: Text = _text()
    payment_method: Text = _text()
    payment_provider_id: Text = _text()
    po_number: Text = _text()
    staff_notes: Text = _text()
    status_id: Text = _text()
    tax_provider_id: Text = _text()

    # Its parts.
    billing_address: BillingAddressChanges | Omitted = _written(_write_address)
    products: Sequence[ProductChanges] | Omitted = _written(_write_products)


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
        value = getattr(changes, field.name)
        if not isinstance(value, Omitted):
            body[camel(field.name)] = field.metadata[_WRITE](value, f"{path}.{field.name}")
    if not body:
        message = f"{path} changes nothing"
        raise InvalidArgumentError(message)
    return body
