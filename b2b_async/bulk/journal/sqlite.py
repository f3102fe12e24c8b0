"""The journal as one SQLite file, which any SQLite tool reads.

All SQL runs in one thread. What is asked for while that thread is busy is committed together with what else waits
(group commit): one sync to the disk serves all of it. Each caller goes on only after that sync.

What a resumed run and a status cost depends on the open items and not on those that are done: open items have an index
of their own, whose first entry is the low-water mark, and the counts are kept in the transaction that changes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import platform
import secrets
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

from b2b_async.bulk.journal import _rows
from b2b_async.bulk.journal.protocol import PAUSED, JournalError, JournalLostError, JournalMismatchError, Opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from b2b_async.bulk.journal.protocol import Counts, JournalItem, PendingItem
    from b2b_async.bulk.outcome import ItemOutcome, Skipped

__all__ = ["SQLiteJournal"]

T = TypeVar("T")

SCHEMA = 4
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
    final INTEGER NOT NULL DEFAULT 0,  -- whether no run does it again
    in_doubt_since REAL,          -- when a request was sent whose outcome is not known, Unix time
    repeated INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    failure TEXT,
    attempts INTEGER,
    sent REAL,
    seconds REAL,
    finished REAL,
    absent REAL,                  -- when a verification first found an item in doubt absent, Unix time
    checksum INTEGER              -- of position, key, value, and whether in_doubt_since is NULL
);
CREATE UNIQUE INDEX items_by_key ON items (key) WHERE duplicate_of IS NULL;
CREATE INDEX items_open ON items (position) WHERE NOT final;
CREATE TABLE progress (
    read INTEGER NOT NULL, checksum INTEGER NOT NULL, complete INTEGER NOT NULL, total INTEGER,
    fingerprint TEXT NOT NULL,    -- of the whole input
    succeeded INTEGER NOT NULL, failed INTEGER NOT NULL, unknown INTEGER NOT NULL, duplicate INTEGER NOT NULL,
    final_failed INTEGER NOT NULL, pending INTEGER NOT NULL,
    begun INTEGER NOT NULL        -- whether a request was sent, or an item has an outcome
);
INSERT INTO progress VALUES (0, 0, 0, NULL, '', 0, 0, 0, 0, 0, 0, 0);
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, process TEXT NOT NULL, started REAL NOT NULL, quota INTEGER NOT NULL, window REAL NOT NULL,
    finished REAL, how TEXT, owner TEXT
);
CREATE TABLE minutes (            -- minute: whole minutes since 1970, UTC
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
    3: """
ALTER TABLE items RENAME COLUMN settled TO final;
ALTER TABLE items RENAME COLUMN departed TO in_doubt_since;
ALTER TABLE progress RENAME COLUMN settled_failed TO final_failed;
ALTER TABLE runs ADD COLUMN owner TEXT;
CREATE TABLE new_minutes (
    run INTEGER NOT NULL, minute INTEGER NOT NULL, requests INTEGER NOT NULL, quota REAL NOT NULL,
    PRIMARY KEY (run, minute)
) WITHOUT ROWID;
INSERT OR IGNORE INTO new_minutes SELECT run, minute
    + coalesce((SELECT CAST(started / 60 AS INTEGER) FROM runs WHERE runs.run = minutes.run), 0), requests, quota
    FROM minutes;
DROP TABLE minutes;
ALTER TABLE new_minutes RENAME TO minutes;
PRAGMA user_version = 4""",
}
"""The statements that make the tables of the next version out of those of a version."""
# Each of these is one statement for a whole batch, because every step of a statement gives the interpreter away and
# has to wait until it comes back.
_ADD = "INSERT OR IGNORE INTO items (position, key, value, in_doubt_since, checksum) VALUES {}"
_FIRST = "SELECT position, value FROM items WHERE key = ? AND duplicate_of IS NULL"
_ADD_REPEAT = """
INSERT INTO items (position, key, value, checksum, duplicate_of, status, final, failure, attempts, finished)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, 0, ?)
"""
_FETCH = """
SELECT json_group_array(json_array(
    position, CAST(key AS TEXT), CAST(value AS TEXT), CAST(status AS TEXT), in_doubt_since IS NOT NULL,
    CASE WHEN typeof(absent) IN ('integer', 'real') AND abs(absent) < 1e11 THEN absent END, CAST(checksum AS INTEGER)
)) FROM (
    SELECT * FROM items WHERE NOT final AND position > ? AND coalesce(finished < ?, 1) ORDER BY position LIMIT ?
)
"""
_TRIED = "SELECT count(*) FROM items WHERE NOT final AND finished >= ?"
_INPUT = "SELECT coalesce((SELECT max(position) FROM items), -1), fingerprint FROM progress"
_EXPECT = "UPDATE progress SET total = coalesce(?, total), fingerprint = coalesce(?, fingerprint)"
# An item that is sent has no outcome any more: if the process dies now, the last one must not be taken for true.
_MARK_SENT = """
UPDATE items SET in_doubt_since = new.column2, checksum = item_checksum(position, key, value, 1), absent = NULL,
    status = nullif(status, 'failed'), failure = CASE status WHEN 'failed' THEN NULL ELSE failure END
