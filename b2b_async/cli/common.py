"""What the commands share: options, exit statuses, the JSON line, and the way into asyncio."""

from __future__ import annotations

import gc
import importlib.util
import json
import logging
import os
import unicodedata
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from rich.console import Console

from b2b_async._config import Credentials
from b2b_async._limiter import RateLimiter
from b2b_async.errors import ConfigurationError
from b2b_async.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")


class Exit(IntEnum):
    """The exit statuses."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    STOPPED = 3
    FATAL = 4


def errors_console() -> Console:
    """Give the console for people who watch: stderr, so that stdout stays for results."""
    return Console(stderr=True, highlight=False)


class QuotaType(click.ParamType[Quota]):
    """150/60s on the command line."""

    name = "N/Ts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Quota:  # noqa: ANN401 -- click's
        """Read the quota."""
        try:
            return Quota.parse(str(value))
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


def base_url_option(function: F) -> F:
    """Add --base-url."""
    return click.option("--base-url", metavar="URL", help="Where the API is; else B2B_BASE_URL, else the vendor's.")(
        function
    )


def quota_option(function: F) -> F:
    """Add --quota."""
    text = "The store's quota until the server tells it, as requests/seconds."
    return click.option("--quota", type=QuotaType(), default="150/60s", show_default=True, help=text)(function)


def redis_option(function: F) -> F:
    """Add --redis."""
    text = "Share the quota with other processes over this Redis or Valkey server; else B2B_REDIS_URL."
    return click.option("--redis", "redis_url", metavar="URL", envvar="B2B_REDIS_URL", help=text)(function)


def limiter_of(quota: Quota, redis_url: str | None) -> RateLimiter:
    """Give the limiter that the options ask for, for the store of the environment.

    Raises:
        ConfigurationError: the address of Redis cannot be used, or the extra is not installed.
    """
    if redis_url is None:
        return RateLimiter(quota)
    if importlib.util.find_spec("redis") is None:
        message = "--redis needs a package that is not installed: pip install 'b2b-async[cli,redis]'"
        raise ConfigurationError(message)
    from b2b_async.redis import RedisRateLimiter  # noqa: PLC0415 -- an extra, and slow to import

    store = os.environ.get("B2B_STORE_HASH")
    if not store:  # a legacy token alone; its store has no other name
        store = Credentials(legacy_token=os.environ.get("B2B_LEGACY_TOKEN") or None).fingerprint()
    return RedisRateLimiter(redis_url, store, quota)


def json_option(function: F) -> F:
    """Add --json."""
    text = "Print one JSON object as the last line of stdout."
    return click.option("--json", "as_json", is_flag=True, help=text)(function)


def verbose_option(function: F) -> F:
    """Add --verbose."""
    return click.option("--verbose", "-v", is_flag=True, help="Log every call and retry to stderr.")(function)


def start_logging(*, verbose: bool) -> None:
    """Show errors of the library, or everything, on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("b2b_async")
    logger.handlers = [handler]
    # The bar counts the failures; retries are for those who want to see everything.
    logger.setLevel(logging.DEBUG if verbose else logging.ERROR)
    logging.getLogger("b2b_async.redis").setLevel(logging.WARNING)  # that the quota is not shared any more
    logging.getLogger("b2b_async.lists").setLevel(logging.WARNING)  # that rows may be missing


def calm_collector() -> None:
    """Have the garbage collector look seldom, and never at what was there before the job.

    A job makes no cycles to speak of; looking for them after every few items costs a tenth of its CPU
    (``benchmarks/bulk.py``).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def visible(text: str) -> str:
    """Show a server's words without what would steer a terminal or cannot be written."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in {"Cc", "Cs"}
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def finish(command: str, status: Exit, facts: dict[str, Any], *, as_json: bool) -> NoReturn:
    """End with *status*; with --json, say it all in one line on stdout."""
    if as_json:
        click.echo(json.dumps({"command": command, "exit": int(status), **facts}))
    click.get_current_context().exit(int(status))


def refuse(command: str, status: Exit, problems: list[str], *, as_json: bool) -> NoReturn:
    """End with *status* because of *problems*, which people read on stderr."""
    for problem in problems:
        click.echo(f"b2b-async {command}: {visible(problem)}", err=True)
    finish(command, status, {"error": problems[0], "problems": problems}, as_json=as_json)
