"""The export: exact, or with its formulas neutralized so that a spreadsheet and our own readers take the same file."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_cli import run

from b2b_async.bulk import (
    CREATE_ORDERS,
    ItemOutcome,
    JournalItem,
    SQLiteJournal,
    read_customer_ids,
    read_order_rows,
    write_csv,
    write_jsonl,
)
from b2b_async.bulk.inputs._tables import neutralize, restore

if TYPE_CHECKING:
    from pathlib import Path

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20")
COLUMNS = {"order_id": "key"}
"""The columns of an export as an input of orders."""
cells = st.text() | st.text("'= +-@\t\r\n\0\xa0\",;a\uff1d")
readable = cells.filter(lambda cell: "\0" not in cell)
"""A file with a null character is refused as a whole."""


def outcome_of(**values: Any) -> ItemOutcome:
    """Return the outcome of an order."""
    order = {"company_id": "4", "customer_id": "12", "total_inc_tax": "1.00", "po_number": None}
    return ItemOutcome(key="117", position=2, status="succeeded", value={**order, **values}, finished=2.5)


def csv_of(*outcomes: ItemOutcome, **options: bool) -> str:
    """Return outcomes of orders as CSV."""
    file = io.StringIO(newline="")
    write_csv(outcomes, file, "create-orders", **options)
    return file.getvalue()


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of CSV."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


# -- the functions -----------------------------------------------------------------------------------------------------


@given(cells)
@example("'=x")
@example(" '=x")
@example("''")
def test_restore_returns_what_neutralize_was_called_with(cell: str) -> None:
    """On all strings, those with apostrophes of their own included."""
    assert restore(neutralize(cell)) == cell


@given(cells)
def test_no_neutral_cell_begins_as_a_formula(cell: str) -> None:
    """Nor does one whose blanks a program removes."""
    assert not neutralize(cell).startswith(FORMULAS)
    assert not neutralize(cell).strip().startswith(FORMULAS)


@given(st.text("'= +-@\t\r\n\0\xa0\",;a\uff1d"))
def test_only_an_apostrophe_before_a_formula_is_added_or_removed(cell: str) -> None:
    """All other cells stay as they are."""
    begin = cell.replace("'", " ").lstrip(" \xa0")
    formula = begin.startswith(FORMULAS)

    assert neutralize(cell) == (f"'{cell}" if formula else cell)
    assert restore(cell) == (cell[1:] if formula and cell.startswith("'") else cell)


@pytest.mark.parametrize(
    ("cell", "neutral"),
    [
        ("=1+1", "'=1+1"),
        ("-5", "'-5"),
        ("'=1", "''=1"),
        ("''=1", "'''=1"),
        ("\ta", "'\ta"),
        ("\uff1d1", "'\uff1d1"),
        (" =1", "' =1"),
        ("5-", "5-"),
        ("'90s", "'90s"),
        ("O'Neill", "O'Neill"),
        ("'", "'"),
        ("", ""),
    ],
)
def test_formulas_get_an_apostrophe(cell: str, neutral: str) -> None:
    """Numbers with a sign are among them; other apostrophes mean nothing."""
    assert neutralize(cell) == neutral
    assert restore(neutral) == cell


# -- the file ----------------------------------------------------------------------------------------------------------


@given(readable)
@example("a\rb")
@example("\r=1")
def test_cells_are_exact_without_the_option(cell: str) -> None:
    """Also a carriage return, which csv leaves without quotes before Python 3.13."""
    (row,) = rows_of(csv_of(outcome_of(po_number=cell)))

    assert row["po_number"] == cell
    assert list(row.values())[-1] == "1970-01-01T00:00:02.500+00:00"


def test_all_cells_of_an_export_for_a_spreadsheet_are_neutral() -> None:
    """Numbers as well as text; what is missing stays empty."""
    outcome = ItemOutcome(key="=1", position=-5, status="succeeded", value={"po_number": "@x"}, finished=2.5)
    (row,) = rows_of(csv_of(outcome, for_spreadsheet=True))

    assert (row["key"], row["position"], row["po_number"], row["message"]) == ("'=1", "'-5", "'@x", "")
    assert row["finished"] == "1970-01-01T00:00:02.500+00:00"


@given(po_number=readable, order_id=readable)
@example(po_number=" '=x", order_id="117")
@example(po_number="'=x", order_id="-7")
@example(po_number="'\t", order_id="1\r")
def test_an_export_for_a_spreadsheet_is_read_as_its_values(
    po_number: str, order_id: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As JSON with the same values is, and refused for the same problems; blanks around a cell of CSV go as ever."""
    path = tmp_path_factory.getbasetemp() / "orders"
    outcome = attrs.evolve(outcome_of(po_number=po_number), key=order_id)
    path.write_bytes(csv_of(outcome, for_spreadsheet=True).encode())
    (read,) = read_order_rows(path, COLUMNS)
    path.write_text(json.dumps({**outcome.value, "order_id": order_id.strip(), "po_number": po_number.strip()}))
    (expected,) = read_order_rows(path)

    assert (read.item and read.item.value) == (expected.item and expected.item.value)
    assert (read.problem or "").split(": ")[1:] == (expected.problem or "").split(": ")[1:]


