"""v3 Company: the Company accounts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import attrs

from b2b_async import _arguments as arguments
from b2b_async._envelope import names
from b2b_async._messages import Operation
from b2b_async._record import Record
from b2b_async.errors import InvalidArgumentError
from b2b_async.ids import (
    BCGroupId,
    BCOrderId,
    ChannelId,
    CompanyId,
    CustomerId,
)
from b2b_async.v3._extra_field import ExtraField

if TYPE_CHECKING:
    from b2b_async._pagination import Listing
    from b2b_async.client import Client

__all__ = [
    "GET_COMPANY",
    "LARGEST_PAGE",
    "LIST_COMPANIES",
    "Company",
    "CompanyExtraField",
    "ParentCompany",
    "PriceListAssignment",
    "get_company",
    "list_companies",
]

LIST_COMPANIES = Operation("List Companies", "v3", "GET", "/companies")
GET_COMPANY = Operation("Get Company Details", "v3", "GET", "/companies/{companyId}")

LARGEST_PAGE = 249
"""Companies that a page may have: the contract says that it is below 250."""


@attrs.frozen
class CompanyExtraField(ExtraField):
    """An extra field of a company, its value and its kind."""

    label_name: str | None = None
    """What people read."""
    is_required: bool | None = None
    """Whether a company must have a value."""
    field_type: int | None = None
    """0 text, 1 several lines of text, 2 a number, 3 one of several values."""
    data_type: int | None = None
    """A number of the vendor's; the contract does not say what it means."""


@attrs.frozen(kw_only=True)
class ParentCompany(Record):
    """The company above a company."""

    id: CompanyId | None = None
    """Its B2B company id; None if there is none."""
    name: str | None = None
    """What it is called."""


@attrs.frozen(kw_only=True)
class PriceListAssignment(Record):
    """The price list that a company has in a channel."""

    channel_id: ChannelId | None = None
    """The BigCommerce channel id."""
    channel_name: str | None = None
    """The name of the channel."""
    price_list_id: int | None = None
    """The id of the price list."""
    price_list_name: str | None = None
    """The name of the price list."""


@attrs.frozen(kw_only=True)
class Company(Record):
    """A Company account."""

    STRICT: ClassVar[tuple[str, ...]] = ("bc_group_id",)

    company_id: CompanyId
    """The B2B company id."""
    company_name: str | None = None
    """What it is called."""
    company_status: int | None = None
    """0 pending, 1 approved, 2 rejected, 3 inactive, 4 deleted."""
    company_email: str | None = None
    """The e-mail address."""
    company_phone: str | None = None
    """The telephone number."""
    bc_group_id: BCGroupId | None = None
    """The BigCommerce customer group that stands for it."""
    bc_group_name: str | None = None
    """The name of that group."""
    catalog_id: str | None = None
    """The id of its price list."""
    catalog_name: str | None = None
    """The name of its price list."""
    parent_company: ParentCompany | None = None
    """The company above it."""
    price_list_assign: tuple[PriceListAssignment, ...] = ()
    """Its price lists by channel."""
    extra_fields: tuple[CompanyExtraField, ...] = ()
    """Extra fields; in a list only if they are asked for."""
    uuid: str | None = None
    """An id from another system."""
    created_at: datetime | None = None
    """When it was made."""
    updated_at: datetime | None = None
    """When it was changed last."""


