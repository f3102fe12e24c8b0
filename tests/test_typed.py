"""What type checkers say of users' code: of ids of another kind, and of money that is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "typed"
ROOT = FOLDER.parent.parent
ACCEPTED, REJECTED = FOLDER / "accepted.py", FOLDER / "rejected.py"


def marked() -> set[int]:
    """Give the lines that must be rejected."""
    return {n for n, line in enumerate(REJECTED.read_text().splitlines(), 1) if line.endswith("# rejected")}


@pytest.mark.heavy
def test_mypy_rejects_what_it_must_and_nothing_else() -> None:
    """In strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict", "--output=json", str(ACCEPTED), str(REJECTED)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    errors = {(Path(error["file"]).name, error["line"]) for error in found if error["severity"] == "error"}

    assert errors == {("rejected.py", line) for line in marked()}


@pytest.mark.heavy
def test_pyright_rejects_what_it_must_and_nothing_else(tmp_path: Path) -> None:
    """In strict mode."""
    settings = {"include": ["typed"], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    shutil.copytree(FOLDER, tmp_path / "typed")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = {
        (Path(error["file"]).name, error["range"]["start"]["line"] + 1)
        for error in found
        if error["severity"] == "error"
    }

    assert errors == {("rejected.py", line) for line in marked()}


def test_there_is_something_to_reject() -> None:
    """Of each kind."""
    assert len(marked()) >= 30
