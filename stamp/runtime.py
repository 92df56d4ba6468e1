"""An open service: its connections, its relay and its workers, from the first declaration to the drained end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import cast

from brokers.clock import SystemClock
from brokers.contract import Adopted, Broker, Publication
from brokers.registry import broker_for
from stamp import held, inquiry, journal, shards
from stamp.controller import Desk, Keeper
from stamp.crew import Crew, cancelled
from stamp.delivery import Road
from stamp.errors import StoreUnavailable
from stamp.layout import delay_exchange, delay_parts
from stamp.nostore import NoStore
from stamp.overseeing import Overseer
from stamp.parenting import Ends, ParentRoad
from stamp.participant import Participant
from stamp.ports import Clock, Store, sleep
from stamp.registry import store_for
from stamp.relay import Relay
from stamp.sending import Sender, Teller
from stamp.trip import Station, ends_of, sure
from stamp.watching import Sentry, Watch

log = logging.getLogger("stamp")


@dataclass(slots=True, kw_only=True)
class Runtime:
    """One open service in one process. Made by `Service.open`."""

    participant: Participant
    broker: Broker
    store: Store | NoStore
    clock: Clock
    sender: Sender
    relay: Relay
    tell: Teller
    journal: bool
    keeper: Keeper | None = None
    """Of a service that owns runs: writes their ledger."""
    relaying: asyncio.Task[None] | None = None
    crew: Crew = field(init=False)

    def __post_init__(self) -> None:
        self.crew = Crew(
            service=self.participant.name,
            broker=self.broker,
            clock=self.clock,
            tell=self.tell,
            batch=self.participant.batch,
            declare=self.declare,
        )

    @property
    def busy(self) -> int:
        """How many batches are on the road now."""
        return self.crew.busy

    @property
    def queues(self) -> list[str]:
        """The queues that it consumes."""
        watched = [sentry.queue for sentry in self.participant.sentries]
        work = [queue for station in self.participant.stations for queue in shards.queues(station)]
        asked = [inquiry.queue_of(self.participant.name)] if self.participant.answers else []
        ends = [ends_of(station) for station in self.participant.stations if station.children]
        ledgers = [queue for name in self.participant.owned for queue in self.participant.ledger(name)]
        return [*work, *ends, *watched, *ledgers, *asked]

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        participant: Participant,
        *,
        broker: str | Broker,
        store: str | Store | None,
        clock: Clock | None,
        journal: bool,
    ) -> AsyncIterator[Runtime]:
        """Connect, declare, start the relay; at the end drain, then close what was opened here."""
        async with AsyncExitStack() as stack:
            clock = clock or SystemClock()
            opened_store = await _opened_store(stack, store)
            opened_broker = await _opened_broker(stack, broker)
            runtime = cls._wired(participant, opened_broker, opened_store, clock, journal=journal)
            await runtime.declare()
            relay = asyncio.create_task(runtime.relay.run(), name=f"relay of {participant.name}")
            runtime.relaying = relay
            try:
                yield runtime
            finally:
                await runtime.drain()
                await cancelled(relay)

    @classmethod
    def _wired(
        cls, participant: Participant, broker: Broker, store: Store | NoStore, clock: Clock, *, journal: bool
    ) -> Runtime:
        tell = Teller(list(participant.observers))
        sender = Sender(service=participant.name, broker=broker, store=store, clock=clock, tell=tell)
        relay = Relay(service=participant.name, store=store, sender=sender, clock=clock, tell=tell)
        runtime = cls(
            participant=participant,
            broker=broker,
            store=store,
            clock=clock,
            sender=sender,
            relay=relay,
            tell=tell,
            journal=journal,
            keeper=_keeper(participant, clock),
        )
        if runtime.keeper is not None:
            relay.chore = Overseer(keeper=runtime.keeper, store=store, sender=sender, tell=tell).look
        sender.journal = journal
        sender.declare = runtime.declare
        sender.declare_rung = runtime.declare_rung
        return runtime

    async def declare(self) -> None:
        """Create what the service needs on the broker, and the journal's taps on it."""
        await self.broker.declare(self.participant.topology)
        if self.journal:
            await self.broker.declare(journal.parts([*self.participant.exchanges, *journal.COMMON]))

    async def declare_rung(self, pause: float) -> None:
        """Create one rung of the delay ladder, tapped by the journal."""
        taps = journal.taps([delay_exchange(pause)]) if self.journal else []
        await self.broker.declare([*delay_parts(pause), *taps])

    async def start_consuming(self) -> None:
        """Take back what waited for this version, then subscribe to every queue of the service."""
        me = self.participant
        await held.readmit(self.broker, me, now=self.clock.now())
        for station in me.stations:
            await self._serve(station)
        for sentry in me.sentries:
            await self.crew.serve(sentry.queue, self._watch(sentry))
        for workflow in me.owned:
            await self._keep_ledger(workflow)
        if me.answers:
            await self.crew.serve(inquiry.queue_of(me.name), self._clerk())

    async def _serve(self, station: Station) -> None:
        """A step's queue or its shards: this process's own, those of others while they are away, what is left over."""
        road = self.road(station)
        # Shards are their step's concurrency: each keeps its order.
        hands = 1 if shards.sharded(station) else self.participant.concurrency
        for queue in shards.own(station, self.participant.share):
            await self.crew.serve(queue, road, hands=hands)
        for queue in shards.others(station, self.participant.share):
            self.crew.stand_in(queue, road)
        for queue in await shards.left_over(self.broker, station):
            await self.crew.use_up(queue, road, hands=hands)
        if station.children:
            await self.crew.serve(ends_of(station), Ends(road=cast(ParentRoad, road)))

    async def _keep_ledger(self, workflow: str) -> None:
        """The ledger's queue of a workflow whose runs it owns, or its shards."""
        desk = Desk(keeper=sure(self.keeper), workflow=workflow, store=self.store, sender=self.sender, tell=self.tell)
        queues = self.participant.ledger(workflow)
        for queue in shards.part(queues, self.participant.share):
            await self.crew.serve(queue, desk)
        for queue in shards.rest(queues, self.participant.share):
            self.crew.stand_in(queue, desk)

    def road(self, station: Station, *, broker: Adopted | None = None) -> Road:
        """The road of one station over this runtime's store; publishes through `broker` when one is given."""
        sender = self.sender if broker is None else replace(self.sender, broker=broker)
        kind = ParentRoad if station.children else Road
        return kind(
            service=self.participant.name,
            station=station,
            store=self.store,
            codec=self.participant.codec,
            sender=sender,
            relay=self.relay,
            clock=self.clock,
            tell=self.tell,
            keeper=self.keeper,
        )

    def _watch(self, sentry: Sentry) -> Watch:
        return Watch(
            service=self.participant.name,
            sentry=sentry,
            store=self.store,
            codec=self.participant.codec,
            sender=self.sender,
            clock=self.clock,
            tell=self.tell,
        )

    def _clerk(self) -> inquiry.Clerk:
        me = self.participant
        return inquiry.Clerk(
            service=me.name,
            workflows=me.answers,
            describe=me.describe,
            store=self.store,
            broker=self.broker,
            clock=self.clock,
        )

    async def send_started(self, publications: Sequence[Publication]) -> None:
        """Send the first messages of runs that were just committed."""
        if isinstance(self.store, NoStore):
            await self.sender.send(publications)
        else:
            await self.sender.try_once(publications)

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; raises what a worker died of, so that a broken service does not look alive."""
        await self.crew.until(stop)

    async def drain(self) -> None:
        """Stop consuming, let what is in hand finish, settle it, and write down what is buffered."""
        me = self.participant
        sharded = [shards.queues(station) for station in me.stations if shards.sharded(station)]
        ledgers = [me.ledger(workflow) for workflow in me.owned]
        ordered = {queue for queues in (*sharded, *ledgers) if len(queues) > 1 for queue in queues}
        await self.crew.drain(ordered)
        await self._flush()

    async def _flush(self) -> None:
        try:
            await self.store.flush()
        except StoreUnavailable as error:
            log.warning("%s: confirmed rows stay in the outbox: %s", self.participant.name, error)


def _keeper(participant: Participant, clock: Clock) -> Keeper | None:
    if not participant.owned:
        return None
    return Keeper(service=participant.name, owned=participant.owned, codec=participant.codec, clock=clock)


async def _opened_store(stack: AsyncExitStack, store: str | Store | None) -> Store | NoStore:
    if store is None:
        return NoStore()
    if not isinstance(store, str):
        with suppress(StoreUnavailable):  # away for now: the service will wait for it
            await store.backlog()  # nobody has opened it: that says so, and it would not come by waiting
        return store
    opened = store_for(store)
    await opened.open()
    stack.push_async_callback(opened.close)
    return opened


async def _opened_broker(stack: AsyncExitStack, broker: str | Broker) -> Broker:
    if not isinstance(broker, str):
        return broker
    opened = broker_for(broker)
    await opened.open()
    stack.push_async_callback(opened.close)
    return opened


async def settled(runtime: Runtime) -> None:
    """Wait until nothing of this service is on the road and its outbox is empty (tests and the demo use it)."""
    while runtime.busy or await runtime.store.backlog():
        await sleep(runtime.clock, 0.01)
