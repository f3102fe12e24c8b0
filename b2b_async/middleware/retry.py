"""Another attempt after a failed one, where that cannot do harm and may help.

The success path is one ``try``. Each failure is decided on where it is caught (``decide`` in ``_policy.py``); tenacity
is entered with the first failure that another attempt is to follow, and drives the attempts after it: its wait, its
stop and its hooks read the decision and change nothing.
"""

from __future__ import annotations

import asyncio
import copy
import random
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import attrs

from b2b_async._call import Attempt
from b2b_async._policy import RetryPolicy, Tally, backoff, decide, meaning_of_error
from b2b_async._validation import is_number
from b2b_async.errors import (
    AmbiguousOutcomeError,
    APIStatusError,
    B2BError,
    ConfigurationError,
    QuotaWaitTooLongError,
)
from b2b_async.events import RetryScheduled, about, notify

if TYPE_CHECKING:
    from collections.abc import Callable

    import tenacity

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async._policy import RetryDecision
    from b2b_async.errors import StopReason

__all__ = [
    "Retry",
    "RetryBudget",
]

_ONCE = RetryPolicy(attempts=1, throttled=0)
_COST = {"transient": 10, "delay": 10, "throttled": 4}
_OVERLOAD_FIRST, _OVERLOAD_MOST = 5.0, 60.0
"""Seconds after refusals for which no limiter holds the store."""
_DELAY_JITTER = 0.25
"""Seconds at most, added to a server's delay, so that its clients do not all come back in the same instant."""


@attrs.define
class RetryBudget:
    """What all calls of a client, and of its views, may spend on retries, so that an outage does not eat the quota."""

    most: int
    """Units when it is full."""
    left: int = attrs.field(default=attrs.Factory(lambda self: self.most, takes_self=True))
    """Units that are left."""

    def refund(self, units: int) -> None:
        """Give units back."""
        self.left = min(self.most, self.left + units)


