"""The README: every block of code in it is executed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from redis_server import BINARY, MISSING, RedisServer

from b2b_async import Credentials, RateLimiter, RetryPolicy, Timeouts
from b2b_async.client import default_middlewares
from b2b_async.sandbox import Faults, Order, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async.sandbox import Sandbox

    Start = Callable[..., Sandbox]

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"


@attrs.frozen
class Block:
    """A fenced block and the heading that it stands under."""

    heading: str
    language: str
    code: str


def blocks() -> list[Block]:
    """Read all blocks."""
    found, heading = [], ""
    pattern = r"^#+ (?P<heading>[^\n]+)$|^```(?P<language>\w*)\n(?P<code>.*?)^```$"
    for match in re.finditer(pattern, README.read_text(), re.MULTILINE | re.DOTALL):
        heading = match["heading"] or heading
        if match["code"] is not None:
            found.append(Block(heading, match["language"], match["code"]))
    return found


def code_under(heading: str, language: str = "python") -> str:
    """Give the only block of a language under a heading."""
    (block,) = [block for block in blocks() if (block.heading, block.language) == (heading, language)]
    return block.code


@pytest.fixture
def sandbox(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sandbox:
    """Run in an empty folder with a sandbox in the environment, which knows the README's order and customers."""
    store = Store()
    store.add_order(Order("BC123456789", 1032, Decimal(1)))
    sandbox = live_sandbox(store)
    monkeypatch.setenv("B2B_LEGACY_TOKEN", sandbox.legacy_token)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "customers.csv").write_text("customer_id\n1001\n1002\n9999\n")
    store.add_order(Order("9002", 1095, Decimal(1)))
    columns = "company_id,customer_id,order_id,total_inc_tax,po_number"
    (tmp_path / "orders.csv").write_text(f"{columns}\n10,1095,9002,1.50,PO 7\n")
    return sandbox


def test_every_block_has_its_test() -> None:
    """A new block fails here until it is executed."""
    assert [(block.heading, block.language) for block in blocks()] == [
        ("b2b-async", "python"),
        ("Two commands", "sh"),
        ("Two commands", "sh"),
        ("One call in an async service", "python"),
        ("Orders, users and companies", "python"),
        ("Orders, users and companies", "sh"),
        ("A bulk job", "sh"),
        ("A bulk job", "python"),
        ("Several processes, one quota", "python"),
        ("A middleware of your own", "python"),
        ("Events and logging", "python"),
        ("Errors to catch", "python"),
        ("When the answer is lost", "python"),
        ("Tests of your own code", "python"),
    ]


