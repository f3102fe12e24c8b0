"""The signature: each attempt gets the credential of its API version, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_async._messages import Headers
from b2b_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from b2b_async._config import Credentials
    from b2b_async._messages import APIVersion, Request, Response
    from b2b_async._pipeline import Handler

__all__ = [
    "Auth",
]


class Auth:
    """Sign attempts.

    The two schemes exclude each other: ``authToken`` beside ``X-Store-Hash`` "has unexpected results".
    A request has only a path, so a signed one cannot leave for another origin than the client's.

    Args:
        credentials: The secrets of the store.
    """

    def __init__(self, credentials: Credentials) -> None:
        """Choose the headers of each API version once."""
        self._headers: dict[APIVersion, Headers] = {}
        token, store, legacy = credentials.access_token, credentials.store_hash, credentials.legacy_token
        if legacy is not None:
            self._headers["v2"] = self._headers["v3"] = Headers({"authToken": legacy})
        if token is not None and store is not None:
            self._headers["v3"] = Headers({"X-Auth-Token": token, "X-Store-Hash": store})

    def __call__(self, request: Request, handler: Handler) -> Awaitable[Response]:
        """Pass *request* on with its credential.

        Raises:
            ConfigurationError: there is no credential for this API version; nothing was sent.
        """
        version = request.operation.version
        own = self._headers.get(version)
        if own is None:
            # Only v2 can be without: a token with a store hash is for v3 alone.
            message = (
                f"{request.operation.name} is a {version} operation and needs legacy_token (B2B_LEGACY_TOKEN); "
                "the credentials of this client are for v3 only, and nothing was sent"
            )
            raise ConfigurationError(message, operation=request.operation.name)
        return handler(request.with_headers(own))
