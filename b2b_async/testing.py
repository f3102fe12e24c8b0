"""A pytest plugin: the sandbox as a fixture, for the tests of code that uses this package.

Switch it on in ``conftest.py``, with pytest-asyncio installed::

    pytest_plugins = ["b2b_async.testing"]

and ask for ``b2b_sandbox`` (a running ``Sandbox``) or ``b2b_client`` (a client of it)::

    async def test_assigning(b2b_sandbox, b2b_client):
        await my_code(b2b_client)
        assert b2b_sandbox.requests == ["PUT /api/v3/io/customers/1001/orders/b2b"]

``mocked_api`` answers single requests without any server, and needs no plugin.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

import aiohttp
import pytest_asyncio
from aioresponses import aioresponses

from b2b_async._config import Credentials
from b2b_async.client import Client
from b2b_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence


__all__ = ["b2b_client", "b2b_sandbox", "mocked_api"]


@pytest_asyncio.fixture
async def b2b_sandbox() -> AsyncGenerator[Sandbox]:
    """Give a sandbox with ten companies of ten buyers, their ids from ``Store.FIRST_CUSTOMER`` on."""
    async with Sandbox() as sandbox:
        yield sandbox


@pytest_asyncio.fixture
async def b2b_client(b2b_sandbox: Sandbox) -> AsyncGenerator[Client]:
    """Give a client of the sandbox, with credentials for both API versions."""
    credentials = Credentials(b2b_sandbox.access_token, b2b_sandbox.store_hash, b2b_sandbox.legacy_token)
    async with Client(credentials, base_url=b2b_sandbox.url) as client:
        yield client


class _Response(aiohttp.ClientResponse):
    """A response that aioresponses can make: it does not know the ``stream_writer`` that aiohttp 3.14 asks for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- those of aiohttp
        """Fill in what aioresponses leaves out."""
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@contextlib.contextmanager
def mocked_api(*, passthrough: Sequence[str] = ()) -> Generator[aioresponses]:
    """Answer requests without a server, by ``aioresponses`` made fit for the versions of aiohttp that we work with.

    ::

        with mocked_api() as api:
            api.put(f"{url}/api/v3/io/customers/321/orders/b2b", payload={"code": 200, "data": {"total": 3}})
            assigned = await v3.orders.assign_customer_orders(client, 321)

    It replaces the whole of aiohttp's request, so it proves nothing about timeouts, connections or redirects: use the
    sandbox for those.

    Args:
        passthrough: The beginnings of URLs that are requested for real.

    Yields:
        The mock, with the methods of ``aioresponses``.
    """
    with patch("aioresponses.core.ClientResponse", _Response), aioresponses(passthrough=list(passthrough)) as api:
        yield api
