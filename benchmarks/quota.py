"""What limiters make of a shared quota, in simulated time: ours, and what people use.

    pip install -e '.[bench]' && python benchmarks/quota.py              # all tables, some minutes
    python benchmarks/quota.py --only alone --requests 1500              # one of them, shorter

Time jumps (tests/jumping.py), so an hour takes seconds, and each run with the same seed gives the same figures.
The servers are those of tests/servers.py: 150 requests in 60 s, accepted or refused, with the vendor's headers.
The network takes 20 to 400 ms each way (lognormal, median 70), the server some time too, so that requests arrive and
answers come back out of order. "Others" are another integration that knows nothing of us: bursts of 5 to 25 requests,
and in no minute more than one and a half times its part of the quota.

Published packages run themselves where their clock can be replaced (aiolimiter, limits, pyrate-limiter's bucket,
botocore's calculator, clock and bucket); of the rest the rule is written down here, and the name says "rule".
After a refusal they wait as tenacity's full jitter does (1 s, doubling to 60 s). Several processes over Redis run the
real script in a real server, on the simulated clock.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import attrs
from aiolimiter import AsyncLimiter
from botocore.exceptions import CapacityNotAvailableError
from botocore.retries.adaptive import ClientRateLimiter, RateClocker
from botocore.retries.bucket import TokenBucket
from botocore.retries.throttling import CubicCalculator
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from pyrate_limiter import Duration, InMemoryBucket, Rate, RateItem

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from helpers import ended
from jumping import AutojumpLoop
from redis_server import BINARY, MISSING, RedisServer, on_loop_time, patient
from servers import MODELS, TwoBuckets

from b2b_async import Quota, RateLimiter
from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.ratelimit.redis import RedisRateLimiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from servers import Server

    from b2b_async.ratelimit.quota import Lane

LIMIT, WINDOW = 150, 60.0
SERVERS: dict[str, Callable[[int, float, float], Server]] = {**MODELS, "two-bucket counter": TwoBuckets}
DRF = "Django REST framework"
SILENCE = QuotaFeedback()


# -- the world -----------------------------------------------------------------------------------------------------


class World:
    """A server behind a network, and what happened there."""

    def __init__(self, model: str, seed: int, **conditions: float) -> None:
        """Start at time 0."""
        self.random = random.Random(seed)
        self.server = SERVERS[model](conditions.get("limit", LIMIT), WINDOW, self.random.uniform(0, WINDOW))
        self.headers: float = conditions.get("headers", 1.0)
        self.slow: float = conditions.get("slow", 1.0)
        self.lost: float = conditions.get("lost", 0.0)
        self.overload: float = conditions.get("overload", 0.0)
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self.overloaded = 0

    def way(self) -> float:
        """Give the seconds that a message takes."""
        return min(0.4, max(0.02, self.random.lognormvariate(math.log(0.07), 0.6))) * self.slow

    async def send(self) -> tuple[int | None, dict[str, str]]:
        """Make a request: its status and headers; None if its answer got lost."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.way())
        if self.overload and 300 < loop.time() < 360 and self.random.random() < self.overload:
            self.overloaded += 1
            await asyncio.sleep(self.way())
            return 429, {}
        accepted, headers, _ = self.server.admit(loop.time())
        (self.accepted if accepted else self.refused).append(loop.time())
        await asyncio.sleep(self.random.lognormvariate(math.log(0.08), 0.5) * self.slow)
        if self.random.random() < self.lost:
            await asyncio.sleep(30)
            return None, {}
        await asyncio.sleep(self.way())
        return 200 if accepted else 429, headers if self.random.random() < self.headers else {}


# -- what limits ---------------------------------------------------------------------------------------------------


class Strategy:
    """Makes one call, however often it must be tried."""

    workers = 64

    def __init__(self, world: World) -> None:
        """Start with nothing known."""
        self.world = world

    async def call(self, lane: Lane = "bulk") -> None:
        """Make one call."""
        del lane
        wait = 1.0
        while True:
            await self.acquire()
            status, headers = await self.world.send()
            self.learn(status, headers)
            if status != 429:
                return
            await asyncio.sleep(self.world.random.uniform(0, wait))
            wait = min(60.0, wait * 2)

    async def acquire(self) -> None:
        """Wait until a request may leave."""

    def learn(self, status: int | None, headers: dict[str, str]) -> None:
        """Look at an answer."""