FROM (VALUES {}) AS new WHERE position = new.column1
"""
_MARK_ABSENT = "UPDATE items SET absent = new.column2 FROM (VALUES {}) AS new WHERE position = new.column1"
_MARK_NOT_SENT = """
UPDATE items SET in_doubt_since = new.column2, checksum = item_checksum(position, key, value, 0)
FROM (VALUES {}) AS new WHERE position = new.column1
"""
_DOUBT = """
UPDATE items SET in_doubt_since = ?, checksum = item_checksum(position, key, value, 1) WHERE position = ? AND NOT final
"""
_RECORD = """
UPDATE items SET absent = NULL, status = new.column2, final = new.column3, in_doubt_since = new.column4,
    checksum = item_checksum(position, key, value, new.column4 IS NOT NULL), repeated = new.column5,
    result = new.column6, failure = new.column7, attempts = new.column8, sent = new.column9, seconds = new.column10,
    finished = new.column11
FROM (VALUES {}) AS new WHERE position = new.column1
"""
_SAVE = """
UPDATE progress SET read = :read, checksum = :checksum, complete = :complete, succeeded = :succeeded, failed = :failed,
unknown = :unknown, duplicate = :duplicate, final_failed = :final_failed, pending = :pending, begun = :begun
"""
_COUNT = """
INSERT INTO minutes VALUES {}
ON CONFLICT (run, minute) DO UPDATE SET requests = requests + excluded.requests, quota = excluded.quota
"""
_BEGINNING = -1
"""The number of a run that has none yet."""
_MOST_ROWS = 80
"""Rows in one statement: older SQLite takes 999 parameters."""
_PATIENCE = 30.0
"""Seconds to wait for another program, such as a database browser, that holds the file."""
_HURRY = 0.8
"""Seconds to wait for it at most once the run is cancelled."""
_STEPS = 10_000
"""Steps of SQLite after which the clock is read."""
_BUSY = 0.05
"""Seconds that SQLite waits by itself; then it is decided whether to wait on."""
_MINUTE = 60


@attrs.define
class _Batch:
    """Changes that are written together."""

    calls: list[Callable[[], Any]] = attrs.field(factory=list[Any])
    """Run in the thread, inside the transaction."""
    sent: dict[int, float] = attrs.field(factory=dict[int, Any])
    """Positions, and when their requests are sent."""
    not_sent: dict[int, None] = attrs.field(factory=dict[int, Any])
    """Positions whose requests were refused."""
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
    """The futures of those that wait for it."""


class SQLiteJournal:
    """The journal of one job in one SQLite file. Use it as an async context manager.

    Args:
        path: The file; made if it does not exist.
        owner: The name of who runs it. A run that begins after a paused one of the same owner goes on with that, so
            that several slices of a job are one run. None for a name that no other journal object has.
    """

    def __init__(self, path: Path | str, *, owner: str | None = None) -> None:
        """Do not touch the file yet."""
        self._owner = secrets.token_hex(8) if owner is None else owner
        # Resolved, so that a link to a journal has the journal's lock.
        self.path: Path = Path(path).resolve()
        self._dangles = Path(path).is_symlink() and not self.path.exists()
        self._give_up_at = math.inf  # on the clock of time.monotonic
        self._thread: ThreadPoolExecutor | None = None
        self._database: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None
        self._run = 0  # the run that is going on
        self._continues = False  # it was begun before, and paused
        self._tried_since = math.inf  # items with an outcome since then, Unix time, are not done again in this run
        self._fetched = -1  # the last position that was returned in this run
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
        """Begin a run, or go on with the last one if that is this owner's and was paused.

        Args:
            about: What the job is: a journal of another one is refused. Shown to people, so no secrets.
            quota: Requests and seconds of the quota.

        Raises:
            JournalMismatchError: the journal is that of another job.
            JournalError: a run of it is going on, or it cannot be written.
        """
        known = {name: value.encode(errors="backslashreplace").decode() for name, value in about.items()}

        def work() -> tuple[Opened, int]:
            self._state = read_progress(self._sql)  # another process may have got past the lock since it was opened
            self._check_rows()
            self._compare(known)
            self._sql.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", known.items())
            run = self._begin_run(quota)
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
                tried=self._sql.execute(_TRIED, (self._tried_since,)).fetchone()[0] if self._continues else 0,
            )
            return opened, run

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
        self._fetched = -1
        return opened

    async def add(self, items: Sequence[JournalItem], *, read: int, checksum: int) -> Sequence[Skipped | ItemOutcome]:
        """Add items; returns once all are on the disk.

        One that has the key of an earlier one is recorded and returned: skipped if it is equal to it, and else failed.

        Raises:
            JournalError: a position is not greater than those before, or the journal cannot be written.
        """
        now = time.time()
        rows = [_rows.item_row(item, now) for item in items]

        def work() -> Sequence[Skipped | ItemOutcome]:
            new = sum(self._execute_for(_ADD, rows))
            self._state["pending"] += new
            repeats = [] if new == len(rows) else list(self._add_repeats(items, rows, now))
            self._state.update(read=read, checksum=checksum)
            return repeats

        return await self._do(work)

    async def expect(self, total: int | None, *, complete: bool = False, fingerprint: str | None = None) -> None:
        """Record how many items there will be, if that is known, whether all were added, and which input it is."""

        def work() -> None:
            self._state["complete"] = int(complete)
            self._sql.execute(_EXPECT, (total, fingerprint))

        await self._do(work)

    async def reset(self) -> None:
        """Remove all items, of which none has been begun.

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

    async def fetch_pending(self, most: int) -> Sequence[PendingItem]:
        """Return at most *most* items that are to be done and were not returned before in this run."""
        place = self._fetched, self._tried_since, most
        (rows,) = await self._do(lambda: self._sql.execute(_FETCH, place).fetchone())
        pending = [_rows.pending_item(row, self.path) for row in json.loads(rows)]
        if pending:
            self._fetched = pending[-1].position
        return pending

    async def mark_sent(self, item: PendingItem, when: float) -> None:
        """Record that a request for *item* is about to be sent; returns once that is on the disk."""
        batch = self._open_batch()
        batch.sent[item.position] = when
        for name, change in _rows.changes_of_sending(item).items():
            batch.changes[name] += change
        await self._commit()

    async def check_owner(self) -> None:
        """Make sure that this run still owns the journal, before a further request of an item is sent.

        Raises:
            JournalLostError: another process has begun to run it.
        """
        self._open_batch()
        await self._commit()

    async def mark_absent(self, item: PendingItem, when: float) -> None:
        """Record that a verification found *item* absent, at Unix time *when*."""
        self._open_batch().absent[item.position] = when
        await self._commit()

    async def mark_not_sent(self, item: PendingItem) -> None:
        """Record that *item* is certainly not done though its request was sent."""
        self._open_batch().not_sent[item.position] = None
        await self._commit()

    def count_request(self, when: float, quota: float) -> None:
        """Count a request that is sent at Unix time *when*; it is written with the next commit."""
        place = self._run, int(when // _MINUTE)
        self._batch.requests[place] += 1
        self._batch.quotas[place] = quota

    async def record(self, item: PendingItem, outcome: ItemOutcome) -> None:
        """Record what became of *item*; returns once it is on the disk."""
        batch = self._open_batch()
        batch.outcomes.append(_rows.outcome_row(outcome))
        for name, change in _rows.changes_of_outcome(item, outcome).items():
            batch.changes[name] += change
        await self._commit()

    async def end(self, how: str | None) -> None:
        """End the run; None if it has done nothing and shall leave no trace.

        Raises:
            JournalError: the file has been removed, or cannot be written.
        """
        run = self._run

        def work() -> None:
            if how is None and not self._continues:
                self._sql.execute("DELETE FROM runs WHERE run = ?", (run,))
            else:
                ended = (time.time(), how or PAUSED, run)
                self._sql.execute("UPDATE runs SET finished = ?, how = ? WHERE run = ?", ended)

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
        return _rows.counts_of(self._state)

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
        database.create_function("item_checksum", 4, _rows.checksum, deterministic=True)
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

    def _check_rows(self) -> None:
        """Refuse a journal that has not all the items that it counts: what became of those is not known."""
        counts = self.counts
        still_open = counts.pending + counts.failed - counts.final_failed + counts.unknown
        expected = {"": counts.all, " WHERE NOT final": still_open}
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
        differing = _rows.differences(dict(self._sql.execute("SELECT name, value FROM about")), about)
        if differing is not None:
            message = f"the journal {self.path} belongs to another job: {differing}. Name another journal"
            raise JournalMismatchError(message)

    def _begin_run(self, quota: tuple[int, float]) -> int:
        """Begin a run, or go on with the last one if that is this owner's and was paused; return its number."""
        self._continues, self._tried_since = False, math.inf
        newest = "SELECT run, owner, how, started FROM runs ORDER BY run DESC LIMIT 1"
        for run, owner, how, started in self._sql.execute(newest).fetchall():
            if (owner, how) == (self._owner, PAUSED):
                self._continues, self._tried_since = True, started
                self._sql.execute("UPDATE runs SET finished = NULL, how = NULL WHERE run = ?", (run,))
                return cast("int", run)
        row = (f"process {_process()}", time.time(), *quota, self._owner)
        cursor = self._sql.execute(
            "INSERT INTO runs (process, started, quota, window, owner) VALUES (?, ?, ?, ?, ?)", row
        )
        return cast("int", cursor.lastrowid)

    def _execute_for(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[int]:
        """Execute *sql* for all *rows* in as few steps as SQLite's limit of parameters allows."""
        for start in range(0, len(rows), _MOST_ROWS):
            some = rows[start : start + _MOST_ROWS]
            places = f"({', '.join('?' * len(some[0]))})"
            values = ", ".join([places] * len(some))
            yield self._sql.execute(sql.format(values), [value for row in some for value in row]).rowcount

    def _add_repeats(
        self, items: Sequence[JournalItem], rows: Sequence[tuple[Any, ...]], now: float
    ) -> Iterator[Skipped | ItemOutcome]:
        """Add those of *items* that were not added, because their key was there."""
        for item, (position, key, value, *_) in zip(items, rows, strict=True):
            added = self._sql.execute("SELECT key FROM items WHERE position = ?", (position,)).fetchone()
            if added is None:
                yield self._add_repeat(item, value, now)
            elif added[0] != key:
                message = f"position {position} of {key} is that of {added[0]}: each must be greater than those before"
                raise JournalError(message)

    def _add_repeat(self, item: JournalItem, value: str, now: float) -> Skipped | ItemOutcome:
        first, first_value = self._sql.execute(_FIRST, (item.key,)).fetchone()
        if item.in_doubt:
            self._sql.execute(_DOUBT, (now, first))
        repeat, end = _rows.repeat_of(item, value, first=first, first_value=first_value, now=now)
        stated = _rows.checksum(item.position, item.key, value, in_doubt=False)
        self._sql.execute(_ADD_REPEAT, (item.position, item.key, value, stated, first, *end, now))
        for name in ("duplicate",) if end[0] == "duplicate" else ("failed", "final_failed"):
            self._state[name] += 1
        return repeat

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
        """Return the batch that is written next, if anything can be written at all."""
        if self._thread is None or self._closing:
            message = f"the journal {self.path} is not open: use it in 'async with'"
            raise JournalError(message)
        if self._loop is not asyncio.get_running_loop():
            message = f"the journal {self.path} was opened in another event loop"
            raise JournalError(message)
        return self._batch

    async def _commit(self) -> list[Any]:
        """Wait until the batch is on the disk; return what its calls returned."""
        done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._batch.waiting.append(done)
        if self._committing is None:
            self._send_batch()
        # A cancellation of a caller that waits here cancels nothing but the waiting.
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
            if done.done():  # its caller was cancelled
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
                (_MARK_SENT, list(batch.sent.items())),
                (_MARK_NOT_SENT, list(batch.not_sent.items())),
                (_MARK_ABSENT, list(batch.absent.items())),
                (_RECORD, batch.outcomes),
                (_COUNT, minutes),
            ):
                for _ in self._execute_for(sql, rows):
                    pass
            for name, change in batch.changes.items():
                self._state[name] += change
            if batch.sent or batch.outcomes:
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
        """Make sure that no other process runs the journal: the lock's file may have been removed by hand."""
        if self._run > 0:
            (newest,) = self._sql.execute("SELECT max(run) FROM runs").fetchone()
            if newest != self._run:
                message = f"another process has begun to run the journal {self.path}; this run ends"
                raise JournalLostError(message)

    def _attempt(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever the call returns
        """Make one call of a batch; what is wrong with that one alone fails it alone."""
        before = dict(self._state)
        self._sql.execute("SAVEPOINT call")
        try:
            result = call()
        except (sqlite3.Error, UnicodeDecodeError):
            raise
        except Exception as error:  # noqa: BLE001 -- its caller gets it
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
    names = "read, checksum, complete, succeeded, failed, unknown, duplicate, final_failed, pending, begun"
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


def _process() -> str:
    return f"{os.getpid()} on {platform.node() or 'this host'}"
