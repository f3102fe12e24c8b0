"""The end of a command that ran a job: what became of it, why items failed, and what to do next."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING, Any

import attrs
from rich.console import Console

from b2b_async.bulk import JournalError, SQLiteReader
from b2b_async.cli._common import RESULT, Exit, finish, say, wrong_store
from b2b_async.cli._progress import summary_table

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

    from b2b_async.bulk import JobKind, JobSummary
    from b2b_async.cli._progress import Screen

_SERVER_ERROR = 500


def status_of(summary: JobSummary) -> Exit:
    """Return the exit status of a run."""
    if summary.fatal is not None:
        return Exit.FATAL
    if summary.stopped:
        return Exit.STOPPED
    return Exit.INCOMPLETE if summary.failed or summary.unknown or summary.skipped_failed else Exit.DONE


def print_conclusion(console: Console, kind: JobKind, summary: JobSummary, screen: Screen) -> None:
    """Print what every command shows at the end of a job: the totals of its results and items, and why items failed.

    Args:
        console: For the table.
        kind: What the job did with each item.
        summary: What became of it.
        screen: What was seen of it.
    """
    console.print(summary_table(summary, {text: screen.totals[name] for name, text in kind.totals.items()}))
    for failure, items in screen.reasons.items():
        say(f"{items:,} times: {failure}")


def conclude(
    kind: JobKind, summary: JobSummary, screen: Screen, *, command: str, journal: Path, again: str, as_json: bool
) -> NoReturn:
    """End the command of a job that has a summary.

    Args:
        kind: What the job did with each item.
        summary: What became of it.
        screen: What was seen of it.
        command: Its name, and what else must be said to repeat it.
        journal: Its journal.
        again: How to go on, as a sentence.
        as_json: Print the line for programs, and no table.
    """
    status = status_of(summary)
    RESULT[:] = [status]
    print_conclusion(Console(highlight=False, quiet=as_json), kind, summary, screen)
    for sentence in _next_steps(kind, summary, screen, command=command, journal=journal, again=again):
        say(sentence)
    facts = {
        **attrs.asdict(summary),
        "done": summary.done,
        "total": summary.total,
        "results": {name: screen.totals[name] for name in kind.totals},
        "journal": str(journal),
    }
    finish(command, status, facts, as_json=as_json)


def _next_steps(
    kind: JobKind, summary: JobSummary, screen: Screen, *, command: str, journal: Path, again: str
) -> list[str]:
    """Return what there is to know and to do, as sentences."""
    name, steps = shlex.quote(str(journal)), list[str]()
    if summary.repeated:
        why = " They were absent at two verifications, a minute apart (--resend-if-absent)."
        why = "" if kind.find is None else why
        steps.append(f"{summary.repeated:,} items were sent again that an earlier run may have done already.{why}")
    if summary.fatal is not None:
        steps += [
            f"b2b-async {command}: stopped, since every other item would fail the same way: {summary.fatal}",
            f"Run 'b2b-async check', then: {again} (with another --journal for another store)",
        ]
    elif summary.stopped:
        steps.append(f"Stopped: {summary.reason}. {again}")
    if summary.skipped_failed:
        steps.append(
            f"{summary.skipped_failed:,} items were refused by an earlier run and not tried again; they make the exit "
            f"status 1. To try them again: b2b-async {command} --from {name} --only failed"
        )
    if summary.failed or summary.unknown or summary.skipped_failed:
        steps.append(f"See why: b2b-async report {name} --html report.html, or b2b-async export {name}")
    server_errors = sum(items for code, items in screen.statuses.items() if code is not None and code >= _SERVER_ERROR)
    if server_errors and not summary.succeeded + summary.skipped - summary.skipped_failed:
        steps.append(f"The server failed on {server_errors:,} items, and none succeeded. {wrong_store()}")
    if screen.pages and not summary.succeeded:
        steps.append(
            f"{screen.pages:,} items got no answer of B2B Edition's. Check the address (B2B_BASE_URL): b2b-async check"
        )
    return steps


def conclude_abruptly(command: str, reason: str, *, journal: Path, again: str, as_json: bool) -> NoReturn:
    """End the command of a job that could not stop in good order, and so has no summary."""
    say(f"Stopped at once by {reason}. {again}")
    facts: dict[str, Any] = {"stopped": True, "reason": reason, "journal": str(journal)}
    with contextlib.suppress(JournalError):
        found = SQLiteReader(journal).status()
        facts |= {"done": found.all - found.not_reached, "pending": found.not_reached, "total": found.all}
    finish(command, Exit.STOPPED, facts, as_json=as_json)
