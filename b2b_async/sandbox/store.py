"""The sandbox's data: companies, their users, and the orders that BigCommerce knows of."""

from __future__ import annotations

import random
from decimal import Decimal

import attrs


@attrs.define
class Company:
    """A Company account."""

    id: str
    name: str


@attrs.define
class User:
    """A buyer."""

    id: int
    """The B2B user id."""
    customer_id: int
    """The BigCommerce customer id."""
    company_id: str | None
    """None for a customer that belongs to no company."""


@attrs.define
class Order:
    """An order in BigCommerce, and its registration in B2B Edition if it has one."""

    id: str
    """The BigCommerce order id."""
    customer_id: int
    total_inc_tax: Decimal
    company_id: str | None = None
    """The company that it is registered with."""
    po_number: str | None = None


class Store:
    """A store made of its seed: the same seed makes the same store.

    Args:
        companies: How many companies.
        users_per_company: How many buyers each has.
        strangers: How many customers belong to no company.
        seed: Decides how many orders each has, and their amounts.
    """

    FIRST_CUSTOMER = 1001
    """Customer ids count up from here, company by company; the strangers come last."""

    def __init__(self, companies: int = 10, users_per_company: int = 10, strangers: int = 0, *, seed: int = 0) -> None:
        """Fill the store."""
        dice = random.Random(seed)  # noqa: S311 -- repeatable on purpose; no secret depends on it
        self.companies = {str(n): Company(str(n), f"Company {n}") for n in range(1, companies + 1)}
        self.users: dict[int, User] = {}
        self.orders: dict[str, Order] = {}
        self._orders_of: dict[int, list[Order]] = {}
        homes = [company for company in self.companies for _ in range(users_per_company)]
        for number, home in enumerate([*homes, *[None] * strangers]):
            user = User(50_000 + number, self.FIRST_CUSTOMER + number, home)
            self.users[user.customer_id] = user
            for _ in range(dice.randint(0, 5)):
                amount = Decimal(dice.randint(100, 500_000)) / 100
                self.add_order(Order(str(100 + len(self.orders)), user.customer_id, amount))

    def add_order(self, order: Order) -> None:
        """Place an order in BigCommerce."""
        self.orders[order.id] = order
        self._orders_of.setdefault(order.customer_id, []).append(order)

    def assign(self, customer_id: int) -> int | None:
        """Register the orders of a buyer with the buyer's company.

        Returns:
            How many had no company before; None if the customer does not exist or has no company.
        """
        user = self.users.get(customer_id)
        if user is None or user.company_id is None:
            return None
        waiting = [order for order in self._orders_of.get(customer_id, []) if order.company_id is None]
        for order in waiting:
            order.company_id = user.company_id
        return len(waiting)
