"""Bulk jobs through nginx and HAProxy, which limit the rate in front of an origin, on loopback and in real time.

    apt-get install nginx-light haproxy && pip install -e '.[dev]'
    python benchmarks/gateways.py --out gateways.jsonl --parallel 5     # all ten, some minutes
    python benchmarks/gateways.py --only nginx-149/absent --items 170   # one of them, shorter

Each combination of gateway and headers is one job of assignments with the default limiter. The origin is a process of
its own and counts how often it carried out each item. The gateway's access log counts the refusals (429).
Gateways, each with one counter for all requests:

- nginx-149: ``limit_req``, 150 a minute, a burst of 149, nodelay: 150 pass at once, later ones every 0.4 s;
- nginx-20: the same with a burst of 20: 21 pass at once;
- haproxy: refuses while ``http_req_rate(60s)`` is above 150, and counts the requests that it refuses, too;
- harsh: HAProxy refuses while ``http_req_rate(3s)`` is above 30. A refusal states a wait of 0.15 s.

HAProxy's rate is no sliding log: it adds the requests of the current period, and those of the period before times the
fraction of the current period that is left. So 150 pass at once; after 60 s, later ones pass every 0.4 s.

Quota headers of the origin: "honest" states 150 in 60 s, and what a sliding log of the requests at the origin leaves of
it (the gateway's own counter can allow more or less at a moment); "absent" states nothing; "contradicting" always
states 100,000 in 60 s and 99,999 left.

"Best" is the least time in which so many requests pass without a refusal. With ``--out``, each row is appended to the
file when its job ends; another run takes combinations of the same size from the file (``--again``: measures them).

Exit status: 0 if every item succeeded and was carried out, with at most 10 refusals a job (harsh: 30); 1 if not;
2 if a program is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from b2b_async import Client, Credentials
from b2b_async.bulk import BulkJob

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from multiprocessing.connection import Connection

    from b2b_async.bulk import JobSummary

os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
LIMIT, WINDOW = 150, 60.0
BOUND = 40 * 60.0
"""Seconds after which a job is stopped."""
CONTEXT = multiprocessing.get_context("spawn")

NGINX = """
daemon off; worker_processes 1; pid @FOLDER@/pid; error_log stderr;
events { worker_connections 1024; }
http {
  client_body_temp_path @FOLDER@/body; proxy_temp_path @FOLDER@/proxy; fastcgi_temp_path @FOLDER@/fastcgi;
  uwsgi_temp_path @FOLDER@/uwsgi; scgi_temp_path @FOLDER@/scgi;
  log_format status "$status"; access_log @FOLDER@/log status;
  limit_req_zone "store" zone=store:1m rate=150r/m; limit_req_status 429; limit_req_log_level info;
  upstream origin { server 127.0.0.1:@ORIGIN@; keepalive 128; }
  server {
    listen 127.0.0.1:@PORT@;
    limit_req zone=store burst=@BURST@ nodelay;
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_next_upstream off;
    }
  }
}
"""
HAPROXY = """
defaults
  mode http
  log stdout format raw local0
  log-format %ST
  option dontlognull
  timeout connect 5s
  timeout client 75s
  timeout server 60s
listen gateway
  bind 127.0.0.1:@PORT@
  stick-table type string len 8 size 16 expire 10m store http_req_rate(@PERIOD@s)
  http-request track-sc0 str(store)
  http-request @REFUSE@ if { sc_http_req_rate(0) gt @LIMIT@ }
  server origin 127.0.0.1:@ORIGIN@
"""
HARSH = """return status 429 hdr X-Request-Window-Resets-After 0.15 hdr X-Requests-Remaining 0 \
hdr X-Requests-Allocated "100000 times/60 s\""""


@attrs.frozen
class Gateway:
    """A program with its configuration."""

    command: tuple[str, ...]
    template: str
    values: Mapping[str, object]
    best: Callable[[int], float]
    """The least seconds in which so many requests pass without a refusal."""
    refusals: int = 10
    """Refusals that are tolerated."""


def nginx(burst: int) -> Gateway:
    """Return a leaky bucket: the first request and *burst* more pass at once."""
    command = ("nginx", "-e", "stderr", "-c")
    return Gateway(command, NGINX, {"BURST": burst}, lambda items: max(0, items - 1 - burst) * WINDOW / LIMIT)


