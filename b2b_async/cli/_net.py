"""One net around the command line: whatever ends a command early becomes a sentence and an exit status.

Output that cannot be written raises ``OutputError`` once, at the place where it happens. What goes to stderr never
raises, so that a job goes on when its terminal has gone.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from b2b_async.cli._common import RESULT, Exit, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

_GROUPS = {"orders", "users", "companies"}


class OutputError(Exception):
    """The output of a command cannot be written. It is no OSError, since click exits on some of those by itself.

    Args:
        error: What the system says.
    """

    def __init__(self, error: OSError) -> None:
        """Keep what is needed to say so."""
        super().__init__(error)
        closed = error.errno in {errno.EPIPE, errno.EBADF}
        self.reason = "stdout is closed" if closed else error.strerror or type(error).__name__


class _Output(io.FileIO):
    """The raw stream of stdout: it says once that it cannot be written, and then takes everything."""

    _broken = False

    def write(self, octets: Buffer, /) -> int:
        """Write, or raise ``OutputError``."""
        if self._broken:
            return len(memoryview(octets))
        try:
            return super().write(octets)
        except OSError as error:
            self._broken = True
            raise OutputError(error) from None


class _Messages(io.FileIO):
    """The raw stream of stderr: it ignores that it is closed or full."""

    def write(self, octets: Buffer, /) -> int:
        """Write, if that is possible."""
        with contextlib.suppress(OSError):
            return super().write(octets)
        return len(memoryview(octets))


def run(command: Callable[[], object]) -> NoReturn:
    """Run *command* as the whole of the process: with its streams, its signals, and its exit status.

    Args:
        command: Ends with ``SystemExit``.
    """
    _open_streams()
    # Until a job takes its signals over, the end that a supervisor asks for is that which Ctrl-C asks for.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    status: int | None = Exit.DONE
    try:
        command()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else Exit.DONE
    except KeyboardInterrupt:  # in the last moment
        status = Exit.STOPPED
    except OutputError as error:
        status = _unwritten(error, None, sys.argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done, and Python's clean-up would answer with a traceback
        signal.signal(number, signal.SIG_IGN)
    try:
        sys.stdout.flush()
    except OutputError as error:
        status = _unwritten(error, status, sys.argv)
    sys.exit(status)


def status_of(command: Callable[[], object], words: Sequence[str]) -> int:
    """Run a command of click's, not in its standalone mode; return its exit status, whatever ends it.

    Args:
        command: Returns the exit status, or something else for 0.
        words: The command line.
    """
    RESULT.clear()
    try:
        status = command()
    except click.ClickException as error:
        error.show()
        _print_json(Exit.USAGE, error.format_message(), words)
        return Exit.USAGE
    except (KeyboardInterrupt, click.Abort):
        return _ended(Exit.STOPPED, "stopped", words)
    except OutputError as error:
        return _unwritten(error, RESULT[0] if RESULT else None, words)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _ended(Exit.STOPPED, f"{where}{error.strerror or error}", words)
    return status if isinstance(status, int) else Exit.DONE


def _unwritten(error: OutputError, status: int | None, words: Sequence[str]) -> int:
    """Say that the output could not be written.

    A job's status stands where only a table for people is missing; else the command has not done what it was for.
    """
    say(f"b2b-async: the output could not be written: {error.reason}")
    if status is None or ("--json" in words and status in {Exit.DONE, Exit.INCOMPLETE}):
        return Exit.STOPPED
    return status


def _ended(status: Exit, text: str, words: Sequence[str]) -> int:
    say(f"b2b-async: {text}")
    _print_json(status, text, words)
    return status


def _print_json(status: Exit, error: str, words: Sequence[str]) -> None:
    if "--json" in words:
        names = [word for word in words if not word.startswith("-")]
        command = " ".join(names[: 2 if names and names[0] in _GROUPS else 1]) or None
        with contextlib.suppress(OutputError):  # there is nowhere else to say so
            print_json({"command": command, "exit": int(status), "error": error})


def _open_streams() -> None:
    """Replace stdout and stderr by streams that behave well when they are closed, full, or no longer read."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file would get its number, and what is printed would end in that: in a journal, say.
            os.open(os.devnull, os.O_RDONLY)
    if os.name == "nt":  # pragma: no cover -- consoles there are no files, and no test runs there
        return
    encoding = sys.stdout.encoding if sys.stdout is not None else "utf-8"  # pyright: ignore[reportUnnecessaryComparison]
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Output(1, "w", closefd=False)), encoding, line_buffering=True)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(_Messages(2, "w", closefd=False)), encoding, "backslashreplace", line_buffering=True
    )
