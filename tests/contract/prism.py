"""All operations against Prism, a server that knows the contract: alone as a mock, and in front of our sandbox.

    python tests/contract/prism.py [FOLDER]

FOLDER is where @stoplight/prism-cli is installed, or will be (from npm; else in a temporary folder). Without node there
is nothing to do. Prism is started with the vendor's files as they are, so what it names beside a request that was
accepted is a fault of the contract, or of ours. Its answers list violations in the header sl-violations.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from yarl import URL

sys.path.insert(0, str(Path(__file__).parent.parent))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from contract.calls import CALLS, place, store
from contract import openapi

from b2b_async import B2BError, Client, Credentials, RetryPolicy
from b2b_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from b2b_async import Handler, Request, Response

PACKAGE = "@stoplight/prism-cli@5"
READY = "Prism is listening on"
FAULTS = {
    "v3.orders.assign_customer_orders": "the contract has no body for it; the vendor's own example sends {}",
    "v3.orders.list_order_extra_field_configs": "the example of one value in listOfValues is a list of values",
    "v3.companies.get_company": "the contract calls Unix seconds in a string format: time, which is 12:30:00Z",
}
"""Faults of the contract because of which Prism refuses a good request, or a good answer."""


def install(folder: Path) -> Path:
    """Give the command, installed where it is not yet."""
    command = folder / "node_modules" / ".bin" / "prism"
    if not command.exists():
        subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), PACKAGE], check=True)  # noqa: S607
    return command


@asynccontextmanager
async def prism(command: Path, mode: str, version: openapi.Version, *words: str) -> AsyncGenerator[str]:
    """Run Prism; give where it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    contract = openapi.HERE / f"openapi-{version}.json"
    arguments = [mode, str(contract), *words, "--port", str(port)]
    process = await asyncio.create_subprocess_exec(str(command), *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        while READY not in (line := (await process.stdout.readline()).decode()):
            assert line, "Prism has ended"
        drain = asyncio.ensure_future(process.stdout.read())
        yield f"http://127.0.0.1:{port}"
        drain.cancel()
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def without_base_path(**servers: str) -> AsyncGenerator[str]:
    """Pass requests on without /api/VERSION/io, which Prism does not serve; give where it listens."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def forward(request: web.Request) -> web.Response:
            version = request.path.split("/")[2]
            path = request.raw_path.removeprefix(f"/api/{version}/io")
            headers = {name: value for name, value in request.headers.items() if name != "Host"}
            url = servers[version] + path
            async with session.request(
                request.method, URL(url, encoded=True), headers=headers, data=await request.read()
            ) as answer:
                kept = {
                    name: answer.headers[name] for name in ("Content-Type", "sl-violations") if name in answer.headers
                }
                return web.Response(status=answer.status, headers=kept, body=await answer.read())

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
        await runner.cleanup()


async def ask(url: str) -> dict[str, tuple[str, list[str]]]:
    """Call everything; give what became of it, and what Prism says is wrong."""
    found: dict[str, tuple[str, list[str]]] = {}
    violations: list[str] = []

    async def listen(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        for one in json.loads(response.headers.get("sl-violations", "[]")):
            place = ".".join(map(str, one["location"]))
            violations.append(f"{one['severity']} {place}: {one['message']}")
        return response

    credentials = Credentials("sandbox-access-token", "sandbox-store", "sandbox-legacy-token")
    async with Client(credentials, base_url=url, retry=RetryPolicy(attempts=1), per_attempt=[listen]) as client:
        for call in CALLS:
            violations.clear()
            try:
                answered = await client.with_response(call.make)
                became = f"accepted, {answered.response.status}"
            except B2BError as error:
                became = f"{type(error).__name__} {error.status}: {error.message}"
            found[call.name] = became, list(violations)
    return found


def show(title: str, found: dict[str, tuple[str, list[str]]]) -> bool:
    """Print it; say whether all was accepted, but for faults of the contract."""
    print(f"\n{title}")
    refused: list[str] = []
    for name, (became, violations) in found.items():
        print(f"  {name:48} {became}")
        for violation in violations:
            print(f"      {violation}")
        if not became.startswith("accepted"):
            refused.append(name)
            print(f"      fault of the contract: {FAULTS.get(name, 'NOT A KNOWN ONE')}")
    print(f"  {len(found) - len(refused)} of {len(found)} accepted")
    return set(refused) <= set(FAULTS)


async def main(folder: Path) -> bool:
    """Run both."""
    command = await asyncio.to_thread(install, folder)
    async with prism(command, "mock", "v3") as v3, prism(command, "mock", "v2") as v2:
        async with without_base_path(v3=v3, v2=v2) as url:
            alone = show("Prism as a mock", await ask(url))
    async with Sandbox(store()) as sandbox:
        upstream: dict[Any, str] = {version: f"{sandbox.url}/api/{version}/io" for version in ("v3", "v2")}
        async with (
            prism(command, "proxy", "v3", upstream["v3"], "--errors") as v3,
            prism(command, "proxy", "v2", upstream["v2"], "--errors") as v2,
        ):
            place(sandbox)  # only now: Prism takes seconds to start, and the order must be young
            async with without_base_path(v3=v3, v2=v2) as url:
                before = show("Prism in front of the sandbox", await ask(url))
    return alone and before


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    if shutil.which("node") is None or shutil.which("npm") is None:
        print("skipped: there is no node")
    else:
        with tempfile.TemporaryDirectory() as temporary:
            good = asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else temporary)))
        sys.exit(0 if good else 1)
