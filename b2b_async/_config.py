"""The settings of a client: credentials, timeouts, the address; checked when they are made."""

from __future__ import annotations

import functools
import hashlib
import inspect
import ipaddress
import re
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from b2b_async._validation import is_number, is_whole, must_be
from b2b_async.errors import ConfigurationError

T = TypeVar("T")

_MOST_CONNECTIONS = 1000
"""Connections of a pool that is as large as the quota; each takes a file descriptor while it is in use."""
DEFAULT_MAX_BODY = 4 * 1024 * 1024
"""Bytes that Python's JSON parser reads in less than 50 ms, in which the event loop does nothing else."""
DEFAULT_BASE_URL = "https://api-b2b.bigcommerce.com"


def _check_secret(_instance: object, attribute: attrs.Attribute[str | None], value: object) -> None:
    if value is None:
        return
    # Visible ASCII only: a line break in a header value would let a token smuggle in further headers.
    # The message never shows the value.
    if not isinstance(value, str) or not value or not all("!" <= character <= "~" for character in value):
        message = (
            f"credentials: {attribute.name} must be a non-empty string of visible ASCII characters, without "
            "blanks or line breaks; check how it was copied or read from its file"
        )
        raise ConfigurationError(message)


@attrs.frozen
class Credentials:
    """The secrets of one store; each API version picks its own, and they are never mixed.

    Raises:
        ConfigurationError: a value cannot be a header, none is given, or a token lacks its store hash.
    """

    access_token: str | None = attrs.field(default=None, repr=False, validator=_check_secret)
    """For v3, together with ``store_hash``: sent as X-Auth-Token."""
    store_hash: str | None = attrs.field(default=None, validator=_check_secret)
    """The store, sent as X-Store-Hash; no secret."""
    legacy_token: str | None = attrs.field(default=None, repr=False, validator=_check_secret)
    """For v2, and for v3 if it stands alone: sent as authToken."""

    def __attrs_post_init__(self) -> None:
        """Refuse combinations that the server answers in a misleading way."""
        if self.access_token is None and self.legacy_token is None:
            message = (
                "credentials: no token given. Set access_token and store_hash for v3 (B2B_ACCESS_TOKEN and "
                "B2B_STORE_HASH), legacy_token for v2 (B2B_LEGACY_TOKEN), or both"
            )
            raise ConfigurationError(message)
        if self.access_token is not None and self.store_hash is None:
            message = (
                "credentials: access_token needs store_hash (B2B_STORE_HASH), the part of your API path behind "
                "/stores/; without it the server fails with a 5xx that does not say why"
            )
            raise ConfigurationError(message)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a pickle would carry the tokens."""
        message = "Credentials are not picklable, since the tokens would be in the pickle"
        raise TypeError(message)

    def fingerprint(self) -> str:
        """Return a fingerprint of the tokens that does not reveal them."""
        tokens = "\n".join((self.access_token or "", self.legacy_token or ""))
        return hashlib.sha256(tokens.encode()).hexdigest()[:12]

    @property
    def store(self) -> str:
        """The store: its hash, or a fingerprint of the legacy token."""
        return self.store_hash or f"of legacy token {self.fingerprint()}"

    def redact(self, text: str) -> str:
        """Blank out every token in *text*, which came from outside and may echo one."""
        secrets = [secret for secret in (self.access_token, self.legacy_token) if secret is not None]
        # The longer one first, for the other may be its beginning; and as JSON and URLs write it.
        for secret in sorted(secrets, key=len, reverse=True):
            for form in (secret, quote(secret, safe="")):
                text = text.replace(form, "***")
            if "\\" in text or "%" in text:
                text = _escaped_forms(secret).sub("***", text)
        return text


@functools.lru_cache(maxsize=16)
def _escaped_forms(secret: str) -> re.Pattern[str]:
    """Return a pattern of a token whose characters JSON or a URL may have escaped, once or several times."""

    def forms(character: str) -> str:  # which is visible ASCII, as a header can have it
        number = f"{ord(character):02x}"
        # The numbers of repetitions are bounded, or a long run of backslashes would take its length squared.
        return rf"(?:\\{{0,8}}{re.escape(character)}|\\{{1,8}}u(?i:00{number})|%(?:25){{0,8}}(?i:{number}))"

    return re.compile("".join(map(forms, secret)))


_SECONDS = must_be("a number of seconds above 0", lambda value: is_number(value, above=0), of="timeouts")


@attrs.frozen
class Timeouts:
    """How long things may take, in seconds."""

    call: float = attrs.field(default=120.0, validator=_SECONDS)
    """A whole call: waits for quota, all attempts, the pauses between them."""
    attempt: float = attrs.field(default=30.0, validator=_SECONDS)
    """One attempt, from its slot in the quota to the last byte of the answer."""
    connect: float = attrs.field(default=5.0, validator=_SECONDS)
    """Opening a connection, TLS included. The wait for a free one of the pool is not part of it."""
    read: float = attrs.field(default=30.0, validator=_SECONDS)
    """The silence between two pieces of an answer, and before the first one."""


def checked_base_url(url: object) -> str:
    """Check where the API is.

    Raises:
        ConfigurationError: it is no URL, or the token would be readable on the way there.
    """
    example = f"for example {DEFAULT_BASE_URL}"
    if not isinstance(url, str):
        message = f"base_url must be a string, {example}, not {_type_of(url)}"
        raise ConfigurationError(message)
    if "@" in url:  # before anything that would quote it
        message = f"base_url must not contain a user name or password; {example}"
        raise ConfigurationError(message)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
        (host or "").encode("idna")  # as the look-up will do, but now
    except ValueError:
        message = f"base_url is not a URL: {url!r}; {example}"
        raise ConfigurationError(message) from None
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or set("?#\\ ") & set(url):
        shown = url.partition("?")[0]  # a query may hold a token
        message = f"base_url must be a scheme, a host and perhaps a path, and {shown!r} is not; {example}"
        raise ConfigurationError(message)
    if parts.scheme == "http" and not _is_this_machine(host):
        message = f"base_url must be https, since the token would be readable on the way: {url!r}; {example}"
        raise ConfigurationError(message)
    return url.rstrip("/")


def checked_max_body(value: object) -> int:
    """Check how long an answer may be, in bytes.

    Raises:
        ConfigurationError: it is no positive integer.
    """
    if not is_whole(value, 1):
        message = f"max_body must be a whole number of bytes above 0, not {value!r}"
        raise ConfigurationError(message)
    return value


def checked_timeouts(value: object) -> Timeouts:
    """Return timeouts; a number is the seconds of a whole call.

    Raises:
        ConfigurationError: it is neither.
    """
    if value is None or isinstance(value, Timeouts):
        return value or Timeouts()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Timeouts(call=value)
    message = f"timeout must be a number of seconds, or Timeouts(call=...), not {_type_of(value)}"
    raise ConfigurationError(message)


def checked_middlewares(values: object, name: str) -> tuple[Any, ...]:
    """Return middlewares as a tuple.

    Raises:
        ConfigurationError: they are no list of functions.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        message = f"{name} must be a list of middlewares, not {_type_of(values)}"
        raise ConfigurationError(message)
    middlewares = tuple(cast("Iterable[object]", values))
    for number, middleware in enumerate(middlewares):
        if not callable(middleware):
            message = f"{name}[{number}] must be a middleware, async def (request, handler), not {_type_of(middleware)}"
            raise ConfigurationError(message)
    return middlewares


