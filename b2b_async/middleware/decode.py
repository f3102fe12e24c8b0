"""Decoding: the typed value of a response is made inside the pipeline, so that a misfit is an error of the call."""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast, get_origin

from b2b_async._errors import BLANK, complete, describe
from b2b_async._messages import UNDECODED, Response
from b2b_async._record import is_blank
from b2b_async.errors import B2BError, ResponseValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._messages import Request
    from b2b_async._pipeline import Handler

__all__ = [
    "Decode",
]

_logger = logging.getLogger("b2b_async")

_SHOWN_MISFITS = 10
_LARGE = 512 * 1024
"""Bytes of a response that take more than about 10 ms to make records of."""


class Decode:
    """Make the value that a request asks for of the response's data.

    Args:
        redact: Blanks out secrets in what the server says.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        """Import the converter: that is slow, and must not be so in the middle of a call."""
        self._redact = redact
        self._converter: Any = import_module("b2b_async._converter")

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on and decode the response, in a thread where that would hold up the event loop.

        Raises:
            ResponseValidationError: the server accepted the request, but the data do not fit.
        """
        try:
            response = await handler(request)
        except B2BError as error:
            complete(error, request)  # for the middlewares of the user, which stand around this one
            raise
        if request.into is None or response.value is not UNDECODED:
            return response
        if len(response.body) <= _LARGE:
            return self._decoded(request, response)
        return await asyncio.to_thread(self._decoded, request, response)

    def _decoded(self, request: Request, response: Response) -> Response:
        envelope, misfits = response.envelope, list[str]()
        try:
            value = self._value(request, response, misfits.extend)
        except self._converter.MisfitError as error:
            fault = self._redact(str(error))
        else:
            if misfits:
                shown = ", ".join(misfits[:_SHOWN_MISFITS])
                more = f" and {len(misfits) - _SHOWN_MISFITS} more" if len(misfits) > _SHOWN_MISFITS else ""
                text = "%s: values that do not fit their fields are left out, and kept in raw: %s%s [call %s]"
                _logger.warning(text, request.operation.name, shown, more, request.call.id)
            return Response(response.status, response.headers, response.body, envelope, value)
        call, name = request.call, request.operation.name
        # Without the envelope's yes, the words may be those of something that stands before the API.
        is_empty = envelope is None or not response.body.strip(BLANK)
        yes = is_empty or (envelope is not None and envelope.code is not None and envelope.acknowledges)
        call.observed_outcome = call.observed_outcome if yes else "unknown"
        message = f"{name}: {response.status}, but the response does not fit: {fault}"
        misfit = ResponseValidationError(
            message,
            answer=describe(response, self._redact),
            outcome=call.outcome(call.observed_outcome),
            operation=name,
        )
        complete(misfit, request)
        raise misfit

    def _value(self, request: Request, response: Response, on_misfits: Callable[[list[str]], None]) -> Any:  # noqa: ANN401 -- the class that is asked for
        """Make the value. No caller has the data in a variable: a traceback shows what a server echoes."""
        converter, envelope, operation, into = self._converter, response.envelope, request.operation, request.into
        if envelope is None:
            return converter.structure(None, into)
        if get_origin(into) is tuple:
            if not envelope.has_data:  # null may be an empty list; where nothing is said, it is another response
                message = "$.data is missing"
                raise converter.MisfitError(message)
            return converter.structure_rows(*envelope.rows, into, on_misfits)
        data: object = _alone(envelope.data)
        needs_yes = operation.data_optional or not operation.safe
        acknowledges = needs_yes and envelope.acknowledges
        if operation.data_optional and acknowledges:
            data = _object_or_empty(data)
        made = converter.structure(data, into, on_misfits=on_misfits)
        if not operation.safe and not acknowledges and is_blank(made):
            message = "$.data is empty, and the response does not say that the request was carried out"
            raise converter.MisfitError(message)
        return made


def _alone(data: object) -> object:
    """Take an object out of a list that has only this one."""
    if not isinstance(data, list):
        return data
    items = cast("list[object]", data)
    return items[0] if len(items) == 1 else items


def _object_or_empty(data: object) -> object:
    """Return an object as it is; anything else, which a success without data may have there, as an empty one."""
    return cast("object", data) if isinstance(data, dict) else {}
