"""The base of the models: the JSON object that a model was made of, and the values that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, cast

import attrs

_OTHER_NAMES = "other_names"
_OURS = frozenset({"raw", "misfits"})


@attrs.frozen
class Record:
    """An object of a response.

    A field that is missing, null, or of a type that does not fit, has the field's default. ``raw`` keeps what came, and
    ``misfits`` names what did not fit. Only fields without a default, and those in ``STRICT``, must fit.
    """

    STRICT: ClassVar[tuple[str, ...]] = ()
    """Optional fields whose value must fit, if there is one: ids and amounts that decisions rest on."""

    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], kw_only=True, repr=False, eq=False)
    """The JSON object as it came: times not made into datetimes, null and missing told apart. It is not compared."""
    misfits: tuple[str, ...] = attrs.field(default=(), kw_only=True, repr=False, eq=False)
    """The JSON paths, from this object on, of values that do not fit: ``$.statusCode``. It is not compared."""

    @property
    def extra(self) -> dict[str, Any]:
        """What came that has no field here, by the server's names."""
        known = json_names(type(self))
        return {name: value for name, value in self.raw.items() if name not in known}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that ``json.dumps`` and web frameworks can write.

        Amounts become strings with all digits, times ISO 8601, tuples lists. ``raw`` and ``misfits`` are left out.
        """
        return {name: _plain(getattr(self, name)) for name in fields_of(type(self))}


def _plain(value: object) -> Any:  # noqa: ANN401 -- any JSON value
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast("tuple[object, ...] | list[object]", value)]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in cast("dict[str, object]", value).items()}
    return value


def fields_of(model: type[Any]) -> list[str]:
    """Return the names of the fields that the server fills."""
    return [field.name for field in attrs.fields(model) if field.name not in _OURS]


def is_blank(made: object) -> bool:
    """Return whether a value is a record none of whose fields the server has filled."""
    return isinstance(made, Record) and all(getattr(made, name) in {None, ()} for name in fields_of(type(made)))


def also(*names: str) -> dict[str, tuple[str, ...]]:
    """Give the metadata of a field that the server calls by other names, too: ``attrs.field(metadata=also("x"))``."""
    return {_OTHER_NAMES: names}


def camel(name: str) -> str:
    """Give the vendor's name of a field: order_id is orderId."""
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def json_names(model: type[Record]) -> Mapping[str, str]:
    """Give all names that the server has for the fields of *model*, with the one among them that counts."""
    if model in _JSON_NAMES:
        return _JSON_NAMES[model]
    names: dict[str, str] = {}
    for field in attrs.fields(model):
        if field.name not in _OURS:
            others = cast("tuple[str, ...]", field.metadata.get(_OTHER_NAMES, ()))
            # The vendor writes camelCase, but passes on what others wrote in snake_case.
            names.update(dict.fromkeys((camel(field.name), field.name, *others), camel(field.name)))
    _JSON_NAMES[model] = names
    return names


_JSON_NAMES: dict[type[Record], Mapping[str, str]] = {}
