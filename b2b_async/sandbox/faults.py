"""Faults on demand: by rate, or by script, seeded."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Fault = Literal["429", "429-bare", "500", "503", "503-delay", "slow"]
"""What can go wrong, before the server acts:

``429`` refused with the quota's headers, though the quota is not used up; ``429-bare`` refused without any;
``500``; ``503``; ``503-delay`` with Retry-After; ``slow`` the answer takes ``Faults.slow_seconds`` longer.
"""

FAULTS: tuple[Fault, ...] = get_args(Fault)


class Faults:
    """Decides for each request whether it meets a fault.

    Args:
        rates: The part of the requests that meet each fault: ``{"503": 0.1, "slow": 0.05}``.
        script: Faults for the first requests in order, None for a good one; the rates apply after them.
        seed: Makes the same faults happen again.
        slow_seconds: How much longer a slow answer takes.

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
    ) -> None:
        """Check the names and rates."""
        self._rates: dict[Fault, float] = {_named(name): rate for name, rate in (rates or {}).items()}
        if not all(0 <= rate <= 1 for rate in self._rates.values()) or sum(self._rates.values()) > 1:
            message = f"the rates of faults must be parts of all requests, 0 to 1 together, not {self._rates}"
            raise ValueError(message)
        self._script: deque[Fault | None] = deque(None if name is None else _named(name) for name in script)
        self._random = random.Random(seed)  # noqa: S311 -- repeatable on purpose; no secret depends on it
        self.slow_seconds = slow_seconds

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
