"""Whatever fails, dies or comes twice, in any pair of styles: a run and its child agree, and nothing is done twice.

`CHILD_CASES` scales the number of runs (25 by default).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stamp import Fail, Hop, Step
from stamp.testing.runner import SyncBench
from tests.testing.family import ORDERED, STYLES, Family, forked, inside, outside

CASES = int(os.environ.get("CHILD_CASES", "25"))
PROOF = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
TABLE = "CREATE TABLE IF NOT EXISTS effect (what TEXT NOT NULL, key TEXT NOT NULL)"


class Clumsy(Family):
    """A family whose handlers leave a row in their own transaction, and nothing else."""

    def _do(self, step: Step) -> Any:
        inner = super()._do(step)

        async def run(event: Any, hop: Hop[Any]) -> Any:
            if step.name in self.refuse:
                raise Fail(f"{step.name} refused")
            await self.leave(step.name, hop)
            return await inner(event, hop)

        return run

    def _undo(self, name: str) -> Any:
        async def run(hop: Hop[Any]) -> None:
            await self.leave(f"undo {name}", hop)

        return run

    async def leave(self, what: str, hop: Hop[Any]) -> None:
        await hop.tx.execute(TABLE)
        await hop.tx.execute("INSERT INTO effect VALUES (?, ?)", (what, hop.idempotency_key))


class Trouble:
    """One run with its child, and what happens to it meanwhile."""

    def __init__(self, table: SyncBench, house: Family, random: Random) -> None:
        self.table, self.house, self.random = table, house, random
        self.away: set[str] = set()

    def happen(self) -> None:
        names = sorted(self.house.services)
        match self.random.randrange(5):
            case 0 if len(self.away) < 2:
                self.away.add(name := self.random.choice(names))
                self.table.stop(name)
            case 1 if self.away:
                self.back(self.random.choice(sorted(self.away)))
            case 2 if self.table.published:
                self.table.redeliver(self.random.choice(self.table.published.of_kind("progress")))
            case 3:
                self.table.advance(self.random.choice([0.1, 2.0]))
            case _:
                self.turns(self.random.randrange(60))

    def turns(self, number: int) -> None:
        """Let the services work a little."""

        async def some() -> None:
            for _ in range(number):
                await asyncio.sleep(0.0002)

        self.table.call(some())

    def back(self, name: str) -> None:
        self.away.discard(name)
        self.table.deploy(self.house.services[name])

    def end(self) -> None:
        for name in sorted(self.away):
            self.back(name)
        self.table.settle()


def files(folder: str) -> Callable[[str], str]:
    return lambda name: f"sqlite:///{folder}/{name}.db"


def effects(folder: Path) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for file in folder.glob("*.db"):
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(TABLE)
            found += connection.execute("SELECT what, key FROM effect").fetchall()
    return found


@PROOF
@given(
    seed=st.integers(0, 2**32),
    outer=st.sampled_from(sorted(STYLES)),
    inner=st.sampled_from(sorted(STYLES)),
    make=st.sampled_from([outside, forked]),
    refuse=st.sampled_from(["", "", "wrap", "pick", "ship", "charge"]),
)
def test_a_run_and_its_child_end_in_one_way_and_nothing_is_done_twice(
    seed: int, outer: str, inner: str, make: Any, refuse: str
) -> None:
    child = inside(STYLES[inner][1])
    house, random = Clumsy((make(child, STYLES[outer][0]), child), refuse={refuse}), Random(seed)
    with TemporaryDirectory() as folder, SyncBench(*house.all, store=files(folder)) as table:
        trouble = Trouble(table, house, random)
        run = table.start(house.outer, ORDERED)
        for _ in range(random.randrange(3, 25)):
            trouble.happen()
        trouble.end()
        assert table.held == ()
        status = table.run(run).status
        done = Counter(what for what, _ in effects(Path(folder)))
        children = {one.run for one in table.published if one.exchange == "INSIDE" and one.run}
        assert {table.run(one).status for one in children} <= {status}
    fails = refuse in {step.name for flow in house.flows for step in flow.steps}
    assert status == ("compensated" if fails else "completed")
    assert set(done.values()) <= {1}
    undoable = {step.name for flow in house.flows for step in flow.steps if step.undo and step.runs is None}
    assert {what for what in done if what.startswith("undo ")} == (
        {f"undo {what}" for what in done if what in undoable} if fails else set()
    )