class Ours(Strategy):
    """The lease window."""

    def __init__(self, world: World, limiter: RateLimiter | None = None, **quota: Any) -> None:
        """Start with nothing known."""
        super().__init__(world)
        self.limiter = limiter or RateLimiter(Quota(LIMIT, WINDOW, **quota), uniform=world.random.random)

    async def call(self, lane: Lane = "bulk") -> None:
        """Make one call; a refused one goes first when the limiter lets it."""
        again = False
        while True:
            ticket = await self.limiter.acquire(lane, first=again, route="PUT /orders")
            status, headers = await self.world.send()
            self.limiter.release(
                ticket, ended(status, QuotaFeedback.from_headers(headers, "refused" if status == 429 else "accepted"))
            )
            if status != 429:
                return
            again = True


class AioLimiter(Strategy):
    """aiolimiter, as its readme shows it."""

    def __init__(self, world: World, rate: float = LIMIT, period: float = WINDOW) -> None:
        """Start with a full bucket."""
        super().__init__(world)
        self.limiter = AsyncLimiter(rate, period)

    async def acquire(self) -> None:
        """Wait until a request may leave."""
        await self.limiter.acquire()


class Limits(Strategy):
    """The moving window of limits, asked again when it says that a slot comes back."""

    def __init__(self, world: World) -> None:
        """Start with an empty window."""
        super().__init__(world)
        self.item, self.window = RateLimitItemPerMinute(LIMIT), MovingWindowRateLimiter(MemoryStorage())

    async def acquire(self) -> None:
        """Wait until a request may leave."""
        while not await self.window.hit(self.item, "store"):
            stats = await self.window.get_window_stats(self.item, "store")
            await asyncio.sleep(max(0.01, stats.reset_time - time.time()))


class Pyrate(Strategy):
    """The bucket of pyrate-limiter; its waiting is done here, since its own uses threads and another clock."""

    def __init__(self, world: World) -> None:
        """Start with an empty bucket."""
        super().__init__(world)
        self.bucket = InMemoryBucket([Rate(LIMIT, Duration.MINUTE)])

    async def acquire(self) -> None:
        """Wait until a request may leave."""
        while True:
            now = int(time.time() * 1000)
            self.bucket.leak(now)
            item = RateItem("store", now)
            if self.bucket.put(item):
                return
            waiting = self.bucket.waiting(item)
            await asyncio.sleep(max(1, int(waiting)) / 1000)  # type: ignore[arg-type]


class BigCommerceRule(Strategy):
    """The bigcommerce package: sleep until the reset when little is left; a refusal raises before headers are read."""

    workers = 8

    async def call(self, lane: Lane = "bulk") -> None:
        """Make one call, in a connection that sleeps by itself."""
        await super().call(lane)
        left, reset = self.last
        if left <= 2:
            await asyncio.sleep(math.ceil(reset))

    def learn(self, status: int | None, headers: dict[str, str]) -> None:
        """Look at an answer."""
        said = QuotaFeedback.from_headers(headers, "refused")
        if status == 200:
            self.last = (LIMIT if said.remaining is None else said.remaining, said.resets_after or 0.0)

    last = (LIMIT, 0.0)


class Botocore(Strategy):
    """botocore's adaptive mode: its own calculator, rate clock and token bucket on the simulated clock."""

    def __init__(self, world: World) -> None:
        """Start as it does."""
        super().__init__(world)
        clock = mock.Mock(current_time=time.time)
        self.bucket = TokenBucket(max_rate=1, clock=clock)
        detector = mock.Mock(is_throttling_error=lambda status: status == 429)
        self.limiter = ClientRateLimiter(
            CubicCalculator(starting_max_rate=0, start_time=time.time()),
            RateClocker(clock),
            self.bucket,
            detector,
            clock,
        )

    async def acquire(self) -> None:
        """Wait until a request may leave."""
        while self.limiter._enabled:
            try:
                self.bucket.acquire(block=False)
            except CapacityNotAvailableError:
                await asyncio.sleep(max(0.01, self.bucket._sleep_amount(1)))
            else:
                return

    def learn(self, status: int | None, headers: dict[str, str]) -> None:
        """Look at an answer."""
        del headers
        self.limiter.on_receiving_response(status=status)


