"""The only place that awaits a socket: a request becomes HTTP, aiohttp's errors become ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from b2b_async._messages import Response
from b2b_async._policy import outcome_of_status
from b2b_async.errors import (
    Answer,
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ResponseValidationError,
)

if TYPE_CHECKING:
    from b2b_async._call import Outcome
    from b2b_async._config import Timeouts
    from b2b_async._messages import Request
    from b2b_async._session import SessionManager
    from b2b_async.errors import B2BError

MAX_BODY = 16 * 1024 * 1024
"""Bytes of an answer after decompression; more is refused while it streams in."""

_JSON = {"Accept": "application/json", "Content-Type": "application/json"}
_SUCCESS = range(200, 300)
_NEVER_CEIL = 86_400.0
"""aiohttp rounds timeouts above its ``ceil_threshold`` up to whole seconds; ours are meant as they are."""

# No connection came about, so no byte of the request left.
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_UNTRUSTED = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)


class _BrokenConnectionError(aiohttp.ClientError):
    """The connection broke; in a class that aiohttp does not take as a reason to send again by itself."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Stop aiohttp's hidden resend: GET, PUT and DELETE would leave twice without anybody knowing."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenConnectionError(_reason(error)) from None


class Transport:
    """The bottom of the pipeline.

    Args:
        sessions: Where the aiohttp session comes from.
        base_url: Scheme, host and perhaps a path prefix, without a slash at the end.
        timeouts: How long an attempt and a connection may take.
    """

    def __init__(self, sessions: SessionManager, base_url: str, timeouts: Timeouts) -> None:
        """Prepare what is the same for all requests."""
        self._sessions = sessions
        url = URL(base_url)
        self._origin, self._prefix = url.origin(), url.raw_path.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(
            total=timeouts.attempt,
            # Sooner than the whole attempt, so that a connection that does not come about is told from a lost answer.
            connect=min(timeouts.connect, 0.9 * timeouts.attempt),
            ceil_threshold=_NEVER_CEIL,
        )

    async def __call__(self, request: Request) -> Response:
        """Send *request* and read the whole answer.

        Raises:
            APIConnectionError: no answer, or not a whole one; ``outcome`` says what the server may have done.
            APITimeoutError: the same, because it took too long.
            ConfigurationError: the client is closed, or the URL is none.
            ResponseValidationError: the answer is larger than 16 MiB.
        """
        session = self._sessions.session
        call = request.call
        head: Response | None = None
        # From here on a cancelled call may have been sent.
        call.in_flight = "unknown"
        try:
            async with session.request(
                request.operation.method,
                self._origin.with_path(self._prefix + request.path, encoded=True),
                params=request.query,
                data=request.body,
                headers={**_JSON, **request.headers},
                # aiohttp would carry X-Auth-Token to another host.
                allow_redirects=False,
                # A session handed in may raise by itself, in words that are not ours.
                raise_for_status=False,
                timeout=self._timeout,
                middlewares=(_send_once,),
            ) as answer:
                head = Response(answer.status, answer.headers, b"")
                call.in_flight = _outcome(head)
                response = Response(answer.status, answer.headers, await _read(answer, request))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if head is not None and head.status not in _SUCCESS:
                return head  # the status has said it all; its words are lost
            # Raised outside of this block, so that no aiohttp object hangs on our error as its context.
            failure = _translate(error, request, None if head is None else head.status)
        else:
            return response
        call.in_flight = failure.outcome
        raise failure


def _outcome(head: Response) -> Outcome:
    return "applied" if head.status in _SUCCESS else outcome_of_status(head.status, head.retry_after)


async def _read(answer: aiohttp.ClientResponse, request: Request) -> bytes:
    content = answer.content
    body = await content.readany()
    if not content.at_eof():  # most answers come in one piece
        chunks, size = [body], len(body)
        async for chunk in content.iter_any():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY:
                break
        body = b"".join(chunks)
    if len(body) > MAX_BODY and answer.status in _SUCCESS:
        name = request.operation.name
        message = f"{name}: the answer (status {answer.status}) is larger than {MAX_BODY:,} bytes and was not read on"
        raise ResponseValidationError(message, answer=Answer(status=answer.status), operation=name)
    return body


def _translate(error: Exception, request: Request, status: int | None) -> B2BError:
    name = request.operation.name
    if isinstance(error, aiohttp.InvalidURL | aiohttp.NonHttpUrlClientError):
        return ConfigurationError(f"{name}: the base URL and path make no URL that can be asked", operation=name)
    outcome: Outcome
    if isinstance(error, _NOT_CONNECTED):
        outcome, where = "not_sent", "could not connect"
    elif status is not None:
        outcome, where = "applied", f"the answer broke off after status {status}"
    else:
        outcome, where = "unknown", "no answer, and the request may have arrived"
    kind = APITimeoutError if isinstance(error, TimeoutError) else APIConnectionError
    answer = None if status is None else Answer(status=status)
    failure = kind(f"{name}: {where}: {_reason(error)}", outcome=outcome, answer=answer, operation=name)
    failure.retryable = not isinstance(error, _UNTRUSTED)
    return failure


def _reason(error: Exception) -> str:
    """Say what went wrong without printing URLs or headers: aiohttp's texts may hold either."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted ({error.certificate_error})"
    if isinstance(error, _BrokenConnectionError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} cannot be looked up"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    texts: dict[type[Exception], str] = {
        aiohttp.ServerDisconnectedError: "the server closed the connection",
        aiohttp.ClientPayloadError: "the body is incomplete",
        aiohttp.ClientResponseError: "the answer is not valid HTTP",
    }
    return texts.get(type(error), type(error).__name__)
