"""The workers of an open service: each keeps one queue served, from the first subscription to the drained end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from brokers.contract import Broker, Consumer, Delivery
from brokers.errors import BrokerError, NotFound
from stamp.events import Paused, Resumed
from stamp.ports import Clock, sleep
from stamp.sending import BACKOFF, Teller
from stamp.trip import Settler

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
class Crew:
    """Subscribes, works, declares again what somebody deleted, and stops in order."""

    service: str
    broker: Broker
    clock: Clock
    tell: Teller
    batch: int
    declare: Callable[[], Awaitable[None]]
    """Creates what the service needs on the broker."""
    consumers: dict[str, Consumer] = field(default_factory=dict)
    """By the name of their queue."""
    workers: list[asyncio.Task[None]] = field(default_factory=list)
    stopping: bool = False
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when `stopping` is."""
    busy: int = 0
    """How many batches are on the road now."""

    async def serve(self, queue: str, carrier: Carrier, *, hands: int = 1) -> None:
        """Subscribe, and keep the queue served with so many hands. Raises `BrokerError` when that fails."""
        self._start(queue, self._serve(queue, carrier, await self._subscribed(queue, hands), hands))

    async def use_up(self, queue: str, carrier: Carrier, *, hands: int) -> None:
        """Serve a queue of an earlier number of shards until somebody deletes it; nothing new is bound to it."""
        self._start(queue, self._use_up(carrier, await self._subscribed(queue, hands), hands))

    def stand_in(self, queue: str, carrier: Carrier) -> None:
        """Serve another process's shard while that one is away: always from the end of the line, and not for long."""
        self._start(queue, self._stand_in(queue, carrier))

    def _start(self, queue: str, serving: Coroutine[Any, Any, None]) -> None:
        self.workers.append(asyncio.create_task(serving, name=f"worker of {queue}"))

    async def _subscribed(self, queue: str, hands: int) -> Consumer:
        consumer = await self.broker.consume(queue, prefetch=2 * self.batch * hands)
        self.consumers[queue] = consumer
        return consumer

    async def _serve(self, queue: str, carrier: Carrier, consumer: Consumer, hands: int) -> None:
        """A queue that somebody deleted is declared again: new messages need it."""
        while True:
            gone = await self._worked(carrier, consumer, hands)
            if gone is None or self.stopping:
                return
            self.tell(Paused(service=self.service, what="queue", detail=str(gone), at=self.clock.now()))
            log.warning("%s: %s; declaring it again", self.service, gone)
            await consumer.close()
            consumer = await self._anew(queue, hands)
            self.tell(Resumed(service=self.service, what="queue", at=self.clock.now()))

    async def _anew(self, queue: str, hands: int) -> Consumer:
        """Declare and subscribe again, as soon as the broker lets us: who deleted a queue may have restarted it."""
        tries = 0
        while True:
            try:
                await self.declare()
                return await self._subscribed(queue, hands)
            except BrokerError as error:
                if not (error.transient or isinstance(error, NotFound)):
                    raise
                log.warning("%s: declaring again waits: %s", self.service, error)
            await sleep(self.clock, BACKOFF[min(tries, len(BACKOFF) - 1)])
            tries += 1

    async def _use_up(self, carrier: Carrier, consumer: Consumer, hands: int) -> None:
        await self._worked(carrier, consumer, hands)
        await self.ending.wait()

    async def _stand_in(self, queue: str, carrier: Carrier) -> None:
        await self._rest(STAND_BACK)
        while not self.stopping:
            try:
                consumer = await self._subscribed(queue, 1)
            except BrokerError:
                consumer = await self._anew(queue, 1)
            working = asyncio.create_task(self._worked(carrier, consumer, 1))
            resting = asyncio.create_task(self._rest(TURN))
            try:
                await asyncio.wait([working, resting], return_when=asyncio.FIRST_COMPLETED)
                await consumer.retire()
                await working
            finally:
                await asyncio.gather(cancelled(resting), cancelled(working))
            await consumer.close()

    async def _rest(self, seconds: float) -> None:
        """Wait, or until the service stops."""
        waiting = [asyncio.create_task(self.ending.wait()), asyncio.create_task(sleep(self.clock, seconds))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _worked(self, carrier: Carrier, consumer: Consumer, number: int) -> NotFound | None:
        """Work with all hands until the consumer stops, or its queue is gone. Raises what a worker died of."""
        hands = [asyncio.create_task(self._work(carrier, consumer)) for _ in range(number)]
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

    async def _work(self, carrier: Carrier, consumer: Consumer) -> None:
        while deliveries := await consumer.receive(self.batch):
            self.busy += 1
            try:
                await carrier.travel(deliveries, consumer)
            finally:
                self.busy -= 1

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; raises what a worker died of, so that a broken service does not look alive."""
        waiting = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([waiting, *self.workers], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {waiting}:
                task.result()
        finally:
            waiting.cancel()

    async def drain(self, ordered: Collection[str]) -> None:
        """Stop consuming, let what is in hand finish and settle it. Of `ordered` queues nothing is given back early."""
        self.stopping = True
        self.ending.set()
        for queue, consumer in list(self.consumers.items()):
            await (consumer.retire() if queue in ordered else consumer.stop())
        if self.workers:
            ended, late = await asyncio.wait(self.workers, timeout=DRAIN)
            for task in late:
                await cancelled(task)
            for task in ended:
                self._tell_death(task)
        for consumer in self.consumers.values():
            await consumer.close()

    def _tell_death(self, worker: asyncio.Task[None]) -> None:
        """Log what a worker died of, when nobody waited for it by `until`."""
        if not worker.cancelled() and (error := worker.exception()) is not None:
            log.error("%s: %s died: %s", self.service, worker.get_name(), error)


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, whatever it ends with."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
