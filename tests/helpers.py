"""Servers of raw bytes, and clients of a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import attrs

from b2b_async import Client, Credentials, QuotaFeedback
from b2b_async.events import OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from ssl import SSLContext

    from b2b_async.events import Event
    from b2b_async.ratelimit.feedback import Result
    from b2b_async.sandbox import Sandbox

BASE_URL = "https://api-b2b.bigcommerce.com"
CREDENTIALS = Credentials("secret-token", "hash", "secret-legacy")


def client_of(sandbox: Sandbox, **options: Any) -> Client:
    """Make a client with both credentials of *sandbox*."""
    credentials = Credentials(sandbox.access_token, sandbox.store_hash, sandbox.legacy_token)
    return Client(credentials, base_url=sandbox.url, **options)


@contextlib.asynccontextmanager
async def raw_server(
    *answers: bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    ssl: SSLContext | None = None,
) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Serve raw bytes: one answer for each connection (the last one again and again), which is then closed.

    Gives the base URL and the list of what arrived.
    """
    arrived: list[bytes] = []
    connections: list[tuple[asyncio.Task[None] | None, asyncio.StreamWriter]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append((asyncio.current_task(), writer))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
            answer = answers[min(len(arrived), len(answers) - 1)]
            arrived.append(head + body)
            if callable(answer):
                await answer(reader, writer)
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ssl)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", arrived
        for task, writer in connections:
            writer.close()
            if task is not None:
                await asyncio.wait([task])
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def http(status: int, body: bytes | str, *headers: str, content_type: str = "application/json") -> bytes:
    """Write an HTTP answer."""
    body = body.encode() if isinstance(body, str) else body
    lines = [
        f"HTTP/1.1 {status} Whatever",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


GOOD = http(200, '{"code": 200, "data": {"total": 3}, "message": "SUCCESS"}')


def ended(status: int | None, headers: QuotaFeedback | None = None) -> QuotaFeedback:
    """Return the feedback of an attempt that was answered with *status*, or lost (None), with what its headers say."""
    result: Result = "accepted"
    if status is None:
        result = "lost"
    elif status == 429:
        result = "refused"
    elif status >= 500:
        result = "failed"
    return attrs.evolve(headers or QuotaFeedback(), result=result)


def unknowns(into: list[OutcomeUnknown]) -> Callable[[Event], None]:
    """Return a listener that keeps the events of calls whose outcome is unknown."""

    def keep(event: Event) -> None:
        if isinstance(event, OutcomeUnknown):
            into.append(event)

    return keep
