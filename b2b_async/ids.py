"""Ids of different kinds, so that a type checker tells them apart."""

from __future__ import annotations

from typing import NewType

CustomerId = NewType("CustomerId", int)
"""A BigCommerce customer id; not a B2B user id."""
UserId = NewType("UserId", int)
"""A B2B user id; not a BigCommerce customer id."""
