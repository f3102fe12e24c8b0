"""The report of a job as one HTML page that needs nothing else: no script, no font, no network.

A journal is a file that anyone may have changed, and SQLite keeps a value of any type in any column. So every value is
taken for text from a stranger: it gets into the page through ``_html``, and the page's content security policy allows
nothing but the page's own style.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
import os
import unicodedata
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, cast

from b2b_async.bulk.journal.protocol import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from b2b_async.bulk.journal.protocol import JournalFigures, JournalReader, JournalStatus, Minute, Reason

__all__ = ["write_html"]

_DOCTYPE = b"<!doctype html>"
"""How a page begins."""
_MOST_UNKNOWNS = 1000
_COLUMNS = 600
"""Bars of the chart at most; longer jobs have the mean of some minutes in one."""
_LONGEST_GAP = 60
"""Minutes without a request that the chart shows as such."""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 1000, 260, 46, 24, 12
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --dim: #5d6b7a; --line: #d9e0e7; --card: #f6f8fa; --paper: #fff;
  --good: #1a7f4b; --bad: #b3261e; --odd: #9a6700; --bar: #4a7fb5; --quota: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --dim: #9aa7b4; --line: #313b46; --card: #1b222a;
  --paper: #12171d; --good: #5bc08a; --bad: #ff8a80; --odd: #e0b050; --bar: #6fa3d8; --quota: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.5rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .3rem 0; } .dim { color: var(--dim); }
.badge { font-size: .85rem; font-weight: 600; padding: .15rem .6rem; border-radius: 1rem; border: 1px solid;
  vertical-align: middle; margin-left: .6rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .odd { color: var(--odd); }
.tiles + p { margin-top: .8rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .7rem; margin-top: 1.4rem; }
.tile { background: var(--card); border-radius: .6rem; padding: .7rem .9rem; overflow-wrap: anywhere; }
.tile b { display: block; font-size: 1.45rem; line-height: 1.25; }
table { border-collapse: collapse; width: 100%; } .scroll { overflow-x: auto; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: 500; } td.n, th.n { text-align: right; }
td.words { overflow-wrap: anywhere; min-width: 16rem; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 12px; }
.bar { fill: var(--bar); } .grid { stroke: var(--line); }
.quota { stroke: var(--quota); stroke-width: 1.5; fill: none; }
.run { stroke: var(--dim); stroke-dasharray: 3 3; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
"""The content security policy: no script, no image, no style attribute."""
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that the command line does not print either: controls, formats, surrogates, separators."""


class _Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def _html(value: object, form: str = ",") -> _Html:
    """Return a value as HTML: a number formatted, None as nothing, all else as escaped text.

    Characters that control a terminal, or hide or reverse what follows, become U+FFFD.

    Args:
        value: The value, of whatever type the journal has.
        form: The format of a number.
    """
    if isinstance(value, _Html):
        return value
    if isinstance(value, (int, float)):
        return _Html(format(value, form))
    text = "" if value is None else str(value)
    return _Html(escape("".join("\ufffd" if _is_hidden(character) else character for character in text)))


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character != "\n"


def _or_unknown(compute: Callable[[], object]) -> object:
    """Return a figure computed from others; "?" if one of those is no number."""
    try:
        return compute()
    except TypeError:
        return "?"


def write_html(journal: JournalReader, page: Path | str) -> None:
    """Write the report of a journal, also while its job runs.

    Args:
        journal: The journal.
        page: The HTML file; replaced if it is an earlier report.

    Raises:
        JournalError: there is no such journal, it cannot be read, or the page would take the place of another file.
        OSError: the page cannot be written.
    """
    page = Path(page)
    if page.is_file():  # a pipe has nothing to read
        with page.open("rb") as file:
            start = file.read(len(_DOCTYPE))
        if start not in {b"", _DOCTYPE}:  # a slip of the keyboard must not cost the input, or the journal
            message = f"{page} exists and is no report: give the page another name"
            raise JournalError(message)
    figures = journal.figures()
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{_html(figures.status.about.get('job', 'job'))}: report</title>"
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{''.join(_body(figures, journal))}</body></html>\n"
    )
    with open(page, "w", encoding="utf-8", newline="\n", opener=_open_private) as file:
        file.write(text)


def _open_private(path: str, flags: int) -> int:
    """Open a file; a new one is for its owner only, since server messages may hold personal data."""
    return os.open(path, flags, 0o600)


