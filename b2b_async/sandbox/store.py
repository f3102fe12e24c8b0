"""The sandbox's data: companies, their users, and the orders that BigCommerce and B2B Edition know of."""

from __future__ import annotations

import bisect
import itertools
import random
import time
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "DAY",
    "YEAR",
    "Company",
    "Order",
    "Product",
    "Store",
    "User",
    "is_id",
]

DAY = 86_400
YEAR = 365 * DAY
_AGES = 400 * DAY
"""The orders of a new store were placed within so many seconds: some of them more than a year ago."""
_NAMES = ("Tiered Wire Basket", "Oak Cheese Grater", "Utility Caddy", "Canvas Laundry Cart", "Able Brewing System")


@attrs.define
class Company:
    """A Company account."""

    id: str
    name: str
    group_id: int = 0
    """The BigCommerce customer group that stands for it; 0 for the id and 700."""
    status: int = 1
    """0 pending, 1 approved, 2 rejected, 3 inactive."""
    created_at: int = 0
    """Unix seconds."""
    updated_at: int = 0
    """Unix seconds."""
    extra_fields: dict[str, str] = attrs.field(factory=dict[str, str])

    def __attrs_post_init__(self) -> None:
        """Give it a group."""
        self.group_id = self.group_id or int(self.id) + 700

    @property
    def uuid(self) -> str:
        """An id that stays the same."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.id))


@attrs.define
class User:
    """A buyer."""

    id: int
    """The B2B user id."""
    customer_id: int
    """The BigCommerce customer id."""
    company_id: str | None
    """None for a customer that belongs to no company."""
    role: int = 2
    """0 admin, 1 senior buyer, 2 junior buyer."""
    created_at: int = 0
    """Unix seconds."""
    updated_at: int = 0
    """Unix seconds."""

    @property
    def email(self) -> str:
        """The e-mail address."""
        return f"buyer{self.customer_id}@example.com"


@attrs.frozen
class Product:
    """A line of an order."""

    id: int
    product_id: int
    name: str
    quantity: int


@attrs.define
class Order:
    """An order in BigCommerce, and what B2B Edition knows of it."""

    id: str
    """The BigCommerce order id. v3 knows numbers only."""
    customer_id: int
    total_inc_tax: Decimal
    company_id: str | None = None
    """The company that it is registered with."""
    po_number: str | None = None
    created_at: int = 0
    """Unix seconds at which it was placed; 0 for yesterday."""
    updated_at: int = 0
    """Unix seconds."""
    record_id: int = 0
    """The id of B2B Edition's record of it; 0 for the next one."""
    sync_at: float = 0.0
    """When B2B Edition makes its record of it, unless a call has made it before."""
    recorded_at: float = 0.0
    """When that record is seen."""
    claimed: bool = False
    """A call has made the record."""
    registered_at: float | None = None
    """When it was registered with its company, if that was while the sandbox ran."""
    channel_id: int = 1
    status: str = "Awaiting Fulfillment"
    extra_fields: dict[str, str] = attrs.field(factory=dict[str, str])
    changes: dict[str, Any] = attrs.field(factory=dict[str, Any])
    """What v2 has changed of it, by the vendor's names."""

    @property
    def products(self) -> list[Product]:
        """One to three lines, always the same ones."""
        number = sum(self.id.encode())
        return [
            Product(10 * self.record_id + line, 70 + line, _NAMES[(number + line) % len(_NAMES)], 1 + number % 4)
            for line in range(1 + number % 3)
        ]


