"""The one cattrs converter: camelCase keys, and the vendor's odd types, into attrs classes.

The fast converter stops at the first misfit without naming it. Only then the careful one goes over the same data: an
optional field of a record that does not fit gets its default and is noted in ``misfits``; a field that must fit is
named with its JSON path. So good responses cost no more for the bad ones, and one odd field never costs other rows.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import partial
from types import GenericAlias, NoneType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from b2b_async._envelope import container
from b2b_async._record import Record, camel, json_names
from b2b_async._values import (
    WrongTypeError,
    is_nothing,
    read_bool,
    read_datetime,
    read_decimal,
    read_int,
    read_str,
    type_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Hook = Callable[[Any, Any], Any]
    OnMisfits = Callable[[list[str]], None]

T = TypeVar("T")

_LINK = frozenset({"url", "resource"})
"""The members of a link, which the core API has in place of some lists."""
_SHOWN = 10
"""Faults that a message names; a page may have thousands."""


class MisfitError(ValueError):
    """The data do not fit the class; the text names each fault with its JSON path, and quotes no value."""


def structure(data: object, into: type[T], path: str = "$.data", on_misfits: OnMisfits | None = None) -> T:
    """Make *into* from *data*, the ``data`` of an envelope or what is at another *path* of it.

    Args:
        data: JSON values.
        into: An attrs class, or a tuple of one.
        path: The JSON path of *data*, for messages.
        on_misfits: Called with the JSON paths of optional values that do not fit, if there are any.

    Raises:
        MisfitError: what must fit does not.
    """
    try:
        return _fast.structure(data, into)
    except Exception:  # noqa: BLE001 -- it raises whatever the misfit happens to break, and names nothing
        made, misfits, faults = _carefully(data, into, path)
    if faults:
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise MisfitError("; ".join([*faults[:_SHOWN], *more]))
    if on_misfits is not None:
        on_misfits(misfits)
    return cast("T", made)


def prepare(*models: type[Record]) -> None:
    """Build what structuring records of these classes, and tuples of them, needs: it takes a millisecond each."""
    for model in models:
        _fast.get_structure_hook(model)
        _fast.get_structure_hook(tuple[model, ...])  # type: ignore[valid-type]


def structure_rows(rows: object, path: str, into: type[T], on_misfits: OnMisfits | None = None) -> T:
    """Make *into*, a tuple of records, from the *rows* of a list at *path*; one may stand alone, without a list.

    Raises:
        MisfitError: what must fit does not.
    """
    rows = _by_number(container(rows))
    if is_nothing(rows) or isinstance(rows, list) or is_one(rows, get_args(into)[0]):
        return structure(rows, into, path, on_misfits)  # pyright: ignore[reportUnknownArgumentType]
    message = f"{path} must be a list, not {type_name(rows)}"
    raise MisfitError(message)


def is_one(value: object, model: type[Any]) -> bool:
    """Return whether an object of a response has any field of a record."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return issubclass(model, Record) and not json_names(model).keys().isdisjoint(fields)


# -- what both converters do to a value --------------------------------------------------------------------------------


def _elements(given: object, item: Any) -> list[object]:  # noqa: ANN401 -- a type
    """Return the elements of a list field.

    Raises:
        WrongTypeError: the value is no list.
    """
    value: object = _by_number(container(given))
    if is_nothing(value):
        return []
    if is_one(value, item):  # one that stands alone
        return [value]
    if isinstance(value, dict) and cast("dict[str, object]", value).keys() <= _LINK:
        return []
    if not isinstance(value, list):
        expected = "a list"
        raise WrongTypeError(expected, cast("Any", value))
    return cast("list[object]", value)


def _by_number(value: object) -> object:
    """Return a list that came as an object by numbers, {"0": …, "1": …}, as a list."""
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    return list(fields.values()) if fields and all(name.isdigit() for name in fields) else cast("Any", value)


def _object(value: object) -> dict[str, Any]:
    """Return an object, which may be encoded as a string.

    Raises:
        WrongTypeError: the value is no object.
    """
    if not isinstance(value, dict):  # "id" is in "a text with id", too
        value = container(value)
        if not isinstance(value, dict):
            expected = "an object"
            raise WrongTypeError(expected, value)
    return cast("dict[str, Any]", value)


