"""The command's front door, which also stands without the extra that the command needs."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the ``b2b-async`` command."""
    try:
        from b2b_async.cli import commands  # noqa: PLC0415 -- only here can its absence be explained
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit("b2b-async: the command line needs two more packages: pip install 'b2b-async[cli]'")
    # Until a job takes its signals over, the end that a supervisor asks for is that which Ctrl-C asks for.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    commands.main(prog_name="b2b-async")


if __name__ == "__main__":
    main()
