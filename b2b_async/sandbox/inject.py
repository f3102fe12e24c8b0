"""How the sandbox does what a fault asks for: to a request, to a connection, or to an answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from typing import TYPE_CHECKING, cast

from aiohttp import web

from b2b_async.sandbox import responses
from b2b_async.sandbox.throttle import SlidingLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.typedefs import Handler

    from b2b_async.sandbox.faults import Fault, Faults

__all__ = [
    "UNSENT",
    "inflict",
]

UNSENT = 999
"""The status of what stands in for an answer that never leaves."""
_POLL = 0.25
"""Seconds between two looks whether the other side of a hanging connection is still there."""


async def inflict(
    fault: Fault, request: web.Request, handler: Handler, *, faults: Faults, window: float, ids: Mapping[str, str]
) -> web.StreamResponse:
    """Answer *request* as *fault* says, with the help of *handler* if it is carried out at all."""
    if fault in _REFUSALS:
        return _REFUSALS[fault](faults, window)
    if fault in {"reset-before", "close-before", "hang-before"}:
        return await _break(fault, request, faults)
    if fault == "envelope-cut":
        return await _truncated(request, _enveloped(400)(faults, window), chunked=False)
    if fault == "slow":
        await asyncio.sleep(faults.slow_seconds)
    # The endpoints answer in whole bodies.
    response = cast("web.Response", await handler(request))
    response.headers.update(ids)
    if fault in {"reset-after", "close-after", "hang-after"}:
        return await _break(fault, request, faults)
    if fault in {"truncated", "truncated-chunks"}:
        return await _truncated(request, response, chunked=fault == "truncated-chunks")
    if fault == "trickle":
        return await _trickle(request, response, faults.slow_seconds)
    if fault in {"answered-twice", "answered-twice-late"}:
        return _Repeated(response, 0.01 if fault == "answered-twice-late" else 0.0)
    return _CHANGES[fault](response) if fault in _CHANGES else response


# -- turned away before anything is done -------------------------------------------------------------------------


def _refused(headers: Mapping[str, str]) -> Callable[[Faults, float], web.Response]:
    return lambda _faults, _window: responses.throttled(dict(headers), 1.0)


def _refused_by_quota(_faults: Faults, window: float) -> web.Response:
    _, headers, wait = SlidingLog(0, window).admit(0.0)
    return responses.throttled(headers, wait)


def _gateway(status: int) -> Callable[[Faults, float], web.Response]:
    return lambda _faults, _window: responses.page(status, f"{status} from the gateway")


def _come_back(_faults: Faults, _window: float) -> web.Response:
    response = responses.envelope(503, {}, "Service Unavailable")
    response.headers["Retry-After"] = "3"
    return response


def _enveloped(code: int) -> Callable[[Faults, float], web.Response]:
    return lambda _faults, _window: responses.with_json(200, responses.error(code, {}, "Something is wrong"))


def _redirect(faults: Faults, _window: float) -> web.Response:
    return web.Response(status=307, headers={"Location": f"{faults.redirect_to}/elsewhere"})


_CORE = {
    "X-Rate-Limit-Requests-Left": "0",
    "X-Rate-Limit-Requests-Quota": "150",
    "X-Rate-Limit-Time-Reset-Ms": "1000",
    "X-Rate-Limit-Time-Window-Ms": "60000",
}
_REFUSALS: dict[Fault, Callable[[Faults, float], web.Response]] = {
    "429": _refused_by_quota,
    "429-retry-after": _refused({"Retry-After": "1"}),
    "429-core": _refused(_CORE),
    "429-bare": _gateway(429),
    "500": lambda _faults, _window: responses.envelope(500, {}, "Internal Server Error"),
    "502": _gateway(502),
    "503": _gateway(503),
    "503-delay": _come_back,
    "504": _gateway(504),
    "520": _gateway(520),
    "html-before": _gateway(200),
    "envelope-400": _enveloped(400),
    "envelope-429": _enveloped(429),
    "envelope-500": _enveloped(500),
    "redirect": _redirect,
    "304-before": lambda _faults, _window: web.Response(status=304),
    "unenveloped-before": lambda _faults, _window: responses.with_json(200, {"status": "ok"}),
}


# -- the connection ----------------------------------------------------------------------------------------------


async def _break(fault: Fault, request: web.Request, faults: Faults) -> web.StreamResponse:
    """End a connection without an answer."""
    if fault.startswith("hang"):
        await _hang(request, faults.hang_seconds)
    transport = request.transport
    if transport is not None and fault.startswith("reset"):
        # Nothing is lingered for: what is under way is thrown away, and the other side gets an RST.
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    return _close(request)


def _close(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return web.Response(status=UNSENT)  # aiohttp wants one, and cannot send it any more


async def _hang(request: web.Request, seconds: float) -> None:
    """Say nothing until the client has gone, or for *seconds*."""
    clock = asyncio.get_running_loop().time
    until = clock() + seconds
    while request.transport is not None and (left := until - clock()) > 0:  # noqa: ASYNC110 -- aiohttp has no event for it
        await asyncio.sleep(min(_POLL, left))


# -- the answer of what was carried out --------------------------------------------------------------------------


async def _truncated(request: web.Request, response: web.Response, *, chunked: bool) -> web.StreamResponse:
    """Send the head and half of the body, and close."""
    body = _octets(response)
    half = web.StreamResponse(status=response.status, headers=_kept(response))
    if chunked:
        half.enable_chunked_encoding()
    else:
        half.content_length = len(body)
    await half.prepare(request)
    await half.write(body[: len(body) // 2])
    _close(request)
    return half


async def _trickle(request: web.Request, response: web.Response, seconds: float) -> web.StreamResponse:
    """Send the body byte by byte."""
    body = _octets(response)
    slow = web.StreamResponse(status=response.status, headers=_kept(response))
    slow.content_length = len(body)
    await slow.prepare(request)
    for place in range(len(body)):
        await asyncio.sleep(seconds / len(body))
        if request.transport is None:
            break  # the client has gone
        await slow.write(body[place : place + 1])
    return slow


class _Repeated(web.Response):
    """A response that is sent a second time on its connection, *delay* seconds later."""

    def __init__(self, response: web.Response, delay: float) -> None:
        super().__init__(status=response.status, headers=_kept(response), body=_octets(response))
        self._delay = delay

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the response, and its copy."""
        # Where the client has gone, aiohttp does not come as far as this.
        transport = cast("asyncio.Transport", cast("web.BaseRequest", self._req).transport)
        await super().write_eof(data)
        head = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in self.headers.items())]
        copy = "\r\n".join(head).encode() + b"\r\n\r\n" + _octets(self)
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, transport.write, copy)
        else:
            transport.write(copy)


