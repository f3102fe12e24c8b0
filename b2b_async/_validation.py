"""The checks of attrs fields and of options: one factory, and the predicates that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from b2b_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import attrs

T = TypeVar("T")

INFINITY = float("inf")


def must_be(
    expected: str, accepts: Callable[[object], bool], *, of: str
) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """Return an attrs validator.

    Args:
        expected: The values that it accepts, as the message says them: "a number of seconds above 0".
        accepts: Returns whether a value is one of them.
        of: The start of the message, which names the class for people: "timeouts".

    Returns:
        A validator that raises ``ConfigurationError``: "timeouts: call must be a number of seconds above 0, not -1".
    """

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not accepts(value):
            message = f"{of}: {attribute.name} must be {expected}, not {value!r}"
            raise ConfigurationError(message)

    return validate


def is_whole(value: object, least: int, most: float = INFINITY) -> TypeGuard[int]:
    """Return whether *value* is a whole number within bounds; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(
    value: object, *, above: float = -INFINITY, least: float = -INFINITY, most: float = INFINITY
) -> TypeGuard[float]:
    """Return whether *value* is a finite number within bounds; a bool or NaN is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return above < value and least <= value <= most and value < INFINITY


def instance_of(kind: type[T], value: T, name: str, example: str) -> T:
    """Return *value*, which must be an instance of *kind*.

    Args:
        kind: The class.
        value: An argument.
        name: The name of the argument.
        example: A value that it could have, as Python writes it.

    Raises:
        ConfigurationError: it is not. The text shows its type only, since it may be a secret.
    """
    if not isinstance(value, kind):
        message = f"{name} must be a {kind.__name__}, for example {example}, not a value of type {type(value).__name__}"
        raise ConfigurationError(message)
    return value
