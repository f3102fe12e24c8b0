"""Sources: what is read, and how bad input is told."""

from __future__ import annotations

import gzip
import io
import time
import tracemalloc
from pathlib import Path
from typing import Any, ClassVar

import pytest

from b2b_async.bulk import Item, SourceError, read_customer_ids, read_order_rows


def read(tmp_path: Path, content: bytes | str, column: str = "customer_id") -> list[tuple[int, int] | str | None]:
    """Read a file of *content*: line and id of each good row, the problem of each bad one."""
    path = tmp_path / "ids.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [
        (row.item.position, row.item.value) if row.item else row.problem
        for row in read_customer_ids(path, column, name="ids.csv")
    ]


@pytest.mark.parametrize(
    "content",
    [
        "customer_id\n7\n8\n",
        "name,customer_id\nx,7\n\ny, 8 \n",
        b"\xef\xbb\xbfcustomer_id,name\r\n7,x\r\n8,y\r\n",
        "7\n8",
        '{"customer_id": 7, "x": 1}\n\n{"customer_id": "8"}\n',
        'a,"customer_id"\n"two\nlines",7\n,8\n',
    ],
)
def test_good_files(tmp_path: Path, content: bytes | str) -> None:
    """CSV with and without a header, with a byte order mark, quotes, blank lines; JSONL."""
    rows = read(tmp_path, content)

    assert [row[1] for row in rows if isinstance(row, tuple)] == [7, 8]
    assert len(rows) == 2


def test_json_lines_may_be_bare_ids_after_an_object(tmp_path: Path) -> None:
    """Each line stands for itself."""
    assert read(tmp_path, '{"customer_id": 7}\n8\n') == [(1, 7), (2, 8)]


def test_bad_lines_are_named(tmp_path: Path) -> None:
    """File, line and cause for each."""
    rows = read(tmp_path, "customer_id,b\n1,x\n-2,x\n3.5,x\nfive,x\n\n" + "9" * 99 + ",x\n0\n,\n,y\n")

    assert rows[0] == (2, 1)
    assert rows[1] == "ids.csv, line 3: '-2' is not an id: a positive whole number"
    assert [str(row).partition(":")[0] for row in rows[2:]] == [f"ids.csv, line {line}" for line in (4, 5, 7, 8, 10)]


