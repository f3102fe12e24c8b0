"""What the client reports of its calls when the server's answers are malformed HTTP.

About 1,000 malformed answers meet a GET (v3 Get Order), a PUT (v3 Assign Customer Orders to Company) and a POST (v2
Create An Order) over loopback sockets. Each run has a server and a client of its own and makes two calls: the first one
gets the malformed answer, the second one a good answer, on the same connection if the client keeps it. The server
parses the requests itself, records each one that arrived whole, and judges what the client reports: a call must end in
time, with a success that the server acknowledged, or with a ``B2BError`` whose outcome is true. Where an answer does
not show whether the server acted, a POST is run against a server that did, and against one that did not.
The client's verification requests get honest answers.

    python benchmarks/wire.py [--only SUBSTRING] [--seed 1]

It takes two minutes. The exit status is 1 if any count of the first table is above 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import enum
import gzip
import json
import logging
import pickle
import random
import re
import socket
import struct
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import attrs

from b2b_async import B2BError, Client, Credentials, Quota, RateLimiter, RetryPolicy, Timeouts, v3
from b2b_async.ids import BCOrderId, CustomerId

warnings.simplefilter("ignore", DeprecationWarning)  # the vendor's, of v2
from b2b_async import v2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

METHODS = ("GET", "PUT", "POST")
FAULTS = ("foreign exception", "deadline missed", "POST sent twice", "false outcome", "false success", "secret shown")
CALL, LATE, HOPELESS, SETTLE = 2.0, 0.5, 10.0, 0.02
"""Seconds that a call has, that it may take longer, after which it is cancelled, and in which sent octets arrive."""
TIMEOUTS = Timeouts(call=CALL, attempt=0.7, connect=0.5, read=0.5)
RETRY = RetryPolicy(attempts=2, backoff=0.01, throttled=1)
MAX_BODY, CONCURRENCY = 1 << 20, 8
FIRST, SECOND, OTHER = 1001, 1002, 1999
"""The ids of the two calls, each that of an order and of a customer, and an id that no call names."""
COMPANY = "7001"
TOKENS = ("acc3ssT0kenWire/+xyzACCESSEND", "l3gacyT0kenWire/+xyzLEGACYEND")
SECRETS = ("acc3ssT0ken", "yzACCESSEND", "l3gacyT0ken", "yzLEGACYEND")  # parts that escaping of "/" leaves as they are
CREDENTIALS = Credentials(TOKENS[0], "hash", TOKENS[1])
End = enum.Enum("End", "FIN RST")
Step = str | float | End
"""What the server does: it sends octets (as Latin-1 text), sleeps for some seconds, or ends the connection."""
Meaning = Literal["yes", "no", "open"]
"""What an answer shows, damaged or not: the server acted, the server refused, or neither can be known."""


@attrs.frozen
class Case:
    """A malformed answer to the first call."""

    name: str
    meaning: Meaning
    steps: tuple[Step, ...]
    bare: bool = False  # it may count as a success without data, which is all that a PUT needs
    settles: bool = False  # the second call waits until everything has been sent
    early: bool = False  # it is sent when the first connection opens, where the first request then stays unanswered


def case(name: str, meaning: Meaning, *steps: Step, **options: bool) -> Case:
    return Case(name, meaning, steps, **options)


def http(body: str | bytes, *headers: str, status: str = "200 OK", kind: str = "json", length: str = "auto") -> str:
    """Return an answer; *length* is its Content-Length, "auto" for that of the body, "" for none."""
    body = body if isinstance(body, str) else body.decode("latin-1")
    size = (f"Content-Length: {len(body) if length == 'auto' else length}",) if length else ()
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Type: application/{kind}", *headers, *size, "", body))


def good_json(method: str, number: int) -> str:
    order = {"bcOrderId": number, "companyId": int(COMPANY), "totalIncTax": "1.10"}
    data = {"GET": order, "PUT": {"total": number}, "POST": {"orderId": str(number)}}[method]
    return json.dumps({"code": 200, "data": data, "message": "SUCCESS"}, separators=(",", ":"))


STATUSES = "200 201 202 204 206 300 301 302 303 304 307 308 400 401 403 404 408 409 422 429 500 501 502 503 504 520 525"
BARE = ("", "{}", "[]", "null", '{"code":200}')
PAGE = "<html><head><title>Please stand by</title></head><body>...</body></html>"
BODIES = (*BARE, '"text"', '{"id":1,"status":"done"}', PAGE, '{"data":{"orde', "".join(map(chr, range(128, 192))))


def statuses() -> Iterator[Case]:
    for status in STATUSES.split():
        refuses = status in {"301", "307", "308", "501", "525"} or (status[0] == "4" and status != "408")
        for body in BODIES:
            answer = http(body, status=f"{status} Status", kind="xhtml" if body is PAGE else "json")
            bare = body in BARE or status == "204" or (status == "202" and body is not PAGE)
            yield case(f"status {status}, body {body[:9]!r}", "no" if refuses else "open", answer, bare=bare)


INTERIM = "100 Continue|101 Switching Protocols|102 Processing|103 Early Hints|199 What"
STATUS_LINES = (
    "| |H|HTTP|HTTP/1.1|HTTP/1.1 |HTTP/1.1 2|HTTP/1.1 20|HTTP/1.1 200|HTTP/1.1 2000 OK|HTTP/1.1  200 OK|200 OK|SSH-2|"
    "HTTP/1.1\t200\tOK|HTTP/1.1 OK 200|HTTP/1.1 -200 OK|HTTP/1.1 +200 OK|HTTP/1.1 2OO OK|HTTP/1.1 \xb2\xb0\xb0 OK|"
    "HTTP/1.1 000 Low|HTTP/1.1 099 Low|HTTP/1.1 600 High|HTTP/1.1 999 High|HTTP/1.0 200 OK|HTTP/0.9 200 OK|HTTP/2 200|"
    "HTTP/2.0 200 OK|HTTP/11 200 OK|HTTP/1.1.1 200 OK|http/1.1 200 ok|ICY 200 OK|HTTQ/1.1 200 OK|GET / HTTP/1.1|"
    "HTTP/1.1 200 O\0K|HTTP/1.1 200 O\rK|HTTP/1.1 200 O\nK|HTTP/1.1 200 \xff\xfe|HTTP/1.1 200 LONG|"
    "HTTP/1.1 500 SECRETS|SECRETS|\nHTTP/1.1 200 OK|\0HTTP/1.1 200 OK|\r\nHTTP/1.1 200 OK|HTTP/1.1 200 OK\r\n"
)
HEADERS = (
    "no colon|: no name|Space : before|\tX-Tab: 1| X-Folded: 1|X-A: 1\r\n folded|X-A: 1\nX-B: 2|X-A: 1\rX-B: 2|"
    "X-Nul: a\0b|X-N\0ul: a|X-Control: \x01\x1f\x7f|X-Latin: \xe4\xff|X-\xe4: name|X-Long: LONG|X-LONG: 1|X: LONGLONG|"
    "Content-Type: text/html|Content-Type: \xff; charset=none|Content-Type: |Content-Type: a/json; charset=utf-16|"
    "Content-Length: 3|Connection: close|Connection: upgrade\r\nUpgrade: websocket|Connection: keep-alive, close|MANY|"
    "Keep-Alive: timeout=-1, max=x|Set-Cookie: \x01=; Expires=never; Max-Age=nine|Set-Cookie: LONG=LONG|Retry-After: x|"
    "X-Requests-Remaining: -1\r\nX-Requests-Allocated: 0 / 0s|X-Requests-Remaining: LONG\r\nX-Requests-Allocated: LONG|"
    "X-Requests-Remaining: nan|X-Rate-Limit-Requests-Left: 1e999\r\nX-Rate-Limit-Time-Reset-Ms: 1e9|X-Request-Id: \x1b"
)
# What the words in capitals stand for, here and below.
WORDS = {
    "LONG": "9" * 40_000,
    "MANY": "\r\n".join(f"X-{number}: {number}" for number in range(2000)),
    "SECRETS": " ".join(TOKENS),
    "ESCAPED": "".join(f"\\u{ord(character):04x}" for character in " ".join(TOKENS)),
    "SLASHED": " ".join(TOKENS).replace("/", "\\/"),
    **{f"D{depth}": "[" * depth + "]" * depth for depth in (9999, 100, 500, 900, 960, 990)},
}


def variants(own: str) -> Iterator[Case]:
    """Yield answers in which something stands instead of what belongs there."""
    good, gz = http(own), gzip.compress(own.encode(), mtime=0)
    utf_16, words = own.encode("utf-16").decode("latin-1"), {**WORDS, "OWN": own, "REST": own[1:], "TAIL": own[12:]}

    def chunked(size: str = f"{len(own):x}", end: str = "0\r\n\r\n", encoding: str = "chunked") -> str:
        return http(f"{size}\r\n{own}\r\n{end}", f"Transfer-Encoding: {encoding}", length="")

    # fmt: off
    groups: tuple[tuple[str, Meaning, Callable[[str], str], str], ...] = (
        ("status line", "yes", lambda text: good.replace("HTTP/1.1 200 OK", text, 1), STATUS_LINES),
        ("status", "yes", lambda text: http(own, status=text), f"{INTERIM}|201 A|206 A|302 A|303 A|304 A|500 A|503 A"),
        ("good behind", "yes", lambda text: f"HTTP/1.1 {text}\r\n\r\n{good}", INTERIM),
        ("nothing behind", "open", lambda text: f"HTTP/1.1 {text}\r\n\r\n", INTERIM),
        ("header", "yes", lambda text: http(own, text), HEADERS),
        ("Content-Length", "yes", lambda text: http(own, length=text or " "),
         "0|1|3|-1|+5|0x10|1_0|1e2|12 34|1,2|5, 5|five|LONG|\xb2||200|2000|1\r\nContent-Length: 1"),
        ("Content-Encoding", "yes", lambda text: http(gz, f"Content-Encoding: {text}"),
         "deflate|br|zstd|compress|x-unknown|gzip, gzip|identity||GZIP|\xff|SECRETS"),
        ("Transfer-Encoding", "yes", lambda text: chunked(encoding=text),
         "chunked, chunked|identity|gzip, chunked|chunked, gzip||\vchunked|SECRETS|chunked\r\nContent-Length: 5"),
        ("chunk size", "yes", lambda text: chunked(size=text),
         "zz|-5|| |0x20|FFFFFFFFFFFFFFFFF|1LONG|3|fff|0|1;x=LONG|\xff|1\0|SECRETS"),
        ("end of chunks", "yes", lambda text: chunked(end=text),
         "|0\r|0\r\n|0\r\nX-Trailer: 1\r\n\r\n|0\r\nno colon\r\n\r\n|x\r\n\r\n|0\r\n\r\n0\r\n\r\n"),
        ("line end", "yes", lambda text: good.replace("\r\n", text), "\r\r\n|\n|\r|\n\r|\r\n\0|\r\n "),
        ("body", "yes", http, utf_16 + "|" + own.replace('"', "'") +
         '|\r\nOWN|\0OWN|\xef\xbb\xbfOWN|OWN\r\n|OWNx|OWN // done|OWNOWN|[OWN]|{"code":500,REST|{"code":200|{,REST'),
        ("body without a code", "open", http, "{TAIL|[{TAIL]"),
        ("member", "yes", lambda text: http(f'{{"code":200,"x":{text},{own[1:]}'),
         '"\xff\xfe"|NaN|-Infinity|LONG|1e999999|1eLONG|"\\ud800"|"\0"|D100|D500|D900|D960|D990|D9999'),
        ("code", "yes", lambda text: http(own.replace("200", text, 1)), '"200"|201|200.0|20000|2e2'),
        ("unknown code", "open", lambda text: http(own.replace("200", text, 1)),
         '500|"500"|503|50001|100|302|600|99999|-1|0|null|""|"OK"|true|[200]|{"a":1}|200.5|1e400|"0x190"|LONG'),
        ("refusing code", "no", lambda text: http(own.replace("200", text, 1)),
         '400|"400"|400.0|40010|401|403|404|409|422|429'),
        ("data", "open", lambda text: http(f'{{"code":200,"data":{text}}}'),
         'null|[]|{}|""|"text"|5|true|[[]]|[{},{}]|NaN|"LONG"|"SECRETS"'),
        ("id", "open", lambda x: http(f'{{"code":200,"data":{{"orderId":{x},"total":{x},"bcOrderId":{x}}}}}'),
         '""|true|-1|0|1.5|1e999999|LONG|[]|{}|"x"|"\\u0000"|D900|null|"SECRETS"|"ESCAPED"|"SLASHED"'),
        ("word of an error", "open", lambda text: http(f"{own[:-1]},{text}}}"),
         '"error":"failed"|"errors":["failed"]|"success":false'),
        ("Retry-After of 429", "no", lambda text: http("", f"Retry-After: {text}", status="429 Slow"),
         "0|1|-1|1e309|nan|inf|LONG|Sun, 99 Foo 2024 25:00:00 GMT|soon||\xff|SECRETS"),
        ("message of 400", "no", lambda text: http(f'{{"code":400,"data":{{"errMsg":{text}}}}}', status="400 Bad"),
         '"SECRETS"|"ESCAPED"|"SLASHED"|{"SECRETS":["ESCAPED"]}|"LONGSECRETS"|NaN|D100|D900|D9999'),
        ("Retry-After of 503", "no", lambda text: http("", f"Retry-After: {text}", status="503 Later"), "0|1|3.5"),
        ("header of 503", "open", lambda text: http("x", text, status="503 Failed"),
         "X-Request-Id: SECRETS|Trace-Id: SECRETS|Content-Type: SECRETS|Location: SECRETS|SECRETS|Retry-After: x"),
        ("body of 502", "open", lambda text: http(text, status="502 Bad"), "SECRETS|<html><h1>SECRETS</h1></html>"),
    )
    # fmt: on
    for place, meaning, make, texts in groups:
        for text in texts.split("|"):
            answer = make(re.sub("|".join(words), lambda word: words[word[0]], text))
            yield case(f"{place} {text!r}", meaning, answer, headerless=True)
            yield case(f"{place} {text!r}, FIN", meaning, answer, End.FIN, headerless=True)
    broken = (gz[: len(gz) // 2], gz[:10], gz[:-8], gz[:-8] + b"12345678", gz + b"x", b"\x1f\x8c" + gz[2:], b"")
    others = (gz[:14] + b"\xff\xff\xff" + gz[17:], gzip.compress(gz), gzip.compress(b" " * (64 * MAX_BODY)))
    for number, octets in enumerate((*broken, *others)):
        yield case(f"gzip {number}, {len(octets)} octets", "yes", http(octets, "Content-Encoding: gzip"))


def cuts_and_mutations(own: str, rng: random.Random) -> Iterator[Case]:
    good, head = http(own), len(http(own)) - len(own)
    places = {*range(0, 19, 2), 13, 15, 40, *range(head - 4, head + 2), *(head + more for more in (8, 11, 12, 20))}
    cuts = {f"cut at octet {place}": good[:place] for place in sorted({*places, *range(len(good) - 3, len(good))})}
    for name, part in {**cuts, "no length": http(own, length="")}.items():
        yield case(f"{name}, FIN", "yes", part, End.FIN)
        yield case(f"{name}, RST", "yes", part, 0.005, End.RST)
        yield case(f"{name}, silence", "yes", part)
    yield case("100 Continue 500 times, then good", "yes", "HTTP/1.1 100 Continue\r\n\r\n" * 500 + good)
    yield case("100 Continue without end", "open", *("HTTP/1.1 100 Continue\r\n\r\n", 0.05) * 60)
    yield case("slower than an attempt", "yes", *(step for octet in good for step in (octet, 0.02)))
    yield case("headers without end", "open", "HTTP/1.1 200 OK\r\n", *("X-More: 1\r\n", 0.02) * 150)
    yield case("body without end", "open", http("", length="999999999"), *(" " * 64, 0.02) * 150)
    yield case("larger than allowed", "open", http(" " * (2 * MAX_BODY)))
    # A changed digit could make another answer of it.
    octets = [chr(octet) for octet in range(256) if not chr(octet).isdigit()]
    places = {place for place, octet in enumerate(good) if not octet.isdigit()}
    for number in range(40):
        place, octet = rng.choice(sorted(places)), rng.choice(octets)
        yield case(f"mutation {number}: {octet!r} at {place}", "yes", good[:place] + octet + good[place + 1 :])


def unrequested(own: str, other: str | None, rng: random.Random) -> Iterator[Case]:
    """Yield answers that no request asked for. *other* is about another id; None if nothing in it shows that."""
    good, refusal = http(own), http("", status="400 Bad")
    more: dict[str, tuple[Step, ...]] = {
        "the same": (good,), "a refusal": (refusal,), "500": (http("", status="500 Failed"),), "CRLF": ("\r\n",),
        "408 and FIN": (http("", "Connection: close", status="408 Request Timeout"), End.FIN), "FIN": (End.FIN,),
        "RST": (End.RST,), "garbage": ("".join(chr(rng.randrange(128, 256)) for _ in range(99)),),
        "half an answer": (good[:40],), "100 Continue": (http("", status="100 Continue", length=""),),
    }  # fmt: skip
    if other is not None:
        more["another id's"] = (http(other),)
        yield case("another id's answer", "open", http(other))
    yield case("a refusal and good in one packet", "no", refusal + good)
    for name, steps in more.items():
        if isinstance(steps[0], str):
            yield case(f"good and {name} in one packet", "yes", good + steps[0], *steps[1:])
        yield case(f"good, {name} 10 ms later, a pause", "yes", good, 0.01, *steps, settles=True)
        # What arrives while a request is under way is its answer, unless its content shows that it is not.
        if name != "a refusal" and (other is not None or name != "the same"):
            yield case(f"good, {name} 10 ms later, no pause", "yes", good, 0.01, *steps)
        if name != "the same":
            yield case(f"{name} before the request", "no" if name == "a refusal" else "open", *steps, early=True)


def cases(method: str, seed: int) -> list[Case]:
    own, rng = good_json(method, FIRST), random.Random(seed)
    other = None if method == "PUT" else good_json(method, OTHER)
    return [*statuses(), *variants(own), *cuts_and_mutations(own, rng), *unrequested(own, other, rng)]


@attrs.frozen
class Call:
    """How one call ended, on the monotonic clock."""

    number: int
    value: Any
    error: Exception | None
    started: float
    ended: float


@attrs.define(eq=False)
class Judge:
    """A server that answers as its case says, and records what arrived whole."""

    case: Case
    method: str
    acts: bool  # on the first request
    arrivals: defaultdict[int, list[float]] = attrs.field(factory=lambda: defaultdict(list))
    """When the requests of the calls arrived whole, by id."""
    done: set[int] = attrs.field(factory=set[int])  # the ids that it acted on
    acknowledged: set[int] = attrs.field(factory=set[int])  # the ids to which it sent that, though perhaps damaged
    everything_sent: asyncio.Event = attrs.field(factory=asyncio.Event)
    connections: int = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, until either side closes it."""
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._serve(reader, writer, early=self.case.early and self.connections == 1)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, early: bool) -> None:
        if early:
            await self._send(writer, *self.case.steps)
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?im)^content-length: *(\d+)\r$", head)
            await reader.readexactly(int(length[1]) if length else 0)
            method, path, _ = head.split(" ", 2)
            number = int(re.findall(r"/(\d+)(?=/orders|/companyIdBCId|$)", path)[-1])
            if method != self.method:
                await self._send(writer, self._verification(number))
                continue
            self.arrivals[number].append(time.monotonic())
            malformed = number == FIRST and (early or not self.case.early)
            self.done |= set() if malformed and not self.acts else {number}
            self.acknowledged |= set() if malformed and self.case.meaning != "yes" else {number}
            steps = (http(good_json(method, number)),) if not malformed else () if early else self.case.steps
            await self._send(writer, *steps)

    def _verification(self, number: int) -> str:
        """Return the honest answer to the question whether order *number* is registered."""
        if number in self.done:
            return http(json.dumps({"code": 200, "data": {"bcOrderId": number, "companyId": COMPANY}}))
        return http('{"code":404,"data":{"errMsg":"Order does not exist."}}', status="404 Not Found")

    async def _send(self, writer: asyncio.StreamWriter, *steps: Step) -> None:
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, str):
                writer.write(step.encode("latin-1"))
                await writer.drain()
                await asyncio.sleep(0)
            else:
                if step is End.RST:
                    linger = struct.pack("ii", 1, 0)  # closing then sends an RST
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
        self.everything_sent.set()

    def faults(self, call: Call) -> Iterator[str]:
        """Yield what is wrong with how a call ended."""
        is_first, arrived = call.number == FIRST, len(self.arrivals[call.number])
        meaning: Meaning = self.case.meaning if is_first else "yes"
        octets = "".join(step[:1000] for step in self.case.steps if isinstance(step, str))
        success_said = not is_first or re.search(r"HTTP/1\.\d 2\d\d\b", octets) is not None
        if call.ended - call.started > CALL + LATE:
            yield "deadline missed"
        if self.method == "POST" and arrived > 1 and meaning != "no":
            yield "POST sent twice"
        if call.error is None:
            if not self._is_acknowledged(call, bare=self.case.bare and meaning == "open" and success_said):
                yield "false success"
            return
        # All that an error shows in logs, in error trackers, and where it is pickled.
        tracked = traceback.TracebackException.from_exception(call.error, capture_locals=True)
        pickled = pickle.dumps(call.error) if isinstance(call.error, B2BError) else b""
        text = "\n".join((str(call.error), repr(call.error), *tracked.format(), str(pickled)))
        if any(secret in text for secret in SECRETS):
            yield "secret shown"
        if not isinstance(call.error, B2BError):
            yield "foreign exception"
            return
        applied = bool(arrived) and meaning != "no" and success_said
        rejected = not arrived or (meaning == "no" and call.number not in self.done)
        if not {"unknown": True, "applied": applied, "rejected": rejected, "not_sent": not arrived}[call.error.outcome]:
            yield "false outcome"

    def _is_acknowledged(self, call: Call, *, bare: bool) -> bool:
        """Return whether the server sent what a success says; *bare* is True if a success without data will do."""
        number, value, arrivals = call.number, call.value, self.arrivals[call.number]
        if not arrivals or arrivals[0] > call.ended:
            return False
        if self.method == "GET":
            return bool(value.bc_order_id == number)
        if self.method == "POST":
            return value.order_id == str(number) and number in (self.done if value.reconciled else self.acknowledged)
        return value.total in {None, 0, number} and (bare or number in self.acknowledged)


