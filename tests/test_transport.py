"""The wire: what leaves, what comes back broken, and what aiohttp must not do behind our back."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import pickle
import socket
import ssl
import threading
import traceback
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
import trustme
from helpers import CREDENTIALS, GOOD, http, raw_server, unknowns

from b2b_async import (
    AmbiguousOutcomeError,
    APIConnectionError,
    APITimeoutError,
    B2BError,
    BadRequestError,
    BCOrderId,
    Client,
    CompanyId,
    ConfigurationError,
    Credentials,
    CustomerId,
    DeadlineExceededError,
    NotFoundError,
    Operation,
    Request,
    ResponseValidationError,
    RetryPolicy,
    ServerError,
    Timeouts,
    UnexpectedRedirectError,
    UserId,
    v2,
    v3,
)
from b2b_async._config import DEFAULT_MAX_BODY, _escaped_forms
from b2b_async.middleware.decode import Decode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path
    from typing import Self

    from b2b_async import Handler, Response
    from b2b_async.events import OutcomeUnknown

ONCE = RetryPolicy(attempts=1, throttled=0)


@contextlib.asynccontextmanager
async def client_at(url: str, **options: Any) -> AsyncGenerator[Client]:
    """Open a client that does not retry."""
    async with Client(CREDENTIALS, base_url=url, **{"retry": ONCE, **options}) as client:
        yield client


async def failing_put(url: str, **options: Any) -> B2BError:
    """Give the error of an assignment."""
    async with client_at(url, **options) as client:
        with pytest.raises(B2BError) as caught:
            await v3.orders.assign_customer_orders(client, 1)
    return caught.value


async def failing_post(url: str, **options: Any) -> B2BError:
    """Give the error of a creation."""
    async with client_at(url, **options) as client:
        with pytest.raises(B2BError) as caught:
            await v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=Decimal("1.10"), reconcile=False)
    return caught.value


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side goes."""
    await reader.read()


async def test_the_request_on_the_wire() -> None:
    """One PUT with JSON headers, the credentials, and an empty object."""
    async with raw_server(GOOD) as (url, arrived), client_at(f"{url}/prefix") as client:
        await v3.orders.assign_customer_orders(client, 321)

    (request,) = arrived
    head, body = request.split(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "PUT /prefix/api/v3/io/customers/321/orders/b2b HTTP/1.1"
    assert {"X-Auth-Token: secret-token", "X-Store-Hash: hash", "Content-Type: application/json"} <= set(lines)
    assert "Accept: application/json" in lines
    assert body == b"{}"


async def test_query_parameters_are_encoded() -> None:
    """They are not part of the path."""
    operation = Operation("List", "v3", "GET", "/companies")
    async with raw_server(http(200, "{}")) as (url, arrived), client_at(url) as client:
        response = await client.send(operation, query={"q": "a&b c"})

    assert arrived[0].startswith(b"GET /api/v3/io/companies?q=a%26b+c HTTP/1.1\r\n")
    assert response.envelope is not None
    assert response.retry_after is None


async def test_a_refused_connection_was_not_sent() -> None:
    """The port is closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    error = await failing_post(f"http://127.0.0.1:{port}")

    assert type(error) is APIConnectionError
    assert error.outcome == "not_sent"
    assert "could not connect" in str(error)


class Resolver(aiohttp.abc.AbstractResolver):
    """Every name is this machine's, or none's."""

    def __init__(self, *, knows: bool) -> None:
        """Say whether it knows any name."""
        self._knows = knows

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        """Look a name up."""
        if not self._knows:
            raise OSError(None, "no such name")
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": family, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Nothing is open."""


async def test_an_unknown_name_was_not_sent() -> None:
    """The name does not exist."""
    connector = aiohttp.TCPConnector(resolver=Resolver(knows=False))
    async with aiohttp.ClientSession(connector=connector) as session:
        error = await failing_put("https://nowhere.invalid", session=session)

    assert error.outcome == "not_sent"
    assert "the name nowhere.invalid cannot be resolved" in str(error)


async def test_a_connection_that_takes_too_long_was_not_sent() -> None:
    """A server that accepts and then never says anything of TLS."""
    async with raw_server(hang) as (url, _):
        connector = aiohttp.TCPConnector(resolver=Resolver(knows=True))
        async with aiohttp.ClientSession(connector=connector) as session:
            slow = url.replace("http://127.0.0.1", "https://slow.invalid")
            error = await failing_put(slow, session=session, timeout=Timeouts(connect=2))

    assert type(error) is APITimeoutError
    assert error.outcome == "not_sent"
    assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)


