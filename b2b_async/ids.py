"""Ids of different kinds, so that a type checker tells them apart. At run time each is the integer that it holds.

``BCOrderId(117)`` is what BigCommerce calls order 117. B2B Edition gives the same order another number, a
``B2BOrderId``, which no endpoint takes. v2 writes ids as strings, and its functions take any string besides: a string
that was made of another kind of id is seen by nobody.
"""

from __future__ import annotations

from typing import NewType

__all__ = [
    "B2BOrderId",
    "BCGroupId",
    "BCOrderId",
    "ChannelId",
    "CompanyId",
    "CustomerId",
    "UserId",
]

CustomerId = NewType("CustomerId", int)
"""A BigCommerce customer id; not a B2B user id."""
UserId = NewType("UserId", int)
"""A B2B user id; not a BigCommerce customer id."""
CompanyId = NewType("CompanyId", int)
"""A B2B company id."""
BCOrderId = NewType("BCOrderId", int)
"""A BigCommerce order id, which every endpoint takes; not the id of B2B Edition's record of that order."""
B2BOrderId = NewType("B2BOrderId", int)
"""The id of B2B Edition's record of an order, as ``Order.id`` shows it; no endpoint takes it."""
BCGroupId = NewType("BCGroupId", int)
"""A BigCommerce customer group id."""
ChannelId = NewType("ChannelId", int)
"""A BigCommerce channel (storefront) id."""
