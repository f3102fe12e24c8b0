"""The models, field by field, against the schemas of the contract."""

from __future__ import annotations

import types
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from contract import openapi
from contract.calls import CALLS

from b2b_async import Record, v2, v3
from b2b_async._record import json_names

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS: dict[str, type[Record]] = {
    "v3.orders.list_orders": v3.orders.Order,
    "v3.orders.create_order": v3.orders.Order,
    "v3.orders.get_order": v3.orders.Order,
    "v3.orders.update_order": v3.orders.Order,
    "v3.orders.list_order_products": v3.orders.OrderProduct,
    "v3.orders.list_order_extra_field_configs": v3.orders.OrderExtraFieldConfig,
    "v3.orders.assign_customer_orders": v3.orders.AssignedOrders,
    "v3.orders.reassign_orders": v3.orders.AssignedOrders,
    "v3.users.list_users": v3.users.User,
    "v3.users.get_user": v3.users.User,
    "v3.users.get_user_by_customer_id": v3.users.User,
    "v3.companies.list_companies": v3.companies.Company,
    "v3.companies.get_company": v3.companies.Company,
    "v2.orders.list_company_orders": v2.orders.CompanyOrder,
    "v2.orders.get_orders_images": v2.orders.OrderImage,
    "v2.orders.get_company_by_bc_order_id": v2.orders.OrderCompany,
    "v2.orders.get_order_detail": v2.orders.OrderDetail,
    "v2.orders.get_order_product": v2.orders.OrderProduct,
    "v2.companies.list_bc_order_ids": v2.companies.BCOrder,
    "v2.companies.get_company_by_customer_id": v2.companies.UserCompany,
}
FITTING: dict[str, set[object]] = {
    # Times are Unix seconds, yes and no are 0 and 1, and v2 and the companies of v3 send numbers as strings.
    "integer": {int, datetime, bool},
    "number": {Decimal, int},
    "boolean": {bool},
    "string": {str, Decimal, datetime, int, bool},
}
OTHERWISE = {
    "cartId": {str},  # an integer by the vendor's schema, with a UUID for an example
    "uuid": {str},
    "value": {str},  # an id, or what a buyer wrote
    "companyRoleName": {str},
    "channelId": {int},
    "shipments": {Any},  # false, or a link
    "invoiceNumber": {str},  # people choose it: "000123", "INV-1001"
}


def merged(schema: Any) -> dict[str, Any]:
    """Put the parts of a schema together."""
    found: dict[str, Any] = {"properties": {}}
    for part in (*map(merged, schema.get("allOf", ())), schema):
        found = {**found, **part, "properties": {**found["properties"], **part.get("properties", {})}}
        if "items" in part:
            found["items"] = part["items"]
    return found


def fields_in(schema: Any, model: type[Record]) -> Iterator[tuple[str, dict[str, Any], object]]:
    """Go over a model and what is in it: the server's name of each field, its schema, its type."""
    schema = merged(schema)
    if "items" in schema:
        schema = merged(schema["items"])
    names, hints = json_names(model), get_type_hints(model)
    own = {openapi_name: names.get(openapi_name) for openapi_name in schema["properties"]}
    by_name = {
        names[name]: field.name for field in attrs.fields(model) for name in names if _is(field.name, names[name])
    }
    for name, inner in schema["properties"].items():
        assert own[name] is not None, f"{model.__name__} has no field for {name}"
        hint = hints[by_name[own[name]]]
        kinds = [kind for kind in get_args(hint) if kind is not types.NoneType] if get_origin(hint) else [hint]
        (kind, *_) = kinds
        kind = getattr(kind, "__supertype__", kind)
        if isinstance(kind, type) and issubclass(kind, Record):
            yield from fields_in(inner, kind)
        else:
            yield f"{model.__name__}.{name}", merged(inner), kind


def _is(field: str, read: str) -> bool:
    first, *others = field.split("_")
    return first + "".join(part.capitalize() for part in others) == read


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_the_contract_has_its_type(name: str) -> None:
    """None is missing, and none would refuse what the contract allows."""
    (call,) = [call for call in CALLS if call.name == name]
    version, method, path = call.route
    answer = openapi.as_it_is(version)["paths"][path][method.lower()]["responses"]["200"]
    data = merged(merged(answer["content"]["application/json"]["schema"])["properties"]["data"])
    if "list" in data["properties"]:
        data = data["properties"]["list"]

    wrong = [
        (field, schema.get("type"), kind)
        for field, schema, kind in fields_in(data, MODELS[name])
        if kind
        not in (OTHERWISE.get(field.partition(".")[2]) or FITTING.get(schema.get("type", ""), {Any, str}) | {Any})
    ]
    assert wrong == []


def test_money_is_decimal_and_ids_are_integers() -> None:
    """Not only whatever the contract would allow."""
    order, user = get_type_hints(v3.orders.Order), get_type_hints(v3.users.User)

    assert order["total_inc_tax"] == order["usd_inc_tax"] == Decimal | None
    assert order["created_at"] == user["updated_at"] == datetime | None
    assert order["is_invoice_order"] == bool | None
    assert get_type_hints(v3.orders.OrderExtraFieldConfig)["maximum_value"] == Decimal | None
    amounts = [name for name in get_type_hints(v2.orders.OrderDetail) if name.endswith(("_tax", "_cost", "_amount"))]
    assert len(amounts) >= 20
    assert {get_type_hints(v2.orders.OrderDetail)[name] for name in amounts} == {Decimal | None}


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (v2.orders.OrderChanges, ()),
        (v2.orders.BillingAddressChanges, ("billingAddress",)),
        (v2.orders.ProductChanges, ("products", "items")),
    ],
)
def test_every_field_of_an_update_can_be_changed(changes: type[Any], place: tuple[str, ...]) -> None:
    """By the vendor's names; the order id is an argument of its own."""
    schema = openapi.as_it_is("v2")["paths"]["/orders"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    for step in place:
        schema = schema[step] if step == "items" else schema["properties"][step]

    names = {field.name for field in attrs.fields(changes)}
    assert {next((own for own in names if _is(own, name)), name) for name in schema["properties"]} - {
        "orderId"
    } == names
