"""Sees the ends of runs from outside: through a queue of its own on the workflow's exchange, alike for all styles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import uuid4

from brokers.contract import Binding, Broker, Consumer, Delivery, Exchange, Queue
from stamp.errors import DefinitionError
from stamp.layout import HELD
from stamp.sighting import sight

FORGOTTEN_MS = 60_000
"""After which the broker deletes the queue of a process that was killed."""


@dataclass(frozen=True, slots=True)
class End:
    """What became of a run, and when that was seen."""

    outcome: str
    """`completed`, `compensated`, `failed`; `held` where it waits for a person."""
    at: float
    """By `time.perf_counter`."""


@dataclass(slots=True)
class Ends:
    """The ends seen so far, by run."""

    seen: dict[str, End] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _branch: str = ""

    async def follow(self, consumer: Consumer) -> None:
        """Note every end until the consumer closes."""
        while deliveries := await consumer.receive(500):
            at = time.perf_counter()
            for delivery in deliveries:
                self._note(delivery, at)
            self._changed.set()
            await consumer.ack(deliveries)

    def _note(self, delivery: Delivery, at: float) -> None:
        seen = sight(delivery.message, delivery.exchange, delivery.routing_key)
        if seen is None or seen.kind == "released":
            return
        held = seen.kind == "held"
        self._branch = self._branch or (seen.branch if not held else "")
        self.seen[seen.stamp.run] = End("held" if held else seen.stamp.phase, at)

    async def until(self, runs: Collection[str], *, patience: float) -> bool:
        """Wait for these runs to end or be held; False when no run did for `patience` seconds.

        Raises `DefinitionError` for a run that ends in several places.
        """
        while not self.seen.keys() >= set(runs):
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), patience)
            except TimeoutError:
                return False
            if self._branch:
                raise DefinitionError(
                    f"a run ended in its branch {self._branch} alone: its branches never meet again",
                    fix="compare a workflow whose runs have one end",
                )
        return True


@asynccontextmanager
async def watching(broker: Broker, workflow: str) -> AsyncIterator[Ends]:
    """See ends and held messages for the time of the block."""
    queue = f"stamp.compare.{uuid4()}"
    await broker.declare(
        [
            Exchange(workflow),
            Exchange(HELD),
            Queue(name=queue, kind="classic", expires_ms=FORGOTTEN_MS),
            Binding(queue, workflow, "end.#"),
            Binding(queue, HELD, "#"),
        ]
    )
    consumer = await broker.consume(queue, prefetch=1000)
    ends = Ends()
    following = asyncio.create_task(ends.follow(consumer))
    try:
        yield ends
    finally:
        await consumer.close()
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await broker.delete_queue(queue)
