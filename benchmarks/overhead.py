"""What a call costs on the client's side: our whole default pipeline against what people use.

One canned loopback server in another process answers every request with the same bytes. Each library makes the same
PUT with its own URL for each call, 16 at once, and gives the ``total`` of the answer as an integer. The libraries take
turns in small slices, and each slice is compared with the two slices of bare aiohttp around it, so that a noisy machine
shows as spread and not as a result. CPU time is that of the client's process, all threads.

    python benchmarks/overhead.py [--calls 400] [--rounds 30] [--middlewares]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import aiohttp
import aiohttp_retry
import attrs
import httpx
import niquests
import requests
from azure.core import AsyncPipelineClient
from azure.core.pipeline.policies import AsyncRetryPolicy, ContentDecodePolicy, HeadersPolicy, NetworkTraceLoggingPolicy
from azure.core.rest import HttpRequest
from bigcommerce.connection import Connection as BigcommerceConnection
from canned import canned_server
from rich.console import Console
from rich.table import Table

from b2b_async import Client, Credentials, Quota, RateLimiter, RetryPolicy, Timeouts, default_middlewares, v3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

CONCURRENCY = 16
HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "X-Auth-Token": "token",
    "X-Store-Hash": "store",
}

Call = Callable[[int], Awaitable[int]]
Library = Callable[[str], "AbstractAsyncContextManager[Call]"]


def path_of(number: int) -> str:
    return f"/api/v3/io/customers/{number}/orders/b2b"


@contextlib.asynccontextmanager
async def bare_aiohttp(url: str) -> AsyncIterator[Call]:
    """As aiohttp's documentation shows it."""
    async with aiohttp.ClientSession(headers=HEADERS) as session:

        async def call(number: int) -> int:
            async with session.put(url + path_of(number), json={}) as answer:
                answer.raise_for_status()
                return int((await answer.json())["data"]["total"])

        yield call


