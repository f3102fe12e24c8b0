"""What became of an item, and of a job. Plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CONFLICT",
    "Failure",
    "Item",
    "ItemOutcome",
    "JobSummary",
    "Skipped",
    "Status",
]

Status = Literal["succeeded", "failed", "unknown"]
"""Done; refused or never sent; or it is not known whether it was done."""

CONFLICT = "ConflictingDuplicate"
"""The error of an item that has the key of an earlier one and is not equal to it."""


@attrs.frozen
class Item:
    """One thing to do, and where in the input it stood."""

    position: int
    """Its line in a file, or its number in an iterable, counted from 1; each is greater than the one before."""
    value: Any
    """What the job's kind takes: for an assignment, a customer id."""
    in_doubt: bool = False
    """Another job may have sent it: where doing it twice matters, it is verified before it is sent."""


@attrs.frozen(kw_only=True)
class Failure:
    """Why an item did not succeed."""

    error: str
    """The name of the error class; the job's own are AbsentError (a verification does not show what an earlier
    run sent) and ConflictingDuplicate."""
    text: str
    """The error's whole text."""
    outcome: str
    """What may have happened at the server: not_sent, rejected, unknown or applied."""
    status: int | None = None
    """The HTTP status, if the server answered."""
    code: int | None = None
    """The envelope's code."""
    message: str | None = None
    """The server's words."""
    request_id: str | None = None
    """The server's X-Request-Id."""
    final: bool = False
    """The same would happen again; otherwise the next run tries the item again."""


@attrs.frozen(kw_only=True)
class ItemOutcome:
    """What became of one item."""

    key: str
    """What the item is known by: for an assignment, the customer id."""
    position: int
    """Where in the input it stood."""
    status: Status
    """How it ended."""
    value: Any = None
    """The item itself, as plain JSON values."""
    result: Mapping[str, Any] | None = None
    """What the endpoint answered, if it succeeded."""
    failure: Failure | None = None
    """Why it did not succeed."""
    attempts: int = 1
    """How many attempts this run made, verifications not counted."""
    repeated: bool = False
    """An earlier run may have done it already, and this one sent it again."""
    sent: float | None = None
    """Unix time in seconds at which this run first tried to send it; None if it did not."""
    seconds: float | None = None
    """How long it took from then on, on a clock that nobody sets."""
    finished: float
    """Unix time in seconds at which its outcome was known."""

    @property
    def final(self) -> bool:
        """True if no run does it again: it succeeded, or was refused in a way that does not change."""
        return self.failure is None or (self.status == "failed" and self.failure.final)


@attrs.frozen(kw_only=True)
class Skipped:
    """A duplicate: it needs nothing, because the item that it repeats is done."""

    key: str
    """What the item is known by."""
    position: int
    """Where in the input it stood."""
    first: int
    """Where the item that it repeats stood."""


@attrs.frozen(kw_only=True)
class JobSummary:
    """What became of a whole run."""

    succeeded: int
    """Items that this run did."""
    failed: int
    """Items that the server refused, or that could not be sent."""
    unknown: int
    """Items of which it is not known whether they were done."""
    skipped: int
    """Items with a final outcome of earlier runs, or any outcome of earlier slices of this run."""
    skipped_failed: int
    """Those of them that the server had refused for good, or that had failed in an earlier slice."""
    duplicates: int
    """Items that stood in the input before, and were done once."""
    repeated: int
    """Items of this run that an earlier one may have done already, and that were sent again."""
    reconciled: int
    """Items of this run that were not sent, or not again, because a verification showed them done."""
    pending: int
    """Items that this run did not reach, as far as they are known: the next one does them."""
    requests: int
    """Requests that were sent during this run, all those of the client's limiter."""
    refused: int
    """Requests that were answered 429."""
    seconds: float
    """How long the run took."""
    stopped: bool
    """It ended before the input did."""
    reason: str | None
    """Why, if it did."""
    fatal: str | None
    """The error that would end every other item, too: credentials, configuration."""

    @property
    def done(self) -> int:
        """Items that have an outcome or need none."""
        return self.succeeded + self.failed + self.unknown + self.skipped + self.duplicates

    @property
    def total(self) -> int:
        """All items, as far as they are known: those that are done, and those that this run did not reach."""
        return self.done + self.pending
