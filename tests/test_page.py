"""The report of a job as a page: whole in itself, harmless, and in agreement with the export."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import shutil
import sqlite3
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from helpers import client_of
from test_journal import add, begin, outcome_of

from b2b_async import Quota, RateLimiter, RetryPolicy
from b2b_async.bulk import BulkJob, Item, JournalError, SQLiteJournal, SQLiteReader, write_html
from b2b_async.sandbox import Faults, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVIL = "<script>alert('1')</script>"
HOSTILE = "\x1b[2J</title></style><script>document.title='x'</script><img src=x onerror=\"alert(1)\">' onload='x"
"""What ends each place of a page that a value can be in, and then begins an element or an attribute."""


def figures(page: str) -> dict[str, int]:
    """Read the tiles of a page."""
    tiles = re.findall(r'<div class="tile[^"]*"><b>([\d,]+)</b>([^<]+)</div>', page)
    return {name: int(number.replace(",", "")) for number, name in tiles}


def reasons(page: str) -> Counter[tuple[str, str]]:
    """Read how many items failed, or are unknown, with which error."""
    rows = re.findall(r'<td class="n">([\d,]+)</td><td><span class="\w+">(\w+)</span></td><td>(\w+)</td>', page)
    found = Counter[tuple[str, str]]()
    for number, status, error in rows:
        found[status, error] += int(number)
    return found


async def test_the_page_agrees_with_the_export(tmp_path: Path) -> None:
    """Also while the job runs; after a stop, a second run, faults of many kinds, duplicates and bad items."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    rates = dict.fromkeys(("503", "reset-after", "truncated", "500-after"), 0.05)
    items = [*Store(12, 10, 5).users, 1001, 1002, 1001, EVIL]
    async with Sandbox(Store(12, 10, 5), quota="60/60s", faults=Faults(rates, seed=1), latency=0.2) as sandbox:
        limiter = RateLimiter(Quota(60, 60.0))
        async with client_of(sandbox, limiter=limiter, retry=RetryPolicy(attempts=2)) as client:
            for seconds in (5, 1000):
                async with SQLiteJournal(path) as journal:
                    job = BulkJob(client, items, journal=journal, total=len(items))
                    running = asyncio.ensure_future(job.run())
                    await asyncio.sleep(30)
                    write_html(SQLiteReader(path), page)
                    assert '<span class="badge odd">running</span>' in page.read_text()
                    await asyncio.wait([running], timeout=seconds)
                    job.stop("SIGTERM")
                    await running
                write_html(SQLiteReader(path), page)
                if seconds == 5:
                    assert '<span class="badge bad">stopped early</span>' in page.read_text()
    text = page.read_text()
    outcomes = list(SQLiteReader(path).outcomes())
    statuses = Counter(outcome.status for outcome in outcomes)
    status = SQLiteReader(path).status()

    tiles = figures(text)
    assert {name: tiles[name] for name in ("succeeded", "failed", "unknown")} == dict(statuses)
    assert tiles["duplicates"] == 3
    assert (tiles["not reached"], tiles["total"]) == (0, len(items))
    assert tiles["requests"] == len(sandbox.requests)
    assert tiles["sent again"] == sum(outcome.repeated for outcome in outcomes)
    assert reasons(text) == Counter((one.status, one.failure.error) for one in outcomes if one.failure)
    assert statuses["unknown"] > 0
    assert all(f"<td>{outcome.key}</td>" in text for outcome in outcomes if outcome.status == "unknown")
    assert '<span class="badge odd">finished, not all succeeded</span>' in text
    assert "Dashed: another run begins." in text
    assert status.total == len(items)
    assert EVIL not in text
    assert EVIL in unescape(text)
    assert not re.search(r"""(src|href)\s*=|https?://(?!127\.)|@import|url\(""", text)


async def test_a_page_of_nothing(tmp_path: Path) -> None:
    """A job that has not begun, and one that has succeeded."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    async with SQLiteJournal(path):
        pass
    write_html(SQLiteReader(path), page)
    assert "No requests were sent." in page.read_text()
    assert "stopped early" in page.read_text()
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(path) as journal:
        await BulkJob(client, [1001], journal=journal).run()
    write_html(SQLiteReader(path), page)

    assert '<span class="badge good">finished</span>' in page.read_text()
    assert "None did." in page.read_text()


async def test_a_page_of_very_much(tmp_path: Path) -> None:
    """Long jobs have the mean of some minutes in a bar; not more than so many unknowns and reasons are listed."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    async with SQLiteJournal(path) as journal:
        await begin(journal)
        for minute in range(0, 1500, 3):
            journal.count_request(minute * 60.0, 150.0)
        await add(journal, *((n, str(n)) for n in range(1, 1206)))
        for task in await journal.fetch_pending(1205):
            outcome = outcome_of(task, "unknown" if task.position <= 1100 else "failed")
            assert outcome.failure is not None
            message = f"{outcome.failure.message} {min(task.position, 60)}"
            failure = type(outcome.failure)(error="ServerError", text="text", outcome="unknown", message=message)
            await journal.record(task, type(outcome)(**{**_fields(outcome), "failure": failure}))
        await journal.end("finished")
    write_html(SQLiteReader(path), page)
    text = page.read_text()

    assert text.count('<rect class="bar"') == 500
    assert "A bar is the mean of 3 minutes." in text
    assert "The first 1,000 of 1,100; for all: b2b-async export" in text
    assert "further reasons" in text
    assert len(text) < 500_000


