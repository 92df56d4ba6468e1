"""The steps of the orders example one by one, on the bench: what an order that fails anywhere leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from common.databases import SQLiteFiles
from orders import books
from orders.app import EXAMPLE
from orders.orders import orders, receive
from orders.workflow import COMPLETE_ORDER, Order, OrderSubmitted

from stamp.ledger import project
from stamp.schema import drift
from stamp.sighting import sight
from stamp.testing import SyncBench

DECLINED = {"card": "4000-0000-0000-0002"}
SOLD_OUT = {"sku": "phoenix-feather"}
SUNKEN = {"address": "7 Coral Street, Atlantis"}
DOWN = {"customer": "ana@down.invalid"}

ORDER = OrderSubmitted(
    order_id="O-1",
    customer="ana@example.com",
    address="1 Harbour Lane, Bergen",
    card="5100-0000-0000-0001",
    sku="teapot",
    quantity=2,
    total=4900,
)


class Shop:
    """All five services on the bench with their tables."""

    def __init__(self, bench: SyncBench, databases: SQLiteFiles) -> None:
        self.bench = bench
        self.databases = databases
        self.orders: dict[str, OrderSubmitted] = {}

    def order(self, **changes: Any) -> str:
        """The run of an order that came in; nothing is settled yet."""
        order = msgspec.structs.replace(ORDER, **changes)
        [receipt] = self.bench.call(receive([order]))
        self.orders[receipt.run] = order
        return receipt.run

    def settled(self, **changes: Any) -> str:
        """What became of an order."""
        run = self.order(**changes)
        self.bench.settle()
        return self.bench.run(run).status

    def ask(self, service: str, sql: str) -> list[tuple[Any, ...]]:
        return asyncio.run(self.databases.ask(service, sql))

    def against(self) -> dict[str, list[Any]]:
        """The claims about the books that do not hold, with what speaks against them."""
        seen = [sight(one.message, one.exchange, one.routing_key) for one in self.bench.published]
        records = project(one for one in seen if one is not None)
        claims = asyncio.run(books.audit(self.databases, list(records.values()), self.orders))
        return {claim.text: list(claim.against) for claim in claims if not claim.holds}


@pytest.fixture
def shop(tmp_path: Path, bench: Callable[..., SyncBench]) -> Shop:
    databases = SQLiteFiles(tmp_path)
    asyncio.run(databases.prepare(EXAMPLE.ddl))
    return Shop(bench(*EXAMPLE.services.values(), store=databases.url), databases)


def test_an_order_that_is_paid_and_packed_is_shipped(shop: Shop) -> None:
    assert shop.settled() == "completed"
    assert shop.ask("shipping", "SELECT parcel, receipt, shelf, address FROM parcel") == [
        ("P-O-1", "R-O-1", "A1", ORDER.address)
    ]
    assert shop.ask("notifications", "SELECT address, text FROM letter") == [
        (ORDER.customer, "Parcel P-O-1 is on its way.")
    ]
    assert shop.against() == {}


def test_the_state_stays_what_the_order_was_at_the_start(shop: Shop) -> None:
    run = shop.order()
    shop.bench.settle()
    card = {"card": ORDER.card}
    assert shop.bench.run(run).state | card == msgspec.to_builtins(ORDER)


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        (DECLINED, {"card declined"}),
        (SOLD_OUT, {"out of stock: phoenix-feather"}),
        (DECLINED | SOLD_OUT, {"card declined", "out of stock: phoenix-feather"}),
        (SUNKEN, {"the courier does not go to Atlantis"}),
    ],
    ids=["declined", "sold out", "both", "courier"],
)
def test_an_order_that_fails_before_the_pivot_leaves_neither_money_nor_stock(
    shop: Shop, changes: dict[str, str], reasons: set[str]
) -> None:
    assert shop.settled(**changes) == "compensated"
    [(status, reason)] = shop.ask("orders", "SELECT status, reason FROM customer_order")
    assert (status, reason in reasons) == ("cancelled", True)
    assert shop.ask("payments", "SELECT coalesce(sum(amount), 0) FROM entry WHERE account = 'till'") == [(0,)]
    assert shop.ask("warehouse", "SELECT count(*) FROM reservation") == [(0,)]
    assert shop.ask("warehouse", "SELECT free FROM stock WHERE sku = 'teapot'") == [(5000,)]
    assert shop.against() == {}


def test_an_order_whose_letter_can_not_be_sent_is_held_with_its_parcel_on_the_way(shop: Shop) -> None:
    assert shop.settled(**DOWN) == "held"
    assert shop.ask("shipping", "SELECT count(*) FROM parcel") == [(1,)]
    assert shop.against() == {}


def test_the_card_is_known_to_the_payments_alone(shop: Shop) -> None:
    run = shop.order()
    shop.bench.settle()
    seen = [one.type for one in shop.bench.published.of_run(run) if b"5100-0000" in one.message.body]
    assert set(seen) == {"OrderSubmitted", "OrderCreated"}
    assert "5100-0000" not in str(shop.bench.run(run).state)


def test_a_payment_that_comes_after_the_join_gave_up_is_refunded(shop: Shop) -> None:
    shop.bench.stop("payments")
    run = shop.order()
    shop.bench.advance("61m")
    assert shop.ask("warehouse", "SELECT count(*) FROM reservation") == [(0,)]
    shop.bench.deploy(EXAMPLE.services["payments"])
    shop.bench.settle()
    assert shop.bench.run(run).status == "compensated"
    assert shop.ask("payments", "SELECT count(*) FROM entry WHERE account = 'till'") == [(2,)]
    assert shop.against() == {}


@pytest.mark.parametrize(
    ("service", "sql", "claim"),
    [
        ("payments", "INSERT INTO entry VALUES ('O-1', 'k', 'till', 5)", "no compensated order has its money"),
        ("warehouse", "INSERT INTO reservation VALUES ('O-1', 'cup', 1)", "no compensated order has its stock"),
        ("payments", "DELETE FROM entry WHERE order_id = 'O-2'", "no completed or shipped order lacks its money"),
        ("warehouse", "UPDATE reservation SET quantity = 1", "no completed or shipped order lacks its stock"),
        ("warehouse", "UPDATE stock SET free = free + 1", "what is free and what is reserved is what was delivered"),
        ("notifications", "DELETE FROM letter", "no completed order lacks its letter"),
    ],
)
def test_books_that_were_tampered_with_are_found_out(shop: Shop, service: str, sql: str, claim: str) -> None:
    shop.settled(**DECLINED)
    shop.settled(order_id="O-2")
    assert shop.against() == {}
    shop.bench.call(_change(EXAMPLE.services[service], sql))
    assert claim in shop.against()


async def _change(service: Any, sql: str) -> None:
    async with service.transaction() as tx:
        await tx.execute(sql)


def test_the_same_order_twice_is_one_run(shop: Shop) -> None:
    assert shop.order() == shop.order()


def test_the_frozen_schema_is_what_the_types_say() -> None:
    assert drift(COMPLETE_ORDER.derived, COMPLETE_ORDER.contract) == []
    assert (COMPLETE_ORDER.state_type, COMPLETE_ORDER.services[0]) == (Order, orders.name)
