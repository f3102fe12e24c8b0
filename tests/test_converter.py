"""The converter: nested data, and faults named by their JSON path."""

from __future__ import annotations

import attrs
import pytest

from b2b_async._converter import MisfitError, structure
from b2b_async._record import camel


@attrs.frozen
class _Line:
    product_id: int
    sku: str = ""
    hidden: bool = False


@attrs.frozen
class _Basket:
    line_items: list[_Line]


def test_names_become_camel_case() -> None:
    """The vendor writes camelCase."""
    assert [camel(name) for name in ("id", "order_id", "total_inc_tax", "line_2")] == [
        "id",
        "orderId",
        "totalIncTax",
        "line2",
    ]


def test_nested_data_are_made() -> None:
    """Lists of objects work, with integers in strings, strings in integers, and fields left out."""
    data = {"lineItems": [{"productId": "-7", "sku": 5}, {"productId": 8, "hidden": True}], "other": 1}

    assert structure(data, _Basket) == _Basket([_Line(-7, "5"), _Line(8, hidden=True)])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "$.data.lineItems is missing"),
        ([], "$.data must be an object, not []"),
        (
            {"lineItems": [{"productId": 1}, {"productId": "x"}, {"sku": []}]},
            (
                "$.data.lineItems[1].productId must be an integer, not 'x'; "
                "$.data.lineItems[2].productId is missing; $.data.lineItems[2].sku must be a string, not []"
            ),
        ),
        (
            {"lineItems": [{"productId": 1, "hidden": 2}]},
            "$.data.lineItems[0].hidden must be true or false, not 2",
        ),
        ({"lineItems": [3]}, "$.data.lineItems[0] must be an object, not 3"),
    ],
)
def test_every_fault_is_named(data: object, text: str) -> None:
    """Not only the first one."""
    with pytest.raises(MisfitError) as caught:
        structure(data, _Basket)

    assert str(caught.value) == text
