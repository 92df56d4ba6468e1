"""One row a run, projected from the messages that carry its stamps.

`apply` is indifferent to order and to duplicates: the row shows the furthest sighting of the run, whatever came
first. Pure; the journal's readers, the test bench and a front controller feed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal, cast

import msgspec

from brokers.contract import Message
from stamp import parking
from stamp.codec import attempt_of, check_header, header_text, parse
from stamp.decision import undo_stack
from stamp.errors import StampError
from stamp.layout import DELAY, HELD
from stamp.model import ENDED, Entry, Stamp, epoch
from stamp.workflow import Workflow

Kind = Literal["progress", "released", "retry", "held"]
Status = Literal["running", "retrying", "overdue", "compensating", "completed", "compensated", "failed", "held"]

_RANK: dict[Kind, int] = {"progress": 0, "released": 1, "retry": 2, "held": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One message of a run, seen on an exchange."""

    stamp: Stamp
    kind: Kind
    at: float
    """Epoch seconds: when it was written, or when it was held or released."""
    attempt: int
    message_id: str
    routing_key: str
    reason: str = ""
    detail: str = ""
    service: str = ""
    queue: str = ""

    @property
    def order(self) -> tuple[int, float, int, int]:
        """Later facts of a run compare greater. Retries carry the moment of the first sending: the attempt tells."""
        ended = 1 if self.stamp.phase in ENDED else 0
        return (self.stamp.seq + ended, self.at, _RANK[self.kind], self.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Where a run stands, as far as it was seen."""

    run: str
    latest: Sighting
    digests: frozenset[tuple[str, int, str]] = frozenset()
    equivocal: bool = False
    """The same hop was seen with two different contents."""

    @property
    def stamp(self) -> Stamp:
        """The furthest stamp seen."""
        return self.latest.stamp

    @property
    def workflow(self) -> str:
        return self.stamp.workflow

    @property
    def done(self) -> tuple[Entry, ...]:
        """The finished hops, oldest first."""
        return self.stamp.history

    @property
    def to_undo(self) -> tuple[str, ...]:
        """The steps that would be undone, first to undo first."""
        return tuple(entry.step for entry in reversed(undo_stack(self.stamp)))

    @property
    def ended(self) -> bool:
        return self.stamp.phase in ENDED

    def remaining(self, workflow: Workflow | None) -> tuple[str, ...]:
        """The steps still ahead: by the table going forward, by the undo stack going backward."""
        if self.ended:
            return ()
        if self.stamp.phase == "backward":
            return tuple(f"undo {step}" for step in self.to_undo)
        return () if workflow is None else workflow.remaining(self.stamp.event)

    def status(self, now: float) -> Status:
        """The one word for where the run stands at `now` (epoch seconds)."""
        if self.ended:
            return cast(Status, self.stamp.phase)
        if self.latest.kind == "held":
            return "held"
        if self.stamp.deadline is not None and now > epoch(self.stamp.deadline):
            return "overdue"
        if self.stamp.phase == "backward":
            return "compensating"
        return "retrying" if self.latest.kind == "retry" else "running"


def sight(message: Message, exchange: str, routing_key: str) -> Sighting | None:
    """What a message on an exchange says about its run; `None` when it carries no readable stamp."""
    try:
        stamp = parse(header_text(message))
        check_header(stamp)
    except StampError:
        return None
    if not _legible(stamp):
        return None
    kind = _kind(exchange, routing_key)
    noted = message.headers.get(parking.AT)
    at = noted / 1000 if isinstance(noted, int) else float(message.timestamp or 0)
    return Sighting(
        stamp=stamp,
        kind=kind,
        at=at,
        attempt=attempt_of(message),
        message_id=message.message_id,
        routing_key=routing_key,
        reason=str(message.headers.get(parking.REASON, "")),
        detail=str(message.headers.get(parking.DETAIL, "")),
        service=str(message.headers.get(parking.SERVICE) or message.app_id or ""),
        queue=str(message.headers.get(parking.QUEUE, "")),
    )


def _legible(stamp: Stamp) -> bool:
    """Whether all of the history can be read. Others write it, and a service looks at its newest entry only."""
    try:
        return all(epoch(entry.at) is not None for entry in stamp.history)
    except (msgspec.DecodeError, ValueError):
        return False


def _kind(exchange: str, routing_key: str) -> Kind:
    if exchange == HELD:
        return "released" if routing_key.startswith(parking.RELEASED) else "held"
    return "retry" if exchange.startswith(DELAY) else "progress"


def apply(record: Record | None, sighting: Sighting) -> Record:
    """The row after one more sighting. Applying it again, or in another order, gives the same row."""
    stamp = sighting.stamp
    if record is None:
        record = Record(run=stamp.run, latest=sighting)
    if sighting.kind == "progress":
        record = _fenced(record, sighting)
    return replace(record, latest=sighting) if sighting.order > record.latest.order else record


def _fenced(record: Record, sighting: Sighting) -> Record:
    stamp = sighting.stamp
    content = blake2b(stamp.to_json(), digest_size=8).hexdigest()
    place = (f"{stamp.branch or ''}|{stamp.phase}", stamp.seq, content)
    same_hop = {digest for branch, seq, digest in record.digests if (branch, seq) == place[:2]}
    equivocal = record.equivocal or bool(same_hop - {content})
    return replace(record, digests=record.digests | {place}, equivocal=equivocal)


def project(sightings: Iterable[Sighting]) -> dict[str, Record]:
    """All rows, by run id."""
    rows: dict[str, Record] = {}
    for sighting in sightings:
        run = sighting.stamp.run
        rows[run] = apply(rows.get(run), sighting)
    return rows
