"""The account at the end: everything that came in is somewhere, and here is where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from common.books import Claim
from common.feed import Intake
from stamp.ledger import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of runs, except `lines`, `rejected` and `duplicates`, which count lines."""

    lines: int
    rejected: int
    duplicates: int
    started: int
    completed: int
    compensated: int
    held: int
    in_flight: int
    """Neither ended nor held, and their messages still wait in a queue or an outbox."""
    missing: int
    """Neither ended nor held, and nothing waits anywhere: lost."""
    seconds: float
    hops: int
    undone: Mapping[str, int] = field(default_factory=dict)
    """Compensated runs by what turned them back."""
    parked: Mapping[str, int] = field(default_factory=dict)
    """Held runs by reason code and detail."""

    books: Sequence[Claim] = ()
    """What must be true of the databases."""

    @property
    def accounted(self) -> bool:
        """Whether every run that was started has come to an end or is held for a person."""
        return self.missing == 0 and self.started == self.completed + self.compensated + self.held

    @property
    def balanced(self) -> bool:
        """Whether nothing in the databases speaks against any claim."""
        return all(claim.holds for claim in self.books)

    def document(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "accounted": self.accounted, "balanced": self.balanced}


def account(
    intake: Intake, ours: Sequence[Record], *, waiting: int, seconds: float, now: float, books: Sequence[Claim]
) -> Summary:
    """Count what the journal has shown of the runs that were started; `waiting` messages are in queues or outboxes."""
    status = Counter(row.status(now) for row in ours)
    ended = {name: status[name] for name in ("completed", "compensated", "held")}
    open_runs = len(intake.runs) - sum(ended.values())
    return Summary(
        lines=intake.lines,
        rejected=len(intake.rejected),
        duplicates=intake.duplicates,
        started=len(intake.runs),
        in_flight=min(open_runs, waiting),
        missing=max(0, open_runs - waiting),
        seconds=seconds,
        hops=sum(row.stamp.seq for row in ours),
        undone=dict(Counter(_turned_back(row) for row in ours if row.stamp.phase == "compensated")),
        parked=dict(Counter(f"{held.reason}: {held.detail}" for row in ours if (held := row.held))),
        books=books,
        **ended,
    )


def _turned_back(row: Record) -> str:
    """Where and why; of branches that failed side by side only where: it is chance which of them said so first."""
    error = row.stamp.error or {}
    failed = sorted(entry.step for entry in row.done if entry.outcome == "failed")
    if len(failed) > 1:
        return f"{' and '.join(failed)}: side by side"
    return f"{error.get('step')}: {error.get('message')}"


def samples(ours: Sequence[Record]) -> Sequence[Record]:
    """Two runs worth a look: the first that went all the way, and the one that was undone furthest."""
    completed = [row for row in ours if row.stamp.phase == "completed"]
    undone = [row for row in ours if row.stamp.phase == "compensated"]
    furthest = max(undone, key=lambda row: row.stamp.seq, default=None)
    return [*completed[:1], *([furthest] if furthest else [])]
