"""The one cattrs converter: camelCase keys, and the vendor's odd types, into attrs classes.

The fast converter stops at the first fault without saying where. Only when it fails, a second one goes over
the same data to name every fault with its JSON path, so that good answers pay nothing for the bad.
"""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_UNDERSCORE = re.compile(r"_([a-z0-9])")
_INTEGER = re.compile(r"-?\d{1,30}")


class MisfitError(ValueError):
    """The data do not fit the class; the text names each fault with its JSON path."""


def camel(name: str) -> str:
    """Give the vendor's name of a field: order_id is orderId."""
    return _UNDERSCORE.sub(lambda match: match[1].upper(), name)


def structure(data: object, into: type[T]) -> T:
    """Make *into* from *data*, the ``data`` of an envelope.

    Raises:
        MisfitError: they do not fit.
    """
    try:
        return _fast.structure(data, into)
    except Exception:  # noqa: BLE001 -- it raises whatever the misfit happens to break, and names nothing
        fault = _faults(data, into)
    raise MisfitError(fault)


def _faults(data: object, into: type[object]) -> str:
    try:
        _thorough.structure(data, into)
    except cattrs.BaseValidationError as group:
        return "; ".join(_named(group, "$.data"))
    except _WrongTypeError as error:
        return f"$.data {error}"
    except Exception as error:  # noqa: BLE001 -- cattrs has many for a class that it cannot make
        return f"$.data cannot be made into {into.__name__}: {type(error).__name__}"
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
    """Take 3 and "3": the vendor sends ids and times as either."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    expected = "an integer"
    raise _WrongTypeError(expected, value)


def _str(value: object, _into: object) -> str:
    """Take "BC1" and 2: the vendor sends order ids as either."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    expected = "a string"
    raise _WrongTypeError(expected, value)


def _bool(value: object, _into: object) -> bool:
    """Take true and false; cattrs would hand a bool to the hook of int, its parent."""
    if isinstance(value, bool):
        return value
    expected = "true or false"
    raise _WrongTypeError(expected, value)


def _make(*, detailed: bool) -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=detailed)
    converter.register_structure_hook(int, _int)
    converter.register_structure_hook(str, _str)
    converter.register_structure_hook(bool, _bool)

    # A factory, so that a class costs its milliseconds when it is first used and not at import.
    @converter.register_structure_hook_factory(attrs.has)
    def _build(into: type[Any]) -> Callable[[Any, Any], Any]:  # pyright: ignore[reportUnusedFunction]
        # Any, because the keyword arguments of the call below are options as well as fields.
        names: dict[str, Any] = {field.name: override(rename=camel(field.name)) for field in attrs.fields(into)}
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
