"""The orders service: takes orders in and writes them down."""

from __future__ import annotations

from collections.abc import Sequence

from common import intake
from common.intake import Receipt, take_in
from common.sql import rows

from orders.workflow import COMPLETE_ORDER, Order, OrderCreated, OrderSubmitted
from stamp import Hop, Service, Workflow

DDL = f"""{intake.DDL}
CREATE TABLE IF NOT EXISTS customer_order (
    order_id TEXT PRIMARY KEY,
    customer TEXT NOT NULL,
    total    INTEGER NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('accepted', 'cancelled')),
    reason   TEXT
);
"""

orders = Service("orders")


async def receive(
    arrived: Sequence[OrderSubmitted], *, service: Service = orders, workflow: Workflow = COMPLETE_ORDER
) -> list[Receipt]:
    """Start a run for each order, once."""
    async with service.transaction() as tx:
        return [await take_in(tx, order.order_id, order, workflow=workflow, state=_state(order)) for order in arrived]


def _state(order: OrderSubmitted) -> Order:
    """All but the card: only the payments service needs that, and gets it with the event."""
    return Order(
        order_id=order.order_id,
        customer=order.customer,
        address=order.address,
        sku=order.sku,
        quantity=order.quantity,
        total=order.total,
    )


@orders.step(COMPLETE_ORDER, "create")
async def create(event: OrderSubmitted, hop: Hop[Order]) -> OrderCreated:
    await rows(
        hop.tx,
        "INSERT INTO customer_order (order_id, customer, total, status) VALUES ($1, $2, $3, 'accepted')",
        *(event.order_id, event.customer, event.total),
    )
    hop.keep(order_id=event.order_id)
    return OrderCreated(
        order_id=event.order_id,
        customer=event.customer,
        address=event.address,
        card=event.card,
        sku=event.sku,
        quantity=event.quantity,
        total=event.total,
    )


@orders.undo(COMPLETE_ORDER, "create")
async def cancel(hop: Hop[Order]) -> None:
    error = hop.stamp.error or {}
    await rows(
        hop.tx,
        "UPDATE customer_order SET status = 'cancelled', reason = $1 WHERE order_id = $2",
        *(error.get("message"), hop.kept["order_id"]),
    )
