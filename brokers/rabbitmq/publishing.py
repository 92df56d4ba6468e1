"""Confirmed publishing: one lane of confirms at a time, replaced whenever its state is in doubt."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiormq.exceptions as rmq

from brokers.errors import BrokerError, ProtocolMisuse, PublishRefused, PublishUnknown
from brokers.framesize import refusal
from brokers.rabbitmq.foreign import translate, words_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aio_pika.abc import AbstractChannel

    from brokers.contract import Publication
    from brokers.rabbitmq.chores import Chores
    from brokers.rabbitmq.connection import Link
    from brokers.rabbitmq.wire import Failure, Wire

Outcome = BrokerError | None


class InFlight:
    """Message ids on their way. aiormq finds a returned message by its id alone: twice at once swaps outcomes."""

    def __init__(self) -> None:
        self._landing: dict[str, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def hold(self, ids: Sequence[str]) -> AsyncIterator[None]:
        """Wait until none of these ids is on its way, then claim them for the block."""
        while busy := {self._landing[name] for name in ids if name in self._landing}:
            await asyncio.wait(busy)
        landing = asyncio.get_running_loop().create_future()
        self._landing.update(dict.fromkeys(ids, landing))
        try:
            yield
        finally:
            for name in ids:
                del self._landing[name]
            landing.set_result(None)


class Lane:
    """One channel with confirms. Retired when an outcome is in doubt, closed when nobody waits on it any more."""

    def __init__(self, channel: AbstractChannel, wire: Wire, chores: Chores, *, timeout: float) -> None:
        self._channel = channel
        self._wire = wire
        self._chores = chores
        self._timeout = timeout
        self._pending = 0
        self._crowd: int | None = None
        self._retired = False

    @property
    def usable(self) -> bool:
        """Whether new messages may go this way."""
        return not self._retired and not self._channel.is_closed

    async def send(self, batch: Sequence[Publication]) -> list[Outcome]:
        """Publish and wait for every confirm; the outcome of each."""
        self._pending += len(batch)
        try:
            failures = await self._wire.burst(self._channel, batch, self._timeout)
            outcomes = self._judge(batch, failures)
        except BaseException:
            self._retired = True  # Given up half-way: what was sent may still be confirmed here.
            raise
        finally:
            self._pending -= len(batch)
            self._close_if_done()
        return outcomes

    def retire(self) -> None:
        """Take no more, and close when the last confirm is in."""
        self._retired = True
        self._close_if_done()

    def _judge(self, batch: Sequence[Publication], failures: Sequence[Failure]) -> list[Outcome]:
        if not any(failures):
            return [None] * len(batch)
        if self._crowd is None:
            self._crowd = self._pending
        alone = self._crowd == 1
        outcomes = [judge(failure, item, alone=alone) for failure, item in zip(failures, batch, strict=True)]
        if any(isinstance(outcome, PublishUnknown | PublishRefused) for outcome in outcomes):
            self._retired = True
        if not self._retired and not self._channel.is_closed:
            self._crowd = None
        return outcomes

    def _close_if_done(self) -> None:
        if self._retired and not self._pending and not self._channel.is_closed:
            self._chores.add(self._channel.close())


def judge(failure: Failure, publication: Publication, *, alone: bool) -> Outcome:
    """What the library's word about one publish means.

    An error that closed the channel ends all that was on its way there. It is blamed on the publication whose
    exchange it names, or on the only one; the others were sent and never answered.
    """
    what = f"message {publication.message.message_id!r} to {publication.exchange!r} {publication.routing_key!r}"
    match failure:
        case None:
            return None
        case rmq.ChannelInvalidStateError() | rmq.DeliveryError() | ValueError() | TypeError():
            return translate(failure, what)
        case rmq.ChannelPreconditionFailed() if alone:
            return ProtocolMisuse(f"{what}: {words_of(failure)}")
        case rmq.ChannelAccessRefused() | rmq.ChannelNotFoundEntity() if alone or _names(failure, publication):
            return translate(failure, what)
    return PublishUnknown(f"{what}: sent, but not confirmed: {words_of(failure)}")


def _names(failure: BaseException, publication: Publication) -> bool:
    return f"'{publication.exchange}'" in words_of(failure)


class Publisher:
    """Publishes through one link. Connects at most once a call, never sends a message twice by itself."""

    def __init__(self, link: Link, wire: Wire, chores: Chores, *, timeout: float) -> None:
        self._link = link
        self._wire = wire
        self._chores = chores
        self._timeout = timeout
        self._in_flight = InFlight()
        self._opening = asyncio.Lock()
        self._lane: Lane | None = None

    async def send(self, publications: Sequence[Publication]) -> list[Outcome]:
        """The outcome of each, in order. Raises only a real cancel."""
        outcomes = refusals(publications)
        going = [number for number, outcome in enumerate(outcomes) if outcome is None]
        if going:
            landed = await self._hand_over([publications[number] for number in going])
            for number, outcome in zip(going, landed, strict=True):
                outcomes[number] = outcome
        return outcomes

    async def open(self) -> None:
        """Open the first lane. Raises `BrokerUnreachable` or `AccessRefused`."""
        await self._usable_lane()

    def close(self) -> None:
        """Take no more; confirms on their way are still waited for by those who sent."""
        if self._lane is not None:
            self._lane.retire()

    async def _hand_over(self, batch: Sequence[Publication]) -> Sequence[Outcome]:
        async with self._in_flight.hold([publication.message.message_id for publication in batch]):
            try:
                lane = await self._usable_lane()
            except BrokerError as error:
                return [type(error)(*error.args) for _ in batch]
            return await lane.send(batch)

    async def _usable_lane(self) -> Lane:
        lane = self._lane
        if lane is not None and lane.usable and self._link.connected:
            await self._link.unblocked()
            return lane
        async with self._opening:
            if self._lane is None or not self._lane.usable or not self._link.connected:
                channel = await self._link.channel(confirms=True)
                self._lane = Lane(channel, self._wire, self._chores, timeout=self._timeout)
            return self._lane


def refusals(publications: Sequence[Publication]) -> list[Outcome]:
    """What is refused before anything is sent: misfits, and an id that comes twice in one burst."""
    seen: set[str] = set()
    outcomes: list[Outcome] = []
    for publication in publications:
        name = publication.message.message_id
        twice = ProtocolMisuse(f"message id {name!r} comes twice in one burst") if name in seen else None
        outcomes.append(twice or refusal(publication))
        seen.add(name)
    return outcomes
