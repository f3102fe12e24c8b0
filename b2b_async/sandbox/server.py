"""The sandbox's HTTP side: an aiohttp server with the vendor's envelope, rules and refusals."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from b2b_async.sandbox import inject, responses
from b2b_async.sandbox.faults import Faults
from b2b_async.sandbox.ledger import CURRENT, Entry
from b2b_async.sandbox.parameters import WrongParameterError
from b2b_async.sandbox.store import Store
from b2b_async.sandbox.throttle import SlidingLog
from b2b_async.sandbox.v2 import V2
from b2b_async.sandbox.v3 import V3

if TYPE_CHECKING:
    from typing import Self

    from aiohttp.typedefs import Handler

__all__ = [
    "Sandbox",
]


class Sandbox:
    """A running sandbox. Use it as an async context manager.

    Args:
        store: The data; None for ten companies of ten buyers.
        quota: The store's quota, as requests/seconds.
        faults: What goes wrong; None for nothing.
        host: A loopback address to listen on.
        port: A port; 0 for a free one.
        latency: Seconds that every answer takes at least.
        ledger_size: Entries of the ledger that are kept, the newest ones; None for all.
        lag: Seconds after which look-ups show what is registered, or a record that is made.
        access_token: The token that v3 accepts, together with *store_hash*.
        store_hash: The store.
        legacy_token: The token that v2 accepts, and v3 if it comes alone.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        quota: str = "150/60s",
        faults: Faults | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        ledger_size: int | None = None,
        lag: float = 0.0,
        access_token: str = "sandbox-access-token",  # noqa: S107 -- opens nothing but this sandbox
        store_hash: str = "sandbox-store",
        legacy_token: str = "sandbox-legacy-token",  # noqa: S107 -- opens nothing but this sandbox
    ) -> None:
        """Set the sandbox up without listening yet."""
        self.store: Store = store or Store()
        self.throttle: SlidingLog = SlidingLog.parse(quota)
        self.faults: Faults = faults or Faults()
        self.access_token: str = access_token
        self.store_hash: str = store_hash
        self.legacy_token: str = legacy_token
        self.url: str = ""
        """Where it listens, once it does: a base URL for the client."""
        self.ledger: list[Entry] = []
        """What really happened: an entry for every request that arrived, in order."""
        self._ledger_size = ledger_size
        self.arrived: int = 0
        """The number of requests that have arrived, also where the ledger keeps fewer."""
        self._address = (host, port)
        self._latency = latency
        self._lag = lag
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(middlewares=[self._identify, self._fail, self._authenticate, self._throttle])
        app.add_routes([*V3(self.store).routes(), *V2(self.store).routes()])
        loop = asyncio.get_running_loop()
        since, started = time.time(), loop.time()
        self.store.clock = lambda: since + loop.time() - started
        self.store.lag = self._lag
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, *self._address)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Stop listening and close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def requests(self) -> list[str]:
        """Method and path of every request that arrived, in order."""
        return [f"{entry.method} {entry.path}" for entry in self.ledger]

    # -- from the outside in: every answer's ids, the faults, who is asking, the quota ---------------------------

    @web.middleware
    async def _identify(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.arrived += 1
        entry = Entry(number=self.arrived, method=request.method, path=request.path)
        self.ledger.append(entry)
        if self._ledger_size is not None and len(self.ledger) > self._ledger_size:
            del self.ledger[0]
        CURRENT.set(entry)
        # Now, so that what is slow is carried out although its sender has gone.
        await request.read()
        if self._latency:
            await asyncio.sleep(self._latency)
        response = await handler(request)
        response.headers.update(_ids(entry))
        entry.status = None if response.status == inject.UNSENT else response.status
        return response

    @web.middleware
    async def _fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        entry = CURRENT.get()
        entry.fault = fault = self.faults.next()
        if fault is None:
            return await handler(request)
        return await inject.inflict(
            fault, request, handler, faults=self.faults, window=self.throttle.window, ids=_ids(entry)
        )

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token, legacy = request.headers.get("X-Auth-Token"), request.headers.get("authToken")
        store = request.headers.get("X-Store-Hash")
        if legacy is not None and store is not None:
            # The vendor's word: "has unexpected results". An error makes the mistake visible.
            return responses.envelope(500, {}, "Internal Server Error")
        if token is not None and request.path.startswith("/api/v3/"):
            if store != self.store_hash:
                return responses.envelope(500, {}, "Internal Server Error")
            known = token == self.access_token
        else:
            known = legacy is not None and legacy == self.legacy_token
        return await handler(request) if known else responses.envelope(401, {}, "Unauthorized")

    @web.middleware
    async def _throttle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        accepted, headers, wait = self.throttle.admit(asyncio.get_running_loop().time())
        if not accepted:
            return responses.throttled(headers, wait)
        try:
            response = await handler(request)
        except WrongParameterError as error:
            if request.path.startswith("/api/v3/"):
                response = responses.wrong_parameter(error.name, error.message)
            else:
                response = responses.refused(400, 40010, "Bad Request Error", **{error.name: error.message})
        except web.HTTPException as error:  # no such route, or not with this method
            response = responses.envelope(error.status, {}, error.reason)
        response.headers.update(headers)
        return response


def _ids(entry: Entry) -> dict[str, str]:
    return {"X-Request-Id": f"sandbox-{entry.number}", "Trace-Id": f"trace-{entry.number}"}
