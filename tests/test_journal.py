"""The journal: what it remembers, whom it refuses, and what it never loses."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2b_async.bulk import Failure, ItemOutcome, Journal, JournalError
from b2b_async.bulk.journal import read_outcomes, read_status

if TYPE_CHECKING:
    from pathlib import Path

    from b2b_async.bulk.outcome import Status

ABOUT = {"job": "assign", "store": "hash"}
FAILURE = Failure(
    error="NotFoundError", text="404 No.", outcome="rejected", status=404, code=404, message="No.", final=True
)


def outcome_of(key: str, position: int = 1, status: Status = "succeeded") -> ItemOutcome:
    """Give an outcome."""
    good = status == "succeeded"
    return ItemOutcome(
        key=key,
        position=position,
        status=status,
        result={"total": 3} if good else None,
        failure=None if good else attrs.evolve(FAILURE, final=status == "failed"),
        attempts=2,
        started=1.5,
        finished=2.5,
    )


async def test_what_is_settled_stays_settled(tmp_path: Path) -> None:
    """The next run does again what was only begun, or is unknown."""
    path = tmp_path / "a.journal"
    async with Journal(path, ABOUT) as journal:
        for n, key in enumerate(["done", "failed", "unknown", "begun"], 1):
            assert await journal.claim(key, n) == "new"
        assert await journal.claim("begun", 9) == "duplicate"
        await journal.record(outcome_of("done", 1))
        await journal.record(outcome_of("failed", 2, "failed"))
        await journal.record(outcome_of("unknown", 3, "unknown"))
    assert read_status(path).counts == {"failed": 1, "pending": 1, "succeeded": 1, "unknown": 1}
    async with Journal(path, ABOUT) as journal:
        claims = [await journal.claim(key, n) for n, key in enumerate(["done", "failed", "unknown", "begun", "more"])]
        assert claims == ["succeeded", "failed", "new", "new", "new"]
        assert await journal.claim("done", 9) == "duplicate"

    assert list(read_outcomes(path, "failed")) == [outcome_of("failed", 2, "failed")]
    assert [outcome.key for outcome in read_outcomes(path)] == ["done", "failed", "unknown"]
    assert read_status(path).about == {**ABOUT, "format": "1", "runs": "2"}


async def test_a_journal_of_another_job_is_refused(tmp_path: Path) -> None:
    """The message says what differs."""
    path = tmp_path / "a.journal"
    async with Journal(path, ABOUT):
        pass
    with pytest.raises(JournalError, match="store is 'hash' there and 'other' here"):
        async with Journal(path, {**ABOUT, "store": "other"}):
            pass


async def test_two_at_once_are_refused(tmp_path: Path) -> None:
    """The second is told; after the first is gone it may."""
    path = tmp_path / "a.journal"
    async with Journal(path, ABOUT):
        with pytest.raises(JournalError, match="another process is running this job"):
            async with Journal(path, ABOUT):
                pass
    async with Journal(path, ABOUT):
        pass


async def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    """Whether to write or to read."""
    path = tmp_path / "a.journal"
    path.write_text("This is not a database, but long enough to look at. " * 40)
    with pytest.raises(JournalError, match=r"cannot be used: .* Is it a journal"):
        async with Journal(path, ABOUT):
            pass
    with pytest.raises(JournalError, match="cannot be read as a journal"):
        read_status(path)
    with pytest.raises(JournalError, match="there is no journal"):
        list(read_outcomes(tmp_path / "none"))
    with pytest.raises(JournalError, match="cannot be written"):
        async with Journal(tmp_path / "no" / "folder", ABOUT):
            pass


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    """Not even a table is added."""
    path = tmp_path / "other.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE theirs (x)")
    database.close()
    with pytest.raises(JournalError, match="a database of another program"):
        async with Journal(path, ABOUT):
            pass
    database = sqlite3.connect(path)
    assert database.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]
    database.close()


async def test_a_link_to_a_journal_has_its_lock(tmp_path: Path) -> None:
    """One file, one job."""
    (tmp_path / "link").symlink_to(tmp_path / "a.journal")
    async with Journal(tmp_path / "a.journal", ABOUT):
        with pytest.raises(JournalError, match="another process"):
            async with Journal(tmp_path / "link", ABOUT):
                pass


async def test_an_item_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    """Its neighbours in the batch are written."""
    async with Journal(tmp_path / "a.journal", ABOUT) as journal:
        claims = [journal.claim("\ud800", 1), journal.claim("b", 2), journal.claim("c", 2**70)]
        results = await asyncio.gather(*claims, return_exceptions=True)

    assert [type(result) for result in results] == [JournalError, str, JournalError]
    assert "cannot hold this item" in str(results[0])


async def test_a_journal_that_is_not_open_says_so(tmp_path: Path) -> None:
    """Nothing is acknowledged."""
    journal = Journal(tmp_path / "a.journal", ABOUT)
    with pytest.raises(JournalError, match="is not open"):
        await journal.claim("a", 1)
    await journal.close()


async def test_an_unwritable_disk_fails_every_write_of_the_batch(tmp_path: Path) -> None:
    """And acknowledges none."""
    async with Journal(tmp_path / "a.journal", ABOUT) as journal:
        await journal.claim("a", 1)
        assert journal._database is not None
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {pages}")
        writes = [journal.claim("x" * 3000 + str(n), n) for n in range(5)]
        results = await asyncio.gather(*writes, return_exceptions=True)

        assert all(isinstance(result, JournalError) for result in results)
        assert "Free the disk" in str(results[0])
        journal._database.execute("PRAGMA max_page_count = 100000")
        assert await journal.claim("a", 1) == "duplicate"
        assert await journal.claim("b", 2) == "new"


async def test_a_cancelled_writer_has_still_written(tmp_path: Path) -> None:
    """The outcome is known; losing it because somebody stopped waiting would be a pity."""
    path = tmp_path / "a.journal"
    async with Journal(path, ABOUT) as journal:
        await journal.claim("a", 1)
        writing = asyncio.ensure_future(journal.record(outcome_of("a")))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    assert [outcome.key for outcome in read_outcomes(path)] == ["a"]


def _write_until_killed(path: str, acknowledged: Any) -> None:
    async def write() -> None:
        async with Journal(path, ABOUT) as journal:
            for n in range(10**6):
                await journal.claim(str(n), n)
                await journal.record(outcome_of(str(n), n))
                acknowledged.send(n)

    asyncio.run(write())


def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Kill -9 in the middle; the lock is free afterwards."""
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

    kept = {outcome.position for outcome in read_outcomes(path)}
    assert set(acknowledged) <= kept

    async def again() -> str:
        async with Journal(path, ABOUT) as journal:
            return await journal.claim("0", 0)

    assert asyncio.run(again()) == "succeeded"


