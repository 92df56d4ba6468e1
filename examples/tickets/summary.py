"""The account at the end: every ticket that came in is somewhere, and here is where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stamp.ledger import Record
from tickets.feed import Intake


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

    @property
    def accounted(self) -> bool:
        """Whether every run that was started has come to an end or is held for a person."""
        return self.missing == 0 and self.started == self.completed + self.compensated + self.held

    def document(self) -> dict[str, Any]:
        """The same as plain data."""
        return {**asdict(self), "accounted": self.accounted}


def account(intake: Intake, rows: Mapping[str, Record], *, waiting: int, seconds: float, now: float) -> Summary:
    """Count what the journal has shown of the runs that were started; `waiting` messages are in queues or outboxes."""
    ours = [rows[run] for run in intake.runs if run in rows]
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
        parked=dict(Counter(f"{row.latest.reason}: {row.latest.detail}" for row in ours if row.status(now) == "held")),
        **ended,
    )


def _turned_back(row: Record) -> str:
    error = row.stamp.error or {}
    return f"{error.get('step')}: {error.get('message')}"


def samples(intake: Intake, rows: Mapping[str, Record]) -> Sequence[Record]:
    """Two runs worth a look: the first that went all the way, and the one that was undone furthest."""
    ours = [rows[run] for run in intake.runs if run in rows]
    completed = [row for row in ours if row.stamp.phase == "completed"]
    undone = [row for row in ours if row.stamp.phase == "compensated"]
    furthest = max(undone, key=lambda row: row.stamp.seq, default=None)
    return [*completed[:1], *([furthest] if furthest else [])]
