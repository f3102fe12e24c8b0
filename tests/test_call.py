"""The memory of a call."""

from __future__ import annotations

import asyncio

import pytest

from b2b_async._call import CallState, Deadline, strongest


async def test_a_deadline_can_be_paused() -> None:
    """What is left of it is left afterwards."""

    async def work() -> None:
        async with asyncio.timeout(10) as clock:
            deadline = Deadline(clock)
            await asyncio.sleep(4)
            async with deadline.paused():
                assert deadline.when is None
                async with deadline.paused():
                    await asyncio.sleep(100)
            await asyncio.sleep(100)

    with pytest.raises(TimeoutError):
        await work()

    assert asyncio.get_running_loop().time() == 110


def test_a_call_did_what_its_strongest_attempt_did() -> None:
    """Applied, then unknown, then rejected, then not sent."""
    assert strongest([]) == "not_sent"
    assert strongest(["rejected", "applied", "unknown"]) == "applied"
    assert CallState("id").outcome("rejected") == "rejected"