async def test_an_untrusted_certificate_is_not_tried_again() -> None:
    """The next attempt would see the same certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    async with raw_server(GOOD, ssl=context) as (url, _):
        error = await failing_put(url.replace("http://127.0.0.1", "https://localhost"), retry=RetryPolicy())

    assert "certificate is not trusted" in str(error)
    assert len(error.attempts) == 1
    assert error.outcome == "not_sent"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
        b"not http at all\r\n\r\n",
    ],
)
async def test_no_whole_answer_leaves_the_outcome_unknown(answer: bytes) -> None:
    """The request was sent; nobody knows whether it was acted on. And it left once."""
    async with raw_server(answer) as (url, arrived):
        error = await failing_put(url)
        ambiguous = await failing_post(url)

    assert type(error) is APIConnectionError
    assert error.outcome == "unknown"
    assert error.status is None
    assert type(ambiguous) is AmbiguousOutcomeError
    assert ambiguous.outcome == "unknown"
    assert len(arrived) == 2, "aiohttp sent one of them again by itself"


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"code": 200, "data', "applied"),
        (b' {\n"code":"201" ', "applied"),
        (b'{"code": 20', "unknown"),
        (b'{"code": 400, "data', "unknown"),
        (b'{"data": {"code": 200', "unknown"),
        (b'{"code": 600,', "unknown"),
        (b"{", "unknown"),
        (b"", "unknown"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_good_status_that_breaks_off_means_what_its_code_says(
    body: bytes, outcome: str, chunked: object
) -> None:
    """The API refuses under 200 too, so only the envelope's code is a yes, as far as it has come."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + body
    if chunked:
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + body
    async with raw_server(answer) as (url, _):
        error = await failing_put(url)
        ambiguous = await failing_post(url)

    assert type(error) is APIConnectionError
    assert (error.outcome, error.status) == (outcome, 200)
    assert type(ambiguous) is AmbiguousOutcomeError
    assert ambiguous.outcome == outcome


async def test_an_error_that_breaks_off_is_unknown() -> None:
    """A 503 without its body still does not say what happened; a 404 does."""
    async with raw_server(b"HTTP/1.1 503 Oops\r\nContent-Length: 50\r\n\r\n{") as (url, _):
        error = await failing_put(url)
    async with raw_server(b"HTTP/1.1 404 No\r\nContent-Length: 50\r\n\r\n{") as (url, arrived):
        other = await failing_post(url, retry=RetryPolicy())

    assert (type(error), error.outcome, error.status) == (ServerError, "unknown", 503)
    assert (type(other), other.outcome, len(arrived)) == (NotFoundError, "rejected", 1)


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"code": 200, "da', "applied"),
        (b'{"code": 200, "a": "\xff"}', "applied"),
        (b'{"code": 200, "a": NaN}', "applied"),
        (b'{"code": 400, "data": {}, "message": "refused"', "unknown"),
        (b"[" * 50_000, "unknown"),
    ],
)
async def test_a_body_that_is_no_json_means_what_its_code_says(body: bytes, outcome: str) -> None:
    """JSON that breaks off may be asked for again where that is safe."""
    async with raw_server(http(200, body)) as (url, _):
        error = await failing_put(url)
        ambiguous = await failing_post(url)

    assert isinstance(error, ResponseValidationError)
    assert (error.outcome, error.retryable) == (outcome, True)
    assert type(ambiguous) is AmbiguousOutcomeError
    assert ambiguous.outcome == outcome


async def test_html_under_200_is_not_the_apis_word() -> None:
    """Whatever stands before the API said it, so nobody knows whether the API acted; the excerpt says what came."""
    async with raw_server(http(200, "<html>\n\n  Welcome</html>", content_type="text/html")) as (url, arrived):
        error = await failing_put(url, retry=RetryPolicy(attempts=2))
        other = await failing_post(url, retry=RetryPolicy())

    assert isinstance(error, ResponseValidationError)
    assert error.message == "Welcome"
    assert "content type text/html" in str(error)
    assert type(other) is AmbiguousOutcomeError
    assert (error.outcome, other.outcome, len(arrived)) == ("unknown", "unknown", 3)


