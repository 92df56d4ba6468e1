"""The owner of runs notices those that have not ended by their deadline. It tells, and leaves the run alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from brokers.contract import Publication
from stamp import outgoing
from stamp.controller import Keeper
from stamp.decision import Decision, Forward, Next
from stamp.events import Overdue
from stamp.ids import overdue_message
from stamp.layout import OVERDUE, ledger_queue
from stamp.ledger import Record, load
from stamp.nostore import NoStore
from stamp.ports import Books, LedgerRow, Store
from stamp.sending import Sender, Teller
from stamp.slim import without_history
from stamp.trip import GRACE

EVERY = 5.0
"""Seconds between two looks."""

AT_ONCE = 100


@dataclass(slots=True, kw_only=True)
class Overseer:
    """Looks through the ledger now and then. Of several processes one tells of each run."""

    keeper: Keeper
    store: Store | NoStore
    sender: Sender
    tell: Teller
    next_at: float = 0.0
    told: set[str] = field(default_factory=set)
    """The runs that were told and have still not ended."""

    async def look(self) -> None:
        """Tell observers and the journal of each overdue run, once. Raises `StoreUnavailable`."""
        now = self.keeper.clock.now()
        if now < self.next_at or not isinstance(self.store, Books):
            return
        self.next_at = now + EVERY
        rows = await self.store.ledger(overdue=now, limit=AT_ONCE + len(self.told))
        ours = [row for row in rows if row.workflow in self.keeper.owned]
        self.told &= {row.run for row in ours}
        if late := [row for row in ours if row.run not in self.told]:
            await self._tell(late, now)

    async def _tell(self, rows: Sequence[LedgerRow], now: float) -> None:
        fresh: list[LedgerRow] = []
        publications: list[Publication] = []
        async with self.store.begin() as tx, tx.savepoint():
            for row in rows:
                queue = ledger_queue(self.keeper.service, row.workflow)
                if await tx.first_seen(f"{queue}|overdue", row.run, expires=(row.deadline or now) + GRACE):
                    fresh.append(row)
                    notices = self._notice(row, now)
                    await tx.emit(notices, run=row.run)
                    publications += notices
        self.told |= {row.run for row in rows}
        for row in fresh:
            self.tell(self._fact(row, now))
        await self.sender.try_once(publications)

    def _notice(self, row: LedgerRow, now: float) -> list[Publication]:
        """For the journal; no queue needs to want it."""
        workflow = self.keeper.owned[row.workflow].get(row.version)
        if workflow is None:
            return []
        stamp = without_history(load(row.record).stamp)
        notice = Next(
            kind="end", routing_key=OVERDUE, type=stamp.event, message_id=overdue_message(row.run), mandatory=False
        )
        decision = Decision(stamp=stamp, settle=Forward(), messages=(notice,))
        return outgoing.publications(
            decision, workflow, self.keeper.codec, service=self.keeper.service, now=now, trace={}
        )

    def _fact(self, row: LedgerRow, now: float) -> Overdue:
        record: Record = load(row.record)
        return Overdue(
            service=self.keeper.service,
            workflow=row.workflow,
            run=row.run,
            deadline=record.stamp.deadline or "",
            at=now,
        )
