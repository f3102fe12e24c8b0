"""The journal as one SQLite file, which any SQLite tool reads.

All SQL runs in one thread. What is asked for while that thread is busy is committed together with what else waits
(group commit): one sync to the disk serves all of it. Who asks goes on only after that sync.

Resuming and telling how far a job is cost what is open and not what is done: open items have an index of their own,
whose first entry is the low-water mark, and the counts are kept in the transaction that changes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import platform
import sqlite3
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from b2b_async.bulk.journal.protocol import Counts, JournalError, JournalMismatchError, Opened, Task
from b2b_async.bulk.outcome import CONFLICT, Failure, ItemOutcome, Skipped
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from b2b_async.bulk.journal.protocol import Entry

T = TypeVar("T")

SCHEMA = 3
"""The version of the tables below, in SQLite's user_version."""
_OLDEST = 2
"""The oldest version that is migrated."""
APPLICATION = 0x62326261
"""Marks the file as ours in SQLite's header: "b2ba"."""
_TABLES = """
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    position INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    value TEXT NOT NULL,          -- the item, as JSON
    duplicate_of INTEGER,         -- the position of the item that it repeats
    status TEXT,                  -- NULL: no outcome yet; succeeded, failed, unknown, duplicate
    settled INTEGER NOT NULL DEFAULT 0,
    departed REAL,                -- when a request left of which the end is not known, Unix time
    repeated INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    failure TEXT,
    attempts INTEGER,
    sent REAL,
    seconds REAL,
    finished REAL,
    absent REAL,                  -- when a verification first found an item in doubt absent, Unix time
    checksum INTEGER              -- of position, key, value, and whether departed is NULL
);
CREATE UNIQUE INDEX items_by_key ON items (key) WHERE duplicate_of IS NULL;
CREATE INDEX items_open ON items (position) WHERE NOT settled;
CREATE TABLE progress (
    read INTEGER NOT NULL, checksum INTEGER NOT NULL, complete INTEGER NOT NULL, total INTEGER,
    fingerprint TEXT NOT NULL,    -- of the whole input
    succeeded INTEGER NOT NULL, failed INTEGER NOT NULL, unknown INTEGER NOT NULL, duplicate INTEGER NOT NULL,
    settled_failed INTEGER NOT NULL, pending INTEGER NOT NULL,
    begun INTEGER NOT NULL        -- whether a request has left, or an outcome was written
);
INSERT INTO progress VALUES (0, 0, 0, NULL, '', 0, 0, 0, 0, 0, 0, 0);
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, process TEXT NOT NULL, started REAL NOT NULL, quota INTEGER NOT NULL, window REAL NOT NULL,
    finished REAL, how TEXT
);
CREATE TABLE minutes (
    run INTEGER NOT NULL, minute INTEGER NOT NULL, requests INTEGER NOT NULL, quota REAL NOT NULL,
    PRIMARY KEY (run, minute)
) WITHOUT ROWID;
"""
_MIGRATIONS = {
    2: """
ALTER TABLE items ADD COLUMN absent REAL;
ALTER TABLE items ADD COLUMN checksum INTEGER;
UPDATE items SET checksum = item_checksum(position, key, value, departed IS NOT NULL);
PRAGMA user_version = 3""",
}
"""The statements that make the tables of the next version out of those of a version."""
# Each of these is one statement for a whole batch, because every step of a statement gives the interpreter away and
# has to wait until it comes back.
_ADD = "INSERT OR IGNORE INTO items (position, key, value, departed, checksum) VALUES {}"
_FIRST = "SELECT position, value FROM items WHERE key = ? AND duplicate_of IS NULL"
_ADD_REPEAT = """
INSERT INTO items (position, key, value, checksum, duplicate_of, status, settled, failure, attempts, finished)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, 0, ?)
"""
_TAKE = """
SELECT json_group_array(json_array(
    position, CAST(key AS TEXT), CAST(value AS TEXT), CAST(status AS TEXT), departed IS NOT NULL,
    CASE WHEN typeof(absent) IN ('integer', 'real') AND abs(absent) < 1e11 THEN absent END, CAST(checksum AS INTEGER)
)) FROM (
    SELECT * FROM items WHERE NOT settled AND position > ? ORDER BY position LIMIT ?
)
"""
_INPUT = "SELECT coalesce((SELECT max(position) FROM items), -1), fingerprint FROM progress"
# Whoever departs has no outcome any more: if it dies now, nobody must take the last one for true.
_EXPECT = "UPDATE progress SET total = coalesce(?, total), fingerprint = coalesce(?, fingerprint)"
_LEAVE = """
UPDATE items SET departed = new.column2, checksum = item_checksum(position, key, value, 1), absent = NULL,
    status = nullif(status, 'failed'), failure = CASE status WHEN 'failed' THEN NULL ELSE failure END
FROM (VALUES {}) AS new WHERE position = new.column1
"""
_ABSENT = "UPDATE items SET absent = new.column2 FROM (VALUES {}) AS new WHERE position = new.column1"
_RELEASE = """
UPDATE items SET departed = new.column2, checksum = item_checksum(position, key, value, 0)
FROM (VALUES {}) AS new WHERE position = new.column1
"""
_DOUBT = """
UPDATE items SET departed = ?, checksum = item_checksum(position, key, value, 1) WHERE position = ? AND NOT settled
"""
_RECORD = """
UPDATE items SET absent = NULL, status = new.column2, settled = new.column3, departed = new.column4,
    checksum = item_checksum(position, key, value, new.column4 IS NOT NULL), repeated = new.column5,
    result = new.column6, failure = new.column7, attempts = new.column8, sent = new.column9, seconds = new.column10,
    finished = new.column11
FROM (VALUES {}) AS new WHERE position = new.column1
"""
_SAVE = """
UPDATE progress SET read = :read, checksum = :checksum, complete = :complete, succeeded = :succeeded, failed = :failed,
unknown = :unknown, duplicate = :duplicate, settled_failed = :settled_failed, pending = :pending, begun = :begun
"""
_COUNT = """
INSERT INTO minutes VALUES {}
ON CONFLICT (run, minute) DO UPDATE SET requests = requests + excluded.requests, quota = excluded.quota
"""
_encode = json.JSONEncoder(default=str, allow_nan=False).encode
_BEGINNING = -1
"""The number of a run that has none yet."""
_MOST_ROWS = 80
"""Rows in one statement: older SQLite takes 999 parameters."""
_PATIENCE = 30.0
"""Seconds to wait for another program, such as a database browser, that holds the file."""
_HURRY = 0.8
"""Seconds to wait for it at most once the run is cancelled."""
_STEPS = 10_000
"""Steps of SQLite between two looks at the clock."""
_BUSY = 0.05
"""Seconds that SQLite waits by itself; then it is decided whether to wait on."""


