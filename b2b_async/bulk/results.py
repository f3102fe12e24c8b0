"""What a journal tells, also while its job runs: how far it is, each outcome, and the figures of a report."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async.bulk.journal import Counts, JournalError
from b2b_async.bulk.outcome import Failure, ItemOutcome
from b2b_async.bulk.sqlite import check_schema, connect_to_read, is_held, read_progress, reads_unlocked

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from b2b_async.bulk.outcome import Status

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
_LOW_WATER_MARK = """
    SELECT coalesce((SELECT min(position) FROM items WHERE NOT settled) - 1, (SELECT max(position) FROM items), 0)
"""
_PERCENTILES = (50, 90, 95, 99, 100)
_GROUPS = 50
"""Reasons that a report shows."""
_EXAMPLES = 5
"""Keys that it shows of each."""


@attrs.frozen(kw_only=True)
class Run:
    """One run of a job."""

    run: int
    """Counted from 1."""
    process: str
    """The process and its host."""
    started: float
    """Unix time in seconds."""
    finished: float | None
    """Unix time in seconds; None if it is running, or was killed."""
    how: str | None
    """How it ended: finished, or why not; None as long as it has not."""
    quota: int
    """Requests that the quota allowed in a window when it began."""
    window: float
    """Seconds of that window."""


@attrs.frozen(kw_only=True)
class Minute:
    """The requests of one minute of a run."""

    run: int
    """The run."""
    minute: int
    """Counted from 0, by a clock that nobody sets."""
    requests: int
    """Requests that left, look-ups included."""
    quota: float
    """Requests a minute that the quota allowed."""


@attrs.frozen(kw_only=True)
class JournalStatus:
    """How far a job is."""

    about: Mapping[str, str]
    """What the job is."""
    counts: Counts
    """Items by how they ended."""
    total: int | None
    """Items that there will be, if that is known."""
    complete: bool
    """The whole input is in the journal, so that another run needs none."""
    fingerprint: str
    """What the input as a whole said of itself, if it can."""
    running: bool
    """A process is running it now."""
    low_water_mark: int
    """All items up to this position are settled: the low-water mark."""
    runs: Sequence[Run]
    """All runs, oldest first."""
    minutes: Sequence[Minute]
    """The last ten minutes of the last run that requests were sent in."""

    @property
    def all(self) -> int:
        """All items, as far as they are known: those that were read, or those that there will be."""
        return max(self.counts.all, self.total or 0)

    @property
    def not_reached(self) -> int:
        """Those of them without an outcome."""
        return self.all - self.counts.all + self.counts.pending


@attrs.frozen(kw_only=True)
class Reason:
    """Items that failed, or are unknown, for one reason."""

    status: Status
    """How they ended."""
    error: str
    """The name of the error class."""
    http_status: int | None
    """The HTTP status, if the server answered."""
    code: int | None
    """The envelope's code."""
    message: str
    """The server's words, or the error's."""
    items: int
    """How many there are."""
    examples: Sequence[str]
    """The keys of the first of them."""


@attrs.frozen(kw_only=True)
class JournalFigures:
    """The figures of a report."""

    status: JournalStatus
    """How far the job is."""
    minutes: Sequence[Minute]
    """All minutes of all runs."""
    seconds: Mapping[int, float]
    """How long items took from their departure on, by percentile; empty if none has left."""
    reasons: Sequence[Reason]
    """Why items failed or are unknown, the most frequent first."""
    more_reasons: int
    """Further reasons."""
    repeated: int
    """Items that were sent again after a run that may have done them."""
    duplicates: Mapping[str, int]
    """The first items that stood in the input again, and how often."""


