"""The porch: words on a command line become calls; nothing else.

Exit status: 0 all succeeded, 1 some failed or unknown, 2 wrong usage or bad input (nothing was sent),
3 stopped early (run it again to go on), 4 fatal (credentials, configuration).
"""

from __future__ import annotations

import click

from b2b_async import __version__
from b2b_async.cli.assign import assign
from b2b_async.cli.check import check
from b2b_async.cli.common import Exit
from b2b_async.cli.create_orders import create_orders
from b2b_async.cli.demo import demo
from b2b_async.cli.journals import export, report, status
from b2b_async.cli.sandbox import sandbox


class _Commands(click.Group):
    """Commands that say by their exit status that Ctrl-C stopped them."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("b2b-async: stopped", err=True)
            ctx.exit(Exit.STOPPED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="b2b-async")
def commands() -> None:
    """Work with BigCommerce B2B Edition from the command line.

    Credentials come from the environment: B2B_ACCESS_TOKEN and B2B_STORE_HASH for v3, B2B_LEGACY_TOKEN for v2,
    B2B_BASE_URL for another address than the vendor's.

    Exit status: 0 all succeeded, 1 some failed or unknown, 2 wrong usage or bad input (nothing was sent),
    3 stopped early (run it again to go on), 4 fatal (credentials).
    """


for command in (demo, assign, create_orders, check, status, export, report, sandbox):
    commands.add_command(command)
