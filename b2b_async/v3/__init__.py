"""The v3 endpoints: one module for each resource, imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from b2b_async.v3 import companies, orders, users

__all__ = ["companies", "orders", "users"]


def __getattr__(name: str) -> ModuleType:
    """Import a module when it is asked for: its models take their time."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return import_module(f"{__name__}.{name}")
