"""The vendor's envelope around every answer, in all the forms seen.

v3 says ``{code, data, meta: {message, pagination}}`` and on some calls ``message`` at the top,
v2 says ``{code, data, message}``, the framework beneath says ``{detail}``.
``code`` may be an integer or a numeric string, may have five digits (40010: the first three are the status),
and may report an error under HTTP 200. Where a page stands in its list is said in four places.
Error texts hide in ``data`` as ``{field: message}``, ``{"errMsg": text}`` or
``{"errMsg": {field: {index: [messages]}}}``; the core API has ``{title, errors}`` or an array of errors; others have
``error`` and ``error_description``, or lists of messages by field at the top. A web page is reduced to its title.
"""

from __future__ import annotations

import html
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
_SUCCESS = range(200, 300)
_EXCERPT = 200
"""Characters of a body that is no envelope, as its message."""
_LARGEST = 256 * 1024
"""Bytes of a body that are worth keeping for an error."""
_NESTED = 64
"""Levels of a payload that an error keeps; pickle cannot follow hundreds."""
_OPENING = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"code"\s*:\s*"?(\d{3,5})\b')
_DEEPEST = 3
"""Levels below a field at which the server's messages have been seen, and one more."""
_GENERAL = ("title", "error", "detail", "error_description")
"""Where a general message stands, after ``meta.message`` or ``message``."""
_FIELD_NAMES = ("field", "name", "path", "property", "param", "parameter", "key", "source")
_MESSAGE_NAMES = ("message", "detail", "description", "msg", "title", "error", "errMsg", "reason", "code")
"""The names of the field and of the message in the items of a list of errors."""
_NO_FIELDS = frozenset({"code", "status", "type", "data", "meta", "message", "errors", "instance", *_GENERAL})
_SAYS_NOTHING = frozenset({"code", "status", "type", "message", "meta"})
"""Members of an error's body that are no words of the server's."""
_TITLE = re.compile(r"<(title|h1)\b[^>]*>(.{0,400}?)</\1", re.IGNORECASE | re.DOTALL)
_INVISIBLE = re.compile(r"<(script|style)\b.{0,2000}?</\1", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_BYTE_ORDER_MARK = "\ufeff"


class UndecodableBodyError(ValueError):
    """The body is not JSON; the text says where it stops being so, and never quotes it."""


@attrs.frozen
class Envelope:
    """One answer, opened. What is in it is looked up when asked for: a success needs its data only."""

    payload: Any = attrs.field(repr=False)  # a server may echo a token in it
    """The whole JSON value, as it came."""
    excerpt: str | None = None
    """The first words of a body that has no message, to stand in for it."""

    @property
    def data(self) -> Any:  # noqa: ANN401 -- any JSON value
        """What the answer is about; None if the envelope has none."""
        return _object(self.payload).get("data")

    @property
    def has_data(self) -> bool:
        """Whether the envelope says what the answer is about, be it nothing."""
        return "data" in _object(self.payload)

    @property
    def is_bare_success(self) -> bool:
        """True if it reports success without data: by its code, or by being empty."""
        code = self.code
        return self.payload in _EMPTY if code is None else code in _SUCCESS

    @property
    def code(self) -> int | None:
        """The envelope's own code; not always the HTTP status."""
        return _code(_object(self.payload).get("code"))

    @property
    def message(self) -> str | None:
        """The server's words, from wherever it put them."""
        return _message(self.payload) or self.excerpt

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
        """The messages of an error by field, flattened: ``{"orderId": "…", "name[0]": "…; …"}``."""
        found: dict[str, str] = {}
        whole: object = self.payload
        if isinstance(whole, list):
            for item in _objects(cast("object", whole)):
                _flatten_all(_object(item.get("details")) or _object(item.get("errors")), found)
            return found
        payload, data = _object(whole), _object(self.data)
        _flatten_all(_object(data.get("errMsg")) or data, found)
        _flatten_all(_object(payload.get("errors")), found)
        _flatten_errors(payload.get("errors"), found)
        # A framework's own form of a refusal: lists of messages by field, without an envelope.
        texts = {name: value for name, value in payload.items() if name not in _NO_FIELDS and _is_texts(value)}
        _flatten_all(texts, found)
        return found

    @classmethod
    def parse(cls, body: bytes | str) -> Envelope:
        """Open *body*, that of an answer.

        Raises:
            UndecodableBodyError: it is not JSON.
        """
        try:
            # Some servers put a byte order mark in front, which JSON does not have.
            text = body.removeprefix(_BYTE_ORDER_MARK) if isinstance(body, str) else body.decode("utf-8-sig")
            return cls(decode_json(text))
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
        text = redact(body[:_LARGEST].decode("utf-8", "replace")).removeprefix(_BYTE_ORDER_MARK)
        excerpt = _excerpt(text)
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
        opened = cls(payload, excerpt)
        said = {name: value for name, value in _object(opened.payload).items() if name not in _SAYS_NOTHING}
        silent = isinstance(payload, dict) and all(value in _EMPTY for value in said.values())
        return cls(opened.payload) if silent or opened.fields else opened


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
decode_json = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant).decode
_EMPTY: tuple[Any, ...] = (None, "", [], {})


