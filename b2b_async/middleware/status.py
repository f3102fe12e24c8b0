"""The status of a response: parse the envelope of a good one, raise the typed error of a bad one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_async._envelope import Envelope, UndecodableBodyError, writable
from b2b_async._errors import BLANK, JSON_OR_PAGE, describe
from b2b_async._messages import Response
from b2b_async._policy import SUCCESS, THROTTLED, meaning_of, outcome_of_body
from b2b_async.errors import RateLimitError, ResponseValidationError, ServerError, class_for_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async._call import Outcome
    from b2b_async._messages import APIVersion, Request
    from b2b_async._pipeline import Handler
    from b2b_async.errors import Answer, APIStatusError

__all__ = [
    "RaiseForStatus",
]

_ACCEPTED, _NO_CONTENT = 202, 204

_CREDENTIALS_HINT = (
    ". No call of this client has succeeded yet: this server also answers a wrong or missing store hash, or a token "
    "of another store, with a 5xx, so check the credentials (b2b-async check)"
)


_INTERNAL_ERROR_HINT = ". The vendor advises to try again three to five times, with pauses of at least a minute"
_EDGE_HINT = ". It is a web page of something in front of the API, and counts as a refusal for the rate of requests"


class RaiseForStatus:
    """Turn an answer that says no into its error, and open the envelope of one that says yes.

    Args:
        redact: Blanks out secrets in the server's words, since debug pages echo request headers.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        """Start without having seen a good answer."""
        self._redact = redact
        self._proven: set[APIVersion] = set()

    async def __call__(self, request: Request, handler: Handler) -> Response:
        """Pass *request* on and read the answer.

        Raises:
            APIStatusError: the server said no.
            ResponseValidationError: the status says yes, but the body is not JSON.
        """
        response = await handler(request)
        if response.status not in SUCCESS:
            raise self._error(request, response, response.status, under_success=False)
        if self._is_acknowledged(request, response):
            request.call.observed_outcome = "applied"
            return _acknowledged(response)
        if response.status == _NO_CONTENT and request.check is None:
            request.call.observed_outcome = "applied"
            return response
        try:
            # A creation that is answered 204 has no order in its answer, which its check then finds.
            envelope = Envelope(None) if response.status == _NO_CONTENT else Envelope.parse(response.body)
        except UndecodableBodyError as error:
            raise self._undecodable(request, response, str(error)) from None
        status = envelope.error_status
        if status is not None:
            raise self._error(request, response, status, under_success=True)
        self._proven.add(request.operation.version)
        fault = None if request.check is None else request.check(envelope)
        if fault is not None:
            raise self._undecodable(request, response, f"the answer is not believed: {fault}", outcome="unknown")
        is_yes = _says_yes(request, envelope)
        if not (is_yes or request.operation.safe or (request.operation.idempotent and envelope.has_data)):
            fault = "the body does not say that the request was carried out"
            raise self._undecodable(request, response, fault, outcome="unknown")
        request.call.observed_outcome = "applied" if is_yes else "unknown"
        return Response(response.status, response.headers, response.body, envelope)

    def _is_acknowledged(self, request: Request, response: Response) -> bool:
        """Return whether an empty body settles the call, which needs no data.

        The first one is asked about again, since something in front of the API may have sent it. It stands if
        nothing better comes.
        """
        body = response.body.strip(BLANK)
        if not request.operation.data_optional or body[:1] in JSON_OR_PAGE:
            return False
        if response.status in {_ACCEPTED, _NO_CONTENT}:  # "Accepted" in words, or nothing
            return True
        before, request.call.acknowledged = request.call.acknowledged, None if body else _acknowledged(response)
        return before is not None and not body

    def _error(self, request: Request, response: Response, status: int, *, under_success: bool) -> APIStatusError:
        answer = describe(response, self._redact, status=status, under_success=under_success)
        name = request.operation.name
        delay, page = answer.retry_after is not None, response.is_page
        meaning = meaning_of(status, delay=delay, page=page, under_success=under_success)
        text = f"{name}: {response.status} {answer.message or 'without a message'}"
        text += "".join(f"; {field}: {words}" for field, words in answer.fields.items())
        text += _identifiers(answer)
        kind = class_for_status(status)
        if issubclass(kind, ServerError) and request.operation.version not in self._proven:
            text += _CREDENTIALS_HINT
        if meaning.retry == "internal":
            text += _INTERNAL_ERROR_HINT
        if meaning is THROTTLED and kind is not RateLimitError:
            kind = RateLimitError
            text += _EDGE_HINT
        return kind(text, answer=answer, outcome=meaning.outcome, operation=name)

    def _undecodable(
        self, request: Request, response: Response, reason: str, outcome: Outcome | None = None
    ) -> ResponseValidationError:
        kind = writable(self._redact(response.headers.get("Content-Type", "application/json")))
        name = request.operation.name
        answer = describe(response, self._redact)
        text = f"{name}: {response.status}, but {reason} (content type {kind}){_identifiers(answer)}"
        outcome = outcome or outcome_of_body(response)
        error = ResponseValidationError(text, answer=answer, outcome=outcome, operation=name)
        error.retryable = True
        return error


def _says_yes(request: Request, envelope: Envelope) -> bool:
    """Return whether a good status comes with the API's own yes: anything in front of it can send JSON, too."""
    return envelope.acknowledges and (request.operation.idempotent or envelope.code is not None)


def _acknowledged(response: Response) -> Response:
    """Return a success without data, with an envelope that says so."""
    return Response(response.status, response.headers, response.body, Envelope(None))


def _identifiers(answer: Answer) -> str:
    named = (("code", answer.code), ("request id", answer.request_id), ("trace id", answer.trace_id))
    known = ", ".join(f"{name} {value}" for name, value in named if value is not None)
    return f" ({known})" if known else ""
