"""The v2 endpoints over a sandbox, and what they refuse before anything is sent."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from helpers import BASE_URL, CREDENTIALS, client_of

from b2b_async import (
    OMITTED,
    AmbiguousOutcomeError,
    BadRequestError,
    BCGroupId,
    BCOrderId,
    ChannelId,
    Client,
    CompanyId,
    CustomerId,
    InvalidArgumentError,
    NotFoundError,
    ResponseValidationError,
    Timeouts,
    v2,
)
from b2b_async.sandbox import Faults, Order, Sandbox, Store
from b2b_async.testing import mocked_api
from b2b_async.v2.orders import BillingAddressChanges, OrderChanges, ProductChanges

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400


def store() -> Store:
    """Make a store with three orders of company 1, a day apart, and one of nobody."""
    made = Store(2, 2)
    noon = int(datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp())
    for number, amount in enumerate(("12.50", "7.25", "100")):
        order = Order(str(9000 + number), 1001, Decimal(amount), "1", "P", created_at=noon + number * DAY)
        made.add_order(order)
    made.add_order(Order("BC77", 1002, Decimal("1.50")))
    made.orders["9002"].channel_id = 2
    return made


async def test_the_orders_of_a_company() -> None:
    """With filters by day; on all pages; the ids alone."""
    async with Sandbox(store()) as sandbox, client_of(sandbox) as client:
        page = await v2.orders.list_company_orders(client, "1", limit=2, offset=1)
        days = await v2.orders.list_company_orders(
            client, CompanyId(1), begin_date_at=date(2026, 3, 11), end_date_at=date(2026, 3, 11)
        )
        cheap = await v2.orders.list_company_orders(client, "1", order_by="totalIncTax", include_extra=True)
        channel = await v2.orders.list_company_orders(client, "1", channel_id=ChannelId(2))
        every = [order.order_id async for order in v2.orders.list_company_orders(client, "1").items()]
        ids = await v2.companies.list_bc_order_ids(client, "1", begin_date_at=date(2026, 3, 12))
        all_ids = [order.order_id async for order in v2.companies.list_bc_order_ids(client, "1").items()]
        for missing in (
            v2.orders.list_company_orders(client, "99"),
            v2.companies.list_bc_order_ids(client, "99"),
        ):
            with pytest.raises(NotFoundError, match="Companies Does not Exist"):
                await missing

    assert ([order.order_id for order in page.items], page.total) == (["9001", "9002"], 3)
    assert [order.order_id for order in days.items] == ["9001"]
    assert [str(order.total_inc_tax) for order in cheap.items] == ["7.2500", "12.5000", "100.0000"]
    assert cheap.items[0].extra == {"extraFields": {}}
    assert [order.order_id for order in channel.items] == ["9002"]
    assert every == all_ids == ["9000", "9001", "9002"]
    assert [order.order_id for order in ids.items] == ["9002"]
    order = days.items[0]
    assert order.created_at == datetime(2026, 3, 11, 12, tzinfo=UTC)
    assert order.raw["createdAt"] == str(int(order.created_at.timestamp()))
    assert (order.order_status, order.is_invoice_order, order.channel_id) == ("Awaiting Fulfillment", False, 1)


async def test_one_order() -> None:
    """Its company, its details, its products, its pictures."""
    async with Sandbox(store()) as sandbox, client_of(sandbox) as client:
        company = await v2.orders.get_company_by_bc_order_id(client, BCOrderId(9000))
        number = await v2.orders.get_company_id_by_order_id(client, "9000")
        detail = await v2.orders.get_order_detail(client, "9000")
        products = {n: await v2.orders.get_order_product(client, n) for n in ("9000", "9001", "9002")}
        images = await v2.orders.get_orders_images(client, ["9000", BCOrderId(9001), "1"])
        mine = await v2.companies.get_company_by_customer_id(client, CustomerId(1001))
        for unregistered in (
            v2.orders.get_company_by_bc_order_id(client, "BC77"),
            v2.orders.get_company_id_by_order_id(client, "BC77"),
        ):
            with pytest.raises(BadRequestError) as caught:
                await unregistered
            assert caught.value.code == 40013
        for missing in (
            v2.orders.get_order_detail(client, "1"),
            v2.orders.get_order_product(client, "1"),
            v2.companies.get_company_by_customer_id(client, "9999"),
        ):
            with pytest.raises(NotFoundError):
                await missing

    assert (company.company_id, company.company_name, company.customer_group_id, number) == (1, "Company 1", 701, 1)
    assert detail.total_inc_tax == Decimal("12.5000")
    assert detail.date_created == datetime(2026, 3, 10, 12, tzinfo=UTC)
    assert (detail.date_shipped, detail.po_number, detail.channel_id) == (None, "P", 1)
    assert detail.billing_address is not None
    assert detail.billing_address.country_iso2 == "US"
    assert {len(lines) for lines in products.values()} == {1, 2, 3}
    assert [line.product_id for line in products["9000"]] == [line.product_id for line in detail.products]
    assert [image.order_id for image in images] == ["9000", "9001"]
    assert (mine.company_id, mine.company_status, mine.zip_code) == (1, 1, "92618")


async def test_orders_get_a_company() -> None:
    """By the buyer's company, by a group, one by one; and are then seen there."""
    async with Sandbox(store()) as sandbox, client_of(sandbox) as client:
        created = await v2.orders.create_order_without_company_id(
            client, CustomerId(1002), order_id="BC77", total_inc_tax=Decimal("1.50"), po_number="P-7"
        )
        await v2.orders.update_bc_orders_company(client, "1001")
        await v2.orders.update_user_orders_company(client, CustomerId(1002), customer_group_id=BCGroupId(702))
        moved = await v2.orders.get_company_id_by_order_id(client, "BC77")
        for refused in (
            v2.orders.update_bc_orders_company(client, "9999"),
            v2.orders.update_user_orders_company(client, "1001", customer_group_id="799"),
            v2.orders.update_user_orders_company(client, "9999", customer_group_id="702"),
            v2.orders.update_user_orders_company(client, "1001", customer_group_id="x"),
        ):
            with pytest.raises(BadRequestError) as caught:
                await refused
            assert caught.value.code == 40013
        for missing in ("9999", "x"):
            with pytest.raises(NotFoundError, match="Companies Does not Exist"):
                await v2.orders.create_order_without_company_id(
                    client, missing, order_id="BC77", total_inc_tax=Decimal(1)
                )

    assert created == v2.orders.CreatedOrder("BC77")
    assert moved == 2
    assert all(order.company_id == "1" for order in sandbox.store.orders.values() if order.customer_id == 1001)


