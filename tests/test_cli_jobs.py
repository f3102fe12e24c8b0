"""The commands that run jobs: their inputs, what they refuse, and how they go on."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import click
import pytest
from helpers import client_of
from rich.console import Console
from test_cli import FAST, last_json, run, write_ids

from b2b_async import Quota, RateLimiter
from b2b_async.bulk import (
    CREATE_ORDERS,
    BulkJob,
    Failure,
    Item,
    ItemOutcome,
    OrderRow,
    SQLiteJournal,
    SQLiteReader,
)
from b2b_async.cli import _common, _inputs, _jobs, _progress
from b2b_async.cli._conclusion import conclude_abruptly
from b2b_async.cli._net import OutputError
from b2b_async.cli._progress import Screen
from b2b_async.sandbox import Faults, Sandbox, Store
from b2b_async.testing import mocked_api

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async.bulk import Counts

    Start = Callable[..., Sandbox]

HEADER = "company_id,customer_id,order_id,total_inc_tax,po_number"


@pytest.fixture
def orders(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Sandbox, Path]:
    """Give a sandbox and a file of ten of its orders."""
    sandbox = live_sandbox()
    monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
    file = tmp_path / "orders.csv"
    store = sandbox.store
    rows = []
    for order in list(store.orders.values())[:10]:
        company = store.users[order.customer_id].company_id
        rows.append(f"{company},{order.customer_id},{order.id},{order.total_inc_tax},PO {order.id}")
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    return sandbox, file


def test_orders_are_created_once(orders: tuple[Sandbox, Path]) -> None:
    """From CSV; the same command again has nothing to do."""
    sandbox, file = orders
    first = run("create-orders", str(file), "--json", *FAST)
    again = run("create-orders", str(file), "--json", *FAST)

    assert (first[0], again[0]) == (0, 0)
    assert (last_json(first[1])["succeeded"], last_json(again[1])["skipped"]) == (10, 10)
    assert len(sandbox.requests) == 10
    order = sandbox.store.orders["100"]
    assert (order.company_id, order.po_number) == ("1", "PO 100")
    rows = list(csv.DictReader(io.StringIO(run("export", f"{file}.journal")[1])))
    assert rows[0]["po_number"] == "PO 100"
    assert rows[0]["total_inc_tax"] == str(order.total_inc_tax)


def test_orders_from_json_lines_and_other_columns(orders: tuple[Sandbox, Path], tmp_path: Path) -> None:
    """Amounts are numbers without a float in between; ids may be numbers; a column may have another name."""
    sandbox, _ = orders
    first, second = list(sandbox.store.orders.values())[:2]
    lines = tmp_path / "orders.jsonl"
    lines.write_text(
        f'{{"company_id": 1, "customer_id": {first.customer_id}, "order_id": {first.id}, "total_inc_tax": 10.10}}\n\n'
    )
    table = tmp_path / "other.csv"
    table.write_text(f"company_id,customer_id,order_id,Total,PO\n1,{second.customer_id},{second.id},0,\n")
    columns = ("--column", "total_inc_tax=Total", "--column", "po_number=PO")

    assert run("create-orders", str(lines), *FAST)[0] == 0
    assert run("create-orders", str(table), *columns, *FAST)[0] == 0
    assert [str(order.total_inc_tax) for order in (first, second)] == ["10.10", "0"]
    assert second.po_number is None


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("1,1001,100,1.5.0,", "line 2: total_inc_tax must be digits with a point, such as 259.99, not '1.5.0'"),
        ('1,1001,100,"1,50",', "not '1,50'"),
        ("1,1001,100,1e5,", "not '1e5'"),
        ("1,1001,100,-3,", "not '-3'"),
        ("1,1001,100", "total_inc_tax must be digits with a point, such as 259.99, not nothing"),
        ("1,1001,100,1,50,PO 7", "line 2: there are 6 cells, but 5 in the header; put a cell with a comma in quotes"),
        (",1001,100,1,", "company_id must be an id"),
        ("1,..,100,1,", "customer_id must be an id"),
        ("1,1001,,1,", "order_id must be an id"),
        ("1,1001,100,1,a\x07b", "po_number must be a non-empty string without control"),
        ("1,1001,100,1,\n1,1001,100,2,", "line 3: 100 stands on line 2 with other values"),
    ],
)
def test_bad_rows_are_refused_before_anything_is_sent(orders: tuple[Sandbox, Path], row: str, text: str) -> None:
    """Exit 2, with line and cause."""
    sandbox, file = orders
    file.write_text(f"{HEADER}\n{row}\n")
    status, stdout, stderr = run("create-orders", str(file), "--json", *FAST)

    assert status == 2
    assert text in stderr
    assert text in last_json(stdout)["error"]
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("content", "words", "text"),
    [
        ("company_id,order_id\n", (), "there are no columns 'customer_id' or 'total_inc_tax'"),
        (f"{HEADER}\n", ("--column", "po_number=PO"), "there is no column 'PO'"),
        (f"{HEADER},order_id\n", (), "the column 'order_id' is there 2 times"),
        ('{"company_id": 1}\n"oops"\n', (), "is not a JSON object"),
        (
            '{"company_id": 1, "customer_id": 1, "order_id": "1", "total_inc_tax": NaN}\n',
            (),
            "is no JSON",
        ),
        (
            '{"company_id": 1, "customer_id": 1, "order_id": "1", "total_inc_tax": 1, "po_number": ["x"]}\n',
            (),
            "po_number must be a non-empty string without control",
        ),
        ('{"company_id": 1, "customer_id": 1, "order_id": true, "total_inc_tax": 1}\n', (), "order_id must be"),
    ],
)
def test_bad_files_of_orders(orders: tuple[Sandbox, Path], content: str, words: tuple[str, ...], text: str) -> None:
    """Columns that are not there, or twice; lines that are no objects."""
    sandbox, file = orders
    file.write_text(content)
    status, _, stderr = run("create-orders", str(file), *words, *FAST)

    assert status == 2
    assert text in stderr
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("assign",), "give one of FILE, --company, --all-companies and --from"),
        (("assign", "x.csv", "--all-companies"), "give one of FILE"),
        (("assign", "x.csv", "--only", "failed"), "--only says which items of the journal in --from are meant"),
        (("assign", "--from", "x", "--journal", "./x"), "--from and --journal name the same journal"),
        (("assign", "--company", "zzz"), "'zzz' is not a valid integer range"),
        (("assign", "x.csv", "--limit", "0"), "0 is not in the range"),
        (("create-orders",), "give one of FILE and --from"),
        (("create-orders", "x.csv", "--column", "total=x"), "write NAME=HEADER with a NAME of company_id"),
        (("create-orders", "x.csv", "--column", "order_id"), "write NAME=HEADER"),
    ],
)
def test_wrong_words_are_told_in_json_too(words: tuple[str, ...], text: str) -> None:
    """Exit 2, and one object on the last line of stdout if that was asked for."""
    status, stdout, stderr = run(*words, "--json")

    assert status == 2
    assert text in " ".join(stderr.split())
    facts = last_json(stdout)
    assert (facts["command"], facts["exit"]) == (words[0], 2)
    assert text.split("'", maxsplit=1)[0] in facts["error"]
    assert run(*words)[1] == ""


# -- other inputs ----------------------------------------------------------------------------------------------


def test_the_failed_ones_are_done_again(tmp_path: Path, live_sandbox: Start) -> None:
    """Into a journal of its own, once what was wrong has been mended; the positions are those of before."""
    sandbox = live_sandbox()
    file = write_ids(tmp_path, 1001, 7001, 7002, 1002)
    run("assign", file, *FAST)
    sandbox.store.users[7001] = sandbox.store.users[1003]
    status, stdout, _ = run("assign", "--from", f"{file}.journal", "--only", "failed", "--json", *FAST)
    facts = last_json(stdout)

    assert status == 1
    assert (facts["succeeded"], facts["failed"], facts["total"]) == (1, 1, 2)
    assert facts["journal"] == f"{file}-failed.journal"
    assert [outcome.position for outcome in SQLiteReader(facts["journal"]).outcomes()] == [3, 4]
    again = run("assign", "--from", f"{file}.journal", "--only", "failed", "--json")
    assert last_json(again[1])["skipped"] == 2
    both = run("assign", "--from", f"{file}.journal", "--limit", "1", "--dry-run", "--json")
    assert last_json(both[1]) == {"command": "assign", "exit": 0, "rows": 1, "duplicates": 0, "sent": 0}


def test_unknown_creations_of_another_journal_are_verifications(
    orders: tuple[Sandbox, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have been done; nothing is sent twice on a guess."""
    sandbox, file = orders

    async def lose() -> None:
        items = [Item(1, _row(sandbox, "100"), in_doubt=True), Item(2, _row(sandbox, "101"))]
        async with client_of(sandbox) as client, SQLiteJournal(f"{file}.journal") as journal:
            await BulkJob(client, items, journal=journal, kind=CREATE_ORDERS).run()

    asyncio.run(lose())
    assert [outcome.status for outcome in SQLiteReader(f"{file}.journal").outcomes()] == ["unknown", "succeeded"]
    sandbox.store.orders["100"].company_id = "1"
    status, stdout, _ = run("create-orders", "--from", f"{file}.journal", "--json", *FAST)
    monkeypatch.setattr("b2b_async.bulk._runner.VERIFY_AGAIN", 0.1)

    assert status == 0
    assert (last_json(stdout)["reconciled"], last_json(stdout)["repeated"]) == (1, 0)
    sandbox.store.orders["100"].company_id = None
    words = ("create-orders", "--from", f"{file}.journal", "--journal")
    status, _, stderr = run(*words, f"{file}-2.journal", *FAST)
    assert status == 0
    assert "1 items were sent again that an earlier run may have done already. They were absent at two" in stderr
    assert "(--resend-if-absent)" in stderr
    sandbox.store.orders["100"].company_id = None
    status, stdout, _ = run(*words, f"{file}-3.journal", "--no-resend-if-absent", "--json", *FAST)
    assert (status, last_json(stdout)["unknown"]) == (1, 1)


