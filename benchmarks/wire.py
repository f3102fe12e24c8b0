"""What the client reports of its calls when the server's answers are malformed HTTP.

More than 800 malformed answers meet a GET (v3 Get Order), a PUT (v3 Assign Customer Orders to Company) and a POST
(v2 Create An Order) over loopback sockets. Each run has a server and a client of its own and makes two calls: the first
one gets the malformed answer, the second one a good answer, on the same connection if the client keeps it. The server
parses the requests itself and records each one that arrived whole. Then it judges what the client reported: a call must
end in time, with a success that the server acknowledged, or with a ``B2BError`` whose outcome is true.

Where an answer does not show whether the server acted, a POST is run twice: against a server that did act, and against
one that did not. The client's verification requests get honest answers.

    python benchmarks/wire.py [--only SUBSTRING] [--seed 1] [--concurrency 8]

It takes about three minutes. The exit status is 1 if any count of the first table is above 0.
"""

from __future__ import annotations

import argparse
import asyncio
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
import zlib
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import attrs

from b2b_async import B2BError, Client, Credentials, Quota, RateLimiter, RetryPolicy, Timeouts, v3
from b2b_async.ids import BCOrderId, CustomerId

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the vendor's, of v2
    from b2b_async import v2

if TYPE_CHECKING:
    from collections.abc import Iterator

METHODS = ("GET", "PUT", "POST")
FAULTS = ("foreign exception", "deadline missed", "POST sent twice", "false outcome", "false success", "secret shown")
CALL, LATE, HOPELESS = 2.0, 0.5, 10.0
"""Seconds that a call has, that it may take longer, and after which it is cancelled."""
TIMEOUTS = Timeouts(call=CALL, attempt=0.7, connect=0.5, read=0.5)
RETRY = RetryPolicy(attempts=2, backoff=0.01, throttled=1)
MAX_BODY = 1 << 20
FIRST, SECOND, OTHER = 1001, 1002, 1999
"""The ids of the two calls, each that of an order and of a customer, and an id that no call names."""
COMPANY = "7001"
ACCESS, LEGACY = "acc3ssT0kenWire/+xyzACCESSEND", "l3gacyT0kenWire/+xyzLEGACYEND"
SECRETS = ("acc3ssT0ken", "yzACCESSEND", "l3gacyT0ken", "yzLEGACYEND")
"""Parts of both tokens that no escaping changes."""
CREDENTIALS = Credentials(ACCESS, "hash", LEGACY)

# -- cases -------------------------------------------------------------------------------------------------------------


class End(enum.Enum):
    """How the server ends a connection."""

    FIN = enum.auto()
    RST = enum.auto()


@attrs.frozen
class Repeat:
    """Octets that are sent again and again, with a pause in seconds after each time."""

    octets: bytes
    pause: float
    times: int


Step = bytes | float | End | Repeat
"""What the server does: it sends octets, sleeps for some seconds, or ends the connection."""
Meaning = Literal["yes", "no", "open"]
"""What an answer shows, damaged or not: the server acted, the server refused, or neither can be known."""


@attrs.frozen
class Case:
    """A malformed answer to the first call."""

    name: str
    meaning: Meaning
    steps: tuple[Step, ...]
    bare: bool = False
    """True if it may count as a success without data, which is all that a PUT needs."""
    pause: float = 0.0
    """Seconds between the two calls."""
    early: bool = False
    """True if it is sent when the first connection opens. Requests that arrive later on it stay unanswered."""


def case(name: str, meaning: Meaning, *steps: Step, **options: Any) -> Case:
    return Case(name, meaning, steps, **options)


