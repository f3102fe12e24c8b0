"""The client: the pipeline in one literal tuple, over one session, for one store."""

from __future__ import annotations

import copy
import os
import re
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypedDict, TypeVar, cast

import attrs

from b2b_async._arguments import page_bounds
from b2b_async._call import CallState, new_call_id
from b2b_async._config import (
    DEFAULT_BASE_URL,
    DEFAULT_MAX_BODY,
    Credentials,
    Timeouts,
    checked_base_url,
    checked_connections,
    checked_flag,
    checked_lane,
    checked_listeners,
    checked_max_body,
    checked_middlewares,
    checked_proxy,
    checked_session,
    checked_timeouts,
    proxy_of_environment,
)
from b2b_async._messages import Answered, Request
from b2b_async._pagination import Listing, Page
from b2b_async._pipeline import build_pipeline
from b2b_async._policy import RetryPolicy
from b2b_async._session import SessionManager
from b2b_async._transport import Transport
from b2b_async._validation import instance_of
from b2b_async.errors import ConfigurationError, InvalidArgumentError
from b2b_async.middleware.auth import Auth
from b2b_async.middleware.deadline import CallDeadline
from b2b_async.middleware.decode import Decode
from b2b_async.middleware.observe import Observe, ObserveAttempts
from b2b_async.middleware.rate_limit import RateLimit
from b2b_async.middleware.reconcile import Reconcile
from b2b_async.middleware.retry import Retry
from b2b_async.middleware.status import RaiseForStatus
from b2b_async.ratelimit.limiter import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Self, Unpack

    import aiohttp

    from b2b_async._envelope import Envelope
    from b2b_async._messages import Operation, PathValue, Query, Reconciliation, Response
    from b2b_async._pipeline import Handler, Middleware
    from b2b_async.events import Listener
    from b2b_async.ratelimit.quota import Lane, QuotaSnapshot

__all__ = ["Client", "ClientOptions", "default_middlewares"]

T = TypeVar("T")
P = ParamSpec("P")

_COUNT = re.compile(r"[0-9]{1,15}(\.0+)?")


class ClientOptions(TypedDict, total=False):
    """The options of ``Client`` and ``Client.from_env``."""

    base_url: str
    """The address of the API; the vendor's by default. Must be https, except for addresses of this machine."""
    retry: RetryPolicy | None
    """When a failed attempt is followed by another one; ``RetryPolicy()`` by default."""
    limiter: RateLimiter | None
    """The store's limiter; share one between the clients of a store. By default a new one of 150 requests in 60 s."""
    timeout: Timeouts | float | None
    """How long things may take; a number is the seconds of a whole call (``Timeouts.call``). ``Timeouts()`` by default.
    """
    per_call: Iterable[Middleware]
    """Middlewares of one's own, run once per call, inside its deadline. ``response.value`` is the typed value; one that
    changes the data sets that."""
    per_attempt: Iterable[Middleware]
    """Middlewares of one's own, run once per attempt that is sent, behind auth: they see just what is sent, the token
    included."""
    listeners: Iterable[Listener]
    """Plain functions that are called with each event (``b2b_async.events``)."""
    middlewares: Iterable[Middleware] | None
    """The whole pipeline, instead of the default one and of the options that shape it. ``Observe`` and ``Decode`` are
    put in front of it where it has none, and ``ObserveAttempts`` behind ``Retry``."""
    session: aiohttp.ClientSession | None
    """An aiohttp session to use. It stays yours: the client never closes it, and the client middlewares, redirects and
    timeouts it was made with do not apply."""
    connections: int | None
    """Size of the connection pool; by default as many as the quota has requests. A session of yours keeps its own
    limit. A call that finds no free connection waits for one, and that takes no time of its attempts."""
    proxy: str | None
    """The URL of an HTTP proxy, with its user name and password if it needs them."""
    trust_env: bool
    """Take the proxy from HTTPS_PROXY and NO_PROXY, where none is given; False by default. Requests over plain http,
    which are for this machine only, never use it: the proxy could read the token."""
    max_body: int
    """Bytes of a response, decompressed, above which it is not read on; 4 MiB by default. The event loop stands still
    while a response is parsed, for about 10 ms a MiB."""


