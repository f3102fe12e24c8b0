"""Django REST framework's own throttle over HTTP, with the headers that the vendor has around it.

The framework's ``SimpleRateThrottle`` does the counting and the waiting; what is added here are the vendor's headers,
written before the request is counted, as the vendor's example shows (60/151 s for an empty history), and the answer of
an assignment. Requests are worked off one at a time, so that the throttle's race does not blur what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import time
from typing import TYPE_CHECKING, Any

import django
from aiohttp import web
from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": [],
            "DEFAULT_PERMISSION_CLASSES": [],
            "UNAUTHENTICATED_USER": None,
        },
        ROOT_URLCONF=__name__,
        USE_TZ=True,
    )
    django.setup()

from django.core.cache import cache
from django.core.handlers.wsgi import WSGIHandler
from django.urls import path
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView


class StoreThrottle(SimpleRateThrottle):
    """So many requests per store, whoever sends them."""

    scope = "store"
    rate = "set by serve"
    size = (150, 60.0)
    clock: Callable[[], float] = time.time

    def parse_rate(self, rate: str) -> tuple[int, float]:
        """Give the quota; the framework's own words know whole minutes only."""
        del rate
        return self.size

    def timer(self) -> float:
        """Give the time."""
        return StoreThrottle.clock()

    def get_cache_key(self, request: Any, view: Any) -> str:
        """Count by store."""
        del view
        return f"throttle:{request.headers.get('X-Store-Hash')}"

    def allow_request(self, request: Any, view: Any) -> bool:
        """Count the request, and keep what the vendor says of the state before."""
        allowed = super().allow_request(request, view)
        view.quota_headers = self.before
        return allowed

    def throttle_success(self) -> bool:
        """Accept."""
        self._note()
        return super().throttle_success()

    def throttle_failure(self) -> bool:
        """Refuse."""
        self._note()
        return super().throttle_failure()

    def _note(self) -> None:
        limit, window = self.size
        self.before = {
            "X-Requests-Allocated": f"{limit} times/{window:g} s",
            "X-Requests-Window-Length": f"{len(self.history)} times",
            "X-Requests-Remaining": f"{limit - len(self.history)} times",
            "X-Request-Window-Resets-After": f"{self.wait() or 0} s",
        }


class Assign(APIView):
    """An assignment that always finds three orders."""

    throttle_classes = (StoreThrottle,)
    quota_headers: dict[str, str]

    def put(self, request: Any, customer: int) -> Response:
        """Assign."""
        del request, customer
        return Response({"code": 200, "data": {"total": 3}, "meta": {"message": "SUCCESS"}})

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Add the vendor's headers."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        for name, value in self.quota_headers.items():
            answer[name] = value
        return answer


urlpatterns = [path("api/v3/io/customers/<int:customer>/orders/b2b", Assign.as_view())]


class Server:
    """The throttle behind HTTP on loopback, as an async context manager."""

    def __init__(
        self, limit: int, window: float, *, clock: Callable[[], float] = time.time, delay: float = 0.0
    ) -> None:
        """Start with an empty history."""
        StoreThrottle.size, StoreThrottle.clock = (limit, window), staticmethod(clock)
        cache.clear()
        self._wsgi = WSGIHandler()
        self._delay = delay
        self._handed_out: dict[int, float] = {}
        self.done: dict[int, int] = {}
        self.refused = 0
        self.total = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application()
        app.router.add_put("/api/v3/io/customers/{customer}/orders/b2b", self._put)
        app.router.add_get("/next", self._next)
        app.router.add_get("/state", self._state)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self._runner.cleanup()

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.read()
        await asyncio.sleep(self._delay)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
        }
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request.headers.items()}
        head: list[Any] = []
        content = b"".join(self._wsgi(environ, lambda status, headers: head.extend([status, headers])))
        status = int(head[0].split()[0])
        if status == 200:
            customer = int(request.match_info["customer"])
            self.done[customer] = self.done.get(customer, 0) + 1
        else:
            self.refused += 1
        await asyncio.sleep(self._delay)
        return web.Response(status=status, headers=head[1], body=content)

    async def _next(self, _request: web.Request) -> web.Response:
        """Hand out the next customer, and those again whose worker seems to be dead."""
        now = time.monotonic()
        for customer in range(1, self.total + 1):
            if customer not in self.done and now - self._handed_out.get(customer, -60.0) > 20.0:
                self._handed_out[customer] = now
                return web.json_response(customer)
        return web.json_response(0 if len(self.done) == self.total else None)

    async def _state(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "done": len(self.done),
                "twice": sum(count > 1 for count in self.done.values()),
                "refused": self.refused,
            }
        )


async def _serve(arguments: argparse.Namespace) -> None:
    async with Server(arguments.limit, arguments.window, delay=arguments.delay) as server:
        server.total = arguments.total
        print(server.url, flush=True)  # noqa: T201 -- what the caller waits for
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for option, kind, default in (
        ("limit", int, 60),
        ("window", float, 3.0),
        ("delay", float, 0.02),
        ("total", int, 900),
    ):
        parser.add_argument(f"--{option}", type=kind, default=default)
    asyncio.run(_serve(parser.parse_args()))
