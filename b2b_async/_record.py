"""What the models have in common: the JSON object that they were made of stays at hand."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 -- cattrs reads the annotations below
from typing import Any, ClassVar, cast

import attrs

_OTHER_NAMES = "other_names"


@attrs.frozen
class Record:
    """An object of an answer. Its fields may be missing or null at the server; both are then the field's default."""

    ANY_CASE: ClassVar[bool] = False
    """The vendor writes the names of its fields in camelCase and in snake_case."""

    raw: Mapping[str, Any] = attrs.field(factory=dict[str, Any], kw_only=True, repr=False, eq=False)
    """The JSON object as it came: times not made into datetimes, null and missing told apart. It is not compared."""

    @property
    def extra(self) -> dict[str, Any]:
        """What came that has no field here, by the server's names."""
        known = json_names(type(self))
        return {name: value for name, value in self.raw.items() if name not in known}


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
        if field.name != "raw":
            others = cast("tuple[str, ...]", field.metadata.get(_OTHER_NAMES, ()))
            snake = (field.name,) if model.ANY_CASE else ()
            names.update(dict.fromkeys((camel(field.name), *snake, *others), camel(field.name)))
    _JSON_NAMES[model] = names
    return names


_JSON_NAMES: dict[type[Record], Mapping[str, str]] = {}
