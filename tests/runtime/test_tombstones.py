"""A step that can be undone happens once a visit: a copy with another id is refused, also when its undo came first."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from brokers.contract import Message, Publication
from stamp import Fail, Hop, Service, Step, Workflow
from stamp.testing.runner import OpenBench, SyncBench


class Asked(msgspec.Struct):
    id: str


class Booked(msgspec.Struct):
    id: str


TRIP = Workflow(
    "TRIP",
    version=1,
    start=Asked,
    deadline="1h",
    steps=[
        Step("book", service="hotel", on=Asked, emits=Booked, undo=True),
        Step("pay", service="bank", on=Booked, retry="1x 1s"),
    ],
)
OTHER_ID = "019a0000-0000-7000-8000-00000000000d"


class Hotel:
    """Two services that write down what they did."""

    def __init__(self, *, refuse: bool = False) -> None:
        self.done: list[str] = []
        self.services = (Service("hotel"), Service("bank"))

        @self.services[0].step(TRIP, "book")
        async def book(event: Asked, hop: Hop[dict[str, object]]) -> Booked:
            self.done.append("book")
            return Booked(event.id)

        @self.services[0].undo(TRIP, "book")
        async def unbook(hop: Hop[dict[str, object]]) -> None:
            self.done.append("unbook")

        @self.services[1].step(TRIP, "pay")
        async def pay(event: Booked, hop: Hop[dict[str, object]]) -> None:
            if refuse:
                raise Fail("no money")
            self.done.append("pay")


def send(table: SyncBench, message: Message, key: str) -> None:
    table.call(table.broker.publish(Publication("TRIP", key, message)))
    table.settle()


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_copy_of_an_action_with_another_id_is_refused_after_the_run_walked_back(bench: OpenBench, store: str) -> None:
    hotel = Hotel(refuse=True)
    table = bench(*hotel.services, store=store)
    run_id = table.start(TRIP, Asked("a"))
    table.settle()
    assert table.run(run_id).status == "compensated"
    send(table, replace(table.published[0].message, message_id=OTHER_ID), "Asked")
    assert hotel.done == ["book", "unbook"]
    assert [held.reason for held in table.held] == ["already-settled"]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_an_undo_that_comes_before_its_action_runs_and_the_late_action_is_refused(bench: OpenBench, store: str) -> None:
    """As after a repair by hand, or with a participant that sends messages out of order."""
    hotel = Hotel(refuse=True)
    table = bench(*hotel.services, store=store)
    table.start(TRIP, Asked("a"))
    table.settle()
    undo = next(one.message for one in table.published if one.type == "undo:book")
    first = table.published[0].message
    run = "019a0000-0000-7000-8000-0000000000dd"

    def of_other_run(message: Message, message_id: str) -> Message:
        stamp = {**json.loads(message.headers["stamp"]), "run": run}
        return replace(message, headers={**message.headers, "stamp": json.dumps(stamp)}, message_id=message_id)

    hotel.done.clear()
    send(table, of_other_run(undo, OTHER_ID), "undo.book")
    send(table, of_other_run(first, run), "Asked")
    assert hotel.done == ["unbook"]
    assert [held.reason for held in table.held] == ["already-settled"]


def test_each_try_of_an_action_is_the_same_visit_and_none_is_refused(bench: OpenBench) -> None:
    hotel = Hotel()
    table = bench(*hotel.services)
    table.fail("book", times=2)
    run_id = table.start(TRIP, Asked("a"))
    table.settle()
    assert table.run(run_id).status == "completed"
    assert hotel.done == ["book", "pay"]
