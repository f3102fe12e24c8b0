"""The values that go through the pipeline: an operation, a request down, a response up. No I/O."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NoReturn, TypeVar
from urllib.parse import quote, unquote

import attrs
from multidict import CIMultiDict

from b2b_async.errors import InvalidArgumentError
from b2b_async.ratelimit.feedback import leading_number, refusal_delay, retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from b2b_async._call import Attempt, CallState
    from b2b_async._envelope import Envelope
    from b2b_async.ratelimit.quota import Lane, Quota

T = TypeVar("T")
APIVersion = Literal["v2", "v3"]
PathValue = str | int

if TYPE_CHECKING:
    Query = Mapping[str, str | Sequence[str]]

_SAFE = frozenset({"GET", "HEAD"})
_IDEMPOTENT = _SAFE | {"PUT", "DELETE"}
_PARAMETER = re.compile(r"\{(\w+)\}")
_CHANGES_PATH = frozenset({"", ".", ".."})


class Headers(Mapping[str, str]):
    """Headers of a request, which cannot be changed.

    A token may be among them, so whatever shows variables shows their names only.
    """

    __slots__ = ("_values",)

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        """Take the headers over."""
        self._values = {} if headers is None else dict(headers)

    def __getitem__(self, name: str) -> str:
        """Return the value of a header."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._values)

    def __or__(self, other: Mapping[str, str]) -> Headers:
        """Return these headers and those of *other*, which win."""
        return Headers({**self._values, **other})

    def __ror__(self, other: Mapping[str, str]) -> Headers:
        """Return those of *other* and these headers, which win."""
        return Headers({**other, **self._values})

    def copy(self) -> Headers:
        """Return the headers themselves, which cannot be changed."""
        return self

    def __copy__(self) -> Headers:
        """Return the headers themselves, which cannot be changed."""
        return self

    def __deepcopy__(self, _memo: object) -> Headers:
        """Return the headers themselves, which cannot be changed."""
        return self

    def __repr__(self) -> str:
        """Name the headers."""
        return f"<headers {', '.join(self)}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a pickle would carry the token."""
        message = "headers of a request are not picklable, since a token may be among them"
        raise TypeError(message)


_NO_HEADERS = Headers()


def _headers_of(headers: Mapping[str, str]) -> Headers:
    return headers if isinstance(headers, Headers) else Headers(headers)


@attrs.frozen(slots=False)  # no slots: cached_property needs the instance's dictionary
class Operation:
    """An endpoint as the vendor describes it; each endpoint module states its operations once."""

    name: str
    """The vendor's name, as in the reference: "Assign Customer Orders to Company"."""
    version: APIVersion
    """Which API, and so which base path and which credential."""
    method: str
    """The HTTP method."""
    template: str
    """The path behind ``/api/{version}/io``, with the vendor's parameter names in braces."""
    data_optional: bool = False
    """A success needs no data: 204, 202, or a 200 that is empty means done."""
    quota: Quota | None = None
    """The endpoint's own quota, on top of the store's, if it has one."""

    @cached_property
    def safe(self) -> bool:
        """Whether it changes nothing, so that nobody needs to know whether it was carried out."""
        return self.method in _SAFE

    @cached_property
    def idempotent(self) -> bool:
        """Whether doing it twice is the same as doing it once, so that it may be sent again."""
        return self.method in _IDEMPOTENT

    @cached_property
    def route(self) -> str:
        """Method and path, as the limiter names the endpoint."""
        return f"{self.method} /api/{self.version}/io{self.template}"

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The names of the parameters in the path, in their order."""
        return tuple(_PARAMETER.findall(self.template))

    def ids(self, path: str) -> dict[str, str]:
        """Return the parameters in a *path* that ``path`` made, decoded, by the vendor's names."""
        template = f"/api/{self.version}/io{self.template}".split("/")
        parts = zip(template, path.split("/"), strict=False)
        return {name[1:-1]: unquote(value) for name, value in parts if name.startswith("{")}

    def path(self, parameters: Mapping[str, PathValue] | None = None) -> str:
        """Fill the template.

        Args:
            parameters: The values by the vendor's names, which are percent-encoded here.

        Raises:
            InvalidArgumentError: a parameter is missing or surplus, or its value would change the path.
        """
        values = parameters or {}
        if values.keys() != self._names:
            takes, given = (", ".join(names) or "none" for names in (self.parameters, values))
            message = f"{self.name}: {self.template} takes the path parameters {takes}, not {given}"
            raise InvalidArgumentError(message, operation=self.name)
        return self._pattern.format(*[self._segment(name, values[name]) for name in self.parameters])

    def _segment(self, name: str, value: PathValue) -> str:
        segment = str(value) if type(value) is int else quote(str(value), safe="")
        if segment in _CHANGES_PATH:
            message = f"{self.name}: the path parameter {name} must be an id, not {value!r}"
            raise InvalidArgumentError(message, operation=self.name)
        return segment

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.parameters)

    @cached_property
    def _pattern(self) -> str:
        return _PARAMETER.sub("{}", f"/api/{self.version}/io{self.template}")


