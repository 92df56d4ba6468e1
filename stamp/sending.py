"""Publishing what a service has decided to send: confirmed and routed, or held; and telling observers of it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from brokers.contract import Adopted, Broker, Publication
from brokers.errors import BrokerError, MessageTooLarge, NotFound, Unroutable
from stamp import parking
from stamp.errors import StoreUnavailable
from stamp.events import Event, MessageHeld, Paused, Resumed
from stamp.layout import DELAY, HELD, delay_exchange
from stamp.nostore import NoStore
from stamp.ports import Clock, Observer, Store, sleep
from stamp.retry import LADDER

log = logging.getLogger("stamp")

RUNGS = {delay_exchange(pause): pause for pause in LADDER}
BACKOFF = (0.1, 0.3, 1.0, 2.0, 5.0)


async def _nothing(*_: object) -> None:
    """Topology that somebody else declares."""


@dataclass(slots=True)
class Teller:
    """Hands events to observers; one that raises is disabled and logged once."""

    observers: list[Observer] = field(default_factory=list)

    @property
    def listening(self) -> bool:
        """Whether anybody listens: without, no event needs to be made."""
        return bool(self.observers)

    def __call__(self, event: Event) -> None:
        for observer in tuple(self.observers):
            try:
                observer(event)
            except Exception:
                log.exception("observer %r raised and is disabled", observer)
                self.observers.remove(observer)


@dataclass(slots=True, kw_only=True)
class Sender:
    """Sends bursts and doesn't come back before every message is confirmed or held."""

    service: str
    broker: Broker | Adopted
    store: Store | NoStore
    clock: Clock
    tell: Teller
    declare: Callable[[], Awaitable[None]] = _nothing
    """Declares the service's topology again, after something of it was found missing."""
    declare_rung: Callable[[float], Awaitable[None]] = _nothing
    """Declares one rung of the delay ladder."""
    rungs: set[str] = field(default_factory=set)
    journal: bool = False
    """Whether a journal takes every message: then one that nobody takes has missed it, and goes again."""

    async def send(self, publications: Sequence[Publication]) -> None:
        """Publish a burst; try again while the broker is away, hold what can't be routed."""
        waiting, tries = list(publications), 0
        while waiting:
            burst, later = _distinct(waiting)
            done, waiting, worst = self._sort(burst, await self._burst(burst))
            waiting += later
            await self.store.sent(done)
            if worst is not None:
                await self._pause(worst, tries)
                tries += 1
        if tries:
            self.tell(Resumed(service=self.service, what="broker", at=self.clock.now()))

    async def try_once(self, publications: Sequence[Publication]) -> BrokerError | None:
        """Publish a burst once. What failed for now is left to the relay; its error is returned."""
        if not publications:
            return None
        done, waiting, worst = self._sort(publications, await self._burst(publications))
        await self.store.sent(done)
        if waiting:
            await self._leave([publication.message.message_id for publication in waiting])
        return worst

    async def _burst(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        try:
            await self._declare_rungs(publications)
        except BrokerError as error:
            return [error] * len(publications)
        return await self.broker.publish_all([self._tapped(publication) for publication in publications])

    def _tapped(self, publication: Publication) -> Publication:
        """A stream without a leader (after a crash) takes nothing, and RabbitMQ confirms what is not mandatory."""
        return replace(publication, mandatory=True) if self.journal and not publication.mandatory else publication

    async def _leave(self, message_ids: Sequence[str]) -> None:
        """Leave committed rows to the relay at once; if the store is away too, to the end of their lease."""
        try:
            await self.store.unsent(message_ids)
        except StoreUnavailable as error:
            log.warning("%s: %d messages wait for their lease to end: %s", self.service, len(message_ids), error)

    def _sort(
        self, publications: Sequence[Publication], outcomes: Sequence[BrokerError | None]
    ) -> tuple[list[str], list[Publication], BrokerError | None]:
        done: list[str] = []
        waiting: list[Publication] = []
        worst: BrokerError | None = None
        for publication, error in zip(publications, outcomes, strict=True):
            if error is None:
                done.append(publication.message.message_id)
            elif _hopeless(publication, error):
                waiting.append(self._held(publication, error))
            else:
                waiting.append(publication)
                worst = error
        return done, waiting, worst

    def _held(self, publication: Publication, error: BrokerError) -> Publication:
        reason = "unroutable" if isinstance(error, Unroutable) else "too-large"
        now = self.clock.now()
        message = publication.message
        self.tell(
            MessageHeld(
                service=self.service,
                queue="",
                message_id=message.message_id,
                reason=reason,
                detail=str(error),
                at=now,
            )
        )
        origin = {parking.EXCHANGE: publication.exchange, parking.KEY: publication.routing_key}
        return parking.park(message, service=self.service, reason=reason, detail=str(error), now=now, origin=origin)

    async def _pause(self, error: BrokerError, tries: int) -> None:
        if not tries:
            self.tell(Paused(service=self.service, what="broker", detail=str(error), at=self.clock.now()))
            log.warning("%s: publishing waits: %s", self.service, error)
        if isinstance(error, NotFound | Unroutable):
            await self._declare_again()
        await sleep(self.clock, BACKOFF[min(tries, len(BACKOFF) - 1)])

    async def _declare_again(self) -> None:
        self.rungs.clear()
        try:
            await self.declare()
        except BrokerError as error:
            log.warning("%s: declaring the topology again failed: %s", self.service, error)

    async def _declare_rungs(self, publications: Sequence[Publication]) -> None:
        """Rungs of the delay ladder are declared when they are first needed."""
        for publication in publications:
            name = publication.exchange
            if name.startswith(DELAY) and name not in self.rungs:
                await self.declare_rung(RUNGS[name])
                self.rungs.add(name)


def _hopeless(publication: Publication, error: BrokerError) -> bool:
    """Whether no other try would do better. A message for the journal alone finds it again."""
    if publication.exchange == HELD:
        return False
    return isinstance(error, MessageTooLarge) or (isinstance(error, Unroutable) and publication.mandatory)


def _distinct(publications: Sequence[Publication]) -> tuple[list[Publication], list[Publication]]:
    """The first message of each id, and the rest: one id is never in flight twice, and none is left out."""
    ids: set[str] = set()
    burst: list[Publication] = []
    later: list[Publication] = []
    for publication in publications:
        message_id = publication.message.message_id
        (later if message_id in ids else burst).append(publication)
        ids.add(message_id)
    return burst, later
