"""What a job asks of the place where its items and outcomes live.

The code that works items knows nothing else of that place: ``SQLiteJournal`` keeps them in a file, ``NoJournal``
nowhere. Every method that is awaited returns once what it says is as safe as the journal can make it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from b2b_async.bulk.outcome import ItemOutcome, Skipped, Status


class JournalError(Exception):
    """The journal cannot be used; the text says why and what to do."""


class JournalMismatchError(JournalError):
    """The journal belongs to another job, or to another input; the text says what differs. Nothing was sent."""


@attrs.frozen(kw_only=True)
class Entry:
    """An item as a journal keeps it."""

    position: int
    """Where in the input it stood."""
    key: str
    """What it is known by."""
    value: Any
    """The item as plain JSON values."""
    in_doubt: bool = False
    """A request for it has left before, and its end was not written down, or is not known."""


@attrs.frozen(kw_only=True)
class Task(Entry):
    """An item that is to be done."""

    status: Status | None = None
    """How it ended when it was tried last; None if it has no outcome yet."""
    absent: float | None = None
    """When a verification first found it absent, though it may have been sent; Unix time in seconds."""


@attrs.frozen(kw_only=True)
class Counts:
    """How many items of a journal ended how."""

    succeeded: int = 0
    failed: int = 0
    unknown: int = 0
    duplicate: int = 0
    settled_failed: int = 0
    """Those failed ones that no run tries again."""
    pending: int = 0
    """Items without an outcome."""

    @property
    def all(self) -> int:
        """Items that were read."""
        return self.succeeded + self.failed + self.unknown + self.duplicate + self.pending


@attrs.frozen(kw_only=True)
class Opened:
    """What a journal holds when a run begins."""

    counts: Counts = Counts()
    """How far earlier runs came."""
    read: int = 0
    """Items of the input that it has."""
    checksum: int = 0
    """A checksum of them."""
    last: int = -1
    """The position of the last of them."""
    fingerprint: str = ""
    """What the input as a whole said of itself, if it can."""
    complete: bool = False
    """The whole input was read into it on purpose, so that the input is not needed any more."""
    begun: bool = False
    """Something has left, or has an outcome."""


class Journal(Protocol):
    """Where items and outcomes live."""

    async def begin(self, about: Mapping[str, str], *, quota: tuple[int, float]) -> Opened:
        """Begin a run.

        Args:
            about: What the job is, for people and to refuse another one.
            quota: Requests and seconds of the quota, for the report.

        Raises:
            JournalMismatchError: the journal is that of another job.
            JournalError: a run of it is going on.
        """
        ...

    async def add(self, entries: Sequence[Entry], *, read: int, checksum: int) -> Sequence[Skipped | ItemOutcome]:
        """Take items in, so that ``take`` gives them.

        One that has the key of an earlier one is noted and comes back: skipped if it is equal to it, and else failed.

        Args:
            entries: The items.
            read: How many items of the input have been read with these.
            checksum: The checksum of all of them.
        """
        ...

    async def expect(self, total: int | None, *, complete: bool = False, fingerprint: str | None = None) -> None:
        """Note how many items there will be, if that is known.

        Args:
            total: How many.
            complete: All of them have been added.
            fingerprint: What the input as a whole says of itself; None if there is no input.
        """
        ...

    async def clear(self) -> None:
        """Forget all items, of which none has been begun.

        Raises:
            JournalMismatchError: one has.
        """
        ...

    async def take(self, most: int) -> Sequence[Task]:
        """Give at most *most* items that are to be done and were not given in this run; none if there are no more."""
        ...

    async def leave(self, task: Task, when: float) -> None:
        """Note that a request for *task* is about to leave, at Unix time *when*. It leaves after this returns."""
        ...

    async def hold(self) -> None:
        """Make sure that this run may still send, before a further request of an item that was sent.

        Raises:
            JournalError: another process has begun to run the journal.
        """
        ...

    async def mark_absent(self, task: Task, when: float) -> None:
        """Note that a verification found *task* absent, at Unix time *when*."""
        ...

    def interrupt(self) -> None:
        """Hurry: the run is cancelled, and what is not written now is found out by the next one."""
        ...

    async def release(self, task: Task) -> None:
        """Note that *task* is certainly not done though its request has left: it was refused."""
        ...

    def count(self, minute: int, quota: float) -> None:
        """Count a request in the *minute* of the run, beside the requests a minute that the quota allows."""
        ...

    async def record(self, task: Task, outcome: ItemOutcome) -> None:
        """Write down what became of *task*."""
        ...

    async def end(self, how: str | None) -> None:
        """End the run that ``begin`` began; None if it has done nothing and shall leave no trace."""
        ...

    @property
    def counts(self) -> Counts:
        """How many items ended how, as far as it is written down."""
        ...


class NoJournal:
    """A journal that remembers nothing: duplicates are done twice, and a crash loses the outcomes."""

    def __init__(self) -> None:
        """Start empty."""
        self._tasks: deque[Task] = deque()
        self.counts = Counts()
        """How many items ended how."""

    async def begin(self, about: Mapping[str, str], *, quota: tuple[int, float]) -> Opened:
        """Begin anew."""
        del about, quota
        self._tasks.clear()
        self.counts = Counts()
        return Opened()

    async def add(self, entries: Sequence[Entry], *, read: int, checksum: int) -> Sequence[Skipped | ItemOutcome]:
        """Hold *entries* until they are taken."""
        del read, checksum
        self._tasks.extend(
            Task(position=entry.position, key=entry.key, value=entry.value, in_doubt=entry.in_doubt)
            for entry in entries
        )
        self.counts = attrs.evolve(self.counts, pending=self.counts.pending + len(entries))
        return ()

    async def expect(self, total: int | None, *, complete: bool = False, fingerprint: str | None = None) -> None:
        """Do nothing."""

    async def clear(self) -> None:
        """Forget what is held."""
        self._tasks.clear()
        self.counts = Counts()

    async def take(self, most: int) -> Sequence[Task]:
        """Hand out what is held."""
        return [self._tasks.popleft() for _ in range(min(most, len(self._tasks)))]

    async def leave(self, task: Task, when: float) -> None:
        """Do nothing."""

    async def hold(self) -> None:
        """Do nothing."""

    async def mark_absent(self, task: Task, when: float) -> None:
        """Do nothing."""

    def interrupt(self) -> None:
        """Do nothing."""

    async def release(self, task: Task) -> None:
        """Do nothing."""

    def count(self, minute: int, quota: float) -> None:
        """Do nothing."""

    async def record(self, task: Task, outcome: ItemOutcome) -> None:
        """Count *outcome*."""
        del task
        counts, status = self.counts, outcome.status
        self.counts = attrs.evolve(
            counts,
            pending=counts.pending - 1,
            settled_failed=counts.settled_failed + (status == "failed" and outcome.settled),
            **{status: getattr(counts, status) + 1},
        )

    async def end(self, how: str | None) -> None:
        """Do nothing."""
