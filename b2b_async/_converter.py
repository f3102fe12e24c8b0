"""The one cattrs converter: camelCase keys, and the vendor's odd types, into attrs classes.

The fast converter stops at the first fault without saying where. Only when it fails, a second one goes over
the same data to name every fault with its JSON path, so that good answers pay nothing for the bad.
"""

from __future__ import annotations

import re
import reprlib
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from email.utils import parsedate_to_datetime
from functools import partial
from types import GenericAlias, NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from b2b_async._record import Record, camel, json_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Hook = Callable[[Any, Any], Any]

T = TypeVar("T")

_INTEGER = re.compile(r"-?[0-9]{1,30}")
_AMOUNT = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
_LARGEST_EXPONENT = 30
"""Beyond it an amount is nonsense, and dangerous to write out in digits."""
_EXACT = Context(prec=100)
"""For sums that no context of a caller's may round."""
_NOTHING: tuple[Any, ...] = ("", [], {})
_LONGEST = 120
"""Characters of a value that a message quotes."""
_SHOWN = 10
"""Faults that a message names; a page may have thousands."""
_WORDS = {"true": True, "1": True, "false": False, "0": False}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MisfitError(ValueError):
    """The data do not fit the class; the text names each fault with its JSON path."""


def structure(data: object, into: type[T], path: str = "$.data") -> T:
    """Make *into* from *data*, the ``data`` of an envelope or what is at another *path* of it.

    Raises:
        MisfitError: they do not fit.
    """
    try:
        return _fast.structure(data, into)
    except Exception:  # noqa: BLE001 -- it raises whatever the misfit happens to break, and names nothing
        fault = _faults(data, into, path)
    raise MisfitError(fault)


def structure_rows(rows: object, path: str, into: type[T]) -> T:
    """Make *into*, a tuple of records, from the *rows* of a list at *path*; one may stand alone, without a list.

    Raises:
        MisfitError: they do not fit.
    """
    if rows is None or rows == {} or isinstance(rows, list) or is_one(rows, get_args(into)[0]):
        return structure(rows, into, path)  # pyright: ignore[reportUnknownArgumentType]
    message = f"{path} must be a list, not {_cut(rows)}"
    raise MisfitError(message)


def _faults(data: object, into: type[object], path: str) -> str:
    try:
        _thorough.structure(data, into)
    except cattrs.BaseValidationError as group:
        faults = list(_named(group, path))
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        return "; ".join([*faults[:_SHOWN], *more])
    except _WrongTypeError as error:
        return f"{path} {error}"
    except Exception as error:  # noqa: BLE001 -- cattrs has many for a class that it cannot make
        return f"{path} cannot be made into {into.__name__}: {type(error).__name__}"
    raise AssertionError("unreachable")  # noqa: EM101 -- the words that coverage excludes


def _named(group: cattrs.BaseValidationError, path: str) -> Iterator[str]:
    for error in group.exceptions:
        inner = path
        for note in getattr(error, "__notes__", ()):
            field = isinstance(note, cattrs.AttributeValidationNote)
            inner = f"{path}.{camel(note.name)}" if field else f"{path}[{note.index}]"
        if isinstance(error, cattrs.BaseValidationError):
            yield from _named(error, inner)
        else:
            yield f"{inner} is missing" if isinstance(error, KeyError) else f"{inner} {error}"


class _WrongTypeError(TypeError):
    """A value is of another type than the field; the text says which."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"must be {expected}, not {_cut(value)}")


def _cut(value: object) -> str:
    """Show a value in part of a line: reprlib cuts each level of it, but there may be many."""
    shown = reprlib.repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _int(value: object, _into: object) -> int:
    """Take 3, 3.0 and "3": the vendor sends ids and times as either."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    if isinstance(value, Decimal) and _is_sane(value) and value == value.to_integral_value():
        return int(value)
    expected = "an integer"
    raise _WrongTypeError(expected, value)


def _decimal(value: object, _into: object) -> Decimal:
    """Take 100, 100.5 (which the parser makes a Decimal) and "100.5000"; no float stands in between."""
    written = isinstance(value, str) and _AMOUNT.fullmatch(value)
    if written or (isinstance(value, int | Decimal) and not isinstance(value, bool)):
        amount = Decimal(cast("str", value))
        if _is_sane(amount):
            return amount
    expected = "an amount"
    raise _WrongTypeError(expected, value)


def _is_sane(number: Decimal) -> bool:
    return number.is_finite() and abs(number.adjusted()) <= _LARGEST_EXPONENT


def _datetime(value: object, _into: object) -> datetime:
    """Take Unix seconds as a number or a string, ISO 8601, and the dates of e-mail, which the core API writes."""
    moment: datetime | None = None
    try:
        if type(value) is int:  # what v3 sends
            return _EPOCH + timedelta(seconds=value)
        if isinstance(value, str) and not _AMOUNT.fullmatch(value):
            moment = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
        else:
            # Not fromtimestamp(), which refuses some years on some machines.
            microseconds = _EXACT.multiply(_decimal(value, Decimal), 1_000_000)
            moment = _EPOCH + timedelta(microseconds=int(microseconds))
    except (ValueError, TypeError, IndexError, OverflowError):
        moment = None
    if moment is None or moment.tzinfo is None:  # a time without its zone could be any of many
        expected = "a time, in Unix seconds or with its zone"
        raise _WrongTypeError(expected, value)
    return moment