def http(
    body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json", length: str | None = None
) -> bytes:
    """Return an answer; *length* is its Content-Length where that is not the body's, "" for none."""
    length = str(len(body)) if length is None else length
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        *headers,
        *([f"Content-Length: {length}"] if length else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def good_json(method: str, number: int) -> bytes:
    data = {
        "GET": {"bcOrderId": number, "companyId": int(COMPANY), "totalIncTax": "1.10"},
        "PUT": {"total": number},
        "POST": {"orderId": str(number)},
    }
    return json.dumps({"code": 200, "data": data[method], "message": "SUCCESS"}, separators=(",", ":")).encode()


STATUSES = "200 201 202 204 206 300 301 302 303 304 307 308 400 401 403 404 408 409 422 429 500 501 502 503 504 520 525"
REFUSALS = frozenset({"301", "307", "308", "501", "525"})
BARE = {"empty": b"", "{}": b"{}", "[]": b"[]", "null": b"null", '{"code":200}': b'{"code":200}'}
PAGE = b"<html><head><title>Please stand by</title></head><body>...</body></html>"
BODIES = {
    **BARE,
    '"text"': b'"text"',
    "no envelope": b'{"id":1,"status":"done"}',
    "HTML": PAGE,
    "truncated JSON": b'{"data":{"orde',
    "garbage": bytes(range(128, 192)),
}
DELAYS = ("0", "1", "-1", "1e309", "nan", "inf", "9" * 400, "Sun, 99 Foo 2024 25:00:00 GMT", "soon", "", "\xff")
INTERIM = ("100 Continue", "101 Switching Protocols", "102 Processing", "103 Early Hints", "199 What")


def statuses(own: bytes) -> Iterator[Case]:
    for status in STATUSES.split():
        meaning: Meaning = "no" if status in REFUSALS or (status[0] == "4" and status != "408") else "open"
        for name, body in BODIES.items():
            answer = http(body, status=f"{status} Status", kind="text/html" if body is PAGE else "application/json")
            bare = name in BARE or (status in {"202", "204"} and body is not PAGE)
            yield case(f"status {status}, {name}", meaning, answer, bare=bare)
    for status in "201 203 206 207 302 303 304 500 502 503 504".split():
        yield case(f"status {status}, good body", "yes", http(own, status=f"{status} Status"))
    for delay in DELAYS:
        yield case(f"429, Retry-After {delay[:9]!r}", "no", http(b"", f"Retry-After: {delay}", status="429 Slow"))
    yield case("503, Retry-After 1", "no", http(b"", "Retry-After: 1", status="503 Later"))
    yield case("503, Retry-After soon", "open", http(b"", "Retry-After: soon", status="503 Later"))
    for status in INTERIM:
        interim = http(b"", status=status, length="")
        yield case(f"{status}, then silence", "open", interim)
        yield case(f"{status}, then FIN", "open", interim, End.FIN)
        yield case(f"{status}, then good", "yes", interim + http(own))
        yield case(f"{status} with a body", "yes", http(own, status=status))
    yield case("100 Continue 500 times, then good", "yes", http(b"", status="100 C", length="") * 500 + http(own))
    yield case("100 Continue without end", "open", Repeat(http(b"", status="100 C", length=""), 0.05, 60))


STATUS_LINES = (
    "| |H|HTTP|HTTP/1.1|HTTP/1.1 |HTTP/1.1 2|HTTP/1.1 20|HTTP/1.1 200|HTTP/1.1 2000 OK|HTTP/1.1  200 OK|"
    "HTTP/1.1\t200\tOK|HTTP/1.1 OK 200|HTTP/1.1 -200 OK|HTTP/1.1 +200 OK|HTTP/1.1 2OO OK|HTTP/1.1 \xb2\xb0\xb0 OK|"
    "HTTP/1.1 000 Zero|HTTP/1.1 099 Low|HTTP/1.1 600 High|HTTP/1.1 999 High|HTTP/1.0 200 OK|HTTP/0.9 200 OK|HTTP/2 200|"
    "HTTP/2.0 200 OK|HTTP/11 200 OK|HTTP/9.9 200 OK|HTTP/1.1.1 200 OK|http/1.1 200 ok|ICY 200 OK|HTTQ/1.1 200 OK|"
    "200 OK|SSH-2.0-OpenSSH_9.6|GET / HTTP/1.1|HTTP/1.1 200 O\0K|HTTP/1.1 200 O\rK|HTTP/1.1 200 \xff\xfe|"
    "HTTP/1.1 200 O\nK|HTTP/1.1 200 LONG"
)
CUTS = {
    "start": (0, 1, 5, 8, 9, 11, 12, 13, 15, 17, 18, 30),
    "head": (-4, -3, -2, -1, 0, 1, 8, 11, 12, 20),
    "end": (-10, -2, -1),
}


def broken_starts_and_ends(own: bytes) -> Iterator[Case]:
    good = http(own)
    for line in STATUS_LINES.split("|"):
        answer = good.replace(b"HTTP/1.1 200 OK", line.replace("LONG", "O" * 70_000).encode("latin-1"), 1)
        yield case(f"status line {line!r}", "yes", answer)
        yield case(f"status line {line!r}, FIN", "yes", answer, End.FIN)
    origins = {"start": 0, "head": good.index(b"\r\n\r\n") + 4, "end": len(good)}
    for origin, offsets in CUTS.items():
        for offset in offsets:
            part = good[: origins[origin] + offset]
            yield case(f"cut at {origin}{offset:+d}, FIN", "yes", part, End.FIN)
            yield case(f"cut at {origin}{offset:+d}, RST", "yes", part, 0.005, End.RST)
            yield case(f"cut at {origin}{offset:+d}, silence", "yes", part)
    yield case("octet by octet", "yes", *(Repeat(bytes([octet]), 0.0, 1) for octet in good))
    yield case("slower than an attempt", "yes", *(Repeat(bytes([octet]), 0.02, 1) for octet in good))
    yield case("headers without end", "open", b"HTTP/1.1 200 OK\r\n", Repeat(b"X-More: 1\r\n", 0.02, 150))
    yield case("body without end", "open", http(b"", length="999999999"), Repeat(b" " * 64, 0.02, 150))
    yield case("larger than allowed", "open", http(b" " * (2 * MAX_BODY)))


def broken_framing(own: bytes) -> Iterator[Case]:
    for more in (-len(own) + 1, -10, -1, 1, 1000):
        answer = http(own, length=str(len(own) + more))
        yield case(f"Content-Length {more:+d}", "yes", answer)
        yield case(f"Content-Length {more:+d}, FIN", "yes", answer, End.FIN)
    for text in ("0", "-1", "+5", "0x10", "1_0", "1e2", "12 34", "1,2", "5, 5", "five", "9" * 30, "\xb2", ""):
        yield case(f"Content-Length {text[:9]!r}", "yes", http(own, f"Content-Length: {text}", length=""))
    yield case("Content-Length twice, the same", "yes", http(own, f"Content-Length: {len(own)}"))
    yield case("Content-Length twice, different", "yes", http(own, "Content-Length: 3"))
    for name, steps in {"FIN": (End.FIN,), "RST": (0.005, End.RST), "silence": ()}.items():
        yield case(f"no length, {name}", "yes", http(own, length=""), *steps)

    def chunked(size: str = f"{len(own):x}", end: bytes = b"0\r\n\r\n", encoding: str = "chunked") -> bytes:
        chunks = size.encode("latin-1") + b"\r\n" + own + b"\r\n" + end
        return http(chunks, f"Transfer-Encoding: {encoding}", length="")

    extension = ";x=" + "y" * 40_000
    for size in ("zz", "-5", "", " ", "0x20", "F" * 17, "1" * 5000, "3", "fff", "0", extension, "\xff", "1\0"):
        yield case(f"chunk size {size[:9]!r}", "yes", chunked(size))
        yield case(f"chunk size {size[:9]!r}, FIN", "yes", chunked(size), End.FIN)
    for end in (b"", b"0\r", b"0\r\n", b"0\r\nX-Trailer: 1\r\n\r\n", b"0\r\nno colon\r\n\r\n", b"x\r\n\r\n"):
        yield case(f"chunks end with {end!r}", "yes", chunked(end=end))
        yield case(f"chunks end with {end!r}, FIN", "yes", chunked(end=end), End.FIN)
    for encoding in (
        "chunked, chunked",
        "identity",
        "gzip, chunked",
        "chunked, gzip",
        "Chunked",
        "x",
        "",
        "\x0bchunked",
    ):
        yield case(f"Transfer-Encoding {encoding!r}", "yes", chunked(encoding=encoding))
    yield case("chunked with Content-Length", "yes", chunked().replace(b"\r\n", b"\r\nContent-Length: 5\r\n", 1))
    octets = b"".join(b"1\r\n%c\r\n" % octet for octet in own) + b"0\r\n\r\n"
    yield case("chunks of one octet", "yes", http(octets, "Transfer-Encoding: chunked", length=""))

    packed = gzip.compress(own, mtime=0)
    bodies = {
        "good": packed,
        "cut in half": packed[: len(packed) // 2],
        "cut to its header": packed[:10],
        "without its checksum": packed[:-8],
        "wrong checksum": packed[:-8] + b"12345678",
        "broken header": b"\x1f\x8c" + packed[2:],
        "broken inside": packed[:14] + b"\xff\xff\xff" + packed[17:],
        "not packed": own,
        "empty": b"",
        "twice": gzip.compress(packed),
        "in two members": gzip.compress(own[:9]) + gzip.compress(own[9:]),
        "garbage behind it": packed + b"garbage",
        "bomb": gzip.compress(b" " * (64 * MAX_BODY)),
        "deflate": zlib.compress(own),
    }
    for name, body in bodies.items():
        yield case(f"gzip, {name}", "yes", http(body, "Content-Encoding: gzip"))
    for encoding in ("deflate", "br", "zstd", "compress", "x-unknown", "gzip, gzip", "identity", "", "GZIP", "\xff"):
        yield case(f"Content-Encoding {encoding!r}", "yes", http(packed, f"Content-Encoding: {encoding}"))


HEADERS = (
    "no colon|: no name|Space : before|\tX-Tab: first| X-Folded: first|X-A: 1\r\n folded|X-A: 1\nX-B: 2|X-A: 1\rX-B: 2|"
    "X-Nul: a\0b|X-N\0ul: a|X-Control: \x01\x1f\x7f|X-Latin: \xe4\xff|X-\xe4: name|X-Long: LONG|X-LONG: name|X-Longer: "
    "LONGLONGLONGLONGLONG|Content-Type: text/html|Content-Type: |Content-Type: application/json; charset=utf-16|"
    "Content-Type: \xff/\xff; charset=none|Connection: close|Connection: upgrade\r\nUpgrade: websocket|"
    "Connection: keep-alive, close|Keep-Alive: timeout=-1, max=x|Set-Cookie: \x01=; Expires=never; Max-Age=nine|"
    "Set-Cookie: LONG=LONG|X-Request-Id: a\x1b[31mb|X-Requests-Remaining: -1\r\nX-Requests-Allocated: 0 / 0s|"
    "X-Requests-Remaining: 9LONG\r\nX-Requests-Allocated: 9LONG|X-Requests-Remaining: nan|Date: never\r\nRetry-After: -1|"
    "X-Rate-Limit-Requests-Left: 1e999\r\nX-Rate-Limit-Time-Reset-Ms: 1e999|Location: http://["
)


def broken_headers(own: bytes) -> Iterator[Case]:
    good, line = http(own), b"\r\n"
    for header in HEADERS.split("|"):
        yield case(f"header {header!r}", "yes", http(own, header.replace("LONG", "9" * 40_000)))
    yield case("2000 headers", "yes", http(own, *(f"X-{number}: {number}" for number in range(2000))))
    for name, start in {"CRLF": line, "LF": b"\n", "1000 CRLF": line * 1000, "NUL": b"\0", "blank": b" "}.items():
        yield case(f"{name} before the status line", "yes", start + good)
    yield case("CRLF behind the status line", "yes", good.replace(line, line * 2, 1))
    for name, end in {"CR CR LF": b"\r\r\n", "LF": b"\n", "CR": b"\r", "LF CR": b"\n\r"}.items():
        yield case(f"lines that end with {name}", "yes", good.replace(line, end))
    yield case("CRLF before the body", "yes", http(line + own, length=str(len(own))))
    yield case("CRLF behind the body", "yes", good + line)


MEMBERS = {
    "invalid UTF-8": b'"\xff\xfe"',
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "huge integer": b"9" * 10_000,
    "large exponent": b"1e999999",
    "huge exponent": b"1e" + b"9" * 30,
    "lone surrogate": b'"\\ud800"',
    "raw NUL": b'"\0"',
    "objects 100000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    **{f"lists {deep} deep": b"[" * deep + b"]" * deep for deep in (100, 500, 900, 960, 990, 100_000)},
}
DATA = ("null", "[]", "{}", '""', '"text"', "5", "true", "[[]]", "[{},{}]", "NaN", '"' + "x" * 100_000 + '"')
IDS = '"",true,-1,0,1.5,1e999999,HUGE,[],{},"x","\\u0000",DEEP,null'
CODES: dict[Meaning, str] = {
    "no": '400 "400" 400.0 40010 401 403 404 409 422 429',
    "open": '500 "500" 503 50001 100 302 600 99999 -1 0 null "" "OK" true [200] {"a":1} 200.5 1e400 "0x190" HUGE',
    "yes": '"200" 201 200.0 20000 2e2',
}
NO_YES = ('"error":"failed"', '"errors":["failed"]', '"success":false', '"status":"error"')


def broken_json(own: bytes) -> Iterator[Case]:
    bodies = {
        "byte order mark": b"\xef\xbb\xbf" + own,
        "UTF-16": own.decode().encode("utf-16"),
        "UTF-32": own.decode().encode("utf-32"),
        "duplicate code": b'{"code":500,' + own[1:],
        "single quotes": own.replace(b'"', b"'"),
        "comma before the end": own[:-1] + b",}",
        "comment": own + b" // done",
        "garbage behind it": own + b"x",
        "NUL behind it": own + b"\0",
        "twice": own + own,
        "without its end": own[:-1],
        "cut behind its code": own[:12],
        "blanks": b" " * 100_000 + own,
        "as a string": json.dumps(own.decode()).encode(),
        "in a list": b"[" + own + b"]",
        "data in a list": re.sub(rb'"data":(\{.*?\})', rb'"data":[\1]', own),
        "data twice": re.sub(rb'"data":(\{.*?\})', rb'"data":[\1,\1]', own),
        **{f"with {name}": b'{"code":200,"x":' + value + b"," + own[1:] for name, value in MEMBERS.items()},
    }
    for name, body in bodies.items():
        yield case(f"JSON, {name}", "yes", http(body))
    for data in DATA:
        yield case(f"data {data[:9]}", "open", http(f'{{"code":200,"data":{data}}}'.encode()), bare=True)
    huge, deep = "9" * 5000, "[" * 900 + "]" * 900
    for text in IDS.split(","):
        value = text.replace("HUGE", huge).replace("DEEP", deep)
        record = f'{{"orderId":{value},"bcOrderId":{value},"total":{value}}}'
        yield case(f"id {text}", "open", http(f'{{"code":200,"data":{record}}}'.encode()), bare=True)
    for meaning, codes in CODES.items():
        for code in codes.split():
            body = own.replace(b"200", code.replace("HUGE", huge).encode(), 1)
            yield case(f"code {code} under 200", meaning, http(body), bare=True)
    yield case("data without a code", "open", http(own.replace(b'"code":200,', b"")), bare=True)
    for member in NO_YES:
        yield case(f"code 200 and {member}", "open", http(own[:-1] + f",{member}}}".encode()), bare=True)
    for depth in (100, 900, 100_000):
        body = b'{"code":400,"message":' + b"[" * depth + b"]" * depth + b"}"
        yield case(f"400, message {depth} deep", "no", http(body, status="400 Bad"))


def several_answers(own: bytes, other: bytes | None, rng: random.Random) -> Iterator[Case]:
    """Yield answers that no request asked for. *other* is about another id; None if nothing in it shows that."""
    good, refusal = http(own), http(b"", status="400 Bad")
    timeout = http(b"", "Connection: close", status="408 Request Timeout")
    more: dict[str, tuple[Step, ...]] = {
        "the same": (good,),
        "a refusal": (refusal,),
        "408 and FIN": (timeout, End.FIN),
        "FIN": (End.FIN,),
        "RST": (End.RST,),
        "garbage": (bytes(rng.randrange(128, 256) for _ in range(99)),),
        "half an answer": (good[:40],),
        "100 Continue": (http(b"", status="100 Continue", length=""),),
        "CRLF": (b"\r\n",),
        **({} if other is None else {"another id's": (http(other),)}),
    }
    for name, steps in more.items():
        if all(isinstance(step, bytes) for step in steps):
            yield case(f"good and {name} in one packet", "yes", b"".join((good, *steps)))  # type: ignore[arg-type]
        yield case(f"good, {name} 10 ms later, a pause", "yes", good, 0.01, *steps, pause=0.05)
        # What comes when the second request is under way is its answer, unless it says itself that it is not.
        if name != "a refusal" and (other is not None or name != "the same"):
            yield case(f"good, {name} 10 ms later, no pause", "yes", good, 0.01, *steps)
        if name not in {"the same", "a refusal"}:
            yield case(f"{name} before the request", "open", *steps, early=True)
    yield case("a refusal before the request", "no", refusal, early=True)
    yield case("500 before the request", "open", http(b"", status="500 Failed"), early=True)
    yield case("a refusal and good in one packet", "no", refusal + good)
    if other is not None:
        yield case("another id's answer", "open", http(other))


def echoes() -> Iterator[Case]:
    """Yield answers that repeat the client's tokens."""
    tokens = f"{ACCESS} {LEGACY}"
    escaped = "".join(f"\\u{ord(character):04x}" for character in tokens)
    forms = {"plain": tokens, "escaped": escaped, "\\/": tokens.replace("/", "\\/"), "long": "x" * 190 + tokens}
    for form, text in forms.items():
        body = f'{{"code":400,"message":"{text}","data":{{"errMsg":{{"{text}":"{text}"}}}}}}'.encode()
        for status in ("200 OK", "400 Bad", "500 Failed"):
            yield case(f"echo, {form}, in {status}", "no" if status != "500 Failed" else "open",
                       http(body, status=status))  # fmt: skip
        body = f'{{"code":200,"data":{{"orderId":"{text}","bcOrderId":"{text}","total":"{text}"}}}}'.encode()
        yield case(f"echo, {form}, as an id", "open", http(body), bare=True)
    for status in ("200 OK", "403 No", "502 Bad"):
        page = f"<html><title>{tokens}</title>{tokens}</html>".encode()
        yield case(
            f"echo in a page, {status}",
            "no" if status[0] == "4" else "open",
            http(page, status=status, kind="text/html"),
        )
    for name in "X-Request-Id Trace-Id Content-Type Content-Encoding Location Retry-After Transfer-Encoding".split():
        for status in ("200 OK", "302 Found", "500 Failed"):
            yield case(f"echo in {name}, {status}", "open", http(b"x", f"{name}: {tokens}", status=status))
    yield case("echo in Content-Length", "open", http(b"", length=tokens))
    yield case("echo in a reason phrase", "open", http(b"", status=f"500 {tokens}"))
    yield case("echo in a header without colon", "open", http(b"", tokens))
    yield case("echo in a header's name", "open", http(b"", f"{tokens}: 1"))
    yield case("echo as a status line", "open", f"{tokens}\r\n\r\n".encode())
    yield case("echo as a chunk size", "open", http(f"{tokens}\r\n".encode(), "Transfer-Encoding: chunked", length=""))


def mutations(own: bytes, rng: random.Random) -> Iterator[Case]:
    """Yield good answers with one octet changed at random, but no digit: that could make another answer of it."""
    good = http(own)
    places = [place for place, octet in enumerate(good) if not chr(octet).isdigit()]
    for number in range(40):
        place, octet = rng.choice(places), rng.choice([octet for octet in range(256) if not chr(octet).isdigit()])
        changed = good[:place] + bytes([octet]) + good[place + 1 :]
        yield case(f"mutation {number}: octet {place} is {octet:#04x}", "yes", changed)


def cases(method: str, seed: int) -> list[Case]:
    own, rng = good_json(method, FIRST), random.Random(seed)
    other = None if method == "PUT" else good_json(method, OTHER)
    simple = (statuses, broken_starts_and_ends, broken_framing, broken_headers, broken_json)
    found = [one for group in simple for one in group(own)]
    found += [*several_answers(own, other, rng), *echoes(), *mutations(own, rng)]
    assert len({one.name for one in found}) == len(found), Counter(one.name for one in found).most_common(3)
    return found


# -- the judge ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Call:
    """How one call ended."""

    number: int
    value: Any
    error: Exception | None
    started: float
    seconds: float


class Judge:
    """A server that answers as its case says, and records what arrived whole."""

    def __init__(self, case: Case, method: str, *, acts: bool) -> None:
        self.case, self.method, self.acts = case, method, acts
        self.arrivals = defaultdict[int, list[float]](list)
        """When the whole requests under test arrived, by their ids, on the monotonic clock."""
        self.done = set[int]()
        """The ids that the server acted on."""
        self.acknowledged = set[int]()
        """The ids to which an answer was sent that shows it, though it may be damaged."""
        self.sent = b""
        """The start of what was sent to the first call."""
        self._connections = 0
        self._tasks = set[asyncio.Task[None]]()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._connections += 1
        try:
            await self._serve(reader, writer, early=self.case.early and self._connections == 1)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has closed the connection, or the run is over
        finally:
            writer.close()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, early: bool) -> None:
        open_ = not early or await self._send(self.case.steps, writer, first=True)
        while open_:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = re.search(r"(?im)^content-length: *(\d+)\r$", head)
            await reader.readexactly(int(length[1]) if length else 0)
            method, path, _ = head.split(" ", 2)
            number = int(re.findall(r"/(\d+)(?=/orders|/companyIdBCId|$)", path)[-1])
            if method != self.method:
                open_ = await self._send((self._verification(path, number),), writer)
                continue
            self.arrivals[number].append(time.monotonic())
            malformed = number == FIRST and (early or not self.case.early)
            if not malformed or self.acts:
                self.done.add(number)
            if not malformed or self.case.meaning == "yes":
                self.acknowledged.add(number)
            if not malformed:
                open_ = await self._send((http(good_json(method, number)),), writer)
            elif not early:
                open_ = await self._send(self.case.steps, writer, first=True)

    def _verification(self, path: str, number: int) -> bytes:
        """Return the honest answer to the question whether order *number* is registered."""
        if number in self.done:
            data = {"bcOrderId": number, "companyId": COMPANY, "companyName": "A", "customerGroupId": 3}
            return http(json.dumps({"code": 200, "data": data}).encode())
        code, status = (40013, "400 Bad Request") if path.endswith("/companyIdBCId") else (404, "404 Not Found")
        return http(json.dumps({"code": code, "data": {"errMsg": "Order does not exist."}}).encode(), status=status)

    async def _send(self, steps: tuple[Step, ...], writer: asyncio.StreamWriter, *, first: bool = False) -> bool:
        """Take the steps of a case; return whether the connection is still open."""
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, End):
                if step is End.RST:
                    linger = struct.pack("ii", 1, 0)  # closing then sends an RST
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.close()
                return False
            else:
                repeat = step if isinstance(step, Repeat) else Repeat(step, 0.0, 1)
                for _ in range(repeat.times):
                    self.sent += repeat.octets[:4096] if first else b""
                    writer.write(repeat.octets)
                    await writer.drain()
                    await asyncio.sleep(repeat.pause)
        return True

    def faults(self, call: Call) -> Iterator[str]:
        """Yield what is wrong with how a call ended."""
        meaning: Meaning = self.case.meaning if call.number == FIRST else "yes"
        if call.seconds > CALL + LATE:
            yield "deadline missed"
        if self.method == "POST" and len(self.arrivals[call.number]) > 1 and meaning != "no":
            yield "POST sent twice"
        if call.error is None:
            if not self._is_true_success(call):
                yield "false success"
            return
        text = shown(call.error)
        if any(secret in text for secret in SECRETS):
            yield "secret shown"
        if not isinstance(call.error, B2BError):
            yield "foreign exception"
        elif not self._is_true_outcome(call, call.error.outcome, meaning):
            yield "false outcome"

    def _says_success(self, number: int) -> bool:
        """Return whether a status 2xx was sent."""
        return number != FIRST or re.search(rb"HTTP/1\.\d 2\d\d\b", self.sent) is not None

    def _is_true_success(self, call: Call) -> bool:
        number, value = call.number, call.value
        if not self.arrivals[number]:
            return False
        if self.method == "GET":
            return bool(value.bc_order_id == number)
        if self.method == "POST":
            return value.order_id == str(number) and number in (self.done if value.reconciled else self.acknowledged)
        bare = self.case.bare and self.case.meaning == "open" and self._says_success(number)
        return value.total in {None, number} and (bare or number in self.acknowledged)

    def _is_true_outcome(self, call: Call, outcome: str, meaning: Meaning) -> bool:
        number = call.number
        if outcome == "applied":
            return bool(self.arrivals[number]) and meaning != "no" and self._says_success(number)
        if not self.arrivals[number] or outcome == "unknown":
            return True
        return outcome == "rejected" and meaning == "no" and number not in self.done


