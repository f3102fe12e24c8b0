"""``orders``, ``users`` and ``companies`` on the command line: tables, CSV, JSON, filters, exit statuses."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from test_cli import last_json, run

from b2b_async.cli import _output
from b2b_async.sandbox import Faults, Order, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from b2b_async.sandbox import Sandbox

    Start = Callable[..., Sandbox]

EVER = ("--created-after", "2000-01-01", "--channel", "1", "--channel", "2")


def store() -> Store:
    """Make a store of 250 users in two companies, and few orders."""
    made = Store(2, 125)
    for number in list(made.orders):
        made.remove_order(number)
    for number in range(3):
        order = Order(str(9000 + number), 1001, Decimal("12.50") + number, "1", f"P{number}", created_at=1_700_000_000)
        made.add_order(order)
    made.orders["9001"].company_id = None
    made.orders["9002"].channel_id = 2
    made.orders["9000"].extra_fields["Fintech ID"] = "7"
    return made


def test_a_table_for_people(live_sandbox: Start) -> None:
    """And how many there are, on stderr."""
    sandbox = live_sandbox(store())
    status, stdout, stderr = run("orders", "list", *EVER)

    assert status == 0
    lines = [line.split() for line in stdout.splitlines()]
    assert lines[0] == [
        "bc_order_id",
        "company_id",
        "total_inc_tax",
        "currency_code",
        "status",
        "po_number",
        "created_at",
    ]
    assert lines[1][:4] == ["9000", "1", "12.5", "USD"]
    assert lines[2][0:2] == ["9001", "13.5"]  # of no company
    assert lines[1][-2:] == ["2023-11-14", "22:13:20"]
    assert stderr == "3 of 3\n"
    assert len(sandbox.requests) == 1


def test_csv_has_all_columns(live_sandbox: Start) -> None:
    """Nothing else is on stdout."""
    live_sandbox(store())
    status, stdout, stderr = run("orders", "list", *EVER, "--csv", "--extra", "--company", "1", "--newest-first")

    rows = list(csv.DictReader(stdout.splitlines()))
    assert status == 0
    assert [row["bc_order_id"] for row in rows] == ["9002", "9000"]
    assert rows[1]["extra_fields"] == "field_name Fintech ID, field_value 7"
    assert (rows[1]["is_archived"], rows[1]["updated_at"]) == ("False", "2023-11-14 22:13:20")
    assert stderr == "2 of 2\n"


def test_json_has_the_servers_own_objects(live_sandbox: Start) -> None:
    """A line for each, and one at the end."""
    live_sandbox(store())
    status, stdout, stderr = run("orders", "list", *EVER[:2], "--json", "--channel", "2")

    (row,) = [json.loads(line) for line in stdout.splitlines()[:-1]]
    assert (status, stderr) == (0, "")
    assert (row["bcOrderId"], row["totalIncTax"], row["companyId"]) == (9002, 14.5, 1)
    assert last_json(stdout) == {
        "command": "orders list",
        "exit": 0,
        "count": 1,
        "total": 1,
        "next_offset": 1,
        "missed": 0,
    }


def test_the_year_that_the_server_hides_is_told(live_sandbox: Start) -> None:
    """To people."""
    live_sandbox(store())

    assert run("orders", "list")[2] == "Orders of the last year; --created-after 2000-01-01 shows all.\n0 of 0\n"
    assert run("orders", "list", "--modified-after", "2000-01-01T00:00+01:00")[2] == "2 of 2\n"
    assert run("orders", "list", *EVER, "--modified-before", "2000-01-01")[2] == "0 of 0\n"


def test_limits_and_pages(live_sandbox: Start) -> None:
    """No more requests than are needed."""
    sandbox = live_sandbox(store())
    assert run("users", "list", "--limit", "2")[2] == "2 of 250; --offset 2 goes on, --all lists all\n"
    assert run("users", "list", "--offset", "248")[2] == "2 of 250\n"
    assert len(sandbox.requests) == 2
    status, stdout, _ = run("users", "list", "--all", "--csv", "--company", "2")
    assert (status, len(stdout.splitlines())) == (0, 126)
    assert run("users", "list", "--search", "buyer1007", "--channel", "1")[1].split()[7:10] == [
        "1007",
        "1",
        "buyer1007@example.com",
    ]


def test_companies(live_sandbox: Start) -> None:
    """By their names."""
    live_sandbox(store())
    status, stdout, _ = run("companies", "list", "--status", "1", "--search", "company")

    assert status == 0
    assert [line.split()[0] for line in stdout.splitlines()] == ["company_id", "1", "2"]


def test_one_order(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is to know of it."""
    live_sandbox(store())
    monkeypatch.setattr("b2b_async.sandbox.v3._MONEY", {"currencyToken": "$"})
    monkeypatch.setattr("b2b_async.sandbox.v3._OLDER_STORES", {"extraNew": "new"})
    status, stdout, _ = run("orders", "get", "9000")
    as_json = run("orders", "get", "9000", "--json")

    shown = dict(line.strip().split(maxsplit=1) for line in stdout.splitlines())
    assert status == 0
    assert (shown["bc_order_id"], shown["total_inc_tax"], shown["po_number"]) == ("9000", "12.5", "P0")
    assert shown["extra_fields"] == "field_name Fintech ID, field_value 7"
    assert "cart_id" in shown
    assert (shown["money"], shown["extraNew"]) == ("currency_token $", "new")
    assert "invoice_id" not in shown
    assert as_json[0] == 0
    assert last_json(as_json[1])["item"]["bcOrderId"] == 9000


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("orders", "get", "1"), 1, "Order Does Not Exist"),
        (("orders", "list", "--created-after", "yesterday"), 2, "'yesterday' is no time"),
        (("orders", "list", "--csv", "--json"), 2, "give one of --csv and --json"),
        (("orders", "list", "--company", "0"), 2, "0 is not in the range"),
        (("orders", "list", "--created-after", "2026-01-02", "--created-before", "2026-01-01"), 2, "nothing can be"),
        (("companies", "list", "--status", "7"), 2, "7 is not in the range"),
    ],
)
def test_what_goes_wrong_has_its_exit_status(
    live_sandbox: Start, words: tuple[str, ...], status: int, text: str
) -> None:
    """1 not found, 2 bad words."""
    live_sandbox(store())
    ended, _, stderr = run(*words)

    assert ended == status
    assert text in stderr


