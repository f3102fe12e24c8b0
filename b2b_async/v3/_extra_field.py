"""An extra field of an order, a user or a company."""

from __future__ import annotations

import attrs

from b2b_async._record import Record


@attrs.frozen
class ExtraField(Record):
    """An extra field and its value."""

    field_name: str | None = None
    """The name that the field has in the store's settings."""
    field_value: str | None = None
    """The value; numbers are strings, too."""
