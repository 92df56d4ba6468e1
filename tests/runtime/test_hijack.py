"""A handler that commits by itself, in a batch: it is held, and its neighbours go on, each once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from brokers.memory import MemoryBroker
from stamp import Hop, Service, Step, Workflow
from stamp.events import Event, MessageHeld
from stamp.layout import held_queue
from stamp.starting import start_run
from stamp.stores.sqlite import SQLiteStore
from tests.runtime.test_lifecycle import until

NAMES = [f"n{number}" for number in range(6)]


class Asked(msgspec.Struct):
    name: str


class Noted(msgspec.Struct):
    name: str


BOOK = Workflow(
    "BOOK",
    version=1,
    start=Asked,
    steps=[Step("note", service="desk", on=Asked, emits=Noted), Step("file", service="desk", on=Noted)],
)


class Desk:
    """Notes every name in a table, but for those divisible by three; `n4` commits by itself."""

    def __init__(self) -> None:
        self.service = Service("desk")
        self.filed: list[str] = []
        self.facts: list[Event] = []
        self.service.observers.append(self._note_fact)
        self.service.step(BOOK, "note")(self.note)
        self.service.step(BOOK, "file")(self.file)

    async def note(self, event: Asked, hop: Hop[dict[str, object]]) -> Noted:
        if int(event.name[1:]) % 3:
            await hop.tx.execute("INSERT INTO names VALUES (?)", (event.name,))
        if event.name == "n4":
            await hop.tx.commit()
        return Noted(event.name)

    async def file(self, event: Noted, hop: Hop[dict[str, object]]) -> None:
        self.filed.append(event.name)

    def _note_fact(self, event: Event) -> None:
        self.facts.append(event)

    @property
    def held(self) -> list[str]:
        return [fact.reason for fact in self.facts if isinstance(fact, MessageHeld)]


async def names_in(service: Service) -> list[str]:
    async with service.transaction() as tx:
        native: Any = tx.native
        return sorted(name for (name,) in await native.execute_fetchall("SELECT name FROM names"))


def test_a_handler_that_commits_by_itself_is_held_and_its_neighbours_go_on_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        # What it committed of its neighbours goes out when this process's own lease on those rows has ended.
        node, desk, store = MemoryBroker(), Desk(), SQLiteStore(f"sqlite:///{tmp_path}/desk.db", lease=0.2)
        await node.open()
        await store.open()
        async with desk.service.open(broker=node, store=store, consume=False):
            async with desk.service.transaction() as tx:
                await tx.native.execute("CREATE TABLE names (name text)")
            for name in NAMES:
                await start_run(desk.service, BOOK, Asked(name))
        async with desk.service.open(broker=node, store=store):
            await until(lambda: len(desk.filed) == 5 and "transaction-ended" in desk.held)
            others = [name for name in await names_in(desk.service) if name != "n4"]
        assert others == ["n1", "n2", "n5"]
        assert sorted(desk.filed) == ["n0", "n1", "n2", "n3", "n5"]
        assert await node.depth(held_queue("desk")) == 1
        await store.close()
        await node.close()

    asyncio.run(scenario())
