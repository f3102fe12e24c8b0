"""The endpoints of v2, which the vendor has deprecated: one module for each resource.

Importing this warns once, and so does the first call of each function, with the v3 function that replaces it if there
is one.
"""

from b2b_async.v2 import companies, orders
from b2b_async.v2._deprecated import tell

__all__ = ["companies", "orders"]

tell("b2b_async.v2: BigCommerce has deprecated its v2 API; b2b_async.v3 replaces most of it")
