"""The journal: what it remembers, whom it refuses, and what it never loses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2b_async import Client, Credentials, InvalidArgumentError
from b2b_async.bulk import (
    BulkJob,
    Counts,
    Failure,
    ItemOutcome,
    JobKind,
    JournalError,
    JournalItem,
    JournalMismatchError,
    Skipped,
    SQLiteJournal,
    SQLiteReader,
    write_html,
)
from b2b_async.bulk.journal import _rows, sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from b2b_async.bulk import Opened, PendingItem
    from b2b_async.bulk.outcome import Status

ABOUT = {"job": "assign", "store": "hash"}
FAILURE = Failure(
    error="NotFoundError", text="404 No.", outcome="rejected", status=404, code=404, message="No.", final=True
)


async def begin(journal: SQLiteJournal, **about: str) -> Opened:
    """Begin a run."""
    return await journal.begin({**ABOUT, **about}, quota=(150, 60.0))


async def again(journal: SQLiteJournal) -> Opened:
    """End a run and begin the next."""
    await journal.end("finished")
    return await begin(journal)


async def add(journal: SQLiteJournal, *entries: tuple[int, str], read: int = 0) -> Any:
    """Take in entries by position and key."""
    items = [JournalItem(position=position, key=key, value=key) for position, key in entries]
    return await journal.add(items, read=read, checksum=7)


def outcome_of(task: PendingItem, status: Status = "succeeded", *, final: bool | None = None) -> ItemOutcome:
    """Give an outcome."""
    good = status == "succeeded"
    failure = attrs.evolve(FAILURE, final=status == "failed" if final is None else final)
    return ItemOutcome(
        key=task.key,
        position=task.position,
        status=status,
        value=task.value,
        result={"total": 3} if good else None,
        failure=None if good else failure,
        attempts=2,
        sent=1.5,
        seconds=0.5,
        finished=2.5,
    )


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SQLiteJournal]:
    """Give an open journal, its run begun."""
    async with SQLiteJournal(tmp_path / "a.journal") as journal:
        await begin(journal)
        yield journal


async def test_what_is_settled_stays_settled(tmp_path: Path) -> None:
    """The next run does again what was only read, begun, unknown, or failed in passing."""
    path = tmp_path / "a.journal"
    keys = ["done", "failed", "unknown", "begun", "read", "passing"]
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        assert await add(journal, *enumerate(keys, 1), read=6) == []
        tasks = {task.key: task for task in await journal.fetch_pending(99)}
        assert [task.key for task in tasks.values()] == keys
        assert await journal.fetch_pending(99) == []
        for task in tasks.values():
            if task.key != "read":
                await journal.mark_sent(task, 7.5)
        await journal.record(tasks["done"], outcome_of(tasks["done"]))
        await journal.record(tasks["failed"], outcome_of(tasks["failed"], "failed"))
        await journal.record(tasks["unknown"], outcome_of(tasks["unknown"], "unknown"))
        await journal.record(tasks["passing"], outcome_of(tasks["passing"], "failed", final=False))
        await journal.end("stopped")
    assert SQLiteReader(path).status().counts == Counts(succeeded=1, failed=2, unknown=1, final_failed=1, pending=2)
    async with SQLiteJournal(path) as journal:
        opened = await begin(journal)
        again = await journal.fetch_pending(99)
        assert (opened.read, opened.checksum, opened.counts.all) == (6, 7, 6)
        assert [(task.key, task.status, task.in_doubt) for task in again] == [
            ("unknown", "unknown", True),
            ("begun", None, True),
            ("read", None, False),
            ("passing", "failed", False),
        ]
        await journal.record(again[0], outcome_of(again[0]))
        assert journal.counts == Counts(succeeded=2, failed=2, final_failed=1, pending=2)

    assert [outcome.key for outcome in SQLiteReader(path).outcomes()] == ["done", "failed", "unknown", "passing"]
    assert list(SQLiteReader(path).outcomes("failed"))[0] == outcome_of(tasks["failed"], "failed")  # noqa: RUF015 -- one of two
    found = SQLiteReader(path).status()
    assert (found.about, found.low_water_mark, found.total, found.running) == (ABOUT, 3, None, False)
    assert [(run.run, run.how, run.quota, run.window) for run in found.runs] == [
        (1, "stopped", 150, 60.0),
        (2, None, 150, 60.0),
    ]
    assert list(SQLiteReader(path).items())[0] == JournalItem(position=1, key="done", value="done")  # noqa: RUF015 -- one of six


async def test_what_was_turned_away_has_not_left(journal: SQLiteJournal) -> None:
    """A released task is as if nothing had been sent."""
    await add(journal, (1, "a"))
    (task,) = await journal.fetch_pending(1)
    await journal.mark_sent(task, 1.0)
    await journal.mark_not_sent(task)
    await again(journal)

    assert [task.in_doubt for task in await journal.fetch_pending(1)] == [False]


async def test_an_item_that_left_elsewhere_is_marked(journal: SQLiteJournal) -> None:
    """For those that another job may have sent."""
    await journal.add([JournalItem(position=1, key="a", value="a", in_doubt=True)], read=1, checksum=0)

    assert [task.in_doubt for task in await journal.fetch_pending(1)] == [True]


async def test_duplicates_come_back(journal: SQLiteJournal) -> None:
    """An equal one is skipped; one with other values fails, since nobody knows which is meant."""
    await add(journal, (1, "a"), (2, "b"))
    entries = [
        JournalItem(position=3, key="a", value="a"),
        JournalItem(position=4, key="c", value="c"),
        JournalItem(position=5, key="b", value={"other": 1}),
        JournalItem(position=6, key="c", value="c"),
    ]
    equal, other, within = await journal.add(entries, read=6, checksum=0)

    assert equal == Skipped(key="a", position=3, first=1)
    assert within == Skipped(key="c", position=6, first=4)
    assert isinstance(other, ItemOutcome)
    assert (other.status, other.failure.outcome, other.failure.final) == ("failed", "not_sent", True)  # type: ignore[union-attr]
    assert 'b stands at position 2 with other values: "b" there, {"other": 1} here' in other.failure.text  # type: ignore[union-attr]
    assert [task.key for task in await journal.fetch_pending(99)] == ["a", "b", "c"]
    assert journal.counts == Counts(failed=1, final_failed=1, duplicate=2, pending=3)
    assert [outcome.position for outcome in SQLiteReader(journal.path).outcomes()] == [5]
    assert SQLiteReader(journal.path).figures().duplicates == {"a": 1, "b": 1, "c": 1}


async def test_large_slices_are_taken_in(journal: SQLiteJournal) -> None:
    """More rows than one statement takes."""
    repeats = await add(journal, *((n, str(n % 400)) for n in range(1, 1001)))

    assert len(repeats) == 600
    assert len(await journal.fetch_pending(1000)) == 400


async def test_a_position_comes_once(journal: SQLiteJournal) -> None:
    """Another item at the same place is a mistake of the caller."""
    await add(journal, (1, "a"))
    with pytest.raises(JournalError, match="position 1 of b is that of a"):
        await add(journal, (1, "b"))


async def test_an_item_must_be_json(journal: SQLiteJournal) -> None:
    """Said before anything is written."""
    with pytest.raises(InvalidArgumentError, match=r"position 1 cannot be written as JSON .* its kind needs a dump"):
        await journal.add([JournalItem(position=1, key="a", value={1})], read=1, checksum=0)
    assert journal.counts == Counts()


async def test_a_whole_input_is_kept(journal: SQLiteJournal) -> None:
    """So that the next run needs none; what was not begun may be forgotten before that."""
    await add(journal, (1, "a"), read=1)
    await journal.reset()
    assert journal.counts == Counts()
    await add(journal, (1, "b"), read=1)
    await journal.expect(1, complete=True)
    opened = await again(journal)
    assert (opened.complete, opened.read) == (True, 1)
    assert SQLiteReader(journal.path).status().total == 1
    (task,) = await journal.fetch_pending(1)
    await journal.mark_sent(task, 1.0)
    with pytest.raises(JournalMismatchError, match="whose input is read as it goes"):
        await journal.reset()


async def test_requests_are_counted_by_the_minute(journal: SQLiteJournal) -> None:
    """With the next commit, whatever it is for; the quota is the last one told."""
    for minute in (0, 0, 1):
        journal.count_request(minute * 60.0, 150.0)
    await add(journal, (1, "a"))
    journal.count_request(60.0, 100.0)
    await add(journal, (2, "b"))

    figures = SQLiteReader(journal.path).figures()
    assert [(minute.minute, minute.requests, minute.quota) for minute in figures.minutes] == [
        (0, 2, 150.0),
        (1, 2, 100.0),
    ]
    assert figures.status.minutes == figures.minutes
    assert figures.seconds == {}


async def test_figures_of_many(journal: SQLiteJournal) -> None:
    """Percentiles of how long items took; failures by reason, with examples."""
    await add(journal, *((n, str(n)) for n in range(1, 201)))
    for task in await journal.fetch_pending(200):
        status: Status = "failed" if task.position <= 20 else "unknown" if task.position <= 30 else "succeeded"
        outcome = attrs.evolve(outcome_of(task, status), seconds=task.position / 100, repeated=task.position == 50)
        await journal.record(task, outcome)
    figures = SQLiteReader(journal.path).figures()

    assert figures.seconds == {50: 1.0, 90: 1.8, 95: 1.9, 99: 1.98, 100: 2.0}
    assert [(one.status, one.items, one.http_status, one.message, one.examples) for one in figures.reasons] == [
        ("failed", 20, 404, "No.", ["1", "2", "3", "4", "5"]),
        ("unknown", 10, 404, "No.", ["21", "22", "23", "24", "25"]),
    ]
    assert (figures.repeated, figures.more_reasons) == (1, 0)


async def test_a_journal_of_another_job_is_refused(tmp_path: Path) -> None:
    """The message says what differs."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
    async with SQLiteJournal(path) as journal:
        with pytest.raises(
            JournalMismatchError, match="store is 'hash' there and 'other' here; more is 'nothing' there and 'x' here"
        ):
            await begin(journal, store="other", more="x")
        await begin(journal)