def _object(value: object) -> dict[str, Any]:
    """Give a JSON object as it is, and anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _code(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len("40010"):
        value = int(value)
    return value if isinstance(value, int) and (value in _STATUS or value in _LONG_CODE) else None


def _objects(value: object) -> list[dict[str, Any]]:
    return [_object(item) for item in cast("list[object]", value)] if isinstance(value, list) else []


def _is_texts(value: object) -> bool:
    texts = cast("list[object]", value) if isinstance(value, list) else []
    return bool(texts) and all(isinstance(text, str) for text in texts)


def _message(payload: object) -> str | None:
    """Join the general sentence and the particular ones: some errors have several, and say little in the first."""
    words: list[object] = []
    if isinstance(payload, list):
        words += [_words_of(item) for item in _objects(cast("object", payload))]
    else:
        fields = _object(payload)
        general = (_object(fields.get("meta")).get("message"), fields.get("message"))
        words.append(next((text for text in general if isinstance(text, str) and text), None))
        words += [_words_of(fields[name]) for name in _GENERAL if name in fields]
        words.append(_object(fields.get("data")).get("errMsg"))
        if isinstance(fields.get("errors"), str):
            words.append(fields["errors"])
    distinct = dict.fromkeys(text.strip() for text in words if isinstance(text, str) and text.strip())
    return writable(": ".join(distinct)) or None


def _words_of(item: object) -> object:
    """Return the message of an error, which is a text, or an object that has one."""
    fields = _object(item)
    return next((fields[name] for name in _MESSAGE_NAMES if isinstance(fields.get(name), str)), item)


def _excerpt(text: str) -> str | None:
    """Return the title of a web page, or the start of any other text."""
    start = text[: 20 * _EXCERPT]
    if start.lstrip()[:1] == "<":
        title = _TITLE.search(start)
        words = _TAG.sub(" ", title[2] if title else "")
        start = html.unescape(words if words.strip() else _TAG.sub(" ", _INVISIBLE.sub(" ", start)))
    return writable(" ".join(start.split())[:_EXCERPT]) or None


def _flatten_all(fields: dict[str, Any], found: dict[str, str]) -> None:
    for name, value in fields.items():
        if name != "errMsg":
            _flatten(name, value, found)


def _flatten_errors(errors: object, found: dict[str, str]) -> None:
    """Flatten a list of errors, each of which names its field or not."""
    for number, item in enumerate(cast("list[object]", errors) if isinstance(errors, list) else ()):
        fields = _object(item)
        name = next((fields[name] for name in _FIELD_NAMES if isinstance(fields.get(name), str)), f"errors[{number}]")
        words = _words_of(item)
        _flatten(name if name not in found else f"{name}[{number}]", words, found)


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