@pytest.mark.parametrize(
    ("status", "outcome"), [(301, "rejected"), (302, "unknown"), (303, "unknown"), (307, "rejected")]
)
async def test_a_redirect_is_never_followed(status: int, outcome: str) -> None:
    """The token does not travel. "See Other" is how some servers answer what they have carried out."""
    async with raw_server(GOOD) as (target, taken):
        async with raw_server(http(status, "", f"Location: {target}/x")) as (url, arrived):
            errors = [await failing_put(url, retry=RetryPolicy()), await failing_post(url, retry=RetryPolicy())]

    assert [type(error) for error in errors] == [UnexpectedRedirectError] * 2
    assert [error.outcome for error in errors] == [outcome] * 2
    assert (len(arrived), len(taken)) == (2, 0)


async def test_an_answer_that_nobody_asked_for_is_not_taken_for_an_answer() -> None:
    """A proxy that sends one twice would else answer the next request on the connection, whatever becomes of that."""
    asked: list[str] = []

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append("first")
        good = b'{"code": 200, "data": {"orderId": "117"}}'
        answer = http(200, good).replace(b"Connection: close\r\n", b"")
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(1)
        writer.write(answer)
        await writer.drain()
        while await reader.read(1000):
            asked.append("again on the same connection")

    refusal = http(404, '{"code": 404, "data": {}}')
    async with raw_server(twice, refusal) as (url, arrived), client_at(url, retry=RetryPolicy()) as client:
        await v2.orders.create_order(client, "1", "2", order_id="117", total_inc_tax=Decimal(1))
        await asyncio.sleep(2)
        with pytest.raises(NotFoundError):
            await v2.orders.create_order(client, "1", "2", order_id="118", total_inc_tax=Decimal(1))

    assert asked == ["first"]
    assert [b'"118"' in request for request in arrived] == [False, True]