class DiscordRule(Strategy):
    """discord.py's bucket: the server's remaining, less what is under way; when nothing is left, wait for the reset."""

    def __init__(self, world: World) -> None:
        """Start with one request, to learn from."""
        super().__init__(world)
        self.remaining, self.outgoing, self.reset_at, self.refilled = 1, 0, 0.0, False

    async def acquire(self) -> None:
        """Wait until a request may leave."""
        loop = asyncio.get_running_loop()
        while self.remaining <= 0:
            if loop.time() >= self.reset_at and not self.outgoing:
                self.remaining = LIMIT
                break
            await asyncio.sleep(max(0.05, self.reset_at - loop.time()))
        self.remaining -= 1
        self.outgoing += 1

    def learn(self, status: int | None, headers: dict[str, str]) -> None:
        """Look at an answer."""
        del status
        self.outgoing -= 1
        said = QuotaFeedback.from_headers(headers, "refused")
        if said.remaining is not None:
            self.remaining = min(said.remaining, LIMIT - self.outgoing)
            self.reset_at = asyncio.get_running_loop().time() + (said.resets_after or 0.0)


OTHERS: dict[str, Callable[[World], Strategy]] = {
    "nothing, full jitter after a 429": Strategy,
    "aiolimiter 150/60": AioLimiter,
    "aiolimiter 1/0.4 (spacing)": lambda world: AioLimiter(world, 1, WINDOW / LIMIT),
    "limits, moving window": Limits,
    "pyrate-limiter 150/60": Pyrate,
    "bigcommerce's rule, 8 tasks": BigCommerceRule,
    "botocore, adaptive": Botocore,
    "discord.py's rule": DiscordRule,
}
OURS: dict[str, Callable[[World], Strategy]] = {
    "b2b-async, burst": lambda world: Ours(world, pacing="burst"),
    "b2b-async (default)": Ours,
    "b2b-async, smooth": lambda world: Ours(world, pacing="smooth"),
}


# -- runs ----------------------------------------------------------------------------------------------------------


