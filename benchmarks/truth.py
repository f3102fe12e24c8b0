"""What the client says of its calls, against what really happened: the large run of the truth test.

Half PUTs, half POSTs; a quarter of all requests, look-ups included, meet one of the sandbox's faults, one new
connection in twenty fails at the name, one call in twenty is cancelled somewhere. Client and sandbox talk over real
loopback sockets on a clock that jumps, so that an hour of waiting takes a minute. Every outcome is compared with the
sandbox's ledger.

    python benchmarks/truth.py [--calls 20000] [--seeds 1 2 3] [--part 0.25]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from truth import Report

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from jumping import AutojumpLoop
from truth import PERSISTENT, measure, rows

from b2b_async import RetryPolicy


def one(seed: int, retry: RetryPolicy, options: argparse.Namespace) -> tuple[Report, float, float]:
    """Give the report of one run, its seconds on the jumping clock, and the real ones."""
    loop = AutojumpLoop()
    started = time.perf_counter()
    try:
        report = loop.run_until_complete(measure(options.calls, seed=seed, part=options.part, retry=retry))
        return report, loop.time(), time.perf_counter() - started
    finally:
        loop.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--part", type=float, default=0.25, help="the part of the requests that meet a fault")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)

    runs = [(f"until the deadline, seed {seed}", seed, PERSISTENT) for seed in options.seeds]
    runs.append((f"default policy, seed {options.seeds[0]}", options.seeds[0], RetryPolicy()))
    columns = {name: one(seed, retry, options) for name, seed, retry in runs}

    table = Table(title=f"{options.calls:,} calls, {options.part:.0%} of the requests faulty, 32 at once")
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    reports = [report for report, _, _ in columns.values()]
    for (name, _), *counts in zip(rows(reports[0]), *map(rows, reports), strict=True):
        table.add_row(name, *(f"{count:,}" for _, count in counts))
    table.add_row("seconds on the jumping clock", *(f"{jumped:,.0f}" for _, jumped, _ in columns.values()))
    table.add_row("real seconds", *(f"{real:.0f}" for _, _, real in columns.values()))
    Console(width=160).print(table)
    for report in reports:
        for example in report.examples:
            print(example)
    return 0 if all(report.clean and report.worth for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
