"""COMPLETE_ORDER as a table: money and goods are seen to side by side, and both or neither leave the house.

                            ┌-> charge (payments)  -┐
submitted -> create (orders)┤                       ├-> ship (shipping, joins, pivot) -> notify (notifications)
                            └-> reserve (warehouse) ┘
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from common.styles import chosen

from stamp import All, Step, Workflow
from stamp.resources import schemas

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Count = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Cents = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


class Order(msgspec.Struct, kw_only=True):
    """The state: what a run is about, for whoever looks at it. What a step needs comes with its event, in any style."""

    order_id: Word
    customer: Line
    address: Line
    sku: Word
    quantity: Count
    total: Cents


class OrderSubmitted(msgspec.Struct, kw_only=True):
    """Somebody wants to buy something."""

    order_id: Word
    customer: Line
    address: Line
    card: Word
    sku: Word
    quantity: Count
    total: Cents


class OrderCreated(msgspec.Struct, kw_only=True):
    """It is written down. Both the payments and the warehouse get it, with what they and those after them need."""

    order_id: Word
    customer: Line
    address: Line
    card: Word
    sku: Word
    quantity: Count
    total: Cents


class PaymentCharged(msgspec.Struct, kw_only=True):
    """The money is in the till."""

    order_id: Word
    receipt: Word


class StockReserved(msgspec.Struct, kw_only=True):
    """The goods are set aside, with a label: whose they are, and where they go."""

    order_id: Word
    customer: Line
    address: Line
    shelf: Word


class OrderShipped(msgspec.Struct, kw_only=True):
    """The courier has it. Nobody gets it back from there."""

    order_id: Word
    customer: Line
    parcel: Word


class CustomerNotified(msgspec.Struct, kw_only=True):
    """The customer knows, and nothing is left to do."""

    order_id: Word


COMPLETE_ORDER = Workflow(
    "COMPLETE_ORDER",
    version=1,
    state=Order,
    start=OrderSubmitted,
    deadline="48h",
    style=chosen(controller="orders", desk="order-desk"),
    schemas=schemas(),
    steps=[
        Step("create", service="orders", on=OrderSubmitted, emits=OrderCreated, undo=True),
        Step("charge", service="payments", on=OrderCreated, emits=PaymentCharged, undo=True),
        Step("reserve", service="warehouse", on=OrderCreated, emits=StockReserved, undo=True),
        Step(
            "ship",
            service="shipping",
            on=All(PaymentCharged, StockReserved),
            emits=OrderShipped,
            pivot=True,
            timeout="1h",
            missing="fail",
        ),
        Step("notify", service="notifications", on=OrderShipped, emits=CustomerNotified, retry="2x 100ms"),
    ],
)