def shown(error: Exception) -> str:
    """Return all that an error shows in logs, in error trackers, and when it is pickled."""
    tracked = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join((str(error), repr(error), *tracked.format(), pickle.dumps(error).decode("latin-1")))


# -- the run -----------------------------------------------------------------------------------------------------------


@attrs.define
class Report:
    """What all runs found."""

    calls: int = 0
    faults: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """By fault and method."""
    ends: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """How calls ended: by error class and outcome, and by method."""
    lines: list[str] = attrs.field(factory=list)
    loop_errors: Counter[str] = attrs.field(factory=Counter)

    def add(self, judge: Judge, call: Call) -> None:
        self.calls += 1
        error = call.error
        outcome = getattr(error, "outcome", "foreign")
        end = "success" if error is None else f"{type(error).__name__}, {outcome}"
        self.ends[end, judge.method] += 1
        for fault in judge.faults(call):
            self.faults[fault, judge.method] += 1
            times = ", ".join(f"{when - call.started:.3f}" for when in judge.arrivals[call.number])
            which = "first" if call.number == FIRST else "second"
            did = "acted" if call.number in judge.done else "did not act"
            text = repr(call.value) if error is None else f"{end}: {error}"
            self.lines.append(
                f"{fault}: {judge.method}, {judge.case.name!r}, {which} call; arrived after [{times}] s, server {did}; "
                f"after {call.seconds:.2f} s: {text[:200]}"
            )


