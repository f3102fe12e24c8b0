"""What the client says of its calls behind a proxy that breaks them: mitmproxy's faults, not our own.

mitmproxy stands as a reverse proxy between client and sandbox and, by a seed, kills, delays, cuts, replaces and garbles
what passes, before and after the server has acted. Every outcome is compared with the sandbox's ledger, as in
``truth.py``, but in real time. mitmproxy lives in an environment of its own, which is made if none is given.

    python benchmarks/proxy.py [--calls 2000] [--seeds 1 2 3] [--part 0.25] [--mitmdump PATH]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from truth import Report, Told

    from b2b_async.sandbox import Entry

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from truth import PERSISTENT, ask, filled_store, judge, rows, run

from b2b_async import Client, Credentials, Quota, RateLimiter, Timeouts
from b2b_async.sandbox import Sandbox

CALL, ATTEMPT = 10.0, 1.0
"""Seconds that a call and an attempt have; the proxy's long delay is longer than an attempt."""
CONCURRENCY = 32
MITMPROXY = "mitmproxy>=11,<13"


def installed(folder: Path) -> Path:
    """Make an environment with mitmproxy and give its program."""
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", MITMPROXY], check=True)
    return folder / "bin" / "mitmdump"


async def listening(port: int) -> None:
    """Wait until a port of this machine answers, for half a minute."""
    for _ in range(300):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    message = "mitmproxy did not come up; run it by hand with --mitmdump to see why"
    raise RuntimeError(message)


@contextlib.asynccontextmanager
async def proxy(program: Path, target: str, seed: int, part: float, log: Path) -> AsyncGenerator[str]:
    """Run mitmproxy before *target*; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parent / "proxy_faults.py"
    options = [
        "--mode",
        f"reverse:{target}",
        "--listen-host",
        "127.0.0.1",
        "--listen-port",
        str(port),
        "-q",
        "-s",
        script,
    ]
    environment = {**os.environ, "PROXY_SEED": str(seed), "PROXY_PART": str(part), "PROXY_LOG": str(log)}
    environment |= {"PYTHONPATH": ""}
    process = await asyncio.create_subprocess_exec(program, *options, env=environment)
    try:
        await listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def measure(program: Path, calls: int, seed: int, part: float) -> tuple[Report, Counter[str]]:
    random.seed(seed)
    dice = random.Random(seed)
    turns = [dice.choice((*range(12), 20, 40)) if dice.random() < 0.05 else None for _ in range(calls)]
    store = filled_store(calls)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "faults.jsonl"
        async with (
            Sandbox(store, quota="100000/1s", lag=0.3) as sandbox,
            proxy(program, sandbox.url, seed, part, log) as url,
        ):
            async with Client(
                Credentials(sandbox.access_token, sandbox.store_hash, sandbox.legacy_token),
                base_url=url,
                limiter=RateLimiter(Quota(100_000, 1.0)),
                retry=PERSISTENT,
                timeout=Timeouts(call=CALL, attempt=ATTEMPT, connect=0.8),
            ) as client:
                told = await run(calls, CONCURRENCY, lambda number: ask(client, store, number, turns=turns[number]))
            # What the proxy still holds back may arrive yet.
            await asyncio.sleep(2)
        done = [json.loads(line) for line in log.read_text().splitlines()]
    # A short delay ends before an attempt does.
    hurt = {(one["method"], one["path"]) for one in done if not one["fault"].startswith("short")}

    def hidden(one: Told, _entries: list[Entry]) -> bool:
        return (one.method, one.path) in hurt

    report = judge(told, sandbox.ledger, call=CALL, hidden=hidden)
    report.faulty = len(done)  # by the proxy, and not by the sandbox
    return report, Counter(one["fault"] for one in done)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--part", type=float, default=0.25, help="the part of the requests that meet a fault")
    parser.add_argument("--mitmdump", type=Path, help="the program; else mitmproxy is installed for the occasion")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)

    with tempfile.TemporaryDirectory() as folder:
        program = options.mitmdump or installed(Path(folder))
        columns: dict[str, tuple[Report, Counter[str], float]] = {}
        for seed in options.seeds:
            started = time.perf_counter()
            report, done = asyncio.run(measure(program, options.calls, seed, options.part))
            columns[f"seed {seed}"] = report, done, time.perf_counter() - started

    table = Table(
        title=f"{options.calls:,} calls through mitmproxy, {options.part:.0%} of the requests hurt, 32 at once"
    )
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    reports = [report for report, _, _ in columns.values()]
    for fault in sorted({fault for _, done, _ in columns.values() for fault in done}):
        table.add_row(f"mitmproxy: {fault}", *(f"{done[fault]:,}" for _, done, _ in columns.values()))
    for (name, _), *counts in zip(rows(reports[0]), *map(rows, reports), strict=True):
        table.add_row(name, *(f"{count:,}" for _, count in counts))
    table.add_row("seconds", *(f"{seconds:.0f}" for _, _, seconds in columns.values()))
    Console(width=120).print(table)
    for report in reports:
        for example in report.examples:
            print(example)
    return 0 if all(report.clean and report.worth for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
