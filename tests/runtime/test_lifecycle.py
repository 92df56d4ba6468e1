"""A service from open to drained: what it survives and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from brokers.memory import MemoryBroker
from stamp import Hop, Service, Step, Workflow
from stamp.errors import NotRunning
from stamp.events import Event, HopFinished, Paused, Resumed
from stamp.ids import first_message, inbox_key, next_message
from stamp.ports import Store
from stamp.starting import start_run
from stamp.stores.memory import MemoryStore
from stamp.stores.sqlite import SQLiteStore, SQLiteTransaction


class Asked(msgspec.Struct):
    id: str


class Answered(msgspec.Struct):
    id: str


TALK = Workflow(
    "TALK",
    version=1,
    start=Asked,
    steps=[Step("answer", service="desk", on=Asked, emits=Answered), Step("file", service="desk", on=Answered)],
)


class Desk:
    """A service of two steps that writes down what it did."""

    def __init__(self, **options: int) -> None:
        self.service = Service("desk", **options)  # type: ignore[arg-type]
        self.seen: list[str] = []
        self.facts: list[Event] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.service.observers.append(self.facts.append)
        self.service.step(TALK, "answer")(self.answer)
        self.service.step(TALK, "file")(self.file)

    async def answer(self, event: Asked, hop: Hop[dict[str, object]]) -> Answered:
        await self.gate.wait()
        return Answered(event.id)

    async def file(self, event: Answered, hop: Hop[dict[str, object]]) -> None:
        self.seen.append(event.id)


@asynccontextmanager
async def broker() -> AsyncIterator[MemoryBroker]:
    node = MemoryBroker()
    await node.open()
    yield node
    await node.close()


async def until(condition: object, *, deadline: float = 10) -> None:
    assert callable(condition)
    async with asyncio.timeout(deadline):
        while not condition():  # noqa: ASYNC110  the condition is the test's own
            await asyncio.sleep(0.005)


def test_a_queue_that_somebody_deleted_is_declared_again_and_served() -> None:
    async def scenario() -> None:
        desk = Desk()
        async with broker() as node, desk.service.open(broker=node):
            await node.delete_queue("desk.TALK.answer")
            await until(lambda: any(isinstance(fact, Resumed) for fact in desk.facts))
            await start_run(desk.service, TALK, Asked("late"))
            await until(lambda: desk.seen == ["late"])
        assert [fact.what for fact in desk.facts if isinstance(fact, Paused)] == ["queue"]

    asyncio.run(scenario())


def test_the_inbox_remembers_a_message_under_the_time_of_its_run() -> None:
    async def scenario() -> None:
        desk, store = Desk(), MemoryStore()
        await store.open()
        async with broker() as node, desk.service.open(broker=node, store=store):
            run = await start_run(desk.service, TALK, Asked("a"))
            await until(lambda: desk.seen == ["a"])
            first = first_message(run)
            async with store.begin() as tx:
                for step, message in (("answer", first), ("file", next_message(first, "answer", "do"))):
                    key = inbox_key(run, message)
                    assert not await tx.first_seen(f"desk.TALK.{step}", key, expires=None)

    asyncio.run(scenario())


def test_a_batch_is_foreseen_under_the_keys_that_are_then_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    foreseen: list[str] = []
    asked: list[str] = []
    foresee, first_seen = SQLiteTransaction.foresee, SQLiteTransaction.first_seen

    async def noted(tx: SQLiteTransaction, consumer: str, message_ids: Sequence[str]) -> None:
        foreseen.extend(message_ids)
        await foresee(tx, consumer, message_ids)

    async def seen(tx: SQLiteTransaction, consumer: str, message_id: str, *, expires: float | None) -> bool:
        asked.append(message_id)
        return await first_seen(tx, consumer, message_id, expires=expires)

    monkeypatch.setattr(SQLiteTransaction, "foresee", noted)
    monkeypatch.setattr(SQLiteTransaction, "first_seen", seen)

    async def scenario() -> None:
        desk, store = Desk(), SQLiteStore("sqlite://")
        await store.open()
        async with broker() as node, desk.service.open(broker=node, store=store):
            await start_run(desk.service, TALK, Asked("a"))
            await until(lambda: desk.seen == ["a"])
        await store.close()
        assert len(asked) == 2
        assert asked == foreseen

    asyncio.run(scenario())


@pytest.mark.parametrize("store", [MemoryStore(), SQLiteStore("sqlite://")], ids=["memory", "sqlite"])
def test_a_store_that_nobody_opened_is_refused_before_anything_is_consumed(store: Store) -> None:
    async def scenario() -> None:
        desk = Desk()
        async with broker() as node:
            with pytest.raises(NotRunning, match="is not open"):
                async with desk.service.open(broker=node, store=store):
                    pytest.fail("it opened")

    asyncio.run(scenario())


def test_closing_lets_what_is_in_hand_finish_first() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.gate.clear()
        async with broker() as node:
            async with desk.service.open(broker=node) as runtime:
                await start_run(desk.service, TALK, Asked("a"))
                await until(lambda: runtime.busy == 1)
                asyncio.get_running_loop().call_later(0.01, desk.gate.set)
            assert next(fact.step for fact in desk.facts if isinstance(fact, HopFinished)) == "answer"

    asyncio.run(scenario())


def test_what_a_closed_service_did_not_take_waits_for_the_next_one() -> None:
    async def scenario() -> None:
        async with broker() as node:
            first, second = Desk(), Desk()
            async with first.service.open(broker=node, consume=False):
                await start_run(first.service, TALK, Asked("a"))
            async with second.service.open(broker=node):
                await until(lambda: second.seen == ["a"])

    asyncio.run(scenario())


def test_deliveries_are_worked_on_at_once_as_far_as_concurrency_allows() -> None:
    async def scenario() -> None:
        desk = Desk(concurrency=3, batch=1)
        desk.gate.clear()
        async with broker() as node, desk.service.open(broker=node) as runtime:
            for name in "abcde":
                await start_run(desk.service, TALK, Asked(name))
            await until(lambda: runtime.busy == 3)
            desk.gate.set()
            await until(lambda: sorted(desk.seen) == list("abcde"))

    asyncio.run(scenario())


def test_a_service_that_is_not_open_starts_nothing() -> None:
    async def scenario() -> None:
        with pytest.raises(NotRunning, match="is not open"):
            await start_run(Desk().service, TALK, Asked("a"))

    asyncio.run(scenario())


def test_a_service_is_open_once_at_a_time() -> None:
    async def scenario() -> None:
        desk = Desk()
        async with broker() as node, desk.service.open(broker=node):
            with pytest.raises(NotRunning, match="is open already"):
                async with desk.service.open(broker=node):
                    pass

    asyncio.run(scenario())


def test_an_observer_that_raises_is_disabled_and_breaks_nothing() -> None:
    async def scenario() -> None:
        desk = Desk()

        def broken(event: Event) -> None:
            raise ValueError(event)

        desk.service.observers.insert(0, broken)
        async with broker() as node, desk.service.open(broker=node) as runtime:
            await start_run(desk.service, TALK, Asked("a"))
            await until(lambda: desk.seen == ["a"])
            assert broken not in runtime.tell.observers
            assert desk.facts

    asyncio.run(scenario())