def test_the_first_example(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """It is short, and it makes the two calls."""
    code = code_under("b2b-async")
    exec(code, {})  # noqa: S102 -- the README's own code

    assert re.fullmatch(r"\d orders assigned\nBC123456789 registered\n", capsys.readouterr().out)
    assert len([line for line in code.splitlines() if line]) <= 12
    assert sandbox.store.orders["BC123456789"].company_id == "4"


def test_the_two_commands_are_run_by_ci() -> None:
    """They make environments of their own, which a test must not; .ci/run takes them from here and runs them."""
    commands = [block.code.strip() for block in blocks() if block.heading == "Two commands"]

    assert [command.rpartition("&& ")[2] for command in commands] == [".venv/bin/b2b-async demo", ".venv/bin/pytest -q"]
    script = (ROOT / ".ci" / "run").read_text()
    assert all(f"\nreadme_command '\\{command.rpartition('&& ')[2]}' " in script for command in commands)


@pytest.mark.skipif(BINARY is None, reason=MISSING)
def test_the_shared_quota(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of 105 is used."""
    server = RedisServer()
    server.start()
    monkeypatch.setenv("REDIS_URL", server.url)
    try:
        exec(code_under("Several processes, one quota"), {})  # noqa: S102 -- the README's own code
    finally:
        server.remove()

    assert re.fullmatch(r"\d of \d+ used, \d+ left, next slot in 0\.0 s\n", capsys.readouterr().out)
    assert len(sandbox.requests) == 1


async def test_the_service(b2b_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers, and passes the server's words on."""
    monkeypatch.setenv("B2B_BASE_URL", b2b_sandbox.url)
    monkeypatch.setenv("B2B_LEGACY_TOKEN", b2b_sandbox.legacy_token)
    names: dict[str, Any] = {"__name__": "service"}
    exec(code_under("One call in an async service"), names)  # noqa: S102 -- the README's own code
    runner = web.AppRunner(names["app"])
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    answers = []
    async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
        for customer in ("1001", "9999", "0"):
            async with session.post(f"/customers/{customer}/assign") as answer:
                answers.append((answer.status, await answer.json()))
    await runner.cleanup()

    assert answers[0] == (200, {"assigned": 3})
    assert answers[1] == (404, {"error": "User does not exist or action not support for this user."})
    assert answers[2][0] == 502
    assert answers[2][1]["outcome"] == "not_sent"


def test_the_look_ups(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """All orders, a change, an answer; and the same on the command line."""
    exec(code_under("Orders, users and companies"), {})  # noqa: S102 -- the README's own code
    lines = capsys.readouterr().out.splitlines()
    numbers = [order for order in sandbox.store.orders if order.isdigit()]
    outputs = []
    for line in code_under("Orders, users and companies", "sh").splitlines():
        done = subprocess.run(line.split(), capture_output=True, text=True, check=True)
        outputs.append(done.stdout.splitlines())

    assert {line.split()[0] for line in lines[:-2]} == set(numbers)
    assert lines[-2] == f"{len(numbers)} orders, 0 may have been missed; go on at {len(numbers)}"
    assert re.fullmatch(r"PO 7 sandbox-\d+ \d+", lines[-1])
    assert len(outputs[0]) == 1
    assert "PO 7" in " ".join(outputs[1])
    assert json.loads(outputs[2][-1])["count"] == 10
    assert len(outputs[3]) == 11


def test_the_bulk_commands(sandbox: Sandbox, tmp_path: Path) -> None:
    """Line by line, as a user types them."""
    outputs = []
    for line in code_under("A bulk job", "sh").splitlines():
        done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
        outputs.append((done.returncode, done.stdout + done.stderr))

    assert [status for status, _ in outputs] == [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]
    assert "is accepted" in outputs[0][1]
    assert "rows 3; duplicates 0; sent 0" in outputs[1][1]
    assert "failed: 1" in outputs[3][1]
    assert "9999,4,failed" in outputs[4][1]
    assert "9999" in (tmp_path / "report.html").read_text()
    assert len(sandbox.requests) == 2 + 3 + 1 + 2 + 20 + 1
    assert [entry.subject for entry in sandbox.ledger[5:6]] == ["customer 9999"]
    assert (tmp_path / "customers.csv-failed.journal").is_file()


@pytest.mark.usefixtures("sandbox")
def test_the_bulk_job_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints each outcome and a summary."""
    exec(code_under("A bulk job"), {})  # noqa: S102 -- the README's own code

    assert capsys.readouterr().out.endswith("2 succeeded, 1 failed, 0 unknown\n")


@pytest.mark.usefixtures("sandbox")
def test_the_middlewares(capsys: pytest.CaptureFixture[str]) -> None:
    """They run."""
    exec(code_under("A middleware of your own"), {})  # noqa: S102 -- the README's own code

    assert capsys.readouterr().out.startswith("Assign Customer Orders to Company, attempt 1: 0.")


@pytest.mark.usefixtures("sandbox")
def test_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    """One call, in one attempt."""
    exec(code_under("Events and logging"), {})  # noqa: S102 -- the README's own code

    assert re.fullmatch(
        r"Assign Customer Orders to Company: applied in 1 attempts, [\d.]+ s\n", capsys.readouterr().out
    )


@pytest.mark.usefixtures("sandbox")
def test_the_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """The sandbox does not know the order."""
    exec(code_under("Errors to catch"), {})  # noqa: S102 -- the README's own code

    assert capsys.readouterr().out.startswith("Create An Order: 404 Not Found Error: Order Does not Exist")


@pytest.mark.parametrize(
    ("script", "printed"),
    [
        ([], "9001 is registered\n"),
        (["reset-after"], "9001 was found registered\n"),
        (
            ["reset-before"],
            'unknown: Create An Order b\'{"orderId":"9001","totalIncTax":1.00}\'\nCreate An Order: no answer',
        ),
    ],
)
def test_the_lost_answer(sandbox: Sandbox, capsys: pytest.CaptureFixture[str], script: list[str], printed: str) -> None:
    """It is found again."""
    sandbox.store.add_order(Order("9001", 1034, Decimal(1)))
    sandbox.faults = Faults(script=script)
    # The README's own code has more patience than a test; only where nothing is found does it need all of it.
    code = code_under("When the answer is lost").replace("call=60", "call=0.5" if "unknown" in printed else "call=20")
    exec(code, {})  # noqa: S102 -- the README's own code

    assert capsys.readouterr().out.startswith(printed)


def test_the_tests(tmp_path: Path) -> None:
    """As a user's test file, in a pytest of its own."""
    (tmp_path / "test_mine.py").write_text(code_under("Tests of your own code"))
    command = [sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "2 passed" in done.stdout


def test_every_path_that_is_named_exists() -> None:
    """In the README, between backticks."""
    named = re.findall(r"`((?:b2b_async|benchmarks|tests)/[\w/.]+)`", README.read_text())

    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


_INNER = {"inputs/", "journal/", "redis/"}


def test_the_architecture_names_what_there_is() -> None:
    """No file of the package is missing on the map, and none is on it that is not there."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    plan = text.partition("## Architecture")[2].partition("```text\n")[2].partition("```")[0]
    package = ROOT / "b2b_async"
    files = {path.name + ("/" if path.is_dir() else "") for path in package.iterdir() if not path.name.startswith("__")}

    assert set(re.findall(r"\w+(?:\.py|/)", plan)) - {"b2b_async/", *_INNER} == files - {"py.typed"}
    middlewares = {path.stem for path in (package / "middleware").glob("*.py")} - {"__init__"}
    assert set(re.search(r"middleware/ +([\w ]+):", plan)[1].split()) == middlewares  # type: ignore[index]


def test_the_drawing_of_the_pipeline_is_the_pipeline() -> None:
    """The order is meaning."""
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text()
    drawn = re.findall(r"\w+", text.partition("per call ")[2].partition("transport")[0])
    tuple_ = default_middlewares(
        Credentials("token", "store"),
        limiter=RateLimiter(),
        retry=RetryPolicy(),
        timeout=Timeouts(call=1),
        per_call=["per_call"],  # type: ignore[list-item]
        per_attempt=["per_attempt"],  # type: ignore[list-item]
    )

    names = [one if isinstance(one, str) else type(one).__name__ for one in tuple_]
    assert [word for word in drawn if word not in {"per", "attempt"}] == names