def _body(figures: JournalFigures, journal: JournalReader) -> Iterator[str]:
    status, counts = figures.status, figures.status.counts
    state, colour = _state(status)
    about = status.about
    yield f'<h1>{_html(about.get("job", "job"))}<span class="badge {colour}">{state}</span></h1>'
    yield f'<p class="dim">Store {_html(about.get("store", "?"))} at {_html(about.get("server", "?"))}. '
    yield f"Journal {_html(journal.name)}, as of {_time(datetime.now(UTC).timestamp())}.</p>"
    not_reached = _or_unknown(lambda: status.not_reached)
    tiles: list[tuple[str, object, str]] = [
        ("succeeded", counts.succeeded, "good"),
        ("failed", counts.failed, "bad" if counts.failed else ""),
        ("unknown", counts.unknown, "odd" if counts.unknown else ""),
        ("duplicates", counts.duplicate, ""),
        ("not reached", not_reached, "odd" if not_reached else ""),
        ("total", _or_unknown(lambda: status.all), ""),
        ("requests", _or_unknown(lambda: sum(minute.requests for minute in figures.minutes)), ""),
        ("sent again", figures.repeated, "odd" if figures.repeated else ""),
    ]
    yield '<div class="tiles">'
    yield "".join(f'<div class="tile {css}"><b>{_html(number)}</b>{name}</div>' for name, number, css in tiles)
    yield "</div>"
    yield f'<p class="dim">{_html(_or_unknown(lambda: counts.all))} items were read'
    yield "" if status.total is None else f" of {_html(status.total)}"
    yield f"; complete through position {_html(status.low_water_mark)}. "
    yield "“Sent again”: a request was sent in an earlier run and its outcome was never recorded.</p>"
    yield "<h2>Requests a minute against the quota</h2>"
    yield _chart(figures.minutes)
    yield "<h2>How long an item takes, from its first send on</h2>"
    yield _latency(figures)
    yield "<h2>Why items failed or are unknown</h2>"
    yield _reasons(figures.reasons, figures.more_reasons)
    if counts.unknown:
        yield "<h2>Items with an unknown outcome</h2>"
        yield _unknowns(journal, counts.unknown)
    if figures.duplicates:
        yield "<h2>Duplicates</h2>"
        yield _table(("item", "further times in the input"), figures.duplicates.items(), numbers={1})
    yield "<h2>Runs</h2>"
    yield _runs(status)


def _state(status: JournalStatus) -> tuple[str, str]:
    counts = status.counts
    if status.running:
        return "running", "odd"
    if not status.runs or status.runs[-1].how != "finished":
        return "stopped early", "bad"
    return ("finished", "good") if not (counts.failed or counts.unknown) else ("finished, not all succeeded", "odd")


