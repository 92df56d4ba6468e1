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
    await _move(hop, event.card, -hop.state.total)
    await _move(hop, TILL, hop.state.total)
    receipt = f"R-{event.order_id}"
    hop.state.receipt = receipt
    hop.keep(card=event.card, amount=hop.state.total)
    return PaymentCharged(order_id=event.order_id, receipt=receipt)


@payments.undo(COMPLETE_ORDER, "charge")
async def refund(hop: Hop[Order]) -> None:
    await _move(hop, TILL, -hop.kept["amount"])
    await _move(hop, hop.kept["card"], hop.kept["amount"])
    hop.state.receipt = None


async def _move(hop: Hop[Any], account: str, amount: int) -> None:
    await rows(
        hop.tx,
        "INSERT INTO entry (order_id, key, account, amount) VALUES ($1, $2, $3, $4)",
        *(hop.state.order_id, hop.idempotency_key, account, amount),
    )
