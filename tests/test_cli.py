"""The command line: its words, its exit statuses, its JSON; over a sandbox in a thread."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import datetime
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from helpers import client_of
from redis_server import BINARY, MISSING, RedisServer

from b2b_async import __main__
from b2b_async.bulk import BulkJob, Counts, SQLiteJournal, SQLiteReader
from b2b_async.cli import commands
from b2b_async.cli._jobs import _run
from b2b_async.cli._progress import Screen
from b2b_async.sandbox import Faults, Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    Start = Callable[..., Sandbox]

FAST = ("--quota", "10000/60s")


SEPARATELY: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
"""Arguments with which click 8.1 keeps stderr apart, as later versions do by themselves."""


def run(*words: str, stdin: bytes | None = None) -> tuple[int, str, str]:
    """Run a command; give its exit status, stdout and stderr."""
    result = CliRunner(**SEPARATELY).invoke(commands, words, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def last_json(stdout: str) -> dict[str, Any]:
    """Give the object on the last line."""
    found: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return found


def write_ids(tmp_path: Path, *ids: object) -> str:
    """Write a CSV."""
    path = tmp_path / "ids.csv"
    path.write_text("customer_id\n" + "".join(f"{number}\n" for number in ids))
    return str(path)


def test_assign_does_all_and_says_so(tmp_path: Path, live_sandbox: Start) -> None:
    """Exit 0, a table for people, a journal beside the file."""
    live_sandbox()
    file = write_ids(tmp_path, *range(1001, 1051))
    status, stdout, _ = run("assign", file, *FAST)

    assert status == 0
    assert "succeeded" in stdout
    assert "50" in stdout
    assert SQLiteReader(f"{file}.journal").status().counts == Counts(succeeded=50)


def test_assign_again_skips_what_is_done(tmp_path: Path, live_sandbox: Start) -> None:
    """The same command, with JSON on the last line of stdout."""
    sandbox = live_sandbox()
    file = write_ids(tmp_path, 1001, 1002, 1002, 9999)
    first = run("assign", file, "--json", *FAST)
    again = run("assign", file, "--json", *FAST)

    assert (first[0], again[0]) == (1, 1)
    assert "line 4: 1002 was met on line 3 and is done once" in first[2]
    facts = last_json(first[1])
    assert {name: facts[name] for name in ("command", "exit", "succeeded", "failed", "duplicates", "total")} == {
        "command": "assign",
        "exit": 1,
        "succeeded": 2,
        "failed": 1,
        "duplicates": 1,
        "total": 4,
    }
    assert facts["refused"] == 0
    assert "export" in first[2]
    assert last_json(again[1])["skipped"] == 3
    assert len(sandbox.requests) == 3


def test_assign_keeps_its_journal_where_it_is_told(tmp_path: Path, live_sandbox: Start) -> None:
    """And logs each call if asked to, without a token."""
    sandbox = live_sandbox()
    journal = tmp_path / "mine.journal"
    status, _, _ = run("assign", write_ids(tmp_path, 1001), "--journal", str(journal), "--verbose", *FAST)

    assert status == 0
    assert SQLiteReader(journal).status().counts == Counts(succeeded=1)
    assert len(sandbox.requests) == 1


def test_assign_reads_stdin_and_limits(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its journal is named by the time, and told."""
    monkeypatch.chdir(tmp_path)
    live_sandbox()
    status, stdout, _ = run("assign", "-", "--limit", "2", "--json", *FAST, stdin=b"1001\n1002\n1003\n")

    assert status == 0
    facts = last_json(stdout)
    assert facts["succeeded"] == 2
    assert (tmp_path / facts["journal"]).is_file()


def test_many_duplicates_are_only_counted(tmp_path: Path, live_sandbox: Start) -> None:
    """Five are shown."""
    live_sandbox()
    _, stdout, stderr = run("assign", write_ids(tmp_path, *[1001] * 9), "--json", *FAST)

    assert stderr.count("was met on line 2") == 5
    assert "line 7: 1001 was met on line 2 and is done once (further ones are only counted)" in stderr
    assert last_json(stdout)["duplicates"] == 8


