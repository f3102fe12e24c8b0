"""A pytest plugin: the sandbox as a fixture, for the tests of code that uses this package.

Switch it on in ``conftest.py``, with pytest-asyncio installed::

    pytest_plugins = ["b2b_async.testing"]

and ask for ``b2b_sandbox`` (a running ``Sandbox``) or ``b2b_client`` (a client of it)::

    async def test_assigning(b2b_sandbox, b2b_client):
        await my_code(b2b_client)
        assert b2b_sandbox.requests == ["PUT /api/v3/io/customers/1001/orders/b2b"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from b2b_async._config import Credentials
from b2b_async.client import Client
from b2b_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


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
