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

from b2b_async._config import DEFAULT_BASE_URL, Credentials, checked_base_url, checked_proxy, proxy_of_environment
from b2b_async._policy import ends_job
from b2b_async.client import Client
from b2b_async.errors import ConfigurationError, PermissionDeniedError
from b2b_async.ratelimit.limiter import RateLimiter
from b2b_async.ratelimit.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


class Exit(IntEnum):
    """The exit statuses."""

    DONE = 0
    INCOMPLETE = 1
    USAGE = 2
    STOPPED = 3
    FATAL = 4


RESULT: list[Exit] = []
"""The exit status that a command has come to before all of its output is printed; empty before that."""
_STEERING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (bidirectional ones, too), surrogates, separators of lines and paragraphs."""


def errors_console() -> Console:
    """Give the console for people who watch: stderr, so that stdout stays for results."""
    return Console(stderr=True, highlight=False)


if TYPE_CHECKING:

    class ParamType(click.ParamType[T]):
        """A type of click's."""
else:

    class ParamType(click.ParamType):
        """A type of click's, which takes a type argument from 8.4 on only."""

        def __class_getitem__(cls, _kind: object) -> type[click.ParamType]:
            """Ignore it."""
            return cls


class QuotaType(ParamType[Quota]):
    """150/60s on the command line."""

    name = "N/Ts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Quota:  # noqa: ANN401 -- click's
        """Read the quota."""
        try:
            return Quota.parse(str(value))
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


class CheckedType(ParamType[str]):
    """A text on the command line that one of our own functions checks.

    Args:
        name: What it is.
        check: Raises ``ConfigurationError``.
    """

    def __init__(self, name: str, check: Callable[[str], object]) -> None:
        """Keep the function."""
        self.name = name
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ANN401 -- click's
        """Check the text."""
        try:
            self._check(str(value))
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)
        return str(value)


def server_options(function: F) -> F:
    """Add --base-url and --proxy."""
    where = "Where the API is; else B2B_BASE_URL, else the vendor's."
    proxy = "The HTTP proxy to use, http://[USER:PASSWORD@]HOST:PORT; else HTTPS_PROXY and NO_PROXY."
    function = click.option("--proxy", type=CheckedType("URL", _check_proxy), metavar="URL", help=proxy)(function)
    url = CheckedType("URL", checked_base_url)
    return click.option("--base-url", type=url, metavar="URL", envvar="B2B_BASE_URL", help=where)(function)


def _check_proxy(proxy: str) -> None:
    checked_proxy(proxy, DEFAULT_BASE_URL)


def quota_option(function: F) -> F:
    """Add --quota."""
    text = "The store's quota until the server tells it, as requests/seconds."
    return click.option("--quota", type=QuotaType(), default="150/60s", show_default=True, help=text)(function)


def redis_option(function: F) -> F:
    """Add --redis and --processes."""
    text = "Share the quota with other processes over this Redis or Valkey server; else B2B_REDIS_URL."
    many = "With --redis: how many processes share the quota, for the time that Redis cannot be reached."
    function = click.option("--processes", type=click.IntRange(1), metavar="N", help=many)(function)
    return click.option("--redis", "redis_url", metavar="URL", envvar="B2B_REDIS_URL", help=text)(function)


def limiter_of(quota: Quota, redis_url: str | None, processes: int | None = None) -> RateLimiter:
    """Give the limiter that the options ask for, for the store of the environment.

    Raises:
        click.UsageError: the address of Redis cannot be used, or the extra is not installed.
        ConfigurationError: there are no credentials.
    """
    if redis_url is None:
        return RateLimiter(quota)
    if importlib.util.find_spec("redis") is None:
        message = "--redis needs a package that is not installed: pip install 'b2b-async[cli,redis]'"
        raise click.UsageError(message)
    from b2b_async.ratelimit.redis import RedisRateLimiter  # noqa: PLC0415 -- an extra, and slow to import

    store = os.environ.get("B2B_STORE_HASH")
    if not store:  # a legacy token alone; its store has no other name
        store = Credentials(legacy_token=os.environ.get("B2B_LEGACY_TOKEN") or None).fingerprint()
    try:
        return RedisRateLimiter(redis_url, store, quota, processes=processes)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def client_of(base_url: str | None, proxy: str | None, limiter: RateLimiter, **options: Any) -> Client:  # noqa: ANN401 -- those of Client
    """Return a client with the credentials of the environment, and its proxy where none is given.

    Raises:
        ConfigurationError: the credentials cannot be used.
        click.UsageError: the proxy cannot be used for that address.
    """
    where = base_url or DEFAULT_BASE_URL
    try:
        proxy = checked_proxy(proxy, where) or proxy_of_environment(where)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None
    return Client.from_env(base_url=where, limiter=limiter, proxy=proxy, **options)


def is_fatal(error: Exception) -> bool:
    """Return whether a call that ended with *error* would do so again: credentials, configuration, permission."""
    return ends_job(error) or isinstance(error, PermissionDeniedError)


def wrong_store(variable: str = "B2B_ACCESS_TOKEN") -> str:
    """Return what to do about a server that answers everything with a 5xx, as it does for a wrong store hash."""
    return (
        f"It does so for a wrong store hash: check B2B_STORE_HASH and {variable}. If both are right, the server has a "
        "bad time: try again in some minutes."
    )


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
    logging.getLogger("b2b_async.ratelimit.redis").setLevel(logging.WARNING)  # that the quota is not shared any more
    logging.getLogger("b2b_async.lists").setLevel(logging.WARNING)  # that rows may be missing


def calm_collector() -> None:
    """Have the garbage collector look seldom, and never at what was there before the job.

    A job makes no cycles to speak of; looking for them after every few items costs a tenth of its CPU
    (``benchmarks/bulk.py``).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def visible(text: str) -> str:
    """Return a text without what would steer a terminal, hide or reverse what follows, or cannot be written."""
    return "".join(
        character
        if character == "\n" or unicodedata.category(character) not in _STEERING
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def say(text: str) -> None:
    """Print a sentence for people on stderr; names in it are shown safely."""
    click.echo(visible(text), err=True)


def print_json(facts: dict[str, Any]) -> None:
    """Print the line for programs on stdout."""
    click.echo(json.dumps(facts))


def finish(command: str, status: Exit, facts: dict[str, Any], *, as_json: bool) -> NoReturn:
    """End with *status*; with --json, say it all in one line on stdout. Options behind the *command* are left out."""
    RESULT[:] = [status]
    if as_json:
        print_json({"command": command.partition(" --")[0], "exit": int(status), **facts})
    click.get_current_context().exit(int(status))


def refuse(command: str, status: Exit, problems: list[str], *, as_json: bool) -> NoReturn:
    """End with *status* because of *problems*, which people read on stderr."""
    for problem in problems:
        say(f"b2b-async {command}: {problem}")
    finish(command, status, {"error": problems[0], "problems": problems}, as_json=as_json)