def test_orders_of_an_export_are_read_with_the_values_of_the_journal(tmp_path: Path) -> None:
    """Each value that a spreadsheet may run, and each with an apostrophe of its own."""
    numbers = ["=1+1", "+49 30", "-5", "@x", "'=1", "''-5", "'90s", "O'Neill", " =1".strip(), "PO 7", "a;=1"]
    path = tmp_path / "orders.csv"
    path.write_bytes(csv_of(*(outcome_of(po_number=one) for one in numbers), for_spreadsheet=True).encode())

    assert [row.item and row.item.value.po_number for row in read_order_rows(path, COLUMNS)] == numbers


def test_values_of_an_unknown_job_are_json() -> None:
    """No JSON begins as a formula but a negative number."""
    file = io.StringIO(newline="")
    write_csv(
        [attrs.evolve(outcome_of(), value="=1"), attrs.evolve(outcome_of(), value=-1)],
        file,
        "mine",
        for_spreadsheet=True,
    )

    assert [row["value"] for row in rows_of(file.getvalue())] == ['"=1"', "'-1"]


def test_times_that_are_none_are_exported_as_they_are() -> None:
    """A journal is a file that anyone may have changed."""
    outcome = outcome_of()
    for wrong in ("soon", 9e300, 2**62):
        changed = attrs.evolve(outcome, sent=wrong, seconds="x", finished=wrong)
        (row,) = rows_of(csv_of(changed))
        assert (row["sent"], row["seconds"], row["finished"]) == (str(wrong), "x", str(wrong))


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def journal(tmp_path: Path) -> str:
    """Return a journal of one order, whose purchase order number is a formula with a character of terminals."""
    path = tmp_path / "orders.journal"
    value = outcome_of(po_number="=1+1\x1b[31m").value
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": CREATE_ORDERS.name}, quota=(150, 60.0))
        await journal.add([JournalItem(position=2, key="117", value=value)], read=1, checksum=0)
        (task,) = await journal.fetch_pending(1)
        await journal.record(task, outcome_of(**value))
        await journal.end("finished")
    return str(path)


def test_the_option_neutralizes_the_export(journal: str) -> None:
    """Without it, cells are exact, control characters included."""
    (exact,), (neutral,) = rows_of(run("export", journal)[1]), rows_of(run("export", journal, "--for-spreadsheet")[1])

    assert exact["po_number"] == "=1+1\x1b[31m"
    assert neutral == {**exact, "po_number": "'=1+1\x1b[31m"}


def test_the_help_names_what_a_spreadsheet_may_run() -> None:
    """And what the file is like without the option."""
    words = " ".join(run("export", "--help")[1].split())

    assert "begins with = + - @, a tab or a line break" in words
    assert "Without this option the cells are exact, and a spreadsheet may run formulas in them." in words


def test_json_lines_have_no_cells_to_neutralize(journal: str) -> None:
    """Exit 2, with what to do."""
    status, stdout, stderr = run("export", journal, "--for-spreadsheet", "--format", "jsonl")

    assert (status, stdout) == (2, "")
    assert "--for-spreadsheet changes cells of CSV: leave it out, or leave --format out" in stderr


def test_half_of_a_surrogate_pair_is_exported_as_its_escape(journal: str) -> None:
    """A server's JSON may hold one, and UTF-8 cannot."""
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE items SET result = ?", (json.dumps({"reconciled": "a\ud800"}),))
    database.close()

    assert json.loads(run("export", journal, "--format", "jsonl")[1])["reconciled"] == "a\ud800"
    assert rows_of(run("export", journal)[1])[0]["reconciled"] == "a\\ud800"


def test_an_export_of_ids_is_read_as_ids(tmp_path: Path) -> None:
    """What is no id is refused in words of the id itself."""
    path = tmp_path / "ids.csv"
    file = io.StringIO(newline="")
    outcomes = [ItemOutcome(key=key, position=1, status="succeeded", value=1, finished=1.0) for key in ("7", "-8")]
    write_csv(outcomes, file, for_spreadsheet=True)
    path.write_text(file.getvalue())
    good, bad = read_customer_ids(path, "key", name="ids.csv")

    assert good.item is not None
    assert good.item.value == 7
    assert bad.problem == "ids.csv, line 3: '-8' is not an id: a positive whole number"
    lines = io.StringIO()
    write_jsonl(outcomes, lines)
    assert json.loads(lines.getvalue().splitlines()[1])["key"] == "-8"