@attrs.define
class _Batch:
    """What is written together."""

    calls: list[Callable[[], Any]] = attrs.field(factory=list[Any])
    """Run in the thread, inside the transaction."""
    departed: dict[int, float] = attrs.field(factory=dict[int, Any])
    """Positions, and when their requests left."""
    released: dict[int, None] = attrs.field(factory=dict[int, Any])
    """Positions whose requests were turned away."""
    absent: dict[int, float] = attrs.field(factory=dict[int, Any])
    """Positions, and when a verification found their items absent."""
    outcomes: list[tuple[Any, ...]] = attrs.field(factory=list[Any])
    """Rows for _RECORD."""
    changes: Counter[str] = attrs.field(factory=Counter[str])
    """Of the counts, because of the outcomes."""
    requests: Counter[tuple[int, int]] = attrs.field(factory=Counter[Any])
    """By run and minute."""
    quotas: dict[tuple[int, int], float] = attrs.field(factory=dict[Any, float])
    """By run and minute."""
    waiting: list[asyncio.Future[list[Any]]] = attrs.field(factory=list[Any])
    """Who waits for it."""


class SQLiteJournal:
    """The memory of one job in one SQLite file. Use it as an async context manager.

    Args:
        path: The file; made if it does not exist.
    """

    def __init__(self, path: Path | str) -> None:
        """Do not touch the file yet."""
        # Resolved, so that a link to a journal has the journal's lock.
        self.path = Path(path).resolve()
        self._dangles = Path(path).is_symlink() and not self.path.exists()
        self._give_up_at = math.inf  # on the clock of time.monotonic
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None
        self._run = 0  # the run that is going on
        self._taken = -1  # the position that was given last in this run
        self._state: dict[str, Any] = {}
        self._batch = _Batch()
        self._committing: asyncio.Future[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            JournalError: it is in use by another process, cannot be written, or is no journal.
        """
        if self._thread is not None:
            message = f"the journal {self.path} is open already"
            raise JournalError(message)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="b2b-async-journal")
        self._batch, self._committing, self._run, self._closing = _Batch(), None, 0, False
        self._give_up_at = math.inf
        self._loop = asyncio.get_running_loop()
        try:
            await self._loop.run_in_executor(self._thread, self._open)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError):
                self.interrupt()
            await self.close()
            raise
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Close the file."""
        await self.close()

    async def close(self) -> None:
        """Finish what was asked for and close the file; a second time does nothing.

        Where it is cancelled, it waits for other programs no longer.
        """
        finishing = asyncio.ensure_future(self._finish())
        try:
            await asyncio.shield(finishing)
        except asyncio.CancelledError:
            self.interrupt()
            await asyncio.wait([finishing])
            raise

    def interrupt(self) -> None:
        """Wait for other programs that hold the file no longer than a second from now on, until the next run."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + _HURRY)

    async def _finish(self) -> None:
        self._closing = True  # from now on nothing is taken in
        try:
            while self._committing is not None and self._loop is asyncio.get_running_loop():
                await asyncio.wait([self._committing])
        finally:
            thread, self._thread = self._thread, None
            closing = None if thread is None else thread.submit(self._close)
            if thread is not None:
                thread.shutdown(wait=False)  # it ends by itself, even where it is not waited for
        if closing is not None:
            await asyncio.wrap_future(closing)

    # -- the journal ---------------------------------------------------------------------------------------------

    async def begin(self, about: Mapping[str, str], *, quota: tuple[int, float]) -> Opened:
        """Begin a run.

        Args:
            about: What the job is: a journal of another one is refused. Shown to people, so no secrets.
            quota: Requests and seconds of the quota.

        Raises:
            JournalMismatchError: the journal is that of another job.
            JournalError: a run of it is going on, or it cannot be written.
        """
        known = {name: value.encode(errors="backslashreplace").decode() for name, value in about.items()}

        def work() -> tuple[Opened, int]:
            self._state = read_progress(self._sql)  # somebody may have got past the lock since it was opened
            self._look_for_lost_rows()
            self._compare(known)
            self._sql.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", known.items())
            row = ("process " + _process(), time.time(), *quota)
            cursor = self._sql.execute("INSERT INTO runs (process, started, quota, window) VALUES (?, ?, ?, ?)", row)
            state = self._state
            last, fingerprint = self._sql.execute(_INPUT).fetchone()
            opened = Opened(
                counts=self.counts,
                read=state["read"],
                checksum=state["checksum"],
                last=last,
                fingerprint=fingerprint,
                complete=bool(state["complete"]),
                begun=bool(state["begun"]),
            )
            return opened, cast("int", cursor.lastrowid)

        if self._run:
            message = f"a run of the journal {self.path} is going on; wait for it, or use another journal"
            raise JournalError(message)
        self._run, self._give_up_at = _BEGINNING, math.inf
        beginning = asyncio.ensure_future(self._do(work))
        try:
            opened, self._run = await asyncio.shield(beginning)
        except asyncio.CancelledError:  # it is begun all the same
            self.interrupt()
            with contextlib.suppress(JournalError):
                _, self._run = await beginning
                await self.end("cancelled")
            raise
        finally:
            self._run = max(0, self._run)
        self._taken = -1
        return opened

    async def add(self, entries: Sequence[Entry], *, read: int, checksum: int) -> Sequence[Skipped | ItemOutcome]:
        """Take items in; returns once all are on the disk.

        One that has the key of an earlier one is noted and comes back: skipped if it is equal to it, and else failed,
        since nobody can say which of the two is meant.

        Raises:
            JournalError: a position is not greater than those before, or the journal cannot be written.
        """
        now = time.time()
        texts = [_json(entry) for entry in entries]
        rows = [
            (
                entry.position,
                entry.key,
                text,
                now if entry.in_doubt else None,
                _checksum(entry.position, entry.key, text, entry.in_doubt),
            )
            for entry, text in zip(entries, texts, strict=True)
        ]

        def work() -> Sequence[Skipped | ItemOutcome]:
            new = sum(self._execute_for(_ADD, rows))
            self._state["pending"] += new
            repeats = [] if new == len(rows) else list(self._add_repeats(entries, rows))
            self._state.update(read=read, checksum=checksum)
            return repeats

        return await self._do(work)

    async def expect(self, total: int | None, *, complete: bool = False, fingerprint: str | None = None) -> None:
        """Note how many items there will be, if that is known, whether all were added, and which input it is."""

        def work() -> None:
            self._state["complete"] = int(complete)
            self._sql.execute(_EXPECT, (total, fingerprint))

        await self._do(work)

    async def clear(self) -> None:
        """Forget all items, of which none has been begun.

        Raises:
            JournalMismatchError: one has.
        """

        def work() -> None:
            if self._state["begun"]:
                message = f"the journal {self.path} is that of a job whose input is read as it goes; name another one"
                raise JournalMismatchError(message)
            self._sql.execute("DELETE FROM items")
            self._state.update(dict.fromkeys(self._state, 0))

        await self._do(work)

    async def take(self, most: int) -> Sequence[Task]:
        """Give at most *most* items that are to be done and were not given before in this run."""
        after = self._taken
        (rows,) = await self._do(lambda: self._sql.execute(_TAKE, (after, most)).fetchone())
        tasks = [self._task(row) for row in json.loads(rows)]
        if tasks:
            self._taken = tasks[-1].position
        return tasks

    def _task(self, row: list[Any]) -> Task:
        """Make a task of a row, unless it has changed since it was written."""
        position, key, value, status, in_doubt, absent, checksum = row
        if checksum != _checksum(position, key, value, in_doubt) or status not in {None, "failed", "unknown"}:
            raise JournalError(_changed(self.path, position))
        plain = json.loads(value)
        return Task(position=position, key=key, value=plain, status=status, in_doubt=bool(in_doubt), absent=absent)

    async def leave(self, task: Task, when: float) -> None:
        """Note that a request for *task* is about to leave; returns once that is on the disk."""
        batch = self._open_batch()
        batch.departed[task.position] = when
        if task.status == "failed":
            batch.changes.update(failed=-1, pending=1)
        await self._commit()

    async def hold(self) -> None:
        """Make sure that this run still owns the journal, before a further request of an item is sent.

        Raises:
            JournalError: another process has begun to run it.
        """
        self._open_batch()
        await self._commit()

    async def mark_absent(self, task: Task, when: float) -> None:
        """Note that a verification found *task* absent, at Unix time *when*."""
        self._open_batch().absent[task.position] = when
        await self._commit()

    async def release(self, task: Task) -> None:
        """Note that *task* is certainly not done though its request has left."""
        self._open_batch().released[task.position] = None
        await self._commit()

    def count(self, minute: int, quota: float) -> None:
        """Count a request; it is written with the next commit."""
        place = self._run, minute
        self._batch.requests[place] += 1
        self._batch.quotas[place] = quota

    async def record(self, task: Task, outcome: ItemOutcome) -> None:
        """Write down what became of *task*; returns once it is on the disk."""
        failure = outcome.failure
        row = (
            outcome.position,
            outcome.status,
            outcome.settled,
            outcome.sent or outcome.finished if outcome.status == "unknown" else None,
            outcome.repeated,
            None if outcome.result is None else _json_of_any(outcome.result),
            None if failure is None else _encode(attrs.asdict(failure)),
            outcome.attempts,
            outcome.sent,
            outcome.seconds,
            outcome.finished,
        )
        batch = self._open_batch()
        batch.outcomes.append(row)
        departed = task.status == "failed" and outcome.sent is not None  # see _LEAVE
        batch.changes[task.status if task.status and not departed else "pending"] -= 1
        batch.changes[outcome.status] += 1
        batch.changes["settled_failed"] += outcome.settled and outcome.status == "failed"
        await self._commit()

    async def end(self, how: str | None) -> None:
        """End the run; None if it has done nothing and shall leave no trace.

        Raises:
            JournalError: the file has been removed, or cannot be written.
        """
        run = self._run

        def work() -> None:
            if how is None:
                self._sql.execute("DELETE FROM runs WHERE run = ?", (run,))
            else:
                self._sql.execute("UPDATE runs SET finished = ?, how = ? WHERE run = ?", (time.time(), how, run))

        try:
            await self._do(work)
        finally:
            self._run = 0
        if not self.path.exists():
            message = f"the journal {self.path} was removed while the job ran: what was done is written nowhere"
            raise JournalError(message)

    @property
    def counts(self) -> Counts:
        """How many items ended how, as far as it is on the disk, or just about to be."""
        return Counts(**{field.name: self._state.get(field.name, 0) for field in attrs.fields(Counts)})

    # -- in the thread -------------------------------------------------------------------------------------------

    @property
    def _sql(self) -> sqlite3.Connection:
        return cast("sqlite3.Connection", self._database)

    def _open(self) -> None:
        if self._dangles:
            message = f"the journal is a link to {self.path}, which does not exist: remove the link, or make its target"
            raise JournalError(message)
        try:
            # A lock that any platform has, that the system frees when the process dies in any way, and that no reader
            # of its file hinders. A process that asks whether it is held has it for a moment, hence the second.
            make_private(Path(f"{self.path}-lock"))
            self._lock = sqlite3.connect(f"{self.path}-lock", timeout=1, isolation_level=None, check_same_thread=False)
            self._lock.execute("BEGIN IMMEDIATE")
        except (sqlite3.DatabaseError, OSError) as error:
            locked = isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            message = f"the journal {self.path} is in use by {self._holder()}" if locked else self._explain(error)
            raise JournalError(message) from None
        try:
            self._patiently(self._open_database)
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:  # the last one of SQLite's own messages
            raise JournalError(self._explain(error)) from None

    def _patiently(self, work: Callable[[], object]) -> None:
        """Do *work* again while another program holds the file, for as long as there is patience."""
        give_up_at = time.monotonic() + _PATIENCE
        while True:
            try:
                work()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
                if not busy or time.monotonic() >= min(give_up_at, self._give_up_at):
                    raise
            else:
                return

    def _open_database(self) -> None:
        if self._database is not None:  # of an attempt before
            self._database.close()
            self._database = None
        make_private(self.path)
        new = not self.path.exists() or self.path.stat().st_size == 0
        has_wal = not reads_unlocked(self.path)  # SQLite makes one with the first look into the file
        self._database = database = sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False
        )
        database.text_factory = decode_text
        database.create_function("item_checksum", 4, _checksum, deterministic=True)
        # So that a statement that takes long, as a migration may, ends soon after interrupt().
        database.set_progress_handler(lambda: time.monotonic() > self._give_up_at, _STEPS)
        if not new:
            check_schema(database, self.path, has_wal=has_wal)
        self._prepare(database)

    def _prepare(self, database: sqlite3.Connection) -> None:
        # Anything less loses outcomes that were acknowledged when the power goes.
        database.execute("PRAGMA synchronous = FULL")
        # Before there are tables: so a copy of the file without its -wal has none, and is no empty journal.
        database.execute("PRAGMA journal_mode = WAL")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            database.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";\n"):
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {SCHEMA}")
            database.execute("COMMIT")
        database.execute("BEGIN IMMEDIATE")
        self._migrate(database)
        # Written even if nothing is new: whether it can be written is better known before anything is sent.
        database.execute("UPDATE progress SET read = read")
        database.execute("COMMIT")
        self._state = read_progress(database)

    def _migrate(self, database: sqlite3.Connection) -> None:
        """Bring the tables of an older version up to this one, in the transaction that is open."""
        while (schema := database.execute("PRAGMA user_version").fetchone()[0]) < SCHEMA:
            for statement in _MIGRATIONS[schema].split(";\n"):
                database.execute(statement)

    def _look_for_lost_rows(self) -> None:
        """Refuse a journal that has not all the items that it counts: what became of those is not known."""
        counts = self.counts
        still_open = counts.pending + counts.failed - counts.settled_failed + counts.unknown
        expected = {"": counts.all, " WHERE NOT settled": still_open}
        for condition, number in expected.items():
            (rows,) = self._sql.execute(f"SELECT count(*) FROM items{condition}").fetchone()  # noqa: S608 -- from above
            if rows != number:
                message = (
                    f"the journal {self.path} is damaged: it counts {number:,} items{condition.lower()} and has "
                    f"{rows:,}. Nothing was sent; put a copy of it in its place, or begin another journal, which would "
                    "do everything again"
                )
                raise JournalError(message)

    def _holder(self) -> str:
        """Say who has the lock; the journal of another process can be read all the time."""
        broken = (sqlite3.Error, OSError, ValueError, TypeError, OverflowError)
        with contextlib.suppress(*broken), contextlib.closing(connect_to_read(self.path)) as database:
            newest = "SELECT process, started FROM runs ORDER BY run DESC LIMIT 1"
            if (row := database.execute(newest).fetchone()) is not None:
                since = datetime.fromtimestamp(row[1], UTC).isoformat(" ", "seconds")
                return f"{row[0]}, since {since}; wait for it, or stop it"
        return "another process; wait for it, or stop it"

    def _compare(self, about: Mapping[str, str]) -> None:
        known = dict(self._sql.execute("SELECT name, value FROM about"))
        differing = [
            f"{name} is {known.get(name, 'nothing')!r} there and {about.get(name, 'nothing')!r} here"
            for name in {**known, **about}
            if known.get(name) != about.get(name)
        ]
        if known and differing:
            message = f"the journal {self.path} belongs to another job: {'; '.join(differing)}. Name another journal"
            raise JournalMismatchError(message)

    def _execute_for(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[int]:
        """Execute *sql* for all *rows* in as few steps as SQLite's limit of parameters allows."""
        for start in range(0, len(rows), _MOST_ROWS):
            some = rows[start : start + _MOST_ROWS]
            places = f"({', '.join('?' * len(some[0]))})"
            values = ", ".join([places] * len(some))
            yield self._sql.execute(sql.format(values), [value for row in some for value in row]).rowcount

    def _add_repeats(
        self, entries: Sequence[Entry], rows: Sequence[tuple[Any, ...]]
    ) -> Iterator[Skipped | ItemOutcome]:
        """Write down those of *entries* that were not added, because their key was there."""
        for entry, (position, key, value, _, _) in zip(entries, rows, strict=True):
            added = self._sql.execute("SELECT key FROM items WHERE position = ?", (position,)).fetchone()
            if added is None:
                yield self._add_repeat(entry, value)
            elif added[0] != key:
                message = f"position {position} of {key} is that of {added[0]}: each must be greater than those before"
                raise JournalError(message)

    def _add_repeat(self, entry: Entry, value: str) -> Skipped | ItemOutcome:
        first, its_value = self._sql.execute(_FIRST, (entry.key,)).fetchone()
        now = time.time()
        if entry.in_doubt:
            self._sql.execute(_DOUBT, (now, first))
        row = (entry.position, entry.key, value, _checksum(entry.position, entry.key, value, in_doubt=False), first)
        if its_value == value:
            self._sql.execute(_ADD_REPEAT, (*row, "duplicate", None, now))
            self._state["duplicate"] += 1
            return Skipped(key=entry.key, position=entry.position, first=first)
        text = (
            f"{entry.key} stands at position {first} with other values: {its_value} there, {value} here. "
            "Nothing was sent for this one; leave one of the two in the input"
        )
        failure = Failure(error=CONFLICT, text=text, outcome="not_sent", final=True)
        self._sql.execute(_ADD_REPEAT, (*row, "failed", json.dumps(attrs.asdict(failure)), now))
        self._state["failed"] += 1
        self._state["settled_failed"] += 1
        return ItemOutcome(
            key=entry.key,
            position=entry.position,
            status="failed",
            value=entry.value,
            failure=failure,
            attempts=0,
            finished=now,
        )

    def _close(self) -> None:
        for connection in (self._database, self._lock):
            if connection is not None:
                connection.close()
        # The lock's file stays: if it were removed, two processes could lock two files of that name.
        self._database = self._lock = None

    # -- group commit --------------------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], T]) -> T:
        """Run *work* in the thread, in one transaction with all that waits there."""
        calls = self._open_batch().calls
        place = len(calls)
        calls.append(work)
        result: T | Exception = (await self._commit())[place]
        if isinstance(result, Exception):
            raise result
        return result

    def _open_batch(self) -> _Batch:
        """Give the batch that is written next, if anything can be written at all."""
        if self._thread is None or self._closing:
            message = f"the journal {self.path} is not open: use it in 'async with'"
            raise JournalError(message)
        if self._loop is not asyncio.get_running_loop():
            message = f"the journal {self.path} was opened in another event loop"
            raise JournalError(message)
        return self._batch

    async def _commit(self) -> list[Any]:
        """Wait until the batch is on the disk; give what its calls gave."""
        done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._batch.waiting.append(done)
        if self._committing is None:
            self._send_batch()
        # Who is cancelled while waiting here cancels nothing but the waiting.
        return await done

    def _send_batch(self) -> None:
        batch, self._batch = self._batch, _Batch()
        self._committing = asyncio.get_running_loop().run_in_executor(self._thread, self._write, batch)
        self._committing.add_done_callback(lambda written: self._written(batch, written))

    def _written(self, batch: _Batch, written: asyncio.Future[list[Any]]) -> None:
        self._committing = None
        if self._batch.waiting:
            self._send_batch()
        error = written.exception()
        for done in batch.waiting:
            if done.done():  # its asker has gone
                continue
            if error is None:
                done.set_result(written.result())
            else:
                done.set_exception(error)

    def _write(self, batch: _Batch) -> list[Any]:
        """Write the whole batch in one transaction, or nothing of it."""
        before = dict(self._state)
        minutes = [(*place, number, batch.quotas[place]) for place, number in batch.requests.items()]
        try:
            self._patiently(lambda: self._sql.execute("BEGIN IMMEDIATE"))
            self._compare_run()
            results = [self._attempt(call) for call in batch.calls]
            for sql, rows in (
                (_LEAVE, list(batch.departed.items())),
                (_RELEASE, list(batch.released.items())),
                (_ABSENT, list(batch.absent.items())),
                (_RECORD, batch.outcomes),
                (_COUNT, minutes),
            ):
                for _ in self._execute_for(sql, rows):
                    pass
            for name, change in batch.changes.items():
                self._state[name] += change
            if batch.departed or batch.outcomes:
                self._state["begun"] = 1
            if self._state != before:
                self._sql.execute(_SAVE, self._state)
            self._sql.execute("COMMIT")
        except BaseException as error:
            self._state = before
            with contextlib.suppress(sqlite3.Error):  # SQLite has rolled back by itself after the worst of errors
                self._sql.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise JournalError(self._explain(error)) from None
            raise
        return results

    def _compare_run(self) -> None:
        """Make sure that nobody else runs the journal: the lock's file may have been removed by hand."""
        if self._run > 0:
            (newest,) = self._sql.execute("SELECT max(run) FROM runs").fetchone()
            if newest != self._run:
                message = f"another process has begun to run the journal {self.path}; this run ends"
                raise JournalError(message)

    def _attempt(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever the call gives
        """Make one call of a batch; what is wrong with that one alone fails it alone."""
        before = dict(self._state)
        self._sql.execute("SAVEPOINT call")
        try:
            result = call()
        except (sqlite3.Error, UnicodeDecodeError):
            raise
        except Exception as error:  # noqa: BLE001 -- its asker gets it
            self._state = before
            self._sql.execute("ROLLBACK TO call")
            result = error
        self._sql.execute("RELEASE call")
        return result

    def _explain(self, error: Exception) -> str:
        """Return what is wrong with the file and what to do."""
        name = getattr(error, "sqlite_errorname", "")
        advice = next((text for start, text in _ADVICE.items() if name.startswith(start)), "Run the job again")
        return f"the journal {self.path} cannot be used: {error}. {advice}"


_ADVICE = {
    "SQLITE_FULL": "Free some space and run the job again: what was written is safe",
    "SQLITE_READONLY": "Make the file and its folder writable and run the job again",
    "SQLITE_PERM": "Make the file and its folder writable and run the job again",
    "SQLITE_CANTOPEN": "Make sure that its folder exists, and that it and the folder are writable",
    "SQLITE_NOTADB": "It is no journal; name another file",
    "SQLITE_CORRUPT": (
        "The file is damaged: put a copy in its place, or save what can be read of it with 'b2b-async export' "
        "(or the sqlite3 tool's .recover) before you begin another journal, which would do everything again"
    ),
    "SQLITE_IOERR": "The disk fails; what was written is safe as far as the disk is",
    "SQLITE_BUSY": "Another program holds the file: close it and run the job again",
}


def check_schema(database: sqlite3.Connection, path: Path, *, has_wal: bool) -> None:
    """Refuse what is no journal of this version.

    Args:
        database: The open file.
        path: Its path.
        has_wal: A -wal was beside it before it was opened.

    Raises:
        JournalError: the file is another program's, or a journal of another version.
    """
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (schema,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not application:
        if has_wal:  # its process died before it wrote anything
            return
        message = (
            f"{path} holds nothing. If it was copied while its job ran, or after that was killed, copy {path.name}-wal "
            "with it; if it is new, remove it"
        )
    elif application != APPLICATION:
        message = f"{path} is a database of another program; name another journal"
    elif schema > SCHEMA:
        message = f"{path} was made by a newer b2b-async (its schema is {schema}, this one knows {SCHEMA}); upgrade"
    elif schema < _OLDEST:
        message = f"{path} was made by an older b2b-async (its schema is {schema}, this one knows {SCHEMA}); use that"
    else:
        return
    raise JournalError(message)


def read_progress(database: sqlite3.Connection) -> dict[str, int]:
    """Read how far a job is.

    Raises:
        JournalError: its row was changed or is missing.
    """
    names = "read, checksum, complete, succeeded, failed, unknown, duplicate, settled_failed, pending, begun"
    row = database.execute(f"SELECT {names} FROM progress").fetchone()  # noqa: S608 -- the names above
    if row is None or not all(isinstance(value, int) and value >= 0 for value in row):
        message = (
            "the journal is damaged: what it says of its progress is no numbers. Put a copy in its place, or save what "
            "can be read with 'b2b-async export'"
        )
        raise JournalError(message)
    return dict(zip(names.split(", "), row, strict=True))


def make_private(path: Path) -> None:
    """Make a file that only its owner can read, unless there is one: order ids and amounts are in it."""
    with contextlib.suppress(OSError):  # SQLite says what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def decode_text(octets: bytes) -> str:
    """Decode a text of a journal, also a damaged one."""
    return octets.decode(errors="replace")


def _checksum(position: int, key: str, value: str, in_doubt: bool) -> int:  # noqa: FBT001 -- SQLite calls it, too
    return zlib.crc32(f"{position} {key} {value} {int(in_doubt)}".encode(errors="replace"))


def _changed(path: Path, position: int) -> str:
    return (
        f"the journal {path} is damaged: the item at position {position} is not what was written. Nothing was sent "
        "for it; put a copy of the journal in its place, or begin another one, which would do everything again"
    )


def reads_unlocked(path: Path) -> bool:
    """Return whether a journal is read without locks: no process has it open, so that nothing is left beside it."""
    return not Path(f"{path}-wal").exists()


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a journal to read it, also while its job runs."""
    # In WAL mode readers create files beside the journal, too, unless it is opened as one that no process writes.
    how = "immutable=1" if reads_unlocked(path) else "mode=ro"
    database = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_PATIENCE)
    database.text_factory = decode_text
    return database


def is_held(path: Path) -> bool:
    """Whether a process has the lock of a journal."""
    lock = path.resolve().with_name(f"{path.resolve().name}-lock")
    try:
        with contextlib.closing(sqlite3.connect(f"{lock.as_uri()}?mode=rw", uri=True, timeout=0)) as database:
            database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode == sqlite3.SQLITE_BUSY
    return False


def _json(entry: Entry) -> str:
    try:
        return json.dumps(entry.value, allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"the item at position {entry.position} cannot be written as JSON ({error}): its kind needs a dump"
        raise InvalidArgumentError(message) from None


def _json_of_any(result: Mapping[str, Any]) -> str:
    """Write a result as JSON, whatever its kind made it of: the item is done, and that must not get lost."""
    try:
        return _encode(dict(result))
    except (TypeError, ValueError):
        return _encode({"repr": repr(result)})


def _process() -> str:
    return f"{os.getpid()} on {platform.node() or 'this host'}"
