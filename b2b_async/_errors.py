"""Errors and the calls that they end: what a response says, and the completion of an error."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from b2b_async._call import strongest
from b2b_async._envelope import Envelope, writable
from b2b_async._policy import SUCCESS
from b2b_async.errors import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._messages import Request, Response
    from b2b_async.errors import B2BError

BLANK = b"\xef\xbb\xbf \t\r\n"
"""What may stand before a body."""
JSON_OR_PAGE = frozenset({b"{", b"[", b"<", b'"', b"n"})
"""First characters of JSON, and of pages."""
_IDS = frozenset({"orderid", "bcorderid", "customerid", "companyid", "bcgroupid", "customergroupid"})


def complete(error: B2BError, request: Request) -> None:
    """Set on *error* what is known of the call that it ends; a second time changes nothing.

    That is its attempts, call id, operation, method, path and ids, and its outcome unless it has one. An error of
    another call, which a middleware has made meanwhile, keeps its own; its outcome says no less than that of this call.
    """
    call, operation = request.call, request.operation
    if error.call_id is not None and error.call_id != call.id:
        outcome = call.outcome(call.observed_outcome)
        note = f"inside call {call.id}, {operation.name}, which ends with it; outcome of that at the server: {outcome}"
        error.outcome = strongest((error.outcome, outcome))
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        return
    error.operation = error.operation or operation.name
    error.call_id = call.id
    error.attempts = tuple(call.attempts)
    if "outcome" not in vars(error):
        error.outcome = call.outcome(call.observed_outcome)
    error.method, error.path = operation.method, request.path
    body: object = None
    with contextlib.suppress(ValueError):  # a caller's own body may be anything
        body = None if request.body is None else json.loads(request.body)
    error.ids = {**operation.ids(request.path), **_ids_in(request.query), **_ids_in(body)}


def _ids_in(fields: object) -> dict[str, str]:
    """Return the ids in a query or body: of what they hold these alone are no personal data."""
    items = cast("Mapping[str, object]", fields).items() if isinstance(fields, Mapping) else ()
    return {name: str(value) for name, value in items if name.lower() in _IDS and isinstance(value, str | int)}


def describe(
    response: Response, redact: Callable[[str], str], *, status: int | None = None, under_success: bool = False
) -> Answer:
    """Return what a response says as plain values without secrets, for an error.

    Args:
        response: The response.
        redact: Blanks out secrets.
        status: What the envelope's code stands for, where that is not the HTTP status.
        under_success: An error stood in the envelope of a 2xx.
    """
    envelope = Envelope.for_error(response.body, redact)
    refused = under_success or response.status not in SUCCESS
    is_json = response.says_json or response.body.lstrip(BLANK)[:1] in JSON_OR_PAGE
    if not refused and not response.is_page and is_json:
        # The data of a success are no message, and are personal data as likely as not.
        envelope = Envelope(envelope.payload)
    request_id, trace_id = response.request_id, response.trace_id
    return Answer(
        status=response.status if status is None else status,
        under_success=under_success,
        code=envelope.code,
        message=envelope.message,
        fields=envelope.fields if refused else {},
        payload=envelope.payload,
        request_id=None if request_id is None else writable(redact(request_id)),
        trace_id=None if trace_id is None else writable(redact(trace_id)),
        retry_after=response.retry_after,
    )