async def make_call(client: Client, method: str, number: int) -> Call:
    value: Any = None
    error: Exception | None = None
    started = time.monotonic()
    try:
        async with asyncio.timeout(HOPELESS):
            if method == "GET":
                value = await v3.orders.get_order(client, BCOrderId(number))
            elif method == "PUT":
                value = await v3.orders.assign_customer_orders(client, CustomerId(number))
            else:
                value = await v2.orders.create_order(
                    client, COMPANY, str(number), order_id=str(number), total_inc_tax=Decimal("1.10")
                )
    except Exception as caught:  # noqa: BLE001 -- to be counted, whatever it is
        error = caught
    return Call(number, value, error, started, time.monotonic() - started)


async def run_case(case: Case, method: str, *, acts: bool, report: Report) -> None:
    judge = Judge(case, method, acts=acts)
    server = await asyncio.start_server(judge.connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    limiter = RateLimiter(Quota(100_000, 60.0))
    async with server, Client(
        CREDENTIALS, base_url=f"http://{host}:{port}", limiter=limiter, retry=RETRY, timeout=TIMEOUTS, max_body=MAX_BODY
    ) as client:  # fmt: skip
        for number in (FIRST, SECOND):
            report.add(judge, await make_call(client, method, number))
            await asyncio.sleep(case.pause)
        await client.close()
        await judge.stop()


async def run_all(options: argparse.Namespace) -> Report:
    report, slots = Report(), asyncio.Semaphore(options.concurrency)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: report.loop_errors.update([str(context["message"])]))

    async def run(case: Case, method: str, *, acts: bool) -> None:
        async with slots:
            await run_case(case, method, acts=acts, report=report)

    async with asyncio.TaskGroup() as group:
        for method in METHODS:
            for one in cases(method, options.seed):
                both = one.meaning == "open" and method == "POST"
                for acts in (True, False) if both else (one.meaning != "no",):
                    if options.only in one.name:
                        group.create_task(run(one, method, acts=acts))
    return report


