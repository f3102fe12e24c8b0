"""Reading a journal in SQLite, also while its job runs. Nothing is changed: an older one is read through views."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async.bulk.journal import _rows
from b2b_async.bulk.journal.protocol import (
    JournalError,
    JournalFigures,
    JournalItem,
    JournalStatus,
    Minute,
    Reason,
    Run,
)
from b2b_async.bulk.journal.sqlite import (
    SCHEMA,
    check_schema,
    connect_to_read,
    is_held,
    read_progress,
    reads_unlocked,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from b2b_async.bulk.outcome import ItemOutcome, Status

__all__ = ["SQLiteReader"]

_OLDER = """
CREATE TEMP VIEW items AS SELECT *, settled AS final, departed AS in_doubt_since FROM main.items;
CREATE TEMP VIEW progress AS SELECT *, settled_failed AS final_failed FROM main.progress;
CREATE TEMP VIEW minutes AS SELECT run, requests, quota,
    minute + coalesce((SELECT CAST(started / 60 AS INTEGER) FROM runs WHERE runs.run = m.run), 0) AS minute
    FROM main.minutes AS m
"""
"""Views of an older journal with the names of today; before schema 4, minutes were counted from the start of a run."""
_WORDS = "coalesce(json_extract(failure, '$.message'), json_extract(failure, '$.text'))"
_REASONS = f"""
    SELECT status, json_extract(failure, '$.error'), json_extract(failure, '$.status'), json_extract(failure, '$.code'),
        {_WORDS}, count(*), min(position)
    FROM items WHERE failure IS NOT NULL GROUP BY 1, 2, 3, 4, 5 ORDER BY 6 DESC, 7
"""  # noqa: S608 -- the words above
_REASON = f"""
    SELECT key FROM items WHERE status = ? AND json_extract(failure, '$.error') = ?
        AND json_extract(failure, '$.status') IS ? AND json_extract(failure, '$.code') IS ? AND {_WORDS} = ?
    ORDER BY position LIMIT ?
"""  # noqa: S608 -- the words above
_OUTCOMES = f"""
    SELECT {", ".join(_rows.READ)} FROM items
    WHERE status IN ('succeeded', 'failed', 'unknown') AND (:status IS NULL OR status = :status) ORDER BY position
"""  # noqa: S608 -- names of columns
_LOW_WATER_MARK = """
    SELECT coalesce((SELECT min(position) FROM items WHERE NOT final) - 1, (SELECT max(position) FROM items), 0)
"""
_MINUTES = "SELECT run, minute, requests, quota FROM minutes"
_RECENT = f"""
    {_MINUTES} WHERE run = (SELECT max(run) FROM minutes)
        AND minute > (SELECT max(minute) FROM minutes WHERE run = (SELECT max(run) FROM minutes)) - 10 ORDER BY minute
