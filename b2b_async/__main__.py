"""The command's entry point: Ctrl-C counts from its first line on, and the extra that it needs may be missing."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing typing, which takes its time
    from typing import NoReturn

_USAGE, _STOPPED = 2, 3
"""Exit statuses; see ``b2b_async.cli._common.Exit``, which cannot be imported yet."""


def _end(status: int, text: str) -> NoReturn:
    """End without any of Python's own clean-up, which a second Ctrl-C would interrupt with a traceback."""
    _write(2, f"b2b-async: {text}\n")
    if "--json" in sys.argv:
        quoted = text.replace('"', "'")
        _write(1, f'{{"command": null, "exit": {status}, "error": "{quoted}"}}\n')
    os._exit(status)


def _write(descriptor: int, text: str) -> None:
    try:
        os.write(descriptor, text.encode())
    except OSError:
        return  # it is closed or full, and there is nowhere else to say so


def _stop_at_once(_number: int, _frame: object) -> None:
    _end(_STOPPED, "stopped")


try:
    import signal
except KeyboardInterrupt:  # it takes some milliseconds itself
    _end(_STOPPED, "stopped")


def main() -> None:
    """Run the ``b2b-async`` command."""
    # While modules are imported, an exception could end anywhere in them, and nothing has been done that needs one.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop_at_once)
    try:
        from b2b_async.cli import _net, commands  # noqa: PLC0415 -- only here can its absence be explained
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        _end(_USAGE, "the command line needs two more packages: pip install 'b2b-async[cli]'")
    _net.run(commands.main)


if __name__ == "__main__":
    main()
