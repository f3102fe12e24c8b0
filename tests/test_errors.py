"""The error tree: its classes, their pickles, and the front door."""

from __future__ import annotations

import pickle
import traceback
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest

import b2b_async
from b2b_async import APIConnectionError, B2BError, ConfigurationError, errors
from b2b_async._call import CallState
from b2b_async._config import Timeouts
from b2b_async._session import SessionManager
from b2b_async._transport import Transport
from b2b_async.errors import Answer, class_for_status

ALL = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, B2BError)]


def test_the_front_door_lists_what_it_shows() -> None:
    """Every public name is in __all__, and every error is public."""
    visible = {
        name
        for name, value in vars(b2b_async).items()
        if not name.startswith("_") and (not hasattr(value, "__path__") or name in {"v2", "v3"})
    } - {"client", "errors", "events", "ids", "ratelimit", "testing", "TYPE_CHECKING", "facade", "v2"}

    assert visible | {"v3"} == set(b2b_async.__all__)
    assert {error.__name__ for error in ALL} <= set(b2b_async.__all__)
    assert sorted(b2b_async.__all__) == sorted(set(b2b_async.__all__))


@pytest.mark.parametrize("kind", ALL)
def test_errors_pickle(kind: type[B2BError]) -> None:
    """With all that they carry, so that they cross processes."""
    error = kind("what happened")
    error.answer = Answer(status=404, code=404, message="No.", fields={"a": "b"}, payload={"x": [1]})
    error.call_id = "id-1"
    error.outcome = "unknown"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- made in the line itself

    assert type(copy) is kind
    assert str(copy) == "what happened"
    assert vars(copy) == vars(error)


def test_without_an_answer_there_is_nothing_to_tell() -> None:
    """The properties give None rather than fail."""
    error = B2BError("x")

    assert [error.status, error.code, error.message, error.request_id, error.trace_id, error.retry_after] == [None] * 6
    assert error.fields == {}
    assert error.outcome == "not_sent"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (301, "UnexpectedRedirectError"),
        (400, "BadRequestError"),
        (401, "AuthenticationError"),
        (403, "PermissionDeniedError"),
        (404, "NotFoundError"),
        (405, "APIStatusError"),
        (409, "ConflictError"),
        (422, "UnprocessableEntityError"),
        (429, "RateLimitError"),
        (500, "ServerError"),
        (507, "ServerError"),
        (199, "APIStatusError"),
    ],
)
def test_each_status_has_its_class(status: int, name: str) -> None:
    """As drawn at the top of the module."""
    assert class_for_status(status).__name__ == name


def _subclasses(kind: type[Any]) -> set[type[Any]]:
    return {kind} | {below for child in kind.__subclasses__() for below in _subclasses(child)}


@pytest.mark.parametrize("state", ["not_sent", "unknown", "applied"])
def test_no_error_of_aiohttp_is_forgotten(state: Any) -> None:
    """Whatever aiohttp can raise becomes one of ours, with the outcome that was observed and not one of its own."""
    operation = b2b_async.Operation("X", "v3", "PUT", "/x")
    head = b2b_async.Response(200, {}, b'{"code": 200,') if state == "applied" else None
    transport = Transport(SessionManager(connections=1), "https://x", Timeouts(), max_body=1, redact=str)
    kinds = _subclasses(aiohttp.ClientError) | {TimeoutError, OSError, ValueError, TypeError, RuntimeError}
    for kind in kinds:
        error = kind.__new__(kind)
        if isinstance(error, aiohttp.ClientResponseError):
            error.status, error.message, error.request_info = 502, "x", Mock()
        if isinstance(error, aiohttp.ClientConnectorError):
            error._conn_key, error._os_error, error.__dict__["_path"] = Mock(), OSError(1, "reason"), "x"
            error.__dict__.update(_certificate_error=ValueError("bad certificate"))
            if isinstance(error, aiohttp.ClientConnectorDNSError):
                continue  # needs a whole connection key; tested over the wire
        request = b2b_async.Request(
            operation=operation, path="/x", call=CallState("1", observed_outcome=state), body=b"{}"
        )
        ours = transport._failure(error, request, head, Mock(trust_env=False))

        assert isinstance(ours, ConfigurationError | APIConnectionError)
        unsent = isinstance(ours, ConfigurationError) or "the proxy refused" in str(ours)
        assert ours.outcome == ("not_sent" if unsent else state)
        assert "".join(traceback.format_exception(ours))