Finding = tuple[str, str, list[str], str]  # of a call: its method, how it ended, its faults, and all that in words


async def make_call(client: Client, method: str, number: int) -> Call:
    value: Any = None
    started, order, total, error = time.monotonic(), str(number), Decimal("1.10"), None
    try:
        async with asyncio.timeout(HOPELESS):
            if method == "GET":
                value = await v3.orders.get_order(client, BCOrderId(number))
            elif method == "PUT":
                value = await v3.orders.assign_customer_orders(client, CustomerId(number))
            else:
                value = await v2.orders.create_order(client, COMPANY, order, order_id=order, total_inc_tax=total)
    except Exception as caught:  # noqa: BLE001 -- to be counted, whatever it is
        error = caught
    return Call(number, value, error, started, time.monotonic())


async def run_case(judge: Judge) -> list[Finding]:
    server = await asyncio.start_server(judge.connected, "127.0.0.1", 0)
    url, limiter = "http://{}:{}".format(*server.sockets[0].getsockname()), RateLimiter(Quota(100_000, 60.0))
    client = Client(CREDENTIALS, base_url=url, limiter=limiter, retry=RETRY, timeout=TIMEOUTS, max_body=MAX_BODY)
    async with server, client:
        calls = [await make_call(client, judge.method, FIRST)]
        if judge.case.settles:
            await judge.everything_sent.wait()
            await asyncio.sleep(SETTLE)
        calls.append(await make_call(client, judge.method, SECOND))
        await asyncio.sleep(SETTLE)
    return [finding_of(judge, call) for call in calls]