def test_wrong_credentials(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """4, as everywhere; none at all, too."""
    live_sandbox(store())
    monkeypatch.setenv("B2B_ACCESS_TOKEN", "wrong")
    status, stdout, _ = run("companies", "list", "--json")
    assert (status, last_json(stdout)["exit"]) == (4, 4)
    monkeypatch.delenv("B2B_ACCESS_TOKEN")
    monkeypatch.delenv("B2B_STORE_HASH")

    assert run("users", "list")[0] == 4


def test_odd_words_of_the_server_are_shown_as_they_are(live_sandbox: Start) -> None:
    """They are no markup, steer no terminal, and are written whatever they are."""
    made = store()
    made.companies["1"].name = "[/b] \x1b[31mred \ud800 \u682a"
    made.companies["2"].name = "Company\r2"
    live_sandbox(made)
    table, as_csv, as_json = (run("companies", "list", *words) for words in ((), ("--csv",), ("--json",)))

    assert (table[0], as_csv[0], as_json[0]) == (0, 0, 0)
    assert "[/b] \ufffd[31mred \ufffd \u682a" in table[1]
    rows = list(csv.reader(io.StringIO(as_csv[1], newline="")))
    assert [row[0] for row in rows] == ["company_id", "2", "1"]
    assert rows[1][1] == "Company\r2"
    assert last_json(as_json[1])["count"] == 2


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_a_narrow_terminal_cuts_off_no_amount(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """It cuts off words; and shows times in UTC."""
    made = store()
    made.orders["9000"].total_inc_tax = Decimal("10000000000000.99")
    live_sandbox(made)
    monkeypatch.setattr("b2b_async.cli._output._UNBOUNDED", width)

    _, stdout, _ = run("orders", "list", *EVER)
    assert "10000000000000.99" in stdout
    assert all(name in stdout for name in ("bc_order_id", "company_id", "total_inc_tax", "9000", "9002"))


def test_what_was_missed_before_a_limit_is_told(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part of the list cannot know of it."""
    sandbox = live_sandbox(Store(2, 300))
    decide = sandbox.faults.next

    def remove_some() -> None:
        if len(sandbox.requests) == 2:
            for number in range(1001, 1051):
                del sandbox.store.users[number]
        assert decide() is None

    monkeypatch.setattr(sandbox.faults, "next", remove_some)
    status, stdout, _ = run("users", "list", "--limit", "300", "--json")

    assert (status, last_json(stdout)["missed"], last_json(stdout)["total"]) == (1, 50, 550)


@pytest.mark.parametrize("words", [(), ("--csv",), ("--json",)])
def test_what_was_read_before_an_error_is_shown(live_sandbox: Start, words: tuple[str, ...]) -> None:
    """And where to go on."""
    sandbox = live_sandbox(Store(2, 150), faults=Faults(script=[None, "redirect"]))
    status, stdout, stderr = run("users", "list", "--all", *words)

    assert status == 3
    assert len(stdout.splitlines()) == 1 + 250
    if "--json" in words:
        told = last_json(stdout)
        assert (told["exit"], told["count"], told["next_offset"]) == (3, 250, 250)
        assert "307" in told["error"]
    else:
        assert "--offset 250 goes on" in stderr
    assert len(sandbox.requests) == 2


def test_ctrl_c_shows_what_was_read(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the place to go on."""
    live_sandbox(store())
    shown = _output._Rows._show

    def interrupted(self: _output._Rows, item: Any) -> None:
        shown(self, item)
        if self.count == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(_output._Rows, "_show", interrupted)
    status, stdout, _ = run("users", "list", "--all", "--json")

    assert (status, len(stdout.splitlines())) == (3, 8)
    assert {name: last_json(stdout)[name] for name in ("command", "exit", "count", "next_offset", "error")} == {
        "command": "users list",
        "exit": 3,
        "count": 7,
        "next_offset": 7,
        "error": "stopped",
    }


def test_wrong_usage_names_the_whole_command(live_sandbox: Start) -> None:
    """In its JSON line, too."""
    live_sandbox(store())
    _, stdout, _ = run("orders", "list", "--company", "x", "--json")

    assert (last_json(stdout)["command"], last_json(stdout)["exit"]) == ("orders list", 2)


def test_a_list_that_changes_is_told(live_sandbox: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as in the log."""
    sandbox = live_sandbox(store())
    users = sandbox.store.users
    sandbox.faults = Faults()
    decide = sandbox.faults.next

    def remove_one() -> None:
        if len(sandbox.requests) == 2:
            del users[1001]
        assert decide() is None

    monkeypatch.setattr(sandbox.faults, "next", remove_one)
    monkeypatch.setattr("b2b_async.v3.users.LARGEST_PAGE", 100)

    status, _, stderr = run("users", "list", "--all")

    assert status == 1
    assert "1 of 249 rows may have been missed" in stderr