def checked_listeners(values: object) -> tuple[Any, ...]:
    """Return listeners as a tuple.

    Raises:
        ConfigurationError: they are no list of plain functions: an async one could not be awaited where a call is
            cancelled.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        message = f"listeners must be a list of functions, not {_type_of(values)}"
        raise ConfigurationError(message)
    listeners = tuple(cast("Iterable[object]", values))
    later = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    for number, listener in enumerate(listeners):
        function = listener if inspect.isroutine(listener) else getattr(listener, "__call__", None)  # noqa: B004 -- to look at it
        if function is None or any(runs_later(function) for runs_later in later):
            message = (
                f"listeners[{number}] must be a plain function of one event (not async, no generator), since it is "
                f"called at once, not {_type_of(listener)}"
            )
            raise ConfigurationError(message)
    return listeners


def checked_session(session: T) -> T:
    """Return a session, which must have what the client needs of one: a test may hand in a mock.

    Raises:
        ConfigurationError: it has not.
    """
    if session is not None and (isinstance(session, type) or not callable(getattr(session, "request", None))):
        message = f"session must be an aiohttp.ClientSession, not {_type_of(session)}"
        raise ConfigurationError(message)
    return session


def checked_lane(value: object) -> None:
    """Check the lane of calls.

    Raises:
        ConfigurationError: there is no such lane.
    """
    if value not in {None, "interactive", "bulk"}:
        message = f"lane must be 'interactive' or 'bulk', not {value!r}"
        raise ConfigurationError(message)


def checked_flag(value: object, name: str) -> bool:
    """Return a flag.

    Raises:
        ConfigurationError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        message = f"{name} must be True or False, not {value!r}"
        raise ConfigurationError(message)
    return value


def checked_connections(value: object, limit: int) -> int:
    """Return the size of the connection pool: as many connections as the quota's *limit*, unless one is given.

    Raises:
        ConfigurationError: it is no positive integer.
    """
    if value is None:
        return min(limit, _MOST_CONNECTIONS)
    if not is_whole(value, 1):
        message = f"connections must be a whole number of connections above 0, not {value!r}"
        raise ConfigurationError(message)
    return value


def checked_proxy(proxy: object, base_url: str) -> str | None:
    """Return the URL of a proxy.

    Raises:
        ConfigurationError: it is no URL, or the token would be readable on the way there. The text never shows it.
    """
    if proxy is None:
        return None
    try:
        parts = urlsplit(proxy) if isinstance(proxy, str) else None
        host = "" if parts is None or parts.scheme not in {"http", "https"} else parts.hostname or ""
        _port = None if parts is None else parts.port
    except ValueError:
        host = ""
    if not host or not str(proxy).isprintable() or " " in str(proxy):
        message = "proxy must be the URL of an HTTP proxy, for example http://user:password@proxy.example.com:3128"
        raise ConfigurationError(message)
    if is_plain(base_url) and not _is_this_machine(host):
        message = "proxy: a proxy on another machine could read the token of requests to an http base_url; use https"
        raise ConfigurationError(message)
    return str(proxy)


def proxy_of_environment(base_url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY name for *base_url*; one without a scheme is an HTTP proxy.

    For plain http, which is for this machine alone, there is none: the proxy could read the token.

    Raises:
        ConfigurationError: it is no URL. The text does not show it.
    """
    parts = urlsplit(base_url)
    proxy = None if is_plain(base_url) else getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.netloc):
        return None
    try:
        return checked_proxy(proxy if "://" in proxy else f"http://{proxy}", base_url)
    except ConfigurationError:
        message = (
            "HTTPS_PROXY must be the URL of an HTTP proxy, for example http://user:password@proxy.example.com:3128"
        )
        raise ConfigurationError(message) from None


def is_plain(base_url: str) -> bool:
    """Return whether requests to *base_url* are not encrypted, as to this machine they need not be."""
    return urlsplit(base_url).scheme == "http"


def _type_of(value: object) -> str:
    return f"a value of type {type(value).__name__}"


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