def _row(sandbox: Sandbox, order_id: str) -> OrderRow:
    order = sandbox.store.orders[order_id]
    company = str(sandbox.store.users[order.customer_id].company_id)
    return OrderRow(
        company_id=company,
        customer_id=str(order.customer_id),
        order_id=order_id,
        total_inc_tax=order.total_inc_tax,
    )


def test_a_journal_that_cannot_be_taken_from(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another kind, of another store, of a job that is running, or none at all."""
    sandbox = live_sandbox()
    file = write_ids(tmp_path, 1001, 7001)
    run("assign", file, *FAST)
    origin = f"{file}.journal"
    before = len(sandbox.requests)
    other = run("create-orders", "--from", origin)
    none = run("assign", "--from", str(tmp_path / "none"))
    holder = SQLiteJournal(origin)
    holder._open()
    running = run("assign", "--from", origin)
    taken = run("assign", file, *FAST)
    holder._close()
    monkeypatch.setenv("B2B_STORE_HASH", "another")
    store = run("assign", "--from", origin)

    assert [status for status, *_ in (other, none, running, taken, store)] == [2] * 5
    assert "is a journal of assign, not of create-orders" in other[2]
    assert "there is no journal" in none[2]
    assert "is running: wait for its end" in running[2]
    assert f"in use by process {os.getpid()} on" in taken[2]
    assert "is of another store: 'sandbox-store' there, 'another' here" in store[2]
    assert len(sandbox.requests) == before


def test_nothing_failed_is_nothing_to_do(tmp_path: Path, live_sandbox: Start) -> None:
    """And a journal of a retry is not gone on with for another choice."""
    live_sandbox()
    file = write_ids(tmp_path, 1001)
    run("assign", file, *FAST)
    words = ("assign", "--from", f"{file}.journal", "--journal", str(tmp_path / "again.journal"))
    none = run(*words, *FAST)
    other = run(*words, "--only", "unknown", *FAST)

    assert (none[0], other[0]) == (0, 2)
    assert f"failed and unknown of {file}.journal has no items: there is nothing to do" in none[2]
    assert "input is 'failed and unknown of " in other[2]


def test_conflicting_duplicates_are_not_done_again(orders: tuple[Sandbox, Path]) -> None:
    """Nobody can say which of the two is meant; the input must be mended."""
    sandbox, file = orders

    async def make() -> None:
        row, other = _row(sandbox, "100"), _row(sandbox, "100")
        items = [row, OrderRow(**{**_plain(other), "total_inc_tax": Decimal("1.23")}), _row(sandbox, "101")]
        async with client_of(sandbox) as client, SQLiteJournal(f"{file}.journal") as journal:
            sandbox.store.orders["101"].company_id = "1"
            await BulkJob(client, items, journal=journal, kind=CREATE_ORDERS).run()

    asyncio.run(make())
    assert [outcome.status for outcome in SQLiteReader(f"{file}.journal").outcomes()] == [
        "succeeded",
        "failed",
        "failed",
    ]
    status, stdout, _ = run("create-orders", "--from", f"{file}.journal", "--dry-run", "--json", *FAST)

    assert (status, last_json(stdout)["rows"]) == (0, 1)


def _plain(row: OrderRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in HEADER.split(",")}


async def test_the_status_of_a_journal_that_has_not_begun(tmp_path: Path) -> None:
    """There are no runs to tell of, and no requests."""
    async with SQLiteJournal(tmp_path / "a.journal") as journal:
        status, stdout, _ = run("status", str(journal.path))

    assert (status, stdout.splitlines()[0], stdout.splitlines()[-1]) == (
        0,
        "total: 0",
        "complete through line, or item: 0",
    )


def test_the_customers_of_companies(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some, or of all; listed once, and gone on with without listing again."""
    monkeypatch.chdir(tmp_path)
    sandbox = live_sandbox()
    some = last_json(run("assign", "--company", "2", "--company", "3", "--json", *FAST)[1])
    every = last_json(run("assign", "--all-companies", "--limit", "25", "--json", *FAST)[1])
    dry = last_json(run("assign", "--all-companies", "--dry-run", "--json", *FAST)[1])
    stopped = run("assign", "--all-companies", "--limit", "2", "--max-failures", "1", *FAST)[2]
    requests = len(sandbox.requests)
    again = run("assign", "--company", "2", "--company", "3", "--journal", some["journal"], "--json", *FAST)
    held = run("assign", "--company", "2", "--company", "3", "--journal", some["journal"], "--dry-run", "--json")
    other = run("assign", "--company", "2", "--journal", some["journal"], "--json", *FAST)
    none = run("assign", "--company", "77", "--json", *FAST)

    assert (some["succeeded"], every["succeeded"], dry["rows"], dry["sent"]) == (20, 25, 100, 0)
    assert "Journal: b2b-assign-" in stopped
    assert (last_json(again[1])["skipped"], last_json(held[1])["rows"]) == (20, 20)
    assert len(sandbox.requests) == requests + 1
    assert other[0] == 2
    assert "input is 'company 2, 3' there and 'company 2' here" in other[2]
    assert none[0] == 0
    assert "company 77 has no items: there is nothing to do" in none[2]


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_a_list_that_cannot_be_had(
    *, words: tuple[str, ...], tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong credentials are fatal; a server that is away is for another time."""
    monkeypatch.chdir(tmp_path)
    live_sandbox()
    monkeypatch.setenv("B2B_ACCESS_TOKEN", "wrong")
    fatal = run("assign", "--all-companies", "--json", *words, *FAST)
    monkeypatch.setenv("B2B_BASE_URL", "http://127.0.0.1:9")
    away = run("assign", "--all-companies", "--json", *words, *FAST)

    assert (fatal[0], away[0]) == (4, 3)
    assert "401" in last_json(fatal[1])["error"]
    assert last_json(away[1])["exit"] == 3


def test_stdin_is_kept(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is in the journal; empty, it is gone on with; other words are refused; more is taken in."""
    monkeypatch.chdir(tmp_path)
    sandbox = live_sandbox()
    words = ("assign", "-", "--journal", "mine.journal", "--json", *FAST)
    first = last_json(run(*words, stdin=b"1001\n1002\n")[1])
    same = run(*words, stdin=b"1001\n1002\n")
    empty = run(*words, stdin=b"")
    other = run(*words, stdin=b"1001\n1003\n")
    more = run(*words, stdin=b"1001\n1002\n1003\n")
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    with _inputs.readable_twice("-", tmp_path / "mine.journal") as (path, once):
        terminal = (path.stat().st_size, once)

    assert (first["succeeded"], last_json(same[1])["skipped"], last_json(empty[1])["skipped"]) == (2, 2, 2)
    assert other[0] == 2
    assert "stdin differs first where 1002 stood on line 2: now 1003 stands on line 2" in other[2]
    assert last_json(more[1])["succeeded"] == 1
    assert terminal == (0, True)
    assert len(sandbox.requests) == 3
    file = run("assign", write_ids(tmp_path, 1001), "--journal", "mine.journal", *FAST)
    assert "input is 'stdin or a pipe' there and 'a file' here" in file[2]


def test_names_of_journals_do_not_meet() -> None:
    """Though two commands begin in the same second."""
    assert len({_inputs.named_by_time("assign") for _ in range(5)}) == 5


# -- files that change -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ((1001, 1009, 1003), "ids.csv differs first where 1002 stood on line 3: now 1009 stands on line 3"),
        ((1002, 1001, 1003), "1001 stood on line 2: now 1002 stands on line 2"),
        (("", 1001, 1002, 1003), "1001 stood on line 2: now 1001 stands on line 3\n"),
        ((1001, 1002), "1003 stood on line 4\n"),
        ((1001, "oops", 1003), "line 3: 'oops' is not a customer id"),
    ],
)
def test_a_file_that_has_changed_is_refused(
    tmp_path: Path, live_sandbox: Start, ids: tuple[object, ...], text: str
) -> None:
    """Exit 2, with the first difference; nothing is sent, and the journal is as it was."""
    sandbox = live_sandbox()
    file = write_ids(tmp_path, 1001, 1002, 1003)
    run("assign", file, *FAST)
    before = SQLiteReader(f"{file}.journal").status()
    write_ids(tmp_path, *ids)
    status, _, stderr = run("assign", file, *FAST)

    assert status == 2
    assert text in stderr
    assert SQLiteReader(f"{file}.journal").status() == before
    assert len(sandbox.requests) == 3


