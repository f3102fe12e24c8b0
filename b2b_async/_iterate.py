"""All items of a list, page after page, while the list may change.

Pages are told apart by how many rows stand before them, so a row that comes or goes before the place that has been
reached moves all others. What moves back is met twice, and handed out once; what moves forward is passed over. That
shows in the total, and then ``missed`` and a warning in the log tell of it; what no total can show is a row that goes
while another one comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from b2b_async._page import Page

T = TypeVar("T")
logger = logging.getLogger("b2b_async.lists")

_BLOCK = 512


class ItemIterator(AsyncIterator[T], Generic[T]):
    """Hands out the items of all pages, each once, and fetches one page ahead.

    Several tasks may read from it; ``offset`` then says less, since items before it may be under way in another task.
    After an error or a cancellation the next item can be asked for again. Leave it early with ``aclose()``, or use it
    as an async context manager, to give up the page that is being fetched; it is also given up with the iterator.

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
        """Rows that may have been passed over, as far as the totals have shown so far; at the end, all of them."""
        self._what = what
        self._fetch = fetch
        self._key = key
        self._limit = limit
        self._prefetch = prefetch
        self._start = self._next = offset
        self._rows: deque[T] = deque()
        self._more = True
        self._met = _Met()
        self._handed = self._gone = 0
        self._page_before: list[int | str] = []
        self._repeats = 0
        self._ended = False
        self._ahead: asyncio.Future[Page[T]] | None = None
        self._turning = asyncio.Lock()

    def __aiter__(self) -> Self:
        """Iterate."""
        return self

    async def __anext__(self) -> T:
        """Give the next item.

        Raises:
            B2BError: a page could not be had; to ask again is to try again.
        """
        while True:
            self.offset = self._next
            while self._rows:
                item = self._rows.popleft()
                self.offset, self._next = self._next, self._next + 1
                if self._met.add(self._key(item)):
                    self._handed += 1
                    return item
                self.duplicates += 1
            async with self._turning:
                if self._rows:
                    continue
                if not self._more:
                    self._end()
                    raise StopAsyncIteration
                await self._turn()

    async def __aenter__(self) -> Self:
        """Iterate inside the block."""
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Give up what is being fetched."""
        await self.aclose()

    async def aclose(self) -> None:
        """Give up what is being fetched; there are no further items then, for whoever waits for one either."""
        self._rows.clear()
        self._more = False
        self._ended = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            await asyncio.wait([ahead])

    def __del__(self) -> None:
        """Give up what is being fetched, if its loop still runs; the collector may be in another thread."""
        ahead = getattr(self, "_ahead", None)
        if ahead is not None:
            with contextlib.suppress(RuntimeError):
                ahead.get_loop().call_soon_threadsafe(ahead.cancel)

    async def _turn(self) -> None:
        """Get the next page, if there may be one."""
        if self._ahead is None or self._ahead.cancelled():
            self._fetch_ahead(self._next)
        page = await self._fetched(cast("asyncio.Future[Page[T]]", self._ahead))
        if page is None:
            return
        if page.total is not None:
            self._gone += max(0, (self.total or 0) - page.total)
            self.total, self.missed = page.total, max(self.missed, self._gone)
        elif self._turns_no_pages(page):
            logger.warning("%s: the server gives the same page again and again; it is read no further", self._what)
            self._more = False
            return
        # A server may give shorter pages than it was asked for; without a total, only an empty page is the last one.
        following = self._next + len(page.items)
        self._more = bool(page.items) and (page.total is None or following < page.total)
        self._rows.extend(page.items)
        if self._more and self._prefetch:
            self._fetch_ahead(following)

    def _fetch_ahead(self, offset: int) -> None:
        self._ahead = asyncio.ensure_future(self._fetch(self._limit, offset))
        self._ahead.add_done_callback(_look_at)

    async def _fetched(self, ahead: asyncio.Future[Page[T]]) -> Page[T] | None:
        """Wait for a page; None if it was given up meanwhile."""
        try:
            return await ahead
        except asyncio.CancelledError:
            reader = asyncio.current_task()
            if self._ended and reader is not None and not reader.cancelling():
                return None
            raise
        finally:
            if self._ahead is ahead:
                self._ahead = None

    def _turns_no_pages(self, page: Page[T]) -> bool:
        """Whether a page is the one before it for the second time; once, rows that came in front can bring about."""
        keys = [self._key(item) for item in page.items]
        self._repeats = self._repeats + 1 if keys and keys == self._page_before else 0
        self._page_before = keys
        return self._repeats > 1

    def _end(self) -> None:
        """Say, once, what the totals show to be missing."""
        if self._ended:
            return
        self._ended = True
        self.missed = max(self.missed, (self.total or 0) - self._start - self._handed)
        if self.missed:
            logger.warning(
                "%s: the list changed while it was read; %d of %s rows may have been passed over",
                self._what,
                self.missed,
                self.total,
            )


def _look_at(page: asyncio.Future[Page[T]]) -> None:
    """Look at an error that nobody may ever wait for, or asyncio complains."""
    if not page.cancelled():
        page.exception()


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
