"""The v3 endpoints: one module for each resource."""

from b2b_async.v3 import companies, orders, users

__all__ = ["companies", "orders", "users"]