async def test_an_order_is_changed() -> None:
    """What is not set is not sent; None empties; what has changed is seen in the details."""
    changes = OrderChanges(
        po_number="P-3",
        staff_notes="Ring twice.",
        total_ex_tax=Decimal("12.50"),
        items_total=9,
        is_deleted=True,
        ip_address="192.0.2.1",
        billing_address=BillingAddressChanges(city="Rome"),
        products=[ProductChanges(product_id="70", quantity=7)],
    )
    async with Sandbox(store()) as sandbox, client_of(sandbox) as client:
        updated = await v2.orders.update_company_order(client, "9001", changes)
        seen = await v2.orders.get_order_detail(client, "9001")
        await v2.orders.update_company_order(client, "9001", OrderChanges(staff_notes=None))
        emptied = await v2.orders.get_order_detail(client, "9001")
        for missing in ("1", "BC77"):
            with pytest.raises(NotFoundError):
                await v2.orders.update_company_order(client, missing, changes)

    assert updated == v2.orders.UpdatedOrder("9001")
    assert (seen.po_number, seen.staff_notes, seen.total_ex_tax) == ("P-3", "Ring twice.", Decimal("12.50"))
    assert (seen.items_total, seen.is_deleted, seen.ip_address) == (9, True, "192.0.2.1")
    assert (seen.raw["items_total"], seen.raw["is_deleted"]) == (
        9,
        True,
    )  # of the contract's types, not as they were sent
    assert seen.billing_address is not None
    assert (seen.billing_address.city, seen.billing_address.country_iso2) == ("Rome", "US")
    assert [(line.product_id, line.quantity == 7) for line in seen.products] == [("70", True), ("71", False)]
    assert (emptied.po_number, emptied.staff_notes, emptied.total_ex_tax) == ("P-3", "", Decimal("12.50"))


