"""What a branch costs when a run has many of them: a fork as wide as a list, on the embedded broker and SQLite.

With the stamp, every arrival at the join costs a look at the others; with a front controller every report changes a
row of the ledger that grows with the branches. Owner and join take one message at a time here, as at light load:
together in a batch they share what a transaction and a row cost.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import machine
from benchmarks.measure import no_collector, row
from benchmarks.progress import say
from brokers.memory import MemoryBroker
from stamp import All, Each, FrontController, Hop, Service, Stamped, Step, Workflow
from stamp.events import RunEnded
from stamp.style import Style

PATIENCE = 120.0

WIDTHS = (4, 16, 64, 256)
STYLES: tuple[Style, ...] = (Stamped(), FrontController("desk"))


class Listed(msgspec.Struct):
    """A list that is to be worked off: so many items."""

    items: int


class Item(msgspec.Struct):
    number: int


class Picked(msgspec.Struct):
    number: int


def workflow(style: Style) -> Workflow:
    """list → pick each item → pack."""
    return Workflow(
        f"PICK-{style.name}",
        version=1,
        start=Listed,
        style=style,
        hop_guard=2 * max(WIDTHS),
        steps=[
            Step("split", service="picking", on=Listed, emits=Item),
            Step("pick", service="picking", on=Each(Item), emits=Picked, undo=True),
            Step("pack", service="picking", on=All(Picked)),
        ],
    )


def services(flow: Workflow) -> list[Service]:
    """Who takes part; the last of them hears of the end."""
    picking = Service("picking", batch=1)

    @picking.step(flow, "split")
    async def split(event: Listed, hop: Hop[Any]) -> list[Item]:  # noqa: ARG001
        return [Item(number) for number in range(event.items)]

    @picking.step(flow, "pick")
    async def pick(event: Item, hop: Hop[Any]) -> Picked:  # noqa: ARG001
        return Picked(event.number)

    @picking.undo(flow, "pick")
    async def put_back(hop: Hop[Any]) -> None: ...

    @picking.step(flow, "pack")
    async def pack(event: object, hop: Hop[Any]) -> None: ...

    if flow.style.owner is None:
        return [picking]
    owner = Service(flow.style.owner, batch=1)
    owner.owns(flow)
    return [picking, owner]


async def once(style: Style, width: int) -> float:
    """Microseconds of processor time a branch, of one run of so many."""
    flow, ended = workflow(style), asyncio.Event()
    made = services(flow)
    broker = MemoryBroker()
    made[-1].observers.append(lambda event: ended.set() if isinstance(event, RunEnded) else None)
    with tempfile.TemporaryDirectory() as folder, no_collector():
        async with AsyncExitStack() as stack:
            await broker.open()
            stack.push_async_callback(broker.close)
            for service in made:
                store = f"sqlite:///{Path(folder, service.name)}.db"
                await stack.enter_async_context(service.open(broker=broker, store=store, journal=False))
            began = time.process_time()
            async with made[0].transaction() as tx:
                await tx.start(flow, Listed(width))
            async with asyncio.timeout(PATIENCE):
                await ended.wait()
            return (time.process_time() - began) / width * 1e6


def run(*, rounds: int = 5, branches: int = 256, widths: Sequence[int] = WIDTHS) -> dict[str, Any]:
    """A branch by style and width, in alternating rounds; narrow forks are run several times a round."""
    samples: dict[str, dict[str, list[float]]] = {style.name: {str(w): [] for w in widths} for style in STYLES}
    for number in range(rounds):
        say(f"growth, branches: round {number + 1} of {rounds}")
        for style in STYLES:
            for width in widths:
                took = [asyncio.run(once(style, width)) for _ in range(max(1, branches // width))]
                samples[style.name][str(width)].append(statistics.median(took))
    return {
        **machine.now(),
        "rounds": rounds,
        "styles": {style: {width: row(found) for width, found in by.items()} for style, by in samples.items()},
    }
