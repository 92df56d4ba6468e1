"""The notifications service: tells the customer. A row of `letter` stands for one handed to the mail system."""

from __future__ import annotations

from common.sql import rows

from orders.workflow import COMPLETE_ORDER, CustomerNotified, Order, OrderShipped
from stamp import Hop, Service

DDL = """
CREATE TABLE IF NOT EXISTS letter (
    order_id TEXT NOT NULL,
    address  TEXT NOT NULL,
    text     TEXT NOT NULL,
    key      TEXT NOT NULL
);
"""

DOWN = "@down.invalid"
"""A mail system that never answers."""

notifications = Service("notifications")


class MailDownError(Exception):
    """The customer's mail system does not answer."""


@notifications.step(COMPLETE_ORDER, "notify")
async def notify(event: OrderShipped, hop: Hop[Order]) -> CustomerNotified:
    if event.customer.endswith(DOWN):
        raise MailDownError(f"no answer from {DOWN[1:]}")
    await rows(
        hop.tx,
        "INSERT INTO letter (order_id, address, text, key) VALUES ($1, $2, $3, $4)",
        *(event.order_id, event.customer, f"Parcel {event.parcel} is on its way.", hop.idempotency_key),
    )
    return CustomerNotified(order_id=event.order_id)
