"""v2 says once that it is deprecated: to those who use it, and where they use it."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from b2b_async import v2
from b2b_async.v2 import _deprecated

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"v2.{module.__name__.rpartition('.')[2]}.{name}": function
    for module in (v2.orders, v2.companies)
    for name, function in vars(module).items()
    if hasattr(function, "__wrapped__")
}
REPLACED = {
    "v2.orders.list_company_orders": "v3.orders.list_orders(company_id=...)",
    "v2.orders.update_company_order": "v3.orders.update_order",
    "v2.orders.update_bc_orders_company": "v3.orders.assign_customer_orders",
    "v2.orders.update_user_orders_company": "v3.orders.reassign_orders",
    "v2.orders.get_company_by_bc_order_id": "v3.companies.list_companies(bc_order_id=...)",
    "v2.orders.get_company_id_by_order_id": "v3.orders.get_order",
    "v2.orders.get_order_detail": "v3.orders.get_order",
    "v2.orders.get_order_product": "v3.orders.list_order_products",
    "v2.companies.list_bc_order_ids": "v3.orders.list_orders(company_id=...)",
    "v2.companies.get_company_by_customer_id": "v3.companies.list_companies(customer_id=...)",
}


def python(*words: str, code: str) -> str:
    """Run code as a program; give what it writes to stderr."""
    done = subprocess.run([sys.executable, *words, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stderr


def test_every_function_of_an_operation_is_deprecated() -> None:
    """And only the look-up that is no operation of the vendor's is not."""
    assert len(FUNCTIONS) == 13
    assert set(REPLACED) < set(FUNCTIONS)
    assert set(FUNCTIONS) - set(REPLACED) == {
        "v2.orders.create_order",
        "v2.orders.create_order_without_company_id",
        "v2.orders.get_orders_images",
    }
    assert not hasattr(v2.orders.find_created_order, "__wrapped__")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_warns_once_and_names_its_successor(name: str) -> None:
    """At the line that calls it."""
    plain = inspect.unwrap(FUNCTIONS[name])
    fresh = _deprecated.deprecated(REPLACED.get(name))(plain)
    arguments = [None] * len(inspect.signature(plain).parameters)
    caught = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            asyncio.run(_called(fresh, arguments[:2]))
        caught += heard

    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message).startswith(f"b2b_async.{name}: BigCommerce has deprecated this endpoint; ")
    assert REPLACED.get(name, "no v3 function replaces it") in str(warning.message)


async def _called(function: Callable[..., Any], arguments: list[None]) -> None:
    """Call, with arguments that are not worth a call."""
    with pytest.raises((TypeError, ValueError, AttributeError)):
        await function(*arguments)


def test_a_function_is_still_itself() -> None:
    """With its signature, and as a coroutine function if it is one."""
    assert inspect.iscoroutinefunction(v2.orders.create_order)
    assert not inspect.iscoroutinefunction(v2.orders.list_company_orders)
    assert list(inspect.signature(v2.orders.create_order).parameters)[:3] == ["client", "company_id", "customer_id"]
    assert v2.orders.create_order.__name__ == "create_order"


def test_threads_do_not_make_it_two() -> None:
    """The first one warns."""
    calls: list[int] = []

    @_deprecated.deprecated(None)
    def function(number: int) -> None:
        calls.append(number)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=function, args=[number]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert sorted(calls) == list(range(16))
    assert len(heard) == 1


@pytest.mark.parametrize(
    "code",
    [
        "\nfrom b2b_async import v2",
        "\nimport b2b_async.v2.orders",
        "import b2b_async\nb2b_async.v2",
        "from importlib import import_module\nimport_module('b2b_async.v2')",
    ],
)
def test_the_module_warns_at_the_line_that_imports_it(code: str) -> None:
    """However it is imported."""
    assert "<string>:2: DeprecationWarning: b2b_async.v2: BigCommerce has deprecated its v2 API" in python(code=code)


def test_a_task_of_its_own_is_told_at_the_line_that_runs_the_loop() -> None:
    """There is no other line of the user's on its stack."""
    code = (
        "import asyncio\nfrom b2b_async import Client, Credentials, v2\n"
        "async def main():\n    client = Client(Credentials(legacy_token='x'))\n"
        "    try: await asyncio.create_task(v2.orders.get_order_detail(client, ''))\n    except ValueError: pass\n"
        "asyncio.run(main())\n"
    )

    assert "<string>:7: DeprecationWarning: b2b_async.v2.orders.get_order_detail" in python(code=code)


@pytest.mark.parametrize(
    "code",
    [
        "import b2b_async, b2b_async.bulk, b2b_async.cli, b2b_async.sandbox; from b2b_async import v3; v3.orders",
        (
            "import asyncio\nfrom b2b_async import Client, Credentials\n"
            "from b2b_async.bulk import CREATE_ORDERS, BulkJob, OrderRow, SQLiteJournal\n"
            "from decimal import Decimal\nfrom tempfile import TemporaryDirectory\n"
            "async def main(folder):\n"
            "    async with Client(Credentials(legacy_token='x')) as client, SQLiteJournal(folder + '/j') as journal:\n"
            "        row = OrderRow(company_id='1', customer_id='2', order_id='..', total_inc_tax=Decimal(1))\n"
            "        print((await BulkJob(client, [row], kind=CREATE_ORDERS, journal=journal).run()).failed)\n"
            "with TemporaryDirectory() as folder: asyncio.run(main(folder))"
        ),
    ],
)
def test_who_does_not_use_it_hears_nothing(code: str) -> None:
    """A job that creates orders has no other way."""
    assert python("-W", "error::DeprecationWarning", code=code) == ""


def test_a_name_that_is_not_there() -> None:
    """As of any module."""
    for module in ("b2b_async", "b2b_async.v2", "b2b_async.v3"):
        with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'v4'"):
            sys.modules[module].v4  # noqa: B018
    assert {"v2", "v3", "Client"} <= set(dir(sys.modules["b2b_async"]))
    assert set(v2.__all__) <= set(dir(v2))
