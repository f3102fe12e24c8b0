"""The client: the pipeline in one literal tuple, over one session, for one store."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import os
import re
from collections.abc import Mapping
from types import GenericAlias
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast, get_origin

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
    checked_max_body,
    checked_middlewares,
    checked_proxy,
    checked_session,
    checked_timeouts,
    checked_type,
    proxy_of_environment,
)
from b2b_async._limiter import RateLimiter
from b2b_async._messages import Answered, Request
from b2b_async._page import Page
from b2b_async._pipeline import build_pipeline
from b2b_async._policy import RetryPolicy
from b2b_async._record import is_blank
from b2b_async._session import SessionManager
from b2b_async._transport import Transport
from b2b_async.errors import B2BError, ConfigurationError, InvalidArgumentError, ResponseValidationError
from b2b_async.middleware.auth import Auth
from b2b_async.middleware.deadline import CallDeadline
from b2b_async.middleware.logging import Logging
from b2b_async.middleware.rate_limit import RateLimit
from b2b_async.middleware.reconcile import Reconcile
from b2b_async.middleware.retry import Retry
from b2b_async.middleware.status import RaiseForStatus, describe
from b2b_async.middleware.unknown import TellUnknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Self

    import aiohttp

    from b2b_async._call import UnknownOutcome
    from b2b_async._envelope import Envelope
    from b2b_async._messages import Lane, Operation, Query, Reconciliation, Response
    from b2b_async._pipeline import Handler, Middleware
    from b2b_async.quota import QuotaSnapshot

    OnUnknown = Callable[[UnknownOutcome], object]

logger = logging.getLogger("b2b_async")
logger.addHandler(logging.NullHandler())  # else Python prints warnings where the application has set no logging up

T = TypeVar("T")
P = ParamSpec("P")

_SHOWN_MISFITS = 10
_LARGE = 512 * 1024
"""Bytes of an answer that take more than about 10 ms to make records of."""
_IDS = frozenset({"orderid", "bcorderid", "customerid", "companyid", "bcgroupid", "customergroupid"})
_COUNT = re.compile(r"[0-9]{1,15}(\.0+)?")


def default_middlewares(
    credentials: Credentials,
    *,
    limiter: RateLimiter,
    retry: RetryPolicy,
    timeouts: Timeouts,
    per_call: Iterable[Middleware] = (),
    per_attempt: Iterable[Middleware] = (),
    on_unknown: OnUnknown | None = None,
) -> tuple[Middleware, ...]:
    """Give the pipeline, from the outside in. The order is meaning.

    Args:
        credentials: What ``Auth`` signs with.
        limiter: The store's limiter.
        retry: When to try again.
        timeouts: How long a call may take.
        per_call: Middlewares of one's own, run once per call, inside its deadline.
        per_attempt: Middlewares of one's own, run once per attempt that leaves, behind auth:
            they see just what is sent, the token included.
        on_unknown: Told of calls whose outcome stays unknown, and of those that are cancelled after they left.
    """
    return (
        # Once per call.
        *(() if on_unknown is None else (TellUnknown(on_unknown),)),
        Logging(credentials.redact),
        CallDeadline(timeouts.call),
        *per_call,
        Reconcile(credentials.redact),
        Retry(retry),
        # Once per attempt.
        RaiseForStatus(credentials.redact),
        RateLimit(limiter),
        Auth(credentials),
        *per_attempt,
    )


class Client:
    """An asyncio client of BigCommerce B2B Edition for one store. Use it as an async context manager.

    Args:
        credentials: The store's secrets, for v3, v2, or both.
        base_url: Where the API is. Must be https, except for addresses of this machine.
        retry: When a failed attempt is followed by another.
        limiter: The store's limiter; share one between the clients of a store. None makes one of 150/60 s.
        timeout: How long things may take; a number is the seconds of a whole call (``Timeouts.call``).
        per_call: Middlewares of one's own, run once per call.
        per_attempt: Middlewares of one's own, run once per attempt that leaves, behind auth.
        on_unknown: Called with an ``UnknownOutcome`` when a call that changes something ends and its outcome stays
            unknown, or is cancelled after it left; at once, in the call's task.
        middlewares: The whole pipeline, instead of the default one and of the arguments that shape it.
        session: An aiohttp session to use. It stays yours: this client never closes it, and the client
            middlewares, redirects and timeouts it was made with do not apply.
        connections: Size of the connection pool; None for as many as the quota has requests. A session of yours keeps
            its own limit. A call that finds no free connection waits for one, and that takes no time of its attempts.
        proxy: The URL of an HTTP proxy, with its user name and password if it wants them.
        trust_env: Whether the proxy is taken from HTTPS_PROXY and NO_PROXY, where none is given. Requests over plain
            http, which only this machine gets, never use it: the proxy could read the token.
        max_body: Bytes of an answer, unpacked, above which it is not read on; 4 MiB. The event loop stands still while
            an answer is parsed, for about 10 ms a MiB.

    Raises:
        ConfigurationError: the base URL or the proxy is no URL, or would show the token on the way; or an argument is
            of another type.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str = DEFAULT_BASE_URL,
        retry: RetryPolicy | None = None,
        limiter: RateLimiter | None = None,
        timeout: Timeouts | float | None = None,
        per_call: Iterable[Middleware] = (),
        per_attempt: Iterable[Middleware] = (),
        on_unknown: OnUnknown | None = None,
        middlewares: Iterable[Middleware] | None = None,
        session: aiohttp.ClientSession | None = None,
        connections: int | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        max_body: int = DEFAULT_MAX_BODY,
    ) -> None:
        """Set everything up without opening anything."""
        # Slow to import: neither with the package, nor in the middle of a call.
        from b2b_async import _converter  # noqa: PLC0415

        self._converter = _converter
        timeouts = checked_timeouts(timeout)
        self.base_url = checked_base_url(base_url)
        self.credentials = checked_type(credentials, "credentials", Credentials, "Credentials(access_token=...)")
        retry = checked_type(retry, "retry", RetryPolicy, "RetryPolicy(attempts=3)", optional=True)
        self.limiter = (
            checked_type(limiter, "limiter", RateLimiter, "RateLimiter(Quota(150, 60.0))", optional=True)
            or RateLimiter()
        )
        per_call = checked_middlewares(per_call, "per_call")
        per_attempt = checked_middlewares(per_attempt, "per_attempt")
        middlewares = None if middlewares is None else checked_middlewares(middlewares, "middlewares")
        if middlewares is not None and (retry is not None or per_call or per_attempt or on_unknown):
            message = (
                "middlewares= is the whole pipeline: put retry, per_call, per_attempt and on_unknown into it instead"
            )
            raise ConfigurationError(message)
        if middlewares is not None and timeouts.call != Timeouts().call:
            message = (
                "middlewares= is the whole pipeline, so timeout= cannot end its calls: put "
                f"b2b_async.middleware.deadline.CallDeadline({timeouts.call:g}) into it instead"
            )
            raise ConfigurationError(message)
        if middlewares is None:
            middlewares = default_middlewares(
                credentials,
                limiter=self.limiter,
                retry=retry or RetryPolicy(),
                timeouts=timeouts,
                per_call=per_call,
                per_attempt=per_attempt,
                on_unknown=on_unknown,
            )
        self._middlewares = middlewares
        self._sessions = SessionManager(
            checked_session(session),
            connections=checked_connections(connections, self.limiter.limit),
        )
        proxy = checked_proxy(proxy, self.base_url)
        if proxy is None and checked_flag(trust_env, "trust_env"):
            proxy = proxy_of_environment(self.base_url)
        self._transport = Transport(
            self._sessions,
            self.base_url,
            timeouts,
            max_body=checked_max_body(max_body),
            redact=credentials.redact,
            proxy=proxy,
        )
        self._handler = build_pipeline(self._middlewares, self._transport)
        self._lane: Lane = "interactive"
        self._outwaits_throttling = False
        self._is_view = False

    @classmethod
    def from_env(
        cls,
        *,
        base_url: str | None = None,
        retry: RetryPolicy | None = None,
        limiter: RateLimiter | None = None,
        timeout: Timeouts | float | None = None,
        per_call: Iterable[Middleware] = (),
        per_attempt: Iterable[Middleware] = (),
        on_unknown: OnUnknown | None = None,
        session: aiohttp.ClientSession | None = None,
        connections: int | None = None,
        proxy: str | None = None,
        trust_env: bool = False,
        max_body: int = DEFAULT_MAX_BODY,
    ) -> Self:
        """Make a client from B2B_ACCESS_TOKEN, B2B_STORE_HASH, B2B_LEGACY_TOKEN and B2B_BASE_URL.

        An empty variable counts as unset. The arguments are those of the class; *base_url* goes before its variable.

        Raises:
            ConfigurationError: the credentials or the base URL cannot be used.
        """
        names = ("B2B_ACCESS_TOKEN", "B2B_STORE_HASH", "B2B_LEGACY_TOKEN")
        return cls(
            Credentials(*(os.environ.get(name) or None for name in names)),
            base_url=base_url or os.environ.get("B2B_BASE_URL") or DEFAULT_BASE_URL,
            retry=retry,
            limiter=limiter,
            timeout=timeout,
            per_call=per_call,
            per_attempt=per_attempt,
            on_unknown=on_unknown,
            session=session,
            connections=connections,
            proxy=proxy,
            trust_env=trust_env,
            max_body=max_body,
        )

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
        """Requests that can be under way at the same time: the size of the connection pool."""
        return self._sessions.connections

    @property
    def quota(self) -> QuotaSnapshot:
        """The limiter's books as they are now. Must be read inside the running event loop."""
        return self.limiter.snapshot()

    def with_options(
        self,
        *,
        lane: Lane | None = None,
        outwaits_throttling: bool = False,
        per_attempt: Iterable[Middleware] = (),
        on_unknown: OnUnknown | None = None,
    ) -> Self:
        """Return a view of this client that shares its session, limiter and retry budget.

        Args:
            lane: "bulk" makes its calls wait behind interactive ones, as long as it takes.
            outwaits_throttling: Retry refusals for the rate of requests (429) as often as they come, instead of
                ``RetryPolicy.throttled`` times. The limiter's holds, of up to two minutes, come before each retry.
            per_attempt: Further middlewares, run once per attempt that leaves.
            on_unknown: Told, too, of calls whose outcome stays unknown, and of those that are cancelled.
        """
        checked_lane(lane)
        per_attempt = checked_middlewares(per_attempt, "per_attempt")
        outermost = () if on_unknown is None else (TellUnknown(on_unknown),)
        view = self._view((*outermost, *self._middlewares, *per_attempt))
        if lane is not None:
            view._lane = lane  # noqa: SLF001 -- a copy of itself
        view._outwaits_throttling = (  # noqa: SLF001 -- a copy of itself
            checked_flag(outwaits_throttling, "outwaits_throttling") or self._outwaits_throttling
        )
        return view

    async def send(
        self,
        operation: Operation,
        *segments: str | int,
        query: Query | None = None,
        body: bytes | None = None,
        reconcile: Reconciliation | None = None,
    ) -> Response:
        """Make one call and give its answer with the envelope opened.

        Args:
            operation: What is asked.
            segments: The path parameters in the order of the template, percent-encoded.
            query: Query parameters, not encoded.
            body: The JSON body.
            reconcile: How to find out what became of it if its answer is lost and it must not be sent again.

        Raises:
            B2BError: one of ``b2b_async.errors``.
        """
        return await self._answer(self._request(operation, segments, query, body, reconcile=reconcile))

    async def call(
        self,
        operation: Operation,
        *segments: str | int,
        into: type[T],
        query: Query | None = None,
        body: bytes | None = None,
        check: Callable[[Envelope], str | None] | None = None,
        reconcile: Reconciliation | None = None,
    ) -> T:
        """Make one call and give its ``data`` as an instance of *into*, an attrs class or a tuple of them.

        Args:
            operation: What is asked.
            segments: The path parameters in the order of the template, percent-encoded.
            into: The class of the answer; its fields are the vendor's names in snake_case. An object that comes
                in a list of its own is taken out of it.
            query: Query parameters, not encoded.
            body: The JSON body.
            check: Returns what is wrong with a response that reports success, such as the id of another object; None
                if nothing is. What is wrong makes it a lost answer.
            reconcile: How to find out what became of it if its answer is lost and it must not be sent again.

        Raises:
            ResponseValidationError: the server said yes, but with data that do not fit.
            B2BError: any other of ``b2b_async.errors``.
        """
        request = self._request(operation, segments, query, body, reconcile=reconcile, check=check)
        return await self._structure(request, await self._answer(request), into)

    async def page(
        self,
        operation: Operation,
        *segments: str | int,
        into: type[T],
        limit: int,
        offset: int,
        query: Query | None = None,
    ) -> Page[T]:
        """Make one call and give its ``data`` as one page of instances of *into*, an attrs class.

        Args:
            operation: What is asked.
            segments: The path parameters in the order of the template, percent-encoded.
            into: The class of what the page lists.
            limit: How many a page may have.
            offset: How many there are on the pages before.
            query: Further query parameters, not encoded.

        Raises:
            ResponseValidationError: the server said yes, but with data that do not fit.
            B2BError: any other of ``b2b_async.errors``.
        """
        query = {**(query or {}), "limit": str(limit), "offset": str(offset)}
        request = self._request(operation, segments, query)
        response = await self._answer(request)
        rows = cast("type[tuple[T, ...]]", GenericAlias(tuple, (into, ...)))
        items = await self._structure(request, response, rows)
        where = {} if response.envelope is None else response.envelope.pagination
        total, most = (_count(where.get(name)) for name in ("totalCount", "limit"))
        return Page(items=items, total=total, limit=most or limit, offset=offset)

    async def with_response(
        self,
        function: Callable[Concatenate[Self, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Answered[T]:
        """Call an endpoint function, and give the answer beside what the function makes of it.

        ::

            answered = await client.with_response(v3.orders.get_order, BCOrderId(117))
            print(answered.value.status, answered.response.status, answered.response.request_id)

        Args:
            function: Any endpoint function, or one of your own that takes a client first and makes a call with it.
            args: Its further arguments.
            kwargs: Its keyword arguments.

        Returns:
            Its value, and the last answer that came; where an error is the answer, it is that error's.

        Raises:
            InvalidArgumentError: the function is not one to await; nothing was sent.
            RuntimeError: the function made no call with the client that it was given.
            B2BError: what the function raises.
        """
        last: tuple[Request, Response] | None = None

        async def hear(request: Request, handler: Handler) -> Response:
            nonlocal last
            response = await handler(request)
            last = request, response
            return response

        # Innermost as well: a function may take an error for an answer.
        view = self._view((hear, *self._middlewares, hear))
        promised = function(view, *args, **kwargs)
        if not hasattr(promised, "__await__"):
            message = "with_response takes a function to await; of all pages, ask for each one with its list_ function"
            raise InvalidArgumentError(message)
        value = await promised
        if last is None:
            message = "with_response: the function made no call with the client that it was given, so it has no answer"
            raise RuntimeError(message)
        request, response = last
        attempts = tuple(request.call.attempts)
        return Answered(value=value, response=response, attempts=attempts, call_id=request.call.id)

    def _view(self, middlewares: tuple[Middleware, ...]) -> Self:
        view = copy.copy(self)
        view._is_view = True  # noqa: SLF001 -- a copy of itself
        view._middlewares = middlewares  # noqa: SLF001 -- a copy of itself
        view._handler = build_pipeline(middlewares, self._transport)  # noqa: SLF001 -- a copy of itself
        return view

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except B2BError as error:
            _complete(error, request)
            raise

    async def _structure(self, request: Request, response: Response, into: type[T]) -> T:
        """Make *into* of what an answer is about; in a thread where that would hold up the event loop."""
        if len(response.body) <= _LARGE:
            return self._structured(request, response, into)
        return await asyncio.to_thread(self._structured, request, response, into)

    def _structured(self, request: Request, response: Response, into: type[T]) -> T:
        envelope, operation, call = response.envelope, request.operation, request.call
        misfits: list[str] = []
        try:
            made = self._made(response, into, operation, misfits.extend)
        except self._converter.MisfitError as error:
            fault = self.credentials.redact(str(error))
        else:
            if misfits:
                shown = ", ".join(misfits[:_SHOWN_MISFITS])
                more = f" and {len(misfits) - _SHOWN_MISFITS} more" if len(misfits) > _SHOWN_MISFITS else ""
                text = "%s: values that do not fit their fields are left out, and kept in raw: %s%s [call %s]"
                logger.warning(text, operation.name, shown, more, call.id)
            return made
        answer = describe(response, self.credentials.redact)
        message = f"{operation.name}: {response.status}, but the answer does not fit: {fault}"
        # Without the envelope's yes, the words may be those of something that stands before the API.
        yes = envelope is None or (envelope.code is not None and envelope.acknowledges)
        misfit = ResponseValidationError(
            message, answer=answer, outcome=call.in_flight if yes else "unknown", operation=operation.name
        )
        misfit.attempts, misfit.call_id = tuple(call.attempts), call.id
        _complete(misfit, request)
        raise misfit

    def _made(
        self, response: Response, into: type[T], operation: Operation, on_misfits: Callable[[list[str]], None]
    ) -> T:
        """Make what an answer is about. No caller has it in a variable: a traceback shows what a server echoes."""
        structure, envelope = self._converter.structure, response.envelope
        if envelope is None:
            return structure(None, into)
        if get_origin(into) is tuple:
            if not envelope.has_data:  # null may be an empty list; no word on it is another answer
                message = "$.data is missing"
                raise self._converter.MisfitError(message)
            return self._converter.structure_rows(*envelope.rows, into, on_misfits)
        data: object = _alone(envelope.data)
        if operation.data_optional and envelope.acknowledges:
            data = _object_or_empty(data)
        made = structure(data, into, on_misfits=on_misfits)
        if not operation.safe and not envelope.acknowledges and is_blank(made):
            message = "$.data is empty, and the answer does not say that the request was carried out"
            raise self._converter.MisfitError(message)
        return made

    def _request(
        self,
        operation: Operation,
        segments: tuple[str | int, ...],
        query: Query | None,
        body: bytes | None = None,
        *,
        reconcile: Reconciliation | None = None,
        check: Callable[[Envelope], str | None] | None = None,
    ) -> Request:
        if len(segments) != len(operation.parameters):
            takes = ", ".join(operation.parameters) or "none"
            message = f"{operation.name}: {operation.template} takes {takes}, but {len(segments)} segments were given"
            raise InvalidArgumentError(message, operation=operation.name)
        return Request(
            operation=operation,
            path=operation.path(*segments),
            call=CallState(new_call_id()),
            query=query,
            body=body,
            lane=self._lane,
            outwaits_throttling=self._outwaits_throttling,
            check=check,
            reconcile=reconcile,
        )


def _complete(error: B2BError, request: Request) -> None:
    """Say on an error which call it ends."""
    operation = request.operation
    error.operation = error.operation or operation.name
    error.call_id = error.call_id or request.call.id
    error.method, error.path = operation.method, request.path
    body: object = None
    with contextlib.suppress(ValueError):  # a caller's own body may be anything
        body = None if request.body is None else json.loads(request.body)
    error.ids = {**operation.ids(request.path), **_ids_in(request.query), **_ids_in(body)}


def _ids_in(fields: object) -> dict[str, str]:
    """Return the ids in a query or body: of what they hold these alone are no personal data."""
    items = cast("Mapping[str, object]", fields).items() if isinstance(fields, Mapping) else ()
    return {name: str(value) for name, value in items if name.lower() in _IDS and isinstance(value, str | int)}


def _alone(data: object) -> object:
    """Take an object out of a list that has only this one."""
    if not isinstance(data, list):
        return data
    items = cast("list[object]", data)
    return items[0] if len(items) == 1 else items


def _object_or_empty(data: object) -> object:
    """Return an object as it is; anything else, which a success without data may have there, as an empty one."""
    return cast("object", data) if isinstance(data, dict) else {}


def _count(value: object) -> int | None:
    """Read a number of rows, which comes as a number or as a string; None if it is none."""
    return None if isinstance(value, bool) or not _COUNT.fullmatch(str(value)) else int(float(str(value)))
