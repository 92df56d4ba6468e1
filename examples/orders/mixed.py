"""The same orders as two workflows of different styles: a desk sends the order from step to step, and one of its steps
runs PREPARE_ORDER, whose messages carry their own state from the fork to the join.

submitted -> create (orders) -> prepare (orders) -> ship (shipping, pivot) -> notify (notifications)     orchestrated
                                   |        ^
                                   v        |
                         ┌-> charge (payments)  -┐
               created --┤                       ├-> pack (warehouse, joins)                             stamped
                         └-> reserve (warehouse) ┘

When the courier refuses, the desk undoes `prepare`, and that takes the child back: money and goods.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import msgspec
from common.styles import with_owner

from orders import app
from orders.notifications import notify
from orders.orders import cancel, create, receive
from orders.payments import charge, refund
from orders.shipping import handed_over
from orders.warehouse import release, reserve
from orders.workflow import (
    CustomerNotified,
    Order,
    OrderCreated,
    OrderShipped,
    OrderSubmitted,
    PaymentCharged,
    StockReserved,
    Word,
)
from stamp import All, Hop, Orchestrator, Service, Step, Workflow
from stamp.joining import Joined


class OrderPrepared(StockReserved, kw_only=True):
    """It is paid for and packed, with the label that the goods were set aside with."""

    receipt: Word


PREPARE_ORDER = Workflow(
    "PREPARE_ORDER",
    version=1,
    start=OrderCreated,
    deadline="24h",
    steps=[
        Step("charge", service="payments", on=OrderCreated, emits=PaymentCharged, undo=True),
        Step("reserve", service="warehouse", on=OrderCreated, emits=StockReserved, undo=True),
        Step("pack", service="warehouse", on=All(PaymentCharged, StockReserved), emits=OrderPrepared),
    ],
)

COMPLETE_ORDER = Workflow(
    "COMPLETE_ORDER",
    version=1,
    state=Order,
    start=OrderSubmitted,
    deadline="48h",
    style=Orchestrator("order-desk"),
    steps=[
        Step("create", service="orders", on=OrderSubmitted, emits=OrderCreated, undo=True),
        Step("prepare", service="orders", on=OrderCreated, emits=OrderPrepared, runs=PREPARE_ORDER, undo=True),
        Step("ship", service="shipping", on=OrderPrepared, emits=OrderShipped, pivot=True),
        Step("notify", service="notifications", on=OrderShipped, emits=CustomerNotified, retry="2x 100ms"),
    ],
)

orders, payments, warehouse = Service("orders"), Service("payments"), Service("warehouse")
shipping, notifications = Service("shipping"), Service("notifications")

orders.step(COMPLETE_ORDER, "create")(create)
orders.undo(COMPLETE_ORDER, "create")(cancel)
notifications.step(COMPLETE_ORDER, "notify")(notify)
payments.step(PREPARE_ORDER, "charge")(charge)
payments.undo(PREPARE_ORDER, "charge")(refund)
warehouse.step(PREPARE_ORDER, "reserve")(reserve)
warehouse.undo(PREPARE_ORDER, "reserve")(release)


@orders.step(COMPLETE_ORDER, "prepare")
async def prepare(event: OrderCreated, hop: Hop[Order]) -> OrderCreated:  # noqa: ARG001
    """PREPARE_ORDER begins with what this step has got."""
    return event


@warehouse.step(PREPARE_ORDER, "pack")
async def pack(joined: Joined, hop: Hop[Order]) -> OrderPrepared:  # noqa: ARG001
    paid: PaymentCharged = joined[PaymentCharged]
    return OrderPrepared(**msgspec.structs.asdict(joined[StockReserved]), receipt=paid.receipt)


@shipping.step(COMPLETE_ORDER, "ship")
async def ship(event: OrderPrepared, hop: Hop[Order]) -> OrderShipped:
    return await handed_over(hop, event, receipt=event.receipt)


SERVICES = {service.name: service for service in (orders, payments, warehouse, shipping, notifications)}

EXAMPLE = replace(
    app.EXAMPLE,
    workflow=COMPLETE_ORDER,
    services=with_owner(SERVICES, COMPLETE_ORDER),
    entry=orders,
    receive=partial(receive, service=orders, workflow=COMPLETE_ORDER),
)
