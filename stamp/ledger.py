"""One row a run, projected from the messages that carry its stamps.

`apply` is indifferent to order and to duplicates: the row shows the furthest sighting of the run, whatever came
first. Where stamps carry no history, their reports are put together into one. Pure; the journal's readers, the test
bench, front controllers and orchestrators feed it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec

from stamp.branching import Place, around, fork_after, natural, place_of
from stamp.codec import parse
from stamp.history import undo_stack, unsettled
from stamp.layout import undo_key
from stamp.model import ENDED, Entry, Stamp, epoch, timestamp
from stamp.sighting import Sighting
from stamp.workflow import Workflow

Seat = tuple[str, int]
"""Where an entry stands: its branch (empty on the trunk) and its `seq`."""

Status = Literal["running", "retrying", "overdue", "compensating", "completed", "compensated", "failed", "held"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Where a run stands, as far as it was seen. What follows from that is worked out once, when it is first asked."""

    run: str
    heads: Mapping[str, Sighting]
    """The furthest sighting of the trunk (empty) and of each branch."""
    digests: frozenset[tuple[str, int, str]] = frozenset()
    equivocal: bool = False
    """The same hop was seen with two different contents."""
    entries: Mapping[Seat, bytes] = field(default_factory=dict)
    """Finished hops as JSON, as far as they were reported: where stamps carry no history."""
    hints: Mapping[Seat, Entry] = field(default_factory=dict)
    """Finished hops as slim stamps suggest them: their steps, and nothing that they kept."""

    @cached_property
    def latest(self) -> Sighting:
        """The furthest sighting of all. What ended on the trunk has ended, whatever a late branch does."""
        if len(self.heads) == 1:
            return next(iter(self.heads.values()))
        return max(self.heads.values(), key=lambda head: (not head.branch and head.stamp.phase in ENDED, head.order))

    @cached_property
    def current(self) -> tuple[Sighting, ...]:
        """The furthest sightings that nothing has followed: one on the trunk, or one for each open branch."""
        if len(self.heads) == 1:
            return tuple(self.heads.values())
        inner = defaultdict(list)
        for branch in filter(None, self.heads):
            place = place_of(branch)
            inner[place.parent or ""].append((place, self.heads[branch].stamp.seq))
        found = [head for head in self.heads.values() if not self._followed(head, inner.get(head.branch, ()))]
        return tuple(sorted(found, key=lambda head: natural(head.branch)))

    def _followed(self, head: Sighting, inner: Sequence[tuple[Place, int]]) -> bool:
        """Whether a join went on behind this branch, or every branch of the fork that it opened was seen."""
        seq = head.stamp.seq
        outer = [self.heads[branch] for branch in around(head.branch) if branch in self.heads]
        if any(_is_past(other, seq) for other in outer):
            return True
        places = [place for place, reached in inner if reached >= seq]
        seen = Counter(place.fork for place in places)
        return any(seen[place.fork] == place.children for place in places)

    @property
    def stamp(self) -> Stamp:
        """The furthest stamp seen."""
        return self.latest.stamp

    @property
    def workflow(self) -> str:
        return self.stamp.workflow

    @cached_property
    def done(self) -> tuple[Entry, ...]:
        """The finished hops of the trunk and of all open branches, oldest first."""
        if self.entries or self.hints:
            return self._reported()
        current = self.current
        if len(current) < 2:  # noqa: PLR2004
            return self.stamp.history
        found = {(entry.seq, entry.branch or ""): entry for head in current for entry in head.stamp.history}
        return tuple(found[key] for key in sorted(found))

    def _reported(self) -> tuple[Entry, ...]:
        found = {**self.hints, **{seat: _entry(text) for seat, text in self.entries.items()}}
        return tuple(found[seat] for seat in sorted(found, key=lambda seat: (seat[1], natural(seat[0]))))

    @cached_property
    def to_undo(self) -> tuple[str, ...]:
        """The steps that would be undone, first to undo first."""
        return tuple(entry.step for entry in reversed(unsettled(self.done)))

    @cached_property
    def ended(self) -> bool:
        """Whether it ended on the trunk, or every one of its independent branches did."""
        return all(head.stamp.phase in ENDED for head in self.current) or (
            self.stamp.phase in ENDED and not self.latest.branch
        )

    @cached_property
    def held(self) -> Sighting | None:
        """The held message that a person has to look at; `None` when there is none, or the run has ended."""
        return None if self.ended else next((head for head in self.current if head.kind == "held"), None)

    def current_steps(self, workflow: Workflow) -> tuple[str, ...]:
        """The steps that have their turn now, of all branches; the one that is being undone while it goes back."""
        if self.ended:
            return ()
        if any(head.stamp.phase == "backward" for head in self.current):
            return self.to_undo[:1]
        names = [step.name for head in self.current for step in workflow.table.after(head.stamp.event)]
        return tuple(dict.fromkeys(names))

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