def _only(value: object) -> object:
    """Return the object in a list that has just one: some responses have a list where others have an object."""
    whole = container(value)
    items = cast("list[object]", whole) if isinstance(whole, list) else list[object]()
    return items[0] if len(items) == 1 else cast("Any", whole)


def _by_one_name(fields: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields by the name that counts; where two of its names came, something goes before nothing."""
    renamed: dict[str, Any] = {}
    for name, value in fields.items():
        read = names.get(name, name)
        if read not in renamed or is_nothing(renamed[read]):
            renamed[read] = value
    return renamed


def _option(into: Any) -> Any:  # noqa: ANN401 -- types
    """Return X of ``X | None`` where X is a string, a number, a time or a record; else None."""
    kinds = [kind for kind in get_args(into) if kind is not NoneType]
    if len(kinds) != 1 or len(get_args(into)) != len(kinds) + 1:
        return None
    kind = getattr(kinds[0], "__supertype__", kinds[0])
    known = kind in _READERS or (isinstance(kind, type) and issubclass(kind, Record))
    return kinds[0] if known else None


def _is_nothing_for(value: object, kind: type[object]) -> bool:
    """Return whether a value stands for nothing in an optional field of that kind."""
    # An empty string or list stands for no number, no time and no object in several responses.
    return is_nothing(value) and not (kind is str and value == "") and not (kind is bool and value is False)


_READERS: dict[type[object], Hook] = {
    int: read_int,
    str: read_str,
    bool: read_bool,
    Decimal: read_decimal,
    datetime: read_datetime,
}


# -- the fast one ------------------------------------------------------------------------------------------------------


def _make() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind, reader in _READERS.items():
        converter.register_structure_hook(kind, reader)
    # Factories, so that a class costs its milliseconds when it is first used and not at import.
    converter.register_structure_hook_factory(lambda into: _option(into) is not None)(partial(_option_hook, converter))
    converter.register_structure_hook_factory(_is_tuple)(partial(_tuple_hook, converter))
    converter.register_structure_hook_factory(attrs.has)(partial(_class_hook, converter))
    return converter


def _is_tuple(into: object) -> bool:
    return get_origin(into) is tuple


def _option_hook(converter: cattrs.Converter, into: Any) -> Hook:  # noqa: ANN401 -- a cattrs hook factory
    kind = _option(into)
    make, base = converter.get_structure_hook(kind), getattr(kind, "__supertype__", kind)
    exact = base if base in {str, int, bool} else None  # whose values are taken as they are
    record = attrs.has(base)

    def hook(value: object, _into: object) -> object:
        if type(value) is exact or value is None:  # most of the fields of most responses
            return value
        if record:
            value = _only(value)
        return None if _is_nothing_for(value, base) else make(value, kind)

    return hook


def _tuple_hook(converter: cattrs.Converter, into: Any) -> Hook:  # noqa: ANN401 -- a cattrs hook factory
    (item, _) = get_args(into)
    items = GenericAlias(list, (item,))
    make = converter.get_structure_hook(items)

    def hook(value: object, _into: object) -> tuple[Any, ...]:
        return tuple(make(value if type(value) is list else _elements(value, item), items))

    return hook


def _class_hook(converter: cattrs.Converter, into: type[Any]) -> Hook:
    # Any, because the keyword arguments of the call below are options as well as fields.
    fields: dict[str, Any] = {field.name: override(rename=camel(field.name)) for field in attrs.fields(into)}
    record = issubclass(into, Record)
    if record:
        fields["raw"] = fields["misfits"] = override(omit=True)
    make = make_dict_structure_fn(into, converter, **fields)
    names: Mapping[str, str] = json_names(into) if record else {}
    others = frozenset(name for name, read in names.items() if name != read)

    def hook(value: object, target: Any) -> Any:  # noqa: ANN401 -- a cattrs hook
        came = _object(value)
        made = make(came if others.isdisjoint(came) else _by_one_name(came, names), target)
        if record:
            object.__setattr__(made, "raw", came)  # it is frozen for others
        return made

    return hook


_fast = _make()


# -- the careful one ---------------------------------------------------------------------------------------------------


class _UnfitError(Exception):
    """Values that must fit do not."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        self.faults = faults
        """Their JSON paths, and what is wrong."""


def _carefully(data: object, into: Any, path: str) -> tuple[object, list[str], list[str]]:  # noqa: ANN401 -- a type
    """Return what is made, the paths of optional values that do not fit, and the faults of those that must."""
    misfits: list[str] = []
    try:
        return _value(data, into, path, misfits), misfits, []
    except _UnfitError as error:
        return None, misfits, [f"{where} {what}" for where, what in error.faults]


def _value(value: object, into: Any, path: str, misfits: list[str]) -> object:  # noqa: ANN401 -- a type
    try:
        if get_origin(into) in {tuple, list}:
            made = _rows(_elements(value, get_args(into)[0]), into, path, misfits)
            return made if get_origin(into) is list else tuple(made)
        kind = _option(into)
        if kind is not None:
            base = getattr(kind, "__supertype__", kind)
            if attrs.has(base):
                value = _first(_only(value), path, misfits)
            return None if _is_nothing_for(value, base) else _value(value, kind, path, misfits)
        if attrs.has(into):
            return _instance(_object(value), into, path, misfits)
        return _fast.structure(value, into)
    except WrongTypeError as error:
        raise _UnfitError((path, str(error))) from None
    except (TypeError, ValueError, cattrs.StructureHandlerNotFoundError) as error:
        name = getattr(into, "__name__", str(into))
        raise _UnfitError((path, f"cannot be made into {name}: {type(error).__name__}")) from None


def _first(value: object, path: str, misfits: list[str]) -> object:
    """Return the first of several objects where there should be one, and note that there are others."""
    items = cast("list[object]", value) if isinstance(value, list) else list[object]()
    if len(items) > 1:
        misfits.append(path)
    return items[0] if len(items) > 1 else cast("Any", value)


def _rows(values: list[object], into: Any, path: str, misfits: list[str]) -> list[object]:  # noqa: ANN401 -- a type
    """Make all elements; they must all fit."""
    made: list[object] = []
    faults: list[tuple[str, str]] = []
    for number, value in enumerate(values):
        if value is None or value is False:  # no row
            misfits.append(f"{path}[{number}]")
            continue
        try:
            made.append(_value(value, get_args(into)[0], f"{path}[{number}]", misfits))
        except _UnfitError as error:
            faults += error.faults
    if faults:
        raise _UnfitError(*faults)
    return made


def _instance(came: dict[str, Any], model: type[Any], path: str, misfits: list[str]) -> object:
    record = issubclass(model, Record)
    names: Mapping[str, str] = json_names(model) if record else {}
    values: dict[str, object] = {}
    faults: list[tuple[str, str]] = []
    own: list[str] = []  # misfits of this object and those in it
    for field in attrs.fields(attrs.resolve_types(model)):
        if record and field.name in {"raw", "misfits"}:
            continue
        name = _given_name(came, camel(field.name), names)
        if name is None:
            if field.default is attrs.NOTHING:
                faults.append((f"{path}.{camel(field.name)}", "is missing"))
            continue
        strict = not record or field.default is attrs.NOTHING or field.name in model.STRICT
        where = f"{path}.{name}"
        try:
            if strict or not _is_tuple(field.type):
                values[field.name] = _value(came[name], field.type, where, own)
            else:
                values[field.name] = _fitting(came[name], field.type, where, own)
        except _UnfitError as error:
            if strict:
                faults += error.faults
            else:
                own.append(where)
    misfits += own
    if faults:
        raise _UnfitError(*faults)
    if record:
        values |= {"raw": came, "misfits": tuple(f"${where.removeprefix(path)}" for where in own)}
    return model(**values)


def _given_name(came: dict[str, Any], wanted: str, names: Mapping[str, str]) -> str | None:
    """Return the name by which a field came; where several of its names did, the first that is not nothing."""
    came_as = [name for name in came if names.get(name, name) == wanted]
    return next((name for name in came_as if not is_nothing(came[name])), came_as[0] if came_as else None)


def _fitting(value: object, into: Any, path: str, misfits: list[str]) -> tuple[object, ...]:  # noqa: ANN401 -- a type
    """Make the elements of an optional list that fit, and note the others."""
    try:
        values = _elements(value, get_args(into)[0])
    except WrongTypeError as error:
        raise _UnfitError((path, str(error))) from None
    made: list[object] = []
    for number, one in enumerate(values):
        where = f"{path}[{number}]"
        try:
            made.append(_value(one, get_args(into)[0], where, misfits))
        except _UnfitError:
            misfits.append(where)
    return tuple(made)
