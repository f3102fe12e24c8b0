"""Lists of many pages: one page, all items, or an iterator over them, while the list may change.

The vendor's pages have offsets. Where a row is inserted before the offset that has been reached, those behind it move,
and one of them comes again: it is yielded once. Where a row is deleted there, one is missed. That shows in the total:
``missed`` counts it, and a warning is logged. Where one row is deleted and another one inserted between two pages, the
total stays the same, and nothing shows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import attrs

from b2b_async import _arguments as arguments

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterator
    from typing import Any, Self

T = TypeVar("T")
logger = logging.getLogger("b2b_async.lists")

_BLOCK = 512
_USUAL_PAGE = 10
"""Items of a page where no limit is given: the vendor's own default."""
_HALF = 0.5
"""The part of a page that is used up before a plain loop fetches the next one."""


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    """Its items."""
    total: int | None
    """The number of items on all pages; None if the server does not say."""
    limit: int
    """The number of items that a page may have."""
    offset: int
    """The number of items on the pages before."""

    def __iter__(self) -> Iterator[T]:
        """Iterate over its items."""
        return iter(self.items)


class Listing(Generic[T]):
    """A list, of which nothing has been fetched yet: await it, iterate over it, or ask for its ``items``.

    ::

        page = await v3.users.list_users(client, company_id=4)  # one page
        async for user in v3.users.list_users(client):  # all pages
            ...
        async with v3.users.list_users(client).items(offset=500) as users:
            async for user in users:
                ...

    Each await and each loop fetches anew. Leaving a loop gives up the page that is being fetched. It is no coroutine:
    ``asyncio.gather`` and ``asyncio.ensure_future`` take it, ``create_task`` does not.

    Args:
        what: The name of the list, for the log.
        fetch: Fetches the page of at most so many items that begins behind so many others.
        fetch_of_all: The same for one page among all of them, which must be sorted so that they change little.
        key: Returns what an item is known by.
        largest: Items that a page may have at most.
        limit: Items of a page, checked; None for the usual number.
        offset: Items before the first one, checked.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[int, int], Awaitable[Page[T]]],
        fetch_of_all: Callable[[int, int], Awaitable[Page[T]]],
        *,
        key: Callable[[T], int | str],
        largest: int,
        limit: int | None,
        offset: int,
    ) -> None:
        """Send nothing yet."""
        self._what = what
        self._fetch = fetch
        self._fetch_of_all = fetch_of_all
        self._key = key
        self._largest = largest
        self._limit = limit
        self._offset = offset

    def __await__(self) -> Generator[Any, None, Page[T]]:
        """Fetch one page: that of the list's limit and offset."""
        return self._fetch(self._limit or min(_USUAL_PAGE, self._largest), self._offset).__await__()

    def __aiter__(self) -> ItemIterator[T]:
        """Iterate over the items of all pages, with the next page fetched once half of one is used up."""
        return self._items(self._offset, ahead_from=_HALF)

    def items(self, *, offset: int | None = None, prefetch: bool = True) -> ItemIterator[T]:
        """Return an iterator over the items of all pages, in pages of the list's limit, or else the largest ones.

        Use it as an async context manager, so that the page that is being fetched is given up at the end.

        Args:
            offset: Items to skip, instead of the list's own offset. Pass ``offset`` of an iterator that was left to go
                on there: its last item is yielded again.
            prefetch: Fetch the next page as soon as one has come; else when all of one is used up.

        Raises:
            InvalidArgumentError: an argument cannot be used.
        """
        start = self._offset if offset is None else arguments.within(offset, "offset", 0)
        return self._items(start, ahead_from=0.0 if arguments.flag(prefetch, "prefetch") else None)

    def _items(self, offset: int, *, ahead_from: float | None) -> ItemIterator[T]:
        return ItemIterator(
            self._what,
            self._fetch_of_all,
            key=self._key,
            limit=self._limit or self._largest,
            offset=offset,
            ahead_from=ahead_from,
        )


