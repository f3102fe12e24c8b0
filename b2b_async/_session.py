"""The one aiohttp session of a client: opened late, shared by all calls, closed if it is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import aiohttp

from b2b_async.errors import ConfigurationError

_CLOSED = (
    "the client is closed, or was never opened: make the call inside 'async with Client(...) as client:', "
    "or before 'await client.close()'"
)
_OTHER_LOOP = (
    "the client's session belongs to {}, so nothing was sent. A session serves one event loop in one thread: "
    "open the client ('async with Client(...)') in the event loop that makes the calls, one client for each loop"
)
# Credentials that would be mixed with ours; and "Expect" lets the head of a request be sent before its body.
_FORBIDDEN = ("Authorization", "X-Auth-Token", "X-Store-Hash", "authToken", "Expect")


class SessionManager:
    """Owns the aiohttp session of a client, or borrows one and leaves it open.

    Args:
        session: A session of the user's, which stays theirs; None to make one.
        connections: Size of the connection pool of a session of our own, and of a borrowed one without a limit.
    """

    def __init__(self, session: aiohttp.ClientSession | None = None, *, connections: int) -> None:
        """Do not open anything yet: a session can only be made inside a running event loop."""
        self._session = session
        self._owned = session is None
        self._closed = False
        self._entered: asyncio.AbstractEventLoop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.connections = connections if session is None else _pool_of(session) or connections
        """Requests that can be under way at the same time."""
        self.slots = asyncio.Semaphore(self.connections)
        """A slot for each connection. aiohttp counts the wait for one as time of the attempt, so we wait before."""
        self.sets_user_agent = False
        """True if a borrowed session has a User-Agent of its own."""

    def enter(self) -> None:
        """Open the session for an ``async with``, which closes it at its end.

        Raises:
            ConfigurationError: one is open already, whose calls would fail once this one is closed.
        """
        if self._entered is not None and not self._entered.is_closed():
            message = (
                "the client is open already: the end of an inner 'async with' would close it for the outer one. Use "
                "the client inside one 'async with', and pass it on"
            )
            raise ConfigurationError(message)
        self.open()
        self._entered = asyncio.get_running_loop()

    def open(self) -> None:
        """Open the session, unless it is borrowed; must be called inside a running event loop.

        Raises:
            ConfigurationError: a borrowed session adds credentials of its own, which would be mixed with ours.
        """
        self._closed = False
        if not self._owned:
            self._loop = None
            self._bind()
        else:
            self._loop = None  # a session that was left open in a loop that is over can only be forgotten
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.connections),
                # The API answers with a CSRF cookie, which means nothing to a token client.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            self._bind()

    async def close(self) -> None:
        """Close the session if it is ours, else only stop using it; a second time does nothing."""
        self._closed, self._entered = True, None
        if self._owned:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session.

        Raises:
            ConfigurationError: there is none, or it belongs to another event loop.
        """
        session = self._session
        if session is None or self._closed or session.closed is True:  # a mock's is something else
            raise ConfigurationError(_CLOSED)
        if self._loop is not asyncio.get_running_loop():
            self._bind()
        return session

    def _bind(self) -> None:
        """Bind to the running event loop, which the session serves from now on.

        Raises:
            ConfigurationError: it serves another one, or would change what is sent.
        """
        if self._loop is not None:
            which = "an event loop that is closed" if self._loop.is_closed() else "another event loop"
            raise ConfigurationError(_OTHER_LOOP.format(which))
        session = None if self._owned else self._session
        if session is not None:
            given = cast("object", session.headers)  # those of a mock are anything
            headers = cast("Mapping[str, str]", given) if isinstance(given, Mapping) else dict[str, str]()
            if isinstance(cast("object", session.auth), aiohttp.BasicAuth) or any(
                name in headers for name in _FORBIDDEN
            ):
                message = f"the session handed in must not set auth or any of {', '.join(_FORBIDDEN)}"
                raise ConfigurationError(message)
            self.sets_user_agent = "User-Agent" in headers
        self._loop = asyncio.get_running_loop()
        self.slots = asyncio.Semaphore(self.connections)


def _pool_of(session: aiohttp.ClientSession) -> int:
    """Return how many connections to one host a session may have; 0 for any number."""
    connector = session.connector
    limits = list[object]() if connector is None else [connector.limit, connector.limit_per_host]
    # Those of a mock may be anything.
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=0)
