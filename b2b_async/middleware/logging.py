"""One log line per call: what it was, how it ended, how long it took. Never a header, never a body."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from b2b_async.errors import B2BError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler

logger = logging.getLogger("b2b_async")


class Logging:
    """Log successful calls at DEBUG and failed ones at INFO, for the caller has the error itself.

    Args:
        redact: Blanks out secrets in what the server says.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        """Keep what blanks out secrets."""
        self._redact = redact

    def __call__(self, request: Request, handler: Handler) -> Awaitable[Response]:
        """Pass *request* on and log how it ended."""
        return self._logged(request, handler) if logger.isEnabledFor(logging.INFO) else handler(request)

    async def _logged(self, request: Request, handler: Handler) -> Response:
        clock = asyncio.get_running_loop().time
        started = clock()
        operation = request.operation
        try:
            response = await handler(request)
        except B2BError as error:
            logger.info(
                "%s failed after %.3f s: %s [call %s, %s %s, outcome %s, request id %s]",
                operation.name,
                clock() - started,
                type(error).__name__,
                request.call.id,
                operation.method,
                request.path,
                error.outcome,
                error.request_id,
            )
            raise
        logger.debug(
            "%s answered %d after %.3f s [call %s, %s %s, attempts %d, request id %s]",
            operation.name,
            response.status,
            clock() - started,
            request.call.id,
            operation.method,
            request.path,
            len(request.call.attempts) + 1,
            self._redact(str(response.request_id)),
        )
        return response
