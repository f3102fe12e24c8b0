"""How long the package takes to import, over ``import aiohttp``, which it cannot do without.

    python benchmarks/imports.py [--rounds N]

Fresh interpreters with bytecode at hand, in turns; the least of each, since whatever else runs only adds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

CODES = {
    "import aiohttp": "import aiohttp",
    "import b2b_async": "import aiohttp, b2b_async",
    "from b2b_async.v3 import orders": "import aiohttp, b2b_async; from b2b_async.v3 import orders",
    "and a Client": (
        "import aiohttp, b2b_async; from b2b_async.v3 import orders; "
        "b2b_async.Client(b2b_async.Credentials(legacy_token='x'))"
    ),
}


def seconds(code: str, bytecode: str) -> float:
    """Time code in an interpreter of its own, with the bytecode in a folder."""
    settings = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    settings.pop("PYTHONDONTWRITEBYTECODE", None)
    timed = f"import time; started = time.perf_counter(); {code}; print(time.perf_counter() - started)"
    command = [sys.executable, "-c", timed]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=settings).stdout)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=30)
    rounds = options.parse_args().rounds
    least = dict.fromkeys(CODES, float("inf"))
    with tempfile.TemporaryDirectory() as bytecode:
        for _ in range(rounds):
            for name, code in CODES.items():
                least[name] = min(least[name], seconds(code, bytecode))
    base = least["import aiohttp"]
    print(f"import aiohttp: {base * 1000:.1f} ms")
    for name, took in list(least.items())[1:]:
        print(f"{name}: +{(took - base) * 1000:.1f} ms, {(took - base) / base:.0%} of aiohttp")


if __name__ == "__main__":
    main()
