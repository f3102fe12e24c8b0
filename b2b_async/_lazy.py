"""Submodules that are imported when they are first asked for: models take their time, and v2 warns."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def submodules(package: str, *names: str) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """Give the ``__getattr__`` and the ``__dir__`` of a package that has submodules of these names."""

    def get(name: str) -> ModuleType:
        if name not in names:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        return import_module(f"{package}.{name}")

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return get, names_of
