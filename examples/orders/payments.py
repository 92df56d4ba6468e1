"""The payments service: moves money from cards to the till, and back. Each movement is written on both sides."""

from __future__ import annotations

from typing import Any

from common.sql import rows

from orders.workflow import COMPLETE_ORDER, Order, OrderCreated, PaymentCharged
from stamp import Fail, Hop, Service

DDL = """
CREATE TABLE IF NOT EXISTS declined_card (
    card TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS entry (
    order_id TEXT NOT NULL,
    key      TEXT NOT NULL,
    account  TEXT NOT NULL,
    amount   INTEGER NOT NULL
);
INSERT INTO declined_card (card) VALUES ('4000-0000-0000-0002') ON CONFLICT DO NOTHING;
"""

TILL = "till"

payments = Service("payments")


@payments.step(COMPLETE_ORDER, "charge")
async def charge(event: OrderCreated, hop: Hop[Order]) -> PaymentCharged:
    if await rows(hop.tx, "SELECT 1 FROM declined_card WHERE card = $1", event.card):
        raise Fail("card declined")
    await _move(hop, event.order_id, event.total, source=event.card, target=TILL)
    hop.keep(order_id=event.order_id, card=event.card, amount=event.total)
    return PaymentCharged(order_id=event.order_id, receipt=f"R-{event.order_id}")


@payments.undo(COMPLETE_ORDER, "charge")
async def refund(hop: Hop[Order]) -> None:
    await _move(hop, hop.kept["order_id"], hop.kept["amount"], source=TILL, target=hop.kept["card"])


async def _move(hop: Hop[Any], order_id: str, amount: int, *, source: str, target: str) -> None:
    for account, change in ((source, -amount), (target, amount)):
        await rows(
            hop.tx,
            "INSERT INTO entry (order_id, key, account, amount) VALUES ($1, $2, $3, $4)",
            *(order_id, hop.idempotency_key, account, change),
        )
