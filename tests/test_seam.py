"""The seams that other parts build on: the journal's protocols, slices of a job, kinds by name, taking over a store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from helpers import client_of, ended

from b2b_async import (
    AuthenticationError,
    ConfigurationError,
    InvalidArgumentError,
    QuotaFeedback,
    RateLimiter,
    RetryPolicy,
    v3,
)
from b2b_async.bulk import (
    ASSIGN,
    BulkJob,
    JobKind,
    JournalError,
    JournalLostError,
    JournalMismatchError,
    SQLiteJournal,
    SQLiteReader,
    write_csv,
    write_html,
)
from b2b_async.bulk.journal.protocol import PAUSED, NoJournal
from b2b_async.bulk.kinds import kind_of
from b2b_async.events import JobEnded
from b2b_async.ratelimit.redis import RedisRateLimiter
from b2b_async.sandbox import Faults, Sandbox, Store
from b2b_async.sandbox.throttle import SlidingLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from b2b_async import Client
    from b2b_async.bulk import (
        ItemOutcome,
        Journal,
        JournalFigures,
        JournalItem,
        JournalReader,
        JournalStatus,
    )


async def _shout(_client: Client, word: str) -> Mapping[str, Any]:
    return {"said": word.upper()}


SHOUT = JobKind(name="shout", run=_shout, load=lambda value: value["word"], dump=lambda word: {"word": word})
NO_KIND = "just a text"


# -- kinds ---------------------------------------------------------------------------------------------------------


def test_a_kind_is_named_by_the_caller() -> None:
    """By itself, by its name, or as module:attribute."""
    assert kind_of(ASSIGN) is kind_of("assign") is ASSIGN
    assert kind_of(f"{__name__}:SHOUT") is SHOUT


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("archive", "kind must be a JobKind, one of assign, create-orders, or 'module:attribute', not 'archive'"),
        ("no.such.module:KIND", r"kind 'no\.such\.module:KIND' cannot be imported"),
        (f"{__name__}:NOTHING", "cannot be imported"),
        (f"{__name__}:NO_KIND", "is a value of type str, not a JobKind"),
        ("os;import sys:x", "kind must be a JobKind"),
        (7, "kind must be a JobKind"),
    ],
)
def test_what_is_no_kind_is_refused(kind: Any, words: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidArgumentError, match=words):
        kind_of(kind)


async def test_readers_import_nothing_that_a_journal_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in a file is data."""
    path = tmp_path / "a.journal"
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(path) as journal:
        await BulkJob(client, ["a", "b"], journal=journal, kind=f"{__name__}:SHOUT").run()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE about SET value = 'evil:KIND' WHERE name = 'job'")
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    reader = SQLiteReader(path)
    write_html(reader, tmp_path / "a.html")
    with (tmp_path / "a.csv").open("w", newline="") as file:
        write_csv(reader.outcomes(), file, reader.status().about["job"])

    assert "evil" not in sys.modules
    assert '""word"": ""a""' in (tmp_path / "a.csv").read_text()


# -- the journal ---------------------------------------------------------------------------------------------------


def test_the_journals_keep_their_protocols(tmp_path: Path) -> None:
    """A type checker would say so, too."""
    journals: list[Journal] = [SQLiteJournal(tmp_path / "a.journal"), NoJournal()]
    reader: JournalReader = SQLiteReader(tmp_path / "a.journal")

    assert len(journals) == 2
    assert reader.name == str(tmp_path / "a.journal")


class MemoryReader:
    """A reader of another backend."""

    name = "a database"

    def __init__(self, other: JournalReader) -> None:
        """Read what the other one reads."""
        self._other = other

    def status(self) -> JournalStatus:
        """Return the status."""
        return self._other.status()

    def outcomes(self, status: Any = None) -> Iterator[ItemOutcome]:
        """Return the outcomes."""
        return self._other.outcomes(status)

    def items(self) -> Iterator[JournalItem]:
        """Return the items."""
        return self._other.items()

    def figures(self) -> JournalFigures:
        """Return the figures."""
        return self._other.figures()