def test_a_dry_run_sends_nothing(tmp_path: Path, live_sandbox: Start) -> None:
    """It counts rows and duplicates."""
    sandbox = live_sandbox()
    status, stdout, stderr = run("assign", write_ids(tmp_path, 1, 2, 2, 2), "--dry-run", "--json")

    assert status == 0
    assert last_json(stdout) == {"command": "assign", "exit": 0, "rows": 4, "duplicates": 2, "sent": 0}
    assert "rows 4; duplicates 2; sent 0" in stderr
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("id\n7\n", "line 1: there is no column 'customer_id'; there is 'id'"),
        ("customer_id\n1\n2\n3\n4\n5\nseven\n8\n", "line 7: 'seven' is not a customer id"),
        ("", "the file is empty"),
        (None, "No such file"),
    ],
)
def test_bad_files_are_refused_before_anything_is_sent(
    tmp_path: Path, live_sandbox: Start, content: str | None, text: str
) -> None:
    """Exit 2, with file, line and cause."""
    sandbox = live_sandbox()
    path = tmp_path / "ids.csv"
    if content is not None:
        path.write_text(content)
    status, stdout, stderr = run("assign", str(path), "--json")

    assert status == 2
    assert text in stderr
    assert str(path) in stderr
    assert text in last_json(stdout)["error"]
    assert sandbox.requests == []
    assert not (tmp_path / "ids.csv.journal").exists()


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    """Twenty are shown."""
    status, _, stderr = run("assign", write_ids(tmp_path, *["x"] * 50))

    assert status == 2
    assert len(stderr.splitlines()) == 21
    assert "30 more lines are wrong" in stderr


def test_bad_words_are_refused(tmp_path: Path) -> None:
    """Exit 2, as for any wrong usage."""
    file = write_ids(tmp_path, 1)
    assert run("assign", file, "--quota", "fast")[0] == 2
    assert run("assign", file, "--concurrency", "0")[0] == 2
    assert run("nothing")[0] == 2


def test_missing_credentials_are_fatal(tmp_path: Path) -> None:
    """Exit 4, with what to set."""
    status, _, stderr = run("assign", write_ids(tmp_path, 1))

    assert status == 4
    assert "B2B_ACCESS_TOKEN" in stderr


