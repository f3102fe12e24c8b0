"""From the input into the journal: items are read as they are needed, and no further ahead."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from b2b_async._arguments import shown
from b2b_async.bulk.journal.protocol import JournalItem, JournalMismatchError
from b2b_async.bulk.outcome import Item
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from b2b_async.bulk.journal.protocol import Journal, Opened, PendingItem
    from b2b_async.bulk.kinds import JobKind
    from b2b_async.bulk.outcome import ItemOutcome, Skipped

_SLICE = 1000
"""Items that are read at once where nobody waits for the first of them."""
_LARGEST_POSITION = 2**63 - 1
_END = object()


@runtime_checkable
class Rereadable(Protocol):
    """An input that can be read from any place, and that shows when it has changed."""

    @property
    def fingerprint(self) -> str:
        """The same for the same items in the same places."""
        ...

    def after(self, position: int) -> Iterable[Item]:
        """Return the items behind *position*; all of them if it is -1."""
        ...


class Loader:
    """The pending items: first those that the journal has, then those that are read from the input into it.

    Args:
        items: The input; None if the journal has it all.
        kind: What is done with each.
        journal: The journal that they are read into.
        on_repeat: Called with the result of each item that has the key of an earlier one.
    """

    def __init__(
        self,
        items: Items,
        kind: JobKind,
        journal: Journal,
        on_repeat: Callable[[ItemOutcome | Skipped], None],
    ) -> None:
        """Read nothing yet."""
        self._items = items
        # An async iterable may have to wait for each item; those that it has given shall not wait for the next.
        self._source: AsyncIterator[Any] | None = aiter(items) if isinstance(items, AsyncIterable) else None
        self._iterator = iter(_all_of(items))
        self._kind = kind
        self._journal = journal
        self._on_repeat = on_repeat
        self._read = self._checksum = 0
        self._last = -1
        self.fingerprint: str | None = None
        """The fingerprint of the input when it was begun to be read; None if there is no input."""
        self._number = 0  # of those that the input has given, for the position of those that have none

    async def aclose(self) -> None:
        """Close the input: it may hold a connection."""
        close: Callable[[], Awaitable[None]] | None = getattr(self._source, "aclose", None)
        if close is not None:
            await close()

    async def skip(self, opened: Opened) -> None:
        """Skip what the journal has, and make sure that it is the same.

        Raises:
            JournalMismatchError: the input is another one.
        """
        if self._items is None:  # there is no input but what the journal has
            return
        self.fingerprint = self._items.fingerprint if isinstance(self._items, Rereadable) else ""
        if isinstance(self._items, Rereadable) and self.fingerprint and self.fingerprint == opened.fingerprint:
            self._iterator = iter(self._items.after(opened.last))
            self._read, self._checksum, self._last = opened.read, opened.checksum, opened.last
            return
        while self._read < opened.read:
            if not await self._pull(min(_SLICE, opened.read - self._read), into=None):
                message = (
                    f"the input has {self._read:,} items, but the journal has read {opened.read:,} of it. "
                    "Use the input, and the limit, that it was begun with, or name another journal"
                )
                raise JournalMismatchError(message)
            await asyncio.sleep(0)  # others may call meanwhile
        if (self._checksum, self._read) != (opened.checksum, opened.read):
            message = (
                f"the input has changed since the journal was begun: its first {opened.read:,} items are not those "
                "that were read then. Use the input of then (further items at its end are welcome), "
                "or name another journal"
            )
            raise JournalMismatchError(message)

    async def next(self, most: int) -> Sequence[PendingItem]:
        """Return at most *most* pending items; none if there are no more."""
        size = most
        while True:
            pending = await self._journal.fetch_pending(most)
            if pending or not await self.load(1 if self._source is not None else size):
                return pending
            size = min(2 * size, _SLICE)  # nothing of it needs to be done: it may go faster through the duplicates

    async def load(self, most: int = _SLICE) -> bool:
        """Read at most *most* items into the journal; False if there are no more."""
        entries: list[JournalItem] = []
        if not await self._pull(most, into=entries):
            return False
        adding = asyncio.ensure_future(self._journal.add(entries, read=self._read, checksum=self._checksum))
        try:
            repeats = await asyncio.shield(adding)
        except asyncio.CancelledError:  # they are added all the same, and those that failed must be reported
            for repeat in await adding:
                self._on_repeat(repeat)
            raise
        for repeat in repeats:
            self._on_repeat(repeat)
        return True

    async def _pull(self, most: int, *, into: list[JournalItem] | None) -> int:
        """Read at most *most* items; None is for those that the journal has already."""
        values: list[Any] = []
        if self._source is None:
            values += itertools.islice(self._iterator, most)
        else:
            while len(values) < most and (value := await anext(self._source, _END)) is not _END:
                values.append(value)
        dump, texts = self._kind.dump, list[str]()
        for value in values:
            self._number += 1
            item = value if isinstance(value, Item) else Item(self._number, value)
            if into is None:  # a million of them is compared before a job goes on, so no more is done than must be
                try:
                    plain, self._last = dump(item.value), item.position
                except (TypeError, ValueError, AttributeError):
                    plain = self._entry(item).value  # which says what is wrong with it
            else:
                entry = self._entry(item)
                into.append(entry)
                plain = entry.value
            texts.append(f"{item.position} {plain!r}\n")
        self._read += len(values)
        self._checksum = zlib.crc32("".join(texts).encode(errors="backslashreplace"), self._checksum)
        return len(values)

    def _entry(self, item: Item) -> JournalItem:
        position, value = item.position, item.value
        whole = isinstance(cast("object", position), int)
        if not whole or not self._last < position <= _LARGEST_POSITION:
            message = (
                "the position of each item must be a whole number and greater than that before, "
                f"not {shown(position)} after {self._last}"
            )
            raise InvalidArgumentError(message)
        self._last = position
        try:
            key, plain = self._kind.key(value), self._kind.dump(value)
        except (TypeError, ValueError, AttributeError) as error:
            message = f"the item at position {position} is none for {self._kind.name}: {shown(value)} ({error})"
            raise InvalidArgumentError(message) from None
        if not isinstance(cast("object", key), str) or not key or not key.isprintable():
            message = f"the item at position {position} has a key that cannot be written down: {shown(key)}"
            raise InvalidArgumentError(message)
        return JournalItem(position=position, key=key, value=plain, in_doubt=item.in_doubt)


def _all_of(items: Items) -> Iterable[Any]:
    if isinstance(items, Rereadable):
        return items.after(-1)
    return () if items is None or isinstance(items, AsyncIterable) else items


if TYPE_CHECKING:
    Items = Iterable[Any] | AsyncIterable[Any] | Rereadable | None
