"""Where the client runs: proxies, event loops, threads, forks, mocks, tracing hooks, and arguments of other types."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import socket
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock, Mock

import aiohttp
import pytest
from aioresponses import CallbackResult
from helpers import BASE_URL, CREDENTIALS, GOOD, client_of, http, raw_server

from b2b_async import (
    APIConnectionError,
    APIStatusError,
    Client,
    ConfigurationError,
    Credentials,
    Quota,
    RateLimiter,
    RetryPolicy,
    Timeouts,
    v3,
)
from b2b_async.sandbox import Sandbox
from b2b_async.testing import mocked_api

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ONCE = RetryPolicy(attempts=1)
PROXY_AUTH = "Basic dXNlcjpzZWNyZXQtcGFzcw=="


@contextlib.asynccontextmanager
async def proxy_server(answer: bytes) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Answer every request to a proxy with the same bytes."""
    async with raw_server(answer) as (url, arrived):
        yield url, arrived


# -- proxies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "text", "attempts"),
    [
        (407, "the proxy asks for a user name and a password (407)", 1),
        (403, "the proxy refused to connect to the API (403 Forbidden)", 2),
        (502, "the proxy refused to connect to the API (502 Bad Gateway)", 2),
        (599, "the proxy refused to connect to the API (599 unknown)", 2),
    ],
)
async def test_a_refused_connect_is_the_proxys(status: int, text: str, attempts: int) -> None:
    """The API has seen nothing; a missing password is not tried again; none of it is shown."""
    async with proxy_server(http(status, "")) as (url, arrived):
        secret = url.replace("//", "//user:secret-pass@")
        async with Client(CREDENTIALS, proxy=secret, retry=RetryPolicy(attempts=2, backoff=0.01)) as client:
            with pytest.raises(APIConnectionError) as caught:
                await v3.orders.assign_customer_orders(client, 1)

    error = caught.value
    assert (error.outcome, len(error.attempts), len(arrived)) == ("not_sent", attempts, attempts)
    assert text in str(error)
    assert all(request.startswith(b"CONNECT api-b2b.bigcommerce.com:443") for request in arrived)
    assert PROXY_AUTH.encode() in arrived[0]
    assert b"secret-token" not in b"".join(arrived)
    shown = f"{error!r}{error}{vars(error)}{client!r}{vars(client._transport)['_sessions']!r}"
    assert "secret-pass" not in shown


async def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    """Not the API."""
    async with Client(CREDENTIALS, proxy="http://127.0.0.1:9", retry=ONCE) as client:
        with pytest.raises(
            APIConnectionError, match="could not connect through the proxy: the proxy cannot be reached"
        ) as caught:
            await v3.orders.list_orders(client)

    assert caught.value.outcome == "not_sent"


async def test_requests_go_through_a_proxy_of_this_machine() -> None:
    """A sandbox behind one, too; a 407 of it is no answer of the API's."""
    async with proxy_server(GOOD) as (url, arrived):
        async with Client(CREDENTIALS, base_url="http://127.0.0.1:9", proxy=url) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3
    assert arrived[0].startswith(b"PUT http://127.0.0.1:9/api/v3/io/customers/1/orders/b2b HTTP/1.1")
    async with proxy_server(http(407, "")) as (url, arrived):
        async with Client(CREDENTIALS, base_url="http://127.0.0.1:9", proxy=url) as client:
            with pytest.raises(APIConnectionError, match="the proxy asks for a user name") as caught:
                await v3.orders.assign_customer_orders(client, 1)
    assert (caught.value.outcome, len(arrived)) == ("not_sent", 1)


async def test_a_407_without_a_proxy_is_the_servers() -> None:
    """It has seen the request."""
    async with raw_server(http(407, "{}")) as (url, _), Client(CREDENTIALS, base_url=url, retry=ONCE) as client:
        with pytest.raises(APIStatusError, match="407") as caught:
            await v3.orders.assign_customer_orders(client, 1)
        assert client.quota.used == 1

    assert caught.value.outcome == "rejected"


@pytest.mark.parametrize("proxy", ["not a url", "socks5://127.0.0.1:9", "http://u:secret@[", "http://h:notaport"])
def test_a_proxy_of_the_environment_that_is_no_url_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its variable, without what it holds; a borrowed session finds out itself."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY must be the URL of an HTTP proxy") as caught:
        Client(CREDENTIALS, trust_env=True)

    assert "secret" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "api-b2b.bigcommerce.com")
    Client(CREDENTIALS, trust_env=True)


