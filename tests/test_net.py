"""The command line as a process: Ctrl-C at any time, streams that are closed, full or have nobody at their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from b2b_async.bulk import SQLiteJournal, SQLiteReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from b2b_async.sandbox import Sandbox

    Start = Callable[..., Sandbox]

COMMAND = [sys.executable, "-m", "b2b_async"]
FAST = ["--quota", "10000/60s"]


def shell(line: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command by a line of the shell, in which "$@" stands for it."""
    return subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {line}", "bash", *COMMAND, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Make a journal of a job of some items that is over."""

    async def make() -> Path:
        async with SQLiteJournal(tmp_path / "a.journal") as opened:
            await opened.begin({"job": "assign", "store": "\x1b[31m\u202eevil"}, quota=(150, 60.0))
            await opened.end("finished")
        return opened.path

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("words", "line", "status", "text"),
    [
        (["status", "--json"], '"$@" > /dev/full', 3, "the output could not be written: No space left on device"),
        (["export"], '"$@" > /dev/full', 3, "the output could not be written: No space left on device"),
        (["export"], '"$@" >&-', 3, "the output could not be written: stdout is closed"),
        (["status"], '"$@" | true', 3, "the output could not be written: stdout is closed"),
        (["status"], '"$@" 2>&- 2>/dev/full', 0, ""),
        (["status", "--json"], '"$@" 2>&-', 0, ""),
        (["export"], '"$@" <&-', 0, ""),
        (["status"], '"$@" >&- 2>&- <&-', 3, ""),
    ],
)
def test_output_that_cannot_be_written(journal: Path, words: list[str], line: str, status: int, text: str) -> None:
    """A sentence and an exit status; never a traceback, and nothing of it in the journal."""
    before = journal.read_bytes()
    done = shell(line, words[0], str(journal), *words[1:])

    assert "Traceback" not in done.stderr
    assert text in done.stderr
    assert done.returncode == status
    assert journal.read_bytes() == before


def test_names_are_shown_safely(journal: Path) -> None:
    """Neither a colour nor a direction of writing gets out of a journal."""
    done = shell('"$@"', "status", str(journal))

    assert done.returncode == 0
    assert "store: \ufffd[31m\ufffdevil" in done.stdout


@pytest.mark.parametrize("words", [["--version"], ["assign", "--help"]])
def test_help_that_cannot_be_written(words: list[str]) -> None:
    """Exit 3, too."""
    done = shell('"$@" > /dev/full', *words)

    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert "No space left" in done.stderr


def test_input_that_cannot_be_read(tmp_path: Path) -> None:
    """A closed stdin is no input, and a full disk for its copy is said."""
    closed = shell('"$@" <&-', "assign", "-", "--json")
    assert (closed.returncode, json.loads(closed.stdout)["exit"]) == (2, 2)
    assert "stdin is closed: pipe the input in, or name a file" in closed.stderr
    missing = shell('"$@"', "assign", str(tmp_path / "none.csv"), "--json")
    assert (missing.returncode, "No such file" in json.loads(missing.stdout)["error"]) == (2, True)


@pytest.mark.parametrize(
    "words", [["--json", "nonsense"], ["assign", "--json", "--nonsense"], ["--nonsense", "--json"]]
)
def test_wrong_usage_is_json_wherever_the_option_stands(words: list[str]) -> None:
    """As the last line of stdout."""
    done = shell('"$@"', *words)

    assert done.returncode == 2
    assert json.loads(done.stdout)["exit"] == 2


def test_a_job_whose_output_cannot_be_written_is_done(tmp_path: Path, live_sandbox: Start) -> None:
    """Its exit status stands, unless a program waits for the line that is missing."""
    sandbox = live_sandbox()
    file = tmp_path / "ids.csv"
    file.write_text("customer_id\n1001\n1002\n")
    table = shell('"$@" > /dev/full', "assign", str(file), *FAST)
    assert (table.returncode, "No space left" in table.stderr) == (0, True)
    line = shell('"$@" > /dev/full', "assign", str(file), "--json", *FAST)
    assert (line.returncode, "No space left" in line.stderr) == (3, True)
    closed = shell('"$@" >&- 2>&- <&-', "assign", str(file), *FAST)
    assert closed.returncode == 0
    assert len(sandbox.requests) == 2
    assert SQLiteReader(f"{file}.journal").status().counts.succeeded == 2