def _fields(outcome: object) -> dict[str, object]:
    return {name: getattr(outcome, name) for name in outcome.__slots__ if name != "__weakref__"}  # type: ignore[attr-defined]


async def test_a_page_takes_no_journals_place(tmp_path: Path) -> None:
    """Nor that of any other file; a page of before is replaced."""
    path, page = tmp_path / "job.journal", tmp_path / "report.html"
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(path) as journal:
        await BulkJob(client, [Item(3, 1001)], journal=journal).run()
    page.write_text("")
    write_html(SQLiteReader(path), page)
    other = tmp_path / "customers.csv"
    other.write_text("customer_id\n")
    with pytest.raises(JournalError, match="exists and is no report"):
        write_html(SQLiteReader(path), other)
    write_html(SQLiteReader(path), page)
    with pytest.raises(JournalError, match="exists and is no report: give the page another name"):
        write_html(SQLiteReader(path), path)
    with pytest.raises(JournalError, match="there is no journal"):
        write_html(SQLiteReader(tmp_path / "none"), page)

    assert page.read_text().startswith("<!doctype html>")
    assert SQLiteReader(path).status().counts.succeeded == 1


# -- pages of journals that somebody has changed -----------------------------------------------------------------------


class Parsed(HTMLParser):
    """A page as a browser sees it: its elements with the names of their attributes, and its text."""

    def __init__(self, page: Path) -> None:
        """Read it."""
        super().__init__()
        self.elements: set[tuple[str, ...]] = set()
        self.policies: list[str | None] = []
        self.styles: list[str] = []
        self.text = ""
        self.feed(page.read_bytes().decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.add((tag, *sorted(name for name, _ in attrs)))
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.policies.append(dict(attrs)["content"])

    def handle_data(self, data: str) -> None:
        """Note text."""
        if self.lasttag == "style" and data.startswith("\n:root"):
            self.styles.append(data)
        else:
            self.text += data


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """Return a journal with all that a page shows: outcomes of each kind, a duplicate, and two runs."""
    path = tmp_path / "job.journal"
    for run in (1, 2):
        async with SQLiteJournal(path) as journal:
            await begin(journal, server="https://api.example.com")
            if run == 1:
                await add(journal, (1, "1001"), (2, "1002"), (3, "1003"), (4, "1001"), read=4)
            for minute in (0, 3):
                journal.count_request(minute * 60.0, 150.0)
            for task in await journal.fetch_pending(3):
                status = {1: "succeeded", 2: "failed"}.get(task.position, "unknown")
                await journal.mark_sent(task, 7.5)
                await journal.record(task, outcome_of(task, status))  # type: ignore[arg-type]
            await journal.end("finished")
    return path


def test_the_policy_allows_the_style_of_the_page_and_nothing_else(journal: Path) -> None:
    """No script, no image, no style attribute; the hash is that of the style element."""
    page = journal.with_suffix(".html")
    write_html(SQLiteReader(journal), page)
    parsed = Parsed(page)
    (style,), (policy,) = parsed.styles, parsed.policies
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert {
        name for _, *names in parsed.elements for name in names if name == "style" or name.startswith("on")
    } == set()
    assert {element for element, *_ in parsed.elements} & {"script", "link", "img", "base", "form", "iframe"} == set()
    head = page.read_text().partition("<title>")[0]
    assert "Content-Security-Policy" in head  # before anything that it has to stop


def columns(journal: Path) -> Iterator[tuple[str, str]]:
    """Yield all tables and columns of a journal."""
    database = sqlite3.connect(journal)
    for (table,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
            yield table, column
    database.close()


@pytest.mark.parametrize(
    "value", [HOSTILE, HOSTILE.encode(), 2**62, 9e300, -1.5], ids=lambda value: type(value).__name__
)
def test_no_column_of_a_journal_changes_the_elements_of_a_page(journal: Path, value: object) -> None:
    """SQLite keeps text in columns of numbers; the reader may refuse it, and the page never takes it for HTML."""
    page, tampered = journal.with_suffix(".html"), journal.with_suffix(".tampered")
    write_html(SQLiteReader(journal), page)
    elements = Parsed(page).elements
    written = 0
    for table, column in columns(journal):
        shutil.copy(journal, tampered)
        unique = column in {"position", "key", "run", "minute", "name"}
        row = f"WHERE {column} = (SELECT max({column}) FROM {table})" if unique else ""  # noqa: S608 -- as below
        database = sqlite3.connect(tampered)
        try:
            database.execute(f"UPDATE {table} SET {column} = ? {row}", (value,))  # noqa: S608 -- names of the schema
            database.commit()
            write_html(SQLiteReader(tampered), page)
        except (sqlite3.Error, JournalError):  # the column takes no such value, or the reader does not
            continue
        finally:
            database.close()
        written += 1
        assert Parsed(page).elements <= elements, (table, column)
        assert "\x1b" not in page.read_text(), (table, column)

    assert written


@pytest.mark.parametrize("field", ["error", "text", "outcome", "status", "code", "message", "request_id"])
def test_no_field_of_a_failure_changes_the_elements_of_a_page(journal: Path, field: str) -> None:
    """It is shown as text."""
    page = journal.with_suffix(".html")
    write_html(SQLiteReader(journal), page)
    elements = Parsed(page).elements
    with sqlite3.connect(journal) as database:
        change = "UPDATE items SET failure = json_set(failure, ?, ?) WHERE failure IS NOT NULL"
        database.execute(change, (f"$.{field}", HOSTILE))
    database.close()
    if field in {"status", "code"}:  # which are numbers
        with pytest.raises(JournalError, match=r"job\.journal: the journal is damaged at position \d+"):
            write_html(SQLiteReader(journal), page)
        return
    write_html(SQLiteReader(journal), page)
    parsed = Parsed(page)

    assert parsed.elements == elements
    assert (shown(HOSTILE) in parsed.text) == (field not in {"outcome", "request_id"})


def shown(value: str) -> str:
    """Return the text that a page shows for a value."""
    return value.replace("\x1b", "\N{REPLACEMENT CHARACTER}")


def changed(value: Any, hostile: Any) -> Iterator[Any]:
    """Yield a value with each of the values in it replaced, one at a time."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            for one in changed(getattr(value, field.name), hostile):
                yield attrs.evolve(value, **{field.name: one})
    elif isinstance(value, Mapping):
        for key in value:
            for one in changed(value[key], hostile):
                yield {**value, key: one}
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, old in enumerate(value):
            for one in changed(old, hostile):
                yield [*value[:place], one, *value[place + 1 :]]
    else:
        yield hostile


@pytest.mark.parametrize(
    "value",
    [HOSTILE, HOSTILE.encode(), [HOSTILE], 2**62, 9e300, float("nan"), -1, None],
    ids=lambda value: type(value).__name__,
)
def test_no_figure_changes_the_elements_of_a_page(
    journal: Path, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reader lets through: the page shows it as text, or leaves the chart out."""
    page = journal.with_suffix(".html")
    write_html(SQLiteReader(journal), page)
    elements, known = Parsed(page).elements, SQLiteReader(journal).figures()
    found = 0
    for figures in changed(known, value):
        monkeypatch.setattr(SQLiteReader, "figures", lambda _, figures=figures: figures)
        write_html(SQLiteReader(journal), page)
        parsed = Parsed(page)
        assert parsed.elements <= elements
        assert "\x1b" not in parsed.text
        found += shown(HOSTILE) in parsed.text
    outcome = next(SQLiteReader(journal).outcomes("unknown"))
    for one in changed(outcome, value):
        monkeypatch.setattr(SQLiteReader, "outcomes", lambda *_, one=one: iter([one]))
        write_html(SQLiteReader(journal), page)
        assert Parsed(page).elements <= elements

    assert found > 30 or value != HOSTILE


def test_a_journal_whose_clock_was_set_has_a_chart(journal: Path) -> None:
    """Of the minutes with requests: it neither takes long nor much memory."""
    page = journal.with_suffix(".html")
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE minutes SET minute = 4000000000000000000 WHERE minute > 0")
    database.close()
    write_html(SQLiteReader(journal), page)

    assert "<svg" in page.read_text()
    assert page.read_text().count('class="bar"') < 10
    assert "minute 4000000000000000000" in page.read_text()


def test_minutes_without_requests_and_quota_are_drawn(journal: Path) -> None:
    """Nothing is divided by their maximum of zero."""
    page = journal.with_suffix(".html")
    with sqlite3.connect(journal) as database:
        database.execute("UPDATE minutes SET requests = 0, quota = 0")
    database.close()
    write_html(SQLiteReader(journal), page)

    assert "<svg" in page.read_text()


def test_control_characters_are_visible_in_a_page(journal: Path) -> None:
    """Those of terminals, those that reverse text, and those that end lines; a line feed and other letters stay."""
    page = journal.with_suffix(".html")
    with sqlite3.connect(journal) as database:
        message = "a\x1b[31mb\x07c\x85d\u202ee\u2028f\rg\nh\u65e5"
        database.execute("UPDATE items SET failure = json_set(failure, '$.message', json(?))", (json.dumps(message),))
    database.close()
    write_html(SQLiteReader(journal), page)

    assert (
        '<td class="words">a\ufffd[31mb\ufffdc\ufffdd\ufffde\ufffdf\ufffdg\nh\u65e5</td>' in page.read_bytes().decode()
    )


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_a_new_page_is_for_its_owner_only(journal: Path) -> None:
    """Server messages may hold personal data. The mode of an earlier page stays."""
    page = journal.with_suffix(".html")
    write_html(SQLiteReader(journal), page)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    page.chmod(0o644)
    write_html(SQLiteReader(journal), page)
    assert stat.S_IMODE(page.stat().st_mode) == 0o644
