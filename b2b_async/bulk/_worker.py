"""One item through one endpoint function: what is recorded before it is sent, and what its end means."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async._envelope import opens_with_refusal, writable
from b2b_async._policy import SUCCESS, ends_job, is_throttled, meaning_of_response, passes
from b2b_async.bulk.journal.protocol import JournalError
from b2b_async.bulk.outcome import Failure, ItemOutcome
from b2b_async.errors import B2BError, ConflictError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.bulk.journal.protocol import Journal, PendingItem
    from b2b_async.bulk.kinds import JobKind
    from b2b_async.bulk.outcome import Status
    from b2b_async.client import Client

ABSENT = "AbsentError"
"""The error of an item that an earlier run sent and that a verification does not show."""


class Worker:
    """Does one item at a time, and knows whether it is in flight.

    Args:
        client: Makes the calls.
        kind: What is done with each item.
        journal: Records an item before its first request is sent.
        count: Called for each request that is sent, verifications included.
        observe_throttling: Called with each response: whether it refused its request for the rate of requests.
        resend_if_absent: Send an item again that an earlier run may have done, if verifications find nothing.
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
        """Make a view of the client whose requests go through here."""
        # A refusal costs a job time, and never an item.
        self._client = client.with_options(lane="bulk", outwaits_throttling=True, per_attempt=[self._send_attempt])
        self._kind = kind
        self._journal = journal
        self._count = count
        self._observe_throttling = observe_throttling
        self._resend_if_absent = resend_if_absent
        self.sent: bool = False
        """The item is in flight, or its outcome is being recorded."""
        self.job: asyncio.Task[None] | None = None
        """The task that works with it."""
        self._item: PendingItem | None = None
        self._attempts = 0
        self._first_send: tuple[float, float] | None = None  # Unix time and loop time
        self._may_be_done: bool = False  # a request was sent in this run that may have been carried out

    def stop(self) -> None:
        """Give up waiting, unless an item is in flight or its outcome is being recorded."""
        if self.job is not None and not self.sent:
            self.job.cancel()

    async def do(self, item: PendingItem, *, absent: bool) -> ItemOutcome | None:
        """Do one item.

        Args:
            item: The item.
            absent: A verification has found it absent, and that was long enough ago.

        Returns:
            Its outcome; None if a verification found it absent, and another one is to follow before it is sent.

        Raises:
            B2BError: one that no other item can escape.
            JournalError: the journal cannot be written.
        """
        self._item, self._attempts, self._first_send, self._may_be_done = item, 0, None, False
        try:
            outcome = await self._verify(item) if item.in_doubt else None
            if outcome is None and self._must_verify_again(item, absent=absent):
                return None
            if outcome is None:
                outcome = await self._send(item)
        except (B2BError, asyncio.CancelledError):
            await self._mark_not_sent(item)
            raise
        self.sent = True  # it may have been refused before it was sent; either way it is now to be recorded
        return outcome

    async def _mark_not_sent(self, item: PendingItem) -> None:
        """Record that the item is not in doubt, if all of its requests were refused."""
        if self._first_send is not None and not self._may_be_done and not item.in_doubt:
            await self._journal.mark_not_sent(item)

    def _must_verify_again(self, item: PendingItem, *, absent: bool) -> bool:
        return item.in_doubt and self._kind.find is not None and not absent

    async def _verify(self, item: PendingItem) -> ItemOutcome | None:
        """Verify whether the item was done before; None if it may be sent again."""
        if self._kind.find is None:
            return None
        try:
            found = await self._kind.find(self._client, self._load(item))
        except B2BError as error:
            if ends_job(error):
                raise
            failure = _failure(error)
            known = _shows_another(error) or isinstance(error, InvalidArgumentError)
            return self._outcome(item, "failed" if known else "unknown", failure=failure)
        if found is not None:
            return self._outcome(item, "succeeded", result=found)
        if self._resend_if_absent:
            return None
        text = (
            "an earlier run sent it and did not learn what became of it; a verification does not show it. "
            "It was not sent again, since it may still appear (resend_if_absent)"
        )
        return self._outcome(item, "unknown", failure=Failure(error=ABSENT, text=text, outcome="unknown"))

    def _load(self, item: PendingItem) -> Any:  # noqa: ANN401 -- whatever the kind takes
        try:
            return self._kind.load(item.value)
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            message = (
                f"the item at position {item.position} in the journal is none for {self._kind.name} "
                f"({type(error).__name__}: {error}); nothing was sent for it"
            )
            raise JournalError(message) from None

    async def _send(self, item: PendingItem) -> ItemOutcome:
        try:
            result = await self._kind.run(self._client, self._load(item))
        except B2BError as error:
            if ends_job(error):
                raise
            failure = _failure(error)
            failed = failure.final or error.outcome in {"not_sent", "rejected"}
            if not item.in_doubt:
                return self._outcome(item, "failed" if failed else "unknown", failure=failure)
            if self._kind.find is not None and error.outcome == "rejected":
                # It was absent and is refused now, perhaps because it is there after all.
                return await self._verify(item) or self._outcome(item, "unknown", failure=failure)
            return self._outcome(item, "failed" if failure.final else "unknown", failure=failure)
        return self._outcome(item, "succeeded", result=result)

    async def _send_attempt(self, request: Request, handler: Handler) -> Response:
        """Record, as the last middleware before the wire, that a request is sent."""
        self._count()
        if request.operation.safe:
            response = await handler(request)
            self._observe_throttling(_is_refused(response))
            return response
        self.sent = True
        if self._first_send is None and self._item is not None:
            self._first_send = time.time(), asyncio.get_running_loop().time()
            await self._journal.mark_sent(self._item, self._first_send[0])
        else:
            await self._journal.check_owner()
        self._attempts += 1
        before, self._may_be_done = self._may_be_done, True
        try:
            response = await handler(request)
        except B2BError as error:
            if error.outcome == "not_sent":
                self._may_be_done, self.sent = before, False
            raise
        if response.status not in SUCCESS:
            meaning = meaning_of_response(response)
            if meaning.outcome == "rejected" and (meaning.passes or meaning.ends_job):
                self._may_be_done = before  # and the item may get no outcome
        # A request that was refused for its rate is not in flight any more; it waits like one that was never sent.
        refused = _is_refused(response)
        self.sent = not refused
        self._observe_throttling(refused)
        return response

    def _outcome(
        self,
        item: PendingItem,
        status: Status,
        *,
        result: Mapping[str, Any] | None = None,
        failure: Failure | None = None,
    ) -> ItemOutcome:
        sent = self._first_send
        return ItemOutcome(
            key=item.key,
            position=item.position,
            status=status,
            value=item.value,
            result=result,
            failure=attrs.evolve(failure, final=False) if failure and status == "unknown" else failure,
            attempts=self._attempts,
            repeated=item.in_doubt and self._may_be_done,
            sent=None if sent is None else sent[0],
            seconds=None if sent is None else asyncio.get_running_loop().time() - sent[1],
            finished=time.time(),
        )


def _is_refused(response: Response) -> bool:
    """Return whether a request was refused for the rate of requests, be it in an envelope under a good status."""
    return is_throttled(response) or opens_with_refusal(response.body)


def _shows_another(error: B2BError) -> bool:
    """Return whether a verification shows that something else was done; a 409 to itself shows nothing."""
    return isinstance(error, ConflictError) and error.outcome == "unknown"


def _failure(error: B2BError) -> Failure:
    return Failure(
        error=type(error).__name__,
        text=writable(str(error)),
        outcome=error.outcome,
        status=error.status,
        code=error.code,
        message=error.message,
        request_id=error.request_id,
        final=_shows_another(error) or not passes(error),
    )
