"""The converter: nested data, and faults named by their JSON path."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime
from decimal import Context, Decimal, FloatOperation, localcontext
from typing import Any

import attrs
import pytest

from b2b_async._converter import MisfitError, structure, structure_rows
from b2b_async._record import Record, also, camel


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


@attrs.frozen(kw_only=True)
class _Price(Record):
    amount: Decimal | None = None
    since: datetime | None = None
    old: bool | None = None
    note: str | None = None


@attrs.frozen(kw_only=True)
class _Article(Record):
    ANY_CASE = True

    sku_code: str = attrs.field(metadata=also("SKU"))
    prices: tuple[_Price, ...] = ()
    best: _Price | None = None
    anything: Any = attrs.field(default=None, hash=False)


def price(**fields: Any) -> _Price:
    """Make a price of what a server sends."""
    return structure(fields, _Price)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (100, "100"),
        ("100.0000", "100.0000"),
        (Decimal("0.10"), "0.10"),
        ("-3.5", "-3.5"),
        (0, "0"),
        ("", None),
        (None, None),
        (Decimal("1E+3"), "1E+3"),
    ],
)
def test_amounts_keep_their_digits(value: object, amount: str | None) -> None:
    """Whatever decimal context the caller has set."""
    with localcontext(Context(prec=2, traps=[FloatOperation])):
        made = price(amount=value).amount

    assert (None if made is None else str(made)) == amount


@pytest.mark.parametrize(
    "value", [True, "1e5", "ten", "1,000", Decimal("1E+99"), Decimal("1E-50"), Decimal("NaN"), [1], {"a": 1}, "9" * 99]
)
def test_what_is_no_amount_is_told(value: object) -> None:
    """With its path."""
    with pytest.raises(MisfitError, match=r"\$\.data\.amount must be an amount, not "):
        price(amount=value)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_744_735_719, datetime(2025, 4, 15, 16, 48, 39, tzinfo=UTC)),
        ("1744735719", datetime(2025, 4, 15, 16, 48, 39, tzinfo=UTC)),
        (Decimal("1744735719.25"), datetime(2025, 4, 15, 16, 48, 39, 250_000, tzinfo=UTC)),
        ("Tue, 29 Oct 2019 12:33:25 +0000", datetime(2019, 10, 29, 12, 33, 25, tzinfo=UTC)),
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("", None),
        ([], None),
    ],
)
def test_times_have_a_zone(value: object, moment: datetime | None) -> None:
    """The raw value stays at hand."""
    made = price(since=value)

    assert made.since == moment
    assert made.raw["since"] == value


@pytest.mark.parametrize(
    "value", ["soon", True, "2026-01-01T00:00:00", "Tue, 29 Oct 2019 12:33:25 CET", 10**15, "1" * 29, [1]]
)
def test_what_is_no_time_is_told(value: object) -> None:
    """A time without its zone could be any of many."""
    with pytest.raises(MisfitError, match=r"\$\.data\.since must be a time, in Unix seconds or with its zone, not "):
        price(since=value)


def test_odd_values_of_other_kinds() -> None:
    """Yes and no in words, numbers as texts, halves of nothing."""
    assert [price(old=value).old for value in (True, 0, "1", "False", "")] == [True, False, True, False, None]
    assert [price(note=value).note for value in ("", 5, Decimal("12.50"), None)] == ["", "5", "12.50", None]
    for wrong in (2, "yes", [1]):
        with pytest.raises(MisfitError, match="must be true or false"):
            price(old=wrong)
    with pytest.raises(MisfitError, match="must be a string"):
        price(note=True)
    assert structure({"productId": Decimal("3.0")}, _Line).product_id == 3
    for wrong in ("\u0661\u0662", "1_0", " 1", "1" * 31, Decimal("1.5"), Decimal("1E+50")):
        with pytest.raises(MisfitError, match="must be an integer"):
            structure({"productId": wrong}, _Line)


def test_a_record_keeps_what_it_was_made_of() -> None:
    """By all names of its fields; what has no field is extra; null and missing are told apart."""
    raw = {"SKU": "A", "prices": [{"amount": 1, "new": 2}], "Best": 1, "best": {"note": None}, "anything": {"x": []}}
    made = structure(raw, _Article)

    assert made == _Article(sku_code="A", prices=(_Price(amount=Decimal(1)),), best=_Price(), anything={"x": []})
    assert made.raw == raw
    assert made.extra == {"Best": 1}
    assert made.prices[0].extra == {"new": 2}
    assert made.best is not None
    assert ("note" in made.best.raw, "amount" in made.best.raw) == (True, False)
    assert "raw" not in repr(made)
    copied = pickle.loads(pickle.dumps(made))  # noqa: S301 -- our own
    assert (copied, copied.raw, hash(copied)) == (made, raw, hash(made))
    assert copy.deepcopy(made) == made


def test_something_goes_before_nothing_where_two_names_came() -> None:
    """Whatever their order."""
    for fields in (
        {"skuCode": "A", "sku_code": None},
        {"SKU": "", "skuCode": "A"},
        {"sku_code": "A", "SKU": "B"},
    ):
        assert structure(fields, _Article).sku_code == "A"


def test_one_may_stand_alone_and_nothing_has_many_forms() -> None:
    """A link to a list is no row of it."""
    for value, count in (
        ({"amount": 1}, 1),
        ([], 0),
        ({}, 0),
        ("", 0),
        (None, 0),
        ({"url": "https://example.com", "resource": "/x"}, 0),
        ({"0": {"amount": 1}, "1": {"amount": 2}}, 2),
    ):
        assert len(structure({"sku_code": "A", "prices": value}, _Article).prices) == count
    with pytest.raises(MisfitError, match=r"\$\.data\.prices must be a list, not 'x'"):
        structure({"sku_code": "A", "prices": "x"}, _Article)
    assert structure({"sku_code": "A", "best": []}, _Article).best is None


@pytest.mark.parametrize("value", ["amount", ["amount"], 5, True])
def test_what_is_no_object_is_no_record(value: object) -> None:
    """Though all its fields may be missing."""
    with pytest.raises(MisfitError, match=r"\$\.data must be an object, not "):
        structure(value, _Price)
    with pytest.raises(MisfitError, match=r"\$\.data\[1\] must be an object, not "):
        structure_rows([{}, value], "$.data", tuple[_Price, ...])


def test_rows_are_a_list() -> None:
    """Or one row, or nothing; an object around them is not taken for a row."""
    assert structure_rows(None, "$.data", tuple[_Price, ...]) == ()
    assert len(structure_rows({"note": "x"}, "$.data", tuple[_Price, ...])) == 1
    assert structure_rows({}, "$.data", tuple[_Price, ...]) == ()
    for wrong in ({"products": []}, "", "x", 5):
        with pytest.raises(MisfitError, match=r"\$\.data\.list must be a list, not "):
            structure_rows(wrong, "$.data.list", tuple[_Price, ...])


def test_a_message_quotes_little_of_a_value() -> None:
    """However it is nested."""
    nested: Any = 1
    for _ in range(6):
        nested = [nested] * 6
    with pytest.raises(MisfitError) as caught:
        price(amount=nested, since=nested)

    assert len(str(caught.value)) < 500


def test_a_message_names_some_faults_and_counts_the_rest() -> None:
    """A page may have thousands."""
    with pytest.raises(MisfitError, match=r"\$\.data\[9\]\.amount must be an amount, not 'x'; and 190 more$"):
        structure_rows([{"amount": "x"}] * 200, "$.data", tuple[_Price, ...])
