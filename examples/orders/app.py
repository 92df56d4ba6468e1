"""The parts of the example in one place."""

from __future__ import annotations

from common.example import Example

from orders import books, notifications, orders, payments, shipping, warehouse
from orders.workflow import COMPLETE_ORDER, OrderSubmitted
from stamp import Service

SERVICES: dict[str, Service] = {
    "orders": orders.orders,
    "payments": payments.payments,
    "warehouse": warehouse.warehouse,
    "shipping": shipping.shipping,
    "notifications": notifications.notifications,
}

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
