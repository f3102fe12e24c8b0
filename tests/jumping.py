"""An event loop whose clock jumps: no test and no simulation waits for real."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

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