def list_companies(
    client: Client,
    *,
    q: str | None = None,
    company_status: int | None = None,
    customer_id: CustomerId | None = None,
    bc_order_id: BCOrderId | None = None,
    bc_group_id: BCGroupId | None = None,
    order_id: str | None = None,
    extra_fields: Mapping[str, str] | None = None,
    extra_field_filter_type: Literal["search", "exact-match"] | None = None,
    min_created: datetime | None = None,
    max_created: datetime | None = None,
    min_modified: datetime | None = None,
    max_modified: datetime | None = None,
    include_extra_fields: bool = False,
    sort_by: Literal["companyName", "updatedAt"] | None = None,
    order_by: Literal["ASC", "DESC"] | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Listing[Company]:
    """List companies. Nothing is sent until the list is awaited or iterated.

    Source: v3 Company, "List Companies" (GET /companies).

    Args:
        client: The client.
        q: Only those whose name has this in it.
        company_status: Only those with this status: 0 pending, 1 approved, 2 rejected, 3 inactive.
        customer_id: Only the one that this buyer belongs to, by the BigCommerce customer id.
        bc_order_id: Only the one that this order is registered with, by its BigCommerce order id.
        bc_group_id: Only the one that this BigCommerce customer group stands for.
        order_id: Only the one with an order of this number, as the vendor has it besides bc_order_id.
        extra_fields: Only those with these values of extra fields. Names and values cannot have a comma in them,
            names no colon.
        extra_field_filter_type: Whether extra fields must have the value in them ("search", the server's choice) or
            be just it ("exact-match").
        min_created: Only those made after this time.
        max_created: Only those made before this time.
        min_modified: Only those changed after this time.
        max_modified: Only those changed before this time.
        include_extra_fields: With extra fields.
        sort_by: The field that the list is sorted by. None is the server's choice for one page, "updatedAt", and
            "companyName" for all pages, so that a company that is changed meanwhile moves no others.
        order_by: Up ("ASC") or down ("DESC"). None is the server's choice for one page, "DESC", and "ASC" for all.
        limit: The size of a page, 1 to 249; by default 10 for one page, and 249 for all pages.
        offset: Companies before the first one.

    Returns:
        A ``Listing``: await it for one page, iterate over it for all companies, or ask for its ``items``.
        Each company comes once; a warning is logged, and ``missed`` says so, if some may have been missed.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        B2BError: any other of ``b2b_async.errors``, when a page is fetched.
    """
    query = arguments.time_filters(
        min_created=min_created, max_created=max_created, min_modified=min_modified, max_modified=max_modified
    )
    if q is not None:
        query["q"] = arguments.text(q, "q")
    if company_status is not None:
        query["companyStatus"] = str(arguments.choice(company_status, "company_status", 0, 1, 2, 3))
    if customer_id is not None:
        query["customerId"] = str(arguments.number_id(customer_id, "customer_id"))
    if bc_order_id is not None:
        query["bcOrderId"] = str(arguments.number_id(bc_order_id, "bc_order_id"))
    if bc_group_id is not None:
        query["bcGroupId"] = str(arguments.number_id(bc_group_id, "bc_group_id"))
    if order_id is not None:
        query["orderId"] = arguments.text(order_id, "order_id")
    query.update(_extra_field_filters(extra_fields, extra_field_filter_type))
    if arguments.flag(include_extra_fields, "include_extra_fields"):
        query["isIncludeExtraFields"] = "1"
    if sort_by is not None:
        query["sortBy"] = arguments.choice(sort_by, "sort_by", "companyName", "updatedAt")
    if order_by is not None:
        query["orderBy"] = arguments.choice(order_by, "order_by", "ASC", "DESC")
    return client.listing(
        LIST_COMPANIES,
        into=Company,
        key=lambda company: company.company_id,
        largest=LARGEST_PAGE,
        limit=limit,
        offset=offset,
        query=query,
        query_of_all={"sortBy": "companyName", "orderBy": "ASC"},
    )


async def get_company(client: Client, company_id: CompanyId) -> Company:
    """Get one company.

    Source: v3 Company, "Get Company Details" (GET /companies/{companyId}).

    Args:
        client: The client.
        company_id: The B2B company id.

    Returns:
        The company.

    Raises:
        InvalidArgumentError: *company_id* is not a positive integer; nothing was sent.
        NotFoundError: there is no such company.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(company_id, "company_id")
    return await client.call(GET_COMPANY, {"companyId": number}, into=Company, check=names("companyId", number))


def _extra_field_filters(extra_fields: object, filter_type: object) -> dict[str, str]:
    query: dict[str, str] = {}
    if extra_fields is not None:
        if not isinstance(extra_fields, Mapping) or not extra_fields:
            message = "extra_fields must be a dict of names and values, and not empty"
            raise InvalidArgumentError(message)
        pairs = cast("Mapping[object, object]", extra_fields)
        query["extraFields"] = ",".join(_pair(*pair) for pair in pairs.items())
    if filter_type is not None:
        kinds = ("search", "exact-match")
        query["extraFieldFilterType"] = arguments.choice(filter_type, "extra_field_filter_type", *kinds)
    return query


def _pair(given: object, wanted: object) -> str:
    """Write a filter as the server splits it: at commas, and at the first colon."""
    name, value = arguments.text(given, "each name of extra_fields"), arguments.text(wanted, f"the value of {given}")
    if "," in name or ":" in name or "," in value:
        message = (
            f"extra_fields: the server cannot filter by {arguments.shown(f'{name}:{value}')}, because of its , or :"
        )
        raise InvalidArgumentError(message)
    return f"{name}:{value}"