async def test_a_report_takes_any_reader(tmp_path: Path) -> None:
    """It names it as the reader does."""
    path = tmp_path / "a.journal"
    async with Sandbox(faults=Faults({"reset-after": 1.0})) as sandbox, client_of(sandbox) as client:
        async with SQLiteJournal(path) as journal:
            await BulkJob(client, [1001], journal=journal).run()
    reader: JournalReader = MemoryReader(SQLiteReader(path))
    write_html(reader, tmp_path / "a.html")

    assert "Journal a database, as of" in (tmp_path / "a.html").read_text()


async def test_slices_of_a_job_are_one_run(tmp_path: Path) -> None:
    """Each does no item twice, and the last one finishes it; its minutes are those of the clock."""
    loop = asyncio.get_running_loop()
    path = tmp_path / "a.journal"
    done: list[int] = []
    async with Sandbox(Store(4, 10), quota="10/1s", latency=0.05) as sandbox, client_of(sandbox) as client:
        async with SQLiteJournal(path, owner="host 7") as journal:
            for _ in range(50):
                job = BulkJob(client, list(sandbox.store.users), journal=journal, total=40)
                summary = await job.run(until=loop.time() + 1)
                done.append(summary.succeeded)
                if not summary.stopped:
                    break
                assert (summary.reason, SQLiteReader(path).status().runs[-1].how) == (PAUSED, PAUSED)
        async with SQLiteJournal(path, owner="host 8") as journal:
            await BulkJob(client, list(sandbox.store.users), journal=journal).run()

    assert len(done) > 2
    assert sum(done) == sandbox.throttle.accepted == 40
    assert [(run.run, run.how) for run in SQLiteReader(path).status().runs] == [(1, "finished"), (2, "finished")]


async def test_a_paused_run_survives_an_input_that_is_another(tmp_path: Path) -> None:
    """Its history stays, and the right input goes on with it."""
    loop = asyncio.get_running_loop()
    path = tmp_path / "a.journal"
    async with Sandbox(quota="2/10s", latency=0.05) as sandbox, client_of(sandbox) as client:
        async with SQLiteJournal(path) as journal:
            await BulkJob(client, [1001, 1002, 1003, 1004], journal=journal).run(until=loop.time() + 1)
            with pytest.raises(JournalMismatchError):
                await BulkJob(client, [1005, 1006], journal=journal).run()
            assert [(run.run, run.how) for run in SQLiteReader(path).status().runs] == [(1, PAUSED)]
            summary = await BulkJob(client, [1001, 1002, 1003, 1004], journal=journal).run()

    assert summary.succeeded + summary.skipped == 4
    assert [(run.run, run.how) for run in SQLiteReader(path).status().runs] == [(1, "finished")]


async def test_a_slice_that_ends_while_the_input_is_preloaded_reads_all_of_it(tmp_path: Path) -> None:
    """Nothing was sent, the same job refuses the used-up input, and one without an input goes on."""

    async def slow() -> Any:
        yield 1001
        await asyncio.sleep(60)
        yield 1002

    loop = asyncio.get_running_loop()
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(tmp_path / "a.journal") as journal:
        job = BulkJob(client, slow(), journal=journal, preload=True)
        summary = await job.run(until=loop.time() + 5)
        assert (summary.stopped, summary.reason, summary.pending, sandbox.requests) == (True, PAUSED, 2, [])
        with pytest.raises(InvalidArgumentError, match="can be read only once"):
            await job.run()
        summary = await BulkJob(client, None, journal=journal).run()

    assert (summary.stopped, summary.succeeded) == (False, 2)


