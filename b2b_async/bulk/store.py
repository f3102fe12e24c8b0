"""Items from the store itself: the customers that belong to companies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from b2b_async import v3

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from b2b_async.client import Client

logger = logging.getLogger("b2b_async")


async def customer_ids_of(client: Client, companies: Sequence[str | int] | None) -> AsyncGenerator[int]:
    """List the customer ids of the users of *companies*, page by page, in the bulk lane.

    The list may change while it is read, and comes in another order each time: read it once, with
    ``BulkJob(preload=True)``.

    Args:
        client: The client.
        companies: B2B company ids; None for all companies of the store.

    Yields:
        Customer ids; users without one are counted in the log.

    Raises:
        B2BError: one of ``b2b_async.errors``.
    """
    asking = client.with_options(lane="bulk")
    without = 0
    for company in [None] if companies is None else companies:
        offset, total = 0, 1
        while offset < total:
            page = await v3.users.list_users(asking, company_id=company, limit=v3.users.LARGEST_PAGE, offset=offset)
            for user in page.items:
                if user.customer_id is None:
                    without += 1
                else:
                    yield user.customer_id
            offset += len(page.items)
            # A page without users is the last one, whatever the total says.
            total = (page.total or offset + 1) if page.items else 0
    if without:
        logger.warning("%d users have no BigCommerce customer id and are left out", without)
