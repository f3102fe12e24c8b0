"""The last word on a call that ends without a result: somebody is told before anything else happens."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

from b2b_async._call import UnknownOutcome
from b2b_async.errors import B2BError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._call import Outcome
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler

logger = logging.getLogger("b2b_async")


class TellUnknown:
    """Tell of calls that may have been carried out and whose caller gets no answer that says so.

    A cancelled call raises nothing that could carry an outcome, so this is the only trace that it was in flight.

    Args:
        hook: Called at once, in the call's own task, before the error or the cancellation goes on.
            What it raises is logged and does not replace either.

    Raises:
        ConfigurationError: it is no plain function: nobody could await it where a call is cancelled.
    """

    def __init__(self, hook: Callable[[UnknownOutcome], object]) -> None:
        """Keep the hook."""
        function = hook if inspect.isroutine(hook) else getattr(hook, "__call__", None)  # noqa: B004 -- to look at it
        later = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        if function is None or any(runs_later(function) for runs_later in later):
            message = (
                "on_unknown must be a plain function (not async, no generator), since it is called at once, "
                f"not {hook!r}"
            )
            raise ConfigurationError(message)
        self._hook = hook

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on, and tell if it is lost."""
        try:
            return await handler(request)
        except B2BError as error:
            if error.outcome == "unknown":
                self._tell(request, error, error.outcome)
            raise
        except BaseException as error:
            outcome = request.call.outcome(request.call.in_flight)
            if outcome in {"unknown", "applied"}:
                self._tell(request, error, outcome)
            raise

    def _tell(self, request: Request, error: BaseException, outcome: Outcome) -> None:
        call, operation = request.call, request.operation
        if operation.safe:
            return
        details = UnknownOutcome(
            operation=operation.name,
            path=request.path,
            body=request.body,
            call_id=call.id,
            outcome=outcome,
            error=type(error).__name__ if isinstance(error, Exception) else None,
            attempts=tuple(call.attempts),
        )
        try:
            result = self._hook(details)
            if inspect.iscoroutine(result):  # from a lambda or a partial, which do not look like it
                result.close()
                logger.error("on_unknown is async, so it was not carried out [call %s]", call.id)
        except Exception:
            logger.exception("on_unknown raised an error [call %s]", call.id)
