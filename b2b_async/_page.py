"""One page of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def __iter__(self) -> Iterator[T]:
        """Go over what is on it."""
        return iter(self.items)