def apply(record: Record | None, sighting: Sighting) -> Record:
    """The row after one more sighting. Applying it again, or in another order, gives the same row."""
    if record is None:
        record = Record(run=sighting.stamp.run, heads={sighting.branch: sighting})
    record = _reported(record, sighting.stamp)
    if sighting.kind == "progress" and not sighting.is_report and not _is_word(sighting):
        record = _hinted(_fenced(record, sighting), sighting)
    known = record.heads.get(sighting.branch)
    # Of two that are equally far any will do, but always the same one: their order must not show.
    if known is not None and (known.order, known.message_id) >= (sighting.order, sighting.message_id):
        return record
    return replace(record, heads={**record.heads, sighting.branch: sighting})


def _is_word(sighting: Sighting) -> bool:
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


def _reported(record: Record, stamp: Stamp) -> Record:
    """With the entry that a slim stamp carries, which is fenced by branch and `seq`: equal ones must be the same."""
    raw = stamp.raw_history() if stamp.owner is not None else []
    if not raw:
        return record
    text = bytes(raw[-1])
    entry = _entry(text)
    seat = _seat(entry)
    known = record.entries.get(seat)
    if known is None:
        return replace(record, entries={**record.entries, seat: text})
    return record if _entry(known) == entry else replace(record, equivocal=True)


def _hinted(record: Record, sighting: Sighting) -> Record:
    """With the step that a slim stamp names as the last."""
    stamp = sighting.stamp
    last = str(stamp.past.get("last", ""))
    if not last or stamp.phase not in {"forward", "completed"}:
        return record
    step, _, visit = last.rpartition(":")
    branch = _emitted_in(stamp.branch, last)
    hint = Entry(
        seq=stamp.seq,
        step=step,
        service=sighting.service,
        at=timestamp(sighting.at),
        outcome="ok",
        branch=branch,
        visit=int(visit) if visit.isdecimal() else 1,
    )
    return replace(record, hints={**record.hints, (branch or "", stamp.seq): hint})


def _emitted_in(branch: str | None, last: str) -> str | None:
    """The branch of the step behind a message: that of the message, unless it is an item of the fork just opened."""
    if branch is None:
        return None
    place = place_of(branch)
    return place.parent if place.fork == fork_after(place.parent, last) else branch


def _entry(text: bytes) -> Entry:
    return msgspec.json.decode(text, type=Entry)


class _Seen(msgspec.Struct):
    """A sighting as it is stored."""

    stamp: msgspec.Raw
    kind: Any
    at: float
    attempt: int
    message_id: str
    routing_key: str
    reason: str
    detail: str
    service: str
    queue: str


class _Stored(msgspec.Struct, omit_defaults=True):
    """A record as it is stored."""

    run: str
    heads: dict[str, _Seen]
    digests: list[tuple[str, int, str]] = []
    equivocal: bool = False
    entries: list[msgspec.Raw] = []


def dump(record: Record) -> bytes:
    """The record as JSON, for a table. What slim stamps only hint at is left out: an owner gets reports."""
    heads = {branch: _Seen(msgspec.Raw(head.stamp.to_json()), *_plain(head)) for branch, head in record.heads.items()}
    entries = [msgspec.Raw(text) for text in record.entries.values()]
    return msgspec.json.encode(_Stored(record.run, heads, sorted(record.digests), record.equivocal, entries))


def load(data: bytes) -> Record:
    """A record that `dump` has written."""
    stored = msgspec.json.decode(data, type=_Stored)
    entries = {_seat(_entry(bytes(text))): bytes(text) for text in stored.entries}
    return Record(
        run=stored.run,
        heads={branch: _head(seen) for branch, seen in stored.heads.items()},
        digests=frozenset(stored.digests),
        equivocal=stored.equivocal,
        entries=entries,
    )


def _seat(entry: Entry) -> Seat:
    return (entry.branch or "", entry.seq)


def _plain(head: Sighting) -> list[Any]:
    return [getattr(head, name) for name in _Seen.__struct_fields__[1:]]


def _head(seen: _Seen) -> Sighting:
    values = {name: getattr(seen, name) for name in _Seen.__struct_fields__[1:]}
    return Sighting(stamp=parse(bytes(seen.stamp)), **values)


def project(sightings: Iterable[Sighting]) -> dict[str, Record]:
    """All rows, by run id."""
    rows: dict[str, Record] = {}
    for sighting in sightings:
        run = sighting.stamp.run
        rows[run] = apply(rows.get(run), sighting)
    return rows
