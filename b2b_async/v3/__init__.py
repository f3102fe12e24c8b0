"""The v3 endpoints: one module for each resource."""

from b2b_async.v3 import orders, users

__all__ = ["orders", "users"]
