"""``b2b-async check``: are these credentials good, and what quota is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import click

from b2b_async._config import Timeouts
from b2b_async._headers import QuotaHeaders
from b2b_async._messages import Operation
from b2b_async._policy import RetryPolicy
from b2b_async.cli.common import (
    Exit,
    base_url_option,
    finish,
    json_option,
    limiter_of,
    quota_option,
    redis_option,
    refuse,
    start_logging,
    verbose_option,
)
from b2b_async.client import Client
from b2b_async.errors import (
    APIConnectionError,
    AuthenticationError,
    B2BError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
)
from b2b_async.v3.companies import LIST_COMPANIES

if TYPE_CHECKING:
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.quota import Quota

# Not that of b2b_async.v2, which warns when it is imported.
_GET_COMPANY_BY_CUSTOMER_ID = Operation("Get Company By CustomerId", "v2", "GET", "/users/{customerId}/companies")


@click.command()
@base_url_option
@quota_option
@redis_option
@json_option
@verbose_option
def check(*, base_url: str | None, quota: Quota, redis_url: str | None, as_json: bool, verbose: bool) -> None:
    """Make one harmless call for each credential and say whether it is accepted."""
    start_logging(verbose=verbose)
    try:
        client = Client.from_env(
            base_url=base_url,
            limiter=limiter_of(quota, redis_url),
            retry=RetryPolicy(attempts=2),
            timeout=Timeouts(call=15, attempt=10, connect=5),
        )
    except ConfigurationError as error:
        refuse("check", Exit.FATAL, [str(error)], as_json=as_json)
    facts = asyncio.run(_check(client))
    good = all(facts["credentials"].values())
    for sentence in facts["sentences"]:
        click.echo(sentence, err=as_json)
    finish("check", Exit.DONE if good else Exit.FATAL, facts, as_json=as_json)


async def _check(client: Client) -> dict[str, Any]:
    sentences: list[str] = []
    good: dict[str, bool] = {}
    credentials = client.credentials
    told: list[tuple[int, float]] = []

    async def listen(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        if allocated := QuotaHeaders.from_headers(response.headers, refused=False).allocated:
            told.append(allocated)
        return response

    async with client.limiter, client.with_options(per_attempt=[listen]) as asking, client:
        if credentials.access_token is not None:
            good["v3"], sentence = await _ask(asking, "v3", LIST_COMPANIES, query={"limit": "1"})
            sentences.append(sentence)
        if credentials.legacy_token is not None:
            # Customer 0 does not exist; that the server says so means that the token opened the door.
            good["v2"], sentence = await _ask(asking, "v2", _GET_COMPANY_BY_CUSTOMER_ID, 0, behind_the_door=True)
            sentences.append(sentence)
        books = client.quota
    if any(good.values()):
        sentences.append(
            f"Quota: {books.left} of {books.limit} requests are left in this window of {books.window:g} s "
            f"(others, or earlier runs of ours, hold {books.foreign})."
        )
        if told and told[-1] != (books.limit, books.window):
            limit, window = told[-1]
            sentences.append(
                f"The server says {limit} in {window:g} s instead: give it as --quota {limit}/{window:g}s."
            )
    return {"credentials": good, "sentences": sentences, "quota": attrs.asdict(books)}


async def _ask(
    client: Client,
    version: str,
    operation: Operation,
    *segments: int,
    query: dict[str, str] | None = None,
    behind_the_door: bool = False,
) -> tuple[bool, str]:
    token, variable = ("access token", "B2B_ACCESS_TOKEN") if version == "v3" else ("legacy token", "B2B_LEGACY_TOKEN")
    store = f" of store {client.credentials.store_hash}" if version == "v3" else ""
    try:
        await client.send(operation, *segments, query=query)
    except NotFoundError as error:
        # An answer about data comes only behind the door; a page of another server comes without an envelope.
        if not behind_the_door or error.code is None:
            return False, (
                f"{version}: {client.base_url} answers 404, as if it were not B2B Edition. "
                "Check the address (B2B_BASE_URL)."
            )
    except (AuthenticationError, PermissionDeniedError) as error:
        return False, (
            f"{version}: the {token}{store} is not accepted ({error.status} {error.message}). "
            f"Check {variable}, or make a new token in the control panel."
        )
    except ServerError as error:
        return False, (
            f"{version}: the server fails with {error.status}. It does so for a wrong store hash: check B2B_STORE_HASH "
            f"and {variable}. If both are right, the server has a bad time: try again in some minutes."
        )
    except APIConnectionError as error:
        return False, f"{version}: {client.base_url} cannot be reached: {error}. Check the address and the network."
    except B2BError as error:
        return False, f"{version}: {error}"
    return True, f"{version}: the {token}{store} is accepted at {client.base_url}."
