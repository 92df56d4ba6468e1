"""The conservation ledger: every run that was started is in exactly one place, or it is missing.

    started = completed + compensated + failed + held + in flight + missing

Pure. The journal says what was ever published, in order; depths of queues, outboxes and inboxes say where the last
message of a run can be. Nothing is read from a queue: a message waits there when the queue holds at least as many
messages as should be in it. Queues are first in, first out, so of those that should be there the oldest lack.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Literal, cast

from brokers.contract import Message, Recorded
from stamp.ids import inbox_key
from stamp.layout import held_queue
from stamp.ledger import Record, apply
from stamp.model import ENDED
from stamp.reading.waiting import Routes
from stamp.sighting import Kind, Sighting, rank, sight, unreadable

Fate = Literal["completed", "compensated", "failed", "held", "in flight", "missing"]

SENT: frozenset[Kind] = frozenset({"progress", "retry"})
OUTBOX = "an outbox"
MOVING = "on its way"
BRANCHES = "its branches"
"""Where a run is while branches of it are open: what came to a join lies in the joiner's tables, not in a queue."""
CHILD = "the run that it waits for"
"""Where a run is while a step of it waits for the end of another: in the tables of that step's service."""
UNKNOWN = "not known"


@dataclass(frozen=True, slots=True)
class Page:
    """One message with a readable stamp, as the journal keeps it."""

    sighting: Sighting
    offset: int
    exchange: str
    routing_key: str
    message: Message


@dataclass(slots=True)
class Line:
    """One run: its row in the ledger, the messages of its furthest hop in the order of the journal, its ends."""

    record: Record
    rank: int
    pages: list[Page]
    ends: dict[str, str] = field(default_factory=dict)
    """Message id of each terminal notice and what it says. Two ids: the run ended twice."""
    child: Line | None = None
    """The run that a step of it started last."""

    @property
    def waits(self) -> bool:
        """Whether a step waits for the run that it started, or has not heard yet that it ended."""
        return self.child is not None and (not self.child.ends or self.child.tip.offset > self.tip.offset)

    @property
    def run(self) -> str:
        return self.record.run

    def add(self, page: Page) -> None:
        """One more message of the furthest hop. A report takes the run on only where nothing else does."""
        if page.sighting.is_report and self.pages:
            return
        self.pages = [*(one for one in self.pages if not one.sighting.is_report), page]

    def taken_back(self) -> None:
        """The step that runs it undoes it: that it had completed is not its end any more."""
        self.ends = {message: phase for message, phase in self.ends.items() if phase != "completed"}

    @property
    def branched(self) -> bool:
        """Whether branches of it are open."""
        return any(head.branch for head in self.record.current)

    @property
    def tip(self) -> Page:
        """The last that was seen of it."""
        return self.pages[-1]

    @property
    def copy(self) -> Page | None:
        """The durable copy that takes the run on from where it is: what was sent last, else what was held.

        `None` when the journal keeps only the notice of a release, which has no body. What was held and released
        began again with its first sending.
        """
        if self.tip.sighting.kind == "held":
            return self.tip
        copy: Page | None = None
        for page in self.pages:
            if page.sighting.kind in SENT:
                copy = page
            elif page.sighting.kind == "held":
                copy = next((page for page in self.pages if page.sighting.kind == "progress"), page)
        return copy

    def path(self, routes: Routes) -> tuple[str, ...]:
        """The queues that its message goes through, the last one being where a consumer takes it; empty: not known."""
        copy = self.copy
        if copy is None:
            return ()
        if copy.sighting.kind == "held":
            last: str | None = held_queue(copy.routing_key) if copy is self.tip else copy.sighting.queue
        else:
            last = routes.queue_for(copy.sighting)
        if not last:
            return ()
        return (copy.exchange, last) if copy.sighting.kind == "retry" else (last,)


