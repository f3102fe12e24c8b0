"""Says once for each function that the vendor has deprecated it, at the line that calls it."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Deprecated(Protocol[P, R_co]):
    """A function that warns when it is called for the first time."""

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function without the warning."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Call it."""
        ...


def deprecated(instead: str | None) -> Callable[[Callable[P, R_co]], Deprecated[P, R_co]]:
    """Have a function warn, once in the life of the process, that it is deprecated.

    Args:
        instead: The v3 function that replaces it, and how; None if none does.
    """

    def decorate(function: Callable[P, R_co]) -> Deprecated[P, R_co]:
        name = f"{function.__module__}.{function.__qualname__}"
        use = "no v3 function replaces it" if instead is None else f"use {instead} instead"
        warn = functools.cache(lambda: tell(f"{name}: BigCommerce has deprecated this endpoint; {use}"))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R_co:
            warn()
            return function(*args, **kwargs)

        return cast("Deprecated[P, R_co]", call)  # functools.wraps has set __wrapped__

    return decorate


def tell(message: str) -> None:
    """Warn at the line outside this package (and the machinery of imports) that has led here."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in {"b2b_async", "importlib"}:
        frame = frame.f_back
    names = {} if frame is None else frame.f_globals
    warnings.warn_explicit(
        message,
        DeprecationWarning,
        "b2b_async" if frame is None else frame.f_code.co_filename,
        1 if frame is None else frame.f_lineno,
        module=str(names.get("__name__")),
        registry=names.setdefault("__warningregistry__", {}),
    )