async def test_an_attempt_ends_in_time() -> None:
    """A server that never answers; the time is not rounded up to whole seconds."""
    loop = asyncio.get_running_loop()
    async with raw_server(hang) as (url, _):
        started = loop.time()
        error = await failing_put(url, timeout=Timeouts(attempt=7.25))

    assert type(error) is APITimeoutError
    assert error.outcome == "unknown"
    assert loop.time() - started == pytest.approx(7.25, abs=0.01)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_huge_body_is_not_read_to_its_end(status: int) -> None:
    """4 MiB and no more, in one piece or in many."""

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(b" " * (DEFAULT_MAX_BODY // 32))
                await writer.drain()

    async with raw_server(flood) as (url, _):
        error = await failing_put(url)

    assert isinstance(error, ResponseValidationError if status == 200 else ServerError)
    assert error.outcome == "unknown"
    assert ("larger than 4,194,304 bytes" in str(error)) == (status == 200)


@pytest.mark.parametrize(("kind", "outcome"), [("application/json", "applied"), ("text/html", "unknown")])
async def test_a_body_may_be_larger_or_smaller_if_one_says_so(kind: str, outcome: str) -> None:
    """The bound is the client's; a large page of a proxy is no yes of the API either."""
    body = '{"code": 200, "data": {"total": 3}' + " " * 100_000 + "}"
    async with raw_server(http(200, body, content_type=kind)) as (url, _):
        async with client_at(url, max_body=200_000) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3
        error = await failing_put(url, max_body=50_000)
        lost = await failing_post(url, max_body=50_000)

    assert "larger than 50,000 bytes" in str(error)
    assert isinstance(error, ResponseValidationError)
    assert (error.outcome, lost.outcome) == (outcome, outcome)
    assert isinstance(lost, ResponseValidationError if outcome == "applied" else AmbiguousOutcomeError)


async def test_what_has_no_body_is_not_seen_leaving() -> None:
    """It is not sent if there was no connection, and unknown from then on; it changes nothing either way."""
    operation = Operation("Get All Companies", "v3", "GET", "/companies")
    async with raw_server(hang) as (url, _), client_at(url, timeout=Timeouts(call=3)) as client:
        with pytest.raises(DeadlineExceededError) as lost:
            await client.send(operation)
    async with client_at(url) as client:
        with pytest.raises(APIConnectionError) as refused:
            await client.send(operation)

    assert (lost.value.outcome, refused.value.outcome) == ("unknown", "not_sent")


async def test_no_secret_and_no_aiohttp_object_hangs_on_an_error() -> None:
    """Not in its text, its traceback, its pickle, nor in what it was raised from."""
    async with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n") as (url, _):
        errors = [await failing_put(url), await failing_post(url)]

    for error in errors:
        shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
        assert "secret" not in shown
        assert b"secret" not in pickle.dumps(error)
        chain: list[BaseException | None] = [error]
        while (last := chain[-1]) is not None:
            assert not type(last).__module__.startswith("aiohttp")
            chain.append(last.__cause__ or last.__context__)


async def test_a_closed_client_says_so() -> None:
    """And one that was never opened."""
    client = Client(CREDENTIALS)
    async with client:
        with pytest.raises(ConfigurationError, match="the client is open already"):
            async with client:
                pass
    with pytest.raises(ConfigurationError, match="closed, or was never opened") as caught:
        await v3.orders.assign_customer_orders(client, 1)
    assert caught.value.outcome == "not_sent"
    async with client:
        pass
    await client.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await v3.orders.assign_customer_orders(client, 1)


async def test_a_session_handed_in_stays_open() -> None:
    """It is the user's."""
    async with raw_server(GOOD) as (url, _), aiohttp.ClientSession() as session:
        async with client_at(url, session=session) as client:
            await v3.orders.assign_customer_orders(client, 1)
        assert not session.closed
    with pytest.raises(ConfigurationError, match="closed"):
        async with client_at(url, session=session) as client:
            await v3.orders.assign_customer_orders(client, 1)


async def test_a_session_that_raises_by_itself_does_not_change_our_errors() -> None:
    """A plain 400 is a refusal, and is not sent again."""
    async with raw_server(http(400, '{"code": 400}')) as (url, arrived):
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            error = await failing_post(url, session=session, retry=RetryPolicy())

    assert type(error) is BadRequestError
    assert len(arrived) == 1


@pytest.mark.parametrize("name", ["x-store-hash", "Authorization", "Expect"])
async def test_a_session_with_credentials_of_its_own_is_refused(name: str) -> None:
    """They would be mixed with ours; with or without "async with"."""
    async with aiohttp.ClientSession(headers={name: "z"}) as session:
        with pytest.raises(ConfigurationError, match="must not set auth"):
            async with client_at("http://127.0.0.1:9", session=session):
                pass
        with pytest.raises(ConfigurationError, match="must not set auth"):
            await v3.orders.assign_customer_orders(Client(CREDENTIALS, session=session), 1)


async def test_a_client_of_a_borrowed_session_opens_again() -> None:
    """And a view's end closes nothing."""
    async with raw_server(GOOD) as (url, arrived), aiohttp.ClientSession() as session:
        client = Client(CREDENTIALS, base_url=url, session=session)
        for _ in range(2):
            async with client, client.with_options(lane="bulk") as view:
                await v3.orders.assign_customer_orders(view, 1)
            async with client:
                async with client.with_options():
                    pass
                await v3.orders.assign_customer_orders(client, 1)
        with pytest.raises(ConfigurationError, match="closed"):
            await v3.orders.assign_customer_orders(client, 1)

    assert len(arrived) == 4


async def test_a_view_alone_opens_nothing() -> None:
    """So nothing is left open at its end."""
    async with Client(CREDENTIALS).with_options(lane="bulk") as view:
        with pytest.raises(ConfigurationError, match="never opened"):
            await v3.orders.assign_customer_orders(view, 1)


async def test_a_session_that_does_not_unpack_is_told_to() -> None:
    """An answer that cannot be read is a lost one."""
    body = gzip.compress(b'{"code": 200, "data": {"total": 3}}')
    async with raw_server(http(200, body, "Content-Encoding: gzip")) as (url, _):
        async with aiohttp.ClientSession(auto_decompress=False) as session, client_at(url, session=session) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3


async def test_a_query_that_cannot_be_written_is_a_mistake_and_not_tried_again() -> None:
    """Also where there is no body to see leaving."""
    operation = Operation("Get All Companies", "v3", "GET", "/companies")
    query: Any = {"b": "1", "a": None}
    async with raw_server(GOOD) as (url, arrived), client_at(url, retry=RetryPolicy()) as client:
        with pytest.raises(ConfigurationError, match="the query parameter 'a' is neither") as caught:
            await client.send(operation, query=query)

    assert (caught.value.outcome, len(caught.value.attempts), arrived) == ("not_sent", 1, [])


async def test_waiting_for_a_connection_takes_no_time_of_an_attempt() -> None:
    """A borrowed pool of two serves ten calls of eight seconds each, slowly."""

    async def slowly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(8)
        writer.write(GOOD)

    async with raw_server(slowly) as (url, arrived):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=2)) as session:
            timeout = Timeouts(attempt=10, connect=5, call=120)
            async with client_at(url, session=session, timeout=timeout) as client:
                calls = [v3.orders.assign_customer_orders(client, 1) for _ in range(10)]
                assigned = await asyncio.gather(*calls)
                assert client.connections == 2

    assert [one.total for one in assigned] == [3] * 10
    assert len(arrived) == 10


