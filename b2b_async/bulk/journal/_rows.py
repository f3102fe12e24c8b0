"""The rows of a journal: what is meaning and not SQL, and so the same for every backend.

A row is a tuple of plain values. What is read is checked: a journal is a file or a database that anyone may have
changed.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async.bulk.journal.protocol import Counts, JournalError, PendingItem, Run
from b2b_async.bulk.outcome import CONFLICT, Failure, ItemOutcome, Skipped
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from b2b_async.bulk.journal.protocol import JournalItem

READ = (
    *("key", "position", "status", "value", "result", "failure", "attempts", "repeated", "sent", "seconds"),
    "finished",
)
"""The columns of an outcome that is read."""
COUNTS = tuple(field.name for field in attrs.fields(Counts))
"""The names of the counts."""
TIME = int | float
_FOREVER = 1e11
"""Seconds, more than which no date can show."""

_encode = json.JSONEncoder(default=str, allow_nan=False).encode


# -- written -------------------------------------------------------------------------------------------------------


def item_row(item: JournalItem, now: float) -> tuple[Any, ...]:
    """Return the row of an item that is added at Unix time *now*: position, key, value, in doubt since, checksum.

    Raises:
        InvalidArgumentError: its value has no form in JSON.
    """
    try:
        value = json.dumps(item.value, allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"the item at position {item.position} cannot be written as JSON ({error}): its kind needs a dump"
        raise InvalidArgumentError(message) from None
    in_doubt_since = now if item.in_doubt else None
    return item.position, item.key, value, in_doubt_since, checksum(item.position, item.key, value, item.in_doubt)


def outcome_row(outcome: ItemOutcome) -> tuple[Any, ...]:
    """Return the row of an outcome.

    Its columns: position, status, final, in_doubt_since, repeated, result, failure, attempts, sent, seconds, finished.
    """
    failure = outcome.failure
    return (
        outcome.position,
        outcome.status,
        outcome.final,
        outcome.sent or outcome.finished if outcome.status == "unknown" else None,
        outcome.repeated,
        None if outcome.result is None else _json_of_any(outcome.result),
        None if failure is None else failure_json(failure),
        outcome.attempts,
        outcome.sent,
        outcome.seconds,
        outcome.finished,
    )


def failure_json(failure: Failure) -> str:
    """Return a failure as JSON."""
    return _encode(attrs.asdict(failure))


def changes_of_sending(item: PendingItem) -> Mapping[str, int]:
    """Return the changes of the counts when a request for *item* is about to be sent.

    The last outcome of a failed item does not stand any more: if the process dies now, it must not be taken for true.
    """
    return {"failed": -1, "pending": 1} if item.status == "failed" else {}


def changes_of_outcome(item: PendingItem, outcome: ItemOutcome) -> Mapping[str, int]:
    """Return the changes of the counts when *item* gets an outcome."""
    was_sent = item.status == "failed" and outcome.sent is not None  # see changes_of_sending
    before = item.status if item.status and not was_sent else "pending"
    changes: dict[str, int] = {} if before == outcome.status else {before: -1, outcome.status: 1}
    if outcome.final and outcome.status == "failed":
        changes["final_failed"] = 1
    return changes


def repeat_of(
    item: JournalItem, value: str, *, first: int, first_value: str, now: float
) -> tuple[Skipped | ItemOutcome, tuple[Any, ...]]:
    """Return what becomes of an item that has the key of an earlier one, and the end of its row.

    It is skipped if it is equal to the earlier one, and else failed, since it is not known which of the two is meant.

    Args:
        item: The item.
        value: Its value as JSON.
        first: The position of the earlier one.
        first_value: The value of the earlier one as JSON.
        now: Unix time in seconds.

    Returns:
        The result, and status and failure (as JSON) for its row.
    """
    if first_value == value:
        return Skipped(key=item.key, position=item.position, first=first), ("duplicate", None)
    text = (
        f"{item.key} stands at position {first} with other values: {first_value} there, {value} here. "
        "Nothing was sent for this one; leave one of the two in the input"
    )
    failure = Failure(error=CONFLICT, text=text, outcome="not_sent", final=True)
    outcome = ItemOutcome(
        key=item.key,
        position=item.position,
        status="failed",
        value=item.value,
        failure=failure,
        attempts=0,
        finished=now,
    )
    return outcome, ("failed", failure_json(failure))


def checksum(position: int, key: str, value: str, in_doubt: bool) -> int:  # noqa: FBT001 -- SQLite calls it, too
    """Return the checksum of an item: what was written is what is sent."""
    return zlib.crc32(f"{position} {key} {value} {int(in_doubt)}".encode(errors="replace"))


def differences(known: Mapping[str, str], about: Mapping[str, str]) -> str | None:
    """Return where the job of a journal differs from the one that is to run; None if it does not."""
    differing = [
        f"{name} is {known.get(name, 'nothing')!r} there and {about.get(name, 'nothing')!r} here"
        for name in {**known, **about}
        if known.get(name) != about.get(name)
    ]
    return "; ".join(differing) if known and differing else None


def counts_of(state: Mapping[str, int]) -> Counts:
    """Return the counts among the values of the progress."""
    return Counts(**{name: state.get(name, 0) for name in COUNTS})


def _json_of_any(result: Mapping[str, Any]) -> str:
    """Write a result as JSON, whatever its kind made it of: the item is done, and that must not get lost."""
    try:
        return _encode(dict(result))
    except (TypeError, ValueError):
        return _encode({"repr": repr(result)})


# -- read ----------------------------------------------------------------------------------------------------------


def pending_item(row: Sequence[Any], journal: object) -> PendingItem:
    """Make an item that is to be done of its row, unless that has changed since it was written.

    Args:
        row: Position, key, value, status, whether it is in doubt, when it was found absent, and the checksum.
        journal: The name of the journal, for the message.

    Raises:
        JournalError: it has changed.
    """
    position, key, value, status, in_doubt, absent, stated = row
    if stated != checksum(position, key, value, in_doubt) or status not in {None, "failed", "unknown"}:
        message = (
            f"the journal {journal} is damaged: the item at position {position} is not what was written. Nothing was "
            "sent for it; put a copy of the journal in its place, or begin another one, which would do everything again"
        )
        raise JournalError(message)
    plain = json.loads(value)
    return PendingItem(position=position, key=key, value=plain, status=status, in_doubt=bool(in_doubt), absent=absent)


def read_outcome(row: Sequence[Any]) -> ItemOutcome:
    """Make an outcome of its row, which has the columns of ``READ``.

    Raises:
        JournalError: a value is nothing that was written.
    """
    key, position, status, value, result, failure, attempts, repeated, sent, seconds, finished = row
    where = f"position {position}"
    return ItemOutcome(
        key=checked(key, str, where),
        position=position,
        status=status,
        value=decoded(value, where),
        result=None if result is None else _result(result, where),
        failure=None if failure is None else _failure(failure, where),
        attempts=checked(attempts, int, where),
        repeated=bool(repeated),
        sent=checked(sent, TIME | None, where),
        seconds=checked(seconds, TIME | None, where),
        finished=checked(finished, TIME, where),
    )


def read_run(row: Mapping[str, Any]) -> Run:
    """Make a run of its row.

    Raises:
        JournalError: a value is nothing that was written.
    """
    kinds: dict[str, Any] = {
        "run": int,
        "process": str,
        "started": TIME,
        "finished": TIME | None,
        "how": str | None,
        "quota": int,
        "window": TIME,
    }
    return Run(**{name: checked(row[name], kind, f"run {row['run']}") for name, kind in kinds.items()})


def _result(text: object, where: str) -> dict[str, Any]:
    result = decoded(text, where)
    # Before version 3 of the schema, results that were no dict were kept as their text.
    return {"repr": result} if isinstance(result, str) else checked(result, dict, where)


def _failure(text: object, where: str) -> Failure:
    fields = checked(decoded(text, where), dict, where)
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
    return Failure(**{name: checked(fields.get(name), kind, where) for name, kind in kinds.items()})


def decoded(text: object, where: str) -> Any:  # noqa: ANN401 -- any JSON value
    """Decode JSON that a journal has.

    Raises:
        JournalError: it is none.
    """
    try:
        return json.loads(checked(text, str, where))
    except (ValueError, RecursionError):
        raise JournalError(_damaged(where)) from None


def checked(value: Any, kind: Any, where: str) -> Any:  # noqa: ANN401 -- whatever the journal has
    """Return *value* if it is of *kind*.

    Raises:
        JournalError: it is not: the journal was changed or damaged.
    """
    if not isinstance(value, kind) or (isinstance(value, float) and not abs(value) < _FOREVER):
        raise JournalError(_damaged(where))
    return value


def _damaged(where: str) -> str:
    return (
        f"the journal is damaged at {where}: its value is nothing that was written. Put a copy in its place, "
        "or read the rest with the sqlite3 tool"
    )
