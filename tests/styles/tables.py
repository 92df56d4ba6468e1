"""Workflows without a fork, for the handlers of the house."""

from __future__ import annotations

from typing import Any

from stamp import Step, Workflow
from tests.testing.orders import Charged, Checked, Order, Ordered, Shipped


def chain() -> Workflow:
    """check → charge (the pivot) → tell."""
    return Workflow(
        "STATIC",
        version=1,
        state=Order,
        start=Ordered,
        steps=[
            Step("check", service="shop", on=Ordered, emits=Checked, undo=True),
            Step("charge", service="payments", on=Checked, emits=Charged, pivot=True),
            Step("tell", service="mail", on=Charged, retry="2x 1s"),
        ],
    )


def line(version: int = 1, *, shards: int = 1, **more: Any) -> Workflow:
    """check → charge → ship → tell, without a fork."""
    return Workflow(
        "STATIC",
        version=version,
        state=Order,
        start=Ordered,
        deadline="48h",
        steps=[
            Step("check", service="shop", on=Ordered, emits=Checked, undo=True),
            Step("charge", service="payments", on=Checked, emits=Charged, undo=True, retry="3x 1s", shards=shards),
            Step("ship", service="shipping", on=Charged, emits=Shipped, undo=True),
            Step("tell", service="mail", on=Shipped, retry="1x"),
        ],
        **more,
    )
