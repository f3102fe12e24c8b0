"""v3 Users: the buyers of companies."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar

import attrs

from b2b_async import _arguments as arguments
from b2b_async._envelope import names
from b2b_async._messages import Operation
from b2b_async._record import Record
from b2b_async.ids import ChannelId, CompanyId, CustomerId, UserId
from b2b_async.v3._extra_field import ExtraField

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async._pagination import Listing
    from b2b_async.client import Client

__all__ = [
    "GET_USER",
    "GET_USER_BY_CUSTOMER_ID",
    "LARGEST_PAGE",
    "LIST_USERS",
    "Channel",
    "User",
    "get_user",
    "get_user_by_customer_id",
    "list_users",
]

LIST_USERS = Operation("List B2B Users", "v3", "GET", "/users")
GET_USER = Operation("Get User Details", "v3", "GET", "/users/{userId}")
GET_USER_BY_CUSTOMER_ID = Operation(
    "Get User Details by BigCommerce Customer ID", "v3", "GET", "/users/customer/{customerId}"
)

LARGEST_PAGE = 250
"""Users that a page may have."""


@attrs.frozen(kw_only=True)
class Channel(Record):
    """A channel (storefront) that a user may buy in."""

    channel_id: ChannelId | None = None
    """Its BigCommerce channel id."""
    channel_name: str | None = None
    """What it is called."""
    icon_url: str | None = None
    """Where its icon is."""


@attrs.frozen
class User(Record):
    """A buyer of a company."""

    STRICT: ClassVar[tuple[str, ...]] = ("customer_id", "company_id")

    id: UserId
    """The B2B user id; not the customer id."""
    customer_id: CustomerId | None = None
    """The BigCommerce customer id; None if the server names none."""
    company_id: CompanyId | None = None
    """The B2B company id."""
    email: str | None = None
    """The e-mail address."""
    first_name: str | None = None
    """The first name."""
    last_name: str | None = None
    """The last name."""
    phone_number: str | None = None
    """The telephone number."""
    role: int | None = None
    """0 admin, 1 senior buyer, 2 junior buyer or a role of the store's own."""
    company_role_id: int | None = None
    """The id of the role, also of one of the store's own."""
    company_role_name: str | None = None
    """The name of the role."""
    uuid: str | None = None
    """An id from another system."""
    channel_list: tuple[Channel, ...] = ()
    """The channels that the user may buy in."""
    extra_fields: tuple[ExtraField, ...] = ()
    """Extra fields; in a list only if they are asked for."""
    created_at: datetime | None = None
    """When the user was made."""
    updated_at: datetime | None = None
    """When it was changed last."""


def list_users(
    client: Client,
    *,
    company_id: CompanyId | None = None,
    email: str | None = None,
    q: str | None = None,
    roles: Iterable[int] | None = None,
    channel_id: ChannelId | None = None,
    min_created: datetime | None = None,
    max_created: datetime | None = None,
    min_modified: datetime | None = None,
    max_modified: datetime | None = None,
    include_extra_fields: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> Listing[User]:
    """List users. Nothing is sent until the list is awaited or iterated.

    Source: v3 Users, "List B2B Users" (GET /users). The server sorts them as it likes.

    Args:
        client: The client.
        company_id: Only the users of this company, by its B2B company id.
        email: Only the user with just this e-mail address.
        q: Only those whose names or e-mail address have this in them.
        roles: Only those of these roles: 0 admin, 1 senior buyer, 2 junior buyer or a role of the store's own.
        channel_id: Only those who may buy in this channel.
        min_created: Only those made after this time.
        max_created: Only those made before this time.
        min_modified: Only those changed after this time.
        max_modified: Only those changed before this time.
        include_extra_fields: With extra fields.
        limit: The size of a page, 1 to 250; by default 10 for one page, and 250 for all pages.
        offset: Users before the first one.

    Returns:
        A ``Listing``: await it for one page, iterate over it for all users, or ask for its ``items``.
        Each user comes once; a warning is logged, and ``missed`` says so, if some may have been missed.

    Raises:
        InvalidArgumentError: an argument cannot be used; nothing was sent.
        B2BError: any other of ``b2b_async.errors``, when a page is fetched.
    """
    query: dict[str, str | list[str]] = {
        **arguments.time_filters(
            min_created=min_created, max_created=max_created, min_modified=min_modified, max_modified=max_modified
        )
    }
    if company_id is not None:
        query["companyId"] = str(arguments.number_id(company_id, "company_id"))
    if email is not None:
        query["email"] = arguments.text(email, "email")
    if q is not None:
        query["q"] = arguments.text(q, "q")
    if roles is not None:
        chosen = arguments.several(roles, "roles")
        query["roles"] = [str(arguments.choice(role, "each of roles", 0, 1, 2)) for role in chosen]
    if channel_id is not None:
        query["channelId"] = str(arguments.number_id(channel_id, "channel_id"))
    if arguments.flag(include_extra_fields, "include_extra_fields"):
        query["isIncludeExtraFields"] = "1"
    return client.listing(
        LIST_USERS,
        into=User,
        key=lambda user: user.id,
        largest=LARGEST_PAGE,
        limit=limit,
        offset=offset,
        query=query,
    )


async def get_user(client: Client, user_id: UserId) -> User:
    """Get one user by the B2B user id.

    Source: v3 Users, "Get User Details" (GET /users/{userId}).

    Args:
        client: The client.
        user_id: The B2B user id, not the BigCommerce customer id.

    Returns:
        The user.

    Raises:
        InvalidArgumentError: *user_id* is not a positive integer; nothing was sent.
        NotFoundError: there is no such user.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(user_id, "user_id")
    return await client.call(GET_USER, {"userId": number}, into=User, check=names("id", number))


async def get_user_by_customer_id(client: Client, customer_id: CustomerId) -> User:
    """Get one user by the BigCommerce customer id.

    Source: v3 Users, "Get User Details by BigCommerce Customer ID" (GET /users/customer/{customerId}).

    Args:
        client: The client.
        customer_id: The BigCommerce customer id, not the B2B user id.

    Returns:
        The user.

    Raises:
        InvalidArgumentError: *customer_id* is not a positive integer; nothing was sent.
        NotFoundError: no user of a company is this customer.
        B2BError: any other of ``b2b_async.errors``.
    """
    number = arguments.number_id(customer_id, "customer_id")
    return await client.call(
        GET_USER_BY_CUSTOMER_ID, {"customerId": number}, into=User, check=names("customerId", number)
    )
