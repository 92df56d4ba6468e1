"""The parts of the example in one place."""

from __future__ import annotations

from common.example import Example
from common.styles import with_owner

from orders import books, notifications, orders, payments, shipping, warehouse
from orders.workflow import COMPLETE_ORDER, OrderSubmitted

SERVICES = with_owner(
    {
        "orders": orders.orders,
        "payments": payments.payments,
        "warehouse": warehouse.warehouse,
        "shipping": shipping.shipping,
        "notifications": notifications.notifications,
    },
    COMPLETE_ORDER,
)

EXAMPLE = Example(
    name="orders",
    workflow=COMPLETE_ORDER,
    services=SERVICES,
    entry=orders.orders,
    tables={
        "orders": orders.DDL,
        "payments": payments.DDL,
        "warehouse": warehouse.DDL,
        "shipping": shipping.DDL,
        "notifications": notifications.DDL,
    },
    line=OrderSubmitted,
    key="order_id",
    receive=orders.receive,
    inputs=("orders.jsonl",),
    stores=frozenset({"sqlite", "postgres"}),
    audit=books.audit,
)
