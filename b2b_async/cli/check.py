"""``b2b-async check``: are these credentials good, and what quota is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import click

from b2b_async._config import Timeouts
from b2b_async._messages import Operation
from b2b_async._policy import RetryPolicy
from b2b_async.cli._common import (
    Exit,
    client_of,
    finish,
    json_option,
    limiter_of,
    quota_option,
    redis_option,
    refuse,
    server_options,
    start_logging,
    verbose_option,
    visible,
    wrong_store,
)
from b2b_async.errors import (
    APIConnectionError,
    AuthenticationError,
    B2BError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ResponseValidationError,
    ServerError,
    UnexpectedRedirectError,
)
from b2b_async.ratelimit.feedback import QuotaFeedback
from b2b_async.v3.companies import LIST_COMPANIES

if TYPE_CHECKING:
    from b2b_async._messages import Request, Response
    from b2b_async._pipeline import Handler
    from b2b_async.client import Client
    from b2b_async.ratelimit.quota import Quota

# Not that of b2b_async.v2, which warns when it is imported. And not "Get Company By CustomerId": by the vendor's
# documents that GET deletes a company that BigCommerce does not know.
_GET_COMPANY_BY_BC_ORDER_ID = Operation("Get Company By BC OrderId", "v2", "GET", "/orders/{orderBCId}/companyIdBCId")


@click.command()
@server_options
@quota_option
@redis_option
@json_option
@verbose_option
def check(
    *,
    base_url: str | None,
    proxy: str | None,
    quota: Quota,
    redis_url: str | None,
    processes: int | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Make one call that only reads for each credential, and say whether it is accepted."""
    start_logging(verbose=verbose)
    try:
        client = client_of(
            base_url,
            proxy,
            limiter_of(quota, redis_url, processes),
            retry=RetryPolicy(attempts=2, throttled=0),
            timeout=Timeouts(call=15, attempt=10, connect=5),
        )
    except ConfigurationError as error:
        refuse("check", Exit.FATAL, [str(error)], as_json=as_json)
    facts = asyncio.run(_check(client))
    good = all(facts["credentials"].values())
    for sentence in facts["sentences"]:
        click.echo(visible(sentence), err=as_json)
    finish("check", Exit.DONE if good else Exit.FATAL, facts, as_json=as_json)


async def _check(client: Client) -> dict[str, Any]:
    sentences: list[str] = []
    good: dict[str, bool] = {}
    credentials = client.credentials
    stated: list[tuple[int, float]] = []
    remaining: list[int] = []

    async def listen(request: Request, handler: Handler) -> Response:
        response = await handler(request)
        feedback = QuotaFeedback.from_headers(response.headers)
        if feedback.allocated:
            stated.append(feedback.allocated)
        if feedback.remaining is not None and not feedback.core:
            remaining.append(feedback.remaining)
        return response

    async with client.limiter, client.with_options(per_attempt=[listen]) as asking, client:
        if credentials.access_token is not None:
            good["v3"], sentence = await _ask(asking, "v3", LIST_COMPANIES, query={"limit": "1"})
            sentences.append(sentence)
        if credentials.legacy_token is not None:
            # Order 0 does not exist; that the server says so means that it has accepted the token.
            good["v2"], sentence = await _ask(asking, "v2", _GET_COMPANY_BY_BC_ORDER_ID, {"orderBCId": 0}, absent=True)
            sentences.append(sentence)
        known = client.quota
    if any(good.values()):
        limit, window = stated[-1] if stated else (known.limit, known.window)
        another = (limit, window) != (known.limit, known.window)
        left = remaining[-1] if another and remaining else known.left
        sentences.append(
            f"Quota: {left} of {limit} requests are left in this window of {window:g} s "
            f"(others, or earlier runs of ours, hold {known.foreign})."
        )
        if another:
            sentences.append(
                f"The server says {limit} in {window:g} s instead: give it as --quota {limit}/{window:g}s."
            )
    return {"credentials": good, "sentences": sentences, "quota": attrs.asdict(known)}


async def _ask(
    client: Client,
    version: str,
    operation: Operation,
    parameters: dict[str, int] | None = None,
    *,
    query: dict[str, str] | None = None,
    absent: bool = False,
) -> tuple[bool, str]:
    """Send a request; return whether the credentials are accepted, and a sentence about it.

    Args:
        client: The client.
        version: The API version.
        operation: The operation, which only reads.
        parameters: Its path parameters.
        query: Its query parameters.
        absent: What it asks for does not exist, and the server is expected to say so.
    """
    token, variable = ("access token", "B2B_ACCESS_TOKEN") if version == "v3" else ("legacy token", "B2B_LEGACY_TOKEN")
    store = f" of store {client.credentials.store_hash}" if version == "v3" else ""
    try:
        await client.send(operation, parameters, query=query)
    except (BadRequestError, NotFoundError) as error:
        # The API says what is not there in its envelope; a page of another server has none.
        if not absent or error.code is None:
            return False, (
                f"{version}: {client.base_url} answers {error.status}, as if it were not B2B Edition. "
                "Check the address (B2B_BASE_URL)."
            )
    except (AuthenticationError, PermissionDeniedError) as error:
        return False, (
            f"{version}: the {token}{store} is not accepted ({error.status} {error.message}). "
            f"Check {variable}, or make a new token in the control panel."
        )
    except ServerError as error:
        return False, f"{version}: the server fails with {error.status}. {wrong_store(variable)}"
    except RateLimitError as error:
        return False, (
            f"{version}: {client.base_url} refuses requests at the moment ({error.status} {error.message}), which says "
            f"nothing about the {token}. Try again in {error.retry_after or 60:g} s."
        )
    except (UnexpectedRedirectError, ResponseValidationError) as error:
        return False, (
            f"{version}: {client.base_url} answers {error.status}, as if it were not B2B Edition. "
            f"Check the address (B2B_BASE_URL). ({error})"
        )
    except APIConnectionError as error:
        return False, f"{version}: {client.base_url} cannot be reached: {error}. Check the address and the network."
    except B2BError as error:
        return False, f"{version}: {error}"
    return True, f"{version}: the {token}{store} is accepted at {client.base_url}."
