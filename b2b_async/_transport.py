"""The only place that awaits a socket: a request becomes HTTP, aiohttp's errors become ours.

What may have reached the server is observed, not guessed from an error's name: the body of a request notes on its call
when its first byte is handed to the connection, and the head of the answer notes what the status says.
aiohttp holds the head of a request back to send it with the first bytes of the body. For that a GET has a body,
too: an empty one, which adds nothing to what is sent.

**An answer belongs to its request.** HTTP/1.1 matches the two by their order alone, so a proxy that answers one request
twice puts all later answers of the connection out of order. Therefore nothing may have arrived on a connection before
its next request is sent; nothing may follow an answer; and no answer may be a copy of the one before it, with the same
request id, status, date and body.
"""

from __future__ import annotations

import asyncio
import copy
import http.client
import platform
import re
import select
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from urllib.request import getproxies

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from b2b_async._envelope import writable
from b2b_async._messages import Response
from b2b_async._policy import SUCCESS, meaning_of, outcome_of_body
from b2b_async._version import __version__
from b2b_async.errors import (
    Answer,
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ResponseValidationError,
)
from b2b_async.ratelimit.feedback import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

    from b2b_async._call import CallState
    from b2b_async._config import Timeouts
    from b2b_async._messages import Request
    from b2b_async._session import SessionManager
    from b2b_async.errors import B2BError

_JSON = {
    "Accept": "application/json",
    # aiohttp asks for Brotli, too, if anything has installed it, and an old version of that fails on the answer.
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/json",
}
_AGENT = f"b2b-async/{__version__} aiohttp/{aiohttp.__version__} Python/{platform.python_version()}"
_JSON_AND_AGENT = {**_JSON, "User-Agent": _AGENT}
_LONGEST_HEADER, _MOST_HEADERS = 32 * 1024, 512
"""Characters of a header, and headers, of an answer: gateways add long ones, and aiohttp's own limits are narrow."""
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_NEVER_CEIL = 86_400.0
"""aiohttp rounds timeouts above its ``ceil_threshold`` up to whole seconds; ours are meant as they are."""
_ERROR_BODY = 256 * 1024
"""Bytes of an error's body that are kept; the rest is read only so that the connection can be used again."""
_ERROR_SECONDS = 5.0
"""Seconds for which the body of an error is read: its status has said what matters."""
_LEAST = 1e-3
"""Seconds; to aiohttp 0 would mean no limit."""
_ONE_WRITE = 0x10000
"""Bytes of a body up to which aiohttp does not wait for the connection to drain."""

