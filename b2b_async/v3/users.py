"""v3 Users: the buyers of companies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from b2b_async import _arguments as arguments
from b2b_async._messages import Operation
from b2b_async.ids import CustomerId, UserId  # noqa: TC001 -- cattrs reads the annotations below

if TYPE_CHECKING:
    from b2b_async._page import Page
    from b2b_async.client import Client

GET_USERS = Operation("Get All Users", "v3", "GET", "/users")

LARGEST_PAGE = 250
"""Users that a page may have."""


@attrs.frozen
class User:
    """A buyer of a company."""

    id: UserId
    """The B2B user id; not the customer id."""
    customer_id: CustomerId | None = None
    """The BigCommerce customer id; None if the server names none."""
    company_id: int | None = None
    """The B2B company id."""
    email: str | None = None
    """The e-mail address."""
    first_name: str | None = None
    """The first name."""
    last_name: str | None = None
    """The last name."""


async def list_users(
    client: Client, *, company_id: int | str | None = None, limit: int = 10, offset: int = 0
) -> Page[User]:
    """List users, one page.

    Source: v3 Users, "Get All Users" (GET /users).

    Args:
        client: The client.
        company_id: Only the users of this company, by its B2B company id.
        limit: Users on the page, 1 to 250.
        offset: Users on the pages before.

    Returns:
        The page; ``total`` is the number of users on all pages.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        B2BError: any other of ``b2b_async.errors``.
    """
    limit, offset = arguments.within(limit, "limit", 1, LARGEST_PAGE), arguments.within(offset, "offset", 0)
    query = {} if company_id is None else {"companyId": arguments.text(str(company_id), "company_id")}
    return await client.page(GET_USERS, into=User, limit=limit, offset=offset, query=query)
