"""The v3 endpoints over a sandbox: filters, what changes and is then seen, what is refused before it is sent."""

from __future__ import annotations

import asyncio
import inspect
import re
from datetime import UTC, date, datetime, timedelta, timezone
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
    UnprocessableEntityError,
    UserId,
    v2,
    v3,
)
from b2b_async.sandbox import Faults, Order, Sandbox, Store
from b2b_async.testing import mocked_api
from b2b_async.v3.orders import ExtraField

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def test_orders_are_filtered_and_sorted() -> None:
    """By everything that the vendor has; without a lower bound, nothing older than a year."""
    store = Store(3, 5, strangers=3)
    for customer in list(store.users)[:5]:
        store.assign(customer)
    store.orders["100"].channel_id = 2
    second = store.orders["100"]
    every = sorted((order for order in store.orders.values() if order is not second), key=lambda o: o.created_at)
    year = int(store.clock()) - 365 * 86_400
    middle = datetime.fromtimestamp(every[len(every) // 2].created_at, UTC)
    async with Sandbox(store) as sandbox, client_of(sandbox) as client:
        recent = await v3.orders.list_orders(client, limit=200)
        whole = await v3.orders.list_orders(
            client, min_created=LONG_AGO, limit=200, sort_by="createdAt", order_by="ASC"
        )
        early = await v3.orders.list_orders(client, min_created=LONG_AGO, max_created=middle, limit=200)
        late = await v3.orders.list_orders(client, min_modified=middle, limit=200)
        mine = await v3.orders.list_orders(client, company_id=CompanyId(1), min_created=LONG_AGO, limit=200)
        other = await v3.orders.list_orders(client, channel_ids=[ChannelId(2), ChannelId(7)], min_modified=LONG_AGO)
        one = await v3.orders.list_orders(client, bc_order_id=BCOrderId(101), min_created=LONG_AGO, show_extra=True)
        page = await v3.orders.list_orders(client, min_created=LONG_AGO, limit=3, offset=2)
        changed = await v3.orders.list_orders(client, max_modified=LONG_AGO)

    assert recent.total == sum(order.created_at >= year for order in every) < len(every)
    assert [order.bc_order_id for order in whole.items] == [int(order.id) for order in every]
    assert whole.total == len(every)
    assert early.total == len(every) // 2 + 1
    assert {order.bc_order_id for order in mine} == {int(o.id) for o in every if o.company_id == "1"}
    assert mine.items
    assert late.total is not None
    assert 0 < late.total <= len(every)
    assert [order.bc_order_id for order in other.items] == [100]
    assert [order.bc_order_id for order in one.items] == [101]
    assert one.items[0].extra_info
    assert not whole.items[0].extra_info
    assert (page.total, page.limit, page.offset, len(page.items)) == (len(every), 3, 2, 3)
    assert changed.total == 0
    moments = [order.updated_at for order in recent.items]
    assert moments == sorted(moments, reverse=True)  # type: ignore[type-var]


async def test_an_order_has_money_times_and_ids() -> None:
    """Without a float in between, with a time zone; the raw values are at hand."""
    store = Store(1, 1)
    store.add_order(Order("9001", 1001, Decimal("2210.47"), "1", "P-1", created_at=1_744_735_719))
    async with Sandbox(store) as sandbox, client_of(sandbox) as client:
        order = await v3.orders.get_order(client, BCOrderId(9001))
        (line, *_) = await v3.orders.list_order_products(client, BCOrderId(9001))

    assert (order.bc_order_id, order.company_id, order.po_number) == (9001, 1, "P-1")
    assert order.id == store.orders["9001"].record_id != order.bc_order_id
    assert order.total_inc_tax == Decimal("2210.47")
    assert order.created_at == datetime(2025, 4, 15, 16, 48, 39, tzinfo=UTC)
    assert order.raw["createdAt"] == 1_744_735_719
    assert order.money[0].currency_token == "$"
    assert (order.is_invoice_order, order.invoice_id, "invoiceId" in order.raw) == (False, None, True)
    assert order.extra == {}
    assert line.product_name
    assert line.quantity


async def test_an_update_sends_what_is_given_and_is_seen() -> None:
    """What is omitted stays, None empties, an empty text is a text."""
    async with Sandbox(Store(1, 1)) as sandbox, client_of(sandbox) as client:
        number = BCOrderId(int(next(iter(sandbox.store.orders))))
        first = await v3.orders.update_order(
            client, number, po_number="P-1", extra_fields=[ExtraField("Fintech ID", "7")]
        )
        second = await v3.orders.update_order(client, number, extra_fields=[ExtraField("Cost center", "12")])
        third = await v3.orders.update_order(client, number, po_number=None)
        seen = await v3.orders.get_order(client, number)
        again = await v3.orders.update_order(client, number, extra_fields=first.extra_fields)
        emptied = await v3.orders.update_order(client, number, po_number="", extra_fields=None)
        with pytest.raises(NotFoundError):
            await v3.orders.update_order(client, BCOrderId(1), po_number="P")
        with pytest.raises(UnprocessableEntityError, match="Shoe size is not an extra field"):
            await v3.orders.update_order(client, number, extra_fields=[ExtraField("Shoe size", "44")])

    assert first.po_number == second.po_number == "P-1"
    assert third.po_number == ""
    assert {field.field_name: field.field_value for field in seen.extra_fields} == {
        "Fintech ID": "7",
        "Cost center": "12",
    }
    assert len(again.extra_fields) == 2
    assert emptied.extra_fields == ()
    assert emptied.updated_at is not None
    assert seen.updated_at is not None
    assert [entry.applied for entry in sandbox.ledger] == [True, True, True, False, True, True, False, False]


async def test_a_record_is_made_within_ten_seconds_or_by_itself() -> None:
    """Later the vendor has made it, without what the call would have said."""
    async with Sandbox(Store(1, 2), lag=3) as sandbox, client_of(sandbox) as client:
        loop_time = sandbox.store.clock
        sandbox.store.place_order(1001, Decimal("10.50"), "9001")
        sandbox.store.place_order(1002, Decimal("11.50"), "9002")
        with pytest.raises(NotFoundError):
            await v3.orders.get_order(client, BCOrderId(9001))
        before = await v3.orders.list_orders(client, bc_order_id=BCOrderId(9001))
        made = await v3.orders.create_order(
            client,
            bc_order_id=BCOrderId(9001),
            customer_id=CustomerId(1001),
            po_number="P-1",
            extra_fields=[ExtraField("Fintech ID", "7")],
        )
        with pytest.raises(BadRequestError, match="The order does not exist"):
            await v3.orders.create_order(client, bc_order_id=BCOrderId(9001), customer_id=CustomerId(1002))
        with pytest.raises(NotFoundError):  # the lag
            await v3.orders.get_order(client, BCOrderId(9001))
        await _until(sandbox, loop_time() + 3)
        shown = await v3.orders.get_order(client, BCOrderId(9001))
        with pytest.raises(BadRequestError, match="The order already exists"):
            await v3.orders.create_order(client, bc_order_id=BCOrderId(9001), customer_id=CustomerId(1001))
        await _until(sandbox, loop_time() + 8)
        late = await v3.orders.get_order(client, BCOrderId(9002))
        with pytest.raises(BadRequestError, match="The order already exists"):
            await v3.orders.create_order(client, bc_order_id=BCOrderId(9002), customer_id=CustomerId(1002))

    assert before.items == ()
    assert (made.po_number, made.company_id, made.total_inc_tax) == ("P-1", 1, Decimal("10.5"))
    assert (shown.po_number, shown.extra_fields) == ("P-1", (ExtraField("Fintech ID", "7"),))
    assert (late.po_number, late.company_id) == ("", 1)
    assert sum(entry.repeated for entry in sandbox.ledger) == 2


async def _until(sandbox: Sandbox, moment: float) -> None:
    await asyncio.sleep(moment - sandbox.store.clock())


async def test_a_lost_answer_of_a_creation_is_told() -> None:
    """A record that is found may be B2B Edition's own, so nothing is looked up."""
    async with Sandbox(Store(1, 1), faults=Faults(script=["reset-after"])) as sandbox, client_of(sandbox) as client:
        sandbox.store.place_order(1001, Decimal("10.50"), "9001")
        with pytest.raises(AmbiguousOutcomeError):
            await v3.orders.create_order(client, bc_order_id=BCOrderId(9001), customer_id=CustomerId(1001))

    assert sandbox.requests == ["POST /api/v3/io/orders"]


async def test_orders_move_to_another_company() -> None:
    """All of them, whoever they belonged to."""
    async with Sandbox(Store(2, 1)) as sandbox, client_of(sandbox) as client:
        assigned = await v3.orders.assign_customer_orders(client, CustomerId(1001))
        moved = await v3.orders.reassign_orders(client, CustomerId(1001), bc_group_id=BCGroupId(702))
        page = await v3.orders.list_orders(client, company_id=CompanyId(2), min_created=LONG_AGO)
        for customer, group in ((1001, 799), (9999, 702)):
            with pytest.raises(NotFoundError, match="not supported for this user"):
                await v3.orders.reassign_orders(client, CustomerId(customer), bc_group_id=BCGroupId(group))

    assert assigned.total == moved.total == page.total


async def test_extra_fields_of_orders() -> None:
    """Page by page."""
    async with Sandbox() as sandbox, client_of(sandbox) as client:
        page = await v3.orders.list_order_extra_field_configs(client, limit=1, offset=1)
        names = [config.field_name async for config in v3.orders.list_order_extra_field_configs(client).items()]

    assert (page.total, page.items[0].field_name, page.items[0].maximum_length) == (2, "Cost center", 100)
    assert names == ["Fintech ID", "Cost center"]


async def test_users_are_found() -> None:
    """By every filter, by both ids."""
    store = Store(2, 3, strangers=1)
    async with Sandbox(store) as sandbox, client_of(sandbox) as client:
        assert (await v3.users.list_users(client)).total == 6
        assert [u.customer_id for u in (await v3.users.list_users(client, company_id=CompanyId(2))).items] == [
            1004,
            1005,
            1006,
        ]
        assert (await v3.users.list_users(client, email="buyer1002@example.com")).items[0].customer_id == 1002
        assert (await v3.users.list_users(client, q="Buyer1003")).total == 1
        assert (await v3.users.list_users(client, roles=[0, 2])).total == 4
        assert (await v3.users.list_users(client, channel_id=ChannelId(2))).total == 0
        assert (await v3.users.list_users(client, min_created=datetime.now(UTC))).total == 0
        assert (await v3.users.list_users(client, max_modified=datetime.now(UTC), include_extra_fields=True)).total == 6
        user = await v3.users.get_user(client, UserId(50_000))
        same = await v3.users.get_user_by_customer_id(client, CustomerId(1001))
        for missing in (
            v3.users.get_user(client, UserId(1)),
            v3.users.get_user(client, UserId(50_006)),
            v3.users.get_user_by_customer_id(client, CustomerId(1007)),
        ):
            with pytest.raises(NotFoundError, match="User matching query does not exist"):
                await missing
        everybody = [
            one.id async for one in v3.users.list_users(client, company_id=CompanyId(1), roles=[0, 1, 2]).items()
        ]

    assert user == same
    assert (user.id, user.customer_id, user.company_id, user.role, user.email) == (
        50_000,
        1001,
        1,
        0,
        "buyer1001@example.com",
    )
    assert user.channel_list[0].channel_id == 1
    assert everybody == [50_000, 50_001, 50_002]


async def test_companies_are_found() -> None:
    """By every filter."""
    store = Store(12, 1)
    store.companies["3"].extra_fields["Tax"] = "Code G"
    store.companies["4"].status = 0
    store.add_order(Order("9001", 1002, Decimal(1), "2"))
    async with Sandbox(store) as sandbox, client_of(sandbox) as client:

        async def ids(**filters: Any) -> list[int]:
            return [company.company_id for company in (await v3.companies.list_companies(client, **filters)).items]

        assert await ids(limit=3) == [12, 11, 10]
        assert await ids(sort_by="companyName", order_by="ASC", limit=4) == [1, 10, 11, 12]
        assert await ids(q="company 1", order_by="ASC") == [1, 10, 11, 12]
        assert await ids(company_status=0) == [4]
        assert await ids(customer_id=CustomerId(1005)) == [5]
        assert await ids(customer_id=CustomerId(9999)) == []
        assert await ids(bc_order_id=BCOrderId(9001)) == [2]
        assert await ids(order_id="9001") == [2]
        assert await ids(order_id="nothing") == []
        assert await ids(bc_group_id=BCGroupId(707)) == [7]
        assert await ids(extra_fields={"Tax": "g"}) == [3]
        assert await ids(extra_fields={"Tax": "g"}, extra_field_filter_type="exact-match") == []
        assert await ids(extra_fields={"Tax": "Code G"}, extra_field_filter_type="exact-match") == [3]
        assert await ids(min_created=datetime.now(UTC)) == []
        company = await v3.companies.get_company(client, CompanyId(3))
        with pytest.raises(NotFoundError, match="This resource is not found"):
            await v3.companies.get_company(client, CompanyId(99))
        (listed,) = (await v3.companies.list_companies(client, q="company 3", include_extra_fields=True)).items
        found = [one.company_id async for one in v3.companies.list_companies(client, company_status=1).items()]

    assert company == listed
    assert company.extra_fields[0].field_value == "Code G"
    assert (company.bc_group_id, company.catalog_id, company.parent_company) == (703, "", None)
    assert len(found) == 11
    assert 4 not in found


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 -- what is refused
BAD: list[tuple[Callable[[Client], Any], str]] = [
    (lambda c: v3.orders.list_orders(c, limit=201), "limit must be a whole number from 1 to 200, not 201"),
    (lambda c: v3.orders.list_orders(c, limit=0), "limit must be"),
    (lambda c: v3.orders.list_orders(c, offset=-1), "offset must be a whole number of at least 0"),
    (lambda c: v3.orders.list_orders(c, min_created=NAIVE), "min_created must be a datetime with a time zone"),
    (lambda c: v3.orders.list_orders(c, max_modified=1), "max_modified must be a datetime with a time zone"),
    (lambda c: v3.orders.list_orders(c, min_modified=date(2026, 1, 1)), "min_modified must be a datetime"),
    (
        lambda c: v3.orders.list_orders(c, max_created=datetime(1969, 1, 1, tzinfo=UTC)),
        "max_created must not be before 1970",
    ),
    (
        lambda c: v3.orders.list_orders(c, min_created=datetime.now(UTC), max_created=LONG_AGO),
        "min_created must not be after max_created",
    ),
    (lambda c: v3.orders.list_orders(c, channel_ids=[]), "channel_ids must not be empty; leave it out"),
    (lambda c: v3.orders.list_orders(c, channel_ids="12"), "channel_ids must be a list, not '12'"),
    (lambda c: v3.orders.list_orders(c, channel_ids=5), "channel_ids must be a list, not 5"),
    (lambda c: v3.orders.list_orders(c, channel_ids=["1"]), "each of channel_ids must be an id"),
    (lambda c: v3.orders.list_orders(c, company_id="4"), "company_id must be an id, a positive integer, not '4'"),
    (lambda c: v3.orders.list_orders(c, bc_order_id=0), "bc_order_id must be an id"),
    (lambda c: v3.orders.list_orders(c, show_extra="false"), "show_extra must be True or False"),
    (lambda c: v3.orders.list_orders(c, sort_by="id"), "sort_by must be 'createdAt' or 'updatedAt', not 'id'"),
    (lambda c: v3.orders.list_orders(c, order_by="asc"), "order_by must be 'ASC' or 'DESC', not 'asc'"),
    (lambda c: v3.orders.list_orders(c).items(offset=-1), "offset must be a whole number of at least 0"),
    (lambda c: v3.orders.list_orders(c).items(prefetch=1), "prefetch must be True or False, not 1"),
    (lambda c: v3.orders.list_orders(c).items(offset="1"), "offset must be"),
    (lambda c: v3.orders.list_orders(c).items(prefetch=1), "prefetch must be True or False"),
    (lambda c: v3.orders.get_order(c, "117"), "bc_order_id must be an id"),
    (lambda c: v3.orders.update_order(c, 117), "there is nothing to change"),
    (lambda c: v3.orders.update_order(c, 117, po_number=5), "po_number must be a string without control"),
    (lambda c: v3.orders.update_order(c, 117, extra_fields=[("a", "b")]), r"extra_fields\[0\] must be an ExtraField"),
    (lambda c: v3.orders.update_order(c, 117, extra_fields=[ExtraField(" ")]), r"extra_fields\[0\].field_name must"),
    (lambda c: v3.orders.update_order(c, 117, extra_fields=[ExtraField("a", 5)]), "the value of a must"),
    (lambda c: v3.orders.create_order(c, bc_order_id=1, customer_id=1, po_number=""), "po_number must be a non-empty"),
    (lambda c: v3.orders.reassign_orders(c, 1, bc_group_id=True), "bc_group_id must be an id"),
    (lambda c: v3.users.list_users(c, limit=251), "limit must be a whole number from 1 to 250"),
    (lambda c: v3.users.list_users(c, roles=[3]), "each of roles must be 0, 1 or 2, not 3"),
    (lambda c: v3.users.list_users(c, roles=[True]), "each of roles must be 0, 1 or 2, not True"),
    (lambda c: v3.users.list_users(c, email=""), "email must be a non-empty"),
    (lambda c: v3.users.list_users(c, q=5), "q must be a non-empty"),
    (lambda c: v3.users.list_users(c, channel_id="x"), "channel_id must be an id"),
    (lambda c: v3.users.list_users(c, include_extra_fields=1), "include_extra_fields must be True or False"),
    (lambda c: v3.users.get_user_by_customer_id(c, None), "customer_id must be an id"),
    (lambda c: v3.companies.list_companies(c, company_status=4), "company_status must be 0, 1, 2 or 3, not 4"),
    (lambda c: v3.companies.list_companies(c, limit=250), "limit must be a whole number from 1 to 249"),
    (lambda c: v3.companies.list_companies(c, sort_by="createdAt"), "sort_by must be 'companyName' or 'updatedAt'"),
    (lambda c: v3.companies.list_companies(c, extra_fields={}), "extra_fields must be a dict"),
    (lambda c: v3.companies.list_companies(c, extra_fields=["a:b"]), "extra_fields must be a dict"),
    (lambda c: v3.companies.list_companies(c, extra_fields={"a": "1,2"}), "the server cannot filter by 'a:1,2'"),
    (lambda c: v3.companies.list_companies(c, extra_fields={"a": 1}), "the value of a must be a non-empty"),
    (lambda c: v3.companies.list_companies(c, extra_field_filter_type="like"), "must be 'search' or 'exact-match'"),
    (lambda c: v3.companies.list_companies(c, bc_group_id="7"), "bc_group_id must be an id"),
    (lambda c: v3.companies.list_companies(c, order_id=""), "order_id must be a non-empty"),
]


@pytest.mark.parametrize(("call", "text"), BAD)
async def test_what_cannot_be_right_is_not_sent(call: Callable[[Client], Any], text: str) -> None:
    """And the error says what was wrong, and what to do."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            with pytest.raises(InvalidArgumentError, match=text):
                await call(client)

            assert not mock.requests


def test_what_is_omitted_says_so() -> None:
    """In a repr, as in a signature."""
    assert repr(OMITTED) == "OMITTED"


async def test_times_are_rounded_outward() -> None:
    """The server counts in whole seconds, and nothing shall be missed; a time zone is a time zone."""
    zone = timezone(timedelta(hours=2))
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            url = f"{BASE_URL}/api/v3/io/orders?limit=10&maxCreated=1767225601&minCreated=1767225600&offset=0"
            mock.get(url, payload={"code": 200, "data": [], "meta": {"totalCount": "0"}})
            page = await v3.orders.list_orders(
                client,
                min_created=datetime(2026, 1, 1, 2, 0, 0, 500_000, tzinfo=zone),
                max_created=datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC),
            )

    assert (page.items, page.total) == ((), 0)


@pytest.mark.parametrize(
    ("payload", "total", "limit"),
    [
        ({"data": [], "meta": {"pagination": {"totalCount": 7, "limit": 5}}}, 7, 5),
        ({"data": [], "meta": {"totalCount": "7", "limit": "5"}}, 7, 5),
        ({"data": {"list": [], "pagination": {"totalCount": 7}}}, 7, 10),
        ({"data": {"list": [], "paginator": {"totalCount": 7}}}, 7, 10),
        ({"data": []}, None, 10),
        ({"data": [], "meta": {"pagination": {"totalCount": True, "limit": "x"}}}, None, 10),
    ],
)
async def test_a_page_knows_where_it_stands(payload: dict[str, Any], total: int | None, limit: int) -> None:
    """Wherever the server says it."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.get(f"{BASE_URL}/api/v3/io/orders?limit=10&offset=0", payload={"code": 200, **payload})
            page = await v3.orders.list_orders(client)

    assert (page.total, page.limit) == (total, limit)


async def test_an_order_may_come_alone_or_in_a_list() -> None:
    """The contract has a list, most callers see an object; a list of two is neither."""
    url = f"{BASE_URL}/api/v3/io/orders/117"
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            for data in ({"bcOrderId": 117}, [{"bcOrderId": "117"}]):
                mock.get(url, payload={"code": 200, "data": data})
                assert (await v3.orders.get_order(client, BCOrderId(117))).bc_order_id == 117
            for data in ([], [{"bcOrderId": 117}, {"bcOrderId": 118}]):
                mock.get(url, payload={"code": 200, "data": data})
                with pytest.raises(ResponseValidationError, match=r"\$\.data must be an object"):
                    await v3.orders.get_order(client, BCOrderId(117))


FILTERS: dict[str, Any] = {
    "company_id": CompanyId(4),
    "min_created": datetime(2026, 1, 1, tzinfo=UTC),
    "max_created": datetime(2026, 1, 2, tzinfo=UTC),
    "min_modified": datetime(2026, 1, 3, tzinfo=UTC),
    "max_modified": datetime(2026, 1, 4, tzinfo=UTC),
    "channel_ids": [ChannelId(5), ChannelId(6)],
    "channel_id": ChannelId(7),
    "show_extra": True,
    "include_extra_fields": True,
    "include_extra": True,
    "q": "words",
    "roles": [1, 2],
    "company_status": 3,
    "extra_fields": {"Tax code": "G:1"},
    "extra_field_filter_type": "exact-match",
    "bc_order_id": 117,
    "bc_group_id": 9,
    "customer_id": 1001,
    "order_id": "117",
    "email": "a@example.com",
    "begin_date_at": date(2026, 1, 5),
    "end_date_at": date(2026, 1, 6),
}
LISTS: list[tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, str]]] = [
    (
        v3.orders.list_orders,
        (),
        {"sort_by": "updatedAt", "order_by": "DESC"},
        {"sortBy": "createdAt", "orderBy": "ASC"},
    ),
    (v3.users.list_users, (), {}, {}),
    (
        v3.companies.list_companies,
        (),
        {"sort_by": "updatedAt", "order_by": "DESC"},
        {"sortBy": "companyName", "orderBy": "ASC"},
    ),
    (v3.orders.list_order_extra_field_configs, (), {}, {}),
    (v2.orders.list_company_orders, ("1",), {"order_by": "createdAt"}, {"orderBy": "bcOrderId"}),
    (v2.companies.list_bc_order_ids, ("1",), {}, {}),
]


