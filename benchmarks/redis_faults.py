"""Does a quota shared through Redis survive faults of its Redis? At true scale: 150 requests in 60 s.

    pip install -e '.[redis]' && python benchmarks/redis_faults.py    # half an hour; needs redis-server and cc

Each run has a Redis server of its own and several client processes, in which 40 workers send as fast as a
``RedisRateLimiter`` allows. They send to a server in the process of the benchmark, which refuses nothing, sends no
quota headers, and notes when each request arrives. Its counts share no code with the limiter. A run fails if more than
150 requests arrive in any 60 s, or fewer than 95 % of that in the last 60 s, which end 150 s after the last fault.

The clients import a copy of the package, made at the start. The folder ``--out`` keeps a line for each finished run
(``results.jsonl``), all arrivals (``arrivals/``) and the clients' logs (``logs/``). What has a result is not run again.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import functools
import gzip
import hashlib
import itertools
import json
import logging
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from helpers import ended

from b2b_async import Quota
from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.redis import RedisRateLimiter

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Iterator

PACKAGE = Path(__file__).resolve().parent.parent / "b2b_async"
LIMIT, WINDOW, WORKERS = 150, 60.0, 40
AFTER_FAULT = 150.0  # seconds for which a run goes on after its last fault: two windows and a half
ENOUGH = 0.95  # part of the quota that must be used at the end
CLOCK_SOURCE = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static volatile long long *ahead; /* seconds */
__attribute__((constructor)) static void start(void) {
  ahead = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, open(getenv("CLOCK_AHEAD"), O_RDONLY), 0);
}
int gettimeofday(struct timeval *now, void *zone) {
  struct timespec precise;
  clock_gettime(CLOCK_REALTIME, &precise);
  *now = (struct timeval){precise.tv_sec + (ahead ? *ahead : 0), precise.tv_nsec / 1000};
  return 0;
}
"""
"""A library to preload that moves the clock of Redis. libfaketime hangs there: it clashes with jemalloc."""


async def client(number: str, first: str, port: str, redis_url: str) -> None:
    """Send *first* requests, print "ready", wait for a line on stdin, then send as fast as the limiter allows."""
    logger, parent = logging.getLogger("client"), os.getppid()
    logging.basicConfig(format="%(created).3f %(levelname)s %(name)s %(message)s")

    async def work(limiter: RedisRateLimiter, turns: Iterator[int]) -> None:
        for _ in turns:
            try:
                ticket = await limiter.acquire("bulk")
                sent_at = time.monotonic()
                reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
                writer.write(f"{number} {sent_at!r}\n".encode())
                await reader.readline()
                limiter.release(ticket, ended(200, QuotaFeedback()))
                writer.close()
            except Exception:
                logger.exception("a request failed")
                await asyncio.sleep(1)

    until_parent_ends = itertools.takewhile(lambda _: os.getppid() == parent, itertools.count())
    async with RedisRateLimiter(redis_url, "store", Quota(LIMIT, WINDOW)) as limiter:
        for turns in (iter(range(int(first))), until_parent_ends):
            await asyncio.gather(*(work(limiter, turns) for _ in range(WORKERS)))
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)


