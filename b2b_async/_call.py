"""What one call remembers while it walks: its id, its attempts, its deadline.

Everything else that walks through the pipeline is frozen.
A ``CallState`` is the one mutable thing a request carries, because three rooms must agree on it:
the transport says how far the attempt in flight got, retry writes down what failed,
and the deadline, which ends a call from outside, has to tell what may have happened.
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
    from collections.abc import AsyncGenerator, Iterable

Outcome = Literal["not_sent", "rejected", "unknown", "applied"]
"""What may have happened at the server: nothing arrived; it refused; nobody knows; it acted."""

_STRENGTH: dict[Outcome, int] = {"not_sent": 0, "rejected": 1, "unknown": 2, "applied": 3}


def strongest(outcomes: Iterable[Outcome]) -> Outcome:
    """Say what a call as a whole may have done, given what each of its attempts may have done."""
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
class LookUpResult:
    """One look for what became of a call whose answer was lost, where it did not settle the matter."""

    operation: str
    """The vendor's name of the operation that looked."""
    result: Literal["absent", "failed"]
    """Nothing was there (yet), or the look itself failed."""
    error: str | None
    """The name of the error class it ended with, if the server or the way to it failed."""
    request_id: str | None
    """The server's X-Request-Id, if there was an answer that had one."""
    after: float
    """Seconds from the loss of the answer to the end of the look."""


@attrs.frozen(kw_only=True)
class UnknownOutcome:
    """A call that ended without a word on whether it was carried out. ``on_unknown`` is called with it."""

    operation: str
    """The vendor's name of the endpoint."""
    path: str
    """The percent-encoded path of the request."""
    body: bytes | None
    """The JSON body of the request; with the path, it holds all ids."""
    call_id: str
    """The id of the call on its log lines and errors."""
    outcome: Outcome
    """What may have happened: "unknown", or "applied" where it was cancelled when a good answer had begun to arrive."""
    error: str | None
    """The name of the error class that the caller gets; None if the call was cancelled."""
    attempts: tuple[Attempt, ...]
    """The attempts that failed, oldest first; one that was cancelled is not among them."""


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
    """The memory of one call."""

    id: str
    """Unique to the call; on every log line and error of it."""
    attempts: list[Attempt] = attrs.field(factory=list[Attempt])
    """The attempts that failed, oldest first."""
    in_flight: Outcome = "not_sent"
    """What the attempt under way may have done by now."""
    held_for: float | None = None
    """Seconds for which the limiter holds the next attempt after a refusal. It then goes first and needs no other
    pause. None if the limiter was not told of a refusal."""
    deadline: Deadline | None = None
    """When the call must end, if it must."""
    lost: Exception | None = None
    """The error that the call ends with when its time is over while its lost answer is looked for."""
    acknowledged: Any = None
    """A ``Response``, of a higher layer: a success without a body, which the call ends with unless another attempt
    brings more."""

    def tell(self, error: Any) -> None:  # noqa: ANN401 -- a B2BError, which is of a higher floor
        """Give an error of the attempt in flight that does not say what may have happened what the wire has seen."""
        if "outcome" not in vars(error) and self.in_flight != "not_sent":
            error.outcome = self.in_flight

    def outcome(self, last: Outcome) -> Outcome:
        """Say what the call as a whole may have done when its last attempt did *last*."""
        return strongest([last, *(attempt.outcome for attempt in self.attempts)])
