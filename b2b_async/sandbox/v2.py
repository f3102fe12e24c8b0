"""The sandbox's v2: orders, and the companies that they belong to."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from b2b_async.sandbox import parameters, responses
from b2b_async.sandbox.ledger import CURRENT
from b2b_async.sandbox.store import DAY, is_id

if TYPE_CHECKING:
    from b2b_async.sandbox.store import Order, Store, User

    JSON = dict[str, Any]

__all__ = [
    "V2",
]

_LARGEST_PAGE = 200
_LARGEST_AMOUNT = 10**12
_SORTS = ("bcOrderId", "totalIncTax", "createdAt")


class V2:
    """The endpoints over a store."""

    def __init__(self, store: Store) -> None:
        """Serve *store*."""
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        """Say which handler answers what."""
        root = "/api/v2/io"
        return [
            web.post(f"{root}/companies/users/{{customerId}}/orders", self.create_order_without_company_id),
            web.get(f"{root}/companies/{{companyId}}/orderBCIds", self.list_bc_order_ids),
            web.get(f"{root}/companies/{{companyId}}/orders", self.list_company_orders),
            web.post(f"{root}/companies/{{companyId}}/user/{{customerId}}/orders", self.create_order),
            web.put(f"{root}/orders", self.update_company_order),
            web.put(f"{root}/orders/company", self.update_user_orders_company),
            web.post(f"{root}/orders/company", self.update_bc_orders_company),
            web.get(f"{root}/orders/images", self.get_orders_images),
            web.get(f"{root}/orders/{{orderBCId}}/companyIdBCId", self.get_company_by_bc_order_id),
            web.get(f"{root}/orders/{{orderId}}/companyId", self.get_company_id_by_order_id),
            web.get(f"{root}/orders/{{orderId}}/details", self.get_order_detail),
            web.get(f"{root}/orders/{{orderId}}/products", self.get_order_product),
            web.get(f"{root}/users/{{customerId}}/companies", self.get_company_by_customer_id),
        ]

    # -- what changes something ----------------------------------------------------------------------------------

    async def create_order(self, request: web.Request) -> web.Response:
        """Create An Order."""
        body, company = await parameters.body(request), request.match_info["companyId"]
        CURRENT.get().subject = f"order {body.get('orderId')}"
        if refusal := _wrong_registration(body):
            return refusal
        if company not in self._store.companies:
            return responses.not_found("Companies Does not Exist")
        user = self._store.user(request.match_info["customerId"])
        if user is None or user.company_id != company:
            return responses.not_found("User Does not Exist")
        return self._register(user, body)

    async def create_order_without_company_id(self, request: web.Request) -> web.Response:
        """Create Order Without CompanyID."""
        body = await parameters.body(request)
        CURRENT.get().subject = f"order {body.get('orderId')}"
        if refusal := _wrong_registration(body):
            return refusal
        user = self._store.user(request.match_info["customerId"])
        return responses.not_found("Companies Does not Exist") if user is None else self._register(user, body)

    def _register(self, user: User, body: dict[str, Any]) -> web.Response:
        entry, order = CURRENT.get(), self._store.orders.get(str(body["orderId"]))
        if order is None or order.customer_id != user.customer_id:
            return responses.not_found("Order Does not Exist")
        if order.company_id is not None:
            entry.repeated = True
            return responses.refused(400, 40013, "Bad Request Error", errMsg="The order already exists.")
        order.po_number, order.total_inc_tax = body.get("poNumber"), Decimal(body["totalIncTax"])
        self._store.register(order, str(user.company_id))
        entry.applied = True
        return responses.done({"orderId": order.id})

    async def update_company_order(self, request: web.Request) -> web.Response:
        """Update Company Order With BC OrderId."""
        body = await parameters.body(request)
        order_id = body.pop("orderId", None)
        entry = CURRENT.get()
        entry.subject = f"order {order_id}"
        if not order_id:
            return responses.refused(400, 40010, "Bad Request Error", bc_order_id="orderId can not be null")
        if not isinstance(body.get("poNumber"), str | None):
            return responses.refused(400, 40010, "Bad Request Error", po_number="poNumber must be a string")
        order = self._store.record(str(order_id))
        if order is None or self._store.company_of(order) is None:
            return responses.not_found("Order Does not Exist")
        entry.applied = True
        order.changes |= body
        order.po_number = body.get("poNumber", order.po_number)
        self._store.touch(order)
        return responses.done({"orderId": order.id})

    async def update_bc_orders_company(self, request: web.Request) -> web.Response:
        """Update BC Order's 'Company attribute'."""
        customer = str((await parameters.body(request)).get("customerID"))
        entry = CURRENT.get()
        entry.subject = f"customer {customer}"
        entry.applied = is_id(customer) and self._store.assign(int(customer)) is not None
        return responses.done({}) if entry.applied else responses.refused(400, 40013, "Customer does not exist.")

    async def update_user_orders_company(self, request: web.Request) -> web.Response:
        """Update B2BE User's Orders' company attribute."""
        body, entry = await parameters.body(request), CURRENT.get()
        customer, group = str(body.get("customerID")), str(body.get("customerGroupID"))
        entry.subject = f"customer {customer}"
        company = self._store.company_of_group(int(group)) if is_id(group) else None
        if company is None:
            return responses.refused(400, 40013, "Customer group does not exist.")
        entry.applied = is_id(customer) and self._store.reassign(int(customer), company) is not None
        return responses.done({}) if entry.applied else responses.refused(400, 40013, "Customer does not exist.")

    # -- what only looks -----------------------------------------------------------------------------------------

    async def list_company_orders(self, request: web.Request) -> web.Response:
        """Get Company Orders."""
        found = self._orders_of(request)
        if found is None:
            return responses.not_found("Companies Does not Exist")
        limit, offset = parameters.window(request, _LARGEST_PAGE)
        sort_by, channel = (
            parameters.choice(request, "orderBy", _SORTS, "bcOrderId"),
            parameters.number(request, "channelId"),
        )
        extra = parameters.choice(request, "includeExtra", ("0", "1"), "0") == "1"
        found = [order for order in found if channel in {None, order.channel_id}]
        if sort_by == "bcOrderId":
            found.sort(key=lambda order: (len(order.id), order.id))
        else:
            found.sort(key=lambda order: order.total_inc_tax if sort_by == "totalIncTax" else Decimal(order.created_at))
        page = [self._listed(order, extra=extra) for order in found[offset:][:limit]]
        return responses.list_of(page, len(found), limit, offset)

    async def list_bc_order_ids(self, request: web.Request) -> web.Response:
        """Get BC Order Id List By Company Id."""
        found = self._orders_of(request)
        if found is None:
            return responses.not_found("Companies Does not Exist")
        limit, offset = parameters.window(request, _LARGEST_PAGE)
        return responses.list_of([{"orderId": order.id} for order in found[offset:][:limit]], len(found), limit, offset)

    async def get_orders_images(self, request: web.Request) -> web.Response:
        """Get Orders Images."""
        orders = map(self._store.record, request.query.get("orderIds", "").split(","))
        images = [{"imageUrl": f"https://example.com/{order.id}.png", "orderId": order.id} for order in orders if order]
        return responses.done(images)

    async def get_company_by_bc_order_id(self, request: web.Request) -> web.Response:
        """Get Company By BC OrderId."""
        order = self._store.record(request.match_info["orderBCId"])
        company = None if order is None else self._store.company_of(order)
        if company is None:
            return responses.refused(400, 40013, "Order does not exist.")
        data = {"companyId": company.id, "companyName": company.name, "customerGroupId": str(company.group_id)}
        return responses.done(data)

    async def get_company_id_by_order_id(self, request: web.Request) -> web.Response:
        """Get Company Id By Order Id."""
        order = self._store.record(request.match_info["orderId"])
        company = None if order is None else self._store.company_of(order)
        if company is None:
            return responses.refused(400, 40013, "Order does not exist.")
        return responses.done({"companyId": company.id})

    async def get_order_detail(self, request: web.Request) -> web.Response:
        """Get Order Detail: amounts are strings, and names of both kinds."""
        order = self._store.record(request.match_info["orderId"])
        if order is None:
            return responses.not_found("Order Does not Exist")
        amount = f"{order.total_inc_tax:.4f}"
        detail: dict[str, Any] = {
            "id": order.id,
            "cart_id": f"cart-{order.id}",
            "channel_id": str(order.channel_id),
            "currency_code": "USD",
            "currency_exchange_rate": "1.0000000000",
            "customer_id": order.customer_id,
            "customer_message": "",
            "date_created": format_datetime(datetime.fromtimestamp(order.created_at, UTC)),
            "date_modified": format_datetime(datetime.fromtimestamp(order.updated_at, UTC)),
            "date_shipped": "",
            "default_currency_code": "USD",
            "is_deleted": False,
            "items_shipped": 0,
            "items_total": sum(product.quantity for product in order.products),
            "payment_method": "PO",
            "poNumber": order.po_number or "",
            "staff_notes": "",
            "status": order.status,
            "status_id": 11,
            "total_ex_tax": amount,
            "total_inc_tax": amount,
            "total_tax": "0.0000",
            "billing_address": {"city": "Irvine", "country": "United States", "country_iso2": "US", "form_fields": []},
            "shippingAddress": {"base_cost": "0.0000", "city": "Irvine", "id": order.record_id, "order_id": order.id},
            "products": [
                {
                    "id": str(product.id),
                    "name": product.name,
                    "order_id": order.id,
                    "product_id": product.product_id,
                    "quantity": str(product.quantity),
                    "is_refunded": False,
                    "weight": "1.0000",
                }
                for product in order.products
            ],
        }
        return responses.done(_changed(detail, order.changes))

    async def get_order_product(self, request: web.Request) -> web.Response:
        """Get Order Product: one alone, several in a list."""
        order = self._store.record(request.match_info["orderId"])
        if order is None:
            return responses.not_found("Order Does not Exist")
        products: list[dict[str, Any]] = [
            {
                "optionList": [],
                "productId": str(product.product_id),
                "variantId": str(product.product_id + 1000),
                "quantity": str(product.quantity),
            }
            for product in order.products
        ]
        return responses.done(products if len(products) > 1 else products[0])

    async def get_company_by_customer_id(self, request: web.Request) -> web.Response:
        """Get Company By CustomerId."""
        user = self._store.user(request.match_info["customerId"])
        if user is None:
            return responses.not_found("User Does not Exist")
        company = self._store.companies[str(user.company_id)]
        data = {
            "companyId": company.id,
            "companyName": company.name,
            "companyStatus": str(company.status),
            "addressLine1": f"{company.id} Main Street",
            "addressLine2": "",
            "catalogId": "",
            "city": "Irvine",
            "state": "California",
            "country": "United States",
            "zipCode": "92618",
            "description": company.name,
        }
        return responses.done(data)

    def _orders_of(self, request: web.Request) -> list[Order] | None:
        """List the orders of a company between two days, by their ids; None if there is no such company."""
        company_id = request.match_info["companyId"]
        if company_id not in self._store.companies:
            return None
        since, until = _day(request, "beginDateAt"), _day(request, "endDateAt")
        return [
            order
            for order in self._store.orders.values()
            if (company := self._store.company_of(order)) is not None
            and company.id == company_id
            and (since is None or order.created_at >= since.timestamp())
            and (until is None or order.created_at < until.timestamp() + DAY)
            and self._store.record(order.id) is order
        ]

    def _listed(self, order: Order, *, extra: bool) -> dict[str, Any]:
        company = self._store.companies[str(order.company_id)]
        return {
            "orderId": order.id,
            "orderStatus": order.status,
            "companyName": company.name,
            "createdAt": str(order.created_at),
            "updatedAt": str(order.updated_at),
            "firstName": "Buyer",
            "lastName": str(order.customer_id),
            "isInvoiceOrder": "0",
            "totalIncTax": f"{order.total_inc_tax:.4f}",
            "channelId": str(order.channel_id),
            "channelName": f"Channel {order.channel_id}",
            **({"extraFields": order.extra_fields} if extra else {}),
        }


