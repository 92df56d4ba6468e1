"""What the owner of the runs says of them, where the style has one: its ledger by SQL, and its answers when asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from brokers.contract import Broker
from common.books import Claim
from common.databases import Databases
from common.example import Example
from stamp.inquiry import Picture, ask
from stamp.ledger import Record
from stamp.style import Stamped

LAG = 20.0
"""Seconds that an owner gets to catch up with what has ended."""

ASKED = {
    "sqlite": "SELECT run, status FROM stamp_ledger",
    "postgres": "SELECT run, status FROM stamp.ledger",
}


async def claim(example: Example, databases: Databases, records: Sequence[Record]) -> list[Claim]:
    """That the owner's own database knows of each run what the journal has shown; nothing where nobody owns them."""
    owner = example.workflow.style.owner
    if owner is None:
        return []
    sql = ASKED[databases.kind]
    seen = {record.run: record.status(0.0) for record in records}
    deadline = time.monotonic() + LAG
    while (known := {str(run): str(status) for run, status in await databases.ask(owner, sql)}) != seen:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    wrong = [[run, known.get(run), seen.get(run)] for run in sorted({*seen, *known}) if known.get(run) != seen.get(run)]
    return [Claim(f"the ledger knows of all {len(seen)} runs what became of them", f"{owner}: {sql}", wrong)]


async def answers(example: Example, broker: Broker, runs: Sequence[str]) -> list[Picture]:
    """What the services say when they are asked for these runs; where the stamp owns the state, nobody is asked."""
    if isinstance(example.workflow.style, Stamped):
        return []
    return [await ask(broker, example.workflow, run, timeout=5.0) for run in runs]