async def test_a_slice_does_not_try_again_what_failed_in_an_earlier_one(tmp_path: Path) -> None:
    """It comes to the items behind; the next run tries them all again."""
    loop = asyncio.get_running_loop()
    path = tmp_path / "a.journal"
    tries: Counter[str] = Counter()
    paused = 0
    async with Sandbox(faults=Faults({"500": 1.0}), quota="10/1s", latency=0.05) as sandbox:
        options: Any = {"retry": RetryPolicy(attempts=1)}
        async with client_of(sandbox, **options) as client, SQLiteJournal(path) as journal:
            job = BulkJob(client, list(range(1001, 1041)), journal=journal)
            for _ in range(50):
                summary = await job.run(lambda outcome: tries.update([outcome.key]), until=loop.time() + 0.15)
                if not summary.stopped:
                    break
                paused += 1
            assert paused > 2
            assert set(tries.values()) == {1}
            assert (len(tries), summary.pending, summary.done) == (40, 0, 40)
            summary = await job.run()

    assert (summary.unknown, summary.skipped) == (40, 0)


async def test_what_was_allowed_to_fail_is_allowed_over_all_slices(tmp_path: Path) -> None:
    """A server that is away ends the job, however short its slices are."""
    loop = asyncio.get_running_loop()
    async with Sandbox(faults=Faults({"500": 1.0}), quota="10/1s", latency=0.05) as sandbox:
        options: Any = {"retry": RetryPolicy(attempts=1)}
        async with client_of(sandbox, **options) as client, SQLiteJournal(tmp_path / "a.journal") as journal:
            job = BulkJob(client, list(range(1001, 1101)), journal=journal, max_failures=30)
            reasons: list[str | None] = [PAUSED]
            while reasons[-1] == PAUSED:
                reasons.append((await job.run(until=loop.time() + 0.15)).reason)

    assert len(reasons) > 3
    assert "items failed or are unknown, as many as were allowed" in str(reasons[-1])


async def test_an_error_of_a_users_kind_ends_the_job_as_the_clients_own_does(tmp_path: Path) -> None:
    """It has no response, and means what its type means."""

    async def denied(_client: Client, _value: object) -> Mapping[str, Any]:
        message = "the token of the archive is wrong"
        raise AuthenticationError(message, outcome="rejected")

    kind = JobKind(name="archive", run=denied)
    async with Sandbox() as sandbox, client_of(sandbox) as client, SQLiteJournal(tmp_path / "a.journal") as journal:
        summary = await BulkJob(client, ["a", "b"], journal=journal, kind=kind).run()

    assert (summary.stopped, summary.fatal) == (True, "the token of the archive is wrong")


async def test_the_last_event_of_a_job_says_if_the_journal_could_not_be_ended(tmp_path: Path) -> None:
    """It does not say finished where the run raises."""
    path = tmp_path / "a.journal"
    seen: list[Any] = []
    async with Sandbox() as sandbox, client_of(sandbox, listeners=[seen.append]) as client:
        async with SQLiteJournal(path) as journal:
            with pytest.raises(JournalError, match="was removed while the job ran"):
                await BulkJob(client, [1001], journal=journal).run(lambda _outcome: path.unlink())

    assert [event.reason for event in seen if isinstance(event, JobEnded)] == ["broken off"]


async def test_a_journal_that_another_process_runs_is_lost(tmp_path: Path) -> None:
    """This process sends nothing more, and says so in a type of its own."""
    path = tmp_path / "a.journal"
    async with Sandbox(latency=0.1) as sandbox, client_of(sandbox) as client, SQLiteJournal(path) as journal:
        job = BulkJob(client, list(range(1001, 1101)), journal=journal, concurrency=1)

        def usurp(_outcome: object) -> None:
            with contextlib.closing(sqlite3.connect(path)) as database, database:
                database.execute("INSERT INTO runs (process, started, quota, window) VALUES ('x', 1, 150, 60)")

        with pytest.raises(JournalLostError, match="another process has begun to run the journal"):
            await job.run(usurp)

    assert len(sandbox.requests) == 1


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def kind_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module with a kind into the folder where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "my_jobs.py").write_text(
        "from b2b_async import v3\n"
        "from b2b_async.bulk import JobKind\n"
        "async def run(client, item):\n"
        "    assigned = await v3.orders.assign_customer_orders(client, item['customer'])\n"
        "    return {'total': assigned.total}\n"
        "KIND = JobKind(name='mine', run=run, key=lambda item: str(item['customer']), totals={'total': 'orders'})\n"
    )
    yield "my_jobs:KIND"
    sys.modules.pop("my_jobs", None)