async def test_who_waits_for_a_connection_in_vain_has_sent_nothing() -> None:
    """The call's deadline ends the wait."""

    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(50)

    async with raw_server(never) as (url, arrived), client_at(url, connections=1, timeout=Timeouts(call=20)) as client:
        calls = [v3.orders.assign_customer_orders(client, 1) for _ in range(2)]
        results = await asyncio.gather(*calls, return_exceptions=True)

    assert len(arrived) == 1
    assert [getattr(result, "outcome", None) for result in results] == ["unknown", "not_sent"]


async def test_cookies_are_not_kept() -> None:
    """The vendor sets a CSRF cookie; a token client has no use for it."""
    async with raw_server(http(200, '{"data": {"total": 1}}', "Set-Cookie: csrftoken=abc")) as (url, arrived):
        async with client_at(url) as client:
            await v3.orders.assign_customer_orders(client, 1)
            await v3.orders.assign_customer_orders(client, 1)

    assert b"csrftoken" not in arrived[1]


def test_a_request_cannot_name_another_origin() -> None:
    """Behind the base URL, only a leading slash keeps the host."""
    call: Any = None
    with pytest.raises(ValueError, match="must start with '/'"):
        Request(operation=Operation("X", "v3", "GET", "/x"), path=".evil.com/x", call=call)


async def test_a_server_error_with_a_body_in_pieces_is_read_whole() -> None:
    """Chunks that come one by one are one body."""

    async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'{"code": 500,', b' "message":', b' "slow"}'):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(1)
        writer.write(b"0\r\n\r\n")

    async with raw_server(trickle) as (url, _):
        error = await failing_put(url)

    assert isinstance(error, ServerError)
    assert error.message == "slow"


async def test_a_borrowed_session_adds_no_credentials_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With trust_env aiohttp would send netrc's password to the server; what a middleware adds is meant."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password netrc-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def proxy_word(request: Request, handler: Handler) -> Response:
        return await handler(attrs.evolve(request, headers={**request.headers, "authorization": "meant"}))

    async with raw_server(GOOD) as (url, arrived), aiohttp.ClientSession(trust_env=True) as session:
        for more in ({}, {"per_attempt": [proxy_word]}):
            if more:
                netrc.write_text("")  # aiohttp refuses both at once
            async with Client(CREDENTIALS, base_url=url, session=session, **more) as client:  # type: ignore[arg-type]
                await v3.orders.assign_customer_orders(client, 1)

    assert b"uthorization" not in arrived[0]
    assert b"authorization: meant" in arrived[1].replace(b"Authorization", b"authorization")


async def test_an_error_of_a_middleware_of_ones_own_says_what_happened() -> None:
    """It was raised when the answer was there, and does not say so itself."""

    async def picky(request: Request, handler: Handler) -> Response:
        await handler(request)
        message = "not good enough"
        raise B2BError(message)

    async with raw_server(GOOD) as (url, _), Client(CREDENTIALS, base_url=url, per_call=[picky]) as client:
        with pytest.raises(B2BError, match="not good enough") as caught:
            await v3.orders.assign_customer_orders(client, 1)

    assert caught.value.outcome == "applied"


async def test_long_headers_are_read() -> None:
    """Gateways add some of 16 KiB, and hundreds."""
    many = [f"X-Gateway-{number}: {'x' * (16 * 1024 if number < 4 else 20)}" for number in range(256)]
    async with raw_server(http(200, '{"code": 200, "data": {"total": 3}}', *many)) as (url, _):
        async with client_at(url) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3


async def test_a_body_that_cannot_be_decompressed_is_named() -> None:
    """By its encoding; it is not called incomplete."""
    for encoding, body in (("gzip", b"no gzip"), ("br", b"\x0b\x02\x80"), ("deflate", b"\xff\xff")):
        async with raw_server(http(200, body, f"Content-Encoding: {encoding}")) as (url, _):
            error = await failing_put(url)
        assert "the body cannot be decompressed (Can not decode content-encoding" in str(error)
        assert encoding in str(error)