_PROXY_AUTHENTICATION_REQUIRED = 407
_UNTRUSTED = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch)
_UNUSABLE_URL = (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


_STALE = "the server sent an answer without a request, or closed the connection"
_MOST_STALE = 16
"""Connections on which nothing could be sent, until an attempt is given up."""
_REQUEST_ID = "x-request-id"
_MOST_LOST = 2
"""Connections that are closed before anything is sent, until an attempt is given up."""
_NOT_ITS_OWN = "the connection carried more answers than requests, so that this one may belong to another request"
_UNDECODABLE = "Can not decode content-encoding"
"""The start of aiohttp's text for an unknown encoding. It quotes nothing of the response but the encoding's name."""
_LONGEST_CAUSE = 200
"""Characters of a foreign error's text that a message quotes."""
_URL = re.compile(r"\b[a-z]+://\S+", re.IGNORECASE)


class _BrokenConnectionError(aiohttp.ClientError):
    """The connection broke; in a class that aiohttp does not take as a reason to send again by itself."""


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Stop aiohttp's hidden resend: GET, PUT and DELETE would be sent twice without anybody knowing.

    A connection that has an answer before its request is sent is closed, and another one is used.
    """
    body = request.body
    if isinstance(body, _Body) and request.method == "GET":
        request.headers.popall("Content-Length", None)
    lost = 0
    for _ in range(_MOST_STALE):
        try:
            answer = await handler(request)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if isinstance(body, _Body) and body.is_stale:
                continue
            if isinstance(body, _Body) and not body.has_left and lost < _MOST_LOST:
                lost += 1  # the connection was closed while its body looked at it
                await _two_turns()
                continue
            raise _BrokenConnectionError(_reason(error) or "") from None
        if not isinstance(body, _Body) or body.has_left:
            return answer
        answer.close()
        await asyncio.sleep(0)  # what would have sent the body is cancelled now
    raise _BrokenConnectionError(_STALE)


async def _drop_authorization(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Take out what a session of the caller's own has added from netrc: it is not for this server."""
    request.headers.popall("Authorization", None)
    return await handler(request)


_SEND_ONCE = (_send_once,)


def _middlewares(
    session: aiohttp.ClientSession, headers: Mapping[str, str]
) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    if session.trust_env and not any(name.lower() == "authorization" for name in headers):
        return (_drop_authorization, _send_once)
    return _SEND_ONCE


class _Body(aiohttp.BytesPayload):
    """The body of one attempt, which observes when it is sent and on which connection; that of a GET is empty."""

    def __init__(self, octets: bytes, call: CallState) -> None:
        super().__init__(octets, content_type="application/json")
        self.octets = octets
        self._call = call
        self.is_stale = False
        """True if the last connection had something to read, or was closed, before anything was sent."""
        self.protocol: Any = None
        """aiohttp's protocol of the connection that it was sent on."""

    @property
    def has_left(self) -> bool:
        """Whether its first byte has been handed to the connection."""
        return self._call.observed_outcome != "not_sent"

    def __deepcopy__(self, _memo: object) -> _Body:
        """Stay one: what records requests copies them (aioresponses does), and there is only one call."""
        return self

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, and the head before it, as aiohttp asks for once it has a connection."""
        del content_length  # that of the octets, which nobody changes on the way
        protocol = getattr(writer, "protocol", None)
        if _is_readable(getattr(writer, "transport", None)):
            await _two_turns()  # in which the event loop, which was busy since the last answer, reads what has arrived
        self.is_stale = _is_out_of_step(protocol)
        if self.is_stale:  # what has arrived would be taken for the answer to this request
            raise aiohttp.ClientConnectionResetError(_STALE)
        self.protocol = protocol
        self._call.observed_outcome = "unknown"
        try:
            await writer.write(self.octets)
        except aiohttp.ClientConnectionResetError:
            # The connection was closed before it took the first byte; a longer body may have met that half-way.
            if len(self.octets) <= _ONE_WRITE:
                self._call.observed_outcome = "not_sent"
            raise


async def _two_turns() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def _names_its_id(request: Request, session: aiohttp.ClientSession) -> bool:
    """Return whether a request names an id of its own, which servers repeat in their answers."""
    theirs = cast("object", session.headers)  # those of a mock are anything
    names = [*request.headers, *(cast("Mapping[str, str]", theirs) if isinstance(theirs, Mapping) else ())]
    return any(name.lower() == _REQUEST_ID for name in names)


def _is_out_of_step(protocol: Any) -> bool:  # noqa: ANN401 -- aiohttp's own
    """Return whether a connection has received something that no request asked for, or is closed."""
    return bool(getattr(protocol, "should_close", False))


def _is_readable(transport: asyncio.Transport | None) -> bool:
    """Return whether something has arrived, or the other side has closed the connection."""
    connection = None if transport is None else transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return False
    if not hasattr(select, "poll"):  # pragma: no cover -- Windows
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


class _LastAnswers:
    """The last response of each connection, to recognise a copy of it. Only hashes, since a server may echo a token."""

    def __init__(self) -> None:
        self._by_connection: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._last_request_id: int | None = None
        self._request_ids_differ = False

    def belongs(self, response: Response, protocol: Any, *, whole: bool, has_ids: bool) -> bool:  # noqa: ANN401 -- aiohttp's own
        """Return whether an answer can belong to the request that was sent last on its connection.

        Args:
            response: The answer, as far as it was read.
            protocol: aiohttp's protocol of the connection; None for a mock.
            whole: The answer was read to its end.
            has_ids: Its request id is the server's own, and so no other answer's.
        """
        if protocol is None:
            return True
        # A connection that is to be closed may have received more than one answer; aiohttp has no public name for that.
        unread = (getattr(protocol, name, None) for name in ("_buffer", "_tail")) if protocol.should_close else ()
        belongs = not (whole and any(unread))
        headers = response.headers
        if has_ids and _REQUEST_ID in headers:
            request_id = hash(headers[_REQUEST_ID])
            last, self._last_request_id = self._last_request_id, request_id
            self._request_ids_differ = self._request_ids_differ or last not in {None, request_id}
            answer = hash((request_id, response.status, headers.get("Date"), response.body))
            if self._request_ids_differ and self._by_connection.get(protocol) == answer:  # a copy of the last answer
                belongs = False
            self._by_connection[protocol] = answer
        if not belongs and protocol.transport is not None:
            protocol.transport.close()
        return belongs


class Transport:
    """The bottom of the pipeline.

    Args:
        sessions: Where the aiohttp session comes from.
        base_url: Scheme, host and perhaps a path prefix, without a slash at the end.
        timeouts: How long an attempt, a connection and a silence may take.
        max_body: Bytes of an answer after decompression; more is refused while it streams in.
        redact: Blanks out secrets in the texts of foreign errors.
        proxy: The URL of a proxy; None for that of the session, if it has one.
    """

    def __init__(
        self,
        sessions: SessionManager,
        base_url: str,
        timeouts: Timeouts,
        *,
        max_body: int,
        redact: Callable[[str], str],
        proxy: str | None = None,
    ) -> None:
        """Prepare what is the same for all requests."""
        self._sessions = sessions
        self._redact = redact
        self._proxy = proxy
        self._proxy_headers = None if proxy is None else {"User-Agent": _AGENT}
        self._max_body = max_body
        self.timeouts: Timeouts = timeouts
        url = URL(base_url)
        self._origin, self._prefix = url.origin(), url.raw_path.rstrip("/")
        self._timeout = _client_timeout(timeouts, timeouts.attempt)
        self._last_answers = _LastAnswers()

    def with_timeouts(self, timeouts: Timeouts) -> Transport:
        """Return the same transport with other timeouts; the connections are shared."""
        other = copy.copy(self)
        other.timeouts, other._timeout = timeouts, _client_timeout(timeouts, timeouts.attempt)  # noqa: SLF001 -- a copy of itself
        return other

    async def __call__(self, request: Request) -> Response:
        """Send *request* and read the whole answer.

        Raises:
            APIConnectionError: no answer, or not a whole one; ``outcome`` says what the server may have done.
            APITimeoutError: the same, because it took too long.
            ConfigurationError: the client is closed, the URL is none, or a header cannot be written.
            ResponseValidationError: the answer is larger than it may be.
        """
        result = await self._exchange(request)
        if isinstance(result, Response):
            return result
        # Raised here, where no aiohttp object is in any frame or context that the error could hold on to.
        raise result

    async def _exchange(self, request: Request) -> Response | B2BError:
        sessions, call = self._sessions, request.call
        session, body = sessions.session, _Body(request.body or b"", call)
        status, headers, content, is_its_own = 0, _NO_HEADERS, list[bytes](), True
        try:
            async with sessions.slots:
                async with session.request(
                    request.operation.method,
                    self._origin.with_path(self._prefix + request.path, encoded=True),
                    params=request.query,
                    data=body,
                    headers={**(_JSON if sessions.sets_user_agent else _JSON_AND_AGENT), **request.headers},
                    # aiohttp would carry X-Auth-Token to another host.
                    allow_redirects=False,
                    # A session handed in may raise by itself, in words that are not ours.
                    raise_for_status=False,
                    auto_decompress=True,
                    proxy=self._proxy,
                    proxy_headers=self._proxy_headers,
                    timeout=self._timeout if request.reconcile is None else self._shorter_timeout(request),
                    middlewares=_middlewares(session, request.headers),
                    max_line_size=_LONGEST_HEADER,
                    max_field_size=_LONGEST_HEADER,
                    max_headers=_MOST_HEADERS,
                ) as answer:
                    status, headers = answer.status, answer.headers
                    if status not in SUCCESS:
                        call.observed_outcome = meaning_of(status, delay=retry_after(headers) is not None).outcome
                    whole = await self._read(answer, content)
                response = Response(status, headers, content[0] if len(content) == 1 else b"".join(content))
                has_ids = not _names_its_id(request, session)
                is_its_own = self._last_answers.belongs(response, body.protocol, whole=whole, has_ids=has_ids)
        except Exception as error:  # noqa: BLE001 -- whatever aiohttp can raise becomes one of ours
            answered = status and isinstance(cast("object", status), int)  # that of a mock is something else
            received = Response(status, headers, b"".join(content)) if answered else None
            if received is None or status in SUCCESS:
                return self._failure(error, request, received, session)
            whole = True  # the status has said it all, though some of its words are lost
        except BaseException as error:
            # A cancellation goes on as it is, but without aiohttp's frames: their variables hold the signed headers.
            error.__traceback__ = None
            raise
        if status == _PROXY_AUTHENTICATION_REQUIRED and self._origin.scheme == "http" and self._is_proxied(session):
            return _refused_by_proxy(request, status)  # of https, only the answer to CONNECT can be a proxy's
        if not is_its_own:
            call.observed_outcome = "unknown"
            text = f"{request.operation.name}: {_NOT_ITS_OWN}"
            return APIConnectionError(text, outcome="unknown", operation=request.operation.name)
        response = Response(status, headers, content[0] if len(content) == 1 else b"".join(content))
        return response if whole or status not in SUCCESS else self._too_large(request, response)

    def _shorter_timeout(self, request: Request) -> aiohttp.ClientTimeout:
        """Leave time to look for an answer that this attempt may lose."""
        deadline = request.call.deadline
        when = None if deadline is None else deadline.when
        if when is None:
            return self._timeout
        half = (when - asyncio.get_running_loop().time()) / 2
        return self._timeout if half >= self.timeouts.attempt else _client_timeout(self.timeouts, max(half, _LEAST))

    async def _read(self, answer: aiohttp.ClientResponse, into: list[bytes]) -> bool:
        """Read the body *into* pieces; return whether that is all of it.

        Of a success that is too large only the beginning is kept, and of an error only what its message can need.
        """
        if answer.status in SUCCESS:
            return await self._read_all(answer, into)
        clock = asyncio.timeout(_ERROR_SECONDS)
        try:
            async with clock:
                return await self._read_all(answer, into)
        except TimeoutError:
            if not clock.expired():
                raise
            return False

    async def _read_all(self, answer: aiohttp.ClientResponse, into: list[bytes]) -> bool:
        stream = answer.content
        into.append(await stream.readany())
        size = kept = len(into[0])
        if not stream.at_eof():  # most answers come in one piece
            most = self._max_body if answer.status in SUCCESS else _ERROR_BODY
            async for piece in stream.iter_any():
                size += len(piece)
                if size > self._max_body:
                    break
                if kept < most:
                    kept += len(piece)
                    into.append(piece)
        if size > self._max_body:
            del into[1:]
        return size <= self._max_body

    def _too_large(self, request: Request, beginning: Response) -> B2BError:
        name = request.operation.name
        message = (
            f"{name}: the answer (status {beginning.status}) is larger than {self._max_body:,} bytes and was not read "
            "on; ask for less at once, or allow more (Client(max_body=...))"
        )
        request.call.observed_outcome = outcome = outcome_of_body(beginning)
        return ResponseValidationError(message, answer=Answer(status=beginning.status), outcome=outcome, operation=name)

    def _is_proxied(self, session: aiohttp.ClientSession) -> bool:
        """Return whether requests go through a proxy, as far as that can be known of a borrowed session."""
        return self._proxy is not None or (session.trust_env is True and self._origin.scheme in getproxies())

    def _failure(
        self, error: Exception, request: Request, received: Response | None, session: aiohttp.ClientSession
    ) -> B2BError:
        """Make one of our errors of one of aiohttp's; *received* is what has come of a good answer."""
        name, call = request.operation.name, request.call
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return _refused_by_proxy(request, error.status)
        if received is not None:
            call.observed_outcome = outcome_of_body(received)
        outcome, reason = call.observed_outcome, _reason(error)
        if isinstance(error, _UNUSABLE_URL):
            call.observed_outcome = "not_sent"
            what = "the base URL and path make no URL that can be asked"
            if session.trust_env:  # the base URL was checked when the client was made
                what = (
                    "the proxy that the environment names is no URL (HTTPS_PROXY, HTTP_PROXY): write http://HOST:PORT"
                )
            return ConfigurationError(f"{name}: {what}; nothing was sent", operation=name)
        known = isinstance(error, aiohttp.ClientError | OSError)
        if not known and received is None and outcome == "not_sent":
            return ConfigurationError(f"{name}: {self._foreign_fault(error, request)}", operation=name)
        if received is not None:
            where = f"the answer broke off after status {received.status}"
        else:
            through = " through the proxy" if self._is_proxied(session) else ""
            sent = "no answer, and the request may have arrived"
            where = f"could not connect{through}" if outcome == "not_sent" else sent
        kind = APITimeoutError if isinstance(error, TimeoutError) else APIConnectionError
        answer = None if received is None else Answer(status=received.status)
        text = f"{name}: {where}: {reason or self._cause(error)}{self._hidden_cause(error)}"
        failure = kind(text, outcome=outcome, answer=answer, operation=name)
        failure.retryable = not isinstance(error, _UNTRUSTED)
        return failure

    def _foreign_fault(self, error: Exception, request: Request) -> str:
        """Return what kept a request from being sent that is neither aiohttp's error nor the system's."""
        unwritable = _unwritable(request)
        if unwritable is not None:
            return f"{unwritable}, so nothing was sent; look at the middlewares of your own that add it"
        if isinstance(error, RuntimeError) and str(error).endswith("attached to a different loop"):
            return (
                "nothing was sent: the session belongs to another event loop; make it in the loop that makes the calls"
            )
        return (
            f"nothing was sent: {self._cause(error)}. It comes from what stands between this client and the network: "
            "a session of another event loop, a middleware or tracing hook of the session, or a mock in its place"
        )

    def _cause(self, error: BaseException) -> str:
        """Return the type and the text of an error, without secrets and without URLs, which may hold personal data."""
        text = _URL.sub("(URL)", self._redact(writable(" ".join(str(error).split()))))
        return f"{type(error).__name__}: {text[:_LONGEST_CAUSE]}" if text else type(error).__name__

    def _hidden_cause(self, error: Exception) -> str:
        """Return what made aiohttp raise an error, where that is neither aiohttp's nor the system's: of a hook, say."""
        cause = error.__cause__
        if cause is None or isinstance(
            cause, aiohttp.ClientError | OSError | HttpProcessingError | asyncio.CancelledError
        ):
            return ""
        return f" ({self._cause(cause)})"


def _client_timeout(timeouts: Timeouts, attempt: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=attempt,
        # Not `connect`, which counts the wait for a free connection, too.
        sock_connect=timeouts.connect,
        # A timer for each piece of an answer, so only where the whole attempt does not end before it.
        sock_read=timeouts.read if timeouts.read < attempt else None,
        ceil_threshold=_NEVER_CEIL,
    )


def _refused_by_proxy(request: Request, status: int) -> APIConnectionError:
    """Return the error of a request that a proxy did not pass on."""
    request.call.observed_outcome = "not_sent"
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        what = "the proxy asks for a user name and a password (407): put them into its URL, http://USER:PASSWORD@HOST"
    else:
        what = f"the proxy refused to connect to the API ({status} {http.client.responses.get(status, 'unknown')})"
    error = APIConnectionError(
        f"{request.operation.name}: {what}; nothing was sent", outcome="not_sent", operation=request.operation.name
    )
    error.retryable = status != _PROXY_AUTHENTICATION_REQUIRED
    return error


def _unwritable(request: Request) -> str | None:
    """Name the header or query parameter that cannot be written as HTTP, which aiohttp does not name."""
    headers: dict[str, object] = {**request.headers}
    query: dict[str, object] = {**(request.query or {})}
    for name, header in headers.items():
        if not isinstance(header, str) or not header.isprintable():
            return f"the value of the header {name!r} cannot be sent"
    for name, value in query.items():
        if not isinstance(value, str | list | tuple):
            return f"the value of the query parameter {name!r} is neither a string nor a list"
    return None


def _reason(error: Exception) -> str | None:
    """Return what went wrong without printing URLs or headers: aiohttp's texts may hold either.

    None for an error that is neither aiohttp's nor the system's, or whose text is all that there is.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy cannot be reached ({error.strerror or 'the connection failed'})"
    if isinstance(error, _BrokenConnectionError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return _URL.sub("(URL)", error.strerror)
    cause = error.__cause__
    if isinstance(cause, HttpProcessingError) and cause.message.startswith(_UNDECODABLE):
        return f"the body cannot be decompressed ({cause.message})"
    texts: dict[type[Exception], str] = {
        aiohttp.ClientOSError: "the connection closed",
        aiohttp.ServerDisconnectedError: "the server closed the connection",
        aiohttp.ClientPayloadError: "the body is incomplete",
        aiohttp.ClientResponseError: "the answer is not valid HTTP",
    }
    return texts.get(type(error))
