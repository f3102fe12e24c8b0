"""What a job asks of the journal, and what those ask who read it.

The code that does items knows nothing else of the place where they are kept: ``SQLiteJournal`` keeps them in a file,
``NoJournal`` nowhere. Every method that is awaited returns once what it records is as safe as the journal can make it.
Everything that reads a journal (``status``, exports, the report, ``--from``) takes a ``JournalReader``.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from b2b_async.bulk.outcome import ItemOutcome, Skipped, Status

__all__ = [
    "PAUSED",
    "Counts",
    "Journal",
    "JournalError",
    "JournalFigures",
    "JournalItem",
    "JournalLostError",
    "JournalMismatchError",
    "JournalReader",
    "JournalStatus",
    "Minute",
    "NoJournal",
    "Opened",
    "PendingItem",
    "Reason",
    "Run",
]


class JournalError(Exception):
    """The journal cannot be used; the text says why and what to do."""


class JournalMismatchError(JournalError):
    """The journal belongs to another job, or to another input; the text says what differs. Nothing was sent."""


class JournalLostError(JournalError):
    """The journal belongs to another process now, which has begun to run it: this one writes and sends nothing more."""


PAUSED = "paused"
"""How a run ends that its owner goes on with: its time slice is over."""


@attrs.frozen(kw_only=True)
class JournalItem:
    """An item as a journal keeps it."""

    position: int
    """Its place in the input."""
    key: str
    """What it is known by."""
    value: Any
    """The item as plain JSON values."""
    in_doubt: bool = False
    """A request was sent in an earlier run and its outcome was never recorded."""


@attrs.frozen(kw_only=True)
class PendingItem(JournalItem):
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
    final_failed: int = 0
    """The failed ones among them that no run tries again."""
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
    """The fingerprint of the input as a whole, if it has one."""
    complete: bool = False
    """The whole input was read into it on purpose, so that the input is not needed any more."""
    begun: bool = False
    """A request was sent, or an item has an outcome."""
    tried: int = 0
    """Items that failed or are unknown since this run was begun, before it was paused: it does not do them again."""


@attrs.frozen(kw_only=True)
class Run:
    """One run of a job."""

    run: int
    """Counted from 1."""
    process: str
    """The process and its host."""
    started: float
    """Unix time in seconds."""
    finished: float | None
    """Unix time in seconds; None if it is running, or was killed."""
    how: str | None
    """How it ended: finished, or why not; None as long as it has not."""
    quota: int
    """Requests that the quota allowed in a window when it began."""
    window: float
    """Seconds of that window."""


@attrs.frozen(kw_only=True)
class Minute:
    """The requests of one minute of a run."""

    run: int
    """The run."""
    minute: int
    """Whole minutes since 1970, UTC."""
    requests: int
    """Requests that were sent, verifications included."""
    quota: float
    """Requests a minute that the quota allowed."""


@attrs.frozen(kw_only=True)
class JournalStatus:
    """How far a job is."""

    about: Mapping[str, str]
    """What the job is."""
    counts: Counts
    """Items by how they ended."""
    total: int | None
    """Items that there will be, if that is known."""
    complete: bool
    """The whole input is in the journal, so that another run needs none."""
    fingerprint: str
    """The fingerprint of the input as a whole, if it has one."""
    running: bool
    """A process is running it now."""
    low_water_mark: int
    """The position through which all items have an outcome that no run changes."""
    runs: Sequence[Run]
    """All runs, oldest first."""
    minutes: Sequence[Minute]
    """The last ten minutes of the last run that requests were sent in."""

    @property
    def all(self) -> int:
        """All items, as far as they are known: those that were read, or those that there will be."""
        return max(self.counts.all, self.total or 0)

    @property
    def not_reached(self) -> int:
        """Those of them without an outcome."""
        return self.all - self.counts.all + self.counts.pending


@attrs.frozen(kw_only=True)
class Reason:
    """Items that failed, or are unknown, for one reason."""

    status: Status
    """How they ended."""
    error: str
    """The name of the error class."""
    http_status: int | None
    """The HTTP status, if the server answered."""
    code: int | None
    """The envelope's code."""
    message: str
    """The server's message, or the error's."""
    items: int
    """How many there are."""
    examples: Sequence[str]
    """The keys of the first of them."""


@attrs.frozen(kw_only=True)
class JournalFigures:
    """The figures of a report."""

    status: JournalStatus
    """How far the job is."""
    minutes: Sequence[Minute]
    """All minutes of all runs."""
    seconds: Mapping[int, float]
    """Seconds that items took from their first send on, by percentile; empty if none was sent."""
    reasons: Sequence[Reason]
    """Why items failed or are unknown, the most frequent first."""
    more_reasons: int
    """Further reasons."""
    repeated: int
    """Items that were sent again after a run that may have done them."""
    duplicates: Mapping[str, int]
    """The first items that the input has again, and how often."""


class JournalReader(Protocol):
    """A journal to read, also while its job runs. What it reads is data: it imports nothing that a journal names."""

    @property
    def name(self) -> str:
        """The name of the journal in messages and commands: its path, for example."""
        ...

    def status(self) -> JournalStatus:
        """Return how far the job is.

        Raises:
            JournalError: there is no such journal, or it cannot be read; so for all methods.
        """
        ...

    def outcomes(self, status: Status | None = None) -> Iterator[ItemOutcome]:
        """Return the outcomes in the order of the input, one after the other.

        Args:
            status: Only items that ended so; None for all of them.
        """
        ...

    def items(self) -> Iterator[JournalItem]:
        """Return the items in the order of the input, one after the other."""
        ...

    def figures(self) -> JournalFigures:
        """Return the figures of a report, all of one moment."""
        ...


