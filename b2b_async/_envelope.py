"""The vendor's envelope around every answer, in all the forms seen.

v3 says ``{code, data, meta: {message, pagination}}`` and on some calls ``message`` at the top,
v2 says ``{code, data, message}``, the framework beneath says ``{detail}``.
``code`` may be an integer or a numeric string, may have five digits (40010: the first three are the status),
and may tell of an error under HTTP 200. Where a page stands in its list is said in four places.
Error texts hide in ``data`` as ``{field: message}``, ``{"errMsg": text}`` or
``{"errMsg": {field: {index: [messages]}}}``.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_LONG_CODE = range(10_000, 60_000)
_STATUS = range(100, 600)
_ERROR_STATUS = range(400, 600)
_EXCERPT = 200
"""Characters of a body that is no envelope, as its message."""
_LARGEST = 256 * 1024
"""Bytes of a body that are worth keeping for an error."""
_NESTED = 64
"""Levels of a payload that an error keeps; pickle cannot follow hundreds."""
_OPENING = re.compile(rb'\s*\{\s*"code"\s*:\s*"?(\d{3,5})\b')
_DEEPEST = 3
"""Levels below a field at which the server's messages have been seen, and one more."""


class UndecodableBodyError(ValueError):
    """The body is not JSON; the text says where it stops being so, and never quotes it."""


@attrs.frozen
class Envelope:
    """One answer, opened. What is in it is looked up when asked for: a success needs its data only."""

    payload: Any = attrs.field(repr=False)  # a server may echo a token in it
    """The whole JSON value, as it came."""
    excerpt: str | None = None
    """The first words of a body that has no envelope, to stand in for its message."""

    @property
    def data(self) -> Any:  # noqa: ANN401 -- any JSON value
        """What the answer is about; None if the envelope has none."""
        return _object(self.payload).get("data")

    @property
    def has_data(self) -> bool:
        """Whether the envelope says what the answer is about, be it nothing."""
        return "data" in _object(self.payload)

    @property
    def code(self) -> int | None:
        """The envelope's own code; not always the HTTP status."""
        return _code(_object(self.payload).get("code"))

    @property
    def message(self) -> str | None:
        """The server's words, from wherever it put them."""
        return _message(_object(self.payload)) or self.excerpt

    @property
    def pagination(self) -> dict[str, Any]:
        """Where a page stands in its list: totalCount, limit, offset, as far as the server says.

        v3 says it in ``meta.pagination`` or in ``meta`` itself, v2 in ``data.pagination`` or ``data.paginator``.
        """
        meta, data = _object(_object(self.payload).get("meta")), _object(self.data)
        places = [_object(place) for place in (meta.get("pagination"), data.get("pagination"), data.get("paginator"))]
        told = [place for place in (*places, meta) if place.get("totalCount") is not None]
        return (told or [place for place in (*places, meta) if "limit" in place] or [{}])[0]

    @property
    def rows(self) -> tuple[Any, str]:
        """What a page lists, and its JSON path: v3 has it as ``data``, v2 as ``data.list``."""
        data = _object(self.data)
        return (data["list"], "$.data.list") if "list" in data else (self.data, "$.data")

    @property
    def error_status(self) -> int | None:
        """The HTTP status that ``code`` stands for, if it tells of an error; else None."""
        code = self.code
        if code is None:
            return None
        status = code // 100 if code in _LONG_CODE else code
        return status if status in _ERROR_STATUS else None

    @property
    def fields(self) -> dict[str, str]:
        """The server's messages by field, flattened: ``{"orderId": "…", "name[0]": "…; …"}``."""
        data = _object(self.data)
        found: dict[str, str] = {}
        for name, value in (_object(data.get("errMsg")) or data).items():
            if name != "errMsg":
                _flatten(name, value, found)
        return found

    @classmethod
    def parse(cls, body: bytes | str) -> Envelope:
        """Open *body*, that of an answer.

        Raises:
            UndecodableBodyError: it is not JSON.
        """
        try:
            return cls(_decode(body if isinstance(body, str) else body.decode()))
        except json.JSONDecodeError as error:
            fault = f"stops being JSON at character {error.pos}"
        except UnicodeDecodeError:
            fault = "is not Unicode text"
        except RecursionError:
            fault = "is nested too deeply"
        except (ValueError, ArithmeticError):
            fault = "holds a number that is none"
        message = f"the body (length {len(body)}) {fault}"
        raise UndecodableBodyError(message)

    @classmethod
    def for_error(cls, body: bytes, redact: Callable[[str], str]) -> Envelope:
        """Open *body* to be shown in an error: without secrets, and whatever it is."""
        # Redact before anything is read or cut to an excerpt: half a token would not be recognised.
        text = redact(body[:_LARGEST].decode("utf-8", "replace"))
        excerpt = " ".join(text[: 20 * _EXCERPT].split())[:_EXCERPT] or None
        try:
            payload = cls.parse(text).payload
            if _is_deeper(payload, _NESTED):
                return cls(None, excerpt)
            # A token may hide behind JSON's escapes (tok\\/en), which are gone only now.
            plain = json.dumps(payload, default=str)
            if redact(plain) != plain:
                payload = cls.parse(redact(plain)).payload
        except (UndecodableBodyError, RecursionError):
            return cls(None, excerpt)
        return cls(payload, None if isinstance(payload, dict) else excerpt)


def opens_with_success(body: bytes) -> bool:
    """Whether the beginning of an answer, which may be cut off or garbled further on, has a code that says yes."""
    match = _OPENING.match(body)
    return match is not None and match[1].startswith(b"2")


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = cast("dict[str, object]", value).values() if isinstance(value, dict) else cast("list[object]", value)
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in inner)


def _refuse_constant(name: str) -> NoReturn:
    """Python's parser takes NaN and Infinity; JSON does not have them."""
    raise ValueError(name)


# Made once: json.loads() with options of its own builds a decoder for every call.
_decode = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant).decode


def _object(value: object) -> dict[str, Any]:
    """Give a JSON object as it is, and anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _code(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len("40010"):
        value = int(value)
    return value if isinstance(value, int) and (value in _STATUS or value in _LONG_CODE) else None


def _message(payload: dict[str, Any]) -> str | None:
    """The general sentence and the particular one, since some answers have both and say little in the first."""
    general = (_object(payload.get("meta")).get("message"), payload.get("message"), payload.get("detail"))
    particular = _object(payload.get("data")).get("errMsg")
    words = [next((text for text in general if isinstance(text, str) and text), None)]
    if isinstance(particular, str) and particular not in {"", words[0]}:
        words.append(particular)
    return writable(": ".join(word for word in words if word)) or None


def _flatten(name: str, value: object, found: dict[str, str], depth: int = 0) -> None:
    if isinstance(value, dict):
        for key, inner in _object(cast("object", value)).items() if depth < _DEEPEST else ():
            _flatten(f"{name}[{key}]", inner, found, depth + 1)
    elif isinstance(value, list):
        texts = ("…" if isinstance(text, dict | list) else str(text) for text in cast("list[object]", value))
        found[writable(name)] = writable("; ".join(texts))
    elif value is not None:
        found[writable(name)] = writable(str(value))


def writable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can hold and no file or terminal can."""
    return text.encode("utf-8", "replace").decode()