async def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """The second is told who has it; after the first is gone it may."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        with pytest.raises(JournalError, match="in use by another process; wait for it, or stop it"):
            async with SQLiteJournal(path):
                pass
        await begin(journal)
        assert SQLiteReader(path).status().running
        with pytest.raises(JournalError, match=rf"in use by process {os.getpid()} on .*, since 20\d\d-.*; wait"):
            async with SQLiteJournal(path):
                pass
    async with SQLiteJournal(path):
        pass
    assert not SQLiteReader(path).status().running


async def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """Whether to write or to read."""
    path = tmp_path / "a.journal"
    path.write_text("This is not a database, but long enough to look at. " * 40)
    with pytest.raises(JournalError, match=r"cannot be used: .* It is no journal"):
        async with SQLiteJournal(path):
            pass
    with pytest.raises(JournalError, match="cannot be read as a journal"):
        SQLiteReader(path).status()
    with pytest.raises(JournalError, match="there is no journal"):
        list(SQLiteReader(tmp_path / "none").outcomes())
    with pytest.raises(JournalError, match="its folder exists"):
        async with SQLiteJournal(tmp_path / "no" / "folder"):
            pass


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("PRAGMA application_id = 7", "a database of another program"),
        ("PRAGMA user_version = 99", "made by a newer b2b-async .its schema is 99, this one knows 4.; upgrade"),
        ("PRAGMA user_version = 1", "made by an older b2b-async"),
    ],
)
async def test_other_databases_are_left_alone(tmp_path: Path, sql: str, text: str) -> None:
    """Not a byte is changed, and reading is refused with the same words."""
    path = tmp_path / "other.db"
    async with SQLiteJournal(path):
        pass
    database = sqlite3.connect(path)
    database.execute(sql)
    database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    before = path.read_bytes()
    with pytest.raises(JournalError, match=text):
        async with SQLiteJournal(path):
            pass
    with pytest.raises(JournalError, match=text):
        SQLiteReader(path).status()

    assert path.read_bytes() == before


async def test_a_link_to_a_journal_has_its_lock(tmp_path: Path) -> None:
    """One file, one job."""
    (tmp_path / "link").symlink_to(tmp_path / "a.journal")
    async with SQLiteJournal(tmp_path / "a.journal"):
        with pytest.raises(JournalError, match="another process"):
            async with SQLiteJournal(tmp_path / "link"):
                pass


async def test_a_journal_that_is_not_open_says_so(tmp_path: Path) -> None:
    """Nothing is acknowledged, neither before nor after."""
    journal = SQLiteJournal(tmp_path / "a.journal")
    with pytest.raises(JournalError, match="is not open"):
        await journal.fetch_pending(1)
    async with journal:
        pass
    with pytest.raises(JournalError, match="is not open"):
        await journal.fetch_pending(1)


async def test_one_run_at_a_time(journal: SQLiteJournal) -> None:
    """Two would do each item twice; and an open journal is not opened again."""
    with pytest.raises(JournalError, match=r"a run of the journal .* is going on"):
        await begin(journal)
    with pytest.raises(JournalError, match="is open already"):
        await journal.__aenter__()


async def test_another_process_that_got_past_the_lock_ends_this_run(tmp_path: Path) -> None:
    """Somebody removed the lock's file: who came last goes on, and the first acknowledges nothing more."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as first:
        await begin(first)
        await add(first, (1, "a"))
        (tmp_path / "a.journal-lock").unlink()
        async with SQLiteJournal(path) as second:
            await begin(second)
            with pytest.raises(JournalError, match="another process has begun to run the journal"):
                await add(first, (2, "b"))
            assert [task.key for task in await second.fetch_pending(9)] == ["a"]
            await second.end("finished")

    assert SQLiteReader(path).status().counts == Counts(pending=1)


