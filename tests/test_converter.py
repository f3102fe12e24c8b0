"""The converter: nested data, and faults named by their JSON path."""

from __future__ import annotations

import copy
import json
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
        ([], "$.data must be an object, not a list"),
        (
            {"lineItems": [{"productId": 1}, {"productId": "x"}, {"sku": []}]},
            (
                "$.data.lineItems[1].productId must be an integer, not a string; "
                "$.data.lineItems[2].productId is missing; $.data.lineItems[2].sku must be a string, not a list"
            ),
        ),
        (
            {"lineItems": [{"productId": 1, "hidden": 2}]},
            "$.data.lineItems[0].hidden must be true or false, not a number",
        ),
        ({"lineItems": [3]}, "$.data.lineItems[0] must be an object, not a number"),
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
    sku_code: str = attrs.field(metadata=also("SKU"))
    prices: tuple[_Price, ...] = ()
    best: _Price | None = None
    anything: Any = attrs.field(default=None, hash=False)


class _StrictPrice(_Price):
    STRICT = ("amount", "since")


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
def test_what_is_no_amount_is_a_misfit(value: object) -> None:
    """An optional field that does not fit is None; the record names it, and keeps what came."""
    made = price(amount=value, note="x")

    assert (made.amount, made.note, made.misfits, made.raw["amount"]) == (None, "x", ("$.amount",), value)
    with pytest.raises(MisfitError, match=r"^\$\.data\.amount must be an amount, not a"):
        structure({"amount": value}, _StrictPrice)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_744_735_719, datetime(2025, 4, 15, 16, 48, 39, tzinfo=UTC)),
        ("1744735719", datetime(2025, 4, 15, 16, 48, 39, tzinfo=UTC)),
        (Decimal("1744735719.25"), datetime(2025, 4, 15, 16, 48, 39, 250_000, tzinfo=UTC)),
        ("Tue, 29 Oct 2019 12:33:25 +0000", datetime(2019, 10, 29, 12, 33, 25, tzinfo=UTC)),
        ("Thu, 18 Mar 2021 19:05:18 -0000", datetime(2021, 3, 18, 19, 5, 18, tzinfo=UTC)),
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
def test_what_is_no_time_is_a_misfit(value: object) -> None:
    """A time without its zone could be any of many."""
    assert (price(since=value).since, price(since=value).misfits) == (None, ("$.since",))
    with pytest.raises(MisfitError, match=r"^\$\.data\.since must be a time, in Unix seconds or with its zone, not a"):
        structure({"since": value}, _StrictPrice)


def test_odd_values_of_other_kinds() -> None:
    """Yes and no in words, numbers as texts, halves of nothing."""
    assert [price(old=value).old for value in (True, 0, "1", "False", "")] == [True, False, True, False, None]
    assert [price(note=value).note for value in ("", 5, Decimal("12.50"), None)] == ["", "5", "12.50", None]
    for wrong in (2, "yes", [1]):
        assert price(old=wrong).misfits == ("$.old",)
    assert price(note=True).misfits == ("$.note",)
    for value in (Decimal("3.0"), "3", "3.0000", 3):
        assert structure({"productId": value}, _Line).product_id == 3
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
    assert structure({"sku_code": "A", "prices": "x"}, _Article).misfits == ("$.prices",)
    assert structure({"sku_code": "A", "best": []}, _Article).best is None


@pytest.mark.parametrize("value", [False, None, "", [], {}])
def test_false_stands_for_nothing_where_no_boolean_belongs(value: object) -> None:
    """The buyer portal reads ``shippingAddress === false``; a boolean that is false stays false."""
    made = structure({"skuCode": "A", "prices": value, "best": value}, _Article)

    assert (made.prices, made.best, made.misfits) == ((), None, ())
    assert (price(amount=False).amount, price(since=False).since, price(note=False).note) == (None, None, None)
    assert price(old=False).old is False