@attrs.frozen(kw_only=True)
class Verification:
    """A query whose response shows whether another call was carried out; it changes nothing."""

    operation: Operation
    """What is asked."""
    path: str
    """The percent-encoded path."""
    read: Callable[[Response], Response | None]
    """Makes the answer that was lost of the one that was found, or gives None where that shows nothing done.

    It raises ``ResponseValidationError`` for an answer that shows neither, and may raise ``ConflictError`` where
    something else was done."""
    absent: frozenset[int]
    """The codes in an error's envelope by which the API says that there is nothing."""


@attrs.frozen(kw_only=True)
class Reconciliation:
    """How to find out what became of a call whose answer is lost."""

    verifications: tuple[Verification, ...]
    """Queries, the best first; the next one is sent where one fails."""
    resend_if_absent: bool = False
    """Send the call again, once, if several verifications find nothing. It may then be carried out twice."""


@attrs.frozen(kw_only=True, slots=False)  # a frozen class with a dictionary is made faster than one with slots
class Request:
    """One attempt of one call on its way down."""

    operation: Operation
    """What is asked."""
    path: str
    """The percent-encoded path behind the client's base URL. A request cannot name another origin."""
    call: CallState
    """The memory of the call that this is an attempt of."""
    query: Query | None = attrs.field(default=None, repr=False)  # error trackers show variables, and it names people
    """Query parameters, not encoded yet."""
    body: bytes | None = attrs.field(default=None, repr=False)
    """The JSON body, encoded once per call."""
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False, converter=_headers_of)
    """Headers set so far; auth adds its own further down, so they are not in the repr."""
    lane: Lane = "interactive"
    """Its lane in the limiter."""
    attempt: int = 1
    """1 for the first try."""
    once: bool = False
    """Do not try it again: who makes it does so by itself."""
    outwaits_throttling: bool = False
    """Retry refusals for the rate of requests (429) as often as they come, after whatever delay they ask for."""
    into: Any = attrs.field(default=None, repr=False)
    """The class that the ``data`` of its response become an instance of; None to leave them as they are."""
    check: Callable[[Envelope], str | None] | None = attrs.field(default=None, repr=False)
    """Returns what is wrong with a response that reports success, which then is not taken for one; None if nothing."""
    reconcile: Reconciliation | None = attrs.field(default=None, repr=False)
    """What to do when its answer is lost and it must not be sent again; None to leave that to the caller.

    Its attempts get half of what is left of the call's time at most, so that there is time to look."""

    def __attrs_post_init__(self) -> None:
        """Keep the request on the client's origin: behind a base URL, only a leading slash ends the host."""
        if not self.path.startswith("/"):
            message = f"a request's path must start with '/', not {self.path[:40]!r}"
            raise ValueError(message)

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        """Give the same request with *headers* added; ``attrs.evolve`` would look all fields up each time."""
        added = object.__new__(Request)
        vars(added).update(vars(self), headers=Headers({**self.headers, **headers}))
        return added


class Undecoded(enum.Enum):
    """The type of ``UNDECODED``."""

    UNDECODED = enum.auto()


UNDECODED: Final = Undecoded.UNDECODED
"""The value of a response that was not decoded."""


@attrs.frozen(slots=False)
class Response:
    """An answer on its way up."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False)  # a server may echo a token in them
    """The headers; look-ups do not mind upper and lower case."""
    body: bytes = attrs.field(repr=False)
    """The body, decompressed."""
    envelope: Envelope | None = attrs.field(default=None, repr=False)
    """The body, parsed; set by ``RaiseForStatus`` for a successful response."""
    value: Any = attrs.field(default=UNDECODED, repr=False)
    """The typed value; set by ``Decode`` where the request says what it becomes."""

    @property
    def request_id(self) -> str | None:
        """The server's id of this request, to quote to the vendor's support."""
        return self.headers.get("X-Request-Id")

    @property
    def trace_id(self) -> str | None:
        """The server's trace id, to quote to the vendor's support."""
        return self.headers.get("Trace-Id")

    @property
    def says_json(self) -> bool:
        """Whether the body is meant to be JSON, as all that the API itself says is."""
        return "json" in self.headers.get("Content-Type", "application/json").lower()

    @property
    def is_page(self) -> bool:
        """True if the body is a web page, which comes from something in front of the API."""
        start = self.body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        html = "html" in self.headers.get("Content-Type", "").lower()
        return start == b"<" or (html and start not in {b"", b"{", b"["})

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants the request again; None if it does not say.

        The longest time that ``Retry-After`` and ``X-Retry-After`` name; for a 429 also that of the quota's resets.
        """
        return refusal_delay(self.headers) if self.status == 429 else retry_after(self.headers)

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields; the headers that aiohttp makes cannot be pickled."""
        return {**vars(self), "headers": CIMultiDict(self.headers)}

    @property
    def quota_left(self) -> int | None:
        """How many requests the server had left for the store, this one not counted yet; None if it did not say."""
        remaining = leading_number(self.headers.get("X-Requests-Remaining"))
        return None if remaining is None else int(remaining)


@attrs.frozen(kw_only=True)
class Answered(Generic[T]):
    """What a call gives, and the answer that it was made of."""

    value: T
    """What the endpoint function gives."""
    response: Response
    """The answer: status, headers, ids, quota left."""
    attempts: tuple[Attempt, ...]
    """The attempts that failed before it, oldest first."""
    call_id: str
    """The id of the call on its log lines."""