"""  # noqa: S608 -- the query above
_REPEATS = "SELECT key, count(*) FROM items WHERE duplicate_of IS NOT NULL GROUP BY key ORDER BY 2 DESC LIMIT ?"
_PERCENTILES = (50, 90, 95, 99, 100)
_GROUPS = 50
"""Reasons that a report shows."""
_EXAMPLES = 5
"""Keys that it shows of each."""


class SQLiteReader:
    """A ``JournalReader`` of one SQLite file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path | str) -> None:
        """Do not open anything yet."""
        self.path: Path = Path(path)

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def exists(self) -> bool:
        """Return whether there is a file of that name."""
        return self.path.exists()

    def status(self) -> JournalStatus:
        """Return how far the job is, also while it runs.

        Raises:
            JournalError: there is no such journal, or it cannot be read; so for all methods.
        """
        with self._reading() as database:
            return self._status(database)

    def outcomes(self, status: Status | None = None) -> Iterator[ItemOutcome]:
        """Return the outcomes in the order of the input, one after the other.

        Args:
            status: Only items that ended so: succeeded, failed or unknown; None for all of them.
        """
        with self._reading() as database:
            for row in database.execute(_OUTCOMES, {"status": status}):
                yield _rows.read_outcome(row)

    def items(self) -> Iterator[JournalItem]:
        """Return position, key and value of each item, in the order of the input."""
        with self._reading() as database:
            for position, key, value in database.execute("SELECT position, key, value FROM items ORDER BY position"):
                where = f"position {position}"
                yield JournalItem(
                    position=position, key=_rows.checked(key, str, where), value=_rows.decoded(value, where)
                )

    def figures(self) -> JournalFigures:
        """Return the figures of a report."""
        with self._reading() as database:
            reasons = _reasons(database)
            repeats = database.execute(_REPEATS, (_GROUPS,))
            return JournalFigures(
                status=self._status(database),
                minutes=_minutes(database, f"{_MINUTES} ORDER BY run, minute"),
                seconds=_percentiles(database),
                reasons=reasons[:_GROUPS],
                more_reasons=len(reasons[_GROUPS:]),
                repeated=_one(database, "SELECT count(*) FROM items WHERE repeated"),
                duplicates={_rows.checked(key, str, "the duplicates"): number for key, number in repeats},
            )

    def _status(self, database: sqlite3.Connection) -> JournalStatus:
        progress = read_progress(database)
        names = [field.name for field in attrs.fields(Run)]
        about = database.execute("SELECT CAST(name AS TEXT), CAST(value AS TEXT) FROM about").fetchall()
        runs = database.execute(f"SELECT {', '.join(names)} FROM runs ORDER BY run")  # noqa: S608 -- the names of a class
        return JournalStatus(
            about={name: value or "" for name, value in about},
            counts=_rows.counts_of(progress),
            total=_rows.checked(_one(database, "SELECT total FROM progress"), int | None, "the progress"),
            complete=bool(progress["complete"]),
            fingerprint=_rows.checked(_one(database, "SELECT fingerprint FROM progress"), str, "the progress"),
            running=is_held(self.path),
            low_water_mark=_one(database, _LOW_WATER_MARK),
            runs=[_rows.read_run(dict(zip(names, row, strict=True))) for row in runs],
            minutes=_minutes(database, _RECENT),
        )

    @contextlib.contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        """Open the file to read it; whatever is wrong with it is a ``JournalError`` that names it."""
        try:
            with self._opened() as database:
                yield database
        except JournalError as error:
            text = str(error)
            raise JournalError(text if self.name in text else f"{self.name}: {text}") from None
        except (sqlite3.Error, OSError, ValueError) as error:  # the last one of a name that cannot be one
            message = f"{self.name} cannot be read as a journal: {error}"
            raise JournalError(message) from None

    @contextlib.contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        path = self.path
        if not path.is_file():
            message = f"there is no journal {path}"
            raise JournalError(message)
        unlocked, before = reads_unlocked(path), _stamp(path)
        with contextlib.closing(connect_to_read(path)) as database:
            database.execute("BEGIN")  # one moment, though the job may run, and may migrate the journal
            check_schema(database, path, has_wal=not unlocked)
            (schema,) = database.execute("PRAGMA user_version").fetchone()
            if 0 < schema < SCHEMA:
                for statement in _OLDER.split(";\n"):
                    database.execute(statement)
            yield database
            if unlocked and _stamp(path) != before:
                message = f"{path} has changed while it was read, since its job has begun again; read it once more"
                raise JournalError(message)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _minutes(database: sqlite3.Connection, query: str) -> list[Minute]:
    where = "the minutes of the runs"
    return [
        Minute(
            run=_rows.checked(run, int, where),
            minute=_rows.checked(minute, int, where),
            requests=_rows.checked(requests, int, where),
            quota=_rows.checked(quota, _rows.TIME, where),
        )
        for run, minute, requests, quota in database.execute(query)
    ]


def _percentiles(database: sqlite3.Connection) -> dict[int, float]:
    """Return the smallest values that so many percent of the items do not exceed."""
    number = _one(database, "SELECT count(seconds) FROM items")
    query = "SELECT seconds FROM items WHERE seconds IS NOT NULL ORDER BY seconds LIMIT 1 OFFSET ?"
    places = {percent: max(0, -(-number * percent // 100) - 1) for percent in _PERCENTILES}
    return {percent: _one(database, query, place) for percent, place in places.items()} if number else {}


def _reasons(database: sqlite3.Connection) -> list[Reason]:
    reasons: list[Reason] = []
    for status, error, http_status, code, words, items, _ in database.execute(_REASONS).fetchall():
        shown = len(reasons) < _GROUPS
        keys = database.execute(_REASON, (status, error, http_status, code, words, _EXAMPLES)) if shown else ()
        reasons.append(
            Reason(
                status=status,
                error=error,
                http_status=http_status,
                code=code,
                message=words,
                items=items,
                examples=[key for (key,) in keys],
            )
        )
    return reasons


def _one(database: sqlite3.Connection, query: str, *parameters: object) -> Any:  # noqa: ANN401 -- whatever is asked for
    return database.execute(query, parameters).fetchone()[0]
