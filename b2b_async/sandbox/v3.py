"""The sandbox's v3: orders, users, companies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

from b2b_async.sandbox import parameters, responses
from b2b_async.sandbox.ledger import CURRENT
from b2b_async.sandbox.store import YEAR, is_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async.sandbox.store import Company, Order, Store, User

__all__ = [
    "V3",
]

_LARGEST_PAGE = 200
_LARGEST_PAGE_OF_USERS = 250
_LARGEST_PAGE_OF_COMPANIES = 249
_FOREVER = 2**53
_MONEY = {
    "currencyLocation": "left",
    "currencyToken": "$",
    "decimalToken": ".",
    "decimalPlaces": 2,
    "thousandsToken": ",",
}
_OLDER_STORES: dict[str, None] = dict.fromkeys(
    [*(f"extraInt{n}" for n in range(1, 6)), *(f"extraStr{n}" for n in range(1, 6)), "extraText"]
)
_ROLES = ("Admin", "Senior Buyer", "Junior Buyer")


class V3:
    """The endpoints over a store."""

    def __init__(self, store: Store) -> None:
        """Serve *store*."""
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        """Say which handler answers what."""
        root = "/api/v3/io"
        return [
            web.get(f"{root}/orders", self.list_orders),
            web.post(f"{root}/orders", self.create_order),
            web.get(f"{root}/orders/extra-fields", self.list_order_extra_field_configs),
            web.get(f"{root}/orders/{{bcOrderId}}", self.get_order),
            web.put(f"{root}/orders/{{bcOrderId}}", self.update_order),
            web.get(f"{root}/orders/{{bcOrderId}}/products", self.list_order_products),
            web.put(f"{root}/customers/{{customerId}}/orders/company", self.reassign_orders),
            web.put(f"{root}/customers/{{customerId}}/orders/b2b", self.assign_customer_orders),
            web.get(f"{root}/users", self.list_users),
            web.get(f"{root}/users/{{userId}}", self.get_user),
            web.get(f"{root}/users/customer/{{customerId}}", self.get_user_by_customer_id),
            web.get(f"{root}/companies", self.list_companies),
            web.get(f"{root}/companies/{{companyId}}", self.get_company),
        ]

    # -- orders --------------------------------------------------------------------------------------------------

    async def list_orders(self, request: web.Request) -> web.Response:
        """List Orders: without a lower bound, nothing that is older than a year."""
        limit, offset = parameters.window(request, _LARGEST_PAGE)
        least, most = parameters.number(request, "minCreated"), parameters.number(request, "maxCreated")
        changed_since, changed_until = (
            parameters.number(request, "minModified"),
            parameters.number(request, "maxModified"),
        )
        sort_by = parameters.choice(request, "sortBy", ("createdAt", "updatedAt"), "updatedAt")
        order_by = parameters.choice(request, "orderBy", ("ASC", "DESC"), "DESC")
        extra = parameters.choice(request, "showExtra", ("true", "false", "True", "False", "1", "0"), "false")
        # By the contract, who names no channel means the first one.
        channels = parameters.numbers(request, "channelIds[]") or {1}
        number = parameters.number(request, "bcOrderId")
        company = parameters.number(request, "companyId")

        if least is None:
            least = int(self._store.clock()) - YEAR if changed_since is None else 0
        found = self._store.records(least, _FOREVER if most is None else most)
        if changed_since is not None or changed_until is not None:
            until = _FOREVER if changed_until is None else changed_until
            found = [order for order in found if (changed_since or 0) <= order.updated_at <= until]
        if company is not None:
            found = [order for order in found if _is(self._store.company_of(order), str(company))]
        if number is not None:
            found = [order for order in found if int(order.id) == number]
        found = [order for order in found if order.channel_id in channels]
        if sort_by == "updatedAt":
            found.sort(key=lambda order: (order.updated_at, order.record_id))
        if order_by == "DESC":
            found.reverse()
        shown = [self._shown(order, extra=extra.lower() in {"true", "1"}) for order in found[offset:][:limit]]
        return responses.page_of(shown, len(found), limit, offset)

    async def create_order(self, request: web.Request) -> web.Response:
        """Create Order: only as long as there is no record of the order."""
        body = await parameters.body(request)
        number, customer = body.get("bcOrderId"), body.get("customerId")
        entry = CURRENT.get()
        entry.subject = f"order {number}"
        order = self._store.orders.get(str(number))
        if order is None or isinstance(number, bool) or order.customer_id != customer:
            return responses.envelope(400, {}, "The order does not exist.")
        if order.claimed or order.sync_at <= self._store.clock():
            entry.repeated = True
            return responses.envelope(400, {}, "The order already exists.")
        if refusal := self._change(order, body):
            return refusal
        entry.applied = order.claimed = True
        order.recorded_at = min(order.recorded_at, self._store.clock() + self._store.lag)
        return responses.envelope(200, self._shown(order, extra=True), "SUCCESS")

    async def get_order(self, request: web.Request) -> web.Response:
        """Get Order."""
        order = self._record(request)
        if order is None:
            return responses.envelope(404, {}, "Order Does Not Exist.")
        return responses.envelope(200, [self._shown(order, extra=True, alone=True)], "SUCCESS")

    async def update_order(self, request: web.Request) -> web.Response:
        """Update Order."""
        body, order, entry = await parameters.body(request), self._record(request), CURRENT.get()
        entry.subject = f"order {request.match_info['bcOrderId']}"
        if order is None:
            return responses.envelope(404, {}, "Not Found Error")
        if not body.keys() & {"poNumber", "extraFields"}:
            text = "poNumber or extraFields is required"
            return responses.envelope(422, {"errMsg": text}, text)
        if refusal := self._change(order, body):
            return refusal
        entry.applied = True
        self._store.touch(order)
        shown = [self._shown(order, extra=True, alone=True)]
        return responses.with_json(200, {"code": 200, "data": shown, "message": "SUCCESS"})

    async def reassign_orders(self, request: web.Request) -> web.Response:
        """Reassign Orders to Different Company."""
        number, group = request.match_info["customerId"], (await parameters.body(request)).get("bcGroupId")
        entry = CURRENT.get()
        entry.subject = f"customer {number}"
        company = None
        if isinstance(group, int) and not isinstance(group, bool):
            company = self._store.company_of_group(group)
        total = self._store.reassign(int(number), company) if company is not None and is_id(number) else None
        entry.applied = total is not None
        return _total(total, "User does not exist or action not supported for this user")

    async def list_order_products(self, request: web.Request) -> web.Response:
        """List Order Products."""
        order = self._record(request)
        if order is None:
            return responses.envelope(404, {}, "The order does not exist.")
        products: list[dict[str, Any]] = [
            {
                "id": product.id,
                "productId": product.product_id,
                "productName": product.name,
                "productBrandName": "Sample",
                "variantId": product.product_id + 1000,
                "variantSku": f"SKU-{product.product_id}",
                "quantity": product.quantity,
                "options": [],
                "createdAt": order.created_at,
                "updatedAt": order.updated_at,
            }
            for product in order.products
        ]
        return responses.with_json(200, {"code": 200, "data": products, "message": "SUCCESS"})

    async def assign_customer_orders(self, request: web.Request) -> web.Response:
        """Assign Customer Orders to Company."""
        number = request.match_info["customerId"]
        entry = CURRENT.get()
        entry.subject = f"customer {number}"
        total = self._store.assign(int(number)) if is_id(number) else None
        entry.applied = total is not None
        return _total(total, "User does not exist or action not support for this user.")

    async def list_order_extra_field_configs(self, request: web.Request) -> web.Response:
        """List Order Extra Field Configs."""
        limit, offset = parameters.window(request, _LARGEST_PAGE)
        names = self._store.EXTRA_FIELDS
        configs: list[dict[str, Any]] = [
            {
                "id": 9798 + number,
                "uuid": 123456 + number,
                "fieldName": name,
                "fieldType": 0,
                "isRequired": False,
                "isUnique": False,
                "visibleToEnduser": True,
                "configType": 2,
                "defaultValue": "",
                "labelName": name,
                "maximumLength": 100,
                "numberOfRows": 1,
                "listOfValues": [],
            }
            for number, name in enumerate(names)
        ]
        return responses.page_of(configs[offset:][:limit], len(names), limit, offset)

    def _record(self, request: web.Request) -> Order | None:
        number = request.match_info["bcOrderId"]
        return self._store.record(str(int(number))) if is_id(number) else None

    def _change(self, order: Order, body: dict[str, Any]) -> web.Response | None:
        """Change what a body names; null empties a field."""
        named = body.get("extraFields")
        fields = _fields([] if named is None else named)
        if fields is None:
            return responses.envelope(422, {"errMsg": "extraFields is not valid"}, "extraFields is not valid")
        for name in fields:
            if name not in self._store.EXTRA_FIELDS:
                text = f"{name} is not an extra field"
                return responses.envelope(422, {"errMsg": text}, text)
        if "poNumber" in body:
            if not isinstance(body["poNumber"], str | None):
                return responses.envelope(422, {"errMsg": "poNumber is not valid"}, "poNumber is not valid")
            order.po_number = body["poNumber"]
        if "extraFields" in body:
            order.extra_fields = {**order.extra_fields, **fields} if body["extraFields"] is not None else {}
        return None

    def _shown(self, order: Order, *, extra: bool, alone: bool = False) -> dict[str, Any]:
        company = self._store.company_of(order)
        shown: dict[str, Any] = {
            "id": order.record_id,
            "bcOrderId": int(order.id),
            "totalIncTax": order.total_inc_tax,
            "poNumber": order.po_number or "",
            "status": order.status,
            "customStatus": order.status,
            "cartId": f"cart-{order.id}",
            "items": sum(product.quantity for product in order.products),
            "usdIncTax": order.total_inc_tax,
            "companyId": None if company is None else int(company.id),
            "currencyCode": "USD",
            "money": [_MONEY],
            "statusCode": 11,
            "isArchived": False,
            "channelId": order.channel_id,
            "channelName": f"Channel {order.channel_id}",
            "createdAt": order.created_at,
            "updatedAt": order.updated_at,
        }
        if alone:
            shown |= {"isInvoiceOrder": 0, "invoiceId": None, "invoiceNumber": None, "invoiceStatus": None}
        if extra:
            fields = [{"fieldName": name, "fieldValue": value} for name, value in order.extra_fields.items()]
            info = [{"billingAddressId": order.record_id, "shippingAddressId": order.record_id + 1}]
            shown |= {**_OLDER_STORES, "extraInfo": info, "extraFields": fields}
        return shown

    # -- users ---------------------------------------------------------------------------------------------------

    async def list_users(self, request: web.Request) -> web.Response:
        """List B2B Users."""
        limit, offset = parameters.window(request, _LARGEST_PAGE_OF_USERS)
        company, channel = parameters.number(request, "companyId"), parameters.number(request, "channelId")
        roles = parameters.numbers(request, "roles", "roles[]")
        if wrong := roles - {0, 1, 2}:
            return responses.wrong_parameter("roles", f'"{min(wrong)}" is not a valid choice.')
        extra = parameters.choice(request, "isIncludeExtraFields", ("0", "1"), "0") == "1"
        email, words = request.query.get("email"), request.query.get("q", "").lower()
        between = _between(request)
        found = [
            user
            for user in self._store.users.values()
            if user.company_id is not None
            and company in {None, int(user.company_id)}
            and channel in {None, 1}
            and (not roles or user.role in roles)
            and email in {None, user.email}
            and words in f"buyer {user.customer_id} {user.email}"
            and between(user)
        ]
        return responses.page_of(
            [_user(user, extra=extra) for user in found[offset:][:limit]], len(found), limit, offset
        )

    async def get_user(self, request: web.Request) -> web.Response:
        """Get User Details."""
        number = request.match_info["userId"]
        users = (user for user in self._store.users.values() if user.company_id and str(user.id) == number)
        return _found(next(users, None))

    async def get_user_by_customer_id(self, request: web.Request) -> web.Response:
        """Get User Details by BigCommerce Customer ID."""
        return _found(self._store.user(request.match_info["customerId"]))

    # -- companies -----------------------------------------------------------------------------------------------

    async def list_companies(self, request: web.Request) -> web.Response:
        """List Companies."""
        limit, offset = parameters.window(request, _LARGEST_PAGE_OF_COMPANIES)
        status, group = parameters.number(request, "companyStatus"), parameters.number(request, "bcGroupId")
        customer = request.query.get("customerId")
        orders = [request.query[name] for name in ("bcOrderId", "orderId") if name in request.query]
        extra = parameters.choice(request, "isIncludeExtraFields", ("0", "1"), "0") == "1"
        exact = parameters.choice(request, "extraFieldFilterType", ("search", "exact-match"), "search") == "exact-match"
        sort_by = parameters.choice(request, "sortBy", ("companyName", "updatedAt"), "updatedAt")
        order_by = parameters.choice(request, "orderBy", ("ASC", "DESC"), "DESC")
        fields = [part.partition(":") for part in request.query.get("extraFields", "").split(",") if part]
        words, between = request.query.get("q", "").lower(), _between(request)
        user = None if customer is None else self._store.user(customer)

        found = [
            company
            for company in self._store.companies.values()
            if status in {None, company.status}
            and group in {None, company.group_id}
            and (customer is None or (user is not None and user.company_id == company.id))
            and all(_is(self._company_of(order_id), company.id) for order_id in orders)
            and all(_has(company, name, value, exact=exact) for name, _, value in fields)
            and words in company.name.lower()
            and between(company)
        ]
        found.sort(key=lambda company: company.name if sort_by == "companyName" else f"{company.updated_at:020}")
        if order_by == "DESC":
            found.reverse()
        page = [{**_company(company, extra=extra), "bcGroupId": company.group_id} for company in found[offset:][:limit]]
        return responses.page_of(page, len(found), limit, offset)

    async def get_company(self, request: web.Request) -> web.Response:
        """Get Company."""
        company = self._store.companies.get(request.match_info["companyId"])
        if company is None:
            return responses.envelope(404, {}, "This resource is not found.")
        return responses.envelope(200, {**_company(company, extra=True), "bcGroupId": str(company.group_id)}, "SUCCESS")

    def _company_of(self, order_id: str) -> Company | None:
        order = self._store.record(order_id)
        return None if order is None else self._store.company_of(order)


def _is(company: Company | None, company_id: str) -> bool:
    return company is not None and company.id == company_id


def _has(company: Company, name: str, value: str, *, exact: bool) -> bool:
    mine = company.extra_fields.get(name)
    return mine is not None and (mine == value if exact else value.lower() in mine.lower())


def _total(total: int | None, refusal: str) -> web.Response:
    if total is None:
        return responses.envelope(404, {}, refusal)
    return responses.with_json(200, {"code": 200, "data": {"total": total}, "message": "SUCCESS"})


def _fields(value: object) -> dict[str, str] | None:
    """Read extra fields; None if they are none."""
    fields: dict[str, str] = {}
    for field in cast("list[object]", value) if isinstance(value, list) else [None]:
        known = cast("dict[str, object]", field) if isinstance(field, dict) else {}
        name, text = known.get("fieldName"), known.get("fieldValue")
        if not isinstance(name, str) or not isinstance(text, str | None):
            return None
        fields[name] = text or ""
    return fields


def _between(request: web.Request) -> Any:  # noqa: ANN401 -- a predicate of what has times
    """Read the bounds of the times of users and companies."""
    made = parameters.number(request, "minCreated", 0), parameters.number(request, "maxCreated", _FOREVER)
    changed = parameters.number(request, "minModified", 0), parameters.number(request, "maxModified", _FOREVER)
    bounds = cast("Iterable[tuple[int, int]]", (made, changed))

    def fits(one: User | Company) -> bool:
        return all(
            least <= moment <= most
            for (least, most), moment in zip(bounds, (one.created_at, one.updated_at), strict=True)
        )

    return fits


def _user(user: User, *, extra: bool) -> dict[str, Any]:
    return {
        "id": user.id,
        "customerId": user.customer_id,
        "companyId": int(user.company_id or 0),
        "email": user.email,
        "firstName": "Buyer",
        "lastName": str(user.customer_id),
        "phoneNumber": f"+1-555-{user.id}",
        "role": user.role,
        "companyRoleId": user.role + 1,
        "companyRoleName": _ROLES[user.role],
        "uuid": f"user-{user.id}",
        "channelList": [{"channelId": 1, "channelName": "Channel 1", "iconUrl": "https://example.com/icon.svg"}],
        "createdAt": user.created_at,
        "updatedAt": user.updated_at,
        **({"extraFields": []} if extra else {}),
    }


def _found(user: User | None) -> web.Response:
    if user is None:
        return responses.envelope(404, {"errMsg": "User matching query does not exist."}, "Not Found Error")
    return responses.envelope(200, _user(user, extra=True), "Success")


def _company(company: Company, *, extra: bool) -> dict[str, Any]:
    fields = [
        {
            "fieldName": name,
            "fieldValue": value,
            "labelName": name,
            "isRequired": "0",
            "dataType": "0",
            "fieldType": 0,
        }
        for name, value in company.extra_fields.items()
    ]
    return {
        "companyId": int(company.id),
        "companyName": company.name,
        "companyEmail": f"office{company.id}@example.com",
        "companyPhone": "8001234567",
        "companyStatus": str(company.status),
        "catalogId": "",
        "catalogName": "",
        "bcGroupName": f"{company.name} group",
        "parentCompany": {},
        "priceListAssign": [],
        "uuid": company.uuid,
        "createdAt": str(company.created_at),
        "updatedAt": str(company.updated_at),
        **({"extraFields": fields} if extra else {}),
    }
