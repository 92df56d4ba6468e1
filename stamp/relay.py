"""Publishes what a process left behind in its outbox: rows whose lease ran out, confirmed, then forgotten.

It also keeps the inbox small: rows that no late duplicate can need any more go, a few thousand a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stamp.errors import StoreUnavailable
from stamp.events import RelaySent
from stamp.nostore import NoStore
from stamp.ports import Clock, Store, sleep
from stamp.sending import Sender, Teller

log = logging.getLogger("stamp")

LEASE = 30.0
BATCH = 100
PRUNE_EVERY = 60.0
PRUNED_AT_ONCE = 5000


@dataclass(slots=True, kw_only=True)
class Relay:
    """One per open service; starts with it, not lazily. Several processes share the rows by leases."""

    service: str
    store: Store | NoStore
    sender: Sender
    clock: Clock
    tell: Teller
    chore: Callable[[], Awaitable[None]] | None = None
    """What else the service looks after, at every pass; it says itself when it is due."""
    interval: float = 1.0
    prune_at: float = 0.0

    async def run(self) -> None:
        """Look for rows for ever. A store or broker that is away is waited for; no error ends it: rows wait for it."""
        while True:
            sent = await self._pass()
            await sleep(self.clock, 0 if sent else self.interval)

    async def _pass(self) -> int:
        try:
            await self._prune()
            if self.chore is not None:
                await self.chore()
            return await self.once()
        except StoreUnavailable as error:
            log.warning("%s: the relay waits: %s", self.service, error)
        except Exception:
            log.exception("%s: the relay failed, and tries again", self.service)
        return 0

    async def _prune(self) -> None:
        """Now and then, delete some inbox rows whose run is past its deadline and grace."""
        now = self.clock.now()
        if now >= self.prune_at:
            self.prune_at = now + PRUNE_EVERY
            await self.store.prune(now, limit=PRUNED_AT_ONCE)

    async def once(self) -> int:
        """Publish one batch of claimed rows; how many went out."""
        await self.store.flush()
        rows = await self.store.claim(BATCH, lease=LEASE)
        if not rows:
            return 0
        await self.sender.send(rows)
        await self.store.flush()
        if self.tell.listening:
            lag = await self.store.backlog()
            self.tell(RelaySent(service=self.service, sent=len(rows), lag=lag, at=self.clock.now()))
        return len(rows)