def test_an_amount_that_has_changed_is_refused(orders: tuple[Sandbox, Path]) -> None:
    """An order is more than its id."""
    sandbox, file = orders
    run("create-orders", str(file), *FAST)
    lines = file.read_text().splitlines()
    lines[3] = ",".join([*lines[3].split(",")[:3], "1.23", ""])
    file.write_text("\n".join(lines))
    status, _, stderr = run("create-orders", str(file), *FAST)

    assert status == 2
    assert "102 stood on line 4: now 102 stands on line 4 with other values" in stderr
    assert len(sandbox.requests) == 10


def test_a_file_that_has_grown_is_welcome(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new lines are done; a file that is the same is neither checked nor read again."""
    sandbox = live_sandbox()
    file = write_ids(tmp_path, 1001, 1002)
    run("assign", file, *FAST)
    write_ids(tmp_path, 1001, 1002, 1003)
    status, stdout, _ = run("assign", file, "--json", *FAST)
    assert (status, last_json(stdout)["succeeded"], last_json(stdout)["skipped"]) == (0, 1, 2)
    monkeypatch.setattr(_inputs.FileInput, "check", lambda _: pytest.fail("it was checked again"))
    status, stdout, _ = run("assign", file, "--json", *FAST)

    assert (status, last_json(stdout)["skipped"], last_json(stdout)["total"]) == (0, 3, 3)
    assert len(sandbox.requests) == 3


@pytest.mark.parametrize("content", ["1001\n1002\n1003\n1004\n", '{"customer_id": 1001}\n1002\n\n1003\n1004\n'])
def test_a_file_is_gone_on_with_in_the_middle(tmp_path: Path, live_sandbox: Start, content: str) -> None:
    """Bare lists and JSON lines too; with a limit, it is read from its beginning."""
    sandbox = live_sandbox()
    file = tmp_path / "ids"
    file.write_text(content)
    run("assign", str(file), "--max-failures", "1", "--limit", "2", *FAST)
    counts = [
        last_json(run("assign", str(file), "--json", *words, *FAST)[1])["succeeded"]
        for words in (("--limit", "2"), ("--limit", "3"), (), ())
    ]

    assert counts == [0, 1, 1, 0]
    assert len(sandbox.requests) == 4


# -- ends ------------------------------------------------------------------------------------------------------


def test_too_many_failures_stop_the_job(tmp_path: Path, live_sandbox: Start) -> None:
    """Exit 3: the same command goes on; hints can be pasted."""
    live_sandbox()
    folder = tmp_path / "a folder"
    folder.mkdir()
    file = write_ids(folder, *range(7001, 7101))
    status, stdout, stderr = run("assign", file, "--max-failures", "5", "--concurrency", "1", "--json", *FAST)

    assert status == 3
    assert last_json(stdout)["failed"] == 5
    stopped = "Stopped: 5 items failed or are unknown, as many as were allowed. To go on, run the same command again\n"
    assert stopped in stderr
    assert f"Journal: '{file}.journal'" in stderr


def test_an_assignment_that_may_have_been_done_is_said(tmp_path: Path, live_sandbox: Start) -> None:
    """It is done again, and not in silence."""
    sandbox = live_sandbox(faults=Faults(script=["503"] * 4))
    file = write_ids(tmp_path, 1001)
    first = run("assign", file, "--json", *FAST)
    again = run("assign", file, "--json", *FAST)

    assert (first[0], again[0]) == (1, 0)
    assert "1 items were sent again that an earlier run may have done already.\n" in again[2]
    assert last_json(again[1])["repeated"] == 1
    assert len(sandbox.requests) == 5


def test_a_report_of_a_job(tmp_path: Path, live_sandbox: Start) -> None:
    """Written where it is asked for, and never over a journal."""
    live_sandbox()
    file = write_ids(tmp_path, 1001, 7001)
    run("assign", file, *FAST)
    journal, page = f"{file}.journal", tmp_path / "report.html"
    good = run("report", journal, "--html", str(page))
    over = run("report", journal, "--html", journal)
    nowhere = run("report", journal, "--html", str(tmp_path / "no" / "report.html"))

    assert (good[0], over[0], nowhere[0]) == (0, 2, 2)
    assert f"{page} is written." in good[2]
    assert "7001" in page.read_text()
    assert "exists and is no report" in over[2]
    assert "No such file" in nowhere[2]
    assert SQLiteReader(journal).status().counts.all == 2


def test_an_export_that_cannot_be_had(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is damaged, a disk that is full, a reader that has gone: no traceback."""
    live_sandbox()
    file = write_ids(tmp_path, 1001, 7001)
    run("assign", file, *FAST)
    journal = f"{file}.journal"
    monkeypatch.setattr("b2b_async.cli.journals.write_csv", _fail(OutputError(OSError(28, "No space left on device"))))
    full = run("export", journal)
    monkeypatch.setattr("b2b_async.cli.journals.write_csv", _fail(OutputError(BrokenPipeError(32, "Broken pipe"))))
    gone = run("export", journal)
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE items SET failure = 'oops' WHERE failure IS NOT NULL")
    database.close()
    damaged = run("export", journal, "--format", "jsonl")
    page = run("report", journal, "--html", str(tmp_path / "report.html"))

    assert (full[0], gone[0], damaged[0], page[0]) == (3, 3, 2, 2)
    assert "the output could not be written: No space left" in full[2]
    assert "the output could not be written: stdout is closed" in gone[2]
    assert "the journal is damaged at position" in damaged[2]
    assert "Traceback" not in full[2] + gone[2] + damaged[2] + page[2]


def _fail(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_what_a_terminal_cannot_write_is_exported(tmp_path: Path, live_sandbox: Start) -> None:
    """In UTF-8, whatever the terminal's own encoding; JSON on stdout needs none."""
    sandbox = live_sandbox()
    file = tmp_path / "日本.csv"
    file.write_text("日\n")
    command = [sys.executable, "-m", "b2b_async", "assign", str(file), "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict", "B2B_BASE_URL": sandbox.url}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)

    assert done.returncode == 2
    assert "日" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("words", [("assign", "-", "--json")])
def test_the_end_that_a_supervisor_asks_for(words: tuple[str, ...], tmp_path: Path) -> None:
    """SIGTERM while stdin is read: exit 3, said in JSON, and nothing is left lying about."""
    command = [sys.executable, "-m", "b2b_async", *words]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as process:
        while not list(tmp_path.glob("b2b-async-*/input")):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate()

    assert process.returncode == 3
    assert json.loads(stdout) == {"command": "assign", "exit": 3, "error": "stopped"}
    assert b"stopped" in stderr
    assert list(tmp_path.iterdir()) == []


def test_the_collector_is_calmed() -> None:
    """For the life of a command."""
    before = gc.get_threshold()
    try:
        _common.calm_collector()
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


# -- what is shown ---------------------------------------------------------------------------------------------


async def _watch(
    monkeypatch: pytest.MonkeyPatch, journal: SQLiteJournal, store: Store, **console: Any
) -> tuple[str, Counts]:
    shown = io.StringIO()
    monkeypatch.setattr(_progress, "errors_console", lambda: Console(file=shown, highlight=False, **console))
    async with Sandbox(store, quota="60/60s", latency=0.3) as sandbox:
        async with client_of(sandbox, limiter=RateLimiter(Quota(60, 60.0))) as client, journal:
            items = [*store.users, 1001]
            job = BulkJob(client, items, journal=journal, total=len(items))
            async with Screen(client, job) as watching:
                await job.run(watching)
    return shown.getvalue(), journal.counts


async def test_a_line_a_minute_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the rate of the last minute, the quota, and the time left as the quota allows."""
    text, _ = await _watch(monkeypatch, SQLiteJournal(tmp_path / "a.journal"), Store(30, 10))
    lines = text.splitlines()

    assert len(lines) == 5
    pattern = r"\d\d:\d\d:\d\d 60 of 301 done, 0 failures, 6\d requests a minute \(the quota: 60\), about 4 min left"
    assert re.fullmatch(pattern, lines[0])
    assert lines[-1] == "line 301: 1001 was met on line 1 and is done once"


@pytest.mark.parametrize(("width", "wide"), [(120, True), (50, False)])
async def test_a_bar_on_a_terminal(*, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int, wide: bool) -> None:
    """A narrow one shows what matters."""
    console = {"force_terminal": True, "width": width}
    text, _ = await _watch(monkeypatch, SQLiteJournal(tmp_path / "a.journal"), Store(3, 10), **console)

    assert "31/31" in text
    assert "0 failures," in text
    assert ("/min" in text) is wide


async def test_waiting_for_a_second_look_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A minute without a request looks like standing still."""
    shown = io.StringIO()
    monkeypatch.setattr(_progress, "errors_console", lambda: Console(file=shown, highlight=False))
    store = Store()
    async with Sandbox(store) as sandbox, client_of(sandbox) as client:
        async with SQLiteJournal(tmp_path / "a.journal") as journal:
            items = [Item(1, _row(sandbox, "100"), in_doubt=True)]
            job = BulkJob(client, items, journal=journal, kind=CREATE_ORDERS, resend_if_absent=True)
            async with Screen(client, job) as watching:
                await job.run(watching)

    assert shown.getvalue().startswith("1 items that an earlier run sent are not found.")
    assert "(--resend-if-absent)" in shown.getvalue()
    assert " 0 done, 0 failures" in shown.getvalue()


def test_spans() -> None:
    """As people say them."""
    assert [_progress._span(seconds) for seconds in (5, 119, 125, 7100, 7300)] == [
        "5 s",
        "119 s",
        "2 min",
        "118 min",
        "2 h",
    ]


# -- messages to people ---------------------------------------------------------------------------------------


def test_what_an_earlier_run_refused_is_named(tmp_path: Path, live_sandbox: Start) -> None:
    """It decides the exit status of a run that did nothing else."""
    live_sandbox()
    file = write_ids(tmp_path, 1001, 7001)
    assert run("assign", file, *FAST)[0] == 1
    status, stdout, stderr = run("assign", file, *FAST)

    assert status == 1
    assert "1 items were refused by an earlier run and not tried again" in stderr
    assert f"b2b-async assign --from {file}.journal --only failed" in stderr
    assert "done by an earlier run" in stdout
    facts = last_json(run("assign", file, "--json", *FAST)[1])
    assert (facts["done"], facts["pending"], facts["total"], facts["skipped_failed"]) == (2, 0, 2, 1)


def test_the_first_reasons_of_failures_are_named(tmp_path: Path, live_sandbox: Start) -> None:
    """Without the journal having to be asked; others are there."""
    live_sandbox()
    _, _, stderr = run("assign", write_ids(tmp_path, 1001, 7001, 7002), *FAST)
    assert "2 times: NotFoundError 404: User does not exist" in stderr
    shown = Screen(Mock(quota=Mock(requests=0)), Mock())
    for number in range(9):
        failure = Failure(error=f"E{number % 5}", text="x", outcome="rejected", status=500)
        shown(ItemOutcome(key="1", position=1, status="failed", failure=failure, finished=0.0))
    assert shown.reasons == {"E0 500: x": 2, "E1 500: x": 2, "E2 500: x": 2}
    assert shown.statuses == {500: 9}


def test_a_wrong_store_hash_is_explained(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of check: the server does not say it."""
    live_sandbox()
    monkeypatch.setenv("B2B_STORE_HASH", "wrong")
    status, _, stderr = run("assign", write_ids(tmp_path, 1001), *FAST)

    assert status == 1
    assert "The server failed on 1 items, and none succeeded. It does so for a wrong store hash: check" in stderr
    assert run("check")[1].endswith("try again in some minutes.\n")


def test_orders_without_a_legacy_token_make_no_journal(tmp_path: Path, live_sandbox: Start) -> None:
    """Said with the exit status of credentials, in JSON, too."""
    sandbox = live_sandbox()
    file = tmp_path / "orders.csv"
    file.write_text(f"{HEADER}\n1,1001,9000,1.00,\n")
    status, stdout, stderr = run("create-orders", str(file), "--json", *FAST)

    assert status == 4
    assert "needs legacy_token (B2B_LEGACY_TOKEN)" in stderr
    assert "needs legacy_token (B2B_LEGACY_TOKEN)" in last_json(stdout)["error"]
    assert set(tmp_path.iterdir()) == {file}
    assert sandbox.requests == []


def test_a_header_without_rows_is_said(tmp_path: Path, live_sandbox: Start) -> None:
    """In a dry run, too."""
    live_sandbox()
    for words in (["--dry-run"], []):
        status, _, stderr = run("assign", write_ids(tmp_path), *words)
        assert (status, stderr.count("has no items: there is nothing to do")) == (0, 1)


def test_check_only_reads(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the vendor's documents, "Get Company By CustomerId" may delete a company; no call of check is that one."""
    sandbox = live_sandbox()
    monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
    status, stdout, _ = run("check")

    assert status == 0
    assert "v2: the legacy token is accepted" in stdout
    assert sandbox.requests == ["GET /api/v3/io/companies", "GET /api/v2/io/orders/0/companyIdBCId"]


def test_stdin_that_cannot_be_kept_is_bad_input(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk; nothing was sent."""
    sandbox = live_sandbox()
    monkeypatch.setattr("shutil.copyfileobj", _fail(OSError(28, "No space left on device")))
    status, stdout, stderr = run("assign", "-", "--json", stdin=b"1001\n")

    assert status == 2
    assert "stdin cannot be read, or kept in" in stderr
    assert "No space left" in last_json(stdout)["error"]
    assert sandbox.requests == []


def test_a_failing_disk_elsewhere_is_a_sentence(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3, with the file's name where the system gives one."""
    live_sandbox()
    journal = tmp_path / "a.journal"
    for error, text in (
        (PermissionError(13, "Permission denied", "/etc/x"), "b2b-async: /etc/x: Permission denied\n"),
        (OSError(5, "Input/output error"), "b2b-async: Input/output error\n"),
    ):
        monkeypatch.setattr(_inputs, "whole", _fail(error))
        status, stdout, stderr = run("assign", "--company", "1", "--json", "--journal", str(journal))
        assert (status, stderr, last_json(stdout)["exit"]) == (3, text, 3)


def test_the_hang_up_is_kept_away_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has none."""
    monkeypatch.delattr(signal, "SIGHUP")
    _jobs._outlive_terminal()


def test_a_server_that_is_not_the_api_settles_nothing(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page under 404 is no word on a customer: the next run, with the right address, does all."""
    sandbox = live_sandbox()
    monkeypatch.setenv("B2B_BASE_URL", f"{sandbox.url}/api/v3")
    file = write_ids(tmp_path, 1001, 1002)
    status, _, stderr = run("assign", file, "--journal", str(tmp_path / "a"), *FAST)
    assert status == 1
    assert "2 times: NotFoundError 404" in stderr


def test_pages_are_counted_and_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is settled by them: the same command does the items when the address is right."""
    monkeypatch.setenv("B2B_LEGACY_TOKEN", "token")
    file = write_ids(tmp_path, 1001, 1002)
    with mocked_api() as api:
        api.put(re.compile("https://api-b2b"), status=404, body="<h1>Nothing here</h1>", repeat=True)
        status, _, stderr = run("assign", file, *FAST)
    assert status == 1
    assert "2 items got no answer of B2B Edition's. Check the address (B2B_BASE_URL): b2b-async check" in stderr
    with mocked_api() as api:
        api.put(re.compile("https://api-b2b"), payload={"code": 200, "data": {"total": 1}}, repeat=True)
        status, _, _ = run("assign", file, *FAST)
    assert status == 0


def test_a_check_that_is_refused_says_by_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no word on the token; nor is a page."""
    monkeypatch.setenv("B2B_LEGACY_TOKEN", "token")
    for status, words in ((403, "refuses requests at the moment (403 No)"), (200, "answers 200, as if it were not")):
        with mocked_api() as api:
            page = {"body": "<title>No</title>", "content_type": "text/html", "repeat": True}
            api.get(re.compile("https://api-b2b"), status=status, **page)
            code, stdout, _ = run("check")
        assert code == 4
        assert words in stdout
    with mocked_api() as api:
        api.get(re.compile("https://api-b2b"), status=418, payload={"code": 418, "message": "Short and stout"})
        code, stdout, _ = run("check")
    assert (code, "v2: Get Company By BC OrderId: 418 Short and stout" in stdout) == (4, True)


def test_the_totals_of_a_job_that_was_stopped_at_once(
    tmp_path: Path, live_sandbox: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    """The journal has them; if it cannot be read, there are none."""
    live_sandbox()
    file = write_ids(tmp_path, 1001, 1002)
    run("assign", file, *FAST)
    for journal, totals in ((f"{file}.journal", (2, 0, 2)), (file, (None, None, None))):
        with click.Context(click.Command("assign")), pytest.raises(click.exceptions.Exit) as ended:
            conclude_abruptly("assign", "SIGINT twice", journal=Path(journal), again="", as_json=True)
        facts = last_json(capsys.readouterr().out)
        assert (ended.value.exit_code, tuple(map(facts.get, ("done", "pending", "total")))) == (3, totals)


def test_a_file_whose_name_is_too_long_is_bad_input(live_sandbox: Start) -> None:
    """Exit 2: nothing was sent."""
    live_sandbox()
    status, stdout, _ = run("assign", "x" * 300, "--json")

    assert status == 2
    assert "File name too long" in last_json(stdout)["error"]


def test_a_report_that_cannot_be_written_names_its_file(tmp_path: Path, live_sandbox: Start) -> None:
    """And a journal whose name is no text has one."""
    live_sandbox()
    file = write_ids(tmp_path, 1001)
    odd = tmp_path / "by\udcff.journal"
    run("assign", file, "--journal", str(odd), *FAST)
    assert run("report", str(odd), "--html", str(tmp_path / "report.html"))[0] == 0
    status, _, stderr = run("report", str(odd), "--html", str(tmp_path))
    assert (status, f"{tmp_path} cannot be written: Is a directory" in stderr) == (2, True)