async def test_a_run_begins_with_what_is_on_the_disk(tmp_path: Path) -> None:
    """Not with what was there when the journal was opened: somebody got past the lock meanwhile."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as first:
        (tmp_path / "a.journal-lock").unlink()
        async with SQLiteJournal(path) as second:
            await begin(first)
            await add(first, (1, "a"), (2, "b"), read=2)
            (task, _) = await first.fetch_pending(2)
            await first.record(task, outcome_of(task))
            await first.end("finished")
            opened = await begin(second)
            await second.end("finished")

    assert opened.counts == Counts(succeeded=1, pending=1)
    assert SQLiteReader(path).status().counts == opened.counts


async def test_a_release_takes_back_no_more_than_the_departure(journal: SQLiteJournal) -> None:
    """The departure could not be written, and the release can: the item has failed as before."""
    await add(journal, (1, "a"))
    (task,) = await journal.fetch_pending(1)
    await journal.record(task, outcome_of(task, "failed", final=False))
    await again(journal)
    (task,) = await journal.fetch_pending(1)
    assert journal._database is not None
    journal._database.execute("PRAGMA query_only = ON")
    with pytest.raises(JournalError):
        await journal.mark_sent(task, 1.0)
    journal._database.execute("PRAGMA query_only = OFF")
    await journal.mark_not_sent(task)

    assert journal.counts == Counts(failed=1)
    assert [outcome.status for outcome in SQLiteReader(journal.path).outcomes()] == ["failed"]


async def test_a_run_that_is_cancelled_while_it_begins(tmp_path: Path) -> None:
    """It is begun all the same, and ended."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        beginning = asyncio.ensure_future(begin(journal))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        beginning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await beginning
        await begin(journal)

    assert [run.how for run in SQLiteReader(path).status().runs] == ["cancelled", None]


async def test_a_journal_that_is_removed_is_missed(tmp_path: Path) -> None:
    """What was done is written nowhere, and that must not look like a success."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        path.unlink()
        with pytest.raises(JournalError, match="was removed while the job ran"):
            await journal.end("finished")


def test_a_journal_belongs_to_one_event_loop(tmp_path: Path) -> None:
    """In another one it can only be closed."""
    journal = SQLiteJournal(tmp_path / "a.journal")
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(journal.__aenter__())
    first.run_until_complete(begin(journal))
    waiting = asyncio.ensure_future(add(journal, (1, "a")), loop=first)
    first.run_until_complete(asyncio.sleep(0))
    with pytest.raises(JournalError, match="was opened in another event loop"):
        second.run_until_complete(add(journal, (2, "b")))
    second.run_until_complete(journal.close())
    first.run_until_complete(waiting)
    first.close()
    second.close()

    assert [item.key for item in SQLiteReader(journal.path).items()] == ["a"]


async def test_nothing_is_taken_in_while_it_is_closed(tmp_path: Path) -> None:
    """It says so; and who closes it in a hurry leaves no lock behind."""
    path = tmp_path / "a.journal"
    journal = await SQLiteJournal(path).__aenter__()
    await begin(journal)
    writing = asyncio.ensure_future(add(journal, (1, "a")))
    await asyncio.sleep(0)
    closing = [asyncio.ensure_future(journal.close()) for _ in range(2)]
    await asyncio.sleep(0)
    closing[0].cancel()
    await asyncio.sleep(0)
    with pytest.raises(JournalError, match="is not open"):
        await journal.end("finished")
    await writing
    await closing[1]
    async with SQLiteJournal(path) as journal:
        assert (await begin(journal)).counts.pending == 1


async def test_an_outcome_that_is_no_json_is_kept_all_the_same(journal: SQLiteJournal) -> None:
    """The item is done; only its result is told in other words."""
    await add(journal, (1, "a"), (2, "b"))
    for task, result in zip(await journal.fetch_pending(2), [{("a", "b"): 1}, {"ratio": float("nan")}], strict=True):
        await journal.record(task, attrs.evolve(outcome_of(task), result=result))

    assert [outcome.result for outcome in SQLiteReader(journal.path).outcomes()] == [
        {"repr": "{('a', 'b'): 1}"},
        {"repr": "{'ratio': nan}"},
    ]


async def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    """Of files, for example; and numbers that JSON does not have are refused."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        await begin(journal, input="\udcff.csv")
        with pytest.raises(InvalidArgumentError, match="cannot be written as JSON"):
            await journal.add([JournalItem(position=1, key="a", value=float("nan"))], read=1, checksum=0)

    assert SQLiteReader(path).status().about["input"] == "\\udcff.csv"