def _time(seconds: object) -> object:
    """Return a Unix time as text; what is none, as it is."""
    try:
        return datetime.fromtimestamp(cast("float", seconds), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (TypeError, ValueError, OverflowError, OSError):
        return seconds


def _table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: Iterable[int] = (), words: int = -1
) -> str:
    """Return a table; its cells are values, or HTML already."""
    css = {**dict.fromkeys(numbers, ' class="n"'), words: ' class="words"'}
    head = "".join(f"<th{css.get(place, '')}>{text}</th>" for place, text in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{css.get(place, '')}>{_html(cell)}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _latency(figures: JournalFigures) -> str:
    if not figures.seconds:
        return '<p class="dim">No requests were sent.</p>'
    names = {50: "median", 100: "longest"}
    heads = [names.get(percent, f"{percent} %") for percent in figures.seconds]
    cells = [_Html(f"{_html(seconds, '.3f')} s") for seconds in figures.seconds.values()]
    return _table(heads, [cells], numbers=range(len(heads)))


def _reasons(reasons: Sequence[Reason], more: int) -> str:
    if not reasons:
        return '<p class="dim">None did.</p>'
    rows = (
        (
            reason.items,
            _Html(f'<span class="{"bad" if reason.status == "failed" else "odd"}">{_html(reason.status)}</span>'),
            reason.error,
            _html(reason.http_status, ""),
            _html(reason.code, ""),
            reason.message,
            ", ".join(map(str, reason.examples)) + (" …" if reason.items != len(reason.examples) else ""),
        )
        for reason in reasons
    )
    table = _table(("items", "", "error", "HTTP", "code", "in words", "for example"), rows, numbers={0, 3, 4}, words=5)
    return table + (f'<p class="dim">And {_html(more)} further reasons.</p>' if more else "")


def _unknowns(journal: JournalReader, number: int) -> str:
    outcomes = journal.outcomes("unknown")
    rows = (
        (outcome.key, outcome.position, _time(outcome.sent), outcome.failure and outcome.failure.text)
        for outcome in itertools.islice(outcomes, _MOST_UNKNOWNS)
    )
    table = _table(("item", "position", "sent", "what is known"), rows, numbers={1}, words=3)
    if next(outcomes, None) is None:
        return table
    command = f"b2b-async export {journal.name} --only unknown"
    return f'{table}<p class="dim">The first {_MOST_UNKNOWNS:,} of {_html(number)}; for all: {_html(command)}</p>'


def _runs(status: JournalStatus) -> str:
    rows = (
        (
            _html(run.run, ""),
            _time(run.started),
            _time(run.finished),
            run.how or ("running" if status.running and run is status.runs[-1] else "interrupted"),
            run.process,
        )
        for run in status.runs
    )
    return _table(("run", "began", "ended", "how", "process"), rows, numbers={0}, words=3)


# -- the chart -------------------------------------------------------------------------------------------------------


def _chart(minutes: Sequence[Minute]) -> str:
    """Draw bars of requests a minute, run after run, and the quota as a line."""
    if not minutes:
        return '<p class="dim">No requests were sent.</p>'
    if not all(map(_is_drawable, minutes)):
        return '<p class="dim">There is no chart: the minutes in the journal are damaged.</p>'
    bars = list(_bars(minutes))
    size = -(-len(bars) // _COLUMNS)
    bins = [bars[start : start + size] for start in range(0, len(bars), size)]
    highest = max(max(requests, quota) for _, _, requests, quota in bars) * 1.08 or 1.0
    width = (_WIDTH - _LEFT) / len(bins)

    def x(place: float) -> str:
        return f"{_LEFT + place * width:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / highest):.1f}"

    parts = [f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{y(0)}" y2="{y(0)}"/>']
    quota_line: list[str] = []
    run_before = bins[0][0][0]
    for place, one in enumerate(bins):
        run, minute, *_ = one[0]
        mean = sum(requests for *_, requests, _ in one) / len(one)
        allowed = min(quota for *_, quota in one)
        text = f"run {run}, {_clock(minute)}" + (f" to {_clock(one[-1][1])}" if size > 1 else "")
        parts.append(
            f'<rect class="bar" x="{x(place + 0.1)}" y="{y(mean)}" width="{max(0.5, width * 0.8):.1f}" '
            f'height="{float(y(0)) - float(y(mean)):.1f}"><title>{text}: {mean:,.4g} of {allowed:,.4g}</title></rect>'
        )
        quota_line += [f"{x(place)},{y(allowed)}", f"{x(place + 1)},{y(allowed)}"]
        if run != run_before:
            parts.append(f'<line class="run" x1="{x(place)}" x2="{x(place)}" y1="{_TOP}" y2="{y(0)}"/>')
            run_before = run
    parts.append(f'<polyline class="quota" points="{" ".join(quota_line)}"/>')
    quota = bars[-1][3]
    parts += [
        f'<text x="{_LEFT - 6}" y="{float(y(value)) + 4:.1f}" text-anchor="end">{value:,.4g}</text>'
        for value in (0.0, quota / 2, quota)
    ]
    for place in sorted({0, len(bins) // 2, len(bins) - 1}):
        run, minute, *_ = bins[place][0]
        anchor = "start" if place == 0 else "end"
        parts.append(
            f'<text x="{x(place if place == 0 else place + 1)}" y="{_HEIGHT - 6}" text-anchor="{anchor}">'
            f"run {run}, {_clock(minute)}</text>"
        )
    note = (
        "Bars: requests sent in each minute (UTC) of a run, verifications included. Line: what the quota allows a "
        "minute."
    )
    if size > 1:
        note += f" A bar is the mean of {size} minutes."
    if any(one[0][0] != bins[0][0][0] for one in bins):
        note += " Dashed: another run begins."
    label = f"Requests a minute: at most {max(requests for _, _, requests, _ in bars):,} of {quota:,.4g}"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
        f'<p class="dim">{note}</p>'
    )


def _clock(minute: int) -> str:
    """Return a minute since 1970 as date and time in UTC; one that no calendar has, as its number."""
    try:
        return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"minute {minute}"


def _is_drawable(minute: Minute) -> bool:
    """Return whether all values of a minute are numbers."""
    counts = (minute.run, minute.minute, minute.requests)
    return all(_is_number(value, int) for value in counts) and _is_number(minute.quota, int, float)


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds) and 0 <= cast("float", value) < math.inf


def _bars(minutes: Sequence[Minute]) -> Iterator[tuple[int, int, int, float]]:
    """Yield run, minute, requests and quota of every minute; the journal has no row for one without requests.

    Where a run was paused for longer, or the clock was set, the next minute stands beside the last.
    """
    for run, some in itertools.groupby(minutes, key=lambda minute: minute.run):
        following: int | None = None
        for minute in some:
            if following is not None and minute.minute - following <= _LONGEST_GAP:
                for empty in range(following, minute.minute):
                    yield run, empty, 0, minute.quota
            yield run, minute.minute, minute.requests, minute.quota
            following = minute.minute + 1
