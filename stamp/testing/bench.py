"""Services on an embedded broker with time that the test owns: real handlers, real stores, real routing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from brokers.contract import Delivery, Publication
from brokers.memory import MemoryBroker
from stamp import held
from stamp.duration import seconds
from stamp.errors import BadConfiguration, DefinitionError, NotRunning
from stamp.events import Event
from stamp.held import Held
from stamp.ids import run_id as new_run_id
from stamp.layout import JOURNAL, held_queue
from stamp.nostore import NoStore
from stamp.ports import Store
from stamp.registry import store_for
from stamp.runtime import Runtime
from stamp.service import Service
from stamp.starting import start_run
from stamp.stores.memory import MemoryStore
from stamp.stores.sqlite import SQLiteStore
from stamp.testing.clock import START, VirtualClock
from stamp.testing.faults import Faults, Injected
from stamp.testing.record import Publications, Published, Run, Tape, run_of
from stamp.testing.settling import Settling
from stamp.workflow import Workflow

StoreChoice = str | Callable[[str], str | Store] | None
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Seat:
    """An open service of the bench."""

    service: Service
    runtime: Runtime
    stack: AsyncExitStack


class Bench:
    """Runs services together in one event loop: `async with Bench(tickets, assignment) as bench`.

    Everything is the real thing, but the broker is the embedded one and time is virtual: it stands still until
    `settle` or `advance` moves it, so a retry in an hour takes no time. Handlers run as they are: what they wait for
    by themselves (`asyncio.sleep`, a network call) takes real time.

    `store` is `"memory"`, `"sqlite"` (one file for each service, in a folder that goes away with the bench), `None`
    (at least once, without a database), or a function from a service's name to a store or its URL. When nothing
    was sent or settled for `patience` real seconds although something runs, waiting ends with `NotSettled`.
    """

    def __init__(
        self, *services: Service, store: StoreChoice = "memory", patience: float = PATIENCE, now: float = START
    ) -> None:
        self.clock = VirtualClock(now)
        self.broker = MemoryBroker(clock=self.clock)
        self.facts: list[Event] = []
        """What the services told their observers, in order (`stamp.events`)."""
        self._services = services
        self._choice = store
        self._stores: dict[str, Store | None] = {}
        self._seats: dict[str, Seat] = {}
        self._stack = AsyncExitStack()
        self._runs = count(1)
        self._faults = Faults()
        self._tape = Tape()
        self._settling = Settling(
            runtimes=lambda: [seat.runtime for seat in self._seats.values()],
            broker=self.broker,
            clock=self.clock,
            faults=self._faults,
            journal=self._read_journal,
            patience=patience,
        )

    async def __aenter__(self) -> Self:
        try:
            await self.broker.open()
            self._stack.push_async_callback(self.broker.close)
            await self.deploy(*self._services)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        for name in tuple(self._seats):
            await self.stop(name)
        await self._stack.aclose()

    async def deploy(self, *services: Service) -> None:
        """Open these services; one that is open under the same name is stopped first and leaves it its store."""
        seats = [await self._seat(service) for service in services]
        for seat in seats:
            await seat.runtime.start_consuming()

    async def _seat(self, service: Service) -> Seat:
        await self.stop(service.name)
        stack = AsyncExitStack()
        clock, store = self.clock.sleeps(service.name), await self._store_of(service.name)
        opened = service.open(broker=self.broker, store=store, clock=clock, consume=False)
        runtime = await stack.enter_async_context(opened)
        guarded = [self._faults.guarded(station) for station in runtime.participant.stations]
        runtime.participant = replace(runtime.participant, stations=guarded)
        runtime.tell.observers.append(self._note)
        seat = self._seats[service.name] = Seat(service, runtime, stack)
        return seat

    def _note(self, event: Event) -> None:
        self.facts.append(event)

    async def stop(self, name: str) -> None:
        """Take a service away as a crash would: what it has in hand rolls back and waits in its queues."""
        seat = self._seats.pop(name, None)
        if seat is None:
            return
        for worker in seat.runtime.crew.workers:
            worker.cancel()
        await asyncio.gather(*seat.runtime.crew.workers, return_exceptions=True)
        await seat.stack.aclose()

    async def _store_of(self, name: str) -> Store | None:
        if name not in self._stores:
            store = self._stores[name] = self._new_store(name)
            if store is not None:
                await store.open()
                self._stack.push_async_callback(store.close)
        return self._stores[name]

    def _new_store(self, name: str) -> Store | None:
        match self._choice:
            case None:
                return None
            case "memory":
                return MemoryStore(now=self.clock.now)
            case "sqlite":
                folder = self._stack.enter_context(TemporaryDirectory(prefix="bench-"))
                return SQLiteStore(f"sqlite:///{Path(folder) / name}.db", now=self.clock.now)
            case str():
                raise BadConfiguration(
                    f"store={self._choice!r}", fix='use "memory", "sqlite", None, or a function from name to store'
                )
            case choose:
                chosen = choose(name)
                return store_for(chosen) if isinstance(chosen, str) else chosen

    async def start(
        self,
        workflow: Workflow,
        event: object,
        *,
        state: object = None,
        via: Service | None = None,
        run_id: str | None = None,
    ) -> str:
        """Start a run in a local transaction of `via` (the first service here that knows the workflow); its id.

        It sets off at once, so plan its faults (`fail`) before; `settle` waits for it.
        """
        service = via or self._starter(workflow)
        return await start_run(service, workflow, event, state=state, run_id=run_id or self._new_run_id())

    def _new_run_id(self) -> str:
        """Counted, not thrown: the jitter of retries comes from ids, and a test must see the same every time."""
        return new_run_id(self.clock.now(), next(self._runs).to_bytes(10))

    def _starter(self, workflow: Workflow) -> Service:
        services = [seat.service for seat in self._seats.values()]
        known = [service for service in services if workflow in service.workflows]
        if not known:
            raise NotRunning(f"no service on the bench has a handler for {workflow.label}", fix="pass it to Bench(...)")
        return known[0]

    async def settle(self) -> None:
        """Wait until nothing moves. Time jumps to whatever is due next: retries come, however far away.

        Messages for steps that no service here runs stay where they are, as do held ones. Raises `NotSettled`.
        """
        await self._settling.settle()

    async def advance(self, length: str | float) -> None:
        """Let time pass (`"48h"`, or seconds); what is due in it happens at its moment. Raises `NotSettled`."""
        await self._settling.advance(seconds(length))

    def fail(
        self,
        step: str,
        *,
        times: int = 1,
        error: BaseException | type[BaseException] = Injected,
        workflow: Workflow | None = None,
    ) -> None:
        """The next `times` tries of a step raise `error` before its handler runs; `"undo:<step>"` for its undo.

        Without `workflow` the step is meant in whichever workflow has one of that name.
        """
        known = {station.step for seat in self._seats.values() for station in seat.runtime.participant.stations}
        if step.removeprefix("undo:") not in known:
            raise DefinitionError(f"no service on the bench runs a step {step!r}", fix=f"one of: {sorted(known)}")
        self._faults.plan(step, times=times, error=error, workflow=workflow)

    def run(self, run_id: str) -> Run:
        """Where a run stands now. Raises `LookupError` when none of its messages was ever sent."""
        self._read_journal()
        found = run_of(self._tape.of_run(run_id), self.held, now=self.clock.now())
        if found is None:
            raise LookupError(f"the journal has seen no run {run_id}: is it the id that start() returned?")
        return found

    @property
    def published(self) -> Publications:
        """Every message that was sent, in order; retries and held messages are copies of their own."""
        self._read_journal()
        return Publications(self._tape.messages)

    @property
    def held(self) -> tuple[Held, ...]:
        """The messages that are held now, by service and oldest first: `reason`, `detail`, `message`."""
        queues = [held_queue(name) for name in self._stores]
        return tuple(
            Held(Delivery(message=e.message, queue=queue, exchange=e.exchange, routing_key=e.routing_key, tag=0))
            for queue in queues
            for e in self.broker.node.queue(queue).ready
        )

    def store(self, service: str | Service) -> Store | NoStore:
        """The open store of a service."""
        return self._runtime(service).store

    def _runtime(self, service: str | Service) -> Runtime:
        name = service if isinstance(service, str) else service.name
        if name not in self._seats:
            raise NotRunning(f"no service {name!r} is on the bench", fix=f"one of: {sorted(self._seats)}")
        return self._seats[name].runtime

    async def redeliver(self, message: Published) -> None:
        """Send a message once more, with the same id and the same bytes, as a broker may do at any time."""
        again = Publication(message.exchange, message.routing_key, message.message, mandatory=False)
        await self.broker.publish(again)

    async def release(self, reason: str | None = None) -> list[Held]:
        """Send held messages (those with `reason`, or all) on their way again; those that went."""
        released: list[Held] = []
        for name, seat in self._seats.items():
            participant = seat.runtime.participant
            target = held.own_station(participant.stations, participant.beside)
            now = self.clock.now()
            released += await held.release(
                self.broker, name, lambda message: reason in {None, message.reason}, target, now=now
            )
        return released

    def _read_journal(self) -> int:
        if self._seats:
            stream = self.broker.node.stream(JOURNAL)
            self._tape.add(stream.records(self._tape.offset, stream.end))
        return self._tape.offset