async def test_a_failure_that_departs_again_has_no_outcome(tmp_path: Path) -> None:
    """If it dies now, nobody must take the last one for true."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        await add(journal, (1, "a"), (2, "b"))
        for task in await journal.fetch_pending(2):
            await journal.record(task, outcome_of(task, "failed", final=False))
        await again(journal)
        first, second = await journal.fetch_pending(2)
        await journal.mark_sent(first, 1.0)
        assert journal.counts == Counts(failed=1, pending=1)
        assert [outcome.key for outcome in SQLiteReader(path).outcomes()] == ["b"]
        await journal.record(second, attrs.evolve(outcome_of(second, "failed", final=False), sent=None))
        await again(journal)
        first, second = await journal.fetch_pending(2)
        assert (first.in_doubt, first.status, second.status) == (True, None, "failed")
        await journal.mark_sent(second, 1.0)
        await journal.record(second, outcome_of(second))

    assert SQLiteReader(path).status().counts == Counts(succeeded=1, pending=1)


async def test_a_full_disk_fails_the_whole_batch(journal: SQLiteJournal) -> None:
    """It acknowledges none, counts none, and goes on when there is room."""
    await add(journal, (1, "a"), read=1)
    assert journal._database is not None
    pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
    journal._database.execute(f"PRAGMA max_page_count = {pages}")
    writes = [add(journal, (n, "x" * 5000 + str(n)), read=n) for n in range(2, 7)]
    results = await asyncio.gather(*writes, return_exceptions=True)

    assert all(isinstance(result, JournalError) for result in results)
    assert "Free some space and run the job again: what was written is safe" in str(results[0])
    assert journal.counts == Counts(pending=1)
    journal._database.execute("PRAGMA max_page_count = 100000")
    await add(journal, (2, "b"), read=2)
    assert [task.key for task in await journal.fetch_pending(9)] == ["a", "b"]


async def test_a_mistake_in_one_call_fails_the_batch_and_no_other(journal: SQLiteJournal) -> None:
    """Even one that SQLite does not know of."""
    with pytest.raises(ZeroDivisionError):
        await journal._do(lambda: 1 // 0)
    await add(journal, (1, "a"))

    assert journal.counts == Counts(pending=1)


@pytest.mark.parametrize(
    ("name", "advice"),
    [("SQLITE_READONLY", "writable"), ("SQLITE_IOERR_FSYNC", "disk fails"), ("SQLITE_BUSY", "Another program")],
)
def test_what_to_do_about_it(tmp_path: Path, name: str, advice: str) -> None:
    """Each fault of the file has its own advice."""
    error = sqlite3.OperationalError("oops")
    error.sqlite_errorname = name

    assert advice in SQLiteJournal(tmp_path / "a.journal")._explain(error)
    assert "Run the job again" in SQLiteJournal(tmp_path / "a.journal")._explain(sqlite3.ProgrammingError("oops"))


@pytest.mark.skipif(sys.platform == "win32", reason="users and their rights are others there")
def test_a_journal_that_may_not_be_written() -> None:
    """It is said before anything is sent; reading it goes on."""

    async def make() -> None:
        async with SQLiteJournal(path) as journal:
            await begin(journal)

    async def open_it() -> None:
        async with SQLiteJournal(path):
            raise AssertionError

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.journal"
        asyncio.run(make())
        path.chmod(0o444)
        Path(folder).chmod(0o755)
        root = os.geteuid() == 0
        if root:  # whom no right stops
            os.seteuid(65534)
        try:
            with pytest.raises(JournalError, match=r"cannot be used: .* writable"):
                asyncio.run(open_it())
            assert SQLiteReader(path).status().about == ABOUT
        finally:
            if root:
                os.seteuid(0)


async def test_a_damaged_journal_says_what_to_do(tmp_path: Path) -> None:
    """What can be read of it is not thrown away."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        await add(journal, *((n, f"key {n}") for n in range(1, 2001)))
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 6 : 4096 * 40] = b"\x55" * 4096 * 34
    path.write_bytes(damaged)

    async def go_on() -> None:
        async with SQLiteJournal(path) as journal:
            await begin(journal)
            await journal.fetch_pending(2000)

    with pytest.raises(JournalError, match=r"malformed\. The file is damaged: put a copy in its place"):
        await go_on()
    with pytest.raises(JournalError, match="cannot be read as a journal: database disk image is malformed"):
        list(SQLiteReader(path).items())


