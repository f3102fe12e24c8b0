"""The v3 endpoints: one module for each resource.

Importing this imports them all, and prepares their records, so that no call has to: it would hold up the event loop.
"""

from b2b_async import _converter
from b2b_async.v3 import companies, orders, users

__all__ = ["companies", "orders", "users"]

_converter.prepare(
    companies.Company,
    orders.AssignedOrders,
    orders.Order,
    orders.OrderExtraFieldConfig,
    orders.OrderProduct,
    users.User,
)
