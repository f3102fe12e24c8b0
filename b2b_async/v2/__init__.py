"""The deprecated v2 endpoints: one module for each resource."""

from b2b_async.v2 import orders

__all__ = ["orders"]