def test_wrong_credentials_are_fatal(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 4 at the first answer, with what to do."""
    sandbox = live_sandbox()
    monkeypatch.setenv("B2B_ACCESS_TOKEN", "wrong-secret")
    status, stdout, stderr = run("assign", write_ids(tmp_path, *range(1001, 1051)), "--json", *FAST)

    assert status == 4
    assert "b2b-async check" in stderr
    assert last_json(stdout)["fatal"].startswith("Assign Customer Orders to Company: 401")
    assert len(sandbox.requests) <= 32
    assert "wrong-secret" not in stdout + stderr


def test_a_journal_of_another_job_is_refused(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2, nothing sent."""
    sandbox = live_sandbox()
    file = write_ids(tmp_path, 1001)
    run("assign", file, *FAST)
    monkeypatch.setenv("B2B_STORE_HASH", "another")
    status, _, stderr = run("assign", file, *FAST)

    assert status == 2
    assert "store is 'sandbox-store' there and 'another' here" in stderr
    assert len(sandbox.requests) == 1


class _Interrupting(Store):
    """A store that presses Ctrl-C when its tenth customer is assigned."""

    armed = True

    def assign(self, customer_id: int) -> int | None:
        if customer_id == 1010 and self.armed:
            os.kill(os.getpid(), signal.SIGINT)
        return super().assign(customer_id)


def test_journals_of_two_legacy_tokens_are_not_mixed(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each token may be that of another store."""
    sandbox = live_sandbox()
    monkeypatch.delenv("B2B_ACCESS_TOKEN")
    monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
    monkeypatch.delenv("B2B_STORE_HASH")
    file = write_ids(tmp_path, 1001)
    assert run("assign", file, *FAST)[0] == 0
    monkeypatch.setenv("B2B_LEGACY_TOKEN", "that-of-another-store")
    status, _, stderr = run("assign", file, *FAST)

    assert status == 2
    assert "belongs to another job: store is 'of legacy token" in stderr
    assert "that-of-another-store" not in stderr


def test_a_pipe_is_read_whole_before_anything_is_sent(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with stdin: it can be read only once, and its journal is where the command is."""
    monkeypatch.chdir(tmp_path)
    live_sandbox()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=["customer_id\n1001\n"])
    writer.start()
    status, stdout, _ = run("assign", str(pipe), "--json", *FAST)
    writer.join()

    assert status == 0
    assert last_json(stdout)["succeeded"] == 1


def test_a_file_without_ids_is_nothing_to_do(tmp_path: Path, live_sandbox: Start) -> None:
    """A header and no rows."""
    live_sandbox()
    status, stdout, stderr = run("assign", write_ids(tmp_path), "--json")

    assert status == 0
    assert "has no items: there is nothing to do" in stderr
    assert last_json(stdout)["total"] == 0


def test_a_journal_that_fails_on_the_way_stops_the_job(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 3, since something has been sent; not 2."""
    live_sandbox()
    opened = SQLiteJournal._open

    def small(journal: SQLiteJournal) -> None:
        opened(journal)
        assert journal._database is not None
        pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
        journal._database.execute(f"PRAGMA max_page_count = {pages + 1}")

    monkeypatch.setattr(SQLiteJournal, "_open", small)
    status, stdout, stderr = run("assign", write_ids(tmp_path, *range(1001, 1101)), "--json", *FAST)

    assert status == 3
    assert "Free some space" in last_json(stdout)["reason"]
    assert "never retrieved" not in stderr


class _Rewriting(Store):
    """A store whose first customer makes somebody rewrite the input."""

    path: Path

    def assign(self, customer_id: int) -> int | None:
        if customer_id == 1001:
            lines = self.path.read_text().splitlines()
            self.path.write_text("\n".join([*lines[:20_000], *["oops"] * 20_000]))
        return super().assign(customer_id)


def test_a_file_that_changes_under_the_job_loses_no_row_in_silence(tmp_path: Path, live_sandbox: Start) -> None:
    """The job stops, and says which line."""
    store = _Rewriting(1, 1)
    live_sandbox(store)
    store.path = Path(write_ids(tmp_path, *[1001] * 40_000))
    status, stdout, _ = run("assign", str(store.path), "--concurrency", "1", "--limit", "40000", "--json", *FAST)

    assert status == 3
    assert "'oops' is not a customer id" in last_json(stdout)["reason"]
    assert "changed since it was checked" in last_json(stdout)["reason"]


def test_ctrl_c_outside_a_job_is_a_stop_too(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3, without a traceback."""
    live_sandbox()

    def press(coroutine: Any) -> None:
        coroutine.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", press)
    status, _, stderr = run("check")

    assert status == 3
    assert stderr == "\nb2b-async: stopped\n"


def test_ctrl_c_stops_and_the_next_run_goes_on(tmp_path: Path, live_sandbox: Start) -> None:
    """Exit 3; then one outcome for each id."""
    store = _Interrupting(10, 10)
    live_sandbox(store, latency=0.005)
    file = write_ids(tmp_path, *range(1001, 1101))
    status, stdout, stderr = run("assign", file, "--concurrency", "4", "--json", *FAST)

    assert status == 3
    assert last_json(stdout)["stopped"] is True
    assert "SIGINT: finishing what is in flight" in stderr
    assert "To go on, run the same command again" in stderr
    store.armed = False
    again = run("assign", file, "--json", *FAST)

    assert again[0] == 0
    assert SQLiteReader(f"{file}.journal").status().counts == Counts(succeeded=100)


def test_two_presses_stop_at_once(tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though an answer is still out; the second press comes while the first is being heeded."""
    gracefully = BulkJob.stop

    def stop(job: BulkJob, reason: str) -> None:
        gracefully(job, reason)
        os.kill(os.getpid(), signal.SIGINT)

    class Log(list[Any]):
        def append(self, entry: Any) -> None:
            super().append(entry)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(BulkJob, "stop", stop)
    sandbox = live_sandbox(faults=Faults(script=["slow"], slow_seconds=60))
    monkeypatch.setattr(sandbox, "ledger", Log())
    status, stdout, stderr = run("assign", write_ids(tmp_path, 1001), "--json", *FAST)

    assert status == 3
    assert "Stopped at once by SIGINT twice. To go on, run the same command again\n" in stderr
    assert last_json(stdout)["stopped"] is True


async def test_a_cancellation_from_outside_is_no_stop(tmp_path: Path) -> None:
    """Where there are no signal handlers, Ctrl-C cancels the whole command."""
    async with Sandbox(latency=60) as sandbox:
        client, journal = client_of(sandbox), SQLiteJournal(tmp_path / "a.journal")
        job = BulkJob(client, [1001], journal=journal)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_run(client, journal, job, Screen(client, job)), 1)


def test_status_and_export(tmp_path: Path, live_sandbox: Start) -> None:
    """What is in a journal, as lines, CSV and JSONL."""
    live_sandbox()
    file = write_ids(tmp_path, 1001, 9999)
    run("assign", file, *FAST)
    journal = f"{file}.journal"
    status, stdout, _ = run("status", journal)
    assert status == 0
    assert "succeeded: 1" in stdout
    facts = last_json(run("status", journal, "--json")[1])
    assert (facts["counts"]["failed"], facts["counts"]["succeeded"], facts["total"], facts["running"]) == (
        1,
        1,
        2,
        False,
    )
    lines = run("export", journal)[1].splitlines()
    assert lines[0].startswith("key,position,status,total,error")
    assert lines[1].startswith("1001,2,succeeded,3,")
    (failed,) = run("export", journal, "--format", "jsonl", "--only", "failed")[1].splitlines()
    assert json.loads(failed)["http_status"] == 404
    assert datetime.fromisoformat(json.loads(failed)["finished"]).tzinfo is not None
    for command in ("status", "export"):
        status, _, stderr = run(command, str(tmp_path / "none"))
        assert status == 2
        assert "there is no journal" in stderr


def test_check_with_good_credentials(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sentence for each, and the quota."""
    sandbox = live_sandbox(quota="150/60s")
    monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
    status, stdout, _ = run("check")

    assert status == 0
    assert f"v3: the access token of store sandbox-store is accepted at {sandbox.url}." in stdout
    assert "v2: the legacy token is accepted" in stdout
    assert "Quota: 148 of 150 requests are left" in stdout
    facts = last_json(run("check", "--json")[1])
    assert facts["credentials"] == {"v3": True, "v2": True}
    assert facts["exit"] == 0


def test_check_with_a_legacy_token_alone(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """v3 is not asked."""
    sandbox = live_sandbox()
    monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
    monkeypatch.delenv("B2B_ACCESS_TOKEN")
    status, stdout, _ = run("check")

    assert status == 0
    assert "v3" not in stdout


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"B2B_ACCESS_TOKEN": "wrong"},
            "v3: the access token of store sandbox-store is not accepted (401 Unauthorized)",
        ),
        ({"B2B_STORE_HASH": "wrong"}, "v3: the server fails with 500. It does so for a wrong store hash"),
        ({"B2B_STORE_HASH": ""}, "access_token needs store_hash (B2B_STORE_HASH)"),
        ({"B2B_LEGACY_TOKEN": "wrong"}, "v2: the legacy token is not accepted (401 Unauthorized). Check B2B_LEGACY"),
        ({"B2B_BASE_URL": "closed"}, "cannot be reached"),
        ({"B2B_BASE_URL": "prefix"}, "answers 404, as if it were not B2B Edition"),
    ],
)
def test_check_says_what_is_wrong(
    live_sandbox: Start, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], text: str
) -> None:
    """One sentence and what to do; exit 4."""
    sandbox = live_sandbox()
    for name, value in changes.items():
        special = {"closed": f"http://127.0.0.1:{_closed_port()}", "prefix": f"{sandbox.url}/api/v3"}
        monkeypatch.setenv(name, special.get(value, value))
    status, stdout, stderr = run("check")

    assert status == 4
    assert text in stdout + stderr
    assert "sandbox-access-token" not in stdout + stderr


