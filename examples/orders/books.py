"""What must be true of the five databases when all orders have come to an end: each sentence is asked of them by SQL.

An order stands when it is completed, or held after its parcel went out. One that was compensated leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from common.books import Claim, nothing
from common.databases import Databases

from orders.workflow import OrderSubmitted
from stamp.history import past_pivot
from stamp.ledger import Record


class Thing(NamedTuple):
    """What an order may have, in which service's database, and how much of it (`order_id`, amount) by SQL."""

    name: str
    service: str
    sql: str

    @property
    def asked(self) -> str:
        return f"{self.service}: {self.sql}"


MONEY = Thing(
    "its money",
    "payments",
    "SELECT order_id, sum(amount) FROM entry WHERE account = 'till' GROUP BY order_id HAVING sum(amount) <> 0",
)
STOCK = Thing("its stock", "warehouse", "SELECT order_id, sum(quantity) FROM reservation GROUP BY order_id")
PARCEL = Thing("its parcel", "shipping", "SELECT order_id, count(*) FROM parcel GROUP BY order_id")
LETTER = Thing("its letter", "notifications", "SELECT order_id, count(*) FROM letter GROUP BY order_id")
PLACE = Thing(
    "its place in the order book",
    "orders",
    "SELECT order_id, count(*) FROM customer_order WHERE status = 'accepted' GROUP BY order_id",
)

STOCKTAKING = (
    "SELECT sku FROM stock WHERE delivered - free <> "
    "(SELECT coalesce(sum(quantity), 0) FROM reservation WHERE reservation.sku = stock.sku)"
)
IN_THEMSELVES = (
    (
        "payments",
        "debits and credits cancel out, order by order",
        "SELECT order_id, sum(amount) FROM entry GROUP BY order_id HAVING sum(amount) <> 0",
    ),
    (
        "payments",
        "each charge and each refund is booked once, on both sides",
        "SELECT order_id, key FROM entry GROUP BY order_id, key HAVING count(*) <> 2",
    ),
    (
        "warehouse",
        "what is free and what is reserved is what was delivered",
        STOCKTAKING,
    ),
    (
        "warehouse",
        "no order has two reservations",
        "SELECT order_id FROM reservation GROUP BY order_id HAVING count(*) > 1",
    ),
)


async def audit(databases: Databases, records: Sequence[Record], orders: Mapping[str, OrderSubmitted]) -> list[Claim]:
    """The claims, and what speaks against each, for the orders of these runs. `orders` says which is whose, by run."""
    undone = {orders[record.run].order_id for record in records if record.stamp.phase == "compensated"}
    standing = [orders[record.run] for record in records if _stands(record)]
    completed = [orders[record.run] for record in records if record.stamp.phase == "completed"]
    once = {order.order_id: 1 for order in standing}
    asked = [
        (MONEY, {order.order_id: order.total for order in standing}),
        (STOCK, {order.order_id: order.quantity for order in standing}),
        (PARCEL, once),
        (LETTER, {order.order_id: 1 for order in completed}),
        (PLACE, once),
    ]
    claims = [claim for thing, due in asked for claim in await _of(thing, databases, undone, due)]
    return [*claims, *[await nothing(databases, *question) for question in IN_THEMSELVES]]


def _stands(record: Record) -> bool:
    return record.stamp.phase == "completed" or (record.held is not None and past_pivot(record.stamp))


async def _of(thing: Thing, databases: Databases, undone: AbstractSet[str], due: Mapping[str, int]) -> list[Claim]:
    """No compensated order has it, and every one that is due it has exactly that much."""
    found = {order: int(amount) for order, amount in await databases.ask(thing.service, thing.sql)}
    kept = sorted(undone & found.keys())
    wrong = [[order, much, found.get(order, 0)] for order, much in sorted(due.items()) if found.get(order, 0) != much]
    whose = "completed" if thing is LETTER else "completed or shipped"
    return [
        Claim(f"no compensated order has {thing.name}", thing.asked, kept),
        Claim(f"no {whose} order lacks {thing.name}", thing.asked, wrong),
    ]