async def kill(process: Process | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@attrs.define
class RedisServer:
    """A Redis server that loses all data when it is killed; the library *clock* can move its clock."""

    folder: Path
    port: int
    clock: Path | None
    process: Process | None = None

    async def start(self) -> None:
        """Start it, after killing the process that runs, and wait until it answers."""
        await kill(self.process)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.set_clock(0)
        preload = {"LD_PRELOAD": str(self.clock), "CLOCK_AHEAD": str(self.folder / "ahead")} if self.clock else {}
        options = ("--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--appendonly", "no")
        self.process = await asyncio.create_subprocess_exec(
            "redis-server", "--port", str(self.port), *options, stdout=DEVNULL, env={**os.environ, **preload}
        )
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    assert (await self.command("PING")).startswith(b"+PONG")
                    return
                await asyncio.sleep(0.01)

    async def command(self, name: str) -> bytes:
        """Run a command without arguments and return the reply as it came."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{name}\r\n".encode())
        reply = await reader.read(1000)
        writer.close()
        return reply

    async def ahead(self) -> float:
        """Return the seconds by which its clock is ahead of the machine's."""
        reply = (await self.command("TIME")).split()
        return int(reply[2]) + int(reply[4]) / 1e6 - time.time()

    def set_clock(self, ahead: int) -> None:
        """Set its clock so many seconds ahead of the machine's."""
        (self.folder / "ahead").write_bytes(ahead.to_bytes(8, sys.byteorder))


@attrs.define
class Run:
    """One run of a scenario, with the server that counts its requests."""

    name: str  # the scenario and a number
    steps: Callable[[Run, Any], Awaitable[None]]
    variant: Any  # for most scenarios, the seconds from the first request to the fault
    processes: int = 4
    recovers: bool = True  # most of the quota must be used again at the end
    silent: int = 0  # so many of the first clients send nothing after the fault
    port: int = 0
    clients: list[Process] = attrs.field(factory=list)
    arrivals: list[tuple[int, float, float]] = attrs.field(factory=list)  # the client, the time of sending, of arrival
    first_arrived: asyncio.Event = attrs.field(factory=asyncio.Event)
    started_at: float = 0.0
    faults: list[float] = attrs.field(factory=list)  # when something was done to Redis
    figures: dict[str, Any] = attrs.field(factory=dict)
    logs: Path = attrs.field(init=False)
    code: Path = attrs.field(init=False)  # the folder of the package that the clients import
    redis: RedisServer = attrs.field(init=False)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Note a request and answer it."""
        with contextlib.suppress(ConnectionError):
            line = await reader.readline()
            arrived_at = time.monotonic()
            if line:  # else its client was killed
                number, sent_at = line.split()
                self.arrivals.append((int(number), float(sent_at), arrived_at))
                self.first_arrived.set()
                await asyncio.sleep(random.uniform(0.01, 0.06))
                writer.write(b"accepted\n")
        writer.close()

    async def add_clients(self, count: int, first: int = 0) -> None:
        """Start client processes and wait until each has sent its *first* requests."""
        environment = {**os.environ, "PYTHONPATH": str(self.code)}
        for number in map(str, range(len(self.clients), len(self.clients) + count)):
            arguments = ("--client", number, str(first), str(self.port), f"redis://127.0.0.1:{self.redis.port}/0")
            with (self.logs / number).open("w") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, __file__, *arguments, stdin=PIPE, stdout=PIPE, stderr=log, env=environment
                )
            self.clients.append(process)
        for process in self.clients[-count:]:
            assert process.stdout is not None
            assert await asyncio.wait_for(process.stdout.readline(), 180) == b"ready\n", "a client did not start"

    def send(self, *clients: Process) -> None:
        """Let *clients* send from now on."""
        for process in clients:
            assert process.stdin is not None
            process.stdin.write(b"\n")

    async def send_from_all(self, seconds: float) -> None:
        """Start all, let all clients send at the same moment, and wait for so long after the first request."""
        await self.redis.start()
        await self.add_clients(self.processes)
        self.send(*self.clients)
        await asyncio.wait_for(self.first_arrived.wait(), 180)
        self.started_at = self.arrivals[0][2]
        await asyncio.sleep(self.started_at + seconds - time.monotonic())

    async def fault(self, action: Callable[[], Awaitable[object]]) -> None:
        """Do something to Redis, and note when."""
        self.faults.append(time.monotonic())
        await action()

    async def execute(self) -> dict[str, Any]:
        """Run the scenario and return the result."""
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        server = await asyncio.start_server(self.handle, "127.0.0.1", backlog=1000)
        self.port = server.sockets[0].getsockname()[1]
        try:
            await self.steps(self, self.variant)
            await asyncio.sleep(AFTER_FAULT)
            ended_at = time.monotonic()
            died = sum(process.returncode is not None for process in self.clients)
        finally:
            for process in (*self.clients, self.redis.process):
                await kill(process)
            server.close()
        lines = [line.split() for log in self.logs.iterdir() for line in log.read_text().splitlines()]
        self.figures["warnings"] = sum(line[1:3] == ["WARNING", "b2b_async.ratelimit.redis"] for line in lines)
        self.figures["errors"] = died + sum(line[1:2] == ["ERROR"] for line in lines)
        return self.judge(ended_at)

    def judge(self, ended_at: float) -> dict[str, Any]:
        """Judge the run by its arrivals."""
        times = sorted(arrived_at - self.started_at for _, _, arrived_at in self.arrivals)
        faults = [round(fault_at - self.started_at, 3) for fault_at in self.faults]
        end, fault = ended_at - self.started_at, faults[-1] if faults else 0.0
        # A window that begins just after a burst may end just before the next one: so no single window decides.
        used = statistics.median(in_window(times, end - step / 10) for step in range(100)) / LIMIT
        accepted: list[float] = []  # by a server that allows 150 in 60 s and does not count what it refuses
        for arrived_at in times:
            if in_window(accepted, arrived_at) < LIMIT:
                accepted.append(arrived_at)
        most_until = max(times, key=lambda until: in_window(times, until), default=0.0)
        senders = Counter(number for number, _, arrived_at in self.arrivals if arrived_at > self.started_at + fault)
        after_fault = [senders[number] for number in range(len(self.clients))]
        problems = {
            "over the limit": in_window(times, most_until) > LIMIT,
            "too slow": used < ENOUGH and self.recovers,
            "a process sent nothing": 0 in after_fault[self.silent :],
            "errors": self.figures["errors"] > 0,
        }
        slowest = max((arrived_at - sent_at for _, sent_at, arrived_at in self.arrivals), default=0.0)
        result = {"run": self.name, "variant": self.variant, "processes": len(self.clients), "code": self.code.name}
        result |= {"sent": len(times), "refused": len(times) - len(accepted), "sent_after_fault": after_fault}
        result |= {"most": in_window(times, most_until), "most_until": round(most_until, 3)}
        result |= {"windows_after_fault": [in_window(times, fault + WINDOW * number) for number in (1, 2)]}
        result |= {"last_window": in_window(times, end), "utilisation": round(used, 4)}
        result |= {"faults": faults, "slowest_arrival": round(slowest, 3), **self.figures}
        return {**result, "verdict": ", ".join(name for name, found in problems.items() if found) or "passed"}


def in_window(times: list[float], until: float) -> int:
    """Count the sorted *times* in (until - 60 s, until]."""
    return bisect.bisect_right(times, until) - bisect.bisect_right(times, until - WINDOW)


async def restart_empty(run: Run, seconds: float, *, times: int = 1) -> None:
    """Restart Redis without its data, perhaps several times, while all processes send."""
    await run.send_from_all(seconds)
    for number in range(times):
        await asyncio.sleep(random.uniform(1, 3) if number else 0)
        await run.fault(run.redis.start)


async def cold_start(run: Run, seconds: float) -> None:
    """Start the processes while there is no Redis; start it later."""
    await run.add_clients(run.processes)
    run.send(*run.clients)
    run.started_at = time.monotonic()
    await asyncio.sleep(seconds)
    run.figures["before_redis"] = len(run.arrivals)
    await run.fault(run.redis.start)


async def clock_jump(run: Run, seconds: float, *, ahead: int) -> None:
    """Set the clock of Redis ahead while all processes send."""
    await run.send_from_all(seconds)
    before = await run.redis.ahead()
    run.faults.append(time.monotonic())
    run.redis.set_clock(ahead)
    run.figures["jump"] = round(await run.redis.ahead() - before, 3)
    assert abs(run.figures["jump"] - ahead) < 0.5, f"the clock of Redis has moved by {run.figures['jump']} s"


async def idle(run: Run, variant: str) -> None:
    """Send 100 requests from one process, lose all data of Redis, then send from another process alone."""
    await run.redis.start()
    await run.add_clients(1, first=100)
    run.started_at = run.arrivals[0][2]
    if "known" in variant:
        await run.add_clients(1, first=1)
    await asyncio.sleep(1)
    await run.fault(functools.partial(run.redis.command, "FLUSHALL") if "flush" in variant else run.redis.start)
    if "new" in variant:
        await run.add_clients(1)
    run.send(run.clients[1])


def runs() -> Iterator[Run]:
    """Yield all runs: one for each variant of each scenario."""

    def scenario(name: str, steps: Callable[..., Awaitable[None]], *variants: Any, **options: Any) -> Iterator[Run]:
        for number, variant in enumerate(variants, 1):
            yield Run(f"{name}-{number}", steps, variant, **options)

    yield from scenario("calm", functools.partial(restart_empty, times=0), 30.0)
    yield from scenario("restart-empty", restart_empty, 0.1, 0.3, 2.0, 30.0, 45.0, 59.0, 60.3, 61.0, 75.0, 90.0)
    yield from scenario("quick-restarts", functools.partial(restart_empty, times=5), 0.3, 20.0, 45.0, 60.3, 75.0)
    yield from scenario("cold-start", cold_start, *[20.0] * 5, recovers=False)
    for name, ahead in {"clock+3s": 3, "clock+1window": 61, "clock+1day": 86_400}.items():
        yield from scenario(name, functools.partial(clock_jump, ahead=ahead), 45.0, 0.3)
    yield from scenario("idle", idle, "restart, known", "flush, known", "restart, new", recovers=False, silent=1)
    yield from scenario("sixteen", restart_empty, 75.0, processes=16)


async def run_all(todo: list[Run], out: Path, parallel: int) -> bool:
    """Run all; return whether each came to its end."""
    paths = sorted(path for path in PACKAGE.rglob("*") if path.suffix in {".py", ".lua"})
    code = out / "code" / hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:8]
    shutil.copytree(PACKAGE, code / PACKAGE.name, dirs_exist_ok=True)
    clock, slots = out / "clock.so", asyncio.Semaphore(parallel)
    compiler = ("cc", "-shared", "-fPIC", "-xc", "-", "-o", str(clock))
    await asyncio.to_thread(subprocess.run, compiler, input=CLOCK_SOURCE, text=True, check=True)
    # Below the ports of outgoing connections, one of which could take a server's port during a restart.
    ports = random.sample(range(15_000, 30_000), len(todo))

    async def execute(run: Run, port: int) -> bool:
        run.logs, run.code = out / "logs" / run.name, code
        run.redis = RedisServer(out / "redis" / run.name, port, clock if "clock" in run.name else None)
        async with slots:
            try:
                result = await run.execute()
            except (OSError, AssertionError) as error:
                print(f"{run.name}: no result: {error!r}; see {run.logs}", flush=True)
                return False
        with gzip.open(out / "arrivals" / f"{run.name}.json.gz", "wt") as file:
            json.dump({**result, "started_at": run.started_at, "arrivals": run.arrivals}, file)
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(result) + "\n")
        print(f"{run.name}: {result['most']} in 60 s, {result['verdict']}", flush=True)
        return True

    return all(await asyncio.gather(*map(execute, todo, ports)))


def read_results(out: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each run."""
    return {line["run"]: line for line in map(json.loads, (out / "results.jsonl").read_text().splitlines())}


def print_table(results: list[dict[str, Any]]) -> None:
    figures = ("sent", "most", "utilisation", "refused", "warnings", "before_redis", "jump", "sent_after_fault")
    columns = ("run", "variant", "processes", *figures, "code", "verdict")
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|".replace("most", "most in 60 s"))
    for line in results:
        print(f"| {' | '.join(str(line.get(name, '')) for name in columns)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="start of a scenario or run's name")
    parser.add_argument("--out", type=Path, default=Path("/tmp/redis-faults"))  # noqa: S108
    parser.add_argument("--parallel", type=int, default=4, help="runs at the same time")
    parser.add_argument("--again", action="store_true", help="run also what has a result")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)  # be a client process
    options = parser.parse_args()
    if options.client:
        asyncio.run(client(*options.client))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # so that servers are killed
    (options.out / "arrivals").mkdir(parents=True, exist_ok=True)
    (options.out / "results.jsonl").touch()
    done = {} if options.again else read_results(options.out)
    chosen = [run for run in runs() if run.name.startswith(tuple(options.only or [""]))]
    complete = asyncio.run(run_all([run for run in chosen if run.name not in done], options.out, options.parallel))
    results = read_results(options.out)
    print_table([results[run.name] for run in runs() if run.name in results])
    return 0 if complete and all(result["verdict"] == "passed" for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
