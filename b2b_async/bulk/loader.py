"""From the input into the journal: items are read as they are needed, and no further ahead."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterable
from typing import TYPE_CHECKING, Any, cast

from b2b_async._arguments import shown
from b2b_async.bulk.journal import Entry, JournalMismatchError
from b2b_async.bulk.outcome import Item
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from b2b_async.bulk.journal import Journal, Opened, Task
    from b2b_async.bulk.kinds import JobKind
    from b2b_async.bulk.outcome import ItemOutcome, Skipped

_SLICE = 1000
"""Items that are read at once where nobody waits for the first of them."""
_LARGEST_POSITION = 2**63 - 1


class Loader:
    """Gives tasks: first those that the journal has, then those that it takes in from the input.

    Args:
        items: The input; None if the journal has it all.
        kind: What is done with each.
        journal: Where they go.
        report: Told of items that have the key of an earlier one.
    """

    def __init__(
        self,
        items: Iterable[Any] | AsyncIterable[Any] | None,
        kind: JobKind,
        journal: Journal,
        report: Callable[[ItemOutcome | Skipped], None],
    ) -> None:
        """Read nothing yet."""
        self._source = _numbered(() if items is None else items)
        # An async iterable may have to wait for each item; those that it has given shall not wait for the next.
        self._one_by_one = isinstance(items, AsyncIterable)
        self._kind = kind
        self._journal = journal
        self._report = report
        self.read = 0
        """Items of the input that have been read."""
        self._digest = hashlib.blake2b(digest_size=16)
        self._last = -1
        self.exhausted = items is None
        """The input has no more items."""

    async def aclose(self) -> None:
        """Close the input."""
        await self._source.aclose()

    async def skip(self, opened: Opened) -> None:
        """Pass over what the journal has, and make sure that it is the same.

        Raises:
            JournalMismatchError: the input is another one.
        """
        if self.exhausted:  # there is no input but what the journal has
            return
        while self.read < opened.read:
            if not await self._pull(min(_SLICE, opened.read - self.read)):
                message = (
                    f"the input has {self.read:,} items, but the journal has read {opened.read:,} of it. "
                    "Use the input that it was begun with, or name another journal"
                )
                raise JournalMismatchError(message)
            await asyncio.sleep(0)  # others may call meanwhile
        if opened.read and self._digest.hexdigest() != opened.digest:
            message = (
                f"the input has changed since the journal was begun: its first {opened.read:,} items are not those "
                "that were read then. Use the input of then (further items at its end are welcome), "
                "or name another journal"
            )
            raise JournalMismatchError(message)

    async def next(self, most: int) -> Sequence[Task]:
        """Give at most *most* tasks; none if there are no more."""
        size = 1 if self._one_by_one else most
        while True:
            tasks = await self._journal.take(most)
            if tasks or not await self.load(size):
                return tasks
            if not self._one_by_one:  # nothing of it needs to be done: it may go faster through the duplicates
                size = min(2 * size, _SLICE)

    async def load(self, most: int = _SLICE) -> bool:
        """Read at most *most* items into the journal; False if there are no more."""
        entries = [] if self.exhausted else await self._pull(most)
        if entries:
            for repeat in await self._journal.add(entries, read=self.read, digest=self._digest.hexdigest()):
                self._report(repeat)
        return bool(entries)

    async def _pull(self, most: int) -> list[Entry]:
        entries: list[Entry] = []
        while len(entries) < most:
            item = await anext(self._source, None)
            if item is None:
                self.exhausted = True
                break
            entries.append(self._entry(item))
        self.read += len(entries)
        self._digest.update("".join(f"{entry.position} {entry.value!r}\n" for entry in entries).encode())
        return entries

    def _entry(self, item: Item) -> Entry:
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
        if not key or not key.isprintable():
            message = f"the item at position {position} has a key that cannot be written down: {shown(key)}"
            raise InvalidArgumentError(message)
        return Entry(position=position, key=key, value=plain, left=item.left)


async def _numbered(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Item]:
    position = 0
    if isinstance(items, AsyncIterable):
        source = aiter(items)
        try:
            async for value in source:
                position += 1
                yield value if isinstance(value, Item) else Item(position, value)
        finally:
            if isinstance(source, AsyncGenerator):  # it may hold a connection
                await source.aclose()
    else:
        for value in items:
            position += 1
            yield value if isinstance(value, Item) else Item(position, value)
