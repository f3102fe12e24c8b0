"""The v3 endpoints: one module for each resource.

Importing this imports them all, and prepares their records, so that no call has to: it would hold up the event loop.
"""

from b2b_async import _converter
from b2b_async._record import Record
from b2b_async.v3 import companies, orders, users

__all__ = ["companies", "orders", "users"]

_converter.prepare(
    *(
        model
        for module in (companies, orders, users)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, Record)
    )
)