class ItemIterator(AsyncIterator[T], Generic[T]):
    """An iterator over the items of all pages, each once, which fetches one page ahead.

    Several tasks may read from it; ``offset`` then says less, since items before it may still be in work elsewhere.
    After an error or a cancellation the next item can be asked for again. Leave it early with ``aclose()``, or use it
    as an async context manager, to give up the page that is being fetched; it is also given up with the iterator.

    Args:
        what: The name of the list, for the log.
        fetch: Fetches the page of at most so many items that begins behind so many others.
        key: Returns what an item is known by.
        limit: Items of a page.
        offset: Items before the first one.
        ahead_from: The part of a page that is used up before the next one is fetched; None for all of it.
    """

    def __init__(
        self,
        what: str,
        fetch: Callable[[int, int], Awaitable[Page[T]]],
        *,
        key: Callable[[T], int | str],
        limit: int,
        offset: int,
        ahead_from: float | None,
    ) -> None:
        """Send nothing yet."""
        self.offset: int = offset
        """Where to go on another time: the row of the item that was yielded last, until the next one is asked for."""
        self.total: int | None = None
        """The number of rows on all pages, by the latest response; None if the server does not say."""
        self.duplicates: int = 0
        """Rows that came again, and were not yielded again."""
        self.missed: int = 0
        """Rows that may have been missed, as far as the totals show so far; at the end, all of them."""
        self._what = what
        self._fetch = fetch
        self._key = key
        self._limit = limit
        self._ahead_from = ahead_from
        self._ahead_at = 0  # fetch the next page once so few rows of this one are left
        self._following: int | None = None  # its offset, as long as it was not begun to be fetched
        self._start = self._next = offset
        self._rows: deque[T] = deque()
        self._more = True
        self._met = _Seen()
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
        """Return the next item.

        Raises:
            B2BError: a page could not be had; to ask again is to try again.
        """
        while True:
            self.offset = self._next
            while self._rows:
                item = self._rows.popleft()
                self.offset, self._next = self._next, self._next + 1
                if self._following is not None and len(self._rows) <= self._ahead_at:
                    self._fetch_ahead(self._following)
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
        """Give up what is being fetched; there are no further items then, also for a task that waits for one."""
        self._rows.clear()
        self._more = False
        self._following = None
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
        if self._more and self._ahead_from is not None:
            self._ahead_at = int(len(page.items) * (1 - self._ahead_from))
            self._following = following
            if len(self._rows) <= self._ahead_at:
                self._fetch_ahead(following)

    def _fetch_ahead(self, offset: int) -> None:
        self._following = None
        self._ahead = asyncio.ensure_future(self._fetch(self._limit, offset))
        self._ahead.add_done_callback(_retrieve)

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
        """Return whether a page is the one before it for the second time; once, rows in front may cause."""
        keys = [self._key(item) for item in page.items]
        self._repeats = self._repeats + 1 if keys and keys == self._page_before else 0
        self._page_before = keys
        return self._repeats > 1

    def _end(self) -> None:
        """Count and report, once, the rows that the totals show to be missing."""
        if self._ended:
            return
        self._ended = True
        self.missed = max(self.missed, (self.total or 0) - self._start - self._handed)
        if self.missed:
            logger.warning(
                "%s: the list changed while it was read; %d of %s rows may have been missed",
                self._what,
                self.missed,
                self.total,
            )


def _retrieve(page: asyncio.Future[Page[T]]) -> None:
    """Retrieve an error that may never be awaited, or asyncio complains."""
    if not page.cancelled():
        page.exception()


class _Seen:
    """The ids that have come: a bit for each, in blocks, since the ids of a store lie close together."""

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}
        self._others: set[str] = set()

    def add(self, key: int | str) -> bool:
        """Note *key*; return whether it is new."""
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
