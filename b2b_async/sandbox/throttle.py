"""The server's side of the quota: a sliding log, with the vendor's headers.

The vendor's one documented example, 0.3973509933774834 s, is exactly 60/151. That is what the throttle of
Django REST framework answers for an empty history of 150 per minute, so this one counts as that one does:
every accepted request is logged for a window, a refused one is not, the headers are written before the request
is counted, and the wait is the time until the oldest entry leaves, divided by one more than what is left.
"""

from __future__ import annotations

import math
import re
from collections import deque

__all__ = [
    "SlidingLog",
]

_QUOTA = re.compile(r"(\d+)/(\d+(?:\.\d+)?)s?")


class SlidingLog:
    """At most *limit* accepted requests in any *window* seconds.

    Args:
        limit: Requests.
        window: Seconds.
    """

    def __init__(self, limit: int, window: float) -> None:
        """Start with an empty log."""
        self.limit: int = limit
        self.window: float = window
        self.accepted: int = 0
        """Requests accepted since the start."""
        self.refused: int = 0
        """Requests refused since the start."""
        self._log: deque[float] = deque()

    @classmethod
    def parse(cls, text: str) -> SlidingLog:
        """Read "150/60s".

        Raises:
            ValueError: *text* has another form.
        """
        match = _QUOTA.fullmatch(text.strip())
        if match is None or int(match[1]) < 1 or float(match[2]) <= 0:
            message = f"write the quota as requests/seconds, for example 150/60s, not {text!r}"
            raise ValueError(message)
        return cls(int(match[1]), float(match[2]))

    def admit(self, now: float) -> tuple[bool, dict[str, str], float]:
        """Count a request at *now*, if there is room.

        Returns:
            Whether it is accepted, the headers that tell of the quota, and the seconds to wait if it is not.
        """
        log = self._log
        while log and log[0] <= now - self.window:
            log.popleft()
        used = len(log)
        wait = (self.window - (now - log[0]) if log else self.window) / (self.limit - used + 1)
        headers = {
            "X-Requests-Allocated": f"{self.limit} times/{self.window:g} s",
            "X-Requests-Window-Length": f"{used} times",
            "X-Requests-Remaining": f"{self.limit - used} times",
            "X-Request-Window-Resets-After": f"{wait} s",
        }
        if used >= self.limit:
            self.refused += 1
            return False, {**headers, "Retry-After": str(math.ceil(wait))}, wait
        self.accepted += 1
        log.append(now)
        return True, headers, 0.0
