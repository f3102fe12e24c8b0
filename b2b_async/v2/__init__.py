"""The endpoints of v2, which the vendor has deprecated: one module for each resource, imported when it is asked for.

Importing this warns once, and so does the first call of each function, with the v3 function that replaces it if there
is one.
"""

from typing import TYPE_CHECKING

from b2b_async._lazy import submodules
from b2b_async.v2._deprecated import tell

__all__ = ["companies", "orders"]

if TYPE_CHECKING:  # with __getattr__ in sight, they would take any name for a module
    from b2b_async.v2 import companies, orders
else:
    __getattr__, __dir__ = submodules(__name__, *__all__)
tell("b2b_async.v2: BigCommerce has deprecated its v2 API; b2b_async.v3 replaces most of it")
