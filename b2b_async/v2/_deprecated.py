"""Says once for each function that the vendor has deprecated it, at the line that calls it."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_BETWEEN = {"b2b_async", "importlib", "asyncio"}
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
        message = f"{name}: BigCommerce has deprecated this endpoint; {use}"
        told = threading.Lock()  # taken by the first call, and never given back

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R_co:
            if told.acquire(blocking=False):
                tell(message)
            return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_and_wait(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 -- what the other one gives
            if told.acquire(blocking=False):
                tell(message)
            return await cast("Awaitable[Any]", function(*args, **kwargs))

        # functools.wraps has set __wrapped__; a coroutine function must look like one to those who ask.
        wrapped = call_and_wait if inspect.iscoroutinefunction(function) else call
        return cast("Deprecated[P, R_co]", wrapped)

    return decorate


def tell(message: str) -> None:
    """Warn at the line outside this package that has led here; of a task of its own, at that which runs the loop."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _BETWEEN:
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
