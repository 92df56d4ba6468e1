"""Whoever starts runs may watch them: a timer at each run's deadline finds out whether it has ended.

    start ──► timer: ladder … ladder ──► <service>.<workflow>.watch ──► ended? nothing. Not ended? `Overdue`
    end.* ──────────────────────────────► <service>.<workflow>.watch ──► a row: ended

No central owner, and no power over the run: it goes on when what it waits for is there again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from brokers.contract import Delivery, Message, Publication
from stamp import outgoing, parking
from stamp.codec import Codec, is_timer, read_timer
from stamp.errors import StoreUnavailable, Theirs
from stamp.events import MessageHeld, Overdue
from stamp.layout import OVERDUE
from stamp.model import Stamp
from stamp.nostore import NoStore
from stamp.ports import Clock, Store, sleep
from stamp.sending import Sender, Teller
from stamp.trip import Settler, expires_of
from stamp.workflow import Workflow

PAUSE = 1.0


class Sentry(NamedTuple):
    """One workflow that a service watches."""

    queue: str
    versions: Mapping[int, Workflow]


@dataclass(slots=True, kw_only=True)
class Watch:
    """Works off one watch queue: notes ends, and looks for them when a deadline comes."""

    service: str
    sentry: Sentry
    store: Store | NoStore
    codec: Codec
    sender: Sender
    clock: Clock
    tell: Teller

    async def travel(self, deliveries: Sequence[Delivery], settler: Settler) -> None:
        """Settle each delivery once; what can't be read is held."""
        messages: list[Publication] = []
        seen: list[tuple[Message, Stamp]] = []
        for delivery in deliveries:
            message = delivery.message
            try:
                stamp = self.codec.notice(message, self.sentry.versions)
                left = read_timer(message).due / 1000 - self.clock.now() if is_timer(message) else 0.0
            except Theirs as error:
                messages.append(self._held(message, error))
                continue
            if left > 0:
                messages.append(outgoing.wait(message, self.sentry.queue, left=left))
            else:
                seen.append((message, stamp))
        messages += await self._noted(seen)
        await self.sender.send(messages)
        await settler.ack(deliveries)

    async def _noted(self, seen: Sequence[tuple[Message, Stamp]]) -> list[Publication]:
        while True:
            try:
                return await self._note(seen)
            except StoreUnavailable:
                await sleep(self.clock, PAUSE)

    async def _note(self, seen: Sequence[tuple[Message, Stamp]]) -> list[Publication]:
        overdue: list[tuple[Message, Stamp]] = []
        if not seen:
            return []
        async with self.store.begin() as tx:
            for message, stamp in seen:
                new = await tx.first_seen(self.sentry.queue, f"end|{stamp.run}", expires=expires_of(stamp))
                if new and is_timer(message):
                    overdue.append((message, stamp))
        return [self._overdue(message, stamp) for message, stamp in overdue]

    def _overdue(self, message: Message, stamp: Stamp) -> Publication:
        """A notice for the journal; no queue needs to want it."""
        now = self.clock.now()
        self.tell(
            Overdue(service=self.service, workflow=stamp.workflow, run=stamp.run, deadline=stamp.deadline or "", at=now)
        )
        return Publication(stamp.workflow, OVERDUE, outgoing.resent(message), mandatory=False)

    def _held(self, message: Message, error: Theirs) -> Publication:
        now = self.clock.now()
        self.tell(
            MessageHeld(
                service=self.service,
                queue=self.sentry.queue,
                message_id=message.message_id,
                reason=error.reason,
                detail=str(error),
                at=now,
            )
        )
        origin = {parking.QUEUE: self.sentry.queue}
        return parking.park(
            message, service=self.service, reason=error.reason, detail=str(error), now=now, origin=origin
        )
