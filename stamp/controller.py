"""The owner of runs: keeps their ledger in its own database and does what follows from it.

    report ──► <owner>.<workflow>.ledger ──► read -> begin -> apply -> steer -> ledger, outbox -> commit
                                                                          -> publish -> settle

It needs no inbox: the ledger knows what it has heard, and hearing it again changes nothing.

A front controller and an orchestrator are the same owner; `stamp.steering` knows what they do differently. What an
owner does itself (a step of its own, the start of a run) goes into the ledger in that very transaction, without a
message.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from brokers.contract import Delivery, Message, Publication
from stamp import outgoing, parking
from stamp.codec import Codec, Versions
from stamp.decision import Decision, Forward
from stamp.errors import DefinitionError, Equivocation, StampError, StoreUnavailable, Theirs
from stamp.events import DuplicateDropped, MessageHeld, Paused, Resumed
from stamp.layout import HELD, end_key, ledger_queue, report_key
from stamp.ledger import Record, apply, dump, load
from stamp.model import Stamp, epoch
from stamp.nostore import NoStore
from stamp.ports import Bookkeeping, Clock, LedgerRow, Store, Transaction, sleep
from stamp.reporting import is_report, read_report
from stamp.sending import BACKOFF, Sender, Teller
from stamp.sighting import Sighting, sight
from stamp.steering import steer
from stamp.trip import GRACE, Settler, expires_of
from stamp.trip import ended as ended_facts
from stamp.workflow import Workflow

log = logging.getLogger("stamp")


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that an owner has heard of a run."""

    message: Message
    seen: Sighting
    workflow: Workflow
    events: tuple[bytes, ...] = ()
    """Payloads that it shall send on."""


@dataclass(slots=True)
class Kept:
    """What came of some notes: messages that follow, runs that ended, notes not believed or telling nothing new."""

    publications: list[Publication] = field(default_factory=list)
    refused: list[tuple[Note, StampError]] = field(default_factory=list)
    ended: list[Record] = field(default_factory=list)
    repeated: list[Note] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Writes the ledger of one owner, within a transaction that somebody else begins and commits."""

    service: str
    owned: Mapping[str, Versions]
    """The workflows whose runs it owns, by name."""
    codec: Codec
    clock: Clock

    def keeps(self, versions: Versions) -> bool:
        """Whether it owns the runs of a workflow."""
        return any(workflow.name in self.owned for workflow in versions.values())

    async def lock(self, tx: Transaction, runs: Iterable[str]) -> None:
        """Keep other processes off these runs until the transaction ends: all at once, so no two wait crosswise."""
        await books_of(tx).read_runs(sorted(set(runs)))

    async def settle(self, tx: Transaction, publications: Sequence[Publication]) -> Kept:
        """Take reports to itself out of what this transaction would send. Raises what can't be believed of them."""
        others: list[Publication] = []
        own: list[Note] = []
        for publication in publications:
            seen = self._to_itself(publication)
            if seen is None:
                others.append(publication)
            else:
                own.append(self.note(publication.message, publication.exchange, seen))
        if not own:
            return Kept(others)
        kept = await self.keep(tx, own)
        for _, error in kept.refused:
            raise error
        kept.publications = [*others, *kept.publications]
        return kept

    def _to_itself(self, publication: Publication) -> Sighting | None:
        """A report to this owner, seen: of one workflow another version may have another."""
        if publication.exchange not in self.owned or not is_report(publication.message):
            return None
        seen = sight(publication.message, publication.exchange, publication.routing_key)
        return seen if seen is not None and seen.stamp.owner == self.service else None

    def anothers(self, message: Message, workflow: str) -> bool:
        """Whether a report is for the owner of another version, who hears of it too: all get the workflow's reports."""
        seen = sight(message, workflow, "")
        return seen is not None and seen.stamp.owner != self.service and seen.stamp.version not in self.owned[workflow]

    def note(self, message: Message, workflow: str, seen: Sighting | None = None) -> Note:
        """A report, read and checked, and looked at if it was not `seen` yet. Raises one of `stamp.errors.Theirs`."""
        report = read_report(message, self.owned[workflow], self.codec)
        # One that was released came by the name of the queue: what it is says its type.
        seen = seen or sight(message, workflow, report_key(report.step))
        if seen is None:
            raise Equivocation("a history of the report can't be read")
        return Note(message, seen, report.workflow, report.events)

    async def keep(self, tx: Transaction, notes: Sequence[Note]) -> Kept:
        """Write what these notes say into the ledger. What follows is returned, for the outbox of `tx`."""
        books = books_of(tx)
        runs = sorted({note.seen.stamp.run for note in notes})
        rows = {run: load(data) for run, data in (await books.read_runs(runs)).items()}
        kept, changed = Kept(), dict[str, tuple[Record, Workflow]]()
        for note in notes:
            run = note.seen.stamp.run
            try:
                record, publications = self._advanced(rows.get(run), note)
            except StampError as error:
                kept.refused.append((note, error))
                continue
            if record is rows.get(run):
                kept.repeated.append(note)
            else:
                kept.publications += publications
                kept.ended += [record] if record.ended and not (run in rows and rows[run].ended) else []
                rows[run], changed[run] = record, (record, note.workflow)
        await books.write_runs(
            [row_of(record, workflow, now=self.clock.now()) for record, workflow in changed.values()]
        )
        return kept

    def _advanced(self, before: Record | None, note: Note) -> tuple[Record, list[Publication]]:
        after = apply(before, note.seen)
        if after.equivocal:
            raise Equivocation(
                f"hop {note.seen.stamp.seq} of run {after.run} came with two different contents",
                fix="find out which of two services sent it; one of them ran what the other did not",
            )
        record, messages = steer(note.workflow, before, after, note.seen, note.events)
        decision = Decision(stamp=record.stamp, settle=Forward(), messages=messages)
        publications = outgoing.publications(
            decision,
            note.workflow,
            self.codec,
            service=self.service,
            now=self.clock.now(),
            trace=outgoing.trace_of(note.message),
        )
        return record, publications


