"""Items from the store itself: the customers that belong to companies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from b2b_async import v3

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from b2b_async.client import Client
    from b2b_async.ids import CompanyId, CustomerId

__all__ = ["customer_ids_of"]

_logger = logging.getLogger("b2b_async.lists")


async def customer_ids_of(client: Client, companies: Sequence[CompanyId] | None) -> AsyncGenerator[CustomerId]:
    """List the customer ids of the users of *companies*, page by page, in the bulk lane.

    The list may change while it is read, and comes in another order each time: read it once, with
    ``BulkJob(preload=True)``.

    Args:
        client: The client.
        companies: B2B company ids; None for all companies of the store.

    Yields:
        Customer ids; users without one are counted in the log.

    Raises:
        InvalidArgumentError: a company id is not a positive integer; nothing was sent.
        B2BError: any other of ``b2b_async.errors``.
    """
    asking = client.with_options(lane="bulk")
    without = 0
    for company in [None] if companies is None else companies:
        async with v3.users.list_users(asking, company_id=company).items() as users:
            async for user in users:
                if user.customer_id is None:
                    without += 1
                else:
                    yield user.customer_id
    if without:
        _logger.warning("%d users have no BigCommerce customer id and are left out", without)