async def test_a_bad_proxy_of_a_borrowed_session_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not the base URL, which is good."""
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with Client(CREDENTIALS, session=session, retry=ONCE) as client:
            with pytest.raises(ConfigurationError, match="the proxy that the environment names is no URL") as caught:
                await v3.orders.assign_customer_orders(client, 1)

    assert caught.value.outcome == "not_sent"


async def test_a_proxy_that_hangs_up_is_named() -> None:
    """Before the API could have seen anything."""
    async with proxy_server(b"") as (url, _), Client(CREDENTIALS, proxy=url, retry=ONCE) as client:
        with pytest.raises(APIConnectionError, match="could not connect through the proxy") as caught:
            await v3.orders.assign_customer_orders(client, 1)

    assert caught.value.outcome == "not_sent"


async def test_the_environment_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is asked for, and never for plain http: the proxy could read the token."""
    async with proxy_server(http(502, "")) as (url, arrived):
        monkeypatch.setenv("HTTPS_PROXY", url.removeprefix("http://"))  # as curl takes it, too
        monkeypatch.setenv("HTTP_PROXY", url)
        async with Client(CREDENTIALS, base_url="https://b2b.invalid", trust_env=True, retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match="the proxy refused"):
                await v3.orders.list_orders(client)
        assert len(arrived) == 1
        assert b"User-Agent: b2b-async/" in arrived[0]
        async with Sandbox() as sandbox, client_of(sandbox, trust_env=True) as client:
            await v3.orders.assign_customer_orders(client, 1001)
        async with Client(CREDENTIALS, base_url="https://b2b.invalid", retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match=r"b2b\.invalid cannot be resolved"):
                await v3.orders.list_orders(client)
    assert len(arrived) == 1


@pytest.mark.parametrize("proxy", ["", "proxy:3128", "socks5://proxy:1", "http://", "http://h:x", "http://a b", 5])
def test_a_proxy_is_a_url(proxy: Any) -> None:
    """It is not shown, since it may hold a password."""
    with pytest.raises(ConfigurationError, match="proxy must be the URL of an HTTP proxy"):
        Client(CREDENTIALS, proxy=proxy)


def test_no_proxy_elsewhere_reads_the_token() -> None:
    """Plain http is for this machine alone."""
    with pytest.raises(ConfigurationError, match="could read the token"):
        Client(CREDENTIALS, base_url="http://127.0.0.1:1", proxy="http://secret@proxy.example.com:3128")
    Client(CREDENTIALS, base_url="http://127.0.0.1:1", proxy="http://localhost:3128")
    Client(CREDENTIALS, proxy="https://user:password@proxy.example.com")


# -- event loops, threads, forks ---------------------------------------------------------------------------------------


def test_a_client_of_a_closed_loop_says_so() -> None:
    """As pytest fixtures of another scope make them; opened again, it serves the loop that it is opened in."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    sandbox = Sandbox(port=port)
    credentials = Credentials(sandbox.access_token, sandbox.store_hash)
    client = Client(credentials, base_url=f"http://127.0.0.1:{port}", retry=ONCE)

    async def again() -> None:
        async with sandbox, client:
            await v3.orders.assign_customer_orders(client, 1001)

    asyncio.run(client.__aenter__())
    with pytest.raises(ConfigurationError, match="belongs to an event loop that is closed, so nothing was sent"):
        asyncio.run(v3.orders.assign_customer_orders(client, 1001))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the session that was left open
        asyncio.run(again())
        gc.collect()

    assert sandbox.requests == ["PUT /api/v3/io/customers/1001/orders/b2b"]


async def test_a_client_of_another_thread_says_so() -> None:
    """One client for each loop; the first one is as it was."""
    caught: list[BaseException] = []

    def other() -> None:
        try:
            asyncio.run(v3.orders.assign_customer_orders(client, 1001))
        except ConfigurationError as error:
            caught.append(error)

    async with Sandbox() as sandbox, client_of(sandbox) as client:
        thread = threading.Thread(target=other)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert (await v3.orders.assign_customer_orders(client, 1001)).total == 3

    assert "belongs to another event loop" in str(caught[0])


async def test_a_client_may_be_opened_again() -> None:
    """A borrowed session, too."""
    async with Sandbox() as sandbox, aiohttp.ClientSession() as session:
        for options in ({}, {"session": session}):
            client = client_of(sandbox, **options)
            for _ in range(2):
                async with client:
                    await v3.orders.assign_customer_orders(client, 1001)


async def test_a_session_of_another_loop_is_named() -> None:
    """A borrowed one shows it only when it is used."""
    loop = asyncio.new_event_loop()

    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    session = await asyncio.to_thread(loop.run_until_complete, make())
    async with Client(CREDENTIALS, base_url="http://127.0.0.1:9", session=session, retry=ONCE) as client:
        with pytest.raises((ConfigurationError, APIConnectionError)) as caught:
            await v3.orders.assign_customer_orders(client, 1)
    await asyncio.to_thread(loop.run_until_complete, session.close())
    loop.close()

    assert caught.value.outcome == "not_sent"
    assert "look at the headers" not in str(caught.value)


FORKS = """
import asyncio, os
from b2b_async import B2BError, Client, Credentials, RetryPolicy, v3
client = Client(Credentials("t", "s"), base_url="http://127.0.0.1:9", retry=RetryPolicy(attempts=1))
async def call():
    async with client:
        try: await v3.orders.assign_customer_orders(client, 7)
        except B2BError as error: os.write(1, error.call_id.encode() + b"\\n")
