"""An addon of mitmproxy: does damage to what passes, by a seed, and writes down what it did.

Run by ``proxy.py``, inside mitmproxy's own environment. ``PROXY_SEED``, ``PROXY_PART`` and ``PROXY_LOG`` say how.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from pathlib import Path

from mitmproxy import http

# Before the server has acted, and after.
BEFORE = ("kill before", "short delay before", "long delay before", "replace before")
AFTER = ("kill after", "short delay after", "long delay after", "cut after", "shorten after", "replace by 502")
AFTER += ("replace by html", "garble")
SECONDS = {"short": 0.2, "long": 1.5}
"""An attempt of ``proxy.py`` takes 1 s at most."""
PAGE = b"<html><body>Please stand by</body></html>"


class Damage:
    """Meets a part of the requests with a fault."""

    def __init__(self) -> None:
        """Read how from the environment."""
        self._seed = os.environ["PROXY_SEED"]
        self._met: Counter[str] = Counter()
        self._part = float(os.environ["PROXY_PART"])
        self._log = Path(os.environ["PROXY_LOG"]).open("a", buffering=1)  # noqa: SIM115 -- as long as the proxy lives

    async def request(self, flow: http.HTTPFlow) -> None:
        """Decide what is to happen to a request, and do what comes before the server."""
        # By what is asked and how often it was, so that the order of arrival changes nothing.
        asked = f"{self._seed} {flow.request.method} {flow.request.path}"
        self._met[asked] += 1
        dice = random.Random(f"{asked} {self._met[asked]}")
        fault = dice.choice(BEFORE + AFTER) if dice.random() < self._part else None
        flow.metadata["fault"] = fault
        if fault is not None:
            line = {"method": flow.request.method, "path": flow.request.path, "fault": fault}
            self._log.write(json.dumps(line) + "\n")
        if fault == "kill before":
            flow.kill()
        elif fault in {"short delay before", "long delay before"}:
            await asyncio.sleep(SECONDS[fault.split()[0]])
        elif fault == "replace before":
            flow.response = _page(200)

    async def response(self, flow: http.HTTPFlow) -> None:
        """Do what comes after the server."""
        fault = flow.metadata.get("fault")
        if fault == "kill after":
            flow.kill()
        elif fault in {"short delay after", "long delay after"}:
            await asyncio.sleep(SECONDS[fault.split()[0]])
        elif fault == "cut after":
            # Less than Content-Length says: mitmproxy sends it so, and the connection ends with it.
            flow.response.headers["Connection"] = "close"
            flow.response.raw_content = flow.response.raw_content[: len(flow.response.raw_content) // 2]
        elif fault == "shorten after":
            flow.response.content = flow.response.content[: len(flow.response.content) // 2]
        elif fault == "replace by 502":
            flow.response = _page(502)
        elif fault == "replace by html":
            flow.response = _page(200)
        elif fault == "garble":
            flow.response.content = flow.response.content.replace(b'"', b"'")


def _page(status: int) -> http.Response:
    return http.Response.make(status, PAGE, {"Content-Type": "text/html"})


addons = [Damage()]
