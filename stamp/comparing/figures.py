"""What the turns of a style amount to: medians with their range, means a run, one word for an outage."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stamp.comparing.counting import WRITTEN, Counts, written
from stamp.comparing.outage import FULL, Outage
from stamp.comparing.speed import Turn
from stamp.comparing.variants import Impossible

NOTHING = "nothing"
STATUS_WAITS = "status and undo wait"
RUNS_WAIT = "runs wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One style, measured."""

    name: str
    owner: str | None
    turns: Sequence[Turn]
    outage: Outage
    verdict: str = NOTHING
    """What waits while the owner is down."""

    @property
    def runs(self) -> int:
        return sum(turn.runs for turn in self.turns)

    @property
    def missing(self) -> int:
        """Runs that neither ended nor are held."""
        stuck = self.outage.runs - self.outage.ended - self.outage.ended_later
        return sum(turn.missing for turn in self.turns) + stuck

    @property
    def ends(self) -> Counts:
        """How the runs of the bursts ended."""
        return sum((turn.ends for turn in self.turns), Counter[str]())

    @property
    def counts(self) -> Counts:
        """Of all bursts."""
        return sum((turn.counts for turn in self.turns), Counter[str]())

    @property
    def rates(self) -> list[float]:
        """Runs a second of each turn."""
        return [turn.runs / max(turn.seconds, 1e-6) for turn in self.turns]

    @property
    def latencies(self) -> list[float]:
        """Milliseconds of the runs that went one by one, sorted."""
        return sorted(ms for turn in self.turns for ms in turn.latencies)

    def a_run(self, kind: str) -> float:
        """The mean of a counter for each run."""
        return self.counts[kind] / max(1, self.runs)

    def a_hop(self, kind: str) -> float:
        """The mean of a counter for each finished hop."""
        return self.counts[kind] / max(1, self.counts["hops"])

    @property
    def rows(self) -> float:
        """Rows written by the toolkit for each run."""
        return written(self.counts) / max(1, self.runs)

    def asked(self, what: str) -> float:
        """The median of `ms`, `messages` or `rows` over the answers."""
        found = [float(getattr(one, what)) for turn in self.turns for one in turn.answers]
        return statistics.median(found) if found else 0.0

    def document(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "style": self.name,
            "possible": True,
            "owner": self.owner,
            "runs": self.runs,
            "ends": dict(sorted(self.ends.items())),
            "missing": self.missing,
            "runs_per_s": _spread(self.rates),
            "latency_ms": {
                "p50": round(quantile(self.latencies, 0.5), 1),
                "p95": round(quantile(self.latencies, 0.95), 1),
                "runs": len(self.latencies),
            },
            "per_run": self._per_run(),
            "bytes_per_hop": {"stamp": round(self.a_hop("stamp_bytes")), "message": round(self.a_hop("bytes"))},
            "bytes_per_message": self._per_message(),
            "status": self._status(),
            "owner_down": self._down(),
        }

    def _per_run(self) -> dict[str, float]:
        kinds = ("hops", "published", "delivered", *WRITTEN, "forgotten", "commits")
        return {**{kind: round(self.a_run(kind), 2) for kind in kinds}, "rows": round(self.rows, 2)}

    def _per_message(self) -> dict[str, int]:
        published = max(1, self.counts["published"])
        return {
            "stamp": round(self.counts["stamp_bytes"] / published),
            "message": round(self.counts["bytes"] / published),
        }

    def _status(self) -> dict[str, Any]:
        found = [one for turn in self.turns for one in turn.answers]
        numbers = {what: round(self.asked(what), 1) for what in ("ms", "messages", "rows")}
        return {**numbers, "asked": len(found), "answered": sum(one.complete for one in found)}

    def _down(self) -> dict[str, Any]:
        seen = self.outage
        return {
            "what_waits": self.verdict,
            "stopped": seen.stopped,
            "runs": seen.runs,
            "steps_while_down": seen.steps,
            "steps_afterwards": seen.waited,
            "undone_while_down": seen.undone,
            "undone_afterwards": seen.undone_later,
            "ended_while_down": seen.ended,
            "ended_afterwards": seen.ended_later,
            "status": seen.answered,
        }


def verdict(owner: str | None, seen: Outage, ownerless: Outage) -> str:
    """What waits while the owner is down, beside its own steps: held against the same with nobody's runs."""
    if owner is None:
        return NOTHING
    if seen.share < ownerless.share:
        return RUNS_WAIT
    return NOTHING if seen.answered == FULL else STATUS_WAITS


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of sorted values lies, the nearest one that occurred."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _spread(samples: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(samples), 1),
        "min": round(min(samples), 1),
        "max": round(max(samples), 1),
    }


def impossible(style: Impossible) -> Mapping[str, Any]:
    """A style that the workflow can't have, as plain data."""
    return {"style": style.name, "possible": False, "why": style.why}