def finding_of(judge: Judge, call: Call) -> Finding:
    error, outcome = call.error, getattr(call.error, "outcome", "none")
    end = "success" if error is None else f"{type(error).__name__}, {outcome}"
    times = ", ".join(f"{arrival - call.started:.3f}" for arrival in judge.arrivals[call.number])
    did = "acted on" if call.number in judge.done else "not acted on"
    text = f"{judge.method}, {judge.case.name!r}, call {call.number}: arrived after [{times}] s, {did}, ended after "
    text += f"{call.ended - call.started:.3f} s: {end}: {str(error or call.value)[:160]}"
    return judge.method, end, list(judge.faults(call)), text


async def run_all(judges: Iterator[Judge]) -> list[Finding]:
    async def work() -> list[Finding]:
        return [finding for judge in judges for finding in await run_case(judge)]

    return [one for findings in await asyncio.gather(*(work() for _ in range(CONCURRENCY))) for one in findings]


def print_table(title: str, counts: Counter[tuple[str, str]], rows: Iterable[str]) -> None:
    print(f"\n{title:<44}", *(f"{name:>8}" for name in (*METHODS, "all")))
    for row in rows:
        numbers = [counts[row, method] for method in METHODS]
        print(f"{row:<44}", *(f"{number:>8,}" for number in (*numbers, sum(numbers))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--seed", type=int, default=1, help="of the garbage, the mutations and the client's jitter")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    random.seed(options.seed)
    started = time.monotonic()
    chosen = [(one, method) for method in METHODS for one in cases(method, options.seed) if options.only in one.name]
    judges = [Judge(one, method, one.meaning != "no") for one, method in chosen]
    judges += [Judge(one, method, acts=False) for one, method in chosen if one.meaning == "open" and method == "POST"]
    findings = asyncio.run(run_all(iter(judges)))
    seconds = time.monotonic() - started
    print(f"{len(chosen):,} cases of all methods, {len(judges):,} runs, {len(findings):,} calls, {seconds:.0f} s")
    print_table("must be 0", Counter((fault, method) for method, _, faults, _ in findings for fault in faults), FAULTS)
    ends = Counter((end, method) for method, end, _, _ in findings)
    print_table("how the calls ended", ends, sorted({end for end, _ in ends}))
    wrong = sorted(f"{fault}: {text}" for _, _, faults, text in findings for fault in faults)
    print("", *wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