for _ in range(3):
    if os.fork() == 0:
        asyncio.run(call())
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_call_ids_differ_after_a_fork() -> None:
    """A client that was made before it (gunicorn --preload) logs each worker's calls by ids of their own."""
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert len(set(done.stdout.split())) == 3


# -- what stands between the client and the network --------------------------------------------------------------------


async def test_a_tracing_hook_that_raises_is_named() -> None:
    """With its text, without secrets; before sending nothing was sent, after it nobody knows."""

    async def before(*_: object) -> None:
        message = "tracer: no span for secret-token at https://user:password@x.example"
        raise LookupError(message)

    async with raw_server(GOOD) as (url, arrived):
        for hook in ("on_request_start", "on_request_end"):
            config = aiohttp.TraceConfig()
            getattr(config, hook).append(before)
            async with aiohttp.ClientSession(trace_configs=[config]) as session:
                async with Client(CREDENTIALS, base_url=url, session=session, retry=ONCE) as client:
                    with pytest.raises((ConfigurationError, APIConnectionError)) as caught:
                        await v3.orders.assign_customer_orders(client, 1)
            error = caught.value
            assert "LookupError: tracer: no span for *** at (URL)" in str(error)
            assert "headers" not in str(error)
            assert error.outcome == ("not_sent" if hook == "on_request_start" else "unknown")
            assert isinstance(error, ConfigurationError) == (hook == "on_request_start")

    assert len(arrived) == 1


async def test_a_mock_in_place_of_the_session_is_named() -> None:
    """By the error that it brings about."""
    session = Mock(spec=aiohttp.ClientSession, closed=False, trust_env=False, headers={}, auth=None, connector=Mock())
    session.request = MagicMock(side_effect=TypeError("Mock object is not awaitable"))
    async with Client(CREDENTIALS, session=session, retry=ONCE) as client:
        with pytest.raises(ConfigurationError, match="TypeError: Mock object is not awaitable") as caught:
            await v3.orders.assign_customer_orders(client, 1)
        session.request = MagicMock(side_effect=ValueError)
        with pytest.raises(ConfigurationError, match="or a mock in its place"):
            await v3.orders.assign_customer_orders(client, 1)

    assert caught.value.path == "/api/v3/io/customers/1/orders/b2b"


async def test_any_mock_is_named_as_one() -> None:
    """Though all its attributes are true, and none of them is a header."""
    async with Client(CREDENTIALS, session=cast("Any", Mock()), retry=ONCE) as client:
        with pytest.raises((ConfigurationError, APIConnectionError)) as caught:
            await v3.orders.assign_customer_orders(client, 1)

    assert "must not set auth" not in str(caught.value)
    assert "mock" in str(caught.value).lower() or "Mock" in str(caught.value)


async def test_what_waits_in_another_loop_is_named() -> None:
    """Of a borrowed session that is busy there, or a hook that waits for something of it."""

    async def elsewhere(*_: object) -> None:
        message = "Task <Task pending> got Future <Future pending> attached to a different loop"
        raise RuntimeError(message)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(elsewhere)
    async with aiohttp.ClientSession(trace_configs=[config]) as session:
        async with Client(CREDENTIALS, session=session, retry=ONCE) as client:
            with pytest.raises(ConfigurationError, match="the session belongs to another event loop"):
                await v3.orders.assign_customer_orders(client, 1)


