"""Modules that are imported when they are first asked for: they take their time, and v2 warns."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing typing, which takes its time
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


def submodules(package: str, *names: str) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package that has submodules of these names."""

    def get(name: str) -> ModuleType:
        if name not in names:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        return _import(package, name)

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names})

    return get, names_of


def _import(package: str, name: str) -> ModuleType:
    from importlib import import_module  # noqa: PLC0415 -- the command waits for this module with its first line

    return import_module(f"{package}.{name}")


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
        return sorted([*_import(package, source).__all__, *also])

    def get(name: str) -> Any:  # noqa: ANN401 -- whatever has that name
        if name in submodules:
            return _import(package, name)
        if name == "__all__":
            return names()
        module = _import(package, source)
        if name not in module.__all__:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        # From now on they are found without this function.
        vars(sys.modules[package]).update((known, getattr(module, known)) for known in module.__all__)
        return getattr(module, name)

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names(), *submodules})

    return get, names_of
