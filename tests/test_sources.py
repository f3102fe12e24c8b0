"""Sources: what is read, and how bad input is told."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from b2b_async.bulk import Item, SourceError, read_customer_ids

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    assert rows[1] == "ids.csv, line 3: '-2' is not a customer id (a positive whole number)"
    assert [str(row).partition(":")[0] for row in rows[2:]] == [f"ids.csv, line {line}" for line in (4, 5, 7, 8, 10)]


def test_a_row_with_more_cells_than_the_header_is_named(tmp_path: Path) -> None:
    """A comma that was not quoted moves all that follows; empty cells at the end do no harm."""
    rows = read(tmp_path, "customer_id,name\n1,001,bob\n7,x,,\n")

    assert rows[0] == "ids.csv, line 2: there are 3 cells, but 2 in the header; put a cell with a comma in quotes"
    assert rows[1] == (3, 7)


def test_a_disk_that_fails_while_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the last good line."""
    path = tmp_path / "ids.csv"
    path.write_text("customer_id\n7\n")
    opened = Path.open

    def failing(*words: Any, **options: Any) -> Any:
        file = opened(*words, **options)
        lines = iter([file.readline(), file.readline()])

        class Failing:
            def readline(self, _size: int) -> str:
                line = next(lines, None)
                if line is None:
                    raise OSError(5, "Input/output error")
                return line

            def __enter__(self) -> Self:
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def __iter__(self) -> Iterator[str]:
                return lines

        return Failing()

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(SourceError, match=r"ids\.csv, after line 2: Input/output error"):
        list(read_customer_ids(path, name="ids.csv"))


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
        "ids.csv, line 3: {'id': 1}",
        "ids.csv, line 4: '{oops'",
        "ids.csv, line 5: '" + "[" * 12 + "..." + "[" * 3,
        "ids.csv, line 6: 9999999999999999999",
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "ids.csv: the file is empty"),
        ("\n \n", "ids.csv: the file is empty"),
        ("id,name\n7,x\n", "ids.csv, line 1: there is no column 'customer_id'; there are id, name"),
        (b"customer_id\n7\n\xff\n", "ids.csv, line 3: it is not UTF-8 text; save the file as UTF-8"),
        ("customer_id\n7\n".encode("utf-16"), "ids.csv, line 1: it is not UTF-8"),
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


@pytest.mark.heavy
def test_a_large_file_is_read_lazily(tmp_path: Path) -> None:
    """Memory does not grow with its size, and the first row comes at once."""
    path = tmp_path / "large.csv"
    with path.open("w") as file:
        file.write("customer_id,note\n")
        for n in range(1, 200_001):
            file.write(f"{n},{'x' * 80}\n")
    rows = read_customer_ids(path)
    started = time.perf_counter()
    assert next(rows).item == Item(2, 1)
    first = time.perf_counter() - started
    tracemalloc.start()
    count = sum(1 for _ in rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 199_999
    assert peak < 1_000_000
    assert first < 1