def test_a_kind_of_ones_own_runs_on_the_command_line(kind_in: str, tmp_path: Path, live_sandbox: Any) -> None:
    """From JSON Lines, with the totals of its results; the same command again skips what is done."""
    from test_cli import FAST, last_json, run

    sandbox = live_sandbox()
    lines = "".join(json.dumps({"customer": number, "rate": 0.5}) + "\n" for number in (1001, 1002, 9999))
    (tmp_path / "items.jsonl").write_text(lines)
    words = ("run", "items.jsonl", "--kind", kind_in, "--json", *FAST)
    status, stdout, _ = run(*words)
    assert (status, last_json(stdout)["results"]) == (1, {"total": 3})
    again, stdout, stderr = run(*words)
    assert (again, last_json(stdout)["skipped"]) == (1, 3)
    assert "3 of 3 items are done by earlier runs, and skipped" in stderr
    retried, stdout, _ = run("run", "--from", "items.jsonl.journal", "--kind", kind_in, "--json", *FAST)
    assert (retried, last_json(stdout)["failed"]) == (1, 1)
    assert len(sandbox.requests) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n", "line 1: 'a,b' is no JSON"),
        ("7\n", "line 1: 7 is no item of mine"),
        ('[{"customer": 1001}, {"customer": 1002, "rate": 1e999}]', "item 2: "),
        ('{"customer": ""}', "line 1: {'customer': ''} is no item of mine (TypeError: its key must be text"),
        ('{"customer": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1: "),
        ('{"customer": 1001}\n[7]\n', "line 2: [7] is no item of mine"),
        ('{"customer": 1001}\n{"customer": \n', "is no JSON"),
    ],
)
def test_items_that_are_none_are_refused(
    kind_in: str, tmp_path: Path, live_sandbox: Any, content: str, words: str
) -> None:
    """With the line, before anything is sent."""
    from test_cli import run

    sandbox = live_sandbox()
    (tmp_path / "my_jobs.py").write_text(
        (tmp_path / "my_jobs.py").read_text() + "import attrs\nKIND = attrs.evolve(KIND, load=lambda item: {**item})\n"
    )
    (tmp_path / "items.jsonl").write_text(content)
    status, _, stderr = run("run", "items.jsonl", "--kind", kind_in)

    assert (status, sandbox.requests) == (2, [])
    assert words in stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "nothing"], "kind must be a JobKind"),
        (["--kind", "assign"], "give one of FILE and --from"),
        (["--kind", "broken_jobs:KIND"], "cannot be imported (ZeroDivisionError: division by zero)"),
    ],
)
def test_a_run_without_kind_or_input_is_refused(
    options: list[str], words: str, live_sandbox: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wrong usage."""
    from test_cli import run

    live_sandbox()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "broken_jobs.py").write_text("1 / 0\n")
    status, _, stderr = run("run", *options)

    assert status == 2
    assert words in stderr


def test_what_a_command_of_ones_own_kind_proposes_can_be_typed(kind_in: str, tmp_path: Path, live_sandbox: Any) -> None:
    """It names the kind; --json names the command."""
    from test_cli import FAST, last_json, run

    live_sandbox()
    (tmp_path / "items.jsonl").write_text('{"customer": 9999}\n')
    words = ("run", "items.jsonl", "--kind", kind_in, *FAST)
    run(*words)
    _, stdout, stderr = run(*words, "--json")

    assert f"b2b-async run --kind {kind_in} --from items.jsonl.journal --only failed" in stderr
    assert last_json(stdout)["command"] == "run"


def test_the_totals_of_results_may_be_decimal_numbers(kind_in: str, tmp_path: Path, live_sandbox: Any) -> None:
    """Which of them are totals is the kind's to say; true is no number."""
    from test_cli import FAST, last_json, run

    live_sandbox()
    (tmp_path / "my_jobs.py").write_text(
        "from b2b_async.bulk import JobKind\n"
        "async def run(client, item):\n"
        "    return {'amount': 2.25, 'new': True}\n"
        "KIND = JobKind(name='mine', run=run, totals={'amount': 'money', 'new': 'new ones'})\n"
    )
    (tmp_path / "items.jsonl").write_text('"a"\n"b"\n')
    _, stdout, _ = run("run", "items.jsonl", "--kind", kind_in, *FAST)
    assert "money" in stdout
    assert "4.50" in stdout
    _, stdout, _ = run("run", "items.jsonl", "--kind", kind_in, "--journal", "new.journal", "--json", *FAST)
    assert last_json(stdout)["results"] == {"amount": 4.5, "new": 0}


def test_a_kind_of_this_package_has_its_own_checks(tmp_path: Path, live_sandbox: Any) -> None:
    """As in its own command, and before anything is sent."""
    from test_cli import run

    sandbox = live_sandbox()
    row = {"company_id": "1", "customer_id": "1001", "order_id": "7", "total_inc_tax": "-5"}
    (tmp_path / "orders.jsonl").write_text(json.dumps(row))
    status, _, stderr = run("run", str(tmp_path / "orders.jsonl"), "--kind", "create-orders", "--dry-run")

    assert (status, sandbox.requests) == (2, [])
    assert "line 1: total_inc_tax must be digits with a point" in stderr


def test_items_of_another_journal_that_the_kind_does_not_load_are_refused(
    kind_in: str, tmp_path: Path, live_sandbox: Any
) -> None:
    """With the item, before a journal is begun."""
    from test_cli import FAST, run

    live_sandbox()
    (tmp_path / "items.jsonl").write_text('{"customer": 9999}\n')
    run("run", "items.jsonl", "--kind", kind_in, *FAST)
    (tmp_path / "my_jobs.py").write_text(
        (tmp_path / "my_jobs.py").read_text() + "import attrs\nKIND = attrs.evolve(KIND, load=lambda item: item['x'])\n"
    )
    sys.modules.pop("my_jobs")
    status, _, stderr = run("run", "--from", "items.jsonl.journal", "--kind", kind_in)

    assert status == 2
    assert "items.jsonl.journal: 9999 is no item of mine (KeyError: 'x')" in stderr
    assert [path.name for path in tmp_path.glob("*again*")] == []


# -- lists ---------------------------------------------------------------------------------------------------------


async def test_a_plain_loop_fetches_ahead_from_half_a_page_on_and_leaving_it_cancels_that() -> None:
    """So that a loop that looks at the first items only costs one request, and one that is left costs no more."""
    async with Sandbox(Store(10, 10), quota="1000/1s", latency=0.5) as sandbox, client_of(sandbox) as client:
        seen = 0
        async for _ in v3.users.list_users(client, limit=10):
            seen += 1
            await asyncio.sleep(1)
            assert len(sandbox.requests) == (1 if seen < 5 else 2)
            if seen == 7:
                break
        assert seen == 7
        async for _ in v3.users.list_users(client, limit=10):
            seen += 1
            if seen == 13:  # the second page has just been begun to be fetched
                break
        await asyncio.sleep(5)
        fetching = [task for task in asyncio.all_tasks() if "RequestHandler" not in repr(task)]

    assert len(fetching) == 1
    assert len(sandbox.requests) == 2 + 2


async def test_a_list_validates_at_the_call_and_sends_at_the_await() -> None:
    """Each await fetches anew."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        with pytest.raises(InvalidArgumentError, match="limit must be a whole number from 1 to 250, not 0"):
            v3.users.list_users(client, limit=0)
        listing = v3.users.list_users(client, limit=7, offset=90)
        assert sandbox.requests == []
        first, second = await listing, await listing
        rest = [user.id async for user in listing]

    assert first == second
    assert ([user.id for user in first], first.total, len(rest)) == (rest[:7], 100, 10)
    assert len(sandbox.requests) == 4


# -- taking over a store -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembers", [True, False])
async def test_who_takes_a_store_over_remembers_what_was_sent(remembers: bool) -> None:  # noqa: FBT001 -- drawn by pytest
    """The window of the process before is not exceeded then, and nobody is refused."""
    loop, log = asyncio.get_running_loop(), SlidingLog(150, 60.0)
    sent: list[float] = []
    for limiter in (RateLimiter(), RateLimiter()):
        if sent and remembers:
            counts = [(loop.time() - at, 1) for at in sent]
            limiter.remember(counts)
        for _ in range(200):
            ticket = await limiter.acquire("bulk")
            sent.append(loop.time())
            accepted = log.admit(loop.time())[0]
            limiter.release(
                ticket, ended(200 if accepted else 429, QuotaFeedback(retry_after=None if accepted else 1.0))
            )

    assert (log.refused == 0) is remembers


@pytest.mark.parametrize(
    "sent", [[(-1.0, 5)], [(1.0, -5)], [("x", 5)], [(1.0, 2.5)], [(True, 1)], [(1.0,)], [5], [(1.0, 10**9)]]
)
async def test_what_cannot_have_been_sent_is_refused(sent: Any) -> None:
    """With an example."""
    limiter = RateLimiter()
    with pytest.raises(InvalidArgumentError, match="remember takes pairs of seconds and requests"):
        limiter.remember([(1.0, 7), *sent])
    assert limiter.snapshot().used == 0


def test_an_endpoints_own_quota_is_stated_on_its_operation() -> None:
    """The limiter's own statement wins; a wrong name is refused."""
    from b2b_async import Operation, Quota

    upload = Operation("Upload", "v3", "POST", "/companies/{companyId}/attachments", quota=Quota(15, 60.0))
    limiter = RateLimiter(endpoints={upload.route: Quota(10, 60.0)})
    assert upload.quota is not None
    limiter.declare(upload.route, upload.quota)
    limiter.declare("GET /other", Quota(5, 60.0))

    assert {route: window.limit for route, window in limiter._buckets.endpoints.items()} == {
        upload.route: 10,
        "GET /other": 5,
    }
    with pytest.raises(ConfigurationError, match="an endpoint is named by method and path"):
        limiter.declare("other", Quota(5, 60.0))


async def test_the_quota_of_an_operation_holds_its_calls() -> None:
    """Two at once, of five."""
    from b2b_async import Operation, Quota

    slow = Operation("List B2B Users", "v3", "GET", "/users", quota=Quota(2, 60.0))
    loop = asyncio.get_running_loop()
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        await asyncio.gather(*(client.send(slow) for _ in range(4)))

    assert len(sandbox.requests) == 4
    assert 60 < loop.time() < 62


async def test_what_was_sent_long_ago_is_not_remembered() -> None:
    """Its slots are free."""
    limiter = RateLimiter()
    limiter.remember([(3600.0, 150)])

    assert limiter.snapshot().used == 0


async def test_a_shared_limiter_remembers_by_itself() -> None:
    """The state in Redis has the requests of all processes."""
    limiter = RedisRateLimiter("redis://127.0.0.1:1/0", "store")
    limiter.remember([(1.0, 150)])

    assert limiter._buckets.overall.active == 0


def test_a_quota_that_was_learned_counts_on_when_it_is_stated() -> None:
    """The requests in flight are not forgotten."""
    from b2b_async import Quota
    from b2b_async.ratelimit.buckets import Buckets
    from b2b_async.ratelimit.window import Ticket

    buckets = Buckets(Quota(100, 60.0), {}, lambda: 0.5)
    for now in range(5):
        ticket = buckets.try_acquire(float(now), "interactive", "PUT /x")
        assert isinstance(ticket, Ticket)
        buckets.release(ticket, now + 0.1, QuotaFeedback(allocated=(10, 60.0), remaining=9))
    learned = buckets.endpoints["PUT /x"]
    buckets.declare("PUT /x", Quota(6, 60.0), 6.0)

    assert buckets.endpoints["PUT /x"] is learned
    assert (learned.size, learned.active) == ((6, 60.0), 4)
