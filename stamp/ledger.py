"""One row a run, projected from the messages that carry its stamps.

`apply` is indifferent to order and to duplicates: the row shows the furthest sighting of the run, whatever came
first. Pure; the journal's readers, the test bench and a front controller feed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal, cast

import msgspec

from brokers.contract import Message
from stamp import parking
from stamp.branching import natural, place_of, within
from stamp.codec import STAMP, attempt_of, check_header, header_text, is_timer, parse
from stamp.errors import StampError
from stamp.history import undo_stack, unsettled
from stamp.layout import DELAY, HELD, undo_key
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

    @property
    def branch(self) -> str:
        """The branch it was seen in; empty on the trunk."""
        return self.stamp.branch or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Where a run stands, as far as it was seen."""

    run: str
    heads: Mapping[str, Sighting]
    """The furthest sighting of the trunk (empty) and of each branch."""
    digests: frozenset[tuple[str, int, str]] = frozenset()
    equivocal: bool = False
    """The same hop was seen with two different contents."""

    @property
    def latest(self) -> Sighting:
        """The furthest sighting of all. What ended on the trunk has ended, whatever a late branch does."""
        return max(self.heads.values(), key=lambda head: (not head.branch and head.stamp.phase in ENDED, head.order))

    @property
    def current(self) -> tuple[Sighting, ...]:
        """The furthest sightings that nothing has followed: one on the trunk, or one for each open branch."""
        found = [head for head in self.heads.values() if not self._followed(head)]
        return tuple(sorted(found, key=lambda head: natural(head.branch)))

    def _followed(self, head: Sighting) -> bool:
        """Whether a join went on behind this branch, or every branch of the fork that it opened was seen."""
        seq = head.stamp.seq
        outer = [other for branch, other in self.heads.items() if not branch or within(head.branch, branch)]
        if any(other is not head and _is_past(other, seq) for other in outer):
            return True
        places = [place_of(branch) for branch in self.heads if branch and self.heads[branch].stamp.seq >= seq]
        children = [place for place in places if (place.parent or "") == head.branch]
        return any(len([p for p in children if p.fork == place.fork]) == place.children for place in children)

    @property
    def stamp(self) -> Stamp:
        """The furthest stamp seen."""
        return self.latest.stamp

    @property
    def workflow(self) -> str:
        return self.stamp.workflow

    @property
    def done(self) -> tuple[Entry, ...]:
        """The finished hops of the trunk and of all open branches, oldest first."""
        current = self.current
        if len(current) < 2:  # noqa: PLR2004
            return self.stamp.history
        found = {(entry.seq, entry.branch or ""): entry for head in current for entry in head.stamp.history}
        return tuple(found[key] for key in sorted(found))

    @property
    def to_undo(self) -> tuple[str, ...]:
        """The steps that would be undone, first to undo first."""
        return tuple(entry.step for entry in reversed(unsettled(self.done)))

    @property
    def ended(self) -> bool:
        """Whether it ended on the trunk, or every one of its independent branches did."""
        return all(head.stamp.phase in ENDED for head in self.current) or (
            self.stamp.phase in ENDED and not self.latest.branch
        )

    @property
    def held(self) -> Sighting | None:
        """The held message that a person has to look at; `None` when there is none, or the run has ended."""
        return None if self.ended else next((head for head in self.current if head.kind == "held"), None)

    def remaining(self, workflow: Workflow | None) -> tuple[str, ...]:
        """The steps still ahead, of all branches: by the table going forward, by the undo stack going backward."""
        if self.ended:
            return ()
        if any(head.stamp.phase == "backward" for head in self.current):
            return tuple(f"undo {step}" for step in self.to_undo)
        if workflow is None:
            return ()
        ahead = {step for head in self.current for step in workflow.remaining(head.stamp.event)}
        if len(self.current) > 1:
            return tuple(step.name for step in workflow.steps if step.name in ahead)
        return workflow.remaining(self.stamp.event)

    def status(self, now: float) -> Status:
        """The one word for where the run stands at `now` (epoch seconds)."""
        if self.ended:
            return cast(Status, self.stamp.phase)
        if self.held is not None:
            return "held"
        if self.stamp.deadline is not None and now > epoch(self.stamp.deadline):
            return "overdue"
        if any(head.stamp.phase == "backward" for head in self.current):
            return "compensating"
        return "retrying" if any(head.kind == "retry" for head in self.current) else "running"


def _is_past(head: Sighting, seq: int) -> bool:
    return head.stamp.seq > seq or head.stamp.phase in ENDED


def sight(message: Message, exchange: str, routing_key: str) -> Sighting | None:
    """What a message on an exchange says about its run; `None` when it carries no readable stamp, or only the time."""
    if is_timer(message):
        return None
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


def unreadable(message: Message) -> bool:
    """Whether it carries a stamp that nobody can read: `sight` passes over it, so its run may be missed."""
    return STAMP in message.headers and not is_timer(message) and sight(message, "", "") is None


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
    if record is None:
        record = Record(run=sighting.stamp.run, heads={sighting.branch: sighting})
    if sighting.kind == "progress" and not _is_report(sighting):
        record = _fenced(record, sighting)
    known = record.heads.get(sighting.branch)
    if known is not None and known.order >= sighting.order:
        return record
    return replace(record, heads={**record.heads, sighting.branch: sighting})


def _is_report(sighting: Sighting) -> bool:
    """Whether a branch only tells its join how it is: the join's answer carries the same hop once more."""
    stamp = sighting.stamp
    if stamp.branch is None or stamp.phase != "backward":
        return False
    return sighting.routing_key not in {undo_key(entry.step) for entry in undo_stack(stamp)}


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
