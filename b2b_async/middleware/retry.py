"""Another attempt after a failed one, where that cannot do harm and may do good.

The success path is one ``try``. tenacity is entered only after a first failure, which it is then told as its
first attempt: it drives the attempts after it, ``decide`` (in ``_policy.py``) says what to do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from importlib import import_module
from typing import TYPE_CHECKING

import attrs

from b2b_async._call import Attempt
from b2b_async._policy import RAISE, RetryPolicy, Tally, decide
from b2b_async.errors import AmbiguousOutcomeError, B2BError, QuotaWaitTooLongError

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async._policy import Verdict
    from b2b_async.errors import StopReason

logger = logging.getLogger("b2b_async")

_ONCE = RetryPolicy(attempts=1, throttled=0)
_COST = {"transient": 10, "told": 10, "throttled": 4}
_OVERLOAD_FIRST, _OVERLOAD_MOST = 5.0, 60.0
"""Seconds after refusals that no limiter holds the store for."""
_TOLD_JITTER = 0.25
"""Seconds at most, added to a server's delay, so that its clients do not all come back in the same instant."""


class Retry:
    """Try failed attempts again, within the policy, the call's deadline and the client's retry budget.

    The budget (``RetryPolicy.budget``) is shared by all calls of a client, so that an outage does not eat the quota.

    Args:
        policy: How often and how fast.
        uniform: A source of random numbers in [0, 1), for jitter.
    """

    def __init__(self, policy: RetryPolicy, *, uniform: Callable[[], float] = random.random) -> None:
        """Start with a full budget."""
        import_module("tenacity")  # slow: neither with the package, nor in the middle of a call
        self.policy = policy
        self.budget = policy.budget
        self.uniform = uniform

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on until it succeeds or must not be tried again."""
        started = asyncio.get_running_loop().time()
        try:
            response = await handler(request)
        except B2BError as error:
            failed = error
        else:
            if self.budget < self.policy.budget:
                self.budget += 1
            return response
        return await _Retries(self, request, handler).after(failed, started)


class _Retries:
    """The further attempts of one call."""

    def __init__(self, shared: Retry, request: Request, handler: Handler) -> None:
        self._shared = shared
        self._policy = _ONCE if request.once else shared.policy
        self._request = request
        self._handler = handler
        self._tally = Tally()
        self._verdict: Verdict = RAISE
        self._started = 0.0
        self._spent = 0
        self._stopped: StopReason | None = None
        self._why_stopped: str | None = None

    async def after(self, first: B2BError, started: float) -> Response:
        """Go on after the *first* failure of an attempt that began at *started*."""
        self._started = started
        pending: B2BError | None = first

        async def attempt() -> Response:
            nonlocal pending
            if pending is not None:
                failed, pending = pending, None
                raise failed
            self._started = asyncio.get_running_loop().time()
            return await self._handler(attrs.evolve(self._request, attempt=len(self._request.call.attempts) + 1))

        import tenacity  # noqa: PLC0415 -- see Retry

        machine = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._again),
            wait=self._pause,
            stop=self._hopeless,
            before_sleep=self._note,
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            response: Response = await machine(attempt)
        except B2BError as error:
            final = self._final(error)
            raise final from final.__cause__
        self._shared.budget = min(self._shared.policy.budget, self._shared.budget + self._spent)
        return response

    def _again(self, error: BaseException) -> bool:
        if not isinstance(error, B2BError):
            return False
        self._request.call.tell(error)
        self._tally = self._tally.after(error)
        self._verdict = decide(
            error, idempotent=self._request.operation.idempotent, tally=self._tally, policy=self._policy
        )
        self._stopped = self._verdict.stopped
        self._record(error)
        return self._verdict.action == "retry"

    def _pause(self, _state: tenacity.RetryCallState) -> float:
        verdict, uniform = self._verdict, self._shared.uniform
        if verdict.kind == "transient":
            return verdict.delay * (0.5 + 0.5 * uniform())
        if verdict.kind == "throttled" and self._request.call.requeue:
            return 0.0  # the limiter holds the store, and lets this call go first
        delay = verdict.delay
        if verdict.kind == "throttled":  # refused where the limiter does not see it: in an envelope, or without one
            delay = max(delay, min(_OVERLOAD_MOST, _OVERLOAD_FIRST * 2.0 ** min(9, self._tally.throttled - 1)))
        return delay + _TOLD_JITTER * uniform()

    def _hopeless(self, state: tenacity.RetryCallState) -> bool:
        deadline = self._request.call.deadline
        when = None if deadline is None else deadline.when
        if when is not None and not (self._request.lane == "bulk" and self._verdict.kind == "throttled"):
            wait = max(state.upcoming_sleep, self._verdict.delay if self._verdict.kind != "transient" else 0.0)
            if asyncio.get_running_loop().time() + wait >= when:
                self._stopped = "deadline"
                self._why_stopped = f"another attempt would start in {wait:.1f} s, after the call's deadline"
                return True
        if self._shared.budget < self._cost():
            self._stopped = "budget"
            self._why_stopped = "too many calls of this client fail at the moment (its retry budget is spent)"
            return True
        return False

    def _note(self, state: tenacity.RetryCallState) -> None:
        cost = self._cost()
        self._shared.budget -= cost
        self._spent += cost
        attempts = self._request.call.attempts
        attempts[-1] = attrs.evolve(attempts[-1], delay=state.upcoming_sleep)
        logger.warning(
            "%s: attempt %d ended with %s (status %s), next one in %.2f s [call %s]",
            self._request.operation.name,
            attempts[-1].number,
            attempts[-1].error,
            attempts[-1].status,
            state.upcoming_sleep,
            self._request.call.id,
        )

    def _cost(self) -> int:
        # What the limiter holds back is no load on anybody; a burst of refusals must not fail the calls of a job.
        return 0 if self._verdict.kind == "throttled" and self._request.call.requeue else _COST[self._verdict.kind]

    def _record(self, error: B2BError) -> None:
        call = self._request.call
        call.in_flight = "not_sent"  # from here on the record speaks for this attempt
        call.attempts.append(
            Attempt(
                number=len(call.attempts) + 1,
                error=type(error).__name__,
                outcome=error.outcome,
                status=error.status,
                request_id=error.request_id,
                elapsed=asyncio.get_running_loop().time() - self._started,
            )
        )

    def _final(self, error: B2BError) -> B2BError:
        """Say of the call as a whole what *error* says of its last attempt."""
        call = self._request.call
        outcome = call.outcome(error.outcome)
        if self._verdict.action == "ambiguous":
            done = "The status says that it was carried out" if outcome == "applied" else "It may have been carried out"
            text = f"{error}. {done}, and it is not safe to send again: look whether it is there before anything else"
            ambiguous = AmbiguousOutcomeError(text, answer=error.answer, operation=error.operation)
            ambiguous.__cause__ = error
            error = ambiguous
        error.outcome = outcome
        error.attempts = tuple(call.attempts)
        error.call_id = call.id
        error.not_retried = "deadline" if isinstance(error, QuotaWaitTooLongError) else self._stopped
        notes = [f"call {call.id}, {len(call.attempts)} attempts"] if len(call.attempts) > 1 else []
        if self._stopped == "attempts":
            self._why_stopped = "the retry policy's attempts are used up"
        elif self._stopped == "delay":
            longest = self._policy.max_delay
            self._why_stopped = f"the server asks for a delay of more than {longest:g} s (RetryPolicy.max_delay)"
        if self._why_stopped:
            notes.append(f"not tried again: {self._why_stopped}")
        for note in notes:
            error.add_note(note)
        return error
