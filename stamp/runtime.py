"""An open service: its connections, its relay and its workers, from the first declaration to the drained end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

from brokers.clock import SystemClock
from brokers.contract import Adopted, Broker, Consumer, Delivery, Publication
from brokers.errors import BrokerError, NotFound
from brokers.registry import broker_for
from stamp import held, journal, shards
from stamp.controller import Desk, Keeper
from stamp.delivery import Road
from stamp.errors import StoreUnavailable
from stamp.events import Paused, Resumed
from stamp.layout import delay_exchange, delay_parts, ledger_queue
from stamp.nostore import NoStore
from stamp.parenting import Ends, ParentRoad, ends_of
from stamp.participant import Participant
from stamp.ports import Clock, Store, sleep
from stamp.registry import store_for
from stamp.relay import Relay
from stamp.sending import BACKOFF, Sender, Teller
from stamp.trip import Settler, Station, sure
from stamp.watching import Sentry, Watch

log = logging.getLogger("stamp")

STAND_BACK = 5.0
"""Seconds that a process leaves to the one whose shard it is, before it gets in line for it."""

TURN = 30.0
"""Seconds after which a process goes to the end of the line of a shard that is not its own."""

DRAIN = 30.0
"""Seconds that deliveries in hand get to finish when a service stops; what is left the broker gives out again."""


class Carrier(Protocol):
    """What works off a queue."""

    async def travel(self, deliveries: Sequence[Delivery], settler: Settler) -> None: ...


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
    consumers: dict[str, Consumer] = field(default_factory=dict)
    """By the name of their queue."""
    workers: list[asyncio.Task[None]] = field(default_factory=list)
    relaying: asyncio.Task[None] | None = None
    stopping: bool = False
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `stopping` is."""
    busy: int = 0
    """How many batches are on the road now."""

    @property
    def queues(self) -> list[str]:
        """The queues that it consumes."""
        watched = [sentry.queue for sentry in self.participant.sentries]
        ledgers = [ledger_queue(self.participant.name, name) for name in self.participant.owned]
        work = [queue for station in self.participant.stations for queue in shards.queues(station)]
        ends = [ends_of(station) for station in self.participant.stations if station.children]
        return [*work, *ends, *watched, *ledgers]

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
                await _cancelled(relay)

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
        """Take back what waited for this version, then subscribe to every step's queue."""
        me = self.participant
        await held.readmit(self.broker, me.name, me.stations, me.codec, now=self.clock.now())
        for station in me.stations:
            for queue in shards.own(station, me.share):
                self._start(queue, self._serve(station, queue, await self._subscribed(station, queue)))
            for queue in shards.others(station, me.share):
                self._start(queue, self._stand_in(station, queue))
            for queue in await shards.left_over(self.broker, station):
                self._start(queue, self._use_up(station, await self._subscribed(station, queue)))
            if station.children:
                await self._hear_of_ends(station)
        for sentry in me.sentries:
            self._start(sentry.queue, self._keep_watch(sentry, await self._consuming(sentry.queue, 1)))
        for name in me.owned:
            queue = ledger_queue(me.name, name)
            self._start(queue, self._keep_ledger(name, await self._consuming(queue, 1)))

    def _start(self, queue: str, serving: Coroutine[Any, Any, None]) -> None:
        self.workers.append(asyncio.create_task(serving, name=f"worker of {queue}"))

    async def _subscribed(self, station: Station, queue: str) -> Consumer:
        return await self._consuming(queue, self._hands(station))

    async def _consuming(self, queue: str, hands: int) -> Consumer:
        consumer = await self.broker.consume(queue, prefetch=2 * self.participant.batch * hands)
        self.consumers[queue] = consumer
        return consumer

    def _hands(self, station: Station) -> int:
        """How many batches of one queue are in work at once. Shards are their step's concurrency: each keeps order."""
        return 1 if shards.sharded(station) else self.participant.concurrency

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

    async def _serve(self, station: Station, queue: str, consumer: Consumer) -> None:
        """Keep a step's queue served. A queue that somebody deleted is declared again: new messages need it."""
        road = self.road(station)
        while True:
            gone = await self._crew(road, consumer, self._hands(station))
            if gone is None or self.stopping:
                return
            self.tell(Paused(service=self.participant.name, what="queue", detail=str(gone), at=self.clock.now()))
            log.warning("%s: %s; declaring it again", self.participant.name, gone)
            await consumer.close()
            consumer = await self._subscribed_anew(station, queue)
            self.tell(Resumed(service=self.participant.name, what="queue", at=self.clock.now()))

    async def _keep_watch(self, sentry: Sentry, consumer: Consumer) -> None:
        watch = Watch(
            service=self.participant.name,
            sentry=sentry,
            store=self.store,
            codec=self.participant.codec,
            sender=self.sender,
            clock=self.clock,
            tell=self.tell,
        )
        await self._keep_at(watch, sentry.queue, consumer)

    async def _hear_of_ends(self, station: Station) -> None:
        queue = ends_of(station)
        ends = Ends(road=cast(ParentRoad, self.road(station)))
        self._start(queue, self._keep_at(ends, queue, await self._consuming(queue, 1)))

    async def _keep_ledger(self, workflow: str, consumer: Consumer) -> None:
        desk = Desk(keeper=sure(self.keeper), workflow=workflow, store=self.store, sender=self.sender, tell=self.tell)
        await self._keep_at(desk, desk.queue, consumer)

    async def _keep_at(self, carrier: Carrier, queue: str, consumer: Consumer) -> None:
        """Work off a queue with one hand; one that somebody deleted is declared again."""
        while await self._crew(carrier, consumer, 1) is not None and not self.stopping:
            await consumer.close()
            consumer = await self._anew(queue, 1)

    async def _subscribed_anew(self, station: Station, queue: str) -> Consumer:
        return await self._anew(queue, self._hands(station))

    async def _anew(self, queue: str, hands: int) -> Consumer:
        """Declare and subscribe again, as soon as the broker lets us: who deleted a queue may have restarted it."""
        tries = 0
        while True:
            try:
                await self.declare()
                return await self._consuming(queue, hands)
            except BrokerError as error:
                if not (error.transient or isinstance(error, NotFound)):
                    raise
                log.warning("%s: declaring again waits: %s", self.participant.name, error)
            await sleep(self.clock, BACKOFF[min(tries, len(BACKOFF) - 1)])
            tries += 1

    async def _use_up(self, station: Station, consumer: Consumer) -> None:
        """Serve a queue of an earlier number of shards until somebody deletes it; nothing new is bound to it."""
        await self._crew(self.road(station), consumer, self._hands(station))
        await self.ending.wait()

    async def _stand_in(self, station: Station, queue: str) -> None:
        """Serve another process's shard while that one is away: always from the end of the line, and not for long."""
        await self._rest(STAND_BACK)
        while not self.stopping:
            try:
                consumer = await self._subscribed(station, queue)
            except BrokerError:
                consumer = await self._subscribed_anew(station, queue)
            crew = asyncio.create_task(self._crew(self.road(station), consumer, 1))
            resting = asyncio.create_task(self._rest(TURN))
            try:
                await asyncio.wait([crew, resting], return_when=asyncio.FIRST_COMPLETED)
                await consumer.retire()
                await crew
            finally:
                await asyncio.gather(_cancelled(resting), _cancelled(crew))
            await consumer.close()

    async def _rest(self, seconds: float) -> None:
        """Wait, or until the service stops."""
        waiting = [asyncio.create_task(self.ending.wait()), asyncio.create_task(sleep(self.clock, seconds))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _crew(self, road: Carrier, consumer: Consumer, number: int) -> NotFound | None:
        """Work with all hands until the consumer stops, or its queue is gone. Raises what a worker died of."""
        hands = [asyncio.create_task(self._work(road, consumer)) for _ in range(number)]
        try:
            done, _ = await asyncio.wait(hands, return_when=asyncio.FIRST_EXCEPTION)
            errors = [error for hand in done if (error := hand.exception()) is not None]
            if any(not isinstance(error, NotFound) for error in errors):
                raise next(error for error in errors if not isinstance(error, NotFound))
            await asyncio.wait(hands)
            return next((error for error in errors if isinstance(error, NotFound)), None)
        finally:
            for hand in hands:
                hand.cancel()
            await asyncio.gather(*hands, return_exceptions=True)

    async def _work(self, road: Carrier, consumer: Consumer) -> None:
        while deliveries := await consumer.receive(self.participant.batch):
            self.busy += 1
            try:
                await road.travel(deliveries, consumer)
            finally:
                self.busy -= 1

    async def send_started(self, publications: Sequence[Publication]) -> None:
        """Send the first messages of runs that were just committed."""
        if isinstance(self.store, NoStore):
            await self.sender.send(publications)
        else:
            await self.sender.try_once(publications)

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; raises what a worker died of, so that a broken service does not look alive."""
        waiting = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([waiting, *self.workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
        finally:
            waiting.cancel()

    async def drain(self) -> None:
        """Stop consuming, let what is in hand finish, settle it, and write down what is buffered."""
        self.stopping = True
        self.ending.set()
        ordered = {queue for one in self.participant.stations if shards.sharded(one) for queue in shards.queues(one)}
        for queue, consumer in list(self.consumers.items()):
            await (consumer.retire() if queue in ordered else consumer.stop())
        if self.workers:
            ended, late = await asyncio.wait(self.workers, timeout=DRAIN)
            for task in late:
                await _cancelled(task)
            for task in ended:
                self._tell_death(task)
        for consumer in self.consumers.values():
            await consumer.close()
        await self._flush()

    def _tell_death(self, worker: asyncio.Task[None]) -> None:
        """Log what a worker died of, when nobody waited for it by `until`."""
        if not worker.cancelled() and (error := worker.exception()) is not None:
            log.error("%s: %s died: %s", self.participant.name, worker.get_name(), error)

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


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def settled(runtime: Runtime) -> None:
    """Wait until nothing of this service is on the road and its outbox is empty (tests and the demo use it)."""
    while runtime.busy or await runtime.store.backlog():
        await sleep(runtime.clock, 0.01)
