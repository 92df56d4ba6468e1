"""The warehouse service: sets goods aside, and puts them back on the shelf."""

from __future__ import annotations

from common.sql import rows

from orders.workflow import COMPLETE_ORDER, Order, OrderCreated, StockReserved
from stamp import Fail, Hop, Service

DDL = """
CREATE TABLE IF NOT EXISTS stock (
    sku       TEXT PRIMARY KEY,
    shelf     TEXT NOT NULL,
    delivered INTEGER NOT NULL,
    free      INTEGER NOT NULL CHECK (free >= 0)
);
CREATE TABLE IF NOT EXISTS reservation (
    order_id TEXT NOT NULL,
    sku      TEXT NOT NULL REFERENCES stock (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0)
);
INSERT INTO stock (sku, shelf, delivered, free) VALUES
    ('teapot', 'A1', 5000, 5000), ('kettle', 'A2', 5000, 5000), ('cup', 'B1', 20000, 20000),
    ('saucer', 'B2', 20000, 20000), ('samovar', 'C1', 500, 500), ('phoenix-feather', 'Z9', 0, 0)
ON CONFLICT DO NOTHING;
"""

warehouse = Service("warehouse")


@warehouse.step(COMPLETE_ORDER, "reserve")
async def reserve(event: OrderCreated, hop: Hop[Order]) -> StockReserved:
    taken = await rows(
        hop.tx,
        "UPDATE stock SET free = free - $1 WHERE sku = $2 AND free >= $1 RETURNING shelf",
        *(event.quantity, event.sku),
    )
    if not taken:
        raise Fail(f"out of stock: {event.sku}")
    await rows(
        hop.tx,
        "INSERT INTO reservation (order_id, sku, quantity) VALUES ($1, $2, $3)",
        *(event.order_id, event.sku, event.quantity),
    )
    hop.keep(order_id=event.order_id, sku=event.sku, quantity=event.quantity)
    return StockReserved(order_id=event.order_id, customer=event.customer, address=event.address, shelf=taken[0][0])


@warehouse.undo(COMPLETE_ORDER, "reserve")
async def release(hop: Hop[Order]) -> None:
    await rows(hop.tx, "UPDATE stock SET free = free + $1 WHERE sku = $2", hop.kept["quantity"], hop.kept["sku"])
    await rows(hop.tx, "DELETE FROM reservation WHERE order_id = $1", hop.kept["order_id"])