async def test_a_cancelled_writer_has_still_written(tmp_path: Path) -> None:
    """The outcome is known; losing it because somebody stopped waiting would be a pity."""
    path = tmp_path / "a.journal"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        await add(journal, (1, "a"), (2, "b"))
        tasks = await journal.fetch_pending(2)
        writing = [asyncio.ensure_future(journal.record(task, outcome_of(task))) for task in tasks]
        await asyncio.sleep(0)
        writing[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing[0]
        await writing[1]
        writing = [asyncio.ensure_future(add(journal, (n, str(n)))) for n in (3, 4)]
        await asyncio.sleep(0)

    assert [outcome.key for outcome in SQLiteReader(path).outcomes()] == ["a", "b"]
    assert [item.key for item in SQLiteReader(path).items()] == ["a", "b", "3", "4"]
    assert all(done.done() for done in writing)


def _write_until_killed(path: str, acknowledged: Any) -> None:
    async def write() -> None:
        async with SQLiteJournal(path) as journal:
            await begin(journal)
            for n in range(10**6):
                await add(journal, (n, str(n)), read=n + 1)
                (task,) = await journal.fetch_pending(1)
                await journal.mark_sent(task, 1.0)
                await journal.record(task, outcome_of(task))
                acknowledged.send(n)

    asyncio.run(write())


def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Kill -9 in the middle; the lock is free afterwards, and the counts are those of the rows."""
    path = str(tmp_path / "a.journal")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_write_until_killed, args=(path, sender))
    process.start()
    sender.close()
    acknowledged = [receiver.recv() for _ in range(50)]
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process.close()
    while receiver.poll():
        try:
            acknowledged.append(receiver.recv())
        except EOFError:
            break
    receiver.close()

    kept = [outcome.position for outcome in SQLiteReader(path).outcomes()]
    assert set(acknowledged) <= set(kept)
    assert SQLiteReader(path).status().counts.succeeded == len(kept)
    assert not SQLiteReader(path).status().running

    async def again() -> Opened:
        async with SQLiteJournal(path) as journal:
            return await begin(journal)

    assert asyncio.run(again()).counts.succeeded == len(kept)


KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.tuples(st.just("add"), st.lists(KEYS, min_size=1, max_size=4))
    | st.tuples(st.just("take"), st.integers(1, 3))
    | st.tuples(st.just("leave"), st.integers(0, 5))
    | st.tuples(st.just("record"), st.integers(0, 5), st.sampled_from(["succeeded", "failed", "unknown", "passing"]))
    | st.tuples(st.just("reopen")),
    max_size=20,
)


@settings(max_examples=60)
@given(steps=STEPS)
async def test_the_journal_is_a_list_with_a_memory(
    steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a model of a few lists: what is given, to be done again, and counted."""
    path = tmp_path_factory.mktemp("model") / "a.journal"
    keys: list[str] = []  # by position, from 0
    ended: dict[int, str] = {}
    left, given_out, sent = set[int](), set[int](), set[int]()
    taken: list[PendingItem] = []
    journal = await SQLiteJournal(path).__aenter__()
    await begin(journal)

    def first(position: int) -> bool:
        return keys.index(keys[position]) == position

    def open_positions() -> list[int]:
        settled = {position for position, status in ended.items() if status in {"succeeded", "failed"}}
        return [n for n in range(len(keys)) if first(n) and n not in settled]

    for step in steps:
        match step:
            case ("add", new):
                start = len(keys)
                keys += new
                repeats = await add(journal, *((n, keys[n]) for n in range(start, len(keys))), read=len(keys))
                assert [repeat.position for repeat in repeats] == [n for n in range(start, len(keys)) if not first(n)]
            case ("take", most):
                after = max(given_out, default=-1)
                expected = [n for n in open_positions() if n > after][:most]
                tasks = await journal.fetch_pending(most)
                assert [(task.position, task.in_doubt) for task in tasks] == [(n, n in left) for n in expected]
                given_out.update(expected)
                taken += tasks
            case ("leave", number) if number < len(taken) and taken[number].position not in sent:
                position = taken[number].position
                await journal.mark_sent(taken[number], 1.0)  # once in a run, as a worker does
                sent.add(position)
                left.add(position)
                ended = {n: how for n, how in ended.items() if (n, how) != (position, "passing")}
            case ("record", number, status) if number < len(taken):
                task = taken.pop(number)
                final = status == "failed"
                await journal.record(task, outcome_of(task, "failed" if status == "passing" else status, final=final))
                ended[task.position] = status
                left.discard(task.position)
                if status == "unknown":
                    left.add(task.position)
            case ("reopen",):
                await journal.close()
                taken, given_out, sent = [], set(), set()
                journal = await SQLiteJournal(path).__aenter__()
                opened = await begin(journal)
                assert opened.read == len(keys)
            case _:
                pass
        statuses = list(ended.values())
        assert journal.counts == Counts(
            succeeded=statuses.count("succeeded"),
            failed=statuses.count("failed") + statuses.count("passing"),
            unknown=statuses.count("unknown"),
            final_failed=statuses.count("failed"),
            duplicate=sum(not first(n) for n in range(len(keys))),
            pending=sum(first(n) and n not in ended for n in range(len(keys))),
        )
    await journal.close()

    assert {outcome.position: outcome.status for outcome in SQLiteReader(path).outcomes()} == {
        position: "failed" if status == "passing" else status for position, status in ended.items()
    }


async def test_a_journal_is_an_ordinary_database(journal: SQLiteJournal) -> None:
    """Any SQLite tool reads it."""
    await add(journal, (1, "a"))
    (task,) = await journal.fetch_pending(1)
    await journal.record(task, outcome_of(task))
    await journal.close()
    database = sqlite3.connect(journal.path)
    (row,) = database.execute("SELECT key, status, result FROM items").fetchall()
    database.close()

    assert (row[0], row[1], json.loads(row[2])) == ("a", "succeeded", {"total": 3})


# -- readers leave nothing behind, and copies are told from journals -------------------------------------------


async def _used(path: Path) -> Path:
    """Make a journal with an outcome, and close it."""
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "assign"}, quota=(150, 60.0))
        await journal.add([JournalItem(position=1, key="7", value=7)], read=1, checksum=0)
        await journal.end("finished")
    return path


