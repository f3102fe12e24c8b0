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
_MOST_CODE = 100_000
_SUCCESS = range(200, 300)
_EXCERPT = 200
"""Characters of a body that is no envelope, as its message."""
_LARGEST = 256 * 1024
"""Bytes of a body that are worth keeping for an error."""
_NESTED = 64
"""Levels of a payload that an error keeps; pickle cannot follow hundreds."""
_OPENING = re.compile(rb'(?:\xef\xbb\xbf|\s)*\{\s*"code"\s*:\s*"?(\d{3,5})\b')
_ID = re.compile(r"-?[0-9]+")
_DEEPEST = 8
"""Levels below a field that are searched for the server's messages."""
_MOST_FIELDS = 100
"""Fields that an error keeps."""
_GENERAL = ("title", "error", "detail", "error_description")
"""Where general messages stand, after ``meta.message`` and ``message``."""
_FIELD_NAMES = ("field", "name", "path", "property", "param", "parameter", "key", "source")
_MESSAGE_NAMES = ("message", "detail", "description", "msg", "title", "error", "errMsg", "reason")
"""The names of the field and of the message in the items of a list of errors."""
_NUMBERS = frozenset({"code", "status"})
_NO_WORDS = frozenset({*_NUMBERS, "type", "instance", "pagination", "paginator", "timestamp", "path"})
"""Members of an error's body that are no words, unless they are the only ones."""
_TITLE = re.compile(r"<(title|h1)\b[^>]*>(.{0,400}?)</\1", re.IGNORECASE | re.DOTALL)
_INVISIBLE = re.compile(r"<!--.*?-->|<(script|style)\b.*?(</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_BEFORE_JSON = "\ufeff \t\r\n"
"""Blanks, and byte order marks, which some servers put in front and JSON does not have."""
_ENCODINGS = 2
"""The most times that JSON has been seen encoded as a string inside JSON."""


class UndecodableBodyError(ValueError):
    """The body is not JSON; the text says where it stops being so, and never quotes it."""


def is_same_id(one: object, other: object) -> bool:
    """Return whether two ids are the same: 7, "7" and "07" are."""
    first, second = str(one).strip(), str(other)
    numbers = all(text.isascii() and text.isdigit() for text in (first, second))
    return first == second or (numbers and first.lstrip("0") == second.lstrip("0"))


def names(field: str, identifier: object) -> Callable[[Envelope], str | None]:
    """Return a check that a response, where it has an id in *field*, is about the object with that *identifier*."""

    def check(envelope: Envelope) -> str | None:
        found: object = envelope.only_object.get(field)
        if isinstance(found, bool) or not _ID.fullmatch(str(found).strip()) or is_same_id(found, identifier):
            return None
        return f"its {field} is not the one that was asked for"

    return check


@attrs.frozen
class Envelope:
    """One answer, opened. What is in it is looked up when asked for: a success needs its data only."""

    payload: Any = attrs.field(repr=False)  # a server may echo a token in it
    """The whole JSON value, as it came."""
    excerpt: str | None = None
    """The first words of a body that has no message, to stand in for it."""

    @property
    def data(self) -> Any:  # noqa: ANN401 -- any JSON value
        """The data of the response, decoded if they are JSON in a string; None if the envelope has none."""
        return container(_object(self.payload).get("data"))

    @property
    def only_object(self) -> dict[str, Any]:
        """The object that ``data`` is, or that stands in it as a list of one; an empty one for anything else."""
        data: object = self.data
        items = _items(data)
        return _object(items[0] if len(items) == 1 else data)

    @property
    def has_data(self) -> bool:
        """Whether the envelope says what the answer is about, be it nothing."""
        return "data" in _object(self.payload)

    @property
    def acknowledges(self) -> bool:
        """True if it reports success, though perhaps nothing else.

        By its code; without a code by being empty, bare or around its ``data``. Never beside words of an error.
        """
        whole, data = _object(self.payload), _object(self.data)
        if any(whole.get(name) not in _EMPTY for name in ("error", "errors")) or data.get("errMsg") not in _EMPTY:
            return False
        if whole.get("success") is False:
            return False
        if "code" in whole:
            return self.code in _SUCCESS
        return self.payload in _EMPTY or (whole.keys() == {"data"} and (self.data is False or self.data in _EMPTY))

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
        meta, data = _object(container(_object(self.payload).get("meta"))), _object(self.data)
        found = (meta.get("pagination"), data.get("pagination"), data.get("paginator"))
        places = [_object(container(place)) for place in found]
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
        """The words of an error that its message does not have, by field: ``{"orderId": "…", "name[0]": "…; …"}``."""
        found: dict[str, str] = {}
        whole: object = self.payload
        if isinstance(whole, list):  # of the core API
            for item in _objects(cast("object", whole)):
                _flatten_rest(item, found)
        else:
            _flatten_rest(_object(whole), found)
        return found

    @classmethod
    def parse(cls, body: bytes | str) -> Envelope:
        """Open *body*, that of an answer.

        Raises:
            UndecodableBodyError: it is not JSON.
        """
        try:
            # Some servers put a byte order mark in front, which JSON does not have.
            text = body if isinstance(body, str) else body.decode()
            return cls(decode_json(text.lstrip(_BEFORE_JSON)))
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
        text = redact(body[:_LARGEST].decode("utf-8", "replace")).lstrip(_BEFORE_JSON)
        excerpt = _excerpt(text)
        try:
            payload = cls.parse(text).payload
            if _is_deeper(payload, _NESTED):
                return cls(None, excerpt)
        except (UndecodableBodyError, RecursionError):
            return cls(None, excerpt)
        opened = cls(payload, excerpt)
        said = _object(opened.payload).items()
        silent = isinstance(payload, dict) and all(value in _EMPTY or _is_number(name, value) for name, value in said)
        return cls(opened.payload) if silent or opened.fields else opened


def opens_with_success(body: bytes) -> bool:
    """Whether the beginning of an answer, which may be cut off or garbled further on, has a code that says yes."""
    match = _OPENING.match(body)
    return match is not None and match[1].startswith(b"2")


def opens_with_refusal(body: bytes) -> bool:
    """Return whether the envelope's code says, under any status, that there were too many requests."""
    match = _OPENING.match(body)
    return match is not None and match[1].startswith(b"429")


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


def container(value: object) -> Any:  # noqa: ANN401 -- any JSON value
    """Return the object or list that a string encodes as JSON, once or twice; any other value as it is.

    A string that encodes nothing ("null", "false") is None.
    """
    if not isinstance(value, str):
        return value
    decoded: object = value
    for _ in range(_ENCODINGS):
        if not isinstance(decoded, str) or not (decoded.lstrip()[:1] in {"{", "[", '"'} or decoded in _NOTHING_ENCODED):
            break
        try:
            decoded = decode_json(decoded)
        except (ValueError, RecursionError, ArithmeticError):
            break
    if isinstance(decoded, dict | list):
        return cast("object", decoded)
    return None if value and (decoded is None or decoded is False or decoded == "") else value


_NOTHING_ENCODED = frozenset({"null", "false"})


def _object(value: object) -> dict[str, Any]:
    """Give a JSON object as it is, and anything else as an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _code(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value() and value < _MOST_CODE:
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len("40010"):
        value = int(value)
    return value if isinstance(value, int) and (value in _STATUS or value in _LONG_CODE) else None


def _items(value: object) -> list[object]:
    """Return a JSON array as it is, and anything else as an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def _objects(value: object) -> list[dict[str, Any]]:
    return [_object(item) for item in _items(value)]


def _is_number(name: str, value: object) -> bool:
    return name in _NUMBERS and str(value).replace(".", "").isdigit()


def _message(payload: object) -> str | None:
    return writable(": ".join(_sentences(payload))) or None


def _sentences(payload: object) -> list[str]:
    """Return the general sentence and the particular ones: some errors have several, and say little in the first."""
    words: list[object] = []
    if isinstance(payload, list):
        words += [_words_of(item) for item in _objects(cast("object", payload))]
    else:
        fields = _object(payload)
        words += [_object(fields.get("meta")).get("message"), fields.get("message")]
        words += [_words_of(fields.get(name)) for name in _GENERAL]
        words += [_object(fields.get("data")).get("errMsg"), fields.get("errors")]
    return list(dict.fromkeys(text.strip() for text in words if isinstance(text, str) and text.strip()))


def _words_of(item: object) -> object:
    """Return the message of an error, which is a text, or an object that has one."""
    fields = _object(item)
    return next((fields[name] for name in _MESSAGE_NAMES if isinstance(fields.get(name), str)), item)


def _excerpt(text: str) -> str | None:
    """Return the title of a web page, or the start of any other text."""
    start = text[: 20 * _EXCERPT]
    if start.lstrip()[:1] == "<":
        visible = _INVISIBLE.sub(" ", _CDATA.sub(r"\1", start))
        title = _TITLE.search(visible)
        words = _TAG.sub(" ", title[2] if title else "")
        words = words if words.strip() else _TAG.sub(" ", visible)
        start = html.unescape(words) if words.strip() else start
    return writable(" ".join(start.split())[:_EXCERPT]) or None


def _flatten_rest(payload: dict[str, Any], found: dict[str, str]) -> None:
    """Flatten all words of an error but those of its message: no word of the server's is lost."""
    said = _sentences(payload)
    for name, value in payload.items():
        if name == "data":
            data = _object(container(value))
            _flatten_all(_object(data.get("errMsg")), found)
            rest: dict[str, Any] = {key: own for key, own in data.items() if key != "errMsg" or _items(own)}
            _flatten_all(rest if data else {name: value}, found)
        elif name in {"errors", "details"} and isinstance(value, dict | list):
            _flatten_all(_object(cast("object", value)), found)
            _flatten_errors(cast("object", value), found)
        elif name in {"meta", *_GENERAL} and isinstance(value, dict):
            inner = _object(cast("object", value)).items()
            own = {f"{name}[{key}]": words for key, words in inner if key not in _NO_WORDS and not _is_in(words, said)}
            _flatten_all(own, found)
        elif name == "code" and _code(value) is None and isinstance(value, str) and not value.isdigit():
            _flatten(name, value, found)
        elif name not in _NO_WORDS and not _is_in(value, said):
            fields = _object(cast("object", value))
            _flatten_all(fields if name == "errMsg" and fields else {name: value}, found)


def _is_in(value: object, sentences: list[str]) -> bool:
    return isinstance(value, str) and value.strip() in sentences


def _flatten_all(fields: dict[str, Any], found: dict[str, str]) -> None:
    for name, value in fields.items():
        _flatten(name, value, found)


def _flatten_errors(errors: object, found: dict[str, str]) -> None:
    """Flatten a list of errors, each of which names its field or not."""
    for number, item in enumerate(_items(errors)):
        fields = _object(item)
        key = next((name for name in _FIELD_NAMES if isinstance(fields.get(name), str)), None)
        name = f"errors[{number}]" if key is None else str(fields[key])
        name = name if name not in found else f"{name}[{number}]"
        words = [fields[one] for one in _MESSAGE_NAMES if one != key and isinstance(fields.get(one), str)]
        if words:
            found[writable(name)] = writable(": ".join(dict.fromkeys(words)))
            rest = {
                one: value for one, value in fields.items() if one != key and one not in {*_MESSAGE_NAMES, *_NO_WORDS}
            }
            _flatten(name, rest, found)
        else:
            _flatten(name, {one: value for one, value in fields.items() if one != key} or item, found)


def _flatten(name: str, value: object, found: dict[str, str], depth: int = 0) -> None:
    items = _items(value)
    if value is None or value == "" or len(found) >= _MOST_FIELDS or depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, inner in _object(cast("object", value)).items():
            _flatten(f"{name}[{key}]", inner, found, depth + 1)
    elif any(isinstance(item, dict | list) for item in items):
        for number, item in enumerate(items):
            _flatten(f"{name}[{number}]", item, found, depth + 1)
    elif items:
        found[writable(name)] = writable("; ".join(map(str, items)))
    elif not isinstance(value, list):
        found[writable(name)] = writable(str(value))


def writable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can hold and no file or terminal can."""
    return text.encode("utf-8", "replace").decode()
