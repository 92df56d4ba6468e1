"""The shipping service: hands the parcel to the courier once it is paid for and packed. Then there is no way back."""

from __future__ import annotations

from common.sql import rows

from orders.workflow import COMPLETE_ORDER, Order, OrderShipped, PaymentCharged, StockReserved
from stamp import Fail, Hop, Service
from stamp.joining import Joined

DDL = """
CREATE TABLE IF NOT EXISTS parcel (
    order_id TEXT NOT NULL,
    parcel   TEXT NOT NULL,
    receipt  TEXT NOT NULL,
    shelf    TEXT NOT NULL,
    address  TEXT NOT NULL
);
"""

SUNKEN = ", Atlantis"
"""The courier doesn't dive."""

shipping = Service("shipping")


@shipping.step(COMPLETE_ORDER, "ship")
async def ship(joined: Joined, hop: Hop[Order]) -> OrderShipped:
    paid: PaymentCharged = joined[PaymentCharged]
    reserved: StockReserved = joined[StockReserved]
    if reserved.address.endswith(SUNKEN):
        raise Fail(f"the courier does not go to{SUNKEN.strip(',')}")
    parcel = f"P-{reserved.order_id}"
    await rows(
        hop.tx,
        "INSERT INTO parcel (order_id, parcel, receipt, shelf, address) VALUES ($1, $2, $3, $4, $5)",
        *(reserved.order_id, parcel, paid.receipt, reserved.shelf, reserved.address),
    )
    return OrderShipped(order_id=reserved.order_id, customer=reserved.customer, parcel=parcel)
