"""The v3 endpoints: one module for each resource, imported when it is first asked for."""

from typing import TYPE_CHECKING

from b2b_async._lazy import submodules

__all__ = ["companies", "orders", "users"]

if TYPE_CHECKING:  # with __getattr__ in sight, they would take any name for a module
    from b2b_async.v3 import companies, orders, users
else:
    __getattr__, __dir__ = submodules(__name__, *__all__)
