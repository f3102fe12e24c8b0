"""What a user sets: credentials, timeouts, the address; checked when they are made."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from typing import NoReturn
from urllib.parse import quote, urlsplit

import attrs

from b2b_async.errors import ConfigurationError

DEFAULT_MAX_BODY = 16 * 1024 * 1024
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
        """Give a short word that tells these tokens from others without telling them."""
        tokens = "\n".join((self.access_token or "", self.legacy_token or ""))
        return hashlib.sha256(tokens.encode()).hexdigest()[:12]

    def redact(self, text: str) -> str:
        """Blank out every token in *text*, which came from outside and may echo one."""
        secrets = [secret for secret in (self.access_token, self.legacy_token) if secret is not None]
        # The longer one first, for the other may be its beginning; and as JSON and URLs write it.
        for secret in sorted(secrets, key=len, reverse=True):
            escaped = json.dumps(secret)[1:-1]
            for form in (secret, escaped, escaped.replace("/", "\\/"), quote(secret, safe="")):
                text = text.replace(form, "***")
        return text


def _check_seconds(_instance: object, attribute: attrs.Attribute[float], value: object) -> None:
    # NaN fails the comparison too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        message = f"timeouts: {attribute.name} must be a number of seconds above 0, not {value!r}"
        raise ConfigurationError(message)


@attrs.frozen
class Timeouts:
    """How long things may take, in seconds."""

    call: float = attrs.field(default=120.0, validator=_check_seconds)
    """A whole call: waits for quota, all attempts, the pauses between them."""
    attempt: float = attrs.field(default=30.0, validator=_check_seconds)
    """One attempt, from its slot in the quota to the last byte of the answer."""
    connect: float = attrs.field(default=5.0, validator=_check_seconds)
    """Getting a connection: look-up of the name, TLS, and the wait for a free one included."""
    read: float = attrs.field(default=30.0, validator=_check_seconds)
    """The silence between two pieces of an answer, and before the first one."""


def checked_base_url(url: str) -> str:
    """Check where the API is.

    Raises:
        ConfigurationError: it is no URL, or the token would be readable on the way there.
    """
    example = f"for example {DEFAULT_BASE_URL}"
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
        message = f"base_url must be a scheme, a host and perhaps a path: {url!r} is not; {example}"
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
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        message = f"max_body must be a whole number of bytes above 0, not {value!r}"
        raise ConfigurationError(message)
    return value


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
