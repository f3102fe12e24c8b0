"""Events: what happens to calls and jobs, as frozen objects that listeners get.

A listener is a plain function of one event. It is called at once, in the task and context of the call, in the order of
registration. ``CallStarted`` and ``CallEnded`` come in the same ``contextvars.Context``, so that a token or a span that
was begun at the start can be ended at the end. What a listener raises is logged and never breaks a call. A call without
listeners makes no events::

    def count(event):
        if isinstance(event, Throttled):
            metrics.increment("b2b.throttled", store=event.store)

    async with Client(credentials, listeners=[count]) as client:
        ...

The events of one call, in order: ``CallStarted``; for each attempt ``AttemptStarted``, perhaps ``QuotaWaited``, perhaps
``Throttled``, ``AttemptEnded``, and ``RetryScheduled`` if another one follows; perhaps ``OutcomeUnknown``;
``CallEnded``. The request that verifies a lost response has the events of an attempt, too, with its own operation and
with the ``call_id`` of the call and a suffix, such as "-verify-1".
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from b2b_async._call import Attempt, Outcome
    from b2b_async._messages import Request
    from b2b_async.ratelimit.quota import Lane

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CallEnded",
    "CallEvent",
    "CallStarted",
    "Event",
    "JobEnded",
    "JobEvent",
    "JobStarted",
    "Listener",
    "OutcomeUnknown",
    "QuotaWaited",
    "RetryScheduled",
    "Throttled",
]

_logger = logging.getLogger("b2b_async")


@attrs.frozen(kw_only=True)
class CallEvent:
    """Something that happened to one call."""

    operation: str
    """The vendor's name of the endpoint."""
    method: str
    """The HTTP method."""
    path: str
    """The percent-encoded path of the request, with its ids."""
    call_id: str
    """The id of the call on its log lines and errors."""
    lane: Lane
    """Its priority for the quota."""
    store: str
    """The store: its hash, or a fingerprint of the legacy token."""
    time: float
    """When it happened, as Unix time in seconds."""


@attrs.frozen(kw_only=True)
class CallStarted(CallEvent):
    """A call begins."""


@attrs.frozen(kw_only=True)
class AttemptStarted(CallEvent):
    """An attempt begins; it may have to wait for the quota before it is sent."""

    attempt: int
    """1 for the first one."""


@attrs.frozen(kw_only=True)
class QuotaWaited(CallEvent):
    """An attempt got its slot of the quota after a wait."""

    attempt: int
    """1 for the first one."""
    seconds: float
    """How long it waited."""


@attrs.frozen(kw_only=True)
class Throttled(CallEvent):
    """The server refused an attempt for the rate of requests."""

    attempt: int
    """1 for the first one."""
    retry_after: float | None
    """Seconds that the server asks to wait; None if it does not say."""
    held_for: float | None
    """Seconds for which the limiter holds the store's requests; None without a ``RateLimit`` middleware."""


@attrs.frozen(kw_only=True)
class AttemptEnded(CallEvent):
    """An attempt ended."""

    attempt: int
    """1 for the first one."""
    status: int | None
    """The HTTP status, if there was a response."""
    error: str | None
    """The name of the class of the error or cancellation; None if it succeeded."""
    outcome: Outcome
    """What this attempt may have done at the server."""
    request_id: str | None
    """The server's X-Request-Id, if there was a response that had one."""
    elapsed: float
    """Seconds since ``AttemptStarted``, the wait for the quota included."""


@attrs.frozen(kw_only=True)
class RetryScheduled(CallEvent):
    """Another attempt follows one that failed."""

    attempt: int
    """The attempt that failed; 1 for the first one."""
    wait: float
    """Seconds until the next one, as far as is known."""
    reason: Literal["transient", "throttled", "delay"]
    """The reason to expect success: the failure passes; the quota refills; or the server named a delay."""


@attrs.frozen(kw_only=True)
class OutcomeUnknown(CallEvent):
    """A call that changes something ended, and it is not known whether it was carried out.

    A cancelled call raises nothing that could carry an outcome: this event is the only trace that it was in flight.
    """

    body: bytes | None = attrs.field(repr=False)
    """The JSON body of the request; with the path, it holds all ids. It may hold personal data."""
    outcome: Outcome
    """What may have happened: "unknown", or "applied" if it was cancelled when a good response had begun to arrive."""
    error: str | None
    """The name of the class of the error that the caller gets; None if the call was cancelled."""
    attempts: tuple[Attempt, ...]
    """The attempts that failed, oldest first; one that was cancelled is not among them."""


@attrs.frozen(kw_only=True)
class CallEnded(CallEvent):
    """A call ended."""

    status: int | None
    """The HTTP status of the response or error that the caller gets, if it has one."""
    error: str | None
    """The name of the class of the error or cancellation; None if it succeeded."""
    outcome: Outcome
    """What the call as a whole may have done at the server."""
    attempts: int
    """How many attempts were made."""
    request_id: str | None
    """The server's X-Request-Id of that response or error, if it has one."""
    elapsed: float
    """Seconds since ``CallStarted``."""


@attrs.frozen(kw_only=True)
class JobEvent:
    """Something that happened to a bulk job."""

    job: str
    """The name of its kind: "assign"."""
    store: str
    """The store: its hash, or a fingerprint of the legacy token."""
    time: float
    """When it happened, as Unix time in seconds."""


@attrs.frozen(kw_only=True)
class JobStarted(JobEvent):
    """A run of a job begins."""

    about: Mapping[str, str]
    """The identity of the job: its input, server and store."""
    total: int | None
    """Items that there will be; None if that is not known."""


@attrs.frozen(kw_only=True)
class JobEnded(JobEvent):
    """A run of a job ended."""

    reason: str
    """"finished", or why it ended early."""
    succeeded: int
    """Items that this run completed."""
    failed: int
    """Items that were refused, or could not be sent."""
    unknown: int
    """Items of which it is not known whether they were done."""
    elapsed: float
    """Seconds since ``JobStarted``."""


Event = CallEvent | JobEvent
"""Any event."""
Listener = Callable[[Any], object]
"""A plain function that is called with each event: not async, no generator."""


def notify(listeners: tuple[Listener, ...], event: Event) -> None:
    """Call each listener with *event*; what one raises is logged, and the others are called all the same."""
    for listener in listeners:
        try:
            result = listener(event)
            if inspect.iscoroutine(result):  # of a lambda or a partial, which do not look like it
                result.close()
                _logger.error("the listener %s is async, so it was not carried out", name_of(listener))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a cancellation that it raises is not that of the call, which is not awaiting anything
            _logger.exception("the listener %s raised an error on %s", name_of(listener), type(event).__name__)


def name_of(listener: object) -> str:
    """Return the name of a listener. Its repr may hold a secret: a partial shows its arguments."""
    return str(getattr(listener, "__qualname__", type(listener).__qualname__))


def about(request: Request) -> dict[str, Any]:
    """Return the fields that all events of a call have."""
    operation, call = request.operation, request.call
    return {
        "operation": operation.name,
        "method": operation.method,
        "path": request.path,
        "call_id": call.id,
        "lane": request.lane,
        "store": call.store,
        "time": time.time(),
    }
