"""``b2b-async orders``, ``users`` and ``companies``: what the store has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from b2b_async.cli._output import (
    Column,
    ListOptions,
    Options,
    list_options,
    look,
    look_options,
    show_list,
    show_one,
    time_options,
)
from b2b_async.ids import BCOrderId, ChannelId, CompanyId
from b2b_async.v3 import companies as company_endpoints
from b2b_async.v3 import orders as order_endpoints
from b2b_async.v3 import users as user_endpoints

if TYPE_CHECKING:
    from typing import Literal

_ORDER = (
    *(Column(name, whole=True) for name in ("bc_order_id", "company_id", "total_inc_tax", "currency_code")),
    *map(Column, ("status", "po_number", "created_at")),
    *(Column(name, wide=True) for name in ("id", "status_code", "items", "channel_id", "is_archived", "updated_at")),
    Column("extra_fields", wide=True),
)
_USER = (
    *(Column(name, whole=True) for name in ("customer_id", "company_id")),
    *map(Column, ("email", "first_name", "last_name", "role", "created_at")),
    *(Column(name, wide=True) for name in ("id", "phone_number", "company_role_name", "uuid", "updated_at")),
)
_COMPANY = (
    Column("company_id", whole=True),
    *map(Column, ("company_name", "company_status", "company_email", "bc_group_id", "created_at")),
    *(Column(name, wide=True) for name in ("company_phone", "bc_group_name", "uuid", "updated_at")),
)
_company = click.option("--company", type=click.IntRange(1), metavar="ID", help="Only those of this B2B company.")
_channel = click.option("--channel", type=click.IntRange(1), metavar="ID", help="Only those of this channel.")
_channels = click.option(
    "--channel",
    "channels",
    type=click.IntRange(1),
    multiple=True,
    metavar="ID",
    help="Those of this channel, instead of channel 1; may be given several times.",
)
_words = click.option("--search", "q", metavar="TEXT", help="Only those with this in their name (or e-mail address).")


@click.group()
def orders() -> None:
    """Look at orders."""


@orders.command("list")
@_company
@_channels
@time_options
@click.option("--extra", is_flag=True, help="With extra fields.")
@click.option("--sort-by", type=click.Choice(["createdAt", "updatedAt"]), default="createdAt", show_default=True)
@click.option("--newest-first", is_flag=True, help="Newest first.")
@list_options
def list_orders(
    *,
    company: int | None,
    channels: tuple[int, ...],
    extra: bool,
    sort_by: str,
    newest_first: bool,
    **options: Any,  # noqa: ANN401 -- those of time_options and list_options
) -> None:
    """List orders, the oldest first; times are UTC.

    Without --created-after or --modified-after, those of the last year; without --channel, those of channel 1.
    """
    times, chosen = _split(options)
    if not chosen.as_json and times["min_created"] is None and times["min_modified"] is None:
        click.echo("Orders of the last year; --created-after 2000-01-01 shows all.", err=True)
    show_list(
        "orders list",
        chosen,
        _ORDER,
        lambda client: order_endpoints.list_orders(
            client,
            company_id=None if company is None else CompanyId(company),
            channel_ids=[ChannelId(channel) for channel in channels] or None,
            show_extra=extra,
            sort_by=cast("Literal['createdAt', 'updatedAt']", sort_by),
            order_by="DESC" if newest_first else "ASC",
            offset=chosen.offset,
            **times,
        ).items(prefetch=_prefetch(chosen, order_endpoints.LARGEST_PAGE)),
    )


@orders.command("get")
@click.argument("order", type=click.IntRange(1))
@look_options
def get_order(*, order: int, **options: Any) -> None:  # noqa: ANN401 -- those of look_options
    """Show one order, by its BigCommerce order id; times are UTC."""
    chosen = Options(**options)
    found = look("orders get", chosen, lambda client: order_endpoints.get_order(client, BCOrderId(order)))
    show_one("orders get", chosen, found)


@click.group()
def users() -> None:
    """Look at the buyers of companies."""


@users.command("list")
@_company
@_channel
@_words
@time_options
@list_options
def list_users(
    *,
    company: int | None,
    channel: int | None,
    q: str | None,
    **options: Any,  # noqa: ANN401 -- those of time_options and list_options
) -> None:
    """List the buyers of companies; times are UTC."""
    times, chosen = _split(options)
    show_list(
        "users list",
        chosen,
        _USER,
        lambda client: user_endpoints.list_users(
            client,
            company_id=None if company is None else CompanyId(company),
            channel_id=None if channel is None else ChannelId(channel),
            q=q,
            offset=chosen.offset,
            **times,
        ).items(prefetch=_prefetch(chosen, user_endpoints.LARGEST_PAGE)),
    )


@click.group()
def companies() -> None:
    """Look at companies."""


@companies.command("list")
@click.option(
    "--status",
    type=click.IntRange(0, 3),
    help="Only those with this status: 0 pending, 1 approved, 2 rejected, 3 inactive.",
)
@_words
@time_options
@list_options
def list_companies(
    *,
    status: int | None,
    q: str | None,
    **options: Any,  # noqa: ANN401 -- those of time_options and list_options
) -> None:
    """List companies, by their names; times are UTC."""
    times, chosen = _split(options)
    show_list(
        "companies list",
        chosen,
        _COMPANY,
        lambda client: company_endpoints.list_companies(
            client,
            company_status=status,
            q=q,
            offset=chosen.offset,
            **times,
        ).items(prefetch=_prefetch(chosen, company_endpoints.LARGEST_PAGE)),
    )


def _split(options: dict[str, Any]) -> tuple[dict[str, Any], ListOptions]:
    times = {name: options.pop(name) for name in ("min_created", "max_created", "min_modified", "max_modified")}
    return times, ListOptions(**options)


def _prefetch(options: ListOptions, page: int) -> bool:
    """Return whether a second page is wanted at all."""
    return options.everything or options.limit > page