def books_of(tx: Transaction) -> Bookkeeping:
    """The transaction as one that keeps a ledger. Raises `DefinitionError` for a store that can't."""
    if hasattr(tx, "read_runs"):  # not `isinstance`: against a protocol that costs 9 µs, every time
        return cast(Bookkeeping, tx)
    raise DefinitionError(f"{type(tx).__name__} keeps no ledger", fix="open the owner with a store that has one")


def row_of(record: Record, workflow: Workflow, *, now: float) -> LedgerRow:
    """The record with what SQL may ask of it."""
    stamp = record.stamp
    error = stamp.error or {}
    done = record.done
    deadline = None if stamp.deadline is None else epoch(stamp.deadline)
    return LedgerRow(
        run=record.run,
        workflow=stamp.workflow,
        version=stamp.version,
        status=record.status(0.0),
        event=stamp.event,
        seq=stamp.seq,
        done=tuple(entry.step for entry in done),
        current=tuple(record.current_steps(workflow)),
        remaining=record.remaining(workflow),
        to_undo=record.to_undo,
        attempts=sum(entry.attempt for entry in done),
        error=f"{error.get('type', '')}: {error.get('message', '')}" if error else "",
        started=epoch(stamp.started),
        deadline=deadline,
        updated=now,
        ended=now if record.ended else None,
        expires=_expiry(stamp, now) if record.ended else None,
        record=dump(record),
    )


def _expiry(stamp: Stamp, now: float) -> float | None:
    expires = expires_of(stamp)
    return None if expires is None else max(expires, now + GRACE)