async def job(strategies: list[Strategy], requests: int) -> None:
    """Make so many calls, with the workers of all processes."""
    numbers = iter(range(requests))

    async def work(strategy: Strategy) -> None:
        for _ in numbers:
            await strategy.call()

    workers = max(1, strategies[0].workers // len(strategies))
    async with asyncio.TaskGroup() as group:
        for strategy in strategies:
            for _ in range(workers):
                group.create_task(work(strategy))


async def others(world: World, part: float, alone: World, until: asyncio.Event) -> tuple[int, int, int]:
    """Be another integration that uses a part of the quota in bursts: its requests, refusals, and those without us."""
    dice, sent, refused, refused_alone = random.Random(7), 0, 0, 0
    loop = asyncio.get_running_loop()
    times: list[float] = []
    while not until.is_set():
        burst = dice.randint(5, 25)
        await asyncio.sleep(dice.expovariate(part * LIMIT / WINDOW / burst))
        for _ in range(burst):
            await asyncio.sleep(0.05)
            times = [at for at in times if at > loop.time() - WINDOW]
            if until.is_set() or len(times) >= 1.5 * part * LIMIT:
                break
            times.append(loop.time())
            sent += 1
            refused += not world.server.admit(loop.time())[0]
            refused_alone += not alone.server.admit(loop.time())[0]
    return sent, refused, refused_alone


class TickingLoop(AutojumpLoop):
    """Each turn of the loop takes a microsecond, as code takes time; some packages would ask for ever otherwise."""

    def _run_once(self) -> None:
        self._jumping.now += 1e-6
        super()._run_once()  # type: ignore[misc]


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    """Run on the jumping clock, which the packages take for the real one."""
    loop = TickingLoop()
    with (
        asyncio.Runner(loop_factory=lambda: loop) as runner,
        mock.patch("time.time", side_effect=lambda: 1e9 + loop.time()),
    ):
        return runner.run(main())  # type: ignore[arg-type]


def long_run(accepted: list[float]) -> float:
    """Give the part of the quota that was used, over a whole number of windows' worth after the first ones."""
    first, last = 4 * LIMIT, len(accepted) // LIMIT * LIMIT
    return (last - first) * WINDOW / LIMIT / (accepted[last - 1] - accepted[first - 1])


@attrs.frozen
class Result:
    """What one run gave."""

    seconds: float
    part: float
    refused: int
    refused_early: int

    def cell(self, best: float) -> str:
        """Speed against the best, in the long run, and refusals."""
        return f"{100 * best / self.seconds:.0f} / {100 * self.part:.1f} / {self.refused:,}"


def job_alone(make: Callable[[World], Strategy], model: str, requests: int, **conditions: float) -> Result:
    """Run a job that nobody disturbs."""

    async def main() -> Result:
        world = World(model, 1, **conditions)
        await job([make(world)], requests)
        return result(world)

    found: Result = run(main)
    return found


def result(world: World) -> Result:
    """Sum up."""
    early = sum(at < 600 for at in world.refused)
    return Result(world.accepted[-1] - world.accepted[0], long_run(world.accepted), len(world.refused), early)


# -- tables --------------------------------------------------------------------------------------------------------


def row(*cells: object) -> None:
    """Print one row."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def head(title: str, *columns: str) -> None:
    """Print a title and the head of a table."""
    print(f"\n### {title}\n")
    row(*columns)
    row(*("---" for _ in columns))


def alone(requests: int) -> None:
    """One process and nobody else."""
    best = (requests / LIMIT - 1) * WINDOW
    title = f"Alone, {requests:,} requests: speed against the best % / part of the quota in the long run % / refused"
    head(title, "", *SERVERS)
    for name, make in {**OTHERS, **OURS}.items():
        row(name, *(job_alone(make, model, requests).cell(best) for model in SERVERS))


def processes(requests: int) -> None:
    """Several processes."""
    models = (DRF, "sliding log", "fixed window, from the first request", "leaky bucket")
    head(
        f"Several processes, {requests:,} requests: long run % / refused / refused in the first ten minutes",
        "",
        *models,
    )
    chosen = {name: OTHERS[name] for name in ("aiolimiter 150/60", "aiolimiter 1/0.4 (spacing)")}
    for name, make in {**chosen, "b2b-async, unshared": Ours}.items():
        for number in (4, 16):
            cells = []
            for model in models:

                async def main(model: str = model, make: Any = make, number: int = number) -> Result:
                    world = World(model, 1)
                    await job([make(world) for _ in range(number)], requests)
                    return result(world)

                found = run(main)
                cells.append(f"{100 * found.part:.1f} / {found.refused:,} / {found.refused_early}")
            row(f"{name}, {number}", *cells)
    if BINARY is None:
        print(f"\nb2b-async over Redis: not run, {MISSING}")
        return
    server = RedisServer()
    server.start()
    try:
        for number in (1, 4, 16):
            for pacing in ("burst", "auto"):
                cells = []
                for model in models:
                    found = run(lambda n=number, m=model, p=pacing: shared(server, m, n, requests, p))
                    cells.append(f"{100 * found.part:.1f} / {found.refused:,} / {found.refused_early}")
                row(f"b2b-async over Redis, {pacing}, {number}", *cells)
    finally:
        server.remove()


async def shared(server: RedisServer, model: str, number: int, requests: int, pacing: str) -> Result:
    """Run a job in several processes over Redis."""
    with server.client() as client:
        client.flushall()
    world = World(model, 1)
    quota = Quota(LIMIT, WINDOW, pacing)  # type: ignore[arg-type]
    clients = [patient(server) for _ in range(number)]
    limiters = [
        on_loop_time(RedisRateLimiter(client, "store", quota, uniform=world.random.random)) for client in clients
    ]
    await job([Ours(world, limiter) for limiter in limiters], requests)
    for limiter, client in zip(limiters, clients, strict=True):
        await limiter.close()
        await client.aclose()
    return result(world)


def neighbours(requests: int) -> None:
    """Another integration that uses a part of the quota."""
    title = f"Others at 10 / 30 / 60 %, {requests:,} requests of ours: seconds / quota used by both % / our refusals / "
    head(title + "**% of the others' requests refused because of us**", "", *(f"{part} %" for part in (10, 30, 60)))
    strategies: dict[str, Callable[[World], Strategy]] = {
        **OTHERS,
        **OURS,
        "b2b-async, headroom=20": lambda world: Ours(world, headroom=20),
        "b2b-async, share=0.7": lambda world: Ours(world, share=0.7),
    }
    for name, make in strategies.items():
        cells = []
        for part in (0.1, 0.3, 0.6):

            async def main(make: Any = make, part: float = part) -> str:
                world, without_us = World(DRF, 1), World(DRF, 1)
                over = asyncio.Event()
                neighbour = asyncio.create_task(others(world, part, without_us, over))
                await job([make(world)], requests)
                over.set()
                sent, refused, anyway = await neighbour
                seconds = world.accepted[-1]
                used = (requests + sent - refused) / (seconds / WINDOW + 1) / LIMIT
                worse = max(0, refused - anyway) / max(1, sent)
                return f"{seconds:,.0f} / {100 * used:.0f} / {len(world.refused):,} / **{100 * worse:.0f}**"

            cells.append(run(main))
        row(name, *cells)


def interactive(requests: int) -> None:
    """Calls of a user during a bulk job."""
    head(
        "A user's call every 10 s (or 100 s) during a bulk job: p50 / p95 / longest, seconds; long run %; refused",
        "",
        "every 10 s",
        "every 100 s",
    )
    chosen = {name: make for name, make in OTHERS.items() if "rule, 8" not in name}
    for name, make in {**chosen, **OURS}.items():
        cells = []
        for gap in (10.0, 100.0):

            async def main(make: Any = make, gap: float = gap) -> str:
                world, loop = World(DRF, 1), asyncio.get_running_loop()
                strategy, dice, took = make(world), random.Random(3), []
                bulk = asyncio.create_task(job([strategy], requests))

                async def one() -> None:
                    started = loop.time()
                    await strategy.call("interactive")
                    took.append(loop.time() - started)

                async with asyncio.TaskGroup() as group:
                    while not bulk.done():
                        await asyncio.sleep(dice.expovariate(1 / gap))
                        if not bulk.done() and loop.time() > 10:
                            group.create_task(one())
                p95 = statistics.quantiles(took, n=20, method="inclusive")[-1]
                part = long_run(world.accepted)
                times = f"{statistics.median(took):.2f} / {p95:.2f} / {max(took):.1f}"
                return f"{times}; {100 * part:.1f}; {len(world.refused):,}"

            cells.append(run(main))
        row(name, *cells)


def conditions(requests: int) -> None:
    """Bad days, for ours."""
    cases: dict[str, dict[str, Any]] = {
        "as above": {},
        "no headers": {"headers": 0.0},
        "30 % of the headers missing": {"headers": 0.7},
        "everything five times slower": {"slow": 5.0},
        "1 % of the answers lost": {"lost": 0.01},
        "overloaded for a minute (half of the requests)": {"overload": 0.5},
        "the quota is 100, and 150 was configured": {"limit": 100},
    }
    head(f"Bad days, {requests:,} requests ({DRF}): long run % of 150 / refused", "", *OURS)
    for name, case in cases.items():
        cells = []
        for make in OURS.values():
            found = job_alone(make, DRF, requests, **case)
            cells.append(f"{100 * found.part:.1f} / {found.refused:,}")
        row(name, *cells)


def cost(requests: int) -> None:
    """What a slot costs that nobody waits for: taken, the headers read, given back; on the real clock."""
    told = {"X-Requests-Allocated": "100000 times/1 s", "X-Requests-Remaining": "100000 times"}
    head("CPU of an uncontended acquire and report, the headers read in between, µs (best of 20 slices)", "", "µs")

    async def measure(name: str, limiter: RateLimiter) -> None:
        slices = []
        for _ in range(20):
            started = time.process_time()
            for _ in range(requests):
                ticket = await limiter.acquire(route="PUT /orders")
                limiter.release(ticket, ended(200, QuotaFeedback.from_headers(told)))
            slices.append((time.process_time() - started) / requests * 1e6)
            await asyncio.sleep(1.1)
        row(name, f"{min(slices):.1f}")

    async def main() -> None:
        quota = Quota(100_000, 1.0)
        await measure("the store's quota", RateLimiter(quota))
        await measure("and an endpoint's own", RateLimiter(quota, endpoints={"PUT /orders": Quota(90_000, 1.0)}))

    asyncio.run(main())


TABLES = {
    "alone": (alone, 3000),
    "processes": (processes, 3000),
    "neighbours": (neighbours, 2000),
    "interactive": (interactive, 3000),
    "conditions": (conditions, 3000),
    "cost": (cost, 3000),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES, help="one table")
    parser.add_argument("--requests", type=int, help="requests of each run")
    arguments = parser.parse_args()
    started = time.monotonic()
    for name, (table, requests) in TABLES.items():
        if arguments.only in {None, name}:
            table(arguments.requests or requests)
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