class Journal(Protocol):
    """A journal to write: the place of items and outcomes."""

    async def begin(self, about: Mapping[str, str], *, quota: tuple[int, float]) -> Opened:
        """Begin a run, or go on with the last one if that is this owner's and was paused.

        Args:
            about: What the job is, for people and to refuse another one.
            quota: Requests and seconds of the quota, for the report.

        Raises:
            JournalMismatchError: the journal is that of another job.
            JournalError: a run of it is going on.
        """
        ...

    async def add(self, items: Sequence[JournalItem], *, read: int, checksum: int) -> Sequence[Skipped | ItemOutcome]:
        """Add items, so that ``fetch_pending`` returns them.

        One that has the key of an earlier one is recorded and returned: skipped if it is equal to it, else failed.

        Args:
            items: The items.
            read: How many items of the input have been read with these.
            checksum: The checksum of all of them.
        """
        ...

    async def expect(self, total: int | None, *, complete: bool = False, fingerprint: str | None = None) -> None:
        """Record how many items there will be, if that is known.

        Args:
            total: How many.
            complete: All of them have been added.
            fingerprint: The fingerprint of the input as a whole; None if there is no input.
        """
        ...

    async def reset(self) -> None:
        """Remove all items, of which none has been begun.

        Raises:
            JournalMismatchError: one has.
        """
        ...

    async def fetch_pending(self, most: int) -> Sequence[PendingItem]:
        """Return at most *most* items that are to be done and were not returned in this run; none at the end.

        Where a run goes on that was paused, those that have an outcome since it was begun are not returned again.
        """
        ...

    async def mark_sent(self, item: PendingItem, when: float) -> None:
        """Record that a request for *item* is about to be sent, at Unix time *when*. It is sent after this returns.

        Raises:
            JournalLostError: another process owns the journal now; so for all methods that are awaited.
        """
        ...

    async def check_owner(self) -> None:
        """Make sure that this run still owns the journal, before a further request of an item that was sent."""
        ...

    async def mark_absent(self, item: PendingItem, when: float) -> None:
        """Record that a verification found *item* absent, at Unix time *when*."""
        ...

    def interrupt(self) -> None:
        """Wait for nothing for long any more, since the run is cancelled: write what can be written at once.

        Items that were marked as sent and have no outcome come with ``in_doubt`` in the next run.
        """
        ...

    async def mark_not_sent(self, item: PendingItem) -> None:
        """Record that *item* is certainly not done though its request was sent: it was refused."""
        ...

    def count_request(self, when: float, quota: float) -> None:
        """Count a request.

        Args:
            when: When it is sent, as Unix time in seconds.
            quota: Requests a minute that the quota allows then.
        """
        ...

    async def record(self, item: PendingItem, outcome: ItemOutcome) -> None:
        """Record what became of *item*."""
        ...

    async def end(self, how: str | None) -> None:
        """End the run that ``begin`` began.

        Args:
            how: How it ended: "finished", ``PAUSED``, or why it stopped; None if it has done nothing and shall leave no
                trace.
        """
        ...

    @property
    def counts(self) -> Counts:
        """How many items ended how, as far as it is recorded."""
        ...


class NoJournal:
    """A journal that keeps nothing: duplicates are done twice, and a crash loses the outcomes."""

    def __init__(self) -> None:
        """Start empty."""
        self._pending: deque[PendingItem] = deque()
        self.counts: Counts = Counts()
        """How many items ended how."""

    async def begin(self, about: Mapping[str, str], *, quota: tuple[int, float]) -> Opened:
        """Begin anew."""
        del about, quota
        await self.reset()
        return Opened()

    async def add(self, items: Sequence[JournalItem], *, read: int, checksum: int) -> Sequence[Skipped | ItemOutcome]:
        """Keep *items* until they are fetched."""
        del read, checksum
        self._pending.extend(
            PendingItem(position=item.position, key=item.key, value=item.value, in_doubt=item.in_doubt)
            for item in items
        )
        self.counts = attrs.evolve(self.counts, pending=self.counts.pending + len(items))
        return ()

    async def expect(self, total: int | None, *, complete: bool = False, fingerprint: str | None = None) -> None:
        """Do nothing."""

    async def reset(self) -> None:
        """Remove all items."""
        self._pending.clear()
        self.counts = Counts()

    async def fetch_pending(self, most: int) -> Sequence[PendingItem]:
        """Return the next items."""
        return [self._pending.popleft() for _ in range(min(most, len(self._pending)))]

    async def mark_sent(self, item: PendingItem, when: float) -> None:
        """Do nothing."""

    async def check_owner(self) -> None:
        """Do nothing."""

    async def mark_absent(self, item: PendingItem, when: float) -> None:
        """Do nothing."""

    def interrupt(self) -> None:
        """Do nothing."""

    async def mark_not_sent(self, item: PendingItem) -> None:
        """Do nothing."""

    def count_request(self, when: float, quota: float) -> None:
        """Do nothing."""

    async def record(self, item: PendingItem, outcome: ItemOutcome) -> None:
        """Count *outcome*."""
        del item
        counts, status = self.counts, outcome.status
        self.counts = attrs.evolve(
            counts,
            pending=counts.pending - 1,
            final_failed=counts.final_failed + (status == "failed" and outcome.final),
            **{status: getattr(counts, status) + 1},
        )

    async def end(self, how: str | None) -> None:
        """Do nothing."""
