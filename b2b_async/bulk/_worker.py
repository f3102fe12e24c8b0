"""One item through one endpoint function: what is noted before it leaves, and what its end means."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async._envelope import opens_with_refusal, writable
from b2b_async._policy import is_throttled
from b2b_async.bulk.journal.protocol import JournalError
from b2b_async.bulk.outcome import PASSING, Failure, ItemOutcome
from b2b_async.errors import (
    AuthenticationError,
    B2BError,
    ConfigurationError,
    ConflictError,
    InvalidArgumentError,
    PermissionDeniedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.bulk.journal.protocol import Journal, Task
    from b2b_async.bulk.kinds import JobKind
    from b2b_async.bulk.outcome import Status
    from b2b_async.client import Client

_FATAL = (AuthenticationError, ConfigurationError)
ABSENT = "AbsentError"
"""What an item failed of that an earlier run sent and that a look-up does not show."""
_TURNED_AWAY = frozenset({401, 403, 429})
"""Statuses by which a request was certainly not carried out, and after which its item may get no outcome."""


class Worker:
    """Does one item at a time, and knows whether it has left for the server.

    Args:
        client: Makes the calls.
        kind: What is done with each item.
        journal: Told of an item before its first request leaves.
        count: Called for each request that leaves, look-ups included.
        observe_throttling: Called with each response: whether it refused its request for the rate of requests.
        resend_if_absent: Whether an item is sent again that an earlier run may have done, if look-ups find nothing.
    """

    def __init__(
        self,
        client: Client,
        kind: JobKind,
        journal: Journal,
        *,
        count: Callable[[], None],
        observe_throttling: Callable[[bool], None],
        resend_if_absent: bool,
    ) -> None:
        """Make a view of the client whose requests pass by here."""
        # A refusal costs a job time, and never an item.
        self._client = client.with_options(lane="bulk", outwaits_throttling=True, per_attempt=[self._leave])
        self._kind = kind
        self._journal = journal
        self._count = count
        self._observe_throttling = observe_throttling
        self._resend_if_absent = resend_if_absent
        self.sent = False
        """The item is under way, or its outcome is being written."""
        self.job: asyncio.Task[None] | None = None
        """The task that works with it."""
        self._task: Task | None = None
        self._attempts = 0
        self._left: tuple[float, float] | None = None  # Unix time and loop time of the first departure
        self._may_be_done = False  # a request has left in this run that may have been carried out

    def stop(self) -> None:
        """Give up waiting, unless an item is under way or its outcome is being written."""
        if self.job is not None and not self.sent:
            self.job.cancel()

    async def do(self, task: Task, *, absent: bool) -> ItemOutcome | None:
        """Do one item.

        Args:
            task: The item.
            absent: A look-up has found it absent, and that was long enough ago.

        Returns:
            Its outcome; None if it was looked up, was absent, and is to be looked up again before it is sent.

        Raises:
            B2BError: one that no other item can escape.
            JournalError: the journal cannot be written.
        """
        self._task, self._attempts, self._left, self._may_be_done = task, 0, None, False
        try:
            outcome = await self._look(task) if task.in_doubt else None
            if outcome is None and self._must_look_again(task, absent=absent):
                return None
            if outcome is None:
                outcome = await self._send(task)
        except (B2BError, asyncio.CancelledError):
            await self._let_go(task)
            raise
        self.sent = True  # it may have been refused before it left; either way it is now to be written down
        return outcome

    async def _let_go(self, task: Task) -> None:
        """Have it forgotten that requests have left, if all of them were turned away."""
        if self._left is not None and not self._may_be_done and not task.in_doubt:
            await self._journal.release(task)

    def _must_look_again(self, task: Task, *, absent: bool) -> bool:
        return task.in_doubt and self._kind.find is not None and not absent

    async def _look(self, task: Task) -> ItemOutcome | None:
        """Look whether the item was done before; None if it may be sent again."""
        if self._kind.find is None:
            return None
        try:
            found = await self._kind.find(self._client, self._load(task))
        except B2BError as error:
            if ends_job(error):
                raise
            failure = _failure(error)
            known = _shows_another(error) or isinstance(error, InvalidArgumentError)
            return self._outcome(task, "failed" if known else "unknown", failure=failure)
        if found is not None:
            return self._outcome(task, "succeeded", result=found)
        if self._resend_if_absent:
            return None
        text = (
            "an earlier run sent it and did not learn what became of it; a look-up does not show it. "
            "It was not sent again, since it may still appear (resend_if_absent)"
        )
        return self._outcome(task, "unknown", failure=Failure(error=ABSENT, text=text, outcome="unknown"))

    def _load(self, task: Task) -> Any:  # noqa: ANN401 -- whatever the kind takes
        try:
            return self._kind.load(task.value)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            message = (
                f"the item at position {task.position} in the journal is none for {self._kind.name} "
                f"({type(error).__name__}: {error}); nothing was sent for it"
            )
            raise JournalError(message) from None

    async def _send(self, task: Task) -> ItemOutcome:
        try:
            result = await self._kind.run(self._client, self._load(task))
        except B2BError as error:
            if ends_job(error):
                raise
            failure = _failure(error)
            failed = failure.final or error.outcome in {"not_sent", "rejected"}
            if not task.in_doubt:
                return self._outcome(task, "failed" if failed else "unknown", failure=failure)
            if self._kind.find is not None and error.outcome == "rejected":
                # It was absent and is refused now, perhaps because it is there after all.
                return await self._look(task) or self._outcome(task, "unknown", failure=failure)
            return self._outcome(task, "failed" if failure.final else "unknown", failure=failure)
        return self._outcome(task, "succeeded", result=result)

    async def _leave(self, request: Request, handler: Handler) -> Response:
        """Note, as the last middleware before the wire, that a request leaves."""
        self._count()
        if request.operation.safe:
            response = await handler(request)
            self._observe_throttling(_is_refused(response))
            return response
        self.sent = True
        if self._left is None and self._task is not None:
            self._left = time.time(), asyncio.get_running_loop().time()
            await self._journal.leave(self._task, self._left[0])
        else:
            await self._journal.hold()
        self._attempts += 1
        before, self._may_be_done = self._may_be_done, True
        try:
            response = await handler(request)
        except B2BError as error:
            if error.outcome == "not_sent":
                self._may_be_done, self.sent = before, False
            raise
        if response.status in _TURNED_AWAY:
            self._may_be_done = before
        # A request that was refused for its rate is not under way any more; it waits like one that was never sent.
        refused = _is_refused(response)
        self.sent = not refused
        self._observe_throttling(refused)
        return response

    def _outcome(
        self,
        task: Task,
        status: Status,
        *,
        result: Mapping[str, Any] | None = None,
        failure: Failure | None = None,
    ) -> ItemOutcome:
        left = self._left
        return ItemOutcome(
            key=task.key,
            position=task.position,
            status=status,
            value=task.value,
            result=result,
            failure=attrs.evolve(failure, final=False) if failure and status == "unknown" else failure,
            attempts=self._attempts,
            repeated=task.in_doubt and self._may_be_done,
            sent=None if left is None else left[0],
            seconds=None if left is None else asyncio.get_running_loop().time() - left[1],
            finished=time.time(),
        )


def _is_refused(response: Response) -> bool:
    """Return whether a request was refused for the rate of requests, be it in an envelope under a good status."""
    return is_throttled(response) or opens_with_refusal(response.body)


def ends_job(error: Exception) -> bool:
    """Return whether every other item of a job would end with *error*, too.

    A 403 may be about one item alone: the runner counts how many items get it.
    """
    return isinstance(error, _FATAL) and not isinstance(error, InvalidArgumentError)  # which is of one item alone


def is_fatal(error: Exception) -> bool:
    """Return whether a single call that ended with *error* would do so again: credentials, configuration."""
    return ends_job(error) or isinstance(error, PermissionDeniedError)


def _shows_another(error: B2BError) -> bool:
    """Whether a look-up shows that something else was done, for good; that it was itself answered 409 shows nothing."""
    return isinstance(error, ConflictError) and error.outcome == "unknown"


def _failure(error: B2BError) -> Failure:
    # A refusal without JSON comes from something that is not the API: the item may be good.
    said = error.answer is not None and error.answer.payload is not None
    refused = error.outcome == "rejected" and error.status not in PASSING and said
    return Failure(
        error=type(error).__name__,
        text=writable(str(error)),
        outcome=error.outcome,
        status=error.status,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
        final=refused or _shows_another(error) or isinstance(error, InvalidArgumentError),
    )
