"""The journal: one SQLite file that knows what is done, so that the same job run again goes on.

All SQL runs in one thread of its own. What has been asked for while that thread was busy is committed together
(group commit): one sync to the disk serves all that wait for it. A caller goes on only after that sync.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from b2b_async.bulk.outcome import Failure, ItemOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from typing import Self

T = TypeVar("T")

Claim = Literal["new", "succeeded", "failed", "duplicate"]
"""To be done now; settled so by an earlier run; met before in this run."""

_FORMAT = "1"
_APPLICATION = 0x62326261
"""Marks the file as ours in SQLite's header: "b2ba"."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    key TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    run INTEGER NOT NULL,
    status TEXT,
    settled INTEGER NOT NULL DEFAULT 0,
    result TEXT,
    failure TEXT,
    attempts INTEGER,
    started REAL,
    finished REAL
) WITHOUT ROWID;
"""
_CLAIM = """
INSERT INTO items (key, position, run) VALUES (:key, :position, :run)
ON CONFLICT (key) DO UPDATE SET run = :run WHERE run < :run
RETURNING CASE WHEN settled THEN status ELSE 'new' END
"""
_RECORD = """
UPDATE items SET status = ?, settled = ?, result = ?, failure = ?, attempts = ?, started = ?, finished = ? WHERE key = ?
"""


class JournalError(Exception):
    """The journal cannot be used; the text says why and what to do."""


class Journal:
    """The memory of one job. Use it as an async context manager.

    Args:
        path: The file; made if it does not exist.
        about: What the job is: a journal of another one is refused. Names and values are shown to people,
            so no secrets.
    """

    def __init__(self, path: Path | str, about: Mapping[str, str]) -> None:
        """Do not touch the file yet."""
        # Resolved, so that a link to a journal has the journal's lock.
        self.path = Path(path).resolve()
        self._about = {"format": _FORMAT, **about}
        self._run = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="b2b-async-journal")
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._database: sqlite3.Connection | None = None
        self._lock: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
            JournalError: it belongs to another job, is in use by another process, or is no journal.
        """
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._open)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Close the file."""
        await self.close()

    async def close(self) -> None:
        """Finish what was asked for and close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def claim(self, key: str, position: int) -> Claim:
        """Say whether an item is to be done now, and note that it was met."""

        def work() -> Claim:
            row = self._sql.execute(_CLAIM, {"key": key, "position": position, "run": self._run}).fetchone()
            return "duplicate" if row is None else row[0]

        return await self._do(work)

    async def record(self, outcome: ItemOutcome) -> None:
        """Write down what became of an item; returns once it is on the disk."""
        result = None if outcome.result is None else json.dumps(outcome.result, default=str)
        failure = None if outcome.failure is None else json.dumps(attrs.asdict(outcome.failure))
        settled = outcome.failure is None or outcome.failure.final
        row = (
            outcome.status,
            settled,
            result,
            failure,
            outcome.attempts,
            outcome.started,
            outcome.finished,
            outcome.key,
        )
        await self._do(lambda: self._sql.execute(_RECORD, row))

    # -- in the thread -------------------------------------------------------------------------------------------

    @property
    def _sql(self) -> sqlite3.Connection:
        if self._database is None:
            message = f"the journal {self.path} is not open"
            raise JournalError(message)
        return self._database

    def _open(self) -> None:
        try:
            # A lock that any platform has, and that the system frees when the process dies in any way.
            self._lock = sqlite3.connect(f"{self.path}-lock", timeout=0, isolation_level=None, check_same_thread=False)
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            reason = "another process is running this job" if "locked" in str(error) else f"cannot be written ({error})"
            message = f"the journal {self.path}: {reason}; wait for it, or name another journal"
            raise JournalError(message) from None
        try:
            self._database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            (application,) = self._database.execute("PRAGMA application_id").fetchone()
            (tables,) = self._database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if tables and application != _APPLICATION:
                message = f"{self.path} is a database of another program; name another journal"
                raise JournalError(message)
            self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._database.execute("PRAGMA journal_mode = WAL")
            # Anything less loses outcomes that were acknowledged when the power goes.
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(_SCHEMA)
            known = dict(self._database.execute("SELECT name, value FROM about"))
        except sqlite3.DatabaseError as error:
            message = f"the journal {self.path} cannot be used: {error}. Is it a journal of b2b-async?"
            raise JournalError(message) from None
        self._compare(known)
        self._run = int(known.get("runs", "0")) + 1
        rows = {**self._about, "runs": str(self._run)}
        self._database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", rows.items())

    def _compare(self, known: Mapping[str, str]) -> None:
        differing = [
            f"{name} is {known[name]!r} there and {value!r} here"
            for name, value in self._about.items()
            if known.get(name, value) != value
        ]
        if differing:
            message = f"the journal {self.path} belongs to another job: {'; '.join(differing)}. Name another journal"
            raise JournalError(message)

    def _close(self) -> None:
        self._drain()
        for connection in (self._database, self._lock):
            if connection is not None:
                connection.close()
        # The lock's file stays: if it were removed, two processes could lock two files of that name.
        self._database = self._lock = None

    async def _do(self, work: Callable[[], T]) -> T:
        """Run *work* in the thread, in one transaction with all that waits there."""
        done: Future[T] = Future()
        self._waiting.append((work, done))
        asyncio.get_running_loop().run_in_executor(self._thread, self._drain)
        # Shielded: what was asked for is done and written even if the asker is cancelled.
        waiting = asyncio.wrap_future(done)
        waiting.add_done_callback(_consume)
        return await asyncio.shield(waiting)

    def _drain(self) -> None:
        batch: list[tuple[Callable[[], Any], Future[Any]]] = []
        while self._waiting:
            batch.append(self._waiting.popleft())
        if not batch:
            return
        try:
            self._sql.execute("BEGIN IMMEDIATE")
            results = [_attempt(work) for work, _ in batch]
            self._sql.execute("COMMIT")
        except (sqlite3.Error, JournalError) as error:
            if self._database is not None and self._database.in_transaction:
                self._database.execute("ROLLBACK")
            message = f"the journal {self.path} cannot be written: {error}. Free the disk and run the job again"
            for _, done in batch:
                done.set_exception(JournalError(message))
            return
        for (_, done), result in zip(batch, results, strict=True):
            if isinstance(result, JournalError):
                done.set_exception(result)
            else:
                done.set_result(result)