@pytest.mark.parametrize("times", [1, 2])
def test_json_in_a_string_is_read_where_a_container_belongs(times: int) -> None:
    """Once or twice encoded, with names in snake_case; other strings are misfits."""
    one, many = json.dumps({"amount": "1.50"}), json.dumps([{"old": True}, {"note": "x"}])
    if times == 2:
        one, many = json.dumps(one), json.dumps(many)
    made = structure({"sku_code": "A", "best": one, "prices": many}, _Article)

    assert made.best == _Price(amount=Decimal("1.50"))
    assert made.prices == (_Price(old=True), _Price(note="x"))
    assert made.misfits == ()
    assert structure(json.dumps({"skuCode": "B"}), _Article).sku_code == "B"
    assert structure_rows(many, "$.data", tuple[_Price, ...]) == made.prices
    for wrong in ("{", "[1", '"x"', '"{', "text", json.dumps(json.dumps(one))):
        assert structure({"skuCode": "A", "best": wrong}, _Article).misfits == ("$.best",)


def test_an_object_may_be_a_list_of_one() -> None:
    """An address is one in some responses; of several nobody can say which is meant."""
    assert structure({"skuCode": "A", "best": [{"note": "x"}]}, _Article).best == _Price(note="x")
    assert structure({"skuCode": "A", "best": [{"note": "x"}, {}]}, _Article).misfits == ("$.best",)


def test_one_odd_field_costs_no_other_row() -> None:
    """199 good rows are handed out, and the odd one, too; the call is told the paths."""
    rows: list[dict[str, Any]] = [{"skuCode": str(number), "prices": [{"amount": number}, {}]} for number in range(200)]
    rows[7]["prices"] = [{"amount": "?"}, 5, {"note": {}, "since": "never"}]
    rows[7]["best"] = {"old": "perhaps"}
    paths: list[str] = []
    made = structure_rows(rows, "$.data.list", tuple[_Article, ...], paths.extend)

    assert [article.sku_code for article in made] == [str(number) for number in range(200)]
    assert made[7].prices == (_Price(), _Price())
    assert made[7].prices[1].misfits == ("$.since",)
    assert made[7].misfits == ("$.prices[0].amount", "$.prices[1]", "$.prices[2].since", "$.best.old")
    assert paths == [f"$.data.list[7]{path[1:]}" for path in made[7].misfits]
    assert made[8].misfits == ()
    with pytest.raises(MisfitError, match=r"^\$\.data\[1\]\.skuCode is missing$"):
        structure_rows([rows[0], {}], "$.data", tuple[_Article, ...])


def test_an_object_inside_that_cannot_be_made_is_a_misfit() -> None:
    """Though a field of it must fit."""

    @attrs.frozen
    class Holder(Record):
        article: _Article | None = None

    assert structure({"article": {"prices": []}}, Holder).misfits == ("$.article",)
    assert structure({"article": {"SKU": None}}, Holder).misfits == ("$.article",)


def test_a_record_becomes_values_that_json_has() -> None:
    """For web frameworks: amounts with all digits, times in ISO 8601."""
    raw = {"skuCode": "A", "prices": [{"amount": "1.50", "since": 0}], "anything": {"x": [Decimal("0.1"), None]}}
    made = structure(raw, _Article)

    assert json.loads(json.dumps(made.to_dict())) == {
        "sku_code": "A",
        "prices": [{"amount": "1.50", "since": "1970-01-01T00:00:00+00:00", "old": None, "note": None}],
        "best": None,
        "anything": {"x": ["0.1", None]},
    }


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
    for wrong in ({"products": []}, "x", 5):
        with pytest.raises(MisfitError, match=r"\$\.data\.list must be a list, not "):
            structure_rows(wrong, "$.data.list", tuple[_Price, ...])


def test_a_message_quotes_no_value() -> None:
    """It ends in errors and logs, and an order is personal data."""
    for value in ("pat@example.com", {"email": "pat@example.com"}, ["pat@example.com"]):
        with pytest.raises(MisfitError) as caught:
            structure({"amount": value}, _StrictPrice)
        assert "pat" not in str(caught.value)


def test_a_message_names_some_faults_and_counts_the_rest() -> None:
    """A page may have thousands."""
    with pytest.raises(MisfitError, match=r"\$\.data\[9\]\.amount must be an amount, not a string; and 190 more$"):
        structure_rows([{"amount": "x"}] * 200, "$.data", tuple[_StrictPrice, ...])
