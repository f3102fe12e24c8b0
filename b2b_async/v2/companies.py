"""v2 Company, as far as it is about orders (deprecated by the vendor)."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import attrs

from b2b_async import _arguments as arguments
from b2b_async._messages import Operation
from b2b_async._record import Record
from b2b_async.ids import CompanyId, CustomerId
from b2b_async.v2._deprecated import deprecated

if TYPE_CHECKING:
    from b2b_async._pagination import Listing
    from b2b_async.client import Client

__all__ = [
    "GET_COMPANY_BY_CUSTOMER_ID",
    "LARGEST_PAGE",
    "LIST_BC_ORDER_IDS",
    "BCOrder",
    "UserCompany",
    "get_company_by_customer_id",
    "list_bc_order_ids",
]

LIST_BC_ORDER_IDS = Operation("Get BC Order Id List By Company Id", "v2", "GET", "/companies/{companyId}/orderBCIds")
GET_COMPANY_BY_CUSTOMER_ID = Operation("Get Company By CustomerId", "v2", "GET", "/users/{customerId}/companies")

LARGEST_PAGE = 200
"""Orders that a page may have; the vendor names no limit, and this one is v3's."""


@attrs.frozen
class BCOrder(Record):
    """An order of a company."""

    order_id: str
    """The BigCommerce order id."""


@attrs.frozen(kw_only=True)
class UserCompany(Record):
    """The company of a buyer."""

    company_id: CompanyId
    """The B2B company id."""
    company_name: str | None = None
    """What it is called."""
    company_status: int | None = None
    """0 pending, 1 approved, 2 rejected, 3 inactive."""
    description: str | None = None
    """What is said about it."""
    catalog_id: str | None = None
    """The id of its price list."""
    address_line1: str | None = None
    """The first line of its address."""
    address_line2: str | None = None
    """The second line of its address."""
    city: str | None = None
    """Its city."""
    state: str | None = None
    """Its state or province."""
    country: str | None = None
    """Its country."""
    zip_code: str | None = None
    """Its postal code."""


@deprecated("v3.orders.list_orders(company_id=...)")
def list_bc_order_ids(
    client: Client,
    company_id: CompanyId | str,
    *,
    begin_date_at: date | None = None,
    end_date_at: date | None = None,
    limit: int | None = None,
    offset: int = 0,
) -> Listing[BCOrder]:
    """List the BigCommerce order ids of a company's orders. Nothing is sent until the list is awaited or iterated.

    Source: v2 Company, "Get BC Order Id List By Company Id" (GET /companies/{companyId}/orderBCIds).

    Args:
        client: The client.
        company_id: The B2B company id.
        begin_date_at: Only orders from this day on.
        end_date_at: Only orders up to this day.
        limit: The size of a page, 1 to 200; by default 10 for one page, and 200 for all pages.
        offset: Orders before the first one.

    Returns:
        A ``Listing``: await it for one page, iterate over it for all orders, or ask for its ``items``.
        Each order comes once; a warning is logged, and ``missed`` says so, if some may have been missed.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        NotFoundError: the company does not exist, when a page is fetched.
        B2BError: any other of ``b2b_async.errors``, when a page is fetched.
    """
    return client.listing(
        LIST_BC_ORDER_IDS,
        {"companyId": arguments.path_id(company_id, "company_id")},
        into=BCOrder,
        key=lambda order: order.order_id,
        largest=LARGEST_PAGE,
        limit=limit,
        offset=offset,
        query=arguments.days(begin_date_at, end_date_at),
    )


@deprecated("v3.companies.list_companies(customer_id=...)")
async def get_company_by_customer_id(client: Client, customer_id: CustomerId | str) -> UserCompany:
    """Get the company that a buyer belongs to.

    Source: v2 Company, "Get Company By CustomerId" (GET /users/{customerId}/companies).
    **Not quite a look-up**: the vendor says that it deletes a company which BigCommerce does not know any more.

    Args:
        client: The client.
        customer_id: The buyer's BigCommerce customer id.

    Returns:
        The company.

    Raises:
        InvalidArgumentError: *customer_id* is empty or would change the path; nothing was sent.
        NotFoundError: the customer does not exist, or belongs to no company.
        B2BError: any other of ``b2b_async.errors``.
    """
    customer = arguments.path_id(customer_id, "customer_id")
    return await client.call(GET_COMPANY_BY_CUSTOMER_ID, {"customerId": customer}, into=UserCompany)