def _consume(done: asyncio.Future[Any]) -> None:
    """Look at an error that nobody waits for any more; asyncio would print it as forgotten."""
    _ = done.cancelled() or done.exception()


def _attempt(work: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever the work gives
    """Do one piece of a batch; a value that SQLite cannot hold fails this piece alone."""
    try:
        return work()
    except (UnicodeError, OverflowError) as error:
        return JournalError(f"the journal cannot hold this item: {error}")


@attrs.frozen
class JournalStatus:
    """What a journal holds."""

    about: Mapping[str, str]
    """What the job is."""
    counts: Mapping[str, int]
    """Items by status; "pending" are those that were begun and not finished."""


def read_status(path: Path | str) -> JournalStatus:
    """Read what a journal holds, also while its job runs.

    Raises:
        JournalError: there is no such journal.
    """
    with contextlib.closing(_reader(path)) as database, _readable(path):
        about = dict(database.execute("SELECT name, value FROM about"))
        rows = database.execute("SELECT coalesce(status, 'pending'), count(*) FROM items GROUP BY 1")
        return JournalStatus(about, dict(rows))


def read_outcomes(path: Path | str, status: str | None = None) -> Iterator[ItemOutcome]:
    """Read the outcomes of a journal in the order of the input, one after the other.

    Args:
        path: The journal.
        status: Only items that ended so; None for all.

    Raises:
        JournalError: there is no such journal.
    """
    query = """
        SELECT key, position, status, result, failure, attempts, started, finished FROM items
        WHERE status IS NOT NULL AND (:status IS NULL OR status = :status) ORDER BY position
    """
    with contextlib.closing(_reader(path)) as database, _readable(path):
        for key, position, ended, result, failure, attempts, started, finished in database.execute(
            query, {"status": status}
        ):
            yield ItemOutcome(
                key=key,
                position=position,
                status=ended,
                result=None if result is None else json.loads(result),
                failure=None if failure is None else Failure(**json.loads(failure)),
                attempts=attempts,
                started=started,
                finished=finished,
            )


def _reader(path: Path | str) -> sqlite3.Connection:
    path = Path(path)
    if not path.is_file():
        message = f"there is no journal {path}"
        raise JournalError(message)
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


@contextlib.contextmanager
def _readable(path: Path | str) -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        message = f"{path} cannot be read as a journal: {error}"
        raise JournalError(message) from None