def test_a_job_whose_terminal_has_gone_is_finished(tmp_path: Path, live_sandbox: Start) -> None:
    """The hang-up is not heard, and what it says to nobody does not stop it."""
    live_sandbox(latency=0.3)
    file = tmp_path / "ids.csv"
    file.write_text("customer_id\n" + "".join(f"{number}\n" for number in range(1001, 1021)))
    controlling, terminal = os.openpty()
    job = subprocess.Popen(
        [*COMMAND, "assign", str(file), "--concurrency", "4", *FAST],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""
    while b"Journal:" not in shown:
        shown += os.read(controlling, 1024)
    time.sleep(0.3)  # it is another process, whose time does not jump
    os.close(controlling)
    with contextlib.suppress(ProcessLookupError):
        job.send_signal(signal.SIGHUP)

    assert job.wait(30) == 0
    assert SQLiteReader(f"{file}.journal").status().counts.succeeded == 20


PRESS = """
import importlib.abc, os, runpy, signal, sys
class Press(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            {press}
sys.meta_path.insert(0, Press())
sys.modules.pop("signal") if {module!r} == "signal" else None
sys.argv = ["b2b-async", "status", "--json"]
runpy.run_module("b2b_async", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "press"),
    [
        ("signal", "raise KeyboardInterrupt"),
        ("b2b_async.cli", "os.kill(os.getpid(), signal.SIGINT)"),
        ("rich.console", "os.kill(os.getpid(), signal.SIGTERM)"),
    ],
)
def test_ctrl_c_while_modules_are_imported(module: str, press: str) -> None:
    """A word, the line for programs, and no traceback."""
    code = PRESS.format(module=module, press=press)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (3, "b2b-async: stopped\n")
    assert json.loads(done.stdout) == {"command": None, "exit": 3, "error": "stopped"}
    bash = ["/bin/bash", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, code]
    assert subprocess.run(bash, check=False).returncode == 3


def test_the_end_of_a_command_is_in_the_net(tmp_path: Path) -> None:
    """The last output, a Ctrl-C in the last moment, an end that is no number; streams that are closed."""
    run = "import sys\nfrom b2b_async.cli import _net as net\n"
    for code, line, status, text in (
        ("net.run(lambda: sys.stdout.write('x'))", "> /dev/full", 0, "No space left"),
        ("net.run(lambda: [sys.stdout.write('x') for _ in range(10**5)])", "> /dev/full", 3, ""),
        ("net.run(lambda: sys.exit('words'))", "", 0, ""),
        ("net.run(lambda: exec('raise KeyboardInterrupt'))", "", 3, ""),
        ("net.run(lambda: sys.stderr.write('x'))", "2> /dev/full", 0, ""),
    ):
        path = tmp_path / "code.py"
        path.write_text(run + code)
        done = subprocess.run(
            ["/bin/bash", "-c", f'"$0" "$1" {line}', sys.executable, str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, text in done.stderr, "Traceback" in done.stderr) == (status, True, False), code


@pytest.mark.heavy
def test_ctrl_c_at_any_time_is_a_stop(journal: Path) -> None:
    """From the first line on, while modules are imported, and at the end: exit 3 or the command's own, no traceback."""
    started = time.monotonic()
    subprocess.run([*COMMAND, "status", str(journal)], check=True, capture_output=True)
    whole = time.monotonic() - started
    bare = time.monotonic()
    subprocess.run([sys.executable, "-c", ""], check=True, capture_output=True)
    bare = time.monotonic() - bare
    seen = set()
    for shot in range(11):
        command = subprocess.Popen(
            [*COMMAND, "status", str(journal), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(bare * 1.5 + (whole - bare) * shot / 8)
        command.send_signal(signal.SIGINT)
        stdout, stderr = command.communicate(timeout=30)
        seen.add(command.returncode)
        assert "Traceback" not in stderr, (shot, stderr)
        assert command.returncode in {0, 3}, (shot, command.returncode, stderr)
        assert json.loads(stdout)["exit"] == command.returncode

    assert 3 in seen