def _changed(detail: JSON, changes: JSON) -> JSON:
    """Show what v2 has changed in an order, or in a part of one, by the names of the details; null as an empty text."""
    changed = dict(detail)
    for name, value in changes.items():
        own = next((own for own in detail if _plain(own) == _plain(name)), name)
        before = detail.get(own)
        if isinstance(value, dict) and isinstance(before, dict):
            changed[own] = _changed(cast("JSON", before), cast("JSON", value))
        elif isinstance(value, list) and isinstance(before, list):
            lines = [cast("JSON", line) for line in cast("list[object]", value) if isinstance(line, dict)]
            changed[own] = [_line(line, lines) for line in cast("list[JSON]", before)]
        else:
            changed[own] = _of_the_same_type(cast("object", value), before)
    return changed


def _of_the_same_type(value: object, before: object) -> object:
    """Read what v2 takes as a string for what the details have as a number or as yes or no."""
    if isinstance(before, bool):
        return value in {"1", "true"}
    if isinstance(before, int):
        return int(value) if isinstance(value, str) and is_id(value) else before
    return "" if value is None else value


def _line(line: JSON, changes: list[JSON]) -> JSON:
    """Show what v2 has changed in a line, which is named by its product."""
    for change in changes:
        if str(change.get("productId")) == str(line["product_id"]):
            return _changed(line, change)
    return line


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _wrong_registration(body: dict[str, Any]) -> web.Response | None:
    """Refuse a body that registers nothing."""
    if not body.get("orderId"):
        return responses.refused(400, 40010, "Bad Request Error", bc_order_id="orderId can not be null")
    amount = body.get("totalIncTax")
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or not 0 <= amount < _LARGEST_AMOUNT:
        return responses.refused(400, 40010, "Bad Request Error", total_inc_tax="totalIncTax must be a number")
    if not isinstance(body.get("poNumber"), str | None):
        return responses.refused(400, 40010, "Bad Request Error", po_number="poNumber must be a string")
    return None


def _day(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        return datetime.strptime(text, "%m/%d/%Y").replace(tzinfo=UTC)
    except ValueError:
        message = "Use the form 12/31/2026."
        raise parameters.WrongParameterError(name, message) from None
