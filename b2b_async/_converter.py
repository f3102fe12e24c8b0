"""The one cattrs converter: camelCase keys, and the vendor's odd types, into attrs classes.

The fast converter stops at the first fault without saying where. Only when it fails, a second one goes over
the same data to name every fault with its JSON path, so that good answers pay nothing for the bad.
"""

from __future__ import annotations

import re
import reprlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from types import GenericAlias, NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from b2b_async._record import Record, camel, json_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_INTEGER = re.compile(r"-?[0-9]{1,30}")
_AMOUNT = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?")
_LARGEST_EXPONENT = 30
"""Beyond it an amount is nonsense, and dangerous to write out in digits."""
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


def _faults(data: object, into: type[object], path: str) -> str:
    try:
        _thorough.structure(data, into)
    except cattrs.BaseValidationError as group:
        return "; ".join(_named(group, path))
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
        # reprlib cuts what is long, and what is nested so deeply that repr() itself would fail.
        super().__init__(f"must be {expected}, not {reprlib.repr(value)}")


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
    """Take Unix seconds as a number or a string, and the dates of e-mail, which the core BigCommerce API writes."""
    try:
        if isinstance(value, str) and not _AMOUNT.fullmatch(value):
            moment = parsedate_to_datetime(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        # Not fromtimestamp(), which refuses some years on some machines.
        return _EPOCH + timedelta(seconds=int(_decimal(value, Decimal)))
    except (ValueError, TypeError, IndexError, OverflowError):
        expected = "a time in Unix seconds"
        raise _WrongTypeError(expected, value) from None


def _str(value: object, _into: object) -> str:
    """Take "BC1" and 2: the vendor sends order ids as either."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    expected = "a string"
    raise _WrongTypeError(expected, value)


def _bool(value: object, _into: object) -> bool:
    """Take true and false, 1 and 0, "1" and "0"; cattrs would hand a bool to the hook of int, its parent."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str) and str(value) in {"0", "1"}:
        return str(value) == "1"
    expected = "true or false"
    raise _WrongTypeError(expected, value)


def _is_optional_value(into: object) -> bool:
    """Whether it is ``X | None`` where X is not a string, for which "" is a value, nor a class or a list."""
    kinds = [kind for kind in get_args(into) if kind is not NoneType]
    if len(kinds) != 1 or len(get_args(into)) != len(kinds) + 1:
        return False
    return getattr(kinds[0], "__supertype__", kinds[0]) in {int, bool, Decimal, datetime}


def _is_tuple(into: object) -> bool:
    return get_origin(into) is tuple


def _recorded(into: type[Record], make: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Have the object that a record is made of kept with it, and its fields read by all their names."""
    names = json_names(into)
    if all(name == read for name, read in names.items()):

        def plain(value: Any, target: Any) -> Any:  # noqa: ANN401 -- a cattrs hook
            record = make(value, target)
            object.__setattr__(record, "raw", value)  # it is frozen for others
            return record

        return plain

    def renaming(value: Any, target: Any) -> Any:  # noqa: ANN401 -- a cattrs hook
        record = make({names.get(name, name): inner for name, inner in value.items()}, target)
        object.__setattr__(record, "raw", value)
        return record

    return renaming


def _make(*, detailed: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=detailed)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook(bool, _bool)
    converter.register_structure_hook(Decimal, _decimal)
    converter.register_structure_hook(datetime, _datetime)

    @converter.register_structure_hook_factory(_is_optional_value)
    def _optional(into: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401 # pyright: ignore[reportUnusedFunction]
        (kind,) = (one for one in get_args(into) if one is not NoneType)
        make = converter.get_structure_hook(kind)
        # An empty string stands for no number and no time in several answers.
        return lambda value, _into: None if value is None or value == "" else make(value, kind)

    @converter.register_structure_hook_factory(_is_tuple)
    def _tuple(into: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401 # pyright: ignore[reportUnusedFunction]
        items = GenericAlias(list, get_args(into)[:1])
        make = converter.get_structure_hook(items)

        def hook(value: object, _into: object) -> tuple[Any, ...]:
            if not value and (value is None or isinstance(value, dict)):
                return ()
            if isinstance(value, dict):  # one that stands alone, without a list around it
                return tuple(make([value], items))
            if not isinstance(value, list):
                expected = "a list"
                raise _WrongTypeError(expected, value)
            return tuple(make(value, items))

        return hook

    # A factory, so that a class costs its milliseconds when it is first used and not at import.
    @converter.register_structure_hook_factory(attrs.has)
    def _build(into: type[Any]) -> Callable[[Any, Any], Any]:  # pyright: ignore[reportUnusedFunction]
        # Any, because the keyword arguments of the call below are options as well as fields.
        names: dict[str, Any] = {field.name: override(rename=camel(field.name)) for field in attrs.fields(into)}
        if issubclass(into, Record):
            names["raw"] = override(omit=True)
            fast = _recorded(into, make_dict_structure_fn(into, converter, **names))
        else:
            fast = make_dict_structure_fn(into, converter, **names)

        def thorough(value: object, target: Any) -> Any:  # noqa: ANN401 -- a cattrs hook
            if not isinstance(value, dict):
                expected = "an object"
                raise _WrongTypeError(expected, value)
            return fast(cast("Any", value), target)

        return thorough if detailed else fast

    return converter


_fast = _make(detailed=False)
_thorough = _make(detailed=True)
