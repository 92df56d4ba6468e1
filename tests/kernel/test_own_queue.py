"""A step whose queue belongs to an application."""

from __future__ import annotations

from brokers.contract import Exchange
from stamp.layout import step_parts, work_queue
from stamp.workflow import Step, Workflow
from tests.kernel.tables import Charged, Ordered

THEIRS = Workflow(
    "ORDER",
    version=1,
    start=Ordered,
    steps=[Step("charge", service="payments", on=Ordered, emits=Charged, queue="till.orders")],
)


def test_the_queue_of_an_application_goes_by_its_own_name() -> None:
    assert work_queue("ORDER", THEIRS.step("charge")) == "till.orders"


def test_the_queue_of_an_application_is_declared_by_nobody_else() -> None:
    assert step_parts(THEIRS, THEIRS.step("charge")) == [Exchange("ORDER")]
