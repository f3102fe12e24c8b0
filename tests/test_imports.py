"""What importing the package does not import: ``benchmarks/imports.py`` measures what that saves."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import b2b_async
from b2b_async import v3

SLOW = {"cattrs", "tenacity", "click", "rich", "redis", "b2b_async.v2", "b2b_async.v3", "b2b_async.bulk"}


def loaded(code: str) -> set[str]:
    """Run code in a fresh interpreter; give the names of all modules that it has loaded."""
    command = [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("import b2b_async", set[str]()),
        ("from b2b_async import Client, CustomerId", set[str]()),
        ("from b2b_async import v3", {"b2b_async.v3", "cattrs"}),
        ("from b2b_async.v3 import orders", {"b2b_async.v3", "cattrs"}),
        ("from b2b_async import *", {"b2b_async.v3", "cattrs"}),
        ("import b2b_async\nb2b_async.Client(b2b_async.Credentials(legacy_token='x'))", {"cattrs", "tenacity"}),
    ],
)
def test_only_what_is_needed_is_imported(code: str, needed: set[str]) -> None:
    """And a client has all that its calls will need."""
    assert loaded(code) & SLOW == needed


def test_every_resource_of_v3_is_imported_with_it() -> None:
    """So that its records are prepared."""
    files = {path.stem for path in Path(v3.__path__[0]).glob("[!_]*.py")}

    assert files == set(v3.__all__) == {name for name in vars(v3) if name in files}


def test_no_call_of_v3_imports_anything() -> None:
    """It would hold up the event loop for tens of milliseconds."""
    code = """
import asyncio, sys
from b2b_async import *
from b2b_async import v3
from b2b_async.sandbox import Sandbox

async def main():
    async with Sandbox() as sandbox:
        credentials = Credentials(sandbox.access_token, sandbox.store_hash)
        async with Client(credentials, base_url=sandbox.url) as client:
            before = set(sys.modules)
            await v3.orders.assign_customer_orders(client, CustomerId(1001))
            await v3.orders.get_order(client, BCOrderId(117))
            await v3.users.list_users(client)
            await v3.companies.get_company(client, CompanyId(1))
            print("LATE", sorted(name for name in set(sys.modules) - before if "b2b" in name or "cattr" in name))

asyncio.run(main())
"""
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "LATE []\n"


def test_every_module_for_users_says_what_it_offers() -> None:
    """A module without an underscore has ``__all__``, whose names are there; those of commands are not for users."""
    package = Path(b2b_async.__file__).parent
    without: list[str] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if any(part.startswith("_") for part in parts) or parts[0] == "cli":
            continue
        module = importlib.import_module(".".join(("b2b_async", *parts)))
        names = vars(module).get("__all__")
        if not names or [name for name in names if not hasattr(module, name)]:
            without.append(module.__name__)

    assert without == []