def haproxy(limit: int, period: int, refuse: str, refusals: int = 10) -> Gateway:
    """Return a counter of two periods."""
    values = {"LIMIT": limit, "PERIOD": period, "REFUSE": refuse}
    command, gap = ("haproxy", "-db", "-f"), period / limit
    return Gateway(command, HAPROXY, values, lambda items: (items - 1) * gap if items > limit else 0.0, refusals)


GATEWAYS = {
    "nginx-149": nginx(149),
    "nginx-20": nginx(20),
    "haproxy": haproxy(LIMIT, 60, "deny deny_status 429"),
    "harsh": haproxy(30, 3, HARSH, refusals=30),
}
KINDS = ("honest", "absent", "contradicting")
COMBINATIONS = {f"{name}/{kind}": 450 for name in GATEWAYS if name != "harsh" for kind in KINDS}
COMBINATIONS["harsh/contradicting"] = 200
"""The number of items by gateway and headers."""


@contextlib.contextmanager
def running(gateway: Gateway, origin: int, statuses: Counter[str]) -> Generator[str]:
    """Run a gateway and yield its URL; at the end, fill *statuses* from its access log.

    Raises:
        RuntimeError: the gateway accepts no connections.
    """
    with tempfile.TemporaryDirectory() as name, socket.socket() as free:
        configuration, log, messages = (Path(name) / file for file in ("configuration", "log", "messages"))
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        free.close()
        text = gateway.template
        for key, value in {**gateway.values, "FOLDER": name, "ORIGIN": origin, "PORT": port}.items():
            text = text.replace(f"@{key}@", str(value))
        configuration.write_text(text)
        with log.open("a") as out, messages.open("a") as err:  # HAProxy writes its access log to its standard output
            process = subprocess.Popen([*gateway.command, configuration], stdout=out, stderr=err)
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            else:
                message = f"{gateway.command[0]} accepts no connections at port {port}:\n{messages.read_text()}"
                raise RuntimeError(message)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
            statuses.update(log.read_text().split())


def serve(pipe: Connection, kind: str) -> None:
    """Run the origin: send its port and, when asked, how often each customer was carried out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the pipe ends this process
    carried_out: Counter[int] = Counter()
    log: deque[float] = deque()

    def quota_headers() -> dict[str, str]:
        """Return the headers of a request that arrives now; like the vendor's, they do not count it."""
        limit, left, wait = 100_000, 99_999, 0.0006
        if kind == "absent":
            return {}
        if kind == "honest":
            now = time.monotonic()
            while log and log[0] <= now - WINDOW:
                log.popleft()
            limit, left = LIMIT, max(0, LIMIT - len(log))
            freed_at = WINDOW + (log[max(0, len(log) - LIMIT)] if log else now)
            wait = (freed_at - now) / (left + 1)
            log.append(now)
        return {
            "X-Requests-Allocated": f"{limit} times/{WINDOW:g} s",
            "X-Requests-Remaining": f"{left} times",
            "X-Request-Window-Resets-After": f"{wait} s",
        }

    async def assign(request: web.Request) -> web.Response:
        headers = quota_headers()
        await asyncio.sleep(random.uniform(0.01, 0.03))
        carried_out[int(request.match_info["customer"])] += 1
        return web.json_response({"code": 200, "data": {"total": 3}, "message": "SUCCESS"}, headers=headers)

    async def listen() -> None:
        application = web.Application()
        application.router.add_put("/api/v3/io/customers/{customer}/orders/b2b", assign)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=3600)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pipe.send(runner.addresses[0][1])
        with contextlib.suppress(EOFError):
            await asyncio.to_thread(pipe.recv)
            pipe.send(carried_out)
        await runner.cleanup()

    asyncio.run(listen())


@attrs.frozen
class Row:
    """One job: by its summary, by the origin (missing, twice), and by the gateway's access log (statuses)."""

    name: str
    items: int
    summary: dict[str, Any]
    missing: int
    twice: int
    statuses: dict[str, int]
    seconds: float
    best: float

    @property
    def good(self) -> bool:
        """Whether every item succeeded, passed the gateway and was carried out, with few refusals."""
        complete = self.summary["succeeded"] == self.items <= self.statuses.get("200", 0) and not self.missing
        return complete and self.statuses.get("429", 0) <= GATEWAYS[self.name.partition("/")[0]].refusals

    def show(self) -> None:
        """Print a row of a Markdown table."""
        ratio = f"{self.seconds / self.best:.2f}" if self.best and not self.summary["stopped"] else "-"
        reported = [self.summary[key] for key in ("succeeded", "failed", "unknown", "refused")]
        counts = (self.name, self.items, *reported, self.statuses.get("429", 0), self.missing, self.twice)
        print("|", *(f"{one} |" for one in (*counts, f"{self.seconds:.1f}", f"{self.best:.1f}", ratio)), flush=True)
        if self.summary["stopped"]:
            print(f"{self.name}: the job stopped: {self.summary['reason']}", file=sys.stderr)