def print_table(title: str, rows: list[str], counts: Counter[tuple[str, str]]) -> None:
    print(f"\n{title:<48}" + "".join(f"{name:>8}" for name in (*METHODS, "all")))
    for row in rows:
        numbers = [counts[row, method] for method in METHODS]
        print(f"{row:<48}" + "".join(f"{number:>8,}" for number in (*numbers, sum(numbers))))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only cases whose name contains this")
    parser.add_argument("--seed", type=int, default=1, help="of the garbage, the mutations and the client's jitter")
    parser.add_argument("--concurrency", type=int, default=8, help="runs at the same time")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    random.seed(options.seed)
    started = time.monotonic()
    report = asyncio.run(run_all(options))
    names = {one.name for method in METHODS for one in cases(method, options.seed) if options.only in one.name}
    print(f"{len(names)} cases, {report.calls:,} calls, {time.monotonic() - started:.0f} s")
    print_table("must be 0", list(FAULTS), report.faults)
    print_table("how the calls ended", sorted({end for end, _ in report.ends}), report.ends)
    for message, count in report.loop_errors.items():
        print(f"the event loop reported {count} times: {message}")
    print("", *sorted(report.lines), sep="\n")
    return 1 if report.lines else 0


if __name__ == "__main__":
    sys.exit(main())