@dataclass(slots=True)
class Book:
    """Every run that the journal knows. Enter records in the order of the journal."""

    routes: Routes = field(default_factory=Routes)
    """Which event goes to which queue: as declared before the first record, else as the runs show."""
    lines: dict[str, Line] = field(default_factory=dict)
    end: int = 0
    """The offset after the last record that was entered."""
    unreadable: int = 0
    """Messages with a stamp that can't be read: no run is accounted for by them."""

    def enter(self, recorded: Recorded) -> None:
        """One more record; what carries no readable stamp is passed over."""
        self.end = recorded.offset + 1
        sighting = sight(recorded.message, recorded.exchange, recorded.routing_key)
        if sighting is None:
            self.unreadable += unreadable(recorded.message)
            return
        page = Page(sighting, recorded.offset, recorded.exchange, recorded.routing_key, recorded.message)
        line = self._line(page)
        if sighting.stamp.parent is not None and sighting.stamp.phase in {"backward", "compensated"}:
            line.taken_back()
        if sighting.stamp.phase in ENDED and sighting.kind == "progress" and not sighting.branch:
            line.ends[sighting.message_id] = sighting.stamp.phase

    def _line(self, page: Page) -> Line:
        run, height = page.sighting.stamp.run, rank(page.sighting.stamp)
        line = self.lines.get(run)
        if line is None:
            line = self.lines[run] = Line(apply(None, page.sighting), height, [page])
        elif height > line.rank:
            self.routes.observe([line.tip.sighting, page.sighting])
            line.rank, line.pages = height, [page]
        elif height == line.rank:
            line.add(page)
        line.record = apply(line.record, page.sighting)
        if (about := page.sighting.stamp.parent) is not None and about["run"] in self.lines:
            self.lines[about["run"]].child = line
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What queues and databases said, in this order: depths, inboxes, outboxes; the journal is read on after them.

    In that order nothing that moves is taken for missing: a message that left its queue before is in an inbox, what
    that wrote is in an outbox, and what left the outbox is in the journal.
    """

    depths: Mapping[str, int | None] = field(default_factory=dict)
    """Ready messages by queue; `None`: there is no such queue."""
    handled: AbstractSet[tuple[str, str]] = frozenset()
    """(queue, inbox key) that an inbox knows."""
    unsent: Mapping[str, Unsent] = field(default_factory=dict)
    """By run: a message in an outbox."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message that is committed and not known as confirmed."""

    workflow: str
    event: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Where one run is."""

    run: str
    fate: Fate
    where: str = ""
    """The place of what is held or in flight; for what is missing the place where it should be."""
    why: str = ""
    line: Line | None = None
    """`None`: the run is only in an outbox so far."""
    line_offset: int | None = None
    """Of what is missing: where the journal saw it last."""
    healable: bool = False
    """Whether sending its last copy again takes it on."""


@dataclass(frozen=True, slots=True)
class Account:
    """The whole ledger."""

    verdicts: Sequence[Verdict]
    unreadable: int = 0
    """Messages that no run could be told from."""

    @property
    def started(self) -> int:
        return len(self.verdicts)

    def count(self, fate: Fate) -> int:
        """How many runs have this fate."""
        return sum(verdict.fate == fate for verdict in self.verdicts)

    @property
    def missing(self) -> list[Verdict]:
        """The runs that are nowhere, those seen longest ago first."""
        return sorted((one for one in self.verdicts if one.fate == "missing"), key=_last_seen)

    @property
    def doubled(self) -> list[Line]:
        """Runs that ended twice: two terminal notices with two message ids."""
        return [one.line for one in self.verdicts if one.line is not None and len(one.line.ends) > 1]

    @property
    def equivocal(self) -> list[Line]:
        """Runs of which one hop was seen with two contents: a step ran twice and both results went out."""
        return [one.line for one in self.verdicts if one.line is not None and one.line.record.equivocal]

    @property
    def places(self) -> dict[str, int]:
        """How many of the runs in flight are where."""
        found: dict[str, int] = {}
        for verdict in self.verdicts:
            if verdict.fate == "in flight":
                found[verdict.where] = found.get(verdict.where, 0) + 1
        return dict(sorted(found.items()))


def _last_seen(verdict: Verdict) -> float:
    return verdict.line.tip.sighting.at if verdict.line else 0.0


def asked(book: Book) -> list[str]:
    """The queues whose depths are needed."""
    return sorted({queue for line in _open(book) for queue in line.path(book.routes)})


def suspects(book: Book, depths: Mapping[str, int | None]) -> dict[str, list[str]]:
    """By the queue in which they should be and by the depths are not: what to ask inboxes for."""
    found: dict[str, list[str]] = {}
    for run, spot in _spots(book, depths).items():
        if not spot.there:
            found.setdefault(spot.queue, []).append(_key_of(book.lines[run]))
    return found


def judge(book: Book, evidence: Evidence, *, now: float, older_than: float) -> Account:
    """Where every run is. Nothing that was seen in the last `older_than` seconds is called missing."""
    spots = _spots(book, evidence.depths)
    verdicts = [
        _ended(line)
        or _branched(line)
        or _waiting(line)
        or _judged(line, spots[run], evidence, young=now - line.tip.sighting.at < older_than)
        for run, line in book.lines.items()
    ]
    fresh = [Verdict(run=run, fate="in flight", where=OUTBOX) for run in evidence.unsent if run not in book.lines]
    return Account([*verdicts, *fresh])


def agreed(first: Account, second: Account) -> Account:
    """The second look, in which only that is missing which was missing at the same place in the first."""
    before = {one.run: one.line_offset for one in first.missing}
    return Account(
        [
            replace(one, fate="in flight", where=MOVING, why="")
            if one.fate == "missing" and before.get(one.run) != one.line_offset
            else one
            for one in second.verdicts
        ]
    )


@dataclass(frozen=True, slots=True)
class _Spot:
    queue: str
    there: bool


def _ended(line: Line) -> Verdict | None:
    phase = next(reversed(line.ends.values()), line.record.stamp.phase if line.record.ended else None)
    return Verdict(run=line.run, fate=cast(Fate, phase), line=line) if phase else None


def _branched(line: Line) -> Verdict | None:
    """A run with open branches: held when one of them is, else in flight; the depth of no queue tells more."""
    if not line.branched:
        return None
    held = line.record.held
    if held is not None:
        return Verdict(run=line.run, fate="held", where=held_queue(held.service), line=line)
    return Verdict(run=line.run, fate="in flight", where=BRANCHES, line=line)


def _waiting(line: Line) -> Verdict | None:
    return Verdict(run=line.run, fate="in flight", where=CHILD, line=line) if line.waits else None


def _judged(line: Line, spot: _Spot, evidence: Evidence, *, young: bool) -> Verdict:
    held = line.tip.sighting.kind == "held"
    if spot.there and held:
        return Verdict(run=line.run, fate="held", where=spot.queue, line=line)
    if line.run in evidence.unsent:
        return Verdict(run=line.run, fate="in flight", where=OUTBOX, line=line)
    if spot.there:
        return Verdict(run=line.run, fate="in flight", where=spot.queue, line=line)
    if young:
        return Verdict(run=line.run, fate="in flight", where=MOVING, line=line)
    why, healable = _reason(line, spot, evidence)
    offset = line.tip.offset
    return Verdict(
        run=line.run, fate="missing", where=spot.queue, why=why, line=line, line_offset=offset, healable=healable
    )


def _reason(line: Line, spot: _Spot, evidence: Evidence) -> tuple[str, bool]:
    """Why it counts as missing, and whether sending its copy again helps."""
    depth = evidence.depths.get(spot.queue)
    if (spot.queue, _key_of(line)) in evidence.handled:
        return "it was handled there, and what followed is in no outbox and not in the journal", False
    if depth is None:
        return "there is no such queue", True
    return ("the queue is empty" if not depth else f"the queue holds only {depth}, all sent later"), True


def _key_of(line: Line) -> str:
    return inbox_key(line.run, line.tip.sighting.message_id)


def _spots(book: Book, depths: Mapping[str, int | None]) -> dict[str, _Spot]:
    """For each open run the queue where its message is, or the last one on its path, where it should be and is not."""
    found: dict[str, _Spot] = {}
    delayed: dict[str, list[Line]] = {}
    arrived: list[Line] = []
    for line in _open(book):
        match line.path(book.routes):
            case (_,):
                arrived.append(line)
            case (rung, _):
                delayed.setdefault(rung, []).append(line)
            case _:
                found[line.run] = _Spot(UNKNOWN, there=True)
    for rung, group in delayed.items():
        gone, inside = _split(group, depths, rung)
        found |= {line.run: _Spot(rung, there=True) for line in inside}
        arrived += gone
    for queue, group in _by_last_queue(arrived, book.routes).items():
        gone, inside = _split(group, depths, queue)
        found |= {line.run: _Spot(queue, there=True) for line in inside}
        found |= {line.run: _Spot(queue, there=False) for line in gone}
    return found


def _by_last_queue(lines: Iterable[Line], routes: Routes) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.path(routes)[-1], []).append(line)
    return groups


def _split(
    lines: Sequence[Line], depths: Mapping[str, int | None], queue: str
) -> tuple[Sequence[Line], Sequence[Line]]:
    """The oldest, for which the queue holds too few messages, and the others."""
    group = sorted(lines, key=lambda line: line.tip.offset)
    lacking = max(len(group) - (depths.get(queue, len(group)) or 0), 0)
    return group[:lacking], group[lacking:]


def _open(book: Book) -> list[Line]:
    """The runs whose message is in a queue, or should be."""
    return [line for line in book.lines.values() if not (_ended(line) or line.branched or line.waits)]