class Store:
    """A store made of its seed: the same seed makes the same store.

    Args:
        companies: How many companies.
        users_per_company: How many buyers each has.
        strangers: How many customers belong to no company.
        seed: Decides how many orders each has, and their amounts.
        now: Unix seconds at which it is made; None for now.
    """

    FIRST_CUSTOMER = 1001
    """Customer ids count up from here, company by company; the strangers come last."""
    FIRST_RECORD = 900_001
    """The ids of B2B Edition's records of orders count up from here."""
    SYNC = 10.0
    """Seconds after which B2B Edition makes its record of a new order by itself."""
    EXTRA_FIELDS = ("Fintech ID", "Cost center")
    """The extra fields that orders may have."""

    def __init__(
        self,
        companies: int = 10,
        users_per_company: int = 10,
        strangers: int = 0,
        *,
        seed: int = 0,
        now: float | None = None,
    ) -> None:
        """Fill the store."""
        dice = random.Random(seed)  # noqa: S311 -- repeatable on purpose; no secret depends on it
        made = time.time() if now is None else now
        self.clock: Callable[[], float] = time.time
        """Gives the Unix seconds; a sandbox puts its own clock here."""
        self.lag: float = 0.0
        """Seconds after which what is registered shows up in look-ups."""
        born = int(made) - 2 * YEAR
        self.companies: dict[str, Company] = {
            str(n): Company(str(n), f"Company {n}", created_at=born, updated_at=born + n)
            for n in range(1, companies + 1)
        }
        self.users: dict[int, User] = {}
        self.orders: dict[str, Order] = {}
        self._orders_of: dict[int, list[Order]] = {}
        self._by_age: list[tuple[int, int, Order]] = []
        self._record_ids = itertools.count(self.FIRST_RECORD)
        homes = [company for company in self.companies for _ in range(users_per_company)]
        for number, home in enumerate([*homes, *[None] * strangers]):
            user = User(50_000 + number, self.FIRST_CUSTOMER + number, home, number % 3, born, born + number)
            self.users[user.customer_id] = user
            for _ in range(dice.randint(0, 5)):
                amount = Decimal(dice.randint(100, 500_000)) / 100
                order_id = 100 + len(self.orders)
                age = order_id * 7919 * 3600 % _AGES  # spread evenly, and always the same
                self.add_order(Order(str(order_id), user.customer_id, amount, created_at=int(made) - age))

    def add_order(self, order: Order) -> None:
        """Place an order in BigCommerce, so long ago (unless it says when) that B2B Edition knows it."""
        order.created_at = order.created_at or int(self.clock()) - DAY
        order.updated_at = order.updated_at or order.created_at
        order.record_id = order.record_id or next(self._record_ids)
        self.orders[order.id] = order
        self._orders_of.setdefault(order.customer_id, []).append(order)
        if is_id(order.id) and order.id == str(int(order.id)):
            bisect.insort(self._by_age, (order.created_at, order.record_id, order))

    def place_order(self, customer_id: int, total_inc_tax: Decimal, order_id: str | None = None) -> Order:
        """Have a buyer place an order now: B2B Edition makes its record of it ten seconds later, by itself.

        Args:
            customer_id: The buyer's BigCommerce customer id.
            total_inc_tax: The total with tax.
            order_id: The BigCommerce order id; None for the next one.
        """
        now = self.clock()
        user = self.users.get(customer_id)
        number = 100 + len(self.orders)
        while str(number) in self.orders:
            number += 1
        order = Order(
            order_id or str(number),
            customer_id,
            total_inc_tax,
            company_id=None if user is None else user.company_id,
            created_at=int(now),
            sync_at=now + self.SYNC,
            recorded_at=now + self.SYNC,
        )
        self.add_order(order)
        return order

    def remove_order(self, order_id: str) -> None:
        """Have an order vanish from BigCommerce and B2B Edition."""
        order = self.orders.pop(order_id)
        self._orders_of[order.customer_id].remove(order)
        self._by_age = [aged for aged in self._by_age if aged[2] is not order]

    # -- what B2B Edition knows ----------------------------------------------------------------------------------

    def record(self, order_id: str) -> Order | None:
        """Find an order that B2B Edition has a record of (by now)."""
        order = self.orders.get(order_id)
        return None if order is None or order.recorded_at > self.clock() else order

    def records(self, since: int, until: int) -> list[Order]:
        """List the orders that v3 knows and that were placed from *since* to *until*, the oldest first."""
        now = self.clock()
        first = bisect.bisect_left(self._by_age, since, key=_created_at)
        last = bisect.bisect_right(self._by_age, until, key=_created_at)
        return [order for _, _, order in self._by_age[first:last] if order.recorded_at <= now]

    def company_of(self, order: Order) -> Company | None:
        """Give the company that look-ups show an order registered with: a new registration takes its time."""
        since = order.registered_at
        if order.company_id is None or (since is not None and self.clock() < since + self.lag):
            return None
        return self.companies[order.company_id]

    def company_of_group(self, group_id: int) -> Company | None:
        """Find the company that a BigCommerce customer group stands for."""
        return next((company for company in self.companies.values() if company.group_id == group_id), None)

    def user(self, customer_id: str) -> User | None:
        """Find a buyer that belongs to a company, by the customer id in a path."""
        user = self.users.get(int(customer_id)) if is_id(customer_id) else None
        return None if user is None or user.company_id is None else user

    # -- what changes it -----------------------------------------------------------------------------------------

    def assign(self, customer_id: int) -> int | None:
        """Register the orders of a buyer with the buyer's company.

        Returns:
            How many had no company before; None if the customer does not exist or has no company.
        """
        user = self.users.get(customer_id)
        if user is None or user.company_id is None:
            return None
        waiting = [order for order in self._orders_of.get(customer_id, []) if order.company_id is None]
        return self._move(waiting, user.company_id)

    def reassign(self, customer_id: int, company: Company) -> int | None:
        """Register the orders of a buyer with a company.

        Returns:
            How many; None if the customer does not exist or has no company.
        """
        user = self.users.get(customer_id)
        if user is None or user.company_id is None:
            return None
        return self._move(self._orders_of.get(customer_id, []), company.id)

    def register(self, order: Order, company_id: str) -> None:
        """Register one order with a company; look-ups show it when the lag is over."""
        self._move([order], company_id)
        order.registered_at = self.clock()

    def touch(self, order: Order) -> None:
        """Say that an order has changed."""
        order.updated_at = int(self.clock())

    def _move(self, orders: Iterable[Order], company_id: str) -> int:
        moved = list(orders)
        for order in moved:
            order.company_id = company_id
            self.touch(order)
        return len(moved)


def is_id(text: str) -> bool:
    """Whether a part of a path is a number that can be an id."""
    return text.isascii() and text.isdigit() and len(text) <= len(str(2**63))


def _created_at(aged: tuple[int, int, Order]) -> int:
    return aged[0]
