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
    return await handed_over(hop, joined[StockReserved], receipt=paid.receipt)


async def handed_over(hop: Hop[Order], goods: StockReserved, *, receipt: str) -> OrderShipped:
    """The courier takes the parcel, or refuses."""
    if goods.address.endswith(SUNKEN):
        raise Fail(f"the courier does not go to{SUNKEN.strip(',')}")
    parcel = f"P-{goods.order_id}"
    await rows(
        hop.tx,
        "INSERT INTO parcel (order_id, parcel, receipt, shelf, address) VALUES ($1, $2, $3, $4, $5)",
        *(goods.order_id, parcel, receipt, goods.shelf, goods.address),
    )
    return OrderShipped(order_id=goods.order_id, customer=goods.customer, parcel=parcel)