def test_a_row_with_more_cells_than_the_header_is_named(tmp_path: Path) -> None:
    """A comma that was not quoted moves all that follows; empty cells at the end do no harm."""
    rows = read(tmp_path, "customer_id,name\n1,001,bob\n7,x,,\n")

    assert rows[0] == "ids.csv, line 2: there are 3 cells, but 2 in the header; put a cell with a comma in quotes"
    assert rows[1] == (3, 7)


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the last good line."""

    class Failing(io.RawIOBase):
        pieces: ClassVar[list[bytes]] = [b"customer_id\n", b"7\n"]

        def readable(self) -> bool:
            return True

        def readinto(self, into: Any) -> int:
            if not self.pieces:
                raise OSError(5, "Input/output error")
            piece = self.pieces.pop(0)
            into[: len(piece)] = piece
            return len(piece)

    def failing(*_words: Any) -> io.BufferedReader:
        return io.BufferedReader(Failing())

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(SourceError, match=r"ids\.csv, after line 2: Input/output error"):
        list(read_customer_ids(tmp_path, name="ids.csv"))


def test_a_short_row_lacks_the_column(tmp_path: Path) -> None:
    """It is named, not passed over."""
    assert read(tmp_path, "b,customer_id\nx\n") == [
        "ids.csv, line 2: None is not a customer id (a positive whole number)"
    ]


def test_bad_json_lines_are_named(tmp_path: Path) -> None:
    """What is no JSON, lacks the key, or is nested too deeply."""
    rows = read(
        tmp_path, '{"customer_id": 1}\n{"customer_id": true}\n{"id": 1}\n{oops\n' + "[" * 9999 + "\n" + "9" * 30
    )

    assert rows[0] == (1, 1)
    assert [str(row).partition(" is not")[0][:36] for row in rows[1:]] == [
        "ids.csv, line 2: True",
        "ids.csv, line 3: there is no key 'cu",
        "ids.csv, line 4: '{oops' is no JSON ",
        "ids.csv, line 5: '" + "[" * 12 + "..." + "[" * 3,
        "ids.csv, line 6: 9999999999999999999",
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "ids.csv: the file is empty"),
        ("\n \n", "ids.csv: the file is empty"),
        (
            "id,name\n7,x\n",
            "ids.csv, line 1: there is no column 'customer_id'; there are 'id' and 'name'. If a column has ",
        ),
        ("id;name\n7;x\n", "there is no column 'customer_id'; there are 'id' and 'name'. If .* with --column"),
        ("id\n7\n", "there is no column 'customer_id'; there is 'id'"),
        ("customerid,customer id\n7,8\n", "'customerid' and 'customer id' could all be 'customer_id'; name the one"),
        (b"customer_id\n7\n\xff\n", "ids.csv, line 3: it is not UTF-8 text; save the file as UTF-8"),
        ("customer_id\n7\n".encode("utf-16") + b"\n\x00\x00\xd8\n", "it is not utf-16 text, though it begins so"),
        (b"PK\x03\x04\x14\x00", "ids.csv is a zip archive, as Excel workbooks .* save the sheet as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "ids.csv is an old Excel workbook"),
        (gzip.compress(b"customer_id"), "ids.csv is compressed with gzip: unpack it, or pipe it in with 'gunzip -c"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"%PDF-1.7", "is a PDF"),
        ("[1, 2", "ids.csv: the array is not closed with a ']'"),
        ("[1, 2,", "ids.csv: the array is not closed with a ']'"),
        ("[1, 2 3]", "a ',' or a ']' is missing after item 2"),
        ("[1, 2]\n[3]\n", "something follows the end of the JSON array: '\\[3\\]'"),
        ("[1]" + " " * 200_000 + "x", "something follows the end of the JSON array: 'x'"),
        (b"Rar!\x1a\x07", "is a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"PK\x05\x06", "is a zip archive"),
        ("[1, x]", "ids.csv, item 2 of the array: it is no JSON"),
        ("[1, {'a': 1}]", "ids.csv, item 2 of the array: it is no JSON"),
        ("[1, NaN]", "ids.csv, item 2 of the array: it is no JSON"),
        ("[" * 99_999, "ids.csv, item 1 of the array: it is no JSON"),
        ('[1, "' + "x" * 2_000_000 + '"]', "ids.csv, item 2 of the array: it is no JSON"),
        ("customer_id\n7\n".encode("utf-16-le"), "ids.csv, line 1: it is not UTF-8"),
        ("customer_id,customer_id\n7,8\n", "line 1: the column 'customer_id' is there 2 times"),
        ("customer_id\n" + "9" * 2_000_000, "line 2: the line is longer than"),
        ('customer_id\n"' + "9\n" * 100_000, "record that begins on line 2: field larger than field limit"),
        ('customer_id,n\n1,"a\n2,b\n3,c\n', "record that begins on line 2: unexpected end of data"),
        ("x" * 200_000 + "\n1\n", "record that begins on line 1: field larger than field limit"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | str, text: str) -> None:
    """The message names file, line and cause."""
    with pytest.raises(SourceError, match=text):
        read(tmp_path, content)


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    """Nor is a folder a file."""
    with pytest.raises(SourceError, match=r"none\.csv: No such file"):
        next(read_customer_ids(tmp_path / "none.csv"))
    with pytest.raises(SourceError, match="Is a directory"):
        next(read_customer_ids(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "customer_id;name\n1001;A\n1002;B\n",
        "name;customer_id\nA, B;1001\nC;1002\n",
        "sep=;\ncustomer_id;name\n1001;A\n1002;B\n",
        '"sep=\t"\n\nname\tcustomer_id\nA\t1001\nB\t1002\n',
        "SEP=|\r\ncustomer_id|name\r\n1001|A\r\n1002|B\r\n",
        "customer_id\tname\n1001\tA\n1002\tB\n",
        'customer_id,"a;b;c"\n1001,A\n1002,B\n',
        "Customer ID,name\n1001,A\n1002,B\n",
        "customerId\n1001\n1002\n",
        " CUSTOMER-ID ;x\n1001;A\n1002;B\n",
        "customer_id,Customer Id\n1001,5\n1002,6\n",
        "customer_id\n1001\n1002\n".encode("utf-16"),
        "\ufeffcustomer_id\tname\n1001\t\u00e4\n1002\tB\n".encode("utf-16-be"),
        "customer_id\n1001\n1002\n".encode("utf-32"),
        "\ufeffcustomer_id\n1001\n1002\n".encode(),
        '[{"customer_id": 1001}, {"customer_id": "1002"}]',
        '\n  [\n1001,\n\n"1002"\n]\n',
        '[{"customerId": 1001, "note": ["]", {"a": "[,"}]},{"CUSTOMER_ID": 1002}]',
        '{"customerId": 1001}\n\n{"Customer ID": "1002"}\n',
        "1001\n1002\n",
    ],
)
def test_files_as_spreadsheets_and_programs_write_them(tmp_path: Path, content: bytes | str) -> None:
    """Separators, encodings, names of columns, arrays."""
    assert [row[1] if isinstance(row, tuple) else row for row in read(tmp_path, content)] == [1001, 1002]


def test_an_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    """Its items are counted, for messages and to go on behind one; items may be cut by the end of a piece."""
    path = tmp_path / "ids.json"
    path.write_text("[" + ",".join(f'{{"customer_id": {n}, "x": "{"y" * (n % 97)}"}}' for n in range(1, 5001)) + "]")

    assert [row.item for row in read_customer_ids(path)] == [Item(n, n) for n in range(1, 5001)]
    assert [row.item for row in read_customer_ids(path, after=4998)] == [Item(4999, 4999), Item(5000, 5000)]
    path.write_text("[" + " " * 200_000 + "1" + " " * 200_000 + ", 2" + " " * 200_000 + "]")
    assert [row.item for row in read_customer_ids(path)] == [Item(1, 1), Item(2, 2)]
    path.write_text("[" + ", ".join(map(str, range(1, 160_001))) + "]")
    assert sum(row.item is not None for row in read_customer_ids(path)) == 160_000
    path.write_text('[1, {"customer_id": 2.0}, true, {"id": 1}]')
    assert [row.problem for row in read_customer_ids(path, name="ids")] == [
        None,
        "ids, item 2: '2.0' is what a spreadsheet or data frame made of an id: export ids as text, without decimals",
        "ids, item 3: True is not a customer id (a positive whole number)",
        "ids, item 4: there is no key 'customer_id'",
    ]


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("4.0", "is what a spreadsheet or data frame made of an id"),
        ("1.17E+2", "is what a spreadsheet"),
        ("1,17E+2", "is what a spreadsheet"),
        ("1.2e5", "is what a spreadsheet"),
        ("nan", "is what a spreadsheet"),
        ("NULL", "is what a spreadsheet"),
        ("None", "is what a spreadsheet"),
        ("#N/A", "is what a spreadsheet"),
        ("#REF!", "is what a spreadsheet"),
        ("1.", "is what a spreadsheet"),
        (".5", "is what a spreadsheet"),
        ("1e3", "is what a spreadsheet"),
        ("1.17 E+2", "is what a spreadsheet"),
        ("4,00", "is what a spreadsheet"),
        ("1 001", "is what a spreadsheet"),
        ("1_000", "is what a spreadsheet"),
        ("'1001", "is what a spreadsheet"),
        ("\uff11\uff12", "is what a spreadsheet"),
        ("\u00b2", "is what a spreadsheet"),
        ("0x10", "is what a spreadsheet"),
        ("True", "is what a spreadsheet"),
        ("<NA>", "is what a spreadsheet"),
        ("(null)", "is what a spreadsheet"),
        ("########", "is what a spreadsheet"),
        ("#BEZUG!", "is what a spreadsheet"),
        ("inf", "is what a spreadsheet"),
        ("$5", "is what a spreadsheet"),
        ("-", "is what a spreadsheet"),
        ("0", "is not an id: a positive whole number"),
        ("00", "is not an id: a positive whole number"),
        ("-5", "is not an id: a positive whole number"),
        ("+12", "is not an id: a positive whole number"),
        ("99999999999999999999", "is too large for an id"),
        ("9" * 5000, "is too large for an id"),
    ],
)
def test_ids_that_a_spreadsheet_has_changed_are_refused(tmp_path: Path, text: str, cause: str) -> None:
    """In customer ids as in each id of an order, before anything is sent."""
    path = tmp_path / "file.csv"
    path.write_text(f'customer_id,n\n"{text}",1\n')
    (row,) = read_customer_ids(path)
    assert cause in (row.problem or "")
    for place, column in enumerate(("company_id", "customer_id", "order_id")):
        cells = ["4", "12", "117", "1.00"]
        cells[place] = text
        path.write_text("company_id,customer_id,order_id,total_inc_tax\n" + ",".join(f'"{cell}"' for cell in cells))
        (row,) = read_order_rows(path, name="orders")
        assert f"orders, line 2: {column}" in (row.problem or "")
        assert cause in (row.problem or "")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("'=1", "=1"),
        ("'-5", "-5"),
        ("''=1", "'=1"),
        ("' =1", "=1"),
        ('"\'\t1"', "1"),
        ("'90s", "'90s"),
        ("''", "''"),
        ("=1", "=1"),
        ("5'=1", "5'=1"),
    ],
)
def test_the_apostrophe_of_an_export_for_a_spreadsheet_is_removed(tmp_path: Path, cell: str, value: str) -> None:
    """One before what a spreadsheet may run as a formula, in CSV only; any other is part of the value."""
    path = tmp_path / "orders"
    path.write_text(f"company_id,customer_id,order_id,total_inc_tax,po_number\n4,12,117,1.00,{cell}\n")
    assert [row.item and row.item.value.po_number for row in read_order_rows(path)] == [value]
    path.write_text('{"company_id": 4, "customer_id": 12, "order_id": 1, "total_inc_tax": 1, "po_number": "\'=1"}')
    assert [row.item and row.item.value.po_number for row in read_order_rows(path)] == ["'=1"]


def test_json_keys_that_could_both_be_meant_are_refused(tmp_path: Path) -> None:
    """As columns are; the very name goes before the others."""
    rows = read(tmp_path, '{"customerId": 1, "Customer ID": 2}\n{"customerId": 1, "customer_id": 2}\n')

    assert rows == ["ids.csv, line 1: 'customerId' and 'Customer ID' could all be meant: keep one of them", (2, 2)]


def test_one_column_is_not_read_as_two(tmp_path: Path) -> None:
    """A slip of --column."""
    path = tmp_path / "orders.csv"
    path.write_text("customer_id,order_id,total_inc_tax\n4,117,1.00\n")
    with pytest.raises(SourceError, match="two columns are given the same name"):
        list(read_order_rows(path, {"company_id": "customer_id"}))


def test_ids_of_orders_may_be_names(tmp_path: Path) -> None:
    """The vendor's own examples are: nothing is refused that only looks a little like a number."""
    path = tmp_path / "orders.csv"
    path.write_text(
        'company_id,customer_id,order_id,total_inc_tax,po_number\n4,12,BC117,1.00,E5\n4, 12, "00117", 1.00,\n'
    )

    assert [row.item.value.order_id if row.item else row.problem for row in read_order_rows(path)] == ["BC117", "00117"]
    path.write_text('{"company_id":4,"customer_id":12,"order_id":"117-A","total_inc_tax":1,"po_number":5}')
    assert [row.item.value.po_number if row.item else row.problem for row in read_order_rows(path)] == ["5"]
    for wrong in ("nan", "NULL", "#N/A", "<NA>", "None"):
        path.write_text(f"company_id,customer_id,order_id,total_inc_tax,po_number\n4,12,117,1.00,{wrong}\n")
        (row,) = read_order_rows(path)
        assert "leave the cell empty" in (row.problem or "")


def test_all_missing_columns_are_named(tmp_path: Path) -> None:
    """In CSV for the file, in JSON for the record."""
    path = tmp_path / "orders"
    path.write_text("company_id;order_nr\n4;117\n")
    with pytest.raises(
        SourceError, match="there are no columns 'customer_id', 'order_id' or 'total_inc_tax'; there are"
    ):
        list(read_order_rows(path))
    path.write_text('{"company_id": 4, "po_number": null}\n[]\n')
    assert [row.problem for row in read_order_rows(path, name="orders")] == [
        "orders, line 1: there are no keys 'customer_id', 'order_id' or 'total_inc_tax'",
        "orders, line 2: '[]' is not a JSON object",
    ]


@pytest.mark.heavy
def test_a_large_file_is_read_lazily(tmp_path: Path) -> None:
    """Memory does not grow with its size, and the first row comes at once."""
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("customer_id,note\n")
        for n in range(1, 100_001):
            file.write(f"{n},{'x' * 80}\n")
    rows = read_customer_ids(path)
    started = time.perf_counter()
    assert next(rows).item == Item(2, 1)
    first = time.perf_counter() - started
    tracemalloc.start()
    count = sum(1 for _ in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 99_999
    assert peak < 1_000_000
    assert first < 1