async def test_changes_leave_as_strings() -> None:
    """Amounts with just their digits, counts and yes or no as digits, parts as objects and lists."""
    changes = OrderChanges(
        subtotal_ex_tax=Decimal("1.10"),
        refunded_amount=None,
        items_shipped=0,
        is_deleted=True,
        customer_message="two\nlines",
        billing_address=BillingAddressChanges(street_one="1 Main Street", country_iso2=None),
        products=(ProductChanges(sku="A", price_inc_tax=Decimal("0.30")), ProductChanges(quantity=2)),
        ip_address=OMITTED,
    )
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.put(f"{BASE_URL}/api/v2/io/orders", payload={"code": 200, "data": {"companyId": "7"}})
            updated = await v2.orders.update_company_order(client, BCOrderId(126), changes)
            ((request,),) = mock.requests.values()

    assert updated == v2.orders.UpdatedOrder(None, CompanyId(7))
    assert json.loads(request.kwargs["data"].decode()) == {
        "orderId": "126",
        "subtotalExTax": "1.10",
        "refundedAmount": None,
        "itemsShipped": "0",
        "isDeleted": "1",
        "customerMessage": "two\nlines",
        "billingAddress": {"streetOne": "1 Main Street", "countryIso2": None},
        "products": [{"sku": "A", "priceIncTax": "0.30"}, {"quantity": "2"}],
    }


@pytest.mark.parametrize("fault", ["reset-after", "500-after"])
async def test_a_lost_creation_without_a_company_is_found_with_any(fault: str) -> None:
    """The buyer's company is not known to the caller."""
    async with Sandbox(store(), faults=Faults(script=[fault])) as sandbox, client_of(sandbox) as client:
        created = await v2.orders.create_order_without_company_id(
            client, "1002", order_id="BC77", total_inc_tax=Decimal("1.50")
        )

    assert created == v2.orders.CreatedOrder("BC77", reconciled=True)
    assert sum(entry.applied for entry in sandbox.ledger) == 1


async def test_a_creation_that_never_arrived_stays_unknown() -> None:
    """Unless it may be sent again."""
    async with Sandbox(store(), faults=Faults(script=["reset-before"])) as sandbox:
        async with client_of(sandbox, timeout=Timeouts(call=20)) as client:
            with pytest.raises(AmbiguousOutcomeError):
                await v2.orders.create_order_without_company_id(
                    client, "1002", order_id="BC77", total_inc_tax=Decimal("1.50")
                )
            sandbox.faults = Faults(script=["reset-before"])
            created = await v2.orders.create_order_without_company_id(
                client, "1002", order_id="BC77", total_inc_tax=Decimal("1.50"), resend_if_absent=True
            )

    assert created == v2.orders.CreatedOrder("BC77")


async def test_an_answer_without_an_order_id_names_what_was_sent() -> None:
    """The vendor's schema has the company instead."""
    url = f"{BASE_URL}/api/v2/io/companies/users/12/orders"
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.post(url, payload={"code": 200, "data": {"companyId": "35"}})
            created = await v2.orders.create_order_without_company_id(
                client, "12", order_id=BCOrderId(117), total_inc_tax=Decimal(1)
            )

    assert created == v2.orders.CreatedOrder("117")


async def test_the_servers_order_id_goes_before_what_was_sent() -> None:
    """If it names one."""
    url = f"{BASE_URL}/api/v2/io/companies/users/12/orders"
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.post(url, payload={"code": 200, "data": {"orderId": 2}})
            created = await v2.orders.create_order_without_company_id(
                client, "12", order_id="0002", total_inc_tax=Decimal(1)
            )

    assert created == v2.orders.CreatedOrder("2")


async def test_names_of_both_kinds_are_read() -> None:
    """The vendor's schema and its examples do not agree."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            options = [{"option_id": "1", "option_value": "red"}, {"optionId": 2, "optionValue": "blue"}]
            url = f"{BASE_URL}/api/v2/io/orders/117"
            mock.get(f"{url}/products", payload={"code": 200, "data": {"productId": 97, "optionList": options}})
            (line,) = await v2.orders.get_order_product(client, "117")
            address = {"shipping_quoteseg": {"url": "x"}, "street_1": "1 Main Street", "streetTwo": "2"}
            mock.get(f"{url}/details", payload={"code": 200, "data": {"id": 117, "shippingAddress": address}})
            detail = await v2.orders.get_order_detail(client, "117")

    assert [(option.option_id, option.option_value) for option in line.option_list] == [("1", "red"), ("2", "blue")]
    assert detail.shipping_address is not None
    assert detail.shipping_address.shipping_quotes == {"url": "x"}
    assert (detail.shipping_address.street_one, detail.shipping_address.street_two) == ("1 Main Street", "2")


@pytest.mark.parametrize("data", [{}, [], None, {"list": None, "pagination": {"totalCount": 0}}, {"list": []}])
async def test_an_empty_list_has_many_forms(data: Any) -> None:
    """None of them is a fault."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            url = f"{BASE_URL}/api/v2/io/companies/1/orders?limit=10&offset=0"
            mock.get(url, payload={"code": 200, "data": data})
            page = await v2.orders.list_company_orders(client, "1")

    assert page.items == ()


