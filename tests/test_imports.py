"""What importing the package does not import: ``benchmarks/imports.py`` measures what that saves."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
        ("from b2b_async import v3", {"b2b_async.v3"}),
        ("from b2b_async.v3 import orders", {"b2b_async.v3"}),
        ("from b2b_async import *", {"b2b_async.v3"}),
        ("import b2b_async\nb2b_async.Client(b2b_async.Credentials(legacy_token='x'))", {"cattrs", "tenacity"}),
    ],
)
def test_only_what_is_needed_is_imported(code: str, needed: set[str]) -> None:
    """And a client has all that its calls will need."""
    assert loaded(code) & SLOW == needed


def test_a_resource_is_imported_alone() -> None:
    """Its models take their time."""
    modules = loaded("from b2b_async import v3\nv3.users")

    assert "b2b_async.v3.users" in modules
    assert "b2b_async.v3.orders" not in modules