def test_readers_leave_nothing_beside_a_closed_journal(tmp_path: Path) -> None:
    """Neither a -wal nor a -shm, and no byte of it changes."""
    path = asyncio.run(_used(tmp_path / "a.journal"))
    before, files = path.read_bytes(), set(tmp_path.iterdir())
    assert SQLiteReader(path).status().counts.pending == 1
    assert list(SQLiteReader(path).outcomes()) == []
    assert [item.key for item in SQLiteReader(path).items()] == ["7"]
    write_html(SQLiteReader(path), tmp_path.with_suffix(".html"))

    assert set(tmp_path.iterdir()) == files
    assert path.read_bytes() == before


async def test_a_journal_is_read_while_its_job_runs(tmp_path: Path) -> None:
    """With what is in its -wal only."""
    async with SQLiteJournal(tmp_path / "a.journal") as journal:
        await journal.begin({"job": "assign"}, quota=(150, 60.0))
        await journal.add([JournalItem(position=1, key="7", value=7)], read=1, checksum=0)
        status = SQLiteReader(journal.path).status()

    assert (status.running, status.counts.pending) == (True, 1)


async def test_a_job_that_begins_under_a_reader_is_noticed(tmp_path: Path) -> None:
    """The rows that it has read may be of two times."""
    path = await _used(tmp_path / "a.journal")
    items = SQLiteReader(path).items()
    assert next(items).key == "7"
    await _again(path)
    with pytest.raises(JournalError, match="has changed while it was read"):
        list(items)


async def _again(path: Path) -> None:
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "assign"}, quota=(150, 60.0))
        await journal.end("finished")


async def test_a_copy_without_its_wal_is_no_empty_journal(tmp_path: Path) -> None:
    """Neither for those who read nor for a job, which would do everything again."""
    copy = tmp_path / "copy"
    async with SQLiteJournal(tmp_path / "a.journal") as journal:
        await journal.begin({"job": "assign"}, quota=(150, 60.0))
        copy.write_bytes(journal.path.read_bytes())
    with pytest.raises(
        JournalError, match=r"copy holds nothing\. If it was copied while its job ran.* copy copy-wal with"
    ):
        SQLiteReader(copy).status()
    with pytest.raises(JournalError, match="copy holds nothing"):
        await SQLiteJournal(copy).__aenter__()


def test_a_journal_whose_process_died_before_its_first_word_is_new(tmp_path: Path) -> None:
    """Its -wal shows that nothing was lost."""
    path = tmp_path / "a.journal"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("SELECT count(*) FROM sqlite_schema")
    assert Path(f"{path}-wal").exists()
    with pytest.raises(JournalError, match="cannot be read as a journal"):
        SQLiteReader(path).status()
    asyncio.run(_used(path))
    database.close()

    assert SQLiteReader(path).status().about == {"job": "assign"}


# -- what was changed, vanished or is old -------------------------------------------------------------------------


OLD = Path(__file__).parent / "data" / "schema-2.db"
"""A journal that version 2 of the schema wrote: two orders created, one refused, one in doubt, one not reached."""
OLD_3 = OLD.with_name("schema-3.db")
"""One that version 3 wrote: two orders created, one refused, one unknown, one in doubt that was absent, one not
reached, a duplicate; requests in the minutes 0 and 2 of its run."""


def old_journal(tmp_path: Path, old: Path = OLD) -> Path:
    """Copy an old journal."""
    path = tmp_path / "old.journal"
    shutil.copy(old, path)
    return path


async def test_a_journal_of_version_3_is_brought_up_to_date_in_place(tmp_path: Path) -> None:
    """It reads the same before and after; its minutes are those of the clock, and its verification still counts."""
    path = old_journal(tmp_path, OLD_3)
    reader = SQLiteReader(path)
    before, outcomes, figures = reader.status(), list(reader.outcomes()), reader.figures()
    assert path.read_bytes() == OLD_3.read_bytes()
    async with SQLiteJournal(path) as journal:
        opened = await journal.begin(before.about, quota=(150, 60.0))
        pending = await journal.fetch_pending(9)
        await journal.end(None)
    after = SQLiteReader(path)

    assert after.status() == before
    assert (list(after.outcomes()), after.figures()) == (outcomes, figures)
    assert before.counts == Counts(succeeded=2, failed=1, final_failed=1, unknown=1, duplicate=1, pending=2)
    assert (opened.counts, opened.read, opened.fingerprint) == (before.counts, 7, "fp")
    begun = 1_790_000_000 // 60
    assert [(one.minute, one.requests, one.quota) for one in before.minutes] == [
        (begun, 4, 150.0),
        (begun + 2, 1, 140.0),
    ]
    assert [(one.key, one.in_doubt, one.status, one.absent) for one in pending] == [
        ("9004", True, "unknown", None),
        ("9005", True, None, 1_790_000_060.0),
        ("9006", False, None, None),
    ]


async def test_the_minutes_of_a_run_that_began_near_1970_are_brought_up_to_date(tmp_path: Path) -> None:
    """On a machine without a clock, a minute moves to where the next one stood."""
    path = old_journal(tmp_path, OLD_3)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE runs SET started = 90")
        database.execute("INSERT INTO minutes VALUES (1, 1, 7, 150)")
    before = SQLiteReader(path).figures()
    async with SQLiteJournal(path):
        pass

    assert [(one.minute, one.requests) for one in before.minutes] == [(1, 4), (2, 7), (3, 1)]
    assert SQLiteReader(path).figures().minutes == before.minutes


async def test_an_old_journal_is_read_as_of_one_moment(tmp_path: Path) -> None:
    """Though it is brought up to date meanwhile."""
    path = old_journal(tmp_path, OLD_3)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("UPDATE about SET value = value")
        database.commit()  # so that there is a file of changes beside it, as after a kill
        before = SQLiteReader(path).status()
        reader = SQLiteReader(path)
        with reader._reading() as reading:
            async with SQLiteJournal(path):
                pass
            during = reader._status(reading)

    assert attrs.evolve(during, running=False) == before == SQLiteReader(path).status()


