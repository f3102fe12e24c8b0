"""The one aiohttp session of a client: opened late, shared by all calls, closed if it is ours."""

from __future__ import annotations

import aiohttp

from b2b_async.errors import ConfigurationError

_CLOSED = (
    "the client is closed, or was never opened: make the call inside 'async with Client(...) as client:', "
    "or before 'await client.close()'"
)
# Credentials that would be mixed with ours; and "Expect" lets the head of a request leave before its body.
_FORBIDDEN = ("Authorization", "X-Auth-Token", "X-Store-Hash", "authToken", "Expect")


class SessionManager:
    """Owns the aiohttp session of a client, or borrows one and leaves it open.

    Args:
        session: A session of the user's, which stays theirs; None to make one.
        connections: Size of the connection pool of a session of our own. It should be at least the
            concurrency, so that waiting for a connection never eats an attempt's time.
    """

    def __init__(self, session: aiohttp.ClientSession | None = None, *, connections: int = 100) -> None:
        """Do not open anything yet: a session can only be made inside a running event loop."""
        self._session = session
        self._owned = session is None
        self._checked = self._closed = False
        self._connections = connections

    def open(self) -> None:
        """Open the session, unless it is borrowed; must be called inside a running event loop.

        Raises:
            ConfigurationError: a borrowed session adds credentials of its own, which would be mixed with ours.
        """
        self._closed = False
        if not self._owned:
            self._check()
        elif self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                # The API answers with a CSRF cookie, which means nothing to a token client.
                cookie_jar=aiohttp.DummyCookieJar(),
            )

    async def close(self) -> None:
        """Close the session if it is ours, else only stop using it; a second time does nothing."""
        self._closed = True
        if self._owned:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session.

        Raises:
            ConfigurationError: there is none.
        """
        session = self._session
        if session is None or self._closed or session.closed:
            raise ConfigurationError(_CLOSED)
        if not self._checked:
            self._check()
        return session

    def _check(self) -> None:
        """Refuse a borrowed session that would change what is sent."""
        session = None if self._owned else self._session
        if session is not None and (session.auth or any(name in session.headers for name in _FORBIDDEN)):
            message = f"the session handed in must not set auth or any of {', '.join(_FORBIDDEN)}"
            raise ConfigurationError(message)
        self._checked = True