class Retry:
    """Try failed attempts again, within the policy, the call's deadline and the client's retry budget.

    Args:
        policy: How often and how fast.
        budget: What all calls may spend; None for a new one of the policy's size.
        uniform: A source of random numbers in [0, 1), for jitter.
    """

    def __init__(
        self, policy: RetryPolicy, *, budget: RetryBudget | None = None, uniform: Callable[[], float] = random.random
    ) -> None:
        """Start with a full budget, unless one is handed in."""
        import_module("tenacity")  # slow: neither with the package, nor in the middle of a call
        self.policy = policy
        self.budget: RetryBudget = RetryBudget(policy.budget) if budget is None else budget
        self.uniform = uniform

    def with_policy(self, policy: RetryPolicy) -> Retry:
        """Return a copy with another policy; the budget is shared."""
        other = copy.copy(self)
        other.policy = policy
        return other

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on until it succeeds or must not be tried again."""
        started = asyncio.get_running_loop().time()
        try:
            response = await handler(request)
        except B2BError as error:
            retries = _Retries(self, request, handler)
            if retries.decide(error, started).action != "retry":
                acknowledged = retries.acknowledged(error)
                if acknowledged is not None:
                    return acknowledged
                final = retries.final(error, None)
                if final is error:
                    raise
                raise final from final.__cause__
            failed = error
        else:
            if self.budget.left < self.budget.most:
                self.budget.left += 1
            return response
        return await retries.run(failed)


class _Retries:
    """The further attempts of one call."""

    def __init__(self, shared: Retry, request: Request, handler: Handler) -> None:
        self._budget, self._uniform = shared.budget, shared.uniform
        self._policy = _ONCE if request.once else shared.policy
        self._request = request
        self._handler = handler
        self._tally = Tally()
        self._spent = 0
        self._decision: RetryDecision

    def decide(self, error: B2BError, started: float) -> RetryDecision:
        """Record a failed attempt that was begun at loop time *started*, and decide what follows it."""
        call = self._request.call
        call.note_outcome(error)
        self._tally = self._tally.after(error)
        self._decision = decide(
            error,
            idempotent=self._request.operation.idempotent,
            tally=self._tally,
            policy=self._policy,
            outwaits_throttling=self._request.outwaits_throttling,
        )
        call.observed_outcome = "not_sent"  # from here on the record speaks for this attempt
        attempt = Attempt(
            number=len(call.attempts) + 1,
            error=type(error).__name__,
            outcome=error.outcome,
            status=error.status,
            request_id=error.request_id,
            elapsed=asyncio.get_running_loop().time() - started,
        )
        call.attempts.append(attempt)
        return self._decision

    async def run(self, failed: B2BError) -> Response:
        """Go on after *failed*, which another attempt is to follow."""
        import tenacity  # noqa: PLC0415 -- see Retry

        machine = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda _: self._decision.action == "retry"),
            wait=self._wait,
            stop=lambda state: self._reason_to_stop(state.upcoming_sleep) is not None,
            before_sleep=self._schedule,
            reraise=True,
        )
        state = tenacity.RetryCallState(machine, None, (), {})
        state.set_exception((type(failed), failed, failed.__traceback__))
        state.start_time -= self._request.call.attempts[-1].elapsed
        machine.begin()
        while (response := await self._step(machine, state)) is None:
            pass
        self._budget.refund(self._spent)  # it has helped
        return response

    async def _step(self, machine: tenacity.AsyncRetrying, state: tenacity.RetryCallState) -> Response | None:
        """Do what tenacity decides next: sleep, or make an attempt; return the response of one that succeeded."""
        import tenacity  # noqa: PLC0415 -- see Retry

        state.attempt_number = max(1, self._tally.attempts)  # refusals for the rate do not count
        try:
            step = await machine.iter(retry_state=state)
        except B2BError as error:
            acknowledged = self.acknowledged(error)
            if acknowledged is None:
                final = self.final(error, self._reason_to_stop(state.upcoming_sleep))
                raise final from final.__cause__
            return acknowledged
        if isinstance(step, tenacity.DoSleep):
            state.prepare_for_next_attempt()
            try:
                await self._sleep(step)
            except BaseException:  # cancelled: the attempt that was paid for is not made
                self._budget.refund(self._cost())
                raise
            return None
        started = asyncio.get_running_loop().time()
        try:
            return await self._handler(attrs.evolve(self._request, attempt=len(self._request.call.attempts) + 1))
        except B2BError as error:
            self.decide(error, started)
            state.set_exception((type(error), error, error.__traceback__))
        return None

    def acknowledged(self, error: B2BError) -> Response | None:
        """Return the empty success of an earlier attempt, which stands unless the server has refused for good since."""
        call = self._request.call
        if call.acknowledged is None:
            return None
        if isinstance(error, APIStatusError):
            meaning = meaning_of_error(error)
            if meaning.outcome == "rejected" and meaning.retry == "never":
                return None
        call.observed_outcome = "applied"
        return cast("Response", call.acknowledged)

    # -- what tenacity asks for ------------------------------------------------------------------------------------

    def _wait(self, state: tenacity.RetryCallState) -> float:
        decision, policy = self._decision, self._policy
        if decision.reason == "transient":
            if policy.wait is not None:
                return self._wait_of_strategy(policy.wait, state)
            return backoff(policy, self._tally.attempts) * (0.5 + 0.5 * self._uniform())
        if self._is_held():
            return 0.0  # the limiter holds the store, and lets this call go first
        delay = decision.delay
        if decision.reason == "throttled":  # refused where the limiter does not see it: in an envelope, or without one
            delay = max(delay, min(_OVERLOAD_MOST, _OVERLOAD_FIRST * 2.0 ** min(9, self._tally.throttled - 1)))
        return delay + _DELAY_JITTER * self._uniform()

    @staticmethod
    def _wait_of_strategy(strategy: Callable[[Any], object], state: tenacity.RetryCallState) -> float:
        """Return the pause of the user's own strategy.

        Raises:
            ConfigurationError: it raises an error, or returns no number of seconds.
        """
        try:
            pause = strategy(state)
        except Exception as error:
            message = f"retry: the wait strategy raised {type(error).__name__}: {error}"
            raise ConfigurationError(message) from error
        if not is_number(pause, least=0):
            message = f"retry: the wait strategy returned {pause!r}, which is no number of seconds of at least 0"
            raise ConfigurationError(message)
        return pause

    async def _sleep(self, seconds: float) -> None:
        deadline = self._request.call.deadline
        if deadline is None or not (self._request.outwaits_throttling and self._decision.reason == "throttled"):
            await asyncio.sleep(seconds)
            return
        async with deadline.paused():  # as where the limiter holds the call
            await asyncio.sleep(seconds)

    def _reason_to_stop(self, pause: float) -> tuple[StopReason, str] | None:
        """Return why no attempt can follow after a *pause* in seconds though one should; None if one can."""
        decision, deadline = self._decision, self._request.call.deadline
        if decision.action != "retry":
            return None
        when = None if deadline is None else deadline.when
        if when is not None and not (self._request.lane == "bulk" and decision.reason == "throttled"):
            wait = max(pause, decision.delay)
            if asyncio.get_running_loop().time() + wait >= when:
                return "deadline", f"another attempt would start in {wait:.1f} s, after the call's deadline"
        if self._budget.left < self._cost():
            return "budget", "too many calls of this client fail at the moment (its retry budget is spent)"
        return None

    def _schedule(self, state: tenacity.RetryCallState) -> None:
        """Pay for the next attempt, and report it."""
        cost = self._cost()
        self._budget.left -= cost
        self._spent += cost
        call = self._request.call
        held = call.held_for if self._is_held() else None
        delay = state.upcoming_sleep if held is None else held
        call.attempts[-1] = attrs.evolve(call.attempts[-1], delay=delay)
        if call.listeners:
            number, reason = call.attempts[-1].number, self._decision.reason
            notify(call.listeners, RetryScheduled(**about(self._request), attempt=number, wait=delay, reason=reason))

    def _is_held(self) -> bool:
        """Return whether the limiter holds back the next attempt after a refusal."""
        return self._decision.reason == "throttled" and self._request.call.held_for is not None

    def _cost(self) -> int:
        # What the limiter holds back is no load on the server; a burst of refusals must not fail the calls of a job.
        throttled = self._decision.reason == "throttled"
        is_free = self._is_held() or (throttled and self._request.outwaits_throttling)
        return 0 if is_free else _COST[self._decision.reason]

    # -- the end ---------------------------------------------------------------------------------------------------

    def final(self, error: B2BError, stopped: tuple[StopReason, str] | None) -> B2BError:
        """Return the error that the call ends with: it says of the call as a whole what *error* says of one attempt."""
        call = self._request.call
        outcome = call.outcome(error.outcome)
        if self._decision.action == "ambiguous":
            done = "The status says that it was carried out" if outcome == "applied" else "It may have been carried out"
            text = f"{error}. {done}, and it is not safe to send again: check whether it is there before anything else"
            ambiguous = AmbiguousOutcomeError(text, answer=error.answer, operation=error.operation)
            ambiguous.__cause__ = error
            error = ambiguous
        error.outcome = outcome
        if stopped is None and self._decision.stopped == "attempts":
            stopped = "attempts", "the retry policy's attempts are used up"
        elif stopped is None and self._decision.stopped == "delay":
            longest = self._policy.max_delay
            stopped = (
                "delay",
                (
                    f"the server asks for a delay of {error.retry_after or 0:g} s, and more than {longest:g} s are not "
                    "waited for (RetryPolicy.max_delay)"
                ),
            )
        if isinstance(error, QuotaWaitTooLongError):
            error.not_retried = "deadline"
        elif stopped is not None:
            error.not_retried = stopped[0]
        if len(call.attempts) > 1:
            error.add_note(f"call {call.id}, {len(call.attempts)} attempts")
        if stopped is not None:
            error.add_note(f"not tried again: {stopped[1]}")
        return error
