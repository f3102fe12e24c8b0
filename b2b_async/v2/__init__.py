"""The endpoints of v2, which the vendor has deprecated: one module for each resource, imported when it is asked for.

Importing this warns once, and so does the first call of each function, with the v3 function that replaces it if there
is one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from b2b_async.v2._deprecated import tell

if TYPE_CHECKING:
    from types import ModuleType

    from b2b_async.v2 import companies, orders

__all__ = ["companies", "orders"]

tell("b2b_async.v2: BigCommerce has deprecated its v2 API; b2b_async.v3 replaces most of it")


def __getattr__(name: str) -> ModuleType:
    """Import a module when it is asked for: its models take their time."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return import_module(f"{__name__}.{name}")