@pytest.mark.parametrize(
    "words", [["--base-url", "http://example.com"], ["--base-url", "x"], ["--proxy", "proxy:1"], []]
)
def test_a_wrong_address_is_wrong_usage(words: list[str], live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 2, with the reason, in JSON, too; also where a variable has it."""
    live_sandbox()
    if not words:
        monkeypatch.setenv("B2B_BASE_URL", "http://example.com")
    for command in (["check"], ["assign", "x.csv"], ["orders", "list"]):
        status, stdout, stderr = run(*command, *words, "--json")
        assert status == 2
        assert "must be" in last_json(stdout)["error"]
        assert last_json(stdout)["error"] in " ".join(stderr.split())


def test_a_proxy_for_plain_http_is_wrong_usage(live_sandbox: Start) -> None:
    """It could read the token."""
    live_sandbox()
    status, _, stderr = run("check", "--proxy", "http://user:secret@proxy.example.com:3128")

    assert status == 2
    assert "could read the token" in stderr
    assert "secret" not in stderr


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Sends everybody to another place."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Be quiet."""


def test_check_tells_of_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect, for example, which is not followed."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Elsewhere) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        monkeypatch.setenv("B2B_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("B2B_LEGACY_TOKEN", "token")
        status, stdout, _ = run("check")
        thread.join()

    assert status == 4
    assert "answers 302, as if it were not B2B Edition. Check the address (B2B_BASE_URL)" in stdout


@pytest.mark.usefixtures("jumping_asyncio_run")
def test_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """400 customers, none refused, within a window of the best time."""
    status, stdout, stderr = run("demo")
    facts = last_json(run("demo", "--json")[1])

    assert status == 0
    assert "its quota scaled to 150 requests in 3 s" in " ".join(stdout.split())
    assert "4 times: NotFoundError 404: " in stderr
    assert re.search(r"orders assigned +\d{3}", stdout)
    assert (facts["succeeded"], facts["failed"], facts["refused"]) == (400, 4, 0)
    assert facts["seconds"] <= facts["best"] + 3
    assert capsys.readouterr() == ("", "")
    assert "Traceback" not in stderr


def test_the_sandbox_command(tmp_path: Path) -> None:
    """It tells how to use it, and ends at Ctrl-C with a count."""
    command = [sys.executable, "-m", "b2b_async", "sandbox", "--port", "0", "--companies", "2", "--fault", "503=0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert process.returncode == 0
    assert "customers 1001 to 1020" in lines[0]
    assert "export B2B_BASE_URL=http://127.0.0.1:" in lines[1]
    assert "0 requests arrived" in rest


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--quota", "x"], "write the quota as requests/seconds"),
        (["--fault", "oops=0.1"], "there is no fault 'oops'"),
        (["--fault", "503"], "--fault 503: write NAME=RATE"),
    ],
)
def test_a_sandbox_with_bad_words(words: list[str], text: str) -> None:
    """Exit 2."""
    status, _, stderr = run("sandbox", *words)

    assert status == 2
    assert text in stderr


