"""The inputs of commands: a file, a pipe, another journal, or the store; and what a run over one will do."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

import attrs

from b2b_async.bulk import Item, JournalError, SourceError, SQLiteReader, customer_ids_of
from b2b_async.bulk.outcome import CONFLICT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
    from typing import Self

    from b2b_async.bulk import ItemOutcome, JobKind, JournalReader, JournalStatus, Rereadable, Row
    from b2b_async.bulk.outcome import Status
    from b2b_async.client import Client
    from b2b_async.ids import CompanyId

STDIN = ("-", "/dev/stdin")
"""Names of what comes in."""
_SHOWN_PROBLEMS = 20
_RETRIED = ("failed", "unknown")


@attrs.frozen(kw_only=True)
class Plan:
    """What a run will do, as far as that is known before anything is sent."""

    rows: int | None
    """Rows of the input; None if only the server knows them."""
    duplicates: int = 0
    """Rows that repeat an earlier one."""
    done: int = 0
    """Items with a final outcome of an earlier run, which are skipped."""
    checked: bool = True
    """The input was read now; else it is the one that was checked when its journal was begun."""
    reads_input: bool = True
    """The input is read; else the journal has all of it."""
    problems: Sequence[str] = ()
    """What is wrong with the input, so that the run is refused."""

    @classmethod
    def of_journal(cls, status: JournalStatus, *, reads_input: bool) -> Plan:
        """Return the plan of going on with a journal that was begun with just this input."""
        counts = status.counts
        done = counts.succeeded + counts.final_failed + counts.duplicate
        return cls(rows=status.total, duplicates=counts.duplicate, done=done, checked=False, reads_input=reads_input)


class Input(Protocol):
    """The items of a command."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    @property
    def about(self) -> Mapping[str, str]:
        """What belongs to the identity of its job, beside the items themselves."""
        ...

    @property
    def once(self) -> bool:
        """It may not come again, or not as it was, so it must be in the journal before anything is done."""
        ...

    @property
    def journal(self) -> Path:
        """The journal of its job where none is named."""
        ...

    def plan(self, journal: Path, *, afresh: bool) -> Plan:
        """Find out what a run will do: what is read, done, skipped and refused.

        Args:
            journal: The journal of the run.
            afresh: Check all of the input, also where the journal shows that it was checked.

        Raises:
            SourceError: the input cannot be read.
            JournalError: the journal cannot be read.
        """
        ...

    def compare(self, identity: Mapping[str, str]) -> None:
        """Make sure that it is one for this server and store.

        Raises:
            SourceError: it is not.
        """
        ...

    def items(self, client: Client) -> Rereadable | Iterator[Item] | AsyncGenerator[int]:
        """Return the items."""
        ...

    def differences(self, journal: Path) -> Iterator[str]:
        """Return where it differs first from what a journal has read of it, if that can be seen."""
        ...