async def test_an_old_journal_is_brought_up_to_date_in_place(tmp_path: Path) -> None:
    """Its items, outcomes and doubts are kept, and its rows get their checksums."""
    path = old_journal(tmp_path)
    before = SQLiteReader(path).status()
    outcomes = list(SQLiteReader(path).outcomes())
    async with SQLiteJournal(path) as journal:
        await journal.begin(before.about, quota=(150, 60.0))
        tasks = await journal.fetch_pending(9)
        await journal.end("finished")
    assert [(task.key, task.in_doubt, task.status) for task in tasks] == [("9004", True, None), ("9005", False, None)]
    assert tasks[0].value["po_number"] == "PO 4"
    after = SQLiteReader(path).status()
    assert (after.counts, after.about, after.runs[:-1]) == (before.counts, before.about, before.runs)
    assert list(SQLiteReader(path).outcomes()) == outcomes
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (4,)
        assert database.execute("SELECT count(*) FROM items WHERE checksum IS NULL").fetchone() == (0,)


def test_readers_read_an_old_journal_without_writing(tmp_path: Path) -> None:
    """Byte for byte it stays what it was."""
    path = old_journal(tmp_path)
    assert SQLiteReader(path).status().counts.succeeded == 2
    assert len(list(SQLiteReader(path).outcomes())) == 3
    assert len(list(SQLiteReader(path).items())) == 5
    assert SQLiteReader(path).figures().reasons
    assert path.read_bytes() == OLD.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["old.journal"]


async def test_a_migration_that_breaks_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction."""
    path = old_journal(tmp_path)
    statements = sqlite._MIGRATIONS[3].replace("PRAGMA user_version = 4", "SELECT nonsense")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "_MIGRATIONS", {**sqlite._MIGRATIONS, 3: statements})
        with pytest.raises(JournalError, match="nonsense"):
            async with SQLiteJournal(path):
                pass
    assert SQLiteReader(path).status().counts.succeeded == 2
    async with SQLiteJournal(path):
        pass


async def begun(path: Path, *values: object) -> None:
    """Make a journal of some items."""
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "test"}, quota=(150, 60.0))
        entries = [JournalItem(position=place, key=str(place), value=value) for place, value in enumerate(values, 1)]
        await journal.add(entries, read=len(entries), checksum=1)
        await journal.end("stopped")


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE items SET value = '{"total": "9000"}' WHERE position = 2""",
        "UPDATE items SET value = x'00ff' WHERE position = 2",
        "UPDATE items SET value = '{' WHERE position = 2",
        "UPDATE items SET key = 'other' WHERE position = 2",
        "UPDATE items SET checksum = 'x' WHERE position = 2",
        "UPDATE items SET status = 'odd' WHERE position = 2",
        "UPDATE items SET checksum = NULL, absent = x'00' WHERE position = 2",
        "UPDATE items SET checksum = NULL, absent = 9e999 WHERE position = 2",
    ],
)
async def test_an_item_that_was_changed_is_not_sent(tmp_path: Path, change: str) -> None:
    """The message names the file, the position, and what to do."""
    path = tmp_path / "job.journal"
    await begun(path, {"total": "1"}, {"total": "2"})
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(change)
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "test"}, quota=(150, 60.0))
        with pytest.raises(JournalError, match=r"job\.journal is damaged: the item at position 2 .* put a copy"):
            await journal.fetch_pending(9)
        await journal.end("broken off")


async def test_rows_that_vanished_are_missed(tmp_path: Path) -> None:
    """Before anything is sent."""
    path = tmp_path / "job.journal"
    await begun(path, 1, 2, 3)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM items WHERE position = 2")
    async with SQLiteJournal(path) as journal:
        with pytest.raises(JournalError, match="counts 3 items and has 2"):
            await journal.begin({"job": "test"}, quota=(150, 60.0))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("UPDATE progress SET pending = 'many'", "progress"),
        ("DELETE FROM progress", "progress"),
        ("UPDATE progress SET total = 'x'", "the progress"),
        ("UPDATE items SET failure = '[' WHERE position = 3", "position 3"),
        ("UPDATE items SET failure = '[]' WHERE position = 3", "position 3"),
        ("UPDATE items SET failure = json_set(failure, '$.code', 'x') WHERE position = 3", "position 3"),
        ("UPDATE items SET result = '[1]' WHERE position = 1", "position 1"),
        ("UPDATE items SET value = replace(hex(zeroblob(5000)), '00', '[') WHERE position = 1", "position 1"),
        ("UPDATE items SET finished = 1e300 WHERE position = 1", "position 1"),
        ("UPDATE items SET attempts = 'x' WHERE position = 1", "position 1"),
        ("UPDATE runs SET started = 'x'", "run 1"),
        ("UPDATE minutes SET requests = 'x'", "the minutes"),
        ("UPDATE items SET key = x'00' WHERE position = 1", "position 1"),
    ],
)
def test_readers_name_what_is_damaged(tmp_path: Path, change: str, where: str) -> None:
    """The file, the place and what to do."""
    path = old_journal(tmp_path)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute(change)

    def read() -> None:
        SQLiteReader(path).status()
        list(SQLiteReader(path).outcomes())
        list(SQLiteReader(path).items())

    with pytest.raises(JournalError, match=rf"old\.journal: the journal is damaged.*{where}.*[Pp]ut a copy"):
        read()


async def test_an_item_that_its_kind_cannot_read_ends_the_job(tmp_path: Path) -> None:
    """With its position."""
    path = tmp_path / "job.journal"

    def load(value: dict[str, str]) -> int:
        return int(value["number"])

    async def run(_client: Client, _item: int) -> dict[str, int]:
        return {}

    kind = JobKind(name="odd", run=run, load=load)
    async with Client(Credentials("token", "hash")) as client, SQLiteJournal(path) as journal:
        job = BulkJob(client, [{"number": "1"}, {"other": "2"}], journal=journal, kind=attrs.evolve(kind, key=str))
        with pytest.raises(JournalError, match=r"item at position 2 in the journal is none for odd \(KeyError"):
            await job.run()