def _cut_gzip(response: web.Response) -> web.Response:
    """Compress the body and leave the end of it away, in an answer that is whole otherwise."""
    packed = gzip.compress(_octets(response))
    headers = {**_kept(response), "Content-Encoding": "gzip"}
    return web.Response(status=response.status, headers=headers, body=packed[: len(packed) // 2])


def _malformed(response: web.Response) -> web.Response:
    """Leave the last brace away, as a program that writes JSON by hand does."""
    return web.Response(status=response.status, headers=_kept(response), body=_octets(response)[:-1])


def _renamed(response: web.Response) -> web.Response:
    """Send good JSON under another content type."""
    return web.Response(status=response.status, body=_octets(response), content_type="text/plain")


_CHANGES: dict[Fault, Callable[[web.Response], web.Response]] = {
    "500-after": lambda _response: responses.envelope(500, {}, "Internal Server Error"),
    "504-after": lambda _response: responses.page(504, "504 Gateway Time-out"),
    "304-after": lambda _response: web.Response(status=304),
    "unenveloped-after": lambda _response: responses.with_json(200, {"status": "ok"}),
    "html-after": lambda _response: responses.page(200, "Please stand by"),
    "cut-gzip": _cut_gzip,
    "malformed": _malformed,
    "content-type": _renamed,
}


def _octets(response: web.Response) -> bytes:
    return cast("bytes", response.body)


def _kept(response: web.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "Content-Length"}
