"""What the command line shows of workflows that run each other."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import pytest
from click.testing import CliRunner, Result

from brokers.memory import MemoryBroker
from stamp.cli import main
from stamp.events import Event, RunEnded
from stamp.reading import graph
from stamp.resources import examples, schemas
from stamp.starting import start_run
from stamp.stores.memory import MemoryStore
from tests.testing.family import ORDERED, family, inside, outside


async def played(broker: MemoryBroker) -> str:
    """A run that has ended, and its child."""
    house, over = family(), asyncio.Event()

    def note(fact: Event) -> None:
        if isinstance(fact, RunEnded) and fact.workflow == house.outer.name:
            over.set()

    await broker.open()
    async with AsyncExitStack() as stack:
        for service in house.all:
            service.observers.append(note)
            store = MemoryStore()
            await store.open()
            await stack.enter_async_context(service.open(broker=broker, store=store))
        run = await start_run(house.services["shop"], house.outer, ORDERED)
        async with asyncio.timeout(10):
            await over.wait()
    return run


def call(broker: MemoryBroker, *words: str) -> Result:
    result = CliRunner().invoke(main, list(words), obj=broker, prog_name="stamp")
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def told() -> tuple[MemoryBroker, str, str]:
    """A broker whose journal knows a run and its child."""
    broker = MemoryBroker()
    run = asyncio.run(played(broker))
    document = json.loads(call(broker, "trace", run, "-o", "json").stdout)
    return broker, run, document["children"][0]


def test_the_trace_of_a_run_names_the_runs_that_its_steps_started(told: tuple[MemoryBroker, str, str]) -> None:
    broker, run, child = told
    assert f"runs      {child} (INSIDE, step prepare)" in call(broker, "trace", run).stdout


def test_the_trace_of_a_child_names_the_step_that_waits_for_it(told: tuple[MemoryBroker, str, str]) -> None:
    broker, run, child = told
    assert f"child of  {run} (OUTSIDE, step prepare)" in call(broker, "trace", child).stdout


def test_a_decoded_stamp_says_whose_child_it_is() -> None:
    golden = schemas() / "golden" / "valid" / "child-taken-back.json"
    shown = call(MemoryBroker(), "decode", str(golden)).stdout
    assert "child of  01936f3e-8d2a-7abc-8def-0123456789aa (COMPLETE_ORDER, step prepare)" in shown


def test_a_graph_names_the_workflow_that_a_step_runs() -> None:
    flow = outside(inside())
    for drawn in (graph.mermaid(flow), graph.dot(flow), graph.svg(flow)):
        assert "shop · undo, runs INSIDE" in drawn


def test_a_table_names_the_workflow_that_a_step_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(examples()))
    shown = call(MemoryBroker(), "workflows", "--app", "orders.mixed").stdout
    assert "  prepare runs PREPARE_ORDER v1 and waits for its end" in shown
    listed = json.loads(call(MemoryBroker(), "workflows", "--app", "orders.mixed", "-o", "json").stdout)
    steps = {step["name"]: step for flow in listed["items"] for step in flow["steps"]}
    assert steps["prepare"]["runs"] == "PREPARE_ORDER v1"