# -- files ---------------------------------------------------------------------------------------------------------


async def test_only_its_owner_can_read_a_journal(tmp_path: Path) -> None:
    """Order ids, amounts and purchase order numbers are in it; so it is with the files beside it."""
    path = tmp_path / "job.journal"
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "test"}, quota=(150, 60.0))
        modes = {name: os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}  # noqa: PTH116, PTH208
        await journal.end("finished")
    assert len(modes) >= 3
    assert set(modes.values()) == {0o600}


async def test_a_link_to_nothing_is_refused(tmp_path: Path) -> None:
    """Else the job would write somewhere else."""
    path = tmp_path / "link.journal"
    path.symlink_to(tmp_path / "nothing")
    with pytest.raises(JournalError, match=r"is a link to .*nothing, which does not exist: remove the link"):
        async with SQLiteJournal(path):
            pass
    assert not (tmp_path / "nothing").exists()


async def test_a_reader_of_the_lock_does_not_stop_the_owner(tmp_path: Path) -> None:
    """Nor does one that asks whether a job runs."""
    path = tmp_path / "job.journal"
    await begun(path, 1)
    with contextlib.closing(sqlite3.connect(f"{path}-lock", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        async with SQLiteJournal(path):
            assert SQLiteReader(path).status().running
    assert not SQLiteReader(path).status().running


# -- at once -------------------------------------------------------------------------------------------------------


async def test_a_cancelled_run_does_not_wait_for_another_program(tmp_path: Path) -> None:
    """The next run finds out what could not be written."""
    path = tmp_path / "job.journal"
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "test"}, quota=(150, 60.0))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            adding = asyncio.ensure_future(journal.add([JournalItem(position=1, key="1", value=1)], read=1, checksum=1))
            await asyncio.sleep(0)
            journal.interrupt()
            with pytest.raises(JournalError, match="Another program holds the file"):
                await adding
            assert time.monotonic() - started < 1.5
            other.execute("COMMIT")
        await journal.end("finished")


async def test_a_cancelled_close_leaves_no_thread_behind(tmp_path: Path) -> None:
    """Even where another program holds the file."""
    before = threading.active_count()
    path = tmp_path / "job.journal"
    journal = await SQLiteJournal(path).__aenter__()
    await journal.begin({"job": "test"}, quota=(150, 60.0))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.ensure_future(journal.add([JournalItem(position=1, key="1", value=1)], read=1, checksum=1))
        closing = asyncio.ensure_future(journal.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(JournalError):
            await adding
    for thread in threading.enumerate():
        if thread.name.startswith("b2b-async-journal"):
            thread.join(2)
    assert threading.active_count() <= before


async def test_absence_is_remembered(journal: SQLiteJournal) -> None:
    """Until the item is sent again, or has an outcome."""
    await journal.add([JournalItem(position=1, key="1", value=1, in_doubt=True)], read=1, checksum=1)
    (task,) = await journal.fetch_pending(9)
    assert task.absent is None
    await journal.mark_absent(task, 1000.5)
    for absent in (1000.5, None):
        await again(journal)
        (task,) = await journal.fetch_pending(9)
        assert (task.in_doubt, task.absent) == (True, absent)
        await journal.mark_sent(task, 2000.0)


async def test_a_further_request_asks_the_journal(tmp_path: Path) -> None:
    """A process that was frozen, and whose job another one has gone on with, sends nothing more."""
    path = tmp_path / "job.journal"
    async with SQLiteJournal(path) as journal:
        await journal.begin({"job": "test"}, quota=(150, 60.0))
        await journal.check_owner()
        os.unlink(f"{path}-lock")  # noqa: PTH108
        async with SQLiteJournal(path) as other:
            await other.begin({"job": "test"}, quota=(150, 60.0))
            with pytest.raises(JournalError, match="another process has begun to run the journal"):
                await journal.check_owner()
            await other.end("finished")


async def test_a_file_that_another_program_locks_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as there is patience."""
    path = tmp_path / "job.journal"
    await begun(path, 1)
    monkeypatch.setattr(sqlite, "_PATIENCE", 0.2)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(JournalError, match="Another program holds the file"):
            async with SQLiteJournal(path):
                pass
    async with SQLiteJournal(path):
        pass


async def test_results_of_any_mapping_are_kept_and_read(journal: SQLiteJournal) -> None:
    """Whatever a kind returns."""
    await add(journal, (1, "a"), (2, "b"))
    first, second = await journal.fetch_pending(9)
    await journal.record(first, attrs.evolve(outcome_of(first), result=MappingProxyType({"a": 1})))
    await journal.record(second, outcome_of(second))
    with contextlib.closing(sqlite3.connect(journal.path)) as other, other:
        other.execute("""UPDATE items SET result = '"text"' WHERE position = 2""")
    assert [outcome.result for outcome in SQLiteReader(journal.path).outcomes()] == [{"a": 1}, {"repr": "text"}]


async def test_a_cancelled_migration_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not go on behind one's back."""
    path = old_journal(tmp_path)
    monkeypatch.setattr(sqlite, "_STEPS", 1)
    journal = SQLiteJournal(path)
    checksum = _rows.checksum

    def interrupting(*args: Any) -> int:
        journal._give_up_at = 0.0
        return checksum(*args)

    monkeypatch.setattr(_rows, "checksum", interrupting)
    with pytest.raises(JournalError, match="interrupted"):
        await journal.__aenter__()
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)


async def test_a_cancelled_opening_ends_at_once(tmp_path: Path) -> None:
    """Although another program locks the file."""
    path = tmp_path / "job.journal"
    await begun(path, 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        opening = asyncio.ensure_future(SQLiteJournal(path).__aenter__())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert time.monotonic() - started < 5
    async with SQLiteJournal(path):
        pass