def test_a_sandbox_on_a_taken_port() -> None:
    """Exit 2, with the reason."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        status, _, stderr = run("sandbox", "--port", str(taken.getsockname()[1]))

    assert status == 2
    assert "cannot listen on port" in stderr


@pytest.mark.parametrize("words", [[], ["check", "--json"]])
def test_the_command_without_its_extra(words: list[str]) -> None:
    """It says what to install, with the exit status of wrong usage."""
    code = "import sys; sys.modules['click'] = None; from b2b_async.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words], check=False, capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stderr == "b2b-async: the command line needs two more packages: pip install 'b2b-async[cli]'\n"
    assert (last_json(done.stdout)["exit"] == 2) if words else done.stdout == ""


def test_another_missing_module_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes out."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setitem(sys.modules, "b2b_async.cli", None)
    try:
        with pytest.raises(ModuleNotFoundError):
            __main__.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_command_line_as_a_module() -> None:
    """Python -m b2b_async is the command."""
    done = subprocess.run([sys.executable, "-m", "b2b_async", "--version"], check=True, capture_output=True, text=True)

    assert done.stdout == "b2b-async, version 0.1.0\n"


@pytest.mark.skipif(BINARY is None, reason=MISSING)
def test_two_commands_share_the_quota_over_redis(
    tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an option or a variable; a legacy token stands for its store."""
    sandbox = live_sandbox()
    server = RedisServer()
    server.start()
    try:
        first = run("assign", write_ids(tmp_path, 1001, 1002), "--json", "--redis", server.url, *FAST)
        monkeypatch.setenv("B2B_REDIS_URL", server.url)
        checked = run("check", "--json", *FAST)
        with server.client() as client:
            keys = {key.decode() for key in client.scan_iter()}
        monkeypatch.delenv("B2B_STORE_HASH")
        monkeypatch.delenv("B2B_ACCESS_TOKEN")
        monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
        legacy = run("check", *FAST)
        with server.client() as client:
            more = {key.decode() for key in client.scan_iter()} - keys
    finally:
        server.remove()

    assert (first[0], checked[0], legacy[0]) == (0, 0, 0)
    assert last_json(checked[1])["quota"]["used"] == 3
    assert f"b2b-async:{{{sandbox.store_hash}}}:store" in keys
    assert more
    assert not any(sandbox.legacy_token in key for key in more)


