"""Modules that are imported when they are first asked for: they take their time, and v2 warns."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def submodules(package: str, *names: str) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package that has submodules of these names."""

    def get(name: str) -> ModuleType:
        if name not in names:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        return import_module(f"{package}.{name}")

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return get, names_of


def facade(
    package: str, source: str, submodules: tuple[str, ...], *, also: tuple[str, ...]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package whose names are those of one of its modules.

    Args:
        package: The package.
        source: The module whose ``__all__`` are the package's names.
        submodules: Modules of the package that are its attributes, too.
        also: Those of them that ``import *`` brings.
    """

    def names() -> list[str]:
        return sorted([*import_module(f"{package}.{source}").__all__, *also])

    def get(name: str) -> Any:  # noqa: ANN401 -- whatever has that name
        if name in submodules:
            return import_module(f"{package}.{name}")
        if name == "__all__":
            return names()
        module = import_module(f"{package}.{source}")
        if name not in module.__all__:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        # From now on they are found without this function.
        vars(sys.modules[package]).update((known, getattr(module, known)) for known in module.__all__)
        return getattr(module, name)

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names(), *submodules})

    return get, names_of
