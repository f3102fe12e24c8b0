"""Exports of outcomes: CSV and JSON Lines. They import nothing that a journal names."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, cast

import attrs

from b2b_async.bulk.inputs._tables import neutralize
from b2b_async.bulk.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async.bulk.outcome import ItemOutcome

__all__ = ["columns", "flat", "write_csv", "write_jsonl"]

_ITEM: tuple[str, ...] = ("value", "result")
"""The columns of items and results of a kind that is not known here, as JSON."""


def columns(job: str) -> tuple[str, ...]:
    """Return the names of the columns of an export, for the job of that name."""
    own = KINDS[job].columns if job in KINDS else _ITEM
    return (
        *("key", "position", "status", *own, "error", "outcome", "http_status", "code", "message", "request_id"),
        *("attempts", "repeated", "sent", "seconds", "finished"),
    )


def flat(outcome: ItemOutcome, job: str = "assign") -> dict[str, Any]:
    """Return an outcome as one row of a table, with the names that ``columns`` returns."""
    failure = attrs.asdict(outcome.failure) if outcome.failure else {}
    value: object = outcome.value
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    known = {**fields, **(outcome.result or {})}
    if job not in KINDS:
        known = {name: json.dumps(getattr(outcome, name), default=str) for name in _ITEM}
    row = {
        "key": outcome.key,
        "position": outcome.position,
        "status": outcome.status,
        "error": failure.get("error"),
        "outcome": failure.get("outcome"),
        "http_status": failure.get("status"),
        "code": failure.get("code"),
        "message": failure.get("message") or failure.get("text"),
        "request_id": failure.get("request_id"),
        "attempts": outcome.attempts,
        "repeated": outcome.repeated,
        "sent": _time(outcome.sent),
        "seconds": round(outcome.seconds, 3) if isinstance(outcome.seconds, float) else outcome.seconds,
        "finished": _time(outcome.finished),
    }
    return {name: row.get(name, known.get(name)) for name in columns(job)}


def _time(seconds: object) -> object:
    """Return a Unix time in ISO 8601; what is none, as it is."""
    try:
        return datetime.fromtimestamp(cast("float", seconds), UTC).isoformat(timespec="milliseconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return seconds


class _Rows:
    """A file for csv, with a line feed after each row.

    Before Python 3.13, csv puts quotes around a carriage return only if its line terminator has one. Without them a
    carriage return in a value would begin a new row.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> None:
        """Write a row that ends with a carriage return and a line feed."""
        self._file.write(row.removesuffix("\r\n") + "\n")


def write_csv(
    outcomes: Iterable[ItemOutcome], file: IO[str], job: str = "assign", *, for_spreadsheet: bool = False
) -> None:
    """Write outcomes as CSV with a header line.

    Args:
        outcomes: The outcomes.
        file: The file, opened with ``newline=""``.
        job: The name of their job.
        for_spreadsheet: Write each cell that a spreadsheet may run as a formula with an apostrophe before it, as
            ``neutralize`` does. ``read_customer_ids`` and ``read_order_rows`` remove it. Without it, cells are exact.
    """
    writer = csv.writer(_Rows(file), lineterminator="\r\n")
    writer.writerow(columns(job))
    for outcome in outcomes:
        cells = flat(outcome, job).values()
        writer.writerow(["" if cell is None else neutralize(str(cell)) for cell in cells] if for_spreadsheet else cells)


def write_jsonl(outcomes: Iterable[ItemOutcome], file: IO[str], job: str = "assign") -> None:
    """Write outcomes of the job of that name as one JSON object a line."""
    for outcome in outcomes:
        file.write(json.dumps(flat(outcome, job), ensure_ascii=False) + "\n")