async def test_what_a_hook_raises_while_sending_is_in_the_text() -> None:
    """Aiohttp wraps it in an error of its own; URLs and what they hold are not."""

    async def fault(*_: object) -> None:
        message = "hook fault at https://x.example/?email=pat@example.com"
        raise RuntimeError(message)

    config = aiohttp.TraceConfig()
    config.on_request_chunk_sent.append(fault)
    async with raw_server(GOOD) as (url, _), aiohttp.ClientSession(trace_configs=[config]) as session:
        async with Client(CREDENTIALS, base_url=url, session=session, retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match=r"hook fault at \(URL\)") as caught:
                await v3.orders.assign_customer_orders(client, 1)

    assert "pat@" not in str(caught.value)


async def test_an_unexpected_request_is_named_by_the_mock() -> None:
    """With the mock's own words."""
    async with Client(CREDENTIALS, retry=ONCE) as client:
        with mocked_api() as api:
            with pytest.raises(APIConnectionError, match="ClientConnectionError: Connection refused: PUT"):
                await v3.orders.assign_customer_orders(client, 1)
            api.put(f"{BASE_URL}/api/v3/io/customers/1/orders/b2b", exception=aiohttp.ClientConnectionError("boom"))
            with pytest.raises(APIConnectionError, match="ClientConnectionError: boom"):
                await v3.orders.assign_customer_orders(client, 1)


async def test_requests_are_mocked() -> None:
    """By payload, by callbacks of both kinds, with other URLs let through."""
    url = f"{BASE_URL}/api/v3/io/customers/7/orders/b2b"

    def at_once(_url: object, **_options: Any) -> CallbackResult:
        return CallbackResult(payload={"code": 200, "data": {"total": 4}})

    async def later(_url: object, **_options: Any) -> CallbackResult:
        return CallbackResult(payload={"code": 200, "data": {"total": 5}})

    async with Sandbox() as sandbox, client_of(sandbox) as through, Client(CREDENTIALS) as client:
        with mocked_api(passthrough=[sandbox.url]) as api:
            api.put(url, payload={"code": 200, "data": {"total": 3}})
            api.put(url, callback=at_once)
            api.put(url, callback=later)
            totals = [(await v3.orders.assign_customer_orders(client, 7)).total for _ in range(3)]
            totals.append((await v3.orders.assign_customer_orders(through, 1001)).total)

    assert totals == [3, 4, 5, 3]


# -- arguments of other types ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"timeout": "10"}, "timeout must be a number of seconds, or Timeouts"),
        ({"timeout": True}, "timeout must be a number of seconds"),
        ({"timeout": -1}, "call must be a number of seconds above 0"),
        ({"retry": 3}, r"retry must be a RetryPolicy, for example RetryPolicy\(attempts=3\), not a value of type int"),
        ({"limiter": 150}, r"limiter must be a RateLimiter, for example RateLimiter\(Quota"),
        ({"limiter": Quota()}, "limiter must be a RateLimiter"),
        ({"per_call": [None]}, r"per_call\[0\] must be a middleware, async def \(request, handler\)"),
        ({"per_attempt": [print, 5]}, r"per_attempt\[1\] must be a middleware"),
        ({"per_call": print}, "per_call must be a list of middlewares"),
        ({"per_call": "x"}, "per_call must be a list of middlewares"),
        ({"middlewares": [None]}, r"middlewares\[0\] must be a middleware"),
        ({"session": "x"}, "session must be an aiohttp.ClientSession"),
        ({"base_url": 5}, "base_url must be a string"),
        ({"connections": 0}, "connections must be a whole number"),
        ({"connections": True}, "connections must be a whole number"),
        ({"trust_env": "yes"}, "trust_env must be True or False"),
        ({"session": aiohttp.ClientSession}, "session must be an aiohttp.ClientSession"),
    ],
)
def test_arguments_of_another_type_are_refused_in_words(options: dict[str, Any], text: str) -> None:
    """When the client is made, and not at its first call."""
    with pytest.raises(ConfigurationError, match=text):
        Client(CREDENTIALS, **options)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: RateLimiter(cast("Any", 150)), "quota must be a Quota"),
        (lambda: RateLimiter(endpoints=cast("Any", 5)), "endpoints must be a Mapping"),
        (lambda: RateLimiter(endpoints={"GET /x": cast("Any", 5)}), "each of endpoints must be a Quota"),
        (lambda: Client(CREDENTIALS).with_options(lane=cast("Any", "x")), "lane must be 'interactive' or 'bulk'"),
        (lambda: Client(CREDENTIALS).with_options(per_attempt=[cast("Any", None)]), r"per_attempt\[0\] must be"),
    ],
)
def test_other_arguments_of_another_type_are_refused_in_words(make: Any, text: str) -> None:
    """Of limiters and views."""
    with pytest.raises(ConfigurationError, match=text):
        make()


