"""The porch: words on a command line become calls; nothing else.

Exit status: 0 all succeeded, 1 some failed or unknown, 2 wrong usage or bad input (nothing was sent),
3 stopped early (run it again to go on), 4 fatal (credentials, configuration).
"""

from __future__ import annotations

import json

import click

from b2b_async import __version__
from b2b_async.cli.assign import assign
from b2b_async.cli.check import check
from b2b_async.cli.common import Exit
from b2b_async.cli.create_orders import create_orders
from b2b_async.cli.demo import demo
from b2b_async.cli.journals import export, report, status
from b2b_async.cli.lookups import companies, orders, users
from b2b_async.cli.sandbox import sandbox

_WORDS = f"{__name__}.words"
_GROUPS = {"orders", "users", "companies"}


class _Commands(click.Group):
    """Commands that say that Ctrl-C or wrong usage stopped them: by their exit status, and with --json in JSON."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the words: the options of a command are not known before it is called."""
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _say(ctx, Exit.USAGE, error.format_message())
            raise
        except KeyboardInterrupt:
            click.echo("b2b-async: stopped", err=True)
            _say(ctx, Exit.STOPPED, "stopped")
            ctx.exit(Exit.STOPPED)


def _say(ctx: click.Context, status: Exit, error: str) -> None:
    words: list[str] = ctx.meta[_WORDS]
    if "--json" in words:
        names = [word for word in words if not word.startswith("-")]
        command = " ".join(names[: 2 if names and names[0] in _GROUPS else 1]) or None
        click.echo(json.dumps({"command": command, "exit": int(status), "error": error}))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="b2b-async")
def commands() -> None:
    """Work with BigCommerce B2B Edition from the command line.

    Credentials come from the environment: B2B_ACCESS_TOKEN and B2B_STORE_HASH for v3, B2B_LEGACY_TOKEN for v2,
    B2B_BASE_URL for another address than the vendor's.

    Exit status: 0 all succeeded, 1 some failed or unknown, 2 wrong usage or bad input (nothing was sent),
    3 stopped early (run it again to go on), 4 fatal (credentials).
    """


for command in (demo, assign, create_orders, orders, users, companies, check, status, export, report, sandbox):
    commands.add_command(command)
