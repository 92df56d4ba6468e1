"""Thousands of runs while services, RabbitMQ and PostgreSQL are killed at random; RUNS says how many thousands.

`make test-faults` runs it. SEED repeats the order of the kills (not their moments). Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from brokers.node import Node
from stamp.testing.postgres import PostgresCluster
from tests.faults.account import Account
from tests.faults.conftest import Lines
from tests.faults.play import SQLITE, Child, Play, playing, schemas, until

RUNS = int(os.environ.get("RUNS", "10000"))
SEED = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
PATIENCE = 300 + RUNS * 0.3
"""Seconds; a run takes about a tenth of that."""
PAUSES = (0.2, 1.5)
"""Seconds between two kills, at least and at most."""
TROUBLES = {"service": 6, "rabbitmq": 2, "postgres": 2}
"""What is killed, and how often compared with the others."""

CREW = {
    "shop": ("shop",),
    "bank-1": ("bank",),
    "bank-2": ("bank",),
    "depot-1": ("depot",),
    "depot-2": ("depot",),
}


@dataclass(slots=True, kw_only=True)
class Soak:
    """The processes of a play, kept up; and what keeps ending them."""

    play: Play
    node: Node
    cluster: PostgresCluster
    dice: random.Random
    over: bool = False
    killed: Counter[str] = field(default_factory=Counter)
    early: int = 0
    """Processes that ended before they served, as they should while a server is away."""
    died: list[str] = field(default_factory=list)
    """What processes said that served and then ended by themselves, which none should."""

    async def keep_up(self) -> None:
        """Start what has ended, for ever."""
        while True:
            for child in self.play.children:
                if child.ended is not None:
                    self._note(child, child.ended)
                    child.start()
            await asyncio.sleep(0.1)

    def _note(self, child: Child, code: int) -> None:
        if code >= 0 and child.served:
            self.died.append(child.tail())
        elif code >= 0:
            self.early += 1

    async def serving(self) -> bool:
        """Whether every process serves."""
        return all(child.ended is None and child.served for child in self.play.children)

    async def trouble(self) -> None:
        """Kill something, then something else, until it is over."""
        await asyncio.to_thread(self.node.flush)
        while not self.over:
            await asyncio.sleep(self.dice.uniform(*PAUSES))
            (what,) = self.dice.choices(list(TROUBLES), list(TROUBLES.values()))
            self.killed[what] += 1
            if what == "service":
                self.dice.choice(self.play.children).kill()
                continue
            server = self.node if what == "rabbitmq" else self.cluster
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)

    async def progress(self) -> None:
        """Wait for the end and say how far it is."""
        began = time.monotonic()
        state = ""
        while state != "all done":
            await asyncio.sleep(1.0)
            state, share = await self.play.state(), await self.play.done()
            kills = ", ".join(f"{what} {times}" for what, times in sorted(self.killed.items()))
            line = (
                f"{time.monotonic() - began:6.0f} s  {share:7.2%}  killed: {kills}; early ends: {self.early}; {state}"
            )
            print(line[:200], file=sys.stderr, flush=True)


async def soaked(soak: Soak) -> Account:
    """The account after `RUNS` orders under kills."""
    play = soak.play
    for name, services in CREW.items():
        play.child(name, services, batch=16, chunk=10, lease=3.0).start()
    for child in play.children:
        await child.ready()
    keeping, trouble = asyncio.create_task(soak.keep_up()), asyncio.create_task(soak.trouble())
    try:
        async with asyncio.timeout(PATIENCE):
            await soak.progress()
    finally:
        soak.over = True
        await trouble
        await until(soak.serving, 60.0, lambda: "\n".join(child.tail() for child in play.children))
        keeping.cancel()
    return await play.ended()


@pytest.mark.timeout(PATIENCE + 300)
def test_runs_under_random_kills_end_with_every_row_exactly_once(
    breakable: Node, postgres_faults: PostgresCluster, tmp_path: Path, drawn: Lines
) -> None:
    async def soak_it() -> tuple[Account, Soak]:
        postgres = schemas(postgres_faults.url)
        stores = {"shop": postgres, "bank": SQLITE, "depot": postgres}
        async with playing(broker=breakable.url, stores=stores, folder=tmp_path, count=RUNS) as play:
            soak = Soak(play=play, node=breakable, cluster=postgres_faults, dice=random.Random(SEED))
            return await soaked(soak), soak

    print(f"SEED={SEED} RUNS={RUNS}", file=sys.stderr, flush=True)
    account, soak = asyncio.run(soak_it())
    kills = ", ".join(f"{what} {times}" for what, times in sorted(soak.killed.items()))
    drawn.append((f"soak, killed: {kills}", "both", account))
    assert soak.died == [], "\n".join(soak.died)
    assert account == Account.sound(RUNS)
