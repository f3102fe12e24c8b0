"""Time that jumps, a sandbox, and servers of raw bytes."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from b2b_async.sandbox import Sandbox, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

pytest_plugins = ["b2b_async.testing"]

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


_DEADLOCK = 20.0


class AutojumpSelector(selectors.DefaultSelector):
    """Never wait: when nothing is ready, jump to the loop's next deadline."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.now = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Give what is ready; a thread at work is waited for in real time, since its end is no deadline."""
        ready = super().select(0 if timeout is not None else _DEADLOCK)
        if timeout is None and not ready:
            message = f"nothing happened for {_DEADLOCK} real seconds, and nothing is due"
            raise RuntimeError(message)
        if ready or not timeout:
            return ready
        if self.threads:
            return super().select(1.0)
        self.now += timeout
        return ready


class AutojumpLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps."""

    def __init__(self) -> None:
        """Make the loop over a jumping selector."""
        self._jumping = AutojumpSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Give the jumping time."""
        return self._jumping.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> asyncio.Future[Any]:
        """Count the threads at work."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Count the thread that joins the others."""
        self._jumping.threads += 1
        await super().shutdown_default_executor(*args)
        self._jumping.threads -= 1

    def _thread_done(self, _future: object) -> None:
        self._jumping.threads -= 1


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every asynchronous test on the jumping loop."""
    del config, item
    return {"autojump": AutojumpLoop}


class _JumpingPolicy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return AutojumpLoop()


@pytest.fixture
def jumping_asyncio_run() -> Iterator[None]:
    """Make ``asyncio.run`` use the jumping loop."""
    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(_JumpingPolicy())
    yield
    asyncio.set_event_loop_policy(before)


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own environment out of the tests."""
    for name in [name for name in os.environ if name.startswith("B2B_")]:
        monkeypatch.delenv(name)
    # Commands set the logger up; the next test shall not see it.
    logger = logging.getLogger("b2b_async")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logging.NOTSET)
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
