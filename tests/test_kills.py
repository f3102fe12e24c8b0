"""Kill -9 at random instants: nothing told is lost, and no order is created twice. Large: ``benchmarks/bulk.py``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from kills import CONCURRENCY, kill_again_and_again

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize(("kind", "items", "kills"), [("assign", 400, 4), ("orders", 80, 3)])
def test_a_job_that_is_killed_again_and_again(tmp_path: Path, kind: str, items: int, kills: int) -> None:
    """One final outcome for each item; what is done twice was under way at a kill, and is said to be repeated."""
    job = asyncio.run(kill_again_and_again(kind, items, kills, tmp_path, seed=7, look_again=0.6, lag=0.2))
    figures = job.check()

    assert figures["kills"] >= kills
    assert figures["final outcomes"] == items
    assert figures["not succeeded"] == 0
    assert figures["told and lost"] == 0
    assert figures["sent twice though done (ledger)"] == 0
    assert figures["under way at one kill, at most"] <= CONCURRENCY
    assert figures["done in more than one life"] <= figures["under way at all kills"]
    if kind == "orders":
        assert figures["done in more than one life"] == 0
    else:
        assert figures["done in more than one life"] <= figures["said to be repeated"]