@contextlib.asynccontextmanager
async def leanest_aiohttp(url: str) -> AsyncIterator[Call]:
    """Without cookies, without a look at the status, and with the body's bytes at hand."""
    async with aiohttp.ClientSession(headers=HEADERS, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call(number: int) -> int:
            async with session.put(url + path_of(number), data=b"{}") as answer:
                return int(json.loads(await answer.read())["data"]["total"])

        yield call


@contextlib.asynccontextmanager
async def b2b_async(url: str) -> AsyncIterator[Call]:
    limiter = RateLimiter(Quota(100_000, 1.0))
    async with Client(Credentials("token", "store"), base_url=url, limiter=limiter) as client:

        async def call(number: int) -> int:
            return (await v3.orders.assign_customer_orders(client, number)).total

        yield call


@contextlib.asynccontextmanager
async def aiohttp_with_retry(url: str) -> AsyncIterator[Call]:
    options = aiohttp_retry.ExponentialRetry(attempts=4)
    session = aiohttp.ClientSession(headers=HEADERS)
    async with aiohttp_retry.RetryClient(session, retry_options=options) as client:

        async def call(number: int) -> int:
            async with client.put(url + path_of(number), json={}) as answer:
                answer.raise_for_status()
                return int((await answer.json())["data"]["total"])

        yield call


@contextlib.asynccontextmanager
async def azure_core(url: str) -> AsyncIterator[Call]:
    policies = [HeadersPolicy(HEADERS), AsyncRetryPolicy(), ContentDecodePolicy(), NetworkTraceLoggingPolicy()]
    async with AsyncPipelineClient(base_url=url, policies=policies) as client:

        async def call(number: int) -> int:
            answer = await client.send_request(HttpRequest("PUT", url + path_of(number), content=b"{}"))
            answer.raise_for_status()
            return int(answer.json()["data"]["total"])

        yield call


@contextlib.asynccontextmanager
async def httpx_async(url: str) -> AsyncIterator[Call]:
    async with httpx.AsyncClient(headers=HEADERS, limits=httpx.Limits(max_connections=CONCURRENCY)) as client:

        async def call(number: int) -> int:
            return int((await client.put(url + path_of(number), content=b"{}")).json()["data"]["total"])

        yield call


@contextlib.asynccontextmanager
async def niquests_async(url: str) -> AsyncIterator[Call]:
    async with niquests.AsyncSession(pool_maxsize=CONCURRENCY) as session:
        session.headers.update(HEADERS)

        async def call(number: int) -> int:
            return int((await session.put(url + path_of(number), data=b"{}")).json()["data"]["total"])

        yield call


@contextlib.asynccontextmanager
async def in_threads(call_in_thread: Callable[[int], int]) -> AsyncIterator[Call]:
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        loop = asyncio.get_running_loop()

        async def call(number: int) -> int:
            return await loop.run_in_executor(pool, call_in_thread, number)

        yield call


def requests_in_threads(url: str) -> AbstractAsyncContextManager[Call]:
    local = threading.local()

    def call(number: int) -> int:
        if not hasattr(local, "session"):
            local.session = requests.Session()
            local.session.headers.update(HEADERS)
        return int(local.session.put(url + path_of(number), data=b"{}", timeout=30).json()["data"]["total"])

    return in_threads(call)


def bigcommerce_in_threads(url: str) -> AbstractAsyncContextManager[Call]:
    local = threading.local()
    plain = {name: value for name, value in HEADERS.items() if name != "Content-Type"}  # it sets that by itself

    def call(number: int) -> int:
        if not hasattr(local, "connection"):
            local.connection = BigcommerceConnection("unused", None)
        answer = local.connection.make_request("PUT", url + path_of(number), {"total": 0}, headers=dict(plain))
        return int(answer["data"]["total"])

    return in_threads(call)


def without(name: str) -> Library:
    """Return our pipeline without one middleware."""

    @contextlib.asynccontextmanager
    async def library(url: str) -> AsyncIterator[Call]:
        credentials, limiter = Credentials("token", "store"), RateLimiter(Quota(100_000, 1.0))
        whole = default_middlewares(credentials, limiter=limiter, retry=RetryPolicy(), timeout=Timeouts())
        kept = [middleware for middleware in whole if type(middleware).__name__ != name]
        async with Client(credentials, base_url=url, limiter=limiter, middlewares=kept) as client:

            async def call(number: int) -> int:
                return (await v3.orders.assign_customer_orders(client, number)).total

            yield call

    return library


MIDDLEWARES: dict[str, Library] = {
    "bare aiohttp": bare_aiohttp,
    "b2b-async": b2b_async,
    **{f"without {name}": without(name) for name in ("CallDeadline", "Reconcile", "Retry", "RateLimit", "Auth")},
}

LIBRARIES: dict[str, Library] = {
    "bare aiohttp": bare_aiohttp,
    "leanest aiohttp": leanest_aiohttp,
    "b2b-async": b2b_async,
    "aiohttp_retry": aiohttp_with_retry,
    "azure-core": azure_core,
    "niquests": niquests_async,
    "httpx": httpx_async,
    "requests in threads": requests_in_threads,
    "bigcommerce in threads": bigcommerce_in_threads,
}


async def measure(call: Call, calls: int) -> tuple[float, float]:
    """Give CPU seconds and wall seconds of *calls*, 16 at once."""
    numbers = iter(range(1, calls + 1))

    async def work() -> None:
        for number in numbers:
            if await call(number) != 3:
                message = "a library lost the answer"
                raise RuntimeError(message)

    cpu, wall = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(work())
    return time.process_time() - cpu, time.perf_counter() - wall


@attrs.frozen
class Round:
    """One slice of a library between two slices of bare aiohttp."""

    cpu: float
    wall: float
    ratio: float


async def compare(libraries: dict[str, Library], url: str, calls: int, rounds: int) -> dict[str, list[Round]]:
    """Measure every library in small slices, each between two slices of bare aiohttp.

    The machine's speed drifts from second to second; neighbours in time share it.
    """
    results: dict[str, list[Round]] = {name: [] for name in libraries}
    async with contextlib.AsyncExitStack() as stack:
        ready = {name: await stack.enter_async_context(library(url)) for name, library in libraries.items()}
        for call in ready.values():  # connections, caches, lazily built hooks
            await measure(call, 200)
        bare = ready["bare aiohttp"]
        before, _ = await measure(bare, calls)
        for _ in range(rounds):
            for name, call in ready.items():
                cpu, wall = await measure(call, calls)
                after, _ = await measure(bare, calls)
                results[name].append(Round(cpu, wall, 2 * cpu / (before + after)))
                before = after
    return results


def show(results: dict[str, list[Round]], calls: int) -> None:
    table = Table(title=f"{CONCURRENCY} at once, {calls} calls a slice, {len(results['bare aiohttp'])} slices")
    for column in ("library", "CPU per call", "ratio to bare aiohttp", "middle half", "calls per second"):
        table.add_column(column, justify="left" if column == "library" else "right")
    for name, slices in results.items():
        low, middle, high = statistics.quantiles((one.ratio for one in slices), n=4)
        table.add_row(
            name,
            f"{statistics.median(one.cpu for one in slices) / calls * 1e6:.0f} µs",
            f"{middle:.2f}",
            f"{low:.2f}-{high:.2f}",
            f"{calls / statistics.median(one.wall for one in slices):,.0f}",
        )
    Console(width=100).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--middlewares", action="store_true", help="what each middleware of our own pipeline costs")
    arguments = parser.parse_args()
    libraries = MIDDLEWARES if arguments.middlewares else LIBRARIES
    with canned_server() as url:
        show(asyncio.run(compare(libraries, url, arguments.calls, arguments.rounds)), arguments.calls)


if __name__ == "__main__":
    main()
