"""The pipeline: a handler at the bottom, middlewares around it, folded once into one handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, cast

from b2b_async._messages import Response
from b2b_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from b2b_async._messages import Request

Handler = Callable[["Request"], Awaitable["Response"]]
"""What a middleware calls to go on: the rest of the pipeline."""


class Middleware(Protocol):
    """A step of the pipeline: gets a request on its way down, returns the response on its way up.

    Any ``async def middleware(request, handler)`` is one. It may add headers (``request.with_headers``), change other
    parts of the request (``attrs.evolve``), look at the response, raise, or call *handler* again; per attempt, once
    only, since quota and outcome are counted for one.
    """

    def __call__(self, request: Request, handler: Handler, /) -> Awaitable[Response]:
        """Handle *request* with the help of *handler*, the rest of the pipeline."""
        ...


def build_pipeline(middlewares: Iterable[Middleware], transport: Handler) -> Handler:
    """Fold *middlewares* around *transport*; the first one is the outermost."""
    handler = transport
    for middleware in reversed(tuple(middlewares)):
        handler = _bind(middleware, handler)
    return handler


def _bind(middleware: Middleware, handler: Handler) -> Handler:
    if not str(getattr(middleware, "__module__", "")).startswith("b2b_async."):
        return _bind_checked(middleware, handler)

    def bound(request: Request) -> Awaitable[Response]:
        # Return the coroutine instead of awaiting it here: one frame less per middleware on every call.
        return middleware(request, handler)

    return bound


def _bind_checked(middleware: Middleware, handler: Handler) -> Handler:
    """Bind a middleware of the user's, which may forget to return what it got."""

    async def bound(request: Request) -> Response:
        response = await middleware(request, handler)
        if isinstance(cast("object", response), Response):
            return response
        name = getattr(middleware, "__qualname__", type(middleware).__qualname__)
        message = (
            f"{request.operation.name}: the middleware {name} returned {type(response).__name__} instead of the "
            "response; end it with 'return response', or with 'return await handler(request)'"
        )
        raise ConfigurationError(message, operation=request.operation.name)

    return bound