def test_credentials_of_another_type_are_not_shown() -> None:
    """A string is a token, as like as not."""
    wrong: Any = "secret-token"
    with pytest.raises(
        ConfigurationError, match=r"credentials must be a Credentials, .* not a value of type str"
    ) as caught:
        Client(wrong)

    assert "secret-token" not in f"{caught.value!r}{caught.value}"


async def test_a_number_of_seconds_is_a_timeout() -> None:
    """Of a whole call; an attempt never takes longer than that either."""
    async with Sandbox(latency=5) as sandbox:
        for timeout in (2, 2.0, Timeouts(call=2)):
            async with client_of(sandbox, timeout=timeout) as client:
                started = asyncio.get_running_loop().time()
                with pytest.raises(Exception, match="no result within 2 s"):
                    await v3.orders.assign_customer_orders(client, 1001)
                assert asyncio.get_running_loop().time() - started == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    ("options", "connections"),
    [
        ({}, 150),
        ({"limiter": RateLimiter(Quota(40, 10.0))}, 40),
        ({"limiter": RateLimiter(Quota(50_000, 10.0))}, 1000),
        ({"connections": 7}, 7),
    ],
)
def test_the_pool_is_as_large_as_the_quota(options: dict[str, Any], connections: int) -> None:
    """Unless it is said otherwise."""
    assert Client(CREDENTIALS, **options).connections == connections


@pytest.mark.parametrize(
    ("limits", "connections"), [({"limit": 2}, 2), ({"limit": 0}, 150), ({"limit": 9, "limit_per_host": 3}, 3)]
)
async def test_a_borrowed_pool_keeps_its_limit(limits: dict[str, int], connections: int) -> None:
    """The smaller of the two that it may have."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**limits)) as session:
        assert Client(CREDENTIALS, session=session).connections == connections


async def test_an_answer_beside_its_value_pickles() -> None:
    """It goes from a worker to another process."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        answered = await client.with_response(v3.orders.assign_customer_orders, 1001)
    again = pickle.loads(pickle.dumps(answered))  # noqa: S301 -- our own

    assert again == answered
    assert again.response.headers["x-request-id"] == answered.response.request_id
    assert again.response.quota_left == answered.response.quota_left


async def test_the_agent_is_named() -> None:
    """Ours, unless a borrowed session has one; and no encoding is asked for that something old might have installed."""
    async with raw_server(GOOD) as (url, arrived):
        async with Client(CREDENTIALS, base_url=url) as client:
            await v3.orders.assign_customer_orders(client, 1)
        async with aiohttp.ClientSession(headers={"User-Agent": "mine/1"}) as session:
            async with Client(CREDENTIALS, base_url=url, session=session) as client:
                await v3.orders.assign_customer_orders(client, 1)

    assert b"User-Agent: b2b-async/0.1.0 aiohttp/" in arrived[0]
    assert b"User-Agent: mine/1\r\n" in arrived[1]
    assert all(b"Accept-Encoding: gzip, deflate\r\n" in request for request in arrived)


def test_a_library_says_nothing_where_no_logging_is_set_up() -> None:
    """Python would print its warnings to stderr."""
    code = (
        "import asyncio\nfrom b2b_async import Client, Credentials, RetryPolicy, v3\n"
        "async def call():\n"
        " async with Client(Credentials('t', 's'), base_url='http://127.0.0.1:9',"
        " retry=RetryPolicy(attempts=2, backoff=0.01)) as client:\n"
        "  await v3.orders.assign_customer_orders(client, 7)\n"
        "try: asyncio.run(call())\nexcept Exception: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("", "")
