"""Outcomes in forms for people and programs."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async.bulk.outcome import ItemOutcome

COLUMNS: tuple[str, ...] = (
    "key",
    "position",
    "status",
    "total",
    "error",
    "outcome",
    "http_status",
    "code",
    "message",
    "request_id",
    "attempts",
    "started",
    "finished",
)


def flat(outcome: ItemOutcome) -> dict[str, Any]:
    """Give an outcome as one row of a table, with the names in ``COLUMNS``."""
    failure = attrs.asdict(outcome.failure) if outcome.failure else {}
    return {
        "key": outcome.key,
        "position": outcome.position,
        "status": outcome.status,
        "total": (outcome.result or {}).get("total"),
        "error": failure.get("error"),
        "outcome": failure.get("outcome"),
        "http_status": failure.get("status"),
        "code": failure.get("code"),
        "message": failure.get("message") or failure.get("text"),
        "request_id": failure.get("request_id"),
        "attempts": outcome.attempts,
        "started": _time(outcome.started),
        "finished": _time(outcome.finished),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def write_csv(outcomes: Iterable[ItemOutcome], file: IO[str]) -> None:
    """Write outcomes as CSV with a header line."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(flat, outcomes))


def write_jsonl(outcomes: Iterable[ItemOutcome], file: IO[str]) -> None:
    """Write outcomes as one JSON object a line."""
    for outcome in outcomes:
        file.write(json.dumps(flat(outcome), ensure_ascii=False) + "\n")