@pytest.mark.parametrize(
    ("missing", "url", "words"),
    [(True, "redis://localhost", "pip install"), (False, "ftp://:secret@localhost", "no URL that can be used")],
)
def test_what_is_wrong_with_redis_is_said_before_anything_is_sent(
    *, tmp_path: Path, live_sandbox: Start, monkeypatch: pytest.MonkeyPatch, missing: bool, url: str, words: str
) -> None:
    """Exit 2, without the password."""
    sandbox = live_sandbox()
    if missing:
        monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    status, _, stderr = run("assign", write_ids(tmp_path, 1001), "--redis", url)

    assert status == 2
    assert words in stderr
    assert "secret" not in stderr
    assert sandbox.requests == []


@pytest.mark.skipif(BINARY is None, reason=MISSING)
def test_that_the_quota_is_not_shared_any_more_is_shown(tmp_path: Path, live_sandbox: Start) -> None:
    """Once, and the job goes on."""
    live_sandbox()
    options = "--redis", "redis://127.0.0.1:9/0", "--processes", "1"
    status, _, stderr = run("assign", write_ids(tmp_path, 1001, 1002), *options, *FAST)

    assert status == 0
    assert stderr.count("cannot use Redis (ConnectionError)") == 1


def test_check_says_when_the_quota_is_another(live_sandbox: Start) -> None:
    """What is configured is believed until the server has said otherwise more than once; people are told at once."""
    live_sandbox(quota="100/60s")
    status, stdout, _ = run("check")

    assert status == 0
    assert "The server says 100 in 60 s instead: give it as --quota 100/60s." in stdout