def read_status(path: Path | str) -> JournalStatus:
    """Read how far a job is, also while it runs.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with _reading(path) as database:
        return _status(database, Path(path))


def read_outcomes(path: Path | str, status: str | None = None) -> Iterator[ItemOutcome]:
    """Read the outcomes of a journal in the order of the input, one after the other.

    Args:
        path: The journal.
        status: Only items that ended so: succeeded, failed or unknown; None for all of them.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    query = """
        SELECT key, position, status, value, result, failure, attempts, repeated, sent, seconds, finished FROM items
        WHERE status IN ('succeeded', 'failed', 'unknown') AND (:status IS NULL OR status = :status) ORDER BY position
    """
    with _reading(path) as database:
        for row in database.execute(query, {"status": status}):
            key, position, ended, value, result, failure, attempts, repeated, sent, seconds, finished = row
            yield ItemOutcome(
                key=key,
                position=position,
                status=ended,
                value=json.loads(value),
                result=None if result is None else json.loads(result),
                failure=None if failure is None else Failure(**json.loads(failure)),
                attempts=attempts,
                repeated=bool(repeated),
                sent=sent,
                seconds=seconds,
                finished=finished,
            )


def read_items(path: Path | str) -> Iterator[tuple[int, str, Any]]:
    """Read position, key and value of each item of a journal, in the order of the input.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with _reading(path) as database:
        for position, key, value in database.execute("SELECT position, key, value FROM items ORDER BY position"):
            yield position, key, json.loads(value)


def read_figures(path: Path | str) -> JournalFigures:
    """Read the figures of a report.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with _reading(path) as database:
        database.execute("BEGIN")  # all figures of one moment, though the job may run
        reasons = _reasons(database)
        repeats = "SELECT key, count(*) FROM items WHERE duplicate_of IS NOT NULL GROUP BY key ORDER BY 2 DESC LIMIT ?"
        return JournalFigures(
            status=_status(database, Path(path)),
            minutes=_minutes(database, "SELECT run, minute, requests, quota FROM minutes ORDER BY run, minute"),
            seconds=_percentiles(database),
            reasons=reasons[:_GROUPS],
            more_reasons=len(reasons[_GROUPS:]),
            repeated=_one(database, "SELECT count(*) FROM items WHERE repeated"),
            duplicates=dict(database.execute(repeats, (_GROUPS,)).fetchall()),
        )


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _status(database: sqlite3.Connection, path: Path) -> JournalStatus:
    progress = read_progress(database)
    recent = (
        "SELECT run, minute, requests, quota FROM minutes WHERE run = (SELECT max(run) FROM minutes) "
        "AND minute > (SELECT max(minute) FROM minutes WHERE run = (SELECT max(run) FROM minutes)) - 10 ORDER BY minute"
    )
    names = ", ".join(field.name for field in attrs.fields(Run))
    return JournalStatus(
        about=dict(database.execute("SELECT name, value FROM about").fetchall()),
        counts=Counts(**{field.name: progress[field.name] for field in attrs.fields(Counts)}),
        total=_one(database, "SELECT total FROM progress"),
        complete=bool(progress["complete"]),
        fingerprint=_one(database, "SELECT fingerprint FROM progress"),
        running=is_held(path),
        low_water_mark=_one(database, _LOW_WATER_MARK),
        runs=[
            Run(**dict(zip(names.split(", "), row, strict=True)))
            for row in database.execute(f"SELECT {names} FROM runs ORDER BY run")  # noqa: S608 -- the names of a class
        ],
        minutes=_minutes(database, recent),
    )


def _minutes(database: sqlite3.Connection, query: str) -> list[Minute]:
    return [
        Minute(run=run, minute=minute, requests=requests, quota=quota)
        for run, minute, requests, quota in database.execute(query)
    ]


def _percentiles(database: sqlite3.Connection) -> dict[int, float]:
    """The smallest value that so many percent of the items do not exceed."""
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


@contextlib.contextmanager
def _reading(path: Path | str) -> Generator[sqlite3.Connection]:
    path = Path(path)
    try:
        if not path.is_file():
            message = f"there is no journal {path}"
            raise JournalError(message)
        unlocked, before = reads_unlocked(path), _stamp(path)
        with contextlib.closing(connect_to_read(path)) as database:
            check_schema(database, path, has_wal=not unlocked)
            yield database
            if unlocked and _stamp(path) != before:
                message = f"{path} has changed while it was read, since its job has begun again; read it once more"
                raise JournalError(message)
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:  # the last two of JSON that is damaged
        message = f"{path} cannot be read as a journal: {error}"
        raise JournalError(message) from None