def default_middlewares(
    credentials: Credentials,
    *,
    limiter: RateLimiter,
    retry: RetryPolicy | None = None,
    timeout: Timeouts | float | None = None,
    per_call: Iterable[Middleware] = (),
    per_attempt: Iterable[Middleware] = (),
    listeners: Iterable[Listener] = (),
) -> tuple[Middleware, ...]:
    """Return the pipeline, from the outside in. The order is meaning.

    Args:
        credentials: The secrets that ``Auth`` signs with.
        limiter: The store's limiter.
        retry: When a failed attempt is followed by another one.
        timeout: How long a call may take, in seconds.
        per_call: Middlewares of one's own, run once per call, inside its deadline.
        per_attempt: Middlewares of one's own, run once per attempt that is sent, behind auth.
        listeners: Plain functions that are called with each event.
    """
    redact, own = credentials.redact, tuple(per_call)
    return (
        # Once per call.
        Observe(tuple(listeners), store=credentials.store, redact=redact),
        Decode(redact),  # outside of what may make a response itself: the deadline, and middlewares of one's own
        CallDeadline(checked_timeouts(timeout).call),
        *own,
        *([Decode(redact)] if own else ()),  # and inside of those, which see the value, or why there is none
        Reconcile(redact),
        Retry(retry or RetryPolicy()),
        # Once per attempt.
        ObserveAttempts(redact),
        RaiseForStatus(redact),
        RateLimit(limiter),
        Auth(credentials),
        *per_attempt,
    )


