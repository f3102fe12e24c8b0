"""The sandbox's HTTP side: an aiohttp server with the vendor's envelope, rules and refusals."""

from __future__ import annotations

import asyncio
import json
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from b2b_async.sandbox import answers, damage
from b2b_async.sandbox.faults import Faults
from b2b_async.sandbox.ledger import Entry
from b2b_async.sandbox.store import Store
from b2b_async.sandbox.throttle import SlidingLog

if TYPE_CHECKING:
    from typing import Self

    from aiohttp.typedefs import Handler

    from b2b_async.sandbox.store import Order

_LARGEST_PAGE_OF_USERS = 250
_ENTRY: ContextVar[Entry] = ContextVar("_ENTRY")
"""The ledger's entry of the request that this task is about."""


class Sandbox:
    """A running sandbox. Use it as an async context manager.

    Args:
        store: The data; None for ten companies of ten buyers.
        quota: The store's quota, as requests/seconds.
        faults: What goes wrong; None for nothing.
        host: A loopback address to listen on.
        port: A port; 0 for a free one.
        latency: Seconds that every answer takes at least.
        lag: Seconds after which a newly registered order shows up in look-ups.
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
        lag: float = 0.0,
        access_token: str = "sandbox-access-token",  # noqa: S107 -- opens nothing but this sandbox
        store_hash: str = "sandbox-store",
        legacy_token: str = "sandbox-legacy-token",  # noqa: S107 -- opens nothing but this sandbox
    ) -> None:
        """Set the sandbox up without listening yet."""
        self.store = store or Store()
        self.throttle = SlidingLog.parse(quota)
        self.faults = faults or Faults()
        self.access_token, self.store_hash, self.legacy_token = access_token, store_hash, legacy_token
        self.url = ""
        """Where it listens, once it does: a base URL for the client."""
        self.ledger: list[Entry] = []
        """What really happened: an entry for every request that arrived, in order."""
        self._address = (host, port)
        self._latency = latency
        self._lag = lag
        self._registered_at: dict[str, float] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(middlewares=[self._identify, self._fail, self._authenticate, self._throttle])
        app.router.add_put("/api/v3/io/customers/{customerId}/orders/b2b", self._assign_customer_orders)
        app.router.add_get("/api/v3/io/companies", self._list_companies)
        app.router.add_get("/api/v3/io/users", self._list_users)
        app.router.add_post("/api/v2/io/companies/{companyId}/user/{customerId}/orders", self._create_order)
        app.router.add_get("/api/v2/io/users/{customerId}/companies", self._list_user_companies)
        app.router.add_get("/api/v2/io/orders/{orderBCId}/companyIdBCId", self._get_company_of_order)
        app.router.add_get("/api/v3/io/orders/{bcOrderId}", self._get_order)
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
        entry = Entry(number=len(self.ledger) + 1, method=request.method, path=request.path)
        self.ledger.append(entry)
        _ENTRY.set(entry)
        # Now, so that what is slow is carried out although its sender has gone.
        await request.read()
        if self._latency:
            await asyncio.sleep(self._latency)
        try:
            response = await handler(request)
        except web.HTTPException as error:  # no such route, or not with this method
            response = answers.envelope(error.status, {}, error.reason)
        response.headers.update(_ids(entry))
        entry.status = None if response.status == damage.UNSENT else response.status
        return response

    @web.middleware
    async def _fail(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        entry = _ENTRY.get()
        entry.fault = fault = self.faults.next()
        if fault is None:
            return await handler(request)
        return await damage.inflict(
            fault, request, handler, faults=self.faults, window=self.throttle.window, ids=_ids(entry)
        )

    @web.middleware
    async def _authenticate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token, legacy = request.headers.get("X-Auth-Token"), request.headers.get("authToken")
        store = request.headers.get("X-Store-Hash")
        if legacy is not None and store is not None:
            # The vendor's word: "has unexpected results". An error makes the mistake visible.
            return answers.envelope(500, {}, "Internal Server Error")
        if token is not None and request.path.startswith("/api/v3/"):
            if store != self.store_hash:
                return answers.envelope(500, {}, "Internal Server Error")
            known = token == self.access_token
        else:
            known = legacy is not None and legacy == self.legacy_token
        return await handler(request) if known else answers.envelope(401, {}, "Unauthorized")

    @web.middleware
    async def _throttle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        accepted, headers, wait = self.throttle.admit(asyncio.get_running_loop().time())
        if not accepted:
            return answers.throttled(headers, wait)
        response = await handler(request)
        response.headers.update(headers)
        return response

    # -- endpoints -----------------------------------------------------------------------------------------------

    async def _assign_customer_orders(self, request: web.Request) -> web.Response:
        number = request.match_info["customerId"]
        entry = _ENTRY.get()
        entry.subject = f"customer {number}"
        total = self.store.assign(int(number)) if number.isascii() and number.isdigit() else None
        entry.applied = total is not None
        if total is None:
            message = "User does not exist or action not support for this user."
            return answers.with_json(404, {"code": 404, "data": {}, "meta": {"message": message}})
        return answers.with_json(200, {"code": 200, "data": {"total": total}, "message": "SUCCESS"})

    async def _list_companies(self, request: web.Request) -> web.Response:
        try:
            limit, offset = (int(request.query.get(name, default)) for name, default in (("limit", 10), ("offset", 0)))
        except ValueError:
            return answers.envelope(422, {"limit": "limit and offset must be integers"}, "Unprocessable Entity")
        found = list(self.store.companies.values())
        page = [{"companyId": int(company.id), "companyName": company.name} for company in found[offset:][:limit]]
        return answers.page_of(page, len(found), limit, offset)

    async def _list_users(self, request: web.Request) -> web.Response:
        try:
            limit, offset = (int(request.query.get(name, default)) for name, default in (("limit", 10), ("offset", 0)))
        except ValueError:
            limit = 0
            offset = 0
        if not 1 <= limit <= _LARGEST_PAGE_OF_USERS or offset < 0:
            return answers.envelope(422, {"limit": "limit must be 1 to 250, offset from 0 on"}, "Parameter Error")
        company = request.query.get("companyId")
        found = [user for user in self.store.users.values() if user.company_id and company in {None, user.company_id}]
        page = [
            {
                "id": user.id,
                "customerId": user.customer_id,
                "companyId": int(user.company_id or 0),
                "email": f"buyer{user.customer_id}@example.com",
                "firstName": "Buyer",
                "lastName": str(user.customer_id),
            }
            for user in found[offset:][:limit]
        ]
        return answers.page_of(page, len(found), limit, offset)

    async def _create_order(self, request: web.Request) -> web.Response:
        body = await _object(request)
        order_id, amount = body.get("orderId"), body.get("totalIncTax")
        entry = _ENTRY.get()
        entry.subject = f"order {order_id}"
        if not order_id:
            return answers.with_json(
                400, answers.error(40010, {"bc_order_id": "orderId can not be null"}, "Bad Request Error")
            )
        if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
            return answers.with_json(
                400, answers.error(40010, {"total_inc_tax": "totalIncTax must be a number"}, "Bad Request Error")
            )
        company, customer = request.match_info["companyId"], request.match_info["customerId"]
        if company not in self.store.companies:
            return answers.with_json(404, answers.error(404, {"errMsg": "Companies Does not Exist"}, "Not Found Error"))
        user = self.store.users.get(int(customer)) if customer.isascii() and customer.isdigit() else None
        if user is None or user.company_id != company:
            return answers.with_json(404, answers.error(404, {"errMsg": "User Does not Exist"}, "Not Found Error"))
        order = self.store.orders.get(str(order_id))
        if order is None or order.customer_id != user.customer_id:
            return answers.with_json(404, answers.error(404, {"errMsg": "Order Does not Exist"}, "Not Found Error"))
        if order.company_id is not None:
            entry.repeated = True
            return answers.with_json(
                400, answers.error(40013, {"errMsg": "The order already exists."}, "Bad Request Error")
            )
        order.company_id, order.po_number = company, body.get("poNumber")
        order.total_inc_tax = Decimal(amount)
        entry.applied = True
        self._registered_at[order.id] = asyncio.get_running_loop().time()
        return answers.with_json(200, {"code": 200, "data": {"orderId": order.id}, "message": "Success"})

    async def _list_user_companies(self, request: web.Request) -> web.Response:
        number = request.match_info["customerId"]
        user = self.store.users.get(int(number)) if number.isascii() and number.isdigit() else None
        if user is None or user.company_id is None:
            return answers.with_json(404, answers.error(404, {"errMsg": "User Does not Exist"}, "Not Found Error"))
        company = self.store.companies[user.company_id]
        data = {"companyId": company.id, "companyName": company.name}
        return answers.with_json(200, {"code": 200, "data": data, "message": "Success"})

    async def _get_company_of_order(self, request: web.Request) -> web.Response:
        order = self._shown(request.match_info["orderBCId"])
        if order is None or order.company_id is None:
            return answers.with_json(400, answers.error(40013, {}, "Order does not exist."))
        company = self.store.companies[order.company_id]
        data = {"companyId": company.id, "companyName": company.name}
        return answers.with_json(200, {"code": 200, "data": data, "message": "Success"})

    async def _get_order(self, request: web.Request) -> web.Response:
        order = self._shown(request.match_info["bcOrderId"])
        if order is None or order.company_id is None:
            return answers.envelope(404, {}, "Order Does Not Exist.")
        data = {
            "bcOrderId": int(order.id),
            "companyId": int(order.company_id),
            "poNumber": order.po_number,
            "totalIncTax": str(order.total_inc_tax),
        }
        return answers.with_json(200, {"code": 200, "data": data, "meta": {"message": "SUCCESS"}})

    def _shown(self, order_id: str) -> Order | None:
        """Find an order as look-ups show it: a new record takes its time."""
        since = self._registered_at.get(order_id)
        if since is not None and asyncio.get_running_loop().time() < since + self._lag:
            return None
        return self.store.orders.get(order_id)


def _ids(entry: Entry) -> dict[str, str]:
    return {"X-Request-Id": f"sandbox-{entry.number}", "Trace-Id": f"trace-{entry.number}"}


async def _object(request: web.Request) -> dict[str, Any]:
    """Read a JSON object; anything else is as good as an empty one, which the endpoint then refuses."""
    try:
        value: object = json.loads(await request.read(), parse_float=Decimal)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