@attrs.frozen(kw_only=True)
class FileInput:
    """A file that can be read twice, whatever it came from."""

    name: str
    path: Path
    """Where it is now, whatever it came from."""
    kind: JobKind
    read: Callable[..., Iterator[Row]]
    """Reads the rows, those *after* a line."""
    limit: int | None
    columns: str
    """What is read of it, in words."""
    once: bool
    """It was a pipe."""

    @property
    def about(self) -> Mapping[str, str]:
        """A file may be moved, so its name says nothing; its items are compared."""
        return {"input": "stdin or a pipe" if self.once else "a file"}

    @property
    def journal(self) -> Path:
        """Beside the file."""
        return named_by_time(self.kind.name) if self.once else Path(f"{self.name}.journal")

    @property
    def fingerprint(self) -> str:
        """Of all bytes of the file, and of what is read of them."""
        with self.path.open("rb") as file:
            return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {self.about} {self.limit} {self.columns}"

    def rows(self) -> Iterator[Row]:
        """Return all rows, good and bad."""
        return itertools.islice(self.read(), self.limit)

    def after(self, position: int) -> Iterator[Item]:
        """Return the items behind a line.

        Raises:
            SourceError: a line is not as it was when it was checked.
        """
        limited = self.limit is not None
        for row in self.rows() if limited else self.read(after=position):
            if row.item is None:  # all was good when it was checked
                message = f"{row.problem}; the file has changed since it was checked"
                raise SourceError(message)
            if row.item.position > position:
                yield row.item

    def plan(self, journal: Path, *, afresh: bool) -> Plan:
        """Read all of it, unless the journal was begun with just this file, which was checked then.

        Raises:
            SourceError: it cannot be read.
            JournalError: the journal cannot be read.
        """
        is_gone = self.once and self.path.stat().st_size == 0  # nothing comes through the pipe any more
        if is_gone and (held := whole(journal)) is not None:
            return Plan.of_journal(held, reads_input=False)
        reader = SQLiteReader(journal)
        if not afresh and reader.exists() and (status := reader.status()).fingerprint == self.fingerprint:
            return Plan.of_journal(status, reads_input=True)
        return self.check()

    def check(self) -> Plan:
        """Read all of it.

        Raises:
            SourceError: it cannot be read.
        """
        total = bad = duplicates = 0
        problems: list[str] = []

        def wrong(problem: str) -> None:
            nonlocal bad
            bad += 1
            if len(problems) < _SHOWN_PROBLEMS:
                problems.append(problem)

        with _Seen() as seen:
            for row in self.rows():
                total += 1
                if row.item is None:
                    wrong(row.problem or "")
                    continue
                key, value = self.kind.key(row.item.value), json.dumps(self.kind.dump(row.item.value))
                first = seen.add(key, row.item.position, value)
                if first is not None:
                    duplicates += 1
                    if first[1] != value:
                        line = row.item.position
                        wrong(f"{self.name}, line {line}: {key} stands on line {first[0]} with other values")
        if bad > len(problems):
            problems.append(f"{self.name}: {bad - len(problems):,} more lines are wrong")
        return Plan(rows=total, duplicates=duplicates, problems=problems)

    def items(self, client: Client) -> FileInput:
        """Return itself: a job reads it from where the journal is."""
        del client
        return self

    def compare(self, identity: Mapping[str, str]) -> None:
        """A file names no store."""

    def differences(self, journal: Path) -> Iterator[str]:
        """Return where the file differs first from what a journal has read of it."""
        start = f"{self.name} differs first where"
        rows = self.rows()
        with contextlib.suppress(SourceError, JournalError):
            for kept in SQLiteReader(journal).items():
                row = next(rows, None)
                item = None if row is None else row.item
                if item is None:
                    yield f"{start} {kept.key} stood on line {kept.position}"
                    return
                key, value = self.kind.key(item.value), self.kind.dump(item.value)
                if (item.position, key, value) != (kept.position, kept.key, kept.value):
                    changed = " with other values" if key == kept.key and value != kept.value else ""
                    yield (
                        f"{start} {kept.key} stood on line {kept.position}: now {key} stands on line {item.position}"
                        f"{changed}"
                    )
                    return


@attrs.frozen(kw_only=True)
class JournalInput:
    """The items of another journal that failed, or are unknown."""

    origin: JournalReader
    kind: JobKind
    only: Status | None
    limit: int | None
    once: bool = True

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.only or ' and '.join(_RETRIED)} of {self.origin.name}"

    @property
    def about(self) -> Mapping[str, str]:
        """Which journal, and which of its items."""
        return {
            "input": f"{self.only or ' and '.join(_RETRIED)} of {Path(self.origin.name).resolve()}{_first(self.limit)}"
        }

    @property
    def journal(self) -> Path:
        """Beside the other one."""
        return Path(f"{self.origin.name.removesuffix('.journal')}-{self.only or 'again'}.journal")

    def plan(self, journal: Path, *, afresh: bool) -> Plan:
        """Count them, unless the journal of the run has them all.

        Raises:
            SourceError: the other journal cannot be read.
            JournalError: the journal of the run cannot be read.
        """
        del afresh
        if (held := whole(journal)) is not None:
            return Plan.of_journal(held, reads_input=False)
        try:
            status = self.origin.status()
            job = status.about.get("job")
            if job != self.kind.name:
                return Plan(rows=0, problems=[f"{self.origin.name} is a journal of {job}, not of {self.kind.name}"])
            rows, wrong = self._check()
        except JournalError as error:
            raise SourceError(str(error)) from None
        if status.running:
            wrong.append(
                f"the job of {self.origin.name} is running: wait for its end, since it may do these items itself"
            )
        return Plan(rows=rows, problems=wrong)

    def _check(self) -> tuple[int, list[str]]:
        """Return the number of items, and what is wrong with the first that is none."""
        rows = 0
        for rows, outcome in enumerate(self._outcomes(), 1):
            try:
                self.kind.load(outcome.value)
            except Exception as error:  # noqa: BLE001 -- whatever the user's function raises; the plan names it
                what = f"{outcome.key} is no item of {self.kind.name} ({type(error).__name__}: {error})"
                return rows, [f"{self.origin.name}: {what}"]
        return rows, []

    def compare(self, identity: Mapping[str, str]) -> None:
        """Make sure that the other journal is of this server and store.

        Raises:
            SourceError: it is of others.
        """
        about = self.origin.status().about
        for name, value in identity.items():
            if about.get(name, value) != value:
                message = f"{self.origin.name} is of another {name}: {about[name]!r} there, {value!r} here"
                raise SourceError(message)

    def differences(self, journal: Path) -> Iterator[str]:
        """Return nothing: the name of the other journal says it."""
        del journal
        return iter(())

    def items(self, client: Client) -> Iterator[Item]:
        """Return the items; what may have been done is marked."""
        del client
        for outcome in self._outcomes():
            in_doubt = outcome.status == "unknown"
            yield Item(outcome.position, self.kind.load(outcome.value), in_doubt=in_doubt)

    def _outcomes(self) -> Iterator[ItemOutcome]:
        # Of two items with one key and other values, it is not known which is meant; the input must be corrected.
        wanted = (
            outcome
            for outcome in self.origin.outcomes(self.only)
            if outcome.failure is not None and outcome.failure.error != CONFLICT
        )
        return itertools.islice(wanted, self.limit)


