"""All items of a list, page after page, while the list may change.

Pages are told apart by how many rows stand before them, so a row that comes or goes before the place that has been
reached moves all others. What moves back is met twice, and handed out once; what moves forward is passed over, which
shows in the total: a warning in the log and ``missed`` say how many rows that may be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Self

    from b2b_async._page import Page

T = TypeVar("T")
logger = logging.getLogger("b2b_async")

_BLOCK = 512


class ItemIterator(AsyncIterator[T], Generic[T]):
    """Hands out the items of all pages, each once, and fetches one page ahead.

    Leave it early with ``aclose()``, or use it as an async context manager, so that the page that is being fetched is
    given up at once; else that happens when the garbage collector finds it.

    Args:
        what: What is listed, for the log.
        fetch: Gives the page of at most so many items that begins behind so many others.
        key: What an item is known by.
        limit: Items of a page.
        offset: Where to begin.
        prefetch: Fetch a page while the one before it is worked on.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[int, int], Awaitable[Page[T]]],
        *,
        key: Callable[[T], int | str],
        limit: int,
        offset: int,
        prefetch: bool,
    ) -> None:
        """Send nothing yet."""
        self.offset = offset
        """Where to go on another time: the row of the item that was handed out last, until the next one is asked for.
        """
        self.total: int | None = None
        """How many rows there are on all pages, by the latest answer; None if the server does not say."""
        self.duplicates = 0
        """Rows that were met again, and not handed out."""
        self.missed = 0
        """Rows that may have been passed over because the list changed; known at the end."""
        self._what = what
        self._fetch = fetch
        self._key = key
        self._limit = limit
        self._prefetch = prefetch
        self._items = self._walk()

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> T:
        """Give the next item.

        Raises:
            B2BError: a page could not be had; go on with a new iterator that begins at ``offset``.
        """
        return await anext(self._items)

    async def __aenter__(self) -> Self:
        """Iterate inside the block."""
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Give up what is being fetched."""
        await self.aclose()

    async def aclose(self) -> None:
        """Give up what is being fetched; there are no further items then."""
        await self._items.aclose()

    async def _walk(self) -> AsyncGenerator[T]:
        start, offset = self.offset, self.offset
        met, handed, gone = _Met(), 0, 0
        ahead: asyncio.Future[Page[T]] | None = None
        try:
            page = await self._fetch(self._limit, offset)
            while True:
                gone += max(0, (self.total or 0) - (page.total or 0)) if page.total is not None else 0
                self.total = page.total
                # A server may give shorter pages than it was asked for.
                following = offset + len(page.items)
                more = following < page.total if page.total is not None else len(page.items) >= page.limit
                more = more and bool(page.items)
                if more and self._prefetch:
                    ahead = asyncio.ensure_future(self._fetch(self._limit, following))
                for self.offset, item in enumerate(page.items, offset):
                    if met.add(self._key(item)):
                        handed += 1
                        yield item
                    else:
                        self.duplicates += 1
                self.offset = following
                if not more:
                    break
                page = await (ahead or self._fetch(self._limit, following))
                ahead, offset = None, following
        finally:
            if ahead is not None:
                ahead.cancel()
                await asyncio.wait([ahead])
                _ = ahead.cancelled() or ahead.exception()  # it has been seen, asyncio need not complain
        self.missed = max(0, gone, (self.total or 0) - start - handed)
        if self.missed:
            logger.warning(
                "%s: the list changed while it was read; %d of %s rows may have been passed over",
                self._what,
                self.missed,
                self.total,
            )


class _Met:
    """The ids that have been met: a bit for each, in blocks, since the ids of a store lie close together."""

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}
        self._others: set[str] = set()

    def add(self, key: int | str) -> bool:
        """Note *key*; say whether it is new."""
        if isinstance(key, str):
            if not key.isascii() or not key.isdigit() or str(int(key[:_BLOCK])) != key:
                new = key not in self._others
                self._others.add(key)
                return new
            key = int(key)
        block, bit = key // _BLOCK, 1 << key % _BLOCK
        met = self._blocks.get(block, 0)
        self._blocks[block] = met | bit
        return not met & bit