@dataclass(slots=True, kw_only=True)
class Desk:
    """Works off one ledger queue of an owner."""

    keeper: Keeper
    workflow: str
    store: Store | NoStore
    sender: Sender
    tell: Teller

    @property
    def queue(self) -> str:
        return ledger_queue(self.keeper.service, self.workflow)

    async def travel(self, deliveries: Sequence[Delivery], settler: Settler) -> None:
        """Settle each delivery once; what can't be read or believed is held."""
        notes, messages = self._read(deliveries)
        if notes:
            messages += await self._noted(notes)
        await self.sender.send(messages)
        await settler.ack(deliveries)

    def _read(self, deliveries: Sequence[Delivery]) -> tuple[list[Note], list[Publication]]:
        notes: list[Note] = []
        held: list[Publication] = []
        for delivery in deliveries:
            is_held = delivery.exchange == HELD or parking.REASON in delivery.message.headers
            if is_held or delivery.routing_key == end_key("failed"):
                notes += self._of_others(delivery, HELD if is_held else self.workflow)
                continue
            try:
                notes += self._of_report(delivery.message)
            except Theirs as error:
                held.append(self._held(delivery.message, error))
        return notes, held

    def _of_report(self, message: Message) -> list[Note]:
        try:
            return [self.keeper.note(message, self.workflow)]
        except Theirs:
            if self.keeper.anothers(message, self.workflow):
                return []
            raise

    def _of_others(self, delivery: Delivery, exchange: str) -> list[Note]:
        """What is held for a participant, or was dropped by hand.

        Nothing for what is another workflow's, a report, or not to be believed: nobody waits for it here.
        """
        versions = self.keeper.owned[self.workflow]
        seen = sight(delivery.message, exchange, delivery.routing_key)
        if seen is None or is_report(delivery.message) or seen.stamp.workflow != self.workflow:
            return []
        try:
            self.keeper.codec.notice(parking.unpark(delivery.message), versions)
        except Theirs:
            return []
        workflow = versions.get(seen.stamp.version)
        return [] if workflow is None else [Note(delivery.message, seen, workflow)]

    async def _noted(self, notes: Sequence[Note]) -> list[Publication]:
        tries = 0
        while True:
            try:
                messages = await self._note(notes)
            except StoreUnavailable as error:
                self._pause(error, tries)
                await sleep(self.keeper.clock, BACKOFF[min(tries, len(BACKOFF) - 1)])
                tries += 1
                continue
            if tries:
                self.tell(Resumed(service=self.keeper.service, what="store", at=self.keeper.clock.now()))
            return messages

    def _pause(self, error: StoreUnavailable, tries: int) -> None:
        if not tries:
            now = self.keeper.clock.now()
            self.tell(Paused(service=self.keeper.service, what="store", detail=str(error), at=now))
            log.warning("%s: the ledger waits: %s", self.keeper.service, error)

    async def _note(self, notes: Sequence[Note]) -> list[Publication]:
        async with self.store.begin() as tx:
            kept = await self.keeper.keep(tx, notes)
            for publication in kept.publications:
                await tx.emit([publication], run=publication.message.correlation_id or "")
        self._tell_ends(kept.ended)
        await self._repeated(kept.repeated)
        return [*kept.publications, *(self._held(note.message, error) for note, error in kept.refused)]

    async def _repeated(self, notes: Sequence[Note]) -> None:
        """What a dead process wrote and never got confirmed goes out soon, not when its lease ends."""
        if not notes:
            return
        try:
            await self.store.revive([note.seen.stamp.run for note in notes])
        except StoreUnavailable as error:  # what the notes say is committed: nothing of it may be done again for this
            log.warning("%s: rows of %d runs wait for their lease to end: %s", self.keeper.service, len(notes), error)
        for note in notes:
            if not is_report(note.message):
                continue  # the copy in a held queue, which tells of a run and is handled by nobody
            self.tell(
                DuplicateDropped(
                    service=self.keeper.service,
                    consumer=self.queue,
                    message_id=note.message.message_id,
                    at=self.keeper.clock.now(),
                )
            )

    def _tell_ends(self, ended: Iterable[Record]) -> None:
        for record in ended:
            for fact in ended_facts(self.keeper.service, record.stamp, self.keeper.clock.now()):
                self.tell(fact)

    def _held(self, message: Message, error: StampError) -> Publication:
        now = self.keeper.clock.now()
        self.tell(
            MessageHeld(
                service=self.keeper.service,
                queue=self.queue,
                message_id=message.message_id,
                reason=error.reason,
                detail=str(error),
                at=now,
            )
        )
        origin = {parking.QUEUE: self.queue}
        return parking.park(
            message, service=self.keeper.service, reason=error.reason, detail=str(error), now=now, origin=origin
        )