async def asked(call: Any) -> dict[str, Any]:
    """Give the query of the one request that a call makes, without limit and offset."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.get(re.compile(re.escape(BASE_URL)), payload={"code": 200, "data": [], "meta": {"totalCount": 0}})
            promised = call(client)
            if hasattr(promised, "__await__"):
                await promised
            else:
                assert [item async for item in promised] == []
            ((request,),) = mock.requests.values()
    query = dict(request.kwargs["params"])
    del query["limit"], query["offset"]
    return query


@pytest.mark.parametrize(("function", "path", "sorts", "of_all"), LISTS)
async def test_one_page_and_all_pages_ask_the_same(
    function: Any, path: tuple[Any, ...], sorts: dict[str, Any], of_all: dict[str, str]
) -> None:
    """With every filter; where no sorting is given, all pages have one that keeps items in their places."""
    names = set(inspect.signature(function).parameters) - {"client", "limit", "offset", *sorts}
    names -= {"company_id"} if path else set()
    filters = {name: value for name, value in FILTERS.items() if name in names}
    page = await asked(lambda client: function(client, *path, **filters, **sorts))
    walked = await asked(lambda client: aiter(function(client, *path, **filters, **sorts)))
    items = await asked(lambda client: function(client, *path, **filters, **sorts).items())

    assert names == set(filters)
    assert page == walked == items
    assert len(page) == len(filters) + len(sorts)
    assert await asked(lambda client: function(client, *path)) == {}
    assert await asked(lambda client: function(client, *path).items()) == of_all
    assert await asked(lambda client: aiter(function(client, *path))) == of_all


@pytest.mark.parametrize(("function", "path"), [(one[0], one[1]) for one in LISTS])
async def test_a_limit_is_the_size_of_a_page(function: Any, path: tuple[Any, ...]) -> None:
    """By default ten items for one page, as many as the vendor allows for all; nothing is sent before."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.get(re.compile(re.escape(BASE_URL)), payload={"code": 200, "data": []}, repeat=True)
            function(client, *path).items()
            assert not mock.requests
            for listing in (function(client, *path), function(client, *path, limit=7, offset=3)):
                await listing
                await listing
                assert [item async for item in listing] == []
            sent = [request.kwargs["params"] for requests in mock.requests.values() for request in requests]
    bounds = [(params["limit"], params["offset"]) for params in sent]
    largest = str(max(int(limit) for limit, _ in bounds))
    assert sorted(bounds) == sorted([("10", "0")] * 2 + [(largest, "0")] + [("7", "3")] * 3)