async def test_a_long_list_is_read_to_its_end() -> None:
    """The names of both forms are read."""
    row = {"OrderStatus": "Shipped", "orderId": 5}
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            url = f"{BASE_URL}/api/v2/io/companies/1/orders?limit=10&offset=0"
            mock.get(url, payload={"code": 200, "data": {"list": [row, {"createdAt": "x"}]}})
            with pytest.raises(ResponseValidationError) as caught:
                await v2.orders.list_company_orders(client, "1")
            mock.get(url, payload={"code": 200, "data": {"list": [row]}})
            page = await v2.orders.list_company_orders(client, "1")

    assert str(caught.value).endswith("the response does not fit: $.data.list[1].orderId is missing")
    assert (page.items[0].order_status, page.items[0].order_id, page.items[0].extra) == ("Shipped", "5", {})


BAD: list[tuple[Callable[[Client], Any], str]] = [
    (lambda c: v2.orders.list_company_orders(c, "1", begin_date_at=datetime.now(UTC)), "begin_date_at must be a date"),
    (lambda c: v2.orders.list_company_orders(c, "1", end_date_at="12/31/2026"), "end_date_at must be a date"),
    (
        lambda c: v2.companies.list_bc_order_ids(c, "1", begin_date_at=date(2026, 2, 1), end_date_at=date(2026, 1, 31)),
        "begin_date_at must not be after end_date_at",
    ),
    (lambda c: v2.orders.list_company_orders(c, ".."), "company_id must be an id"),
    (lambda c: v2.orders.list_company_orders(c, "1", order_by="id"), "order_by must be 'bcOrderId', 'totalIncTax' or"),
    (lambda c: v2.orders.list_company_orders(c, "1", limit=201), "limit must be"),
    (lambda c: v2.orders.list_company_orders(c, "1", include_extra=0).items(), "include_extra must be True or False"),
    (lambda c: v2.orders.get_orders_images(c, []), "order_ids must not be empty"),
    (lambda c: v2.orders.get_orders_images(c, ["1,2"]), "'1,2' has a comma in it"),
    (lambda c: v2.orders.get_order_detail(c, ""), "order_id must be an id"),
    (lambda c: v2.orders.update_bc_orders_company(c, " "), "customer_id must be a non-empty"),
    (lambda c: v2.orders.update_user_orders_company(c, "1", customer_group_id=0), "customer_group_id must be an id"),
    (lambda c: v2.orders.update_company_order(c, "1", OrderChanges()), "changes changes nothing"),
    (lambda c: v2.orders.update_company_order(c, "1", {"poNumber": "P"}), "changes must be OrderChanges"),
    (
        lambda c: v2.orders.update_company_order(c, "1", OrderChanges(total_ex_tax=0.1)),
        "is the float",
    ),
    (
        lambda c: v2.orders.update_company_order(c, "1", OrderChanges(total_ex_tax="1")),
        "must be a Decimal",
    ),
    (
        lambda c: v2.orders.update_company_order(c, "1", OrderChanges(items_total=-1)),
        "items_total must be a",
    ),
    (
        lambda c: v2.orders.update_company_order(c, "1", OrderChanges(staff_notes=b"x")),
        "staff_notes must be a",
    ),
    (lambda c: v2.orders.update_company_order(c, "1", OrderChanges(products=[])), "changes.products must not be empty"),
    (
        lambda c: v2.orders.update_company_order(c, "1", OrderChanges(products=[ProductChanges()])),
        r"changes.products\[0\] changes nothing",
    ),
    (
        lambda c: v2.orders.create_order_without_company_id(
            c, "1", order_id="1", total_inc_tax=Decimal(1), reconcile=False, resend_if_absent=True
        ),
        "resend_if_absent needs reconcile",
    ),
]


@pytest.mark.parametrize(("call", "text"), BAD)
async def test_what_cannot_be_right_is_not_sent(call: Callable[[Client], Any], text: str) -> None:
    """And the error says what was wrong, and what to do."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            with pytest.raises(InvalidArgumentError, match=text):
                await call(client)

            assert not mock.requests
