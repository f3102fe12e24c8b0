"""Another attempt after a failed one, where that cannot do harm and may do good.

The success path is one ``try``. tenacity is entered only for a failure that is worth another attempt, which it then
takes for its first one: it drives the attempts after it; ``decide`` (in ``_policy.py``) says what to do.
"""

from __future__ import annotations

import asyncio
import logging
import random
from importlib import import_module
from typing import TYPE_CHECKING, cast

import attrs

from b2b_async._call import Attempt
from b2b_async._policy import RAISE, RetryPolicy, Tally, decide
from b2b_async.errors import AmbiguousOutcomeError, APIStatusError, B2BError, QuotaWaitTooLongError, RateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async._policy import Verdict
    from b2b_async.errors import StopReason

logger = logging.getLogger("b2b_async")

_CLIENT_ERROR = range(400, 500)
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
            retries = _Retries(self, request, handler, started)
            if not retries.decide(error):  # most errors end the call here, with no machinery in their traceback
                acknowledged = retries.acknowledged(error)
                if acknowledged is not None:
                    return acknowledged
                final = retries.final(error)
                if final is error:
                    raise
                raise final from final.__cause__
        else:
            if self.budget < self.policy.budget:
                self.budget += 1
            return response
        return await retries.run()


class _Retries:
    """The further attempts of one call."""

    def __init__(self, shared: Retry, request: Request, handler: Handler, started: float) -> None:
        self._shared = shared
        self._policy = _ONCE if request.once else shared.policy
        self._request = request
        self._handler = handler
        self._tally = Tally()
        self._verdict: Verdict = RAISE
        self._started = started
        self._spent = 0
        self._stopped: StopReason | None = None
        self._why_stopped: str | None = None
        self._failed: B2BError | None = None  # the failure that was decided on last

    async def run(self) -> Response:
        """Go on after the first failure, which must be decided on."""
        first = self._failed

        async def attempt() -> Response:
            nonlocal first
            if first is not None:
                failed, first = first, None
                raise failed
            self._started = asyncio.get_running_loop().time()
            try:
                return await self._handler(attrs.evolve(self._request, attempt=len(self._request.call.attempts) + 1))
            except B2BError as error:
                self.decide(error)
                raise

        import tenacity  # noqa: PLC0415 -- see Retry

        machine = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(self._is_worth_another),
            wait=self._pause,
            stop=self._is_past_deadline,
            before_sleep=self._note,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            response: Response = await machine(attempt)
        except B2BError as error:
            acknowledged = self.acknowledged(error)
            if acknowledged is None:
                final = self.final(error)
                raise final from final.__cause__
            response = acknowledged
        self._shared.budget = min(self._shared.policy.budget, self._shared.budget + self._spent)
        return response

    def decide(self, error: B2BError) -> bool:
        """Note a failure; return whether another attempt is to follow."""
        self._failed = error
        self._request.call.tell(error)
        self._tally = self._tally.after(error)
        self._verdict = decide(
            error,
            idempotent=self._request.operation.idempotent,
            tally=self._tally,
            policy=self._policy,
            outwaits_throttling=self._request.outwaits_throttling,
        )
        self._stopped = self._verdict.stopped
        self._record(error)
        return self._verdict.action == "retry"

    def acknowledged(self, error: B2BError) -> Response | None:
        """Return the empty success of an earlier attempt, which stands unless the server has refused for good since."""
        call = self._request.call
        refused = isinstance(error, APIStatusError) and error.answer.status in _CLIENT_ERROR
        if call.acknowledged is None or (refused and not isinstance(error, RateLimitError)):
            return None
        call.in_flight = "applied"
        return cast("Response", call.acknowledged)

    def _is_worth_another(self, error: BaseException) -> bool:
        return error is self._failed and self._verdict.action == "retry"

    def _pause(self, _state: tenacity.RetryCallState) -> float:
        verdict, uniform = self._verdict, self._shared.uniform
        if verdict.kind == "transient":
            return verdict.delay * (0.5 + 0.5 * uniform())
        if self._is_held():
            return 0.0  # the limiter holds the store, and lets this call go first
        delay = verdict.delay
        if verdict.kind == "throttled":  # refused where the limiter does not see it: in an envelope, or without one
            delay = max(delay, min(_OVERLOAD_MOST, _OVERLOAD_FIRST * 2.0 ** min(9, self._tally.throttled - 1)))
        return delay + _TOLD_JITTER * uniform()

    async def _sleep(self, seconds: float) -> None:
        deadline = self._request.call.deadline
        if deadline is None or not (self._request.outwaits_throttling and self._verdict.kind == "throttled"):
            await asyncio.sleep(seconds)
            return
        async with deadline.paused():  # as where the limiter holds the call
            await asyncio.sleep(seconds)

    def _is_held(self) -> bool:
        """Return whether the limiter holds back the next attempt after a refusal."""
        return self._verdict.kind == "throttled" and self._request.call.held_for is not None

    def _is_past_deadline(self, state: tenacity.RetryCallState) -> bool:
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
        attempts, held_for = self._request.call.attempts, self._request.call.held_for
        delay = held_for if self._is_held() and held_for is not None else state.upcoming_sleep
        attempts[-1] = attrs.evolve(attempts[-1], delay=delay)
        logger.warning(
            "%s: attempt %d ended with %s (status %s), next one in %.2f s [call %s]",
            self._request.operation.name,
            attempts[-1].number,
            attempts[-1].error,
            attempts[-1].status,
            delay,
            self._request.call.id,
        )

    def _cost(self) -> int:
        # What the limiter holds back is no load on anybody; a burst of refusals must not fail the calls of a job.
        is_free = self._is_held() or (self._verdict.kind == "throttled" and self._request.outwaits_throttling)
        return 0 if is_free else _COST[self._verdict.kind]

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

    def final(self, error: B2BError) -> B2BError:
        """Return the error that the call ends with: it says of the call as a whole what *error* says of one attempt."""
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
            self._why_stopped = (
                f"the server asks for a delay of {error.retry_after or 0:g} s, and more than {longest:g} s are not "
                "waited for (RetryPolicy.max_delay)"
            )
        if self._why_stopped:
            notes.append(f"not tried again: {self._why_stopped}")
        for note in notes:
            error.add_note(note)
        return error