async def test_a_query_is_written_as_the_vendor_writes_it() -> None:
    """Yes is true for orders and 1 for users; lists are repeated, but for the pairs of companies."""
    orders = await asked(lambda c: v3.orders.list_orders(c, show_extra=True, channel_ids=[ChannelId(1), ChannelId(2)]))
    users = await asked(lambda c: v3.users.list_users(c, include_extra_fields=True, roles=(0, 1)))
    companies = await asked(lambda c: v3.companies.list_companies(c, extra_fields={"a b": "1:2", "c": "d"}))

    assert orders == {"showExtra": "true", "channelIds[]": ["1", "2"]}
    assert users == {"isIncludeExtraFields": "1", "roles": ["0", "1"]}
    assert companies == {"extraFields": "a b:1:2,c:d"}


async def test_an_empty_list_of_extra_fields_is_sent() -> None:
    """It may mean something to the vendor."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.put(f"{BASE_URL}/api/v3/io/orders/117", payload={"code": 200, "data": {"bcOrderId": 117}})
            await v3.orders.update_order(client, BCOrderId(117), extra_fields=[])
            ((request,),) = mock.requests.values()

    assert request.kwargs["data"].decode() == '{"extraFields":[]}'


async def test_items_are_known_by_the_id_that_they_all_have() -> None:
    """Others may be missing, or the same."""
    async with Client(CREDENTIALS) as client:
        for walk, rows in (
            (v3.orders.list_orders, [{"bcOrderId": n, "id": 7} for n in (1, 2)]),
            (v3.users.list_users, [{"id": n, "customerId": None} for n in (1, 2)]),
            (v3.orders.list_order_extra_field_configs, [{"fieldName": n} for n in "ab"]),
            (v3.companies.list_companies, [{"companyId": n, "companyName": "A"} for n in (1, 2)]),
        ):
            with mocked_api() as mock:
                payload = {"code": 200, "data": rows, "meta": {"totalCount": 2}}
                mock.get(re.compile(re.escape(BASE_URL)), payload=payload)
                assert len([item async for item in walk(client)]) == 2


@pytest.mark.parametrize(
    "payload", [{"code": 200, "meta": {"message": "maintenance"}}, {"code": 200, "message": "SUCCESS"}]
)
async def test_an_answer_without_data_is_no_empty_list(payload: dict[str, Any]) -> None:
    """Whoever said so did not list anything."""
    async with Client(CREDENTIALS) as client:
        with mocked_api() as mock:
            mock.get(re.compile(re.escape(BASE_URL)), payload=payload, repeat=True)
            for call in (v3.orders.list_orders(client), v3.orders.list_order_products(client, BCOrderId(1))):
                with pytest.raises(ResponseValidationError, match=r"\$\.data is missing"):
                    await call