async def run_job(url: str, items: int) -> JobSummary:
    """Assign the orders of *items* customers."""
    async with Client(Credentials("token", "hash"), base_url=url) as client:
        job = BulkJob(client, range(1, items + 1), journal=None)
        asyncio.get_running_loop().call_later(BOUND, job.stop, f"not complete after {BOUND:g} s")
        return await job.run()


def measure(name: str, items: int) -> Row:
    """Run one combination."""
    gateway, _, kind = name.partition("/")
    ours, theirs = CONTEXT.Pipe()
    CONTEXT.Process(target=serve, args=[theirs, kind], daemon=True).start()
    theirs.close()
    statuses: Counter[str] = Counter()
    with running(GATEWAYS[gateway], ours.recv(), statuses) as url:
        summary = asyncio.run(run_job(url, items))
    ours.send("counts")
    carried_out: Counter[int] = ours.recv()
    missing = sum(not carried_out[customer] for customer in range(1, items + 1))
    twice = sum(times > 1 for times in carried_out.values())
    seconds, best = summary.seconds, GATEWAYS[gateway].best(items)
    return Row(name, items, attrs.asdict(summary), missing, twice, dict(statuses), seconds, best)


async def measure_apart(name: str, items: int) -> Row | None:
    """Run one combination in a process of its own; None if the process failed."""
    command = [sys.executable, __file__, "--apart", "--only", name, "--items", str(items)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    return None if process.returncode else Row(**json.loads(output))


async def measure_all(wanted: dict[str, int], parallel: int, out: Path | None) -> bool:
    """Run combinations, show and write their rows; return whether all are good."""
    slots = asyncio.Semaphore(parallel)

    async def one(name: str, items: int) -> bool:
        async with slots:
            row = await measure_apart(name, items)
        if row is None:
            print(f"{name}: not measured, its process failed", file=sys.stderr)
            return False
        if out:
            with out.open("a") as file:
                file.write(json.dumps(attrs.asdict(row)) + "\n")
        row.show()
        return row.good

    return all(await asyncio.gather(*(one(name, items) for name, items in wanted.items())))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=COMBINATIONS, metavar="GATEWAY/HEADERS")
    parser.add_argument("--items", type=int, help="items of each job (default: 450; harsh: 200)")
    parser.add_argument("--parallel", type=int, default=1, help="combinations at once")
    parser.add_argument("--out", type=Path, help="a JSON-lines file for the rows")
    parser.add_argument("--again", action="store_true", help="measure combinations that the file has, too")
    parser.add_argument("--apart", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted: dict[str, int] = {name: options.items or COMBINATIONS[name] for name in options.only or COMBINATIONS}
    programs = {GATEWAYS[name.partition("/")[0]].command[0] for name in wanted}
    if absent := [program for program in sorted(programs) if shutil.which(program) is None]:
        print(f"Not installed: {', '.join(absent)}. Run: apt-get install nginx-light haproxy", file=sys.stderr)
        return 2
    if options.apart:
        logging.disable(logging.CRITICAL)
        [(name, items)] = wanted.items()
        print(json.dumps(attrs.asdict(measure(name, items))))
        return 0
    out: Path | None = options.out
    lines = out.read_text().splitlines() if out and out.exists() and not options.again else []
    rows = {(row.name, row.items): row for row in (Row(**json.loads(line)) for line in lines)}
    kept = [rows[one] for one in wanted.items() if one in rows]
    counts = "items | succeeded | failed | unknown | refused | refused, by its log | missing | twice"
    print(f"| gateway/headers | {counts} | seconds | best | seconds/best |\n|---{'|---:' * 11}|", flush=True)
    for row in kept:
        row.show()
    rest = {name: items for name, items in wanted.items() if (name, items) not in rows}
    good = asyncio.run(measure_all(rest, options.parallel, out))
    return 0 if good and all(row.good for row in kept) else 1


if __name__ == "__main__":
    # Either signal stops the gateways. A background job of a shell starts with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
