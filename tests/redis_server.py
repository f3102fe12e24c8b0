"""A real Redis or Valkey server on loopback, and connections that the jumping clock waits for."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio
from jumping import AutojumpLoop
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Generator

    from b2b_async.ratelimit.redis import RedisRateLimiter

BINARY = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "neither redis-server nor valkey-server is on this machine (Debian: apt-get install redis-server)"


class RedisServer:
    """A server of one's own, which can be stopped and started again."""

    def __init__(self) -> None:
        """Choose a free port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.mkdtemp()

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        assert BINARY is not None
        command = [BINARY, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder, "--save", ""]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                assert time.monotonic() < until, "redis-server does not answer"
            time.sleep(0.02)  # another process needs real time to start

    def stop(self) -> None:
        """Kill it; it forgets everything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it answer nothing for a while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and leave nothing behind."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def client(self) -> Generator[redis.Redis]:
        """Give a client that blocks."""
        client = redis.Redis(port=self.port, host="127.0.0.1")
        try:
            yield client
        finally:
            client.close()


class PatientConnection(redis.asyncio.Connection):
    """Time stands still while Redis, which is another process, is at work."""

    patient = True

    @contextlib.contextmanager
    def _at_work(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        jumping = loop._jumping if isinstance(loop, AutojumpLoop) and PatientConnection.patient else None
        if jumping is not None:
            jumping.threads += 1
        try:
            yield
        finally:
            if jumping is not None:
                jumping.threads -= 1

    async def connect(self) -> None:
        """Connect."""
        with self._at_work():
            await super().connect()

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for an answer."""
        with self._at_work():
            return await super().read_response(*args, **kwargs)


def patient(server: RedisServer) -> redis.asyncio.Redis:
    """Give a client for the jumping loop; close it."""
    pool = redis.asyncio.ConnectionPool(
        connection_class=PatientConnection,
        host="127.0.0.1",
        port=server.port,
        max_connections=4,
        retry=Retry(NoBackoff(), 1),
    )
    return redis.asyncio.Redis.from_pool(pool)


def on_loop_time(limiter: RedisRateLimiter) -> RedisRateLimiter:
    """Make the books in Redis use the running loop's time instead of the server's clock."""
    limiter._clock = asyncio.get_running_loop().time
    return limiter