KEYS = st.sampled_from("abc")
STEPS = st.lists(
    st.tuples(st.just("claim"), KEYS)
    | st.tuples(st.just("record"), KEYS, st.sampled_from(["succeeded", "failed", "unknown"]))
    | st.tuples(st.just("reopen")),
    max_size=20,
)


@settings(max_examples=60)
@given(steps=STEPS)
async def test_the_journal_is_a_map_with_a_memory_of_runs(
    steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Against a model of two dictionaries."""
    path = tmp_path_factory.mktemp("model") / "a.journal"
    run, seen, ended = 1, dict[str, int](), dict[str, str]()
    journal = await Journal(path, ABOUT).__aenter__()
    for step in steps:
        match step:
            case ("claim", key):
                settled = ended.get(key) if ended.get(key) != "unknown" else None
                expected = "duplicate" if seen.get(key) == run else settled or "new"
                assert await journal.claim(key, 1) == expected
                seen[key] = run
            case ("record", key, status):
                await journal.record(outcome_of(key, status=status))
                if key in seen:
                    ended[key] = status
            case _:
                await journal.close()
                run += 1
                journal = await Journal(path, ABOUT).__aenter__()
    await journal.close()

    assert {outcome.key: outcome.status for outcome in read_outcomes(path)} == ended


def test_a_journal_is_an_ordinary_database(tmp_path: Path) -> None:
    """Any SQLite tool reads it."""
    path = tmp_path / "a.journal"

    async def write() -> None:
        async with Journal(path, ABOUT) as journal:
            await journal.claim("a", 1)
            await journal.record(outcome_of("a"))

    asyncio.run(write())
    database = sqlite3.connect(path)
    assert database.execute("SELECT key, status, result FROM items").fetchall() == [("a", "succeeded", '{"total": 3}')]
    database.close()
