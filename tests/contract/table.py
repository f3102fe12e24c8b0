"""The table of operations in the README. ``python tests/contract/table.py`` writes it anew; a test compares."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from contract.calls import CALLS

from b2b_async.sandbox.store import Store
from b2b_async.sandbox.v2 import V2
from b2b_async.sandbox.v3 import V3

README = Path(__file__).parent.parent.parent / "README.md"
_BETWEEN = re.compile(r"(?<=<!-- operations -->\n).*?(?=<!-- /operations -->)", re.DOTALL)


def table() -> str:
    """Make the table, from the calls that the contract tests make and the routes that the sandbox has."""
    handlers = {
        (route.method, route.path): f"{version}.{route.handler.__name__}"
        for version, routes in (("v3", V3(Store(0)).routes()), ("v2", V2(Store(0)).routes()))
        for route in routes
    }
    lines = ["| operation | | function | test | sandbox |", "|---|---|---|---|---|"]
    for call in CALLS:
        version, method, path = call.route
        handler = handlers[method, f"/api/{version}/io{path}"]
        lines.append(
            f"| {call.operation.name} | `{version} {method} {path}` | `{call.name}` "
            f"| `test_contract.py[{call.name}]` | `{handler}` |"
        )
    return "\n".join([*lines, ""])


def in_the_readme() -> str:
    """Give the table that the README has."""
    found = _BETWEEN.search(README.read_text())
    assert found is not None
    return found[0]


if __name__ == "__main__":
    README.write_text(_BETWEEN.sub(lambda _: table(), README.read_text()))
