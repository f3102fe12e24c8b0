"""What really happened: one entry for each request that arrived, whatever its sender was told."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from b2b_async.sandbox.faults import Fault

__all__ = [
    "CURRENT",
    "Entry",
]


@attrs.define(kw_only=True)
class Entry:
    """One request that arrived."""

    number: int
    """Counted from 1; the X-Request-Id of its answer is ``sandbox-{number}``."""
    method: str
    """The HTTP method."""
    path: str
    """The path without its query."""
    subject: str | None = None
    """What it was about: ``customer 1001``, ``order 117``; None if it did not come so far."""
    fault: Fault | None = None
    """What went wrong on purpose."""
    applied: bool = False
    """It was carried out: the orders are assigned, the order is registered. Look-ups never are."""
    repeated: bool = False
    """A creation of what exists already: somebody sent it twice."""
    status: int | None = None
    """The HTTP status of the answer; None as long as there is none, or if none was sent."""


CURRENT: ContextVar[Entry] = ContextVar("CURRENT")
"""The entry of the request that this task is about."""