class Client:
    """An asyncio client of BigCommerce B2B Edition for one store. Use it as an async context manager.

    Args:
        credentials: The store's secrets, for v3, v2, or both.
        options: ``ClientOptions``, by keyword: ``base_url``, ``retry``, ``limiter``, ``timeout``, ``per_call``,
            ``per_attempt``, ``listeners``, ``middlewares``, ``session``, ``connections``, ``proxy``, ``trust_env``,
            ``max_body``.

    Raises:
        ConfigurationError: the base URL or the proxy is no URL, or would show the token on the way; or an argument is
            of another type.
    """

    def __init__(self, credentials: Credentials, **options: Unpack[ClientOptions]) -> None:
        """Set everything up without opening anything."""
        unknown = options.keys() - ClientOptions.__annotations__.keys()
        if unknown:
            known = ", ".join(ClientOptions.__annotations__)
            message = f"Client has no option {', '.join(sorted(map(str, unknown)))}; it has {known}"
            raise TypeError(message)
        self.credentials: Credentials = instance_of(
            Credentials, credentials, "credentials", "Credentials(access_token=..., store_hash=...)"
        )
        self.base_url: str = checked_base_url(options.get("base_url", DEFAULT_BASE_URL))
        limiter = options.get("limiter")
        self.limiter: RateLimiter = (
            RateLimiter()
            if limiter is None
            else instance_of(RateLimiter, limiter, "limiter", "RateLimiter(Quota(150, 60.0))")
        )
        timeouts = checked_timeouts(options.get("timeout"))
        self._middlewares = self._pipeline_of(options, timeouts)
        self._sessions = SessionManager(
            checked_session(options.get("session")),
            connections=checked_connections(options.get("connections"), self.limiter.limit),
        )
        proxy = checked_proxy(options.get("proxy"), self.base_url)
        if proxy is None and checked_flag(options.get("trust_env", False), "trust_env"):
            proxy = proxy_of_environment(self.base_url)
        self._transport = Transport(
            self._sessions,
            self.base_url,
            timeouts,
            max_body=checked_max_body(options.get("max_body", DEFAULT_MAX_BODY)),
            redact=self.credentials.redact,
            proxy=proxy,
        )
        self._handler = build_pipeline(self._middlewares, self._transport)
        self._lane: Lane = "interactive"
        self._outwaits_throttling = False
        self._is_view = False

    @classmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Make a client from B2B_ACCESS_TOKEN, B2B_STORE_HASH, B2B_LEGACY_TOKEN and B2B_BASE_URL.

        An empty variable counts as unset. The options are those of the class; *base_url* goes before its variable.

        Raises:
            ConfigurationError: the credentials or the base URL cannot be used.
        """
        names = ("B2B_ACCESS_TOKEN", "B2B_STORE_HASH", "B2B_LEGACY_TOKEN")
        credentials = Credentials(*(os.environ.get(name) or None for name in names))
        options["base_url"] = options.get("base_url") or os.environ.get("B2B_BASE_URL") or DEFAULT_BASE_URL
        return cls(credentials, **options)

    async def __aenter__(self) -> Self:
        """Open the session; that of a view is its client's to open.

        Raises:
            ConfigurationError: the client is open already.
        """
        if not self._is_view:
            self._sessions.enter()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        """Close the session, unless it was handed in."""
        await self.close()

    async def close(self) -> None:
        """Close the session, unless it was handed in; a second time does nothing, nor does closing a view."""
        if not self._is_view:
            await self._sessions.close()

    @property
    def connections(self) -> int:
        """Requests that can be in flight at the same time: the size of the connection pool."""
        return self._sessions.connections

    @property
    def quota(self) -> QuotaSnapshot:
        """The state of the limiter now. Must be read inside the running event loop."""
        return self.limiter.snapshot()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The functions that are called with each event."""
        return next(one.listeners for one in self._middlewares if isinstance(one, Observe))

    def with_options(
        self,
        *,
        timeout: Timeouts | float | None = None,
        retry: RetryPolicy | None = None,
        lane: Lane | None = None,
        listeners: Iterable[Listener] = (),
        per_attempt: Iterable[Middleware] = (),
        outwaits_throttling: bool = False,
    ) -> Self:
        """Return a view of this client that shares its session, limiter and retry budget.

        ::

            quick = client.with_options(timeout=5, retry=RetryPolicy(attempts=2))
            order = await v3.orders.get_order(quick, BCOrderId(117))

        Args:
            timeout: How long its calls may take; a number is the seconds of a whole call, and the other times stay.
            retry: When a failed attempt is followed by another one. The budget stays that of the client.
            lane: "bulk" makes its calls wait behind interactive ones, as long as it takes.
            listeners: Further functions that are called with each event.
            per_attempt: Further middlewares, run once per attempt that is sent.
            outwaits_throttling: Retry refusals for the rate of requests (429) as often as they come, instead of
                ``RetryPolicy.throttled`` times. The limiter's holds, of up to two minutes, come before each retry.

        Raises:
            ConfigurationError: an argument cannot be used, or the client's own ``middlewares`` have nothing that
                *timeout* or *retry* could apply to.
        """
        checked_lane(lane)
        middlewares = self._middlewares
        view = copy.copy(self)
        if timeout is not None:
            own = self._transport.timeouts
            timeouts = (
                timeout if isinstance(timeout, Timeouts) else attrs.evolve(own, call=checked_timeouts(timeout).call)
            )
            view._transport = self._transport.with_timeouts(timeouts)  # noqa: SLF001 -- a copy of itself
            middlewares = _replaced(middlewares, CallDeadline, lambda old: old.with_seconds(timeouts.call), "timeout")
        if retry is not None:
            policy = instance_of(RetryPolicy, retry, "retry", "RetryPolicy(attempts=3)")
            middlewares = _replaced(middlewares, Retry, lambda old: old.with_policy(policy), "retry")
        further = checked_listeners(listeners)
        if further:
            middlewares = _replaced(middlewares, Observe, lambda old: old.with_listeners(further), "listeners")
        if lane is not None:
            view._lane = lane  # noqa: SLF001 -- a copy of itself
        view._outwaits_throttling = (  # noqa: SLF001 -- a copy of itself
            checked_flag(outwaits_throttling, "outwaits_throttling") or self._outwaits_throttling
        )
        return view._with_middlewares((*middlewares, *checked_middlewares(per_attempt, "per_attempt")))  # noqa: SLF001

    async def send(
        self,
        operation: Operation,
        parameters: Mapping[str, PathValue] | None = None,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        reconcile: Reconciliation | None = None,
    ) -> Response:
        """Make one call and return its response with the envelope parsed.

        Args:
            operation: The endpoint.
            parameters: The path parameters by the vendor's names, not encoded.
            query: Query parameters, not encoded.
            body: The JSON body.
            reconcile: How to find out what became of it if its response is lost and it must not be sent again.

        Raises:
            B2BError: one of ``b2b_async.errors``.
        """
        return await self._handler(self._request(operation, parameters, query, body, reconcile=reconcile))

    async def call(
        self,
        operation: Operation,
        parameters: Mapping[str, PathValue] | None = None,
        *,
        into: type[T],
        query: Query | None = None,
        body: bytes | None = None,
        check: Callable[[Envelope], str | None] | None = None,
        reconcile: Reconciliation | None = None,
    ) -> T:
        """Make one call and return its ``data`` as an instance of *into*, an attrs class or a tuple of them.

        Args:
            operation: The endpoint.
            parameters: The path parameters by the vendor's names, not encoded.
            into: The class of the data; its fields are the vendor's names in snake_case. An object that comes in a list
                of its own is taken out of it.
            query: Query parameters, not encoded.
            body: The JSON body.
            check: Returns what is wrong with a response that reports success, such as the id of another object; None
                if nothing is. What is wrong makes it a lost response.
            reconcile: How to find out what became of it if its response is lost and it must not be sent again.

        Raises:
            ResponseValidationError: the server accepted the request, but the data do not fit.
            B2BError: any other of ``b2b_async.errors``.
        """
        request = self._request(operation, parameters, query, body, into=into, reconcile=reconcile, check=check)
        return cast("T", (await self._handler(request)).value)

    async def page(
        self,
        operation: Operation,
        parameters: Mapping[str, PathValue] | None = None,
        *,
        into: type[T],
        limit: int,
        offset: int,
        query: Query | None = None,
    ) -> Page[T]:
        """Make one call and return its ``data`` as one page of instances of *into*, an attrs class.

        Args:
            operation: The endpoint.
            parameters: The path parameters by the vendor's names, not encoded.
            into: The class of the items.
            limit: Items of the page, at most.
            offset: Items on the pages before.
            query: Further query parameters, not encoded.

        Raises:
            ResponseValidationError: the server accepted the request, but the data do not fit.
            B2BError: any other of ``b2b_async.errors``.
        """
        query = {**(query or {}), "limit": str(limit), "offset": str(offset)}
        rows = cast("type[tuple[T, ...]]", GenericAlias(tuple, (into, ...)))
        response = await self._handler(self._request(operation, parameters, query, into=rows))
        where = {} if response.envelope is None else response.envelope.pagination
        total, most = (_count(where.get(name)) for name in ("totalCount", "limit"))
        return Page(items=cast("tuple[T, ...]", response.value), total=total, limit=most or limit, offset=offset)

    def listing(
        self,
        operation: Operation,
        parameters: Mapping[str, PathValue] | None = None,
        *,
        into: type[T],
        key: Callable[[T], int | str],
        largest: int,
        limit: int | None = None,
        offset: int = 0,
        query: Query | None = None,
        query_of_all: Query | None = None,
    ) -> Listing[T]:
        """Return a list of instances of *into*, of which nothing is fetched yet.

        Args:
            operation: The endpoint.
            parameters: The path parameters by the vendor's names, not encoded.
            into: The class of the items.
            key: Returns what an item is known by, so that each comes once.
            largest: Items that a page may have at most.
            limit: Items of a page; None for the usual number.
            offset: Items before the first one.
            query: Further query parameters, not encoded.
            query_of_all: Those of all pages, where *query* has no others: a sorting that keeps items in their places.

        Raises:
            InvalidArgumentError: an argument cannot be used.
        """
        operation.path(parameters)
        page_size, start = page_bounds(limit, offset, largest)
        asked = dict(query or {})

        def fetcher(asked: Query) -> Callable[[int, int], Awaitable[Page[T]]]:
            return lambda size, after: self.page(
                operation, parameters, into=into, limit=size, offset=after, query=asked
            )

        return Listing(
            operation.name,
            fetcher(asked),
            fetcher({**(query_of_all or {}), **asked}),
            key=key,
            largest=largest,
            limit=page_size,
            offset=start,
        )

    async def with_response(
        self,
        function: Callable[Concatenate[Self, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answered[T]:
        """Call an endpoint function, and return the response beside what the function makes of it.

        ::

            answered = await client.with_response(v3.orders.get_order, BCOrderId(117))
            print(answered.value.status, answered.response.status, answered.response.request_id)

        Args:
            function: Any endpoint function, or one of your own that takes a client first and makes a call with it.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Returns:
            Its value, and the last response that came; where an error is the response, it is that error's.

        Raises:
            InvalidArgumentError: the function is not one to await; nothing was sent.
            RuntimeError: the function made no call with the client that it was given.
            B2BError: what the function raises.
        """
        last: tuple[Request, Response] | None = None

        async def keep(request: Request, handler: Handler) -> Response:
            nonlocal last
            response = await handler(request)
            last = request, response
            return response

        # Innermost as well: a function may take an error for its result.
        view = self._with_middlewares((keep, *self._middlewares, keep))
        promised = function(view, *args, **kwargs)
        if not hasattr(promised, "__await__"):
            message = "with_response takes a function to await, such as the endpoint functions"
            raise InvalidArgumentError(message)
        value = await promised
        if last is None:
            message = (
                "with_response: the function made no call with the client that it was given, so it has no response"
            )
            raise RuntimeError(message)
        request, response = last
        attempts = tuple(request.call.attempts)
        return Answered(value=value, response=response, attempts=attempts, call_id=request.call.id)

    def _pipeline_of(self, options: ClientOptions, timeouts: Timeouts) -> tuple[Middleware, ...]:
        retry = options.get("retry")
        if retry is not None:
            instance_of(RetryPolicy, retry, "retry", "RetryPolicy(attempts=3)")
        per_call = checked_middlewares(options.get("per_call", ()), "per_call")
        per_attempt = checked_middlewares(options.get("per_attempt", ()), "per_attempt")
        listeners = checked_listeners(options.get("listeners", ()))
        own = options.get("middlewares")
        if own is None:
            return default_middlewares(
                self.credentials,
                limiter=self.limiter,
                retry=retry,
                timeout=timeouts,
                per_call=per_call,
                per_attempt=per_attempt,
                listeners=listeners,
            )
        if retry is not None or per_call or per_attempt:
            message = "middlewares= is the whole pipeline: put retry, per_call and per_attempt into it instead"
            raise ConfigurationError(message)
        if timeouts.call != Timeouts().call:
            message = (
                "middlewares= is the whole pipeline, so timeout= cannot end its calls: put "
                f"b2b_async.middleware.deadline.CallDeadline({timeouts.call:g}) into it instead"
            )
            raise ConfigurationError(message)
        return self._observed(checked_middlewares(own, "middlewares"), listeners)

    def _observed(self, own: tuple[Middleware, ...], listeners: tuple[Listener, ...]) -> tuple[Middleware, ...]:
        """Put in what every pipeline needs, where the user's own lacks it: observation and decoding."""
        redact, store = self.credentials.redact, self.credentials.store
        if not any(isinstance(middleware, Observe) for middleware in own):
            own = (Observe(store=store, redact=redact), *own)
        own = _replaced(own, Observe, lambda old: old.with_listeners(listeners, store=store), "listeners")
        if not any(isinstance(middleware, Decode) for middleware in own):
            own = _inserted(own, Decode(redact), behind=Observe)
        if not any(isinstance(middleware, ObserveAttempts) for middleware in own):
            # Behind what makes several attempts of one call.
            makes_attempts = Retry if any(isinstance(middleware, Retry) for middleware in own) else Decode
            own = _inserted(own, ObserveAttempts(redact), behind=makes_attempts)
        return own

    def _with_middlewares(self, middlewares: tuple[Middleware, ...]) -> Self:
        view = copy.copy(self)
        view._is_view = True  # noqa: SLF001 -- a copy of itself
        view._middlewares = middlewares  # noqa: SLF001 -- a copy of itself
        view._handler = build_pipeline(middlewares, view._transport)  # noqa: SLF001 -- a copy of itself
        return view

    def _request(
        self,
        operation: Operation,
        parameters: Mapping[str, PathValue] | None,
        query: Query | None,
        body: bytes | None = None,
        *,
        into: Any = None,  # noqa: ANN401 -- a class, or a tuple of one
        reconcile: Reconciliation | None = None,
        check: Callable[[Envelope], str | None] | None = None,
    ) -> Request:
        return Request(
            operation=operation,
            path=operation.path(parameters),
            call=CallState(new_call_id()),
            query=query,
            body=body,
            lane=self._lane,
            outwaits_throttling=self._outwaits_throttling,
            into=into,
            check=check,
            reconcile=reconcile,
        )


def _replaced(
    middlewares: tuple[Middleware, ...], kind: type[T], replace: Callable[[T], Middleware], option: str
) -> tuple[Middleware, ...]:
    """Return *middlewares* with those of a kind replaced.

    Raises:
        ConfigurationError: there is none, so that the *option* would do nothing.
    """
    if not any(isinstance(middleware, kind) for middleware in middlewares):
        message = f"{option}= has nothing to apply to: the client's own middlewares have no {kind.__name__}"
        raise ConfigurationError(message)
    return tuple(replace(middleware) if isinstance(middleware, kind) else middleware for middleware in middlewares)


def _inserted(
    middlewares: tuple[Middleware, ...], middleware: Middleware, *, behind: type[object]
) -> tuple[Middleware, ...]:
    """Return *middlewares* with another one behind the last one of a kind."""
    place = max(place for place, one in enumerate(middlewares, 1) if isinstance(one, behind))
    return (*middlewares[:place], middleware, *middlewares[place:])


def _count(value: object) -> int | None:
    """Read a number of rows, which comes as a number or as a string; None if it is none."""
    return None if isinstance(value, bool) or not _COUNT.fullmatch(str(value)) else int(float(str(value)))
