"""The state of one call: its id, its attempts, its deadline.

Everything else that goes through the pipeline is frozen. A ``CallState`` is the one mutable object that a request
carries, because several middlewares must agree on it: the transport observes how far the attempt in flight got, retry
records what failed, and the deadline, which ends a call from outside, has to say what may have happened.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

Outcome = Literal["not_sent", "rejected", "unknown", "applied"]
"""What may have happened at the server: nothing arrived; it refused; it is not known; it acted."""

_STRENGTH: dict[Outcome, int] = {"not_sent": 0, "rejected": 1, "unknown": 2, "applied": 3}


def strongest(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what a call as a whole may have done, given what each of its attempts may have done."""
    strong: Outcome = "not_sent"
    for outcome in outcomes:
        if _STRENGTH[outcome] > _STRENGTH[strong]:
            strong = outcome
    return strong


@attrs.frozen(kw_only=True)
class Attempt:
    """One failed attempt of a call, as errors and logs show it."""

    number: int
    """1 for the first try."""
    error: str
    """The name of the error class it ended with."""
    outcome: Outcome
    """What may have happened at the server because of this attempt."""
    status: int | None
    """The HTTP status, if there was an answer."""
    request_id: str | None
    """The server's X-Request-Id, if there was an answer that had one."""
    elapsed: float
    """Seconds from the start of the attempt, its wait for quota included."""
    delay: float | None = None
    """Seconds of pause before the next attempt; None if there was none."""


@attrs.frozen(kw_only=True)
class VerificationResult:
    """One verification of a call whose response was lost, where it did not show what became of it."""

    operation: str
    """The vendor's name of the operation that was asked."""
    result: Literal["absent", "failed"]
    """Nothing was there (yet), or the verification itself failed."""
    error: str | None
    """The name of the error class it ended with, if the server or the way to it failed."""
    request_id: str | None
    """The server's X-Request-Id, if there was a response that had one."""
    after: float
    """Seconds from the loss of the response to the end of the verification."""


class Deadline:
    """The end of a call on the loop's clock, over an ``asyncio.timeout`` that enforces it."""

    __slots__ = ("_timeout",)

    def __init__(self, timeout: asyncio.Timeout) -> None:
        """Wrap *timeout*, which must be entered already."""
        self._timeout = timeout

    @property
    def when(self) -> float | None:
        """The loop time at which the call ends; None for never, or while paused."""
        return self._timeout.when()

    @asynccontextmanager
    async def paused(self) -> AsyncGenerator[None]:
        """Stop the clock of the deadline inside the block."""
        when = self._timeout.when()
        if when is None:
            yield
            return
        loop = asyncio.get_running_loop()
        remaining = when - loop.time()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(loop.time() + remaining)


class _Ids:
    """Call ids: unique between processes by their random prefix, and cheap per call."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self._prefix, self._numbers = secrets.token_hex(4), itertools.count(1)

    def next(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"


_ids = _Ids()
new_call_id = _ids.next
if hasattr(os, "register_at_fork"):  # pragma: no branch -- Windows has no fork
    os.register_at_fork(after_in_child=_ids.renew)


@attrs.define(eq=False)
class CallState:
    """The state of one call."""

    id: str
    """Unique to the call; on every log line and error of it."""
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    """The attempts that failed, oldest first."""
    observed_outcome: Outcome = "not_sent"
    """What the attempt in flight may have done by now, as the transport observes it."""
    earlier_outcome: Outcome = "not_sent"
    """What the attempts before the one in flight may have done, if they are not among ``attempts``."""
    started_attempts: int = 0
    """How many attempts were begun."""
    listeners: tuple[Callable[[Any], object], ...] = ()
    """The functions that are called with the events of this call."""
    store: str = ""
    """The store that it is for, as events name it."""
    held_for: float | None = None
    """Seconds for which the limiter holds the next attempt after a refusal. It then goes first and needs no other
    pause. None if the limiter has not seen a refusal."""
    deadline: Deadline | None = None
    """When the call must end, if it must."""
    lost: Exception | None = None
    """The error that the call ends with when its time is over during the verifications of its lost response."""
    acknowledged: Any = None
    """A ``Response``, of a higher layer: a success without a body, which the call ends with unless another attempt
    brings more."""

    def note_outcome(self, error: Any) -> None:  # noqa: ANN401 -- a B2BError, which is of a higher layer
        """Set the error's outcome from what the transport observed, unless it has one."""
        if "outcome" not in vars(error) and self.observed_outcome != "not_sent":
            error.outcome = self.observed_outcome

    def outcome(self, last: Outcome) -> Outcome:
        """Return what the call as a whole may have done when its last attempt did *last*."""
        return strongest([last, self.earlier_outcome, *(attempt.outcome for attempt in self.attempts)])
