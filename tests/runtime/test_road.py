"""The road of a delivery where it gets rough: every message ends forwarded, again or held, and none kills a worker."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from brokers.contract import Message, Publication
from stamp import Hop, Service, Step, Workflow
from stamp.testing.runner import OpenBench, SyncBench


class Sent(msgspec.Struct):
    text: str


class Read(msgspec.Struct):
    text: str


class Letter(msgspec.Struct):
    text: str
    weight: int = 0


MAIL = Workflow(
    "MAIL",
    version=1,
    start=Sent,
    state=Letter,
    deadline="1h",
    steps=[
        Step("weigh", service="office", on=Sent, emits=Read, undo=True, retry="2x 1s"),
        Step("read", service="office", on=Read, retry="2x 1s"),
    ],
)


def office(*, grow: int = 0, bad_state: bool = False) -> Service:
    service = Service("office")

    @service.step(MAIL, "weigh")
    async def weigh(event: Sent, hop: Hop[Letter]) -> Read:
        if grow:
            hop.state.text = "x" * grow
        if bad_state:
            hop.state.weight = "heavy"  # type: ignore[assignment]
        return Read(event.text)

    @service.undo(MAIL, "weigh")
    async def unweigh(hop: Hop[Letter]) -> None: ...

    @service.step(MAIL, "read")
    async def read(event: Read, hop: Hop[Letter]) -> None:
        if event.text == "secret":
            raise OSError(event.text)
        if event.text == "torn":
            raise OSError("torn \udc80 text")

    return service


def reasons(table: SyncBench) -> list[str]:
    return [held.reason for held in table.held]


def start(table: SyncBench, text: str = "hello", *, size: int = 0) -> str:
    return table.start(MAIL, Sent(text), state=Letter("y" * size))


def test_an_exception_whose_text_has_no_utf_8_is_recorded_as_itself(bench: OpenBench) -> None:
    table = bench(office())
    run = start(table, "torn")
    table.settle()
    error = table.run(run).error
    assert error is not None
    assert (error["type"], error["message"]) == ("OSError", "torn ? text")


@pytest.mark.parametrize("store", ["memory", "sqlite", None])
def test_a_state_that_outgrows_its_budget_is_held_and_the_next_run_goes_on(bench: OpenBench, store: str | None) -> None:
    table = bench(office(grow=70_000), store=store)
    start(table)
    table.settle()
    assert reasons(table) == ["too-large"]
    assert "state.text" in table.held[0].detail


@pytest.mark.parametrize("store", ["memory", "sqlite", None])
def test_a_state_that_its_schema_refuses_is_held(bench: OpenBench, store: str | None) -> None:
    table = bench(office(bad_state=True), store=store)
    start(table)
    table.settle()
    assert reasons(table) == ["output-invalid"]


@pytest.mark.parametrize("store", ["memory", "sqlite", None])
def test_a_run_that_has_no_room_left_to_turn_around_is_held(bench: OpenBench, store: str | None) -> None:
    """The failure's own entry would break the budget: the message that failed is held as it was."""
    table = bench(office(), store=store)
    full = 65_536 - 430
    run_id = start(table, "secret", size=full)
    table.settle()
    assert reasons(table) in (["too-large"], ["failed"])
    assert table.run(run_id).status == "held"
    start(table)
    table.settle()
    assert [run.status for run in (table.run(run_id),)] == ["held"]


def test_a_deadline_that_no_calendar_has_is_held(bench: OpenBench) -> None:
    table = bench(office())
    start(table)
    table.settle()
    message: Message = table.published[0].message
    stamp = {**json.loads(message.headers["stamp"]), "deadline": "2026-02-31T00:00:00Z"}
    other = replace(
        message,
        headers={**message.headers, "stamp": json.dumps(stamp)},
        message_id="019a0000-0000-7000-8000-00000000000c",
    )
    table.call(table.broker.publish(Publication("MAIL", "Sent", other)))
    table.settle()
    assert reasons(table) == ["invalid"]
