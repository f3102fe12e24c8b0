"""One page of a list."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    """What is on it."""
    total: int | None
    """How many there are on all pages; None if the server does not say."""
    limit: int
    """How many a page may have."""
    offset: int
    """How many there are on the pages before."""
