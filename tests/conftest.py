"""Time that jumps, a sandbox, and servers of raw bytes."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from jumping import AutojumpLoop

from b2b_async.sandbox import Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytest_plugins = ["b2b_async.testing"]

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=4)  # --hypothesis-profile=quick
settings.load_profile("default")


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on the jumping loop."""
    del config, item
    return {"autojump": AutojumpLoop}


@pytest.fixture
def jumping_asyncio_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``asyncio.run`` use the jumping loop; policies, which would do it, are deprecated from Python 3.14 on."""
    monkeypatch.setattr(asyncio.events, "new_event_loop", AutojumpLoop)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own environment out of the tests."""
    for name in [name for name in os.environ if name.startswith("B2B_")]:
        monkeypatch.delenv(name)
    # Commands set the logger and the garbage collector up; the next test shall not see it.
    monkeypatch.setattr("b2b_async.cli._jobs.calm_collector", lambda: None)
    logger = logging.getLogger("b2b_async")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
    for name in ("b2b_async.ratelimit.redis", "b2b_async.lists"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    logger.manager._clear_cache()  # type: ignore[attr-defined]


class LiveSandbox:
    """A sandbox on a loop of its own in a thread, for commands that run their own loop."""

    def __init__(self, store: Store, options: dict[str, Any]) -> None:
        """Start and wait until it listens."""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.sandbox = Sandbox(store, **options)
        started = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=[self._serve(started)])
        self._thread.start()
        started.wait()

    async def _serve(self, started: threading.Event) -> None:
        async with self.sandbox:
            started.set()
            await self._stop.wait()

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def live_sandbox(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[..., Sandbox]]:
    """Give a function that starts a sandbox in a thread and points the environment to it."""
    running: list[LiveSandbox] = []

    def start(store: Store | None = None, **options: Any) -> Sandbox:
        live = LiveSandbox(store or Store(), {"quota": "10000/60s", **options})
        running.append(live)
        sandbox = live.sandbox
        monkeypatch.setenv("B2B_BASE_URL", sandbox.url)
        monkeypatch.setenv("B2B_ACCESS_TOKEN", sandbox.access_token)
        monkeypatch.setenv("B2B_STORE_HASH", sandbox.store_hash)
        return sandbox

    yield start
    for live in running:
        live.close()
