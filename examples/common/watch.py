"""Watches the runs from outside, through the journal: the services do no work for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from brokers.contract import Broker
from stamp import journal
from stamp.layout import JOURNAL
from stamp.ledger import Record, apply
from stamp.sighting import sight


@dataclass(slots=True)
class Watch:
    """One record for each run of a workflow, as far as the journal has shown it."""

    workflow: str
    rows: dict[str, Record] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    """Runs that have ended or are held."""
    hops: int = 0
    """Finished hops of all runs seen."""
    moved: float = field(default_factory=time.monotonic)
    """When something was last seen."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, broker: Broker, *, start: int) -> None:
        """Read the journal from an offset on, for ever."""
        async for record in journal.following(broker, start=start):
            sighting = sight(record.message, record.exchange, record.routing_key)
            if sighting is None or sighting.stamp.workflow != self.workflow:
                continue
            run = sighting.stamp.run
            before = self.rows.get(run)
            self._note(run, before, apply(before, sighting))

    def _note(self, run: str, before: Record | None, after: Record) -> None:
        self.rows[run] = after
        self.hops += after.stamp.seq - (before.stamp.seq if before else 0)
        self.moved = time.monotonic()
        self.changed.set()
        if after.status(0.0) in {"completed", "compensated", "held"}:
            self.settled.add(run)
        else:
            self.settled.discard(run)

    async def until_settled(self, runs: Iterable[str], *, patience: float) -> None:
        """Wait until these runs have ended or are held, or nothing has moved for `patience` seconds."""
        wanted = set(runs)
        while not wanted <= self.settled:
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), patience)
            except TimeoutError:
                return


async def journal_end(broker: Broker) -> int:
    """The offset that the next message in the journal will have."""
    return await broker.end(JOURNAL)