@attrs.frozen(kw_only=True)
class StoreInput:
    """The customers of companies."""

    companies: tuple[CompanyId, ...]
    """B2B company ids; none for all companies."""
    limit: int | None
    once: bool = True

    @property
    def name(self) -> str:
        """What to call it."""
        return f"company {', '.join(map(str, self.companies))}" if self.companies else "all companies"

    @property
    def about(self) -> Mapping[str, str]:
        """Which companies."""
        return {"input": f"{self.name}{_first(self.limit)}"}

    @property
    def journal(self) -> Path:
        """Named by the time, since the list is another one each time."""
        return named_by_time("assign")

    def plan(self, journal: Path, *, afresh: bool) -> Plan:
        """Return a plan without a number of rows, which only the server knows, unless the journal has them all.

        Raises:
            JournalError: the journal cannot be read.
        """
        del afresh
        held = whole(journal)
        return Plan(rows=None) if held is None else Plan.of_journal(held, reads_input=False)

    def compare(self, identity: Mapping[str, str]) -> None:
        """It is the store."""

    def differences(self, journal: Path) -> Iterator[str]:
        """Return nothing: the list is another one each time."""
        del journal
        return iter(())

    async def items(self, client: Client) -> AsyncGenerator[int]:
        """Ask the server."""
        number = 0
        async with contextlib.aclosing(customer_ids_of(client, self.companies or None)) as ids:
            async for customer_id in ids:
                number += 1
                if self.limit is not None and number > self.limit:
                    return
                yield customer_id


def whole(journal: Path | None) -> JournalStatus | None:
    """Read a journal that holds its whole input, so that the input need not come again; None for any other.

    Raises:
        JournalError: it cannot be read.
    """
    if journal is None or not journal.exists():
        return None
    status = SQLiteReader(journal).status()
    return status if status.complete else None


@contextlib.contextmanager
def readable_twice(file: str, journal: Path | None) -> Generator[tuple[Path, bool]]:
    """Keep stdin, or what comes from a pipe, in a file, so that all of it is checked before anything is sent.

    A terminal is not read if *journal* has it all. Yields the file, and whether it was a pipe.

    Raises:
        JournalError: the journal cannot be read.
        SourceError: the input cannot be read.
    """
    stdin = file in STDIN
    try:
        fifo = not stdin and Path(file).is_fifo()
    except OSError as error:  # its name is too long, for example
        message = f"{file}: {error.strerror}"
        raise SourceError(message) from None
    if not stdin and not fifo:
        yield Path(file), False
    elif stdin and sys.stdin is not None and sys.stdin.isatty() and whole(journal) is not None:
        yield Path(os.devnull), True
    else:
        with tempfile.TemporaryDirectory(prefix="b2b-async-") as folder:
            path = Path(folder) / "input"
            try:
                with _opened(file) as stream, path.open("wb") as copy:
                    shutil.copyfileobj(stream, copy)
            except OSError as error:
                message = f"{'stdin' if stdin else file} cannot be read, or kept in {folder}: {error.strerror}"
                raise SourceError(message) from None
            yield path, True


def _opened(file: str) -> IO[bytes]:
    if file not in STDIN:
        return Path(file).open("rb")
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        message = "stdin is closed: pipe the input in, or name a file"
        raise SourceError(message)
    return sys.stdin.buffer


def _first(limit: int | None) -> str:
    return "" if limit is None else f", the first {limit}"


def named_by_time(job: str) -> Path:
    """Name a journal that no file names; two commands may begin in the same second."""
    return Path(f"b2b-{job}-{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(2)}.journal")


class _Seen:
    """The keys of an input, in a temporary database on the disk, since there may be more than fit into memory."""

    def __enter__(self) -> Self:
        self._database = sqlite3.connect("")
        self._database.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, position, value) WITHOUT ROWID")
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._database.close()

    def add(self, key: str, position: int, value: str) -> tuple[int, str] | None:
        """Note a key; return the position and the value that it had before, if it was there."""
        added = self._database.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", (key, position, value))
        if added.rowcount:
            return None
        found = self._database.execute("SELECT position, value FROM keys WHERE key = ?", (key,)).fetchone()
        return cast("tuple[int, str]", found)
