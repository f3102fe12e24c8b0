"""What a journal tells, also while its job runs: how far it is, each outcome, and the figures of a report."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async.bulk.journal.protocol import Counts, JournalError
from b2b_async.bulk.journal.sqlite import check_schema, connect_to_read, is_held, read_progress, reads_unlocked
from b2b_async.bulk.outcome import Failure, ItemOutcome

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
_TIME = int | float
_FOREVER = 1e11
"""Seconds, more than which no date can show."""
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
            where = f"position {position}"
            yield ItemOutcome(
                key=_checked(key, str, where),
                position=position,
                status=ended,
                value=_decoded(value, where),
                result=None if result is None else _result(result, where),
                failure=None if failure is None else _failure(failure, where),
                attempts=_checked(attempts, int, where),
                repeated=bool(repeated),
                sent=_checked(sent, _TIME | None, where),
                seconds=_checked(seconds, _TIME | None, where),
                finished=_checked(finished, _TIME, where),
            )


def read_items(path: Path | str) -> Iterator[tuple[int, str, Any]]:
    """Read position, key and value of each item of a journal, in the order of the input.

    Raises:
        JournalError: there is no such journal, or it cannot be read.
    """
    with _reading(path) as database:
        for position, key, value in database.execute("SELECT position, key, value FROM items ORDER BY position"):
            yield position, _checked(key, str, f"position {position}"), _decoded(value, f"position {position}")


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
            duplicates={
                _checked(key, str, "the duplicates"): number for key, number in database.execute(repeats, (_GROUPS,))
            },
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
    about = database.execute("SELECT CAST(name AS TEXT), CAST(value AS TEXT) FROM about").fetchall()
    return JournalStatus(
        about={name: value or "" for name, value in about},
        counts=Counts(**{field.name: progress[field.name] for field in attrs.fields(Counts)}),
        total=_checked(_one(database, "SELECT total FROM progress"), int | None, "the progress"),
        complete=bool(progress["complete"]),
        fingerprint=_checked(_one(database, "SELECT fingerprint FROM progress"), str, "the progress"),
        running=is_held(path),
        low_water_mark=_one(database, _LOW_WATER_MARK),
        runs=[
            _run(dict(zip(names.split(", "), row, strict=True)))
            for row in database.execute(f"SELECT {names} FROM runs ORDER BY run")  # noqa: S608 -- the names of a class
        ],
        minutes=_minutes(database, recent),
    )


def _run(row: dict[str, Any]) -> Run:
    where = f"run {row['run']}"
    kinds: dict[str, Any] = {
        "run": int,
        "process": str,
        "started": _TIME,
        "finished": _TIME | None,
        "how": str | None,
        "quota": int,
        "window": _TIME,
    }
    return Run(**{name: _checked(row[name], kind, where) for name, kind in kinds.items()})


def _minutes(database: sqlite3.Connection, query: str) -> list[Minute]:
    where = "the minutes of the runs"
    return [
        Minute(
            run=_checked(run, int, where),
            minute=_checked(minute, int, where),
            requests=_checked(requests, int, where),
            quota=_checked(quota, _TIME, where),
        )
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


def _result(text: object, where: str) -> dict[str, Any]:
    result = _decoded(text, where)
    # Before version 3 of the schema, results that were no dict were kept as their text.
    return {"repr": result} if isinstance(result, str) else _checked(result, dict, where)


def _failure(text: object, where: str) -> Failure:
    fields = _checked(_decoded(text, where), dict, where)
    kinds: dict[str, Any] = {
        "error": str,
        "text": str,
        "outcome": str,
        "status": int | None,
        "code": int | None,
        "message": str | None,
        "request_id": str | None,
        "final": bool,
    }
    return Failure(**{name: _checked(fields.get(name), kind, where) for name, kind in kinds.items()})


def _decoded(text: object, where: str) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return json.loads(_checked(text, str, where))
    except (ValueError, RecursionError):
        raise JournalError(_damaged(where)) from None


def _checked(value: Any, kind: Any, where: str) -> Any:  # noqa: ANN401 -- whatever stands in the file
    """Return *value* if it is of *kind*.

    Raises:
        JournalError: it is not: the file was changed or damaged.
    """
    if not isinstance(value, kind) or (isinstance(value, float) and not abs(value) < _FOREVER):
        raise JournalError(_damaged(where))
    return value


def _damaged(where: str) -> str:
    return (
        f"the journal is damaged at {where}: what stands there is nothing that was written. Put a copy in its place, "
        "or read the rest with the sqlite3 tool"
    )


def _one(database: sqlite3.Connection, query: str, *parameters: object) -> Any:  # noqa: ANN401 -- whatever is asked for
    return database.execute(query, parameters).fetchone()[0]


@contextlib.contextmanager
def _reading(path: Path | str) -> Generator[sqlite3.Connection]:
    """Open a journal to read it; whatever is wrong with it is a ``JournalError`` that names it."""
    try:
        with _open(Path(path)) as database:
            yield database
    except JournalError as error:
        text = str(error)
        raise JournalError(text if str(path) in text else f"{path}: {text}") from None
    except (sqlite3.Error, OSError, ValueError) as error:  # the last one of a name that cannot be one
        message = f"{path} cannot be read as a journal: {error}"
        raise JournalError(message) from None


@contextlib.contextmanager
def _open(path: Path) -> Generator[sqlite3.Connection]:
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
