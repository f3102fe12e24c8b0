"""Credentials, timeouts and the base URL: refused early, and never shown."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from b2b_async import Client, ConfigurationError, Credentials, Quota, RetryPolicy, Timeouts

TOKEN = "very-secret-token"


def test_secrets_are_not_in_the_repr() -> None:
    """The store hash is no secret; the tokens are."""
    assert repr(Credentials(TOKEN, "hash", TOKEN)) == "Credentials(store_hash='hash')"


def test_credentials_are_not_picklable() -> None:
    """A pickle would carry the tokens."""
    with pytest.raises(TypeError, match="not picklable"):
        pickle.dumps(Credentials(TOKEN, "hash"))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "no token given"),
        ({"store_hash": "hash"}, "no token given"),
        ({"access_token": TOKEN}, "access_token needs store_hash"),
        ({"access_token": f"{TOKEN}\r\nX-Evil: 1", "store_hash": "hash"}, "access_token must be"),
        ({"access_token": "", "store_hash": "hash"}, "access_token must be"),
        ({"access_token": "tökén", "store_hash": "hash"}, "access_token must be"),
        ({"access_token": TOKEN, "store_hash": "a b"}, "store_hash must be"),
        ({"legacy_token": b"bytes"}, "legacy_token must be"),
    ],
)
def test_bad_credentials_are_refused_without_being_shown(values: dict[str, Any], text: str) -> None:
    """A line break in a token would smuggle in headers."""
    with pytest.raises(ConfigurationError, match=text) as caught:
        Credentials(**values)

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("api-b2b.bigcommerce.com", "must be a scheme"),
        ("ftp://api-b2b.bigcommerce.com", "must be a scheme"),
        ("https://", "must be a scheme"),
        ("https://host?x=1", "must be a scheme"),
        ("https://host#x", "must be a scheme"),
        ("https://host/path?", "must be a scheme"),
        ("https://host /path", "must be a scheme"),
        ("https://user:password@host", "must not contain a user name"),
        ("http://api-b2b.bigcommerce.com", "must be https"),
        ("http://10.0.0.1", "must be https"),
        ("http://[::1", "not a URL"),
        ("https://host:port", "not a URL"),
        ("https://" + "a" * 64 + ".com", "not a URL"),
    ],
)
def test_bad_base_urls_are_refused(url: str, text: str) -> None:
    """Nothing goes out in the clear, except to this machine."""
    with pytest.raises(ConfigurationError, match=text):
        Client(Credentials(legacy_token=TOKEN), base_url=url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/", "http://localhost:1", "http://[::1]:8080", "https://proxy.example/b2b/"]
)
def test_good_base_urls_lose_their_last_slash(url: str) -> None:
    """A path prefix is kept."""
    assert Client(Credentials(legacy_token=TOKEN), base_url=url).base_url == url.rstrip("/")


def test_a_password_in_the_base_url_is_not_shown() -> None:
    """However broken the rest of it is."""
    with pytest.raises(ConfigurationError) as caught:
        Client(Credentials(legacy_token=TOKEN), base_url="https://user:hunter2@host:99999")

    assert "hunter2" not in str(caught.value)


def test_a_whole_pipeline_leaves_nothing_to_shape() -> None:
    """An argument that would be ignored is refused."""
    with pytest.raises(ConfigurationError, match="the whole pipeline"):
        Client(Credentials(legacy_token=TOKEN), middlewares=[], retry=RetryPolicy())


def test_a_fingerprint_tells_tokens_apart_without_telling_them() -> None:
    """For names of journals and the like."""
    one, other = Credentials(legacy_token=TOKEN).fingerprint(), Credentials(legacy_token="x").fingerprint()

    assert one != other
    assert TOKEN not in one
    assert len(one) == 12


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four variables, of which empty ones count as unset."""
    monkeypatch.setenv("B2B_ACCESS_TOKEN", TOKEN)
    monkeypatch.setenv("B2B_STORE_HASH", "hash")
    monkeypatch.setenv("B2B_LEGACY_TOKEN", "")
    client = Client.from_env()

    assert client.credentials == Credentials(TOKEN, "hash")
    assert client.base_url == "https://api-b2b.bigcommerce.com"

    monkeypatch.setenv("B2B_BASE_URL", "http://127.0.0.1:1")
    assert Client.from_env().base_url == "http://127.0.0.1:1"


def test_from_env_without_anything_says_what_to_set() -> None:
    """The names of the variables are in the message."""
    with pytest.raises(ConfigurationError, match="B2B_ACCESS_TOKEN and B2B_STORE_HASH"):
        Client.from_env()


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "30"])
def test_bad_timeouts_are_refused(value: Any) -> None:
    """Seconds above 0."""
    with pytest.raises(ConfigurationError, match="timeouts: attempt must be a number of seconds above 0"):
        Timeouts(attempt=value)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"attempts": 0}, "attempts must be a whole number of at least 1"),
        ({"attempts": 2.0}, "attempts must be"),
        ({"throttled": -1}, "throttled must be a whole number of at least 0"),
        ({"throttled": True}, "throttled must be"),
        ({"backoff": -0.1}, "backoff must be a number of seconds"),
        ({"backoff_max": float("inf")}, "backoff_max must be"),
        ({"max_delay": "1"}, "max_delay must be"),
    ],
)
def test_bad_retry_policies_are_refused(values: dict[str, Any], text: str) -> None:
    """The message names the field."""
    with pytest.raises(ConfigurationError, match=text):
        RetryPolicy(**values)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"limit": 0}, "limit must be"),
        ({"limit": 1.5}, "limit must be"),
        ({"window": 0}, "window must be"),
        ({"window": 10_000}, "window must be"),
        ({"share": 0}, "share must be"),
        ({"share": 1.1}, "share must be"),
        ({"pacing": "fast"}, "pacing must be one of auto, burst, smooth"),
        ({"headroom": -1}, "headroom must be"),
        ({"reserve": 1.0}, "reserve must be"),
    ],
)
def test_bad_quotas_are_refused(values: dict[str, Any], text: str) -> None:
    """The message names the field."""
    with pytest.raises(ConfigurationError, match=text):
        Quota(**values)


def test_a_quota_is_read_from_text() -> None:
    """As on the command line."""
    assert Quota.parse("150/60s") == Quota(150, 60.0)
    assert Quota.parse(" 60/1.5 ") == Quota(60, 1.5)
    for text in ("150", "150/60m", "x/60s", "-1/60s", ""):
        with pytest.raises(ConfigurationError, match="requests/seconds"):
            Quota.parse(text)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "16", None])
def test_a_bad_bound_of_bodies_is_refused(value: Any) -> None:
    """It is a number of bytes."""
    with pytest.raises(ConfigurationError, match="max_body must be"):
        Client(Credentials("a", "b"), max_body=value)