def _str(value: object, _into: object) -> str:
    """Take "BC1" and 2: the vendor sends order ids as either."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal) and _is_sane(value):
        return format(value, "f")
    expected = "a string"
    raise _WrongTypeError(expected, value)


def _bool(value: object, _into: object) -> bool:
    """Take true and false, 1 and 0, also as strings; cattrs would hand a bool to the hook of int, its parent."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str) and (word := str(value).lower()) in _WORDS:
        return _WORDS[word]
    expected = "true or false"
    raise _WrongTypeError(expected, value)


def _is_nothing(value: object) -> bool:
    return not value and (value is None or value in _NOTHING)


def _is_optional_value(into: object) -> bool:
    """Whether it is ``X | None`` where X is a string, a number, a time or a record."""
    kinds = [kind for kind in get_args(into) if kind is not NoneType]
    if len(kinds) != 1 or len(get_args(into)) != len(kinds) + 1:
        return False
    kind = getattr(kinds[0], "__supertype__", kinds[0])
    return kind in {str, int, bool, Decimal, datetime} or (isinstance(kind, type) and issubclass(kind, Record))


def _plain(kind: Any) -> type[object] | None:  # noqa: ANN401 -- a type, or a NewType
    """Give the type whose values are taken as they are; None where each must be looked at."""
    kind = getattr(kind, "__supertype__", kind)
    return kind if kind in {str, int, bool} else None


def _is_tuple(into: object) -> bool:
    return get_origin(into) is tuple


def is_one(value: object, model: type[Any]) -> bool:
    """Whether an object of an answer has any field of a record."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return issubclass(model, Record) and not json_names(model).keys().isdisjoint(fields)


def _by_one_name(fields: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Give each field the name that counts; where two of its names came, something goes before nothing."""
    renamed: dict[str, Any] = {}
    for name, value in fields.items():
        read = names.get(name, name)
        if read not in renamed or _is_nothing(renamed[read]):
            renamed[read] = value
    return renamed


def _make(*, detailed: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=detailed)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(datetime, _datetime)
    # Factories, so that a class costs its milliseconds when it is first used and not at import.
    converter.register_structure_hook_factory(_is_optional_value)(partial(_optional_hook, converter))
    converter.register_structure_hook_factory(_is_tuple)(partial(_tuple_hook, converter))
    converter.register_structure_hook_factory(attrs.has)(partial(_class_hook, converter))
    return converter


def _optional_hook(converter: cattrs.Converter, into: Any) -> Hook:  # noqa: ANN401 -- a cattrs hook factory
    (kind,) = (one for one in get_args(into) if one is not NoneType)
    make, exact = converter.get_structure_hook(kind), _plain(kind)

    def hook(value: object, _into: object) -> object:
        if type(value) is exact or value is None:  # most of the fields of most answers
            return value
        # An empty string or list stands for no number, no time and no object in several answers.
        return None if exact is not str and _is_nothing(value) else make(value, kind)

    return hook


def _tuple_hook(converter: cattrs.Converter, into: Any) -> Hook:  # noqa: ANN401 -- a cattrs hook factory
    (item, _) = get_args(into)
    items = GenericAlias(list, (item,))
    make = converter.get_structure_hook(items)

    def hook(value: object, _into: object) -> tuple[Any, ...]:
        if _is_nothing(value):
            return ()
        if isinstance(value, dict):  # one that stands alone, a list by numbers, or something else, such as a link
            fields = cast("dict[str, object]", value)
            if all(name.isdigit() for name in fields):
                return tuple(make(list(fields.values()), items))
            return tuple(make([fields], items)) if is_one(fields, item) else ()
        if not isinstance(value, list):
            expected = "a list"
            raise _WrongTypeError(expected, value)
        return tuple(make(value, items))

    return hook


def _class_hook(converter: cattrs.Converter, into: type[Any]) -> Hook:
    # Any, because the keyword arguments of the call below are options as well as fields.
    fields: dict[str, Any] = {field.name: override(rename=camel(field.name)) for field in attrs.fields(into)}
    record = issubclass(into, Record)
    if record:
        fields["raw"] = override(omit=True)
    make = make_dict_structure_fn(into, converter, **fields)
    names: Mapping[str, str] = json_names(into) if record else {}
    several = any(name != read for name, read in names.items())

    def hook(value: object, target: Any) -> Any:  # noqa: ANN401 -- a cattrs hook
        if not isinstance(value, dict):  # "id" is in "a text with id", too
            expected = "an object"
            raise _WrongTypeError(expected, value)
        came = cast("dict[str, Any]", value)
        made = make(_by_one_name(came, names) if several else came, target)
        if record:
            object.__setattr__(made, "raw", came)  # it is frozen for others
        return made

    return hook


_fast = _make(detailed=False)
_thorough = _make(detailed=True)
