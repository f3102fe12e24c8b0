"""Faults on demand: by rate, or by script, seeded."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "FAULTS",
    "Fault",
    "Faults",
]

Fault = Literal[
    "429",
    "429-retry-after",
    "429-core",
    "429-bare",
    "500",
    "500-after",
    "502",
    "503",
    "503-delay",
    "504",
    "504-after",
    "520",
    "reset-before",
    "reset-after",
    "close-before",
    "close-after",
    "hang-before",
    "hang-after",
    "truncated",
    "truncated-chunks",
    "cut-gzip",
    "malformed",
    "html-before",
    "html-after",
    "content-type",
    "envelope-400",
    "envelope-429",
    "envelope-500",
    "envelope-cut",
    "redirect",
    "slow",
    "trickle",
    "304-before",
    "304-after",
    "unenveloped-before",
    "unenveloped-after",
    "answered-twice",
    "answered-twice-late",
]
"""What can go wrong. *-after* and what concerns only the answer happen when the server has acted, the rest before.

``429`` refused with the quota's headers, though the quota is not used up; ``429-retry-after`` with that header only;
``429-core`` with the headers of the core BigCommerce API; ``429-bare`` without any. ``503-delay`` says when to come
back. ``reset`` and ``close`` end the connection without an answer, ``hang`` never answers (``Faults.hang_seconds``).
``truncated`` and ``truncated-chunks`` end the connection in the middle of the body, ``cut-gzip`` ends the compressed
data too early in a whole answer, ``malformed`` is JSON gone wrong. ``html`` is a proxy's page under 200,
``content-type`` good JSON by another name. ``envelope-…`` says no under HTTP 200, ``envelope-cut`` in half a body.
``redirect`` points to another host (``Faults.redirect_to``). ``slow`` acts and answers late, ``trickle`` answers byte
by byte. ``304`` is an answer that no request of this client asks for, ``unenveloped`` good JSON under 200 that is not
the API's. ``answered-twice`` sends the answer twice in one piece, ``answered-twice-late`` the second time 10 ms later.
"""

FAULTS: tuple[Fault, ...] = get_args(Fault)


class Faults:
    """Decides for each request whether it meets a fault.

    Args:
        rates: The part of the requests that meet each fault: ``{"503": 0.1, "slow": 0.05}``.
        script: Faults for the first requests in order, None for a good one; the rates apply after them.
        seed: Makes the same faults happen again.
        slow_seconds: How much longer a slow answer takes, and how long a trickling one.
        hang_seconds: After how long a hanging connection is closed, unless the client has gone before.
        redirect_to: The origin that a redirect points to.

    Raises:
        ValueError: a fault has another name, or the rates are no parts of 1.
    """

    def __init__(
        self,
        rates: Mapping[str, float] | None = None,
        *,
        script: Iterable[str | None] = (),
        seed: int = 0,
        slow_seconds: float = 2.0,
        hang_seconds: float = 600.0,
        redirect_to: str = "http://localhost:9",
    ) -> None:
        """Check the names and rates."""
        self._rates: dict[Fault, float] = {_named(name): rate for name, rate in (rates or {}).items()}
        # Rates like 30 times 1/30 may add up to a hair more than 1.
        if not all(0 <= rate <= 1 for rate in self._rates.values()) or sum(self._rates.values()) > 1 + 1e-9:
            message = f"the rates of faults must be parts of all requests, 0 to 1 together, not {self._rates}"
            raise ValueError(message)
        self._script: deque[Fault | None] = deque(None if name is None else _named(name) for name in script)
        self._random = random.Random(seed)  # noqa: S311 -- repeatable on purpose; no secret depends on it
        self.slow_seconds = slow_seconds
        self.hang_seconds = hang_seconds
        self.redirect_to = redirect_to

    def next(self) -> Fault | None:
        """Give the fault of the next request, or None."""
        if self._script:
            return self._script.popleft()
        dice = self._random.random()
        for fault, rate in self._rates.items():
            dice -= rate
            if dice < 0:
                return fault
        return None


def _named(name: str) -> Fault:
    for fault in FAULTS:
        if fault == name:
            return fault
    message = f"there is no fault {name!r}; there are {', '.join(FAULTS)}"
    raise ValueError(message)