async def test_a_byte_order_mark_is_no_json() -> None:
    """It is passed over, in a good answer and in a bad one; one that breaks off is still a success by its code."""
    mark = b"\xef\xbb\xbf"
    async with (
        raw_server(http(200, mark + b'{"code": 200, "data": {"total": 4}}')) as (url, _),
        client_at(url) as client,
    ):
        assert (await v3.orders.assign_customer_orders(client, 1)).total == 4
    async with raw_server(http(404, mark + b'{"code": 404, "message": "None."}')) as (url, _):
        assert (await failing_put(url)).message == "None."
    async with raw_server(http(200, mark + b'{"code": 200, "da')) as (url, _):
        assert (await failing_put(url)).outcome == "applied"


# -- an answer belongs to its request ------------------------------------------------------------------------------


def kept(body: str, request_id: str | None = None) -> bytes:
    """Write an answer after which the connection stays open."""
    ids = "" if request_id is None else f"X-Request-Id: {request_id}\r\n"
    return f"HTTP/1.1 200 OK\r\n{ids}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def company(number: int, request_id: str | None = None) -> bytes:
    """Write an answer about a company."""
    return kept(f'{{"code": 200, "data": {{"companyId": {number}, "companyName": "{number}"}}}}', request_id)


class KeptServer:
    """A server whose connections stay open; it counts the requests that arrive."""

    def __init__(self, answer: Callable[[str, asyncio.StreamWriter], None]) -> None:
        """Have *answer* write what it wants for each path."""
        self._answer = answer
        self.paths: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                assert not (head.startswith("GET") and length), "a GET has no body"
                await reader.readexactly(int(length[0].split(":")[1]) if length else 0)
                self.paths.append(head.split(" ")[1])
                self._answer(self.paths[-1], writer)
        writer.close()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Close everything."""
        self._server.close()
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def number_in(path: str) -> int:
    """Return the id at the end of *path*."""
    return int(path.rsplit("/", 1)[1])


async def test_a_copy_that_arrives_while_the_connection_idles_answers_nothing() -> None:
    """The next request takes another connection; not even an attempt is lost."""

    def twice(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(company(number_in(path)))
        asyncio.get_running_loop().call_later(0.01, writer.write, company(number_in(path)))

    async with KeptServer(twice) as server, client_at(server.url) as client:
        for number in range(1, 5):
            found = await v3.companies.get_company(client, CompanyId(number))
            assert found.company_id == number
            await asyncio.sleep(0.02)
    assert len(server.writers) == 4


async def test_a_copy_that_arrives_while_the_event_loop_is_busy_answers_nothing() -> None:
    """It is in the socket's buffer when the next request is about to be sent."""

    def once(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(company(number_in(path)))

    async with KeptServer(once) as server, client_at(server.url) as client:
        await v3.companies.get_company(client, CompanyId(1))
        copy = server.writers[0].get_extra_info("socket")
        os.write(copy.fileno(), company(1))
        assert (await v3.companies.get_company(client, CompanyId(2))).company_id == 2
        os.write(server.writers[1].get_extra_info("socket").fileno(), company(2))
        found = await v3.companies.get_company(client, CompanyId(3))
    assert found.company_id == 3
    assert len(server.writers) == 3


async def test_a_connection_that_the_server_has_closed_is_not_used() -> None:
    """Even if the event loop has not seen it yet: nothing is sent on it, so nothing is lost."""

    def once(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(company(number_in(path)))

    async with KeptServer(once) as server, client_at(server.url) as client:
        await v3.companies.get_company(client, CompanyId(1))
        server.writers[0].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        assert (await v3.companies.get_company(client, CompanyId(2))).company_id == 2
    assert server.paths == ["/api/v3/io/companies/1", "/api/v3/io/companies/2"]


async def test_two_answers_in_one_piece_make_the_outcome_unknown() -> None:
    """Either may be the answer to the request."""
    requests = 0

    def twice(_path: str, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        writer.write(kept('{"code": 200, "data": {"orderId": "3"}}') * (2 if requests == 1 else 1))

    async with KeptServer(twice) as server:
        error = await failing_post(server.url)
    assert isinstance(error, AmbiguousOutcomeError)
    assert error.outcome == "unknown"
    assert "may belong to another request" in str(error)


async def test_an_answer_with_the_request_id_of_the_one_before_is_a_copy_of_it() -> None:
    """Unless all answers have the same."""
    copied = [company(1, "a"), company(2, "b"), company(2, "b"), company(3, "c")]
    same = [company(number, "x") for number in (1, 2, 3)]

    def next_of(answers: list[bytes]) -> Callable[[str, asyncio.StreamWriter], None]:
        return lambda _path, writer: writer.write(answers.pop(0))

    async with KeptServer(next_of(copied)) as server, client_at(server.url) as client:
        await v3.companies.get_company(client, CompanyId(1))
        await v3.companies.get_company(client, CompanyId(2))
        with pytest.raises(APIConnectionError, match="more answers than requests") as caught:
            await v3.companies.get_company(client, CompanyId(3))
        assert caught.value.outcome == "unknown"
        await v3.companies.get_company(client, CompanyId(3))
    assert len(server.writers) == 2, "the connection is closed"
    async with KeptServer(next_of(same)) as server, client_at(server.url) as client:
        for number in (1, 2, 3):
            await v3.companies.get_company(client, CompanyId(number))


async def test_an_attempt_ends_where_no_connection_can_be_sent_on() -> None:
    """Every new one has an answer before any request."""

    async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(company(1))
        await reader.read()

    async def early(server: asyncio.Server) -> B2BError:
        return await failing_post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    connections = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await eager(reader, writer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        error = await early(server)
    assert error.outcome == "not_sent"
    assert connections == 16


@pytest.mark.parametrize(
    ("call", "data"),
    [
        (lambda client: v3.companies.get_company(client, CompanyId(12)), '{"companyId": 11}'),
        (lambda client: v3.orders.get_order(client, BCOrderId(12)), '[{"bcOrderId": "11"}]'),
        (lambda client: v3.orders.update_order(client, BCOrderId(12), po_number="1"), '{"bcOrderId": 11}'),
        (lambda client: v3.users.get_user(client, UserId(12)), '{"id": 11}'),
        (lambda client: v3.users.get_user_by_customer_id(client, CustomerId(12)), '{"id": 1, "customerId": 11}'),
        (lambda client: v2.orders.get_order_detail.__wrapped__(client, "12"), '{"id": "11"}'),
    ],
)
async def test_an_answer_about_another_object_is_none(call: Callable[[Client], Awaitable[object]], data: str) -> None:
    """Its id is compared with the one that was asked for."""
    async with raw_server(http(200, f'{{"code": 200, "data": {data}}}')) as (url, _), client_at(url) as client:
        with pytest.raises(ResponseValidationError, match="is not the one that was asked for") as caught:
            await call(client)
    assert caught.value.outcome == "unknown"


# -- answers that say neither yes nor no ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        http(200, '{"status": "ok"}'),
        http(201, '{"data": {"orderId": "3"}}'),
        http(200, '{"code": 200, "success": false, "data": {"orderId": "3"}}'),
        http(200, "{}"),
        http(200, '{"code": 503, "data": {}}', "Retry-After: 3"),
        http(200, '{"code": 525, "data": {}}'),
        b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        http(302, "", "Location: http://localhost:9/"),
    ],
)
async def test_what_does_not_say_that_a_creation_was_refused_leaves_it_unknown(answer: bytes) -> None:
    """The hook observes it, too."""
    unknown: list[OutcomeUnknown] = []
    async with raw_server(answer) as (url, arrived):
        error = await failing_post(url, listeners=[unknowns(unknown)])
    assert error.outcome == "unknown"
    assert [one.outcome for one in unknown] == ["unknown"]
    assert len(arrived) == 1


async def test_json_that_is_no_envelope_makes_a_creation_be_verified() -> None:
    """As any answer that is lost."""
    found = http(200, '{"code": 200, "data": {"companyId": "1"}}')
    async with raw_server(http(200, '{"status": "ok"}'), found) as (url, arrived), client_at(url) as client:
        created = await v2.orders.create_order(client, "1", "2", order_id="x3", total_inc_tax=Decimal(1))
    assert created.reconciled
    assert [request.split(b" ")[0] for request in arrived] == [b"POST", b"GET"]


async def test_json_that_is_no_envelope_makes_an_assignment_be_repeated() -> None:
    """It is safe to repeat."""
    async with raw_server(http(200, '{"status": "ok"}'), GOOD) as (url, arrived):
        async with client_at(url, retry=RetryPolicy()) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3
    assert len(arrived) == 2


async def test_a_cancellation_after_json_that_is_no_envelope_does_not_say_applied() -> None:
    """It says unknown."""
    unknown: list[OutcomeUnknown] = []

    async def linger(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        await asyncio.sleep(60)
        return response

    operation = Operation("Change", "v3", "PUT", "/things")
    options: dict[str, Any] = {"per_call": [linger], "listeners": [unknowns(unknown)]}
    async with raw_server(http(200, '{"data": [1]}')) as (url, _), client_at(url, **options) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.send(operation, body=b"{}"), 5)
    assert [one.outcome for one in unknown] == ["unknown"]


@pytest.mark.parametrize("call", ["put", "post", "get"])
async def test_closing_the_client_during_a_call_says_what_was_sent(call: str) -> None:
    """What waits for a connection was not sent; what was sent may have been carried out."""
    arrived = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    def make(client: Client) -> Awaitable[object]:
        if call == "put":
            return v3.orders.assign_customer_orders(client, 1)
        if call == "get":
            return v3.companies.get_company(client, CompanyId(1))
        return v2.orders.create_order(client, "1", "2", order_id="3", total_inc_tax=Decimal(1))

    async with raw_server(hold) as (url, _), client_at(url, retry=RetryPolicy(), connections=1) as client:
        sent = asyncio.ensure_future(make(client))
        await arrived.wait()
        waiting = asyncio.ensure_future(make(client))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(B2BError) as caught:
            await sent
        assert caught.value.outcome == "unknown"
        with pytest.raises(B2BError) as caught:
            await waiting
        assert caught.value.outcome == "not_sent"


@pytest.mark.parametrize(("attempt", "seconds"), [(30.0, 5), (2.0, 2)])
async def test_the_body_of_an_error_is_not_waited_for_forever(attempt: float, seconds: float) -> None:
    """Its status has said what matters."""
    loop = asyncio.get_running_loop()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 404 X\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"code": 404, ')
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(1)

    async with raw_server(drip) as (url, _):
        error = await failing_put(url, timeout=Timeouts(attempt=attempt))
        assert loop.time() == pytest.approx(seconds, abs=0.1)
    assert isinstance(error, NotFoundError)
    assert error.outcome == "rejected"


async def test_records_of_a_large_answer_are_made_in_a_thread() -> None:
    """The event loop goes on meanwhile."""
    rows = ", ".join(f'{{"companyId": {number}, "companyName": "{"x" * 900}"}}' for number in range(1, 1001))
    threads: set[str] = set()

    async with raw_server(http(200, f'{{"code": 200, "data": [{rows}]}}')) as (url, _), client_at(url) as client:
        decode = [one for one in client._middlewares if isinstance(one, Decode)][-1]
        decoded = decode._decoded

        def watch(*args: Any) -> Any:
            threads.add(threading.current_thread().name)
            return decoded(*args)

        decode._decoded = watch  # type: ignore[method-assign]
        page = await v3.companies.list_companies(client, limit=249)
    assert len(page.items) == 1000
    assert "MainThread" not in threads


async def test_an_id_that_the_request_names_may_be_repeated() -> None:
    """Gateways repeat the id of the request; two requests of one user may have the same."""
    ids = iter(["a", "b", "b", "b"])

    async def correlate(request: Request, handler: Handler) -> Response:
        return await handler(request.with_headers({"x-Request-ID": next(ids)}))

    def same(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(company(7, request_id="b" if len(server.paths) > 1 else "a"))

    async with KeptServer(same) as server, client_at(server.url, per_attempt=[correlate]) as client:
        for _ in range(4):
            await v3.companies.get_company(client, CompanyId(7))
    assert len(server.writers) == 1


def test_redacting_repeats_nothing_without_a_bound() -> None:
    """Else a long run of backslashes, which a server may send, would take its length squared."""
    pattern = _escaped_forms("token").pattern
    assert not {"*", "+"} & set(pattern)
    assert pattern.count("{0,8}") == 2 * len("token")
    text = "\\" * 200_000
    assert Credentials("token", "hash").redact(text) == text


async def test_an_answer_that_came_before_the_client_was_closed_is_kept() -> None:
    """It is judged without the session, which is gone."""

    async def close(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        await client.close()
        return response

    async with raw_server(http(200, GOOD.split(b"\r\n\r\n")[1], "X-Request-Id: a")) as (url, _):
        async with client_at(url, per_attempt=[close]) as client:
            assert (await v3.orders.assign_customer_orders(client, 1)).total == 3
