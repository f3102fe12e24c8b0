"""Outcomes in forms for people and programs."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, cast

import attrs

from b2b_async.bulk.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async.bulk.outcome import ItemOutcome

_ITEM: tuple[str, ...] = ("value", "result")
"""What is shown of items and results of a kind that is not known here, as JSON."""


def columns(job: str) -> tuple[str, ...]:
    """Give the names of the columns of an export, for the job of that name."""
    own = KINDS[job].columns if job in KINDS else _ITEM
    return (
        *("key", "position", "status", *own, "error", "outcome", "http_status", "code", "message", "request_id"),
        *("attempts", "repeated", "sent", "seconds", "finished"),
    )


def flat(outcome: ItemOutcome, job: str = "assign") -> dict[str, Any]:
    """Give an outcome as one row of a table, with the names that ``columns`` gives."""
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
        "seconds": outcome.seconds if outcome.seconds is None else round(outcome.seconds, 3),
        "finished": _time(outcome.finished),
    }
    return {name: row.get(name, known.get(name)) for name in columns(job)}


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def write_csv(outcomes: Iterable[ItemOutcome], file: IO[str], job: str = "assign") -> None:
    """Write outcomes of the job of that name as CSV with a header line."""
    writer = csv.DictWriter(file, columns(job), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat(outcome, job) for outcome in outcomes)


def write_jsonl(outcomes: Iterable[ItemOutcome], file: IO[str], job: str = "assign") -> None:
    """Write outcomes of the job of that name as one JSON object a line."""
    for outcome in outcomes:
        file.write(json.dumps(flat(outcome, job), ensure_ascii=False) + "\n")
