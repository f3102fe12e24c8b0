"""Where the items of a command come from: a file, a pipe, another journal, or the store."""

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

from b2b_async.bulk import Item, JournalError, SourceError, read_outcomes, read_status
from b2b_async.bulk.inputs.companies import customer_ids_of
from b2b_async.bulk.journal.reader import read_items
from b2b_async.bulk.outcome import CONFLICT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
    from typing import Self

    from b2b_async.bulk import ItemOutcome, JobKind, JournalStatus, Rereadable, Row
    from b2b_async.client import Client
    from b2b_async.ids import CompanyId

STDIN = ("-", "/dev/stdin")
"""Names of what comes in."""
_SHOWN_PROBLEMS = 20
_RETRIED = ("failed", "unknown")


@attrs.frozen(kw_only=True)
class Checked:
    """What a look at the whole input found."""

    rows: int
    """How many rows it has."""
    duplicates: int
    """How many of them repeat an earlier one."""
    problems: list[str]
    """What is wrong with it."""


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
    def is_gone(self) -> bool:
        """A journal that has it all is gone on with, without another look at it."""
        ...

    @property
    def journal(self) -> Path:
        """Where outcomes are kept if nobody says where."""
        ...

    def check(self) -> Checked | None:
        """Look at all of it, before anything is sent; None if it can be known only by asking the server."""
        ...

    def compare(self, identity: Mapping[str, str]) -> None:
        """Make sure that it is one for this server and store.

        Raises:
            SourceError: it is not.
        """
        ...

    def items(self, client: Client) -> Rereadable | Iterator[Item] | AsyncGenerator[int]:
        """Give the items."""
        ...

    def differences(self, journal: Path) -> Iterator[str]:
        """Say where it differs first from what a journal has read of it, if that can be seen."""
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
    def is_gone(self) -> bool:
        """It came through a pipe, and nothing comes through any more."""
        return self.once and self.path.stat().st_size == 0

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
        """Give all rows, good and bad."""
        return itertools.islice(self.read(), self.limit)

    def after(self, position: int) -> Iterator[Item]:
        """Give the items behind a line.

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

    def check(self) -> Checked:
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
        return Checked(rows=total, duplicates=duplicates, problems=problems)

    def items(self, client: Client) -> FileInput:
        """Give itself: a job reads it from where the journal is."""
        del client
        return self

    def compare(self, identity: Mapping[str, str]) -> None:
        """A file names no store."""

    def differences(self, journal: Path) -> Iterator[str]:
        """Say where the file differs first from what a journal has read of it."""
        start = f"{self.name} differs first where"
        rows = self.rows()
        with contextlib.suppress(SourceError, JournalError):
            for position, key, value in read_items(journal):
                row = next(rows, None)
                item = None if row is None else row.item
                if item is None:
                    yield f"{start} {key} stood on line {position}"
                    return
                now, its_value = self.kind.key(item.value), self.kind.dump(item.value)
                if (item.position, now, its_value) != (position, key, value):
                    changed = " with other values" if now == key and its_value != value else ""
                    yield f"{start} {key} stood on line {position}: now {now} stands on line {item.position}{changed}"
                    return


@attrs.frozen(kw_only=True)
class JournalInput:
    """The items of another journal that failed, or are unknown."""

    path: Path
    kind: JobKind
    only: str | None
    limit: int | None
    once: bool = True
    is_gone: bool = True

    @property
    def name(self) -> str:
        """What to call it."""
        return f"{self.only or ' and '.join(_RETRIED)} of {self.path}"

    @property
    def about(self) -> Mapping[str, str]:
        """Which journal, and which of its items."""
        return {"input": f"{self.only or ' and '.join(_RETRIED)} of {self.path.resolve()}{_first(self.limit)}"}

    @property
    def journal(self) -> Path:
        """Beside the other one."""
        return Path(f"{str(self.path).removesuffix('.journal')}-{self.only or 'again'}.journal")

    def check(self) -> Checked:
        """Count them.

        Raises:
            SourceError: the journal cannot be read, or is of another kind of job.
        """
        try:
            status = read_status(self.path)
            rows = sum(1 for _ in self._outcomes())
        except JournalError as error:
            raise SourceError(str(error)) from None
        job = status.about.get("job")
        wrong: list[str] = []
        if job != self.kind.name:
            wrong.append(f"{self.path} is a journal of {job}, not of {self.kind.name}")
        if status.running:
            wrong.append(f"the job of {self.path} is running: wait for its end, since it may do these items itself")
        return Checked(rows=rows, duplicates=0, problems=wrong)

    def compare(self, identity: Mapping[str, str]) -> None:
        """Make sure that the other journal is of this server and store.

        Raises:
            SourceError: it is of others.
        """
        about = read_status(self.path).about
        for name, value in identity.items():
            if about.get(name, value) != value:
                message = f"{self.path} is of another {name}: {about[name]!r} there, {value!r} here"
                raise SourceError(message)

    def differences(self, journal: Path) -> Iterator[str]:
        """The journal says it all."""
        del journal
        return iter(())

    def items(self, client: Client) -> Iterator[Item]:
        """Give the items; what may have been done is marked."""
        del client
        for outcome in self._outcomes():
            in_doubt = outcome.status == "unknown"
            yield Item(outcome.position, self.kind.load(outcome.value), in_doubt=in_doubt)

    def _outcomes(self) -> Iterator[ItemOutcome]:
        # Of two items with one key and other values, nobody can say which is meant; the input must be mended.
        wanted = (
            outcome
            for outcome in read_outcomes(self.path, self.only)
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
    is_gone: bool = True

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

    def check(self) -> None:
        """Nothing can be known before."""

    def compare(self, identity: Mapping[str, str]) -> None:
        """It is the store."""

    def differences(self, journal: Path) -> Iterator[str]:
        """The journal says it all."""
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


def was_checked(source: Input, journal: Path) -> JournalStatus | None:
    """Read a journal that was begun with just this file, which was checked then; None for any other.

    Raises:
        JournalError: it cannot be read.
    """
    if not isinstance(source, FileInput) or not journal.exists():
        return None
    status = read_status(journal)
    return status if status.fingerprint == source.fingerprint else None


def whole(journal: Path | None) -> JournalStatus | None:
    """Read a journal that holds its whole input, so that the input need not come again; None for any other.

    Raises:
        JournalError: it cannot be read.
    """
    if journal is None or not journal.exists():
        return None
    status = read_status(journal)
    return status if status.complete else None


@contextlib.contextmanager
def readable_twice(file: str, journal: Path | None) -> Generator[tuple[Path, bool]]:
    """Keep stdin, or what comes from a pipe, in a file, so that all of it is checked before anything is sent.

    A terminal is not read if *journal* has it all. Gives the file, and whether it was a pipe.

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
        """Note a key; give the position and the value that it had before, if it was there."""
        added = self._database.execute("INSERT OR IGNORE INTO keys VALUES (?, ?, ?)", (key, position, value))
        if added.rowcount:
            return None
        found = self._database.execute("SELECT position, value FROM keys WHERE key = ?", (key,)).fetchone()
        return cast("tuple[int, str]", found)
