"""The kinds of jobs: a kind is an endpoint function and what a job must know of it."""

from __future__ import annotations

import re
import sys
import warnings
from decimal import Decimal
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import attrs

from b2b_async import v3
from b2b_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from b2b_async.client import Client
    from b2b_async.ids import CustomerId


__all__ = ["ASSIGN", "CREATE_ORDERS", "KINDS", "JobKind", "OrderRow", "kind_of"]

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _as_it_is(value: Any) -> Any:  # noqa: ANN401 -- whatever a kind takes
    return value


@attrs.frozen(kw_only=True)
class JobKind:
    """What a job does with each item."""

    name: str
    """Its name, in the journal and on the command line."""
    run: Callable[[Client, Any], Awaitable[Mapping[str, Any]]]
    """Does one item and returns its result as plain values; ``reconciled`` if it is known from a verification."""
    find: Callable[[Client, Any], Awaitable[Mapping[str, Any] | None]] | None = None
    """Checks whether an item was done, and returns its result if it was; changes nothing.

    Needed where doing an item twice is not the same as doing it once: without it, an item whose end an earlier run
    did not learn is done again."""
    needs_legacy_token: bool = False
    """It is an operation of v2, so that a client without a legacy token is refused before anything is sent."""
    key: Callable[[Any], str] = str
    """Returns what an item is known by; two items with the same key are one."""
    dump: Callable[[Any], Any] = _as_it_is
    """Returns an item as plain JSON values, which the journal keeps."""
    load: Callable[[Any], Any] = _as_it_is
    """Makes an item of what ``dump`` returned."""
    totals: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Numbers of the results that add up, and what their sum is called: ``{"total": "orders assigned"}``."""
    columns: tuple[str, ...] = ()
    """The columns of items and results in an export of a kind in ``KINDS``, by the names of ``dump`` and ``run``."""


@attrs.frozen(kw_only=True)
class OrderRow:
    """An order to register: what v2 "Create An Order" takes."""

    company_id: str
    """The B2B company id."""
    customer_id: str
    """The buyer's BigCommerce customer id."""
    order_id: str
    """The BigCommerce order id."""
    total_inc_tax: Decimal
    """The order's total with tax, in the order's currency."""
    po_number: str | None = None
    """The purchase order number."""


async def _assign(client: Client, customer_id: CustomerId) -> Mapping[str, Any]:
    assigned = await v3.orders.assign_customer_orders(client, customer_id)
    return {"total": assigned.total}


def _import_v2() -> None:
    """Import v2 without its warning, which is for those who import it themselves; there is no other way for a job."""
    if "b2b_async.v2" not in sys.modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            import_module("b2b_async.v2")


async def _create(client: Client, row: OrderRow) -> Mapping[str, Any]:
    _import_v2()
    from b2b_async.v2 import orders  # noqa: PLC0415 -- see _import_v2

    created = await orders.create_order.__wrapped__(
        client,
        row.company_id,
        row.customer_id,
        order_id=row.order_id,
        total_inc_tax=row.total_inc_tax,
        po_number=row.po_number,
    )
    return {"reconciled": created.reconciled}


async def _find(client: Client, row: OrderRow) -> Mapping[str, Any] | None:
    _import_v2()
    from b2b_async.v2 import orders  # noqa: PLC0415 -- see _import_v2

    found = await orders.find_created_order(client, row.company_id, order_id=row.order_id)
    return None if found is None else {"reconciled": True}


def _order_id(row: OrderRow) -> str:
    return row.order_id


def _dump(row: OrderRow) -> dict[str, Any]:
    return {**attrs.asdict(row), "total_inc_tax": format(row.total_inc_tax, "f")}


def _load(value: Mapping[str, Any]) -> OrderRow:
    changed: dict[str, Any] = {**value, "total_inc_tax": Decimal(value["total_inc_tax"])}
    return OrderRow(**changed)


ASSIGN = JobKind(name="assign", run=_assign, totals={"total": "orders assigned"}, columns=("total",))
"""v3 "Assign Customer Orders to Company", for each customer id."""

CREATE_ORDERS = JobKind(
    name="create-orders",
    run=_create,
    find=_find,
    needs_legacy_token=True,
    key=_order_id,
    dump=_dump,
    load=_load,
    columns=("company_id", "customer_id", "total_inc_tax", "po_number", "reconciled"),
)
"""v2 "Create An Order", for each ``OrderRow``."""

KINDS: Mapping[str, JobKind] = {kind.name: kind for kind in (ASSIGN, CREATE_ORDERS)}
"""The kinds by name."""


def kind_of(kind: JobKind | str) -> JobKind:
    """Return a kind.

    Args:
        kind: A kind, the name of one in ``KINDS``, or "module:attribute", which is imported. It must be the caller's
            own argument: a name that a journal holds is compared, and never imported.

    Raises:
        InvalidArgumentError: there is no such kind.
    """
    if isinstance(kind, JobKind):
        return kind
    if isinstance(cast("object", kind), str) and kind in KINDS:
        return KINDS[kind]
    if not isinstance(cast("object", kind), str) or not _REFERENCE.fullmatch(kind):
        message = f"kind must be a JobKind, one of {', '.join(KINDS)}, or 'module:attribute', not {kind!r}"
        raise InvalidArgumentError(message)
    module, _, name = kind.partition(":")
    try:
        found: object = getattr(import_module(module), name)
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        message = f"kind {kind!r} cannot be imported ({what}): write module:attribute, as in my_jobs:ARCHIVE"
        raise InvalidArgumentError(message) from error
    if not isinstance(found, JobKind):
        message = f"kind {kind!r} is a value of type {type(found).__name__}, not a JobKind"
        raise InvalidArgumentError(message)
    return found
