"""One run in time: its hops with waiting and working apart, what each changed, and its detours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stamp.branching import within
from stamp.ledger import project
from stamp.model import ENDED, Entry, Stamp, epoch
from stamp.reading.changes import Change, changes
from stamp.sighting import Sighting

Key = tuple[str, int]
"""Branch and seq: what names a hop."""

ROUNDING = 0.005
"""Seconds by which rounded times of one clock may contradict each other."""
_DETOURS = {"retry": 1, "held": 2, "released": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One line of a timeline. Times are epoch seconds, lengths are seconds; `None` is not known."""

    what: str
    """`started`, the outcome of a hop, `retry`, `held` or `released`."""
    seq: int
    step: str = ""
    service: str = ""
    branch: str = ""
    """The path of forks it happened in; empty on the trunk."""
    at: float | None = None
    wait: float | None = None
    """From the end of the hop before to the beginning of the work: queues, the broker, retries' pauses.

    Not known where the two services' clocks contradict each other."""
    work: float | None = None
    """How long the handler took."""
    attempt: int = 1
    event: str = ""
    """The last fact after this moment."""
    changes: tuple[Change, ...] | None = None
    """What the hop changed in the state; `None` when one side was not seen."""
    detail: str = ""

    def document(self) -> dict[str, Any]:
        """As plain values, with lengths in milliseconds; what is not known is left out."""
        values: dict[str, Any] = {
            "what": self.what,
            "seq": self.seq,
            "step": self.step or None,
            "service": self.service or None,
            "branch": self.branch or None,
            "at": self.at,
            "wait_ms": _milliseconds(self.wait),
            "work_ms": _milliseconds(self.work),
            "attempt": self.attempt,
            "event": self.event or None,
            "changes": None if self.changes is None else [change.document() for change in self.changes],
            "detail": self.detail or None,
        }
        return {name: value for name, value in values.items() if value is not None}


def _milliseconds(length: float | None) -> int | None:
    return None if length is None else round(length * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All moments of a run in order, and the sums."""

    moments: tuple[Moment, ...]
    started: float
    last: float
    """When the last hop seen ended."""

    @property
    def took(self) -> float:
        """Seconds from the start to the end of the last hop seen; clocks that differ give none."""
        return max(self.last - self.started, 0.0)

    @property
    def work(self) -> float:
        """Seconds of work in all hops."""
        return sum(moment.work or 0 for moment in self.moments)

    @property
    def wait(self) -> float:
        """Seconds of waiting between hops."""
        return sum(moment.wait or 0 for moment in self.moments)


def timeline(sightings: Iterable[Sighting]) -> Timeline:
    """The timeline of one run from what was seen of it, in any order. There must be at least one sighting."""
    seen = sorted(sightings, key=lambda sighting: sighting.order)
    stamps = {(one.branch, one.stamp.seq): one.stamp for one in seen if one.kind != "retry"}
    newest = seen[-1].stamp
    started = epoch(newest.started)
    entries = _entries(seen)
    hops = _hops(entries, stamps, started)
    begun = Moment(
        what="started",
        seq=0,
        at=started,
        event=stamps["", 0].event if ("", 0) in stamps else "",
        changes=changes({}, stamps["", 0].state) if ("", 0) in stamps else None,
    )
    moments = sorted([begun, *hops, *_detours(seen)], key=_place)
    last = max((epoch(entry.at) for entry in entries.values()), default=started)
    return Timeline(moments=tuple(moments), started=started, last=last)


def _entries(seen: Sequence[Sighting]) -> dict[Key, Entry]:
    """Every hop that any stamp tells of; of slim stamps, what their reports add up to."""
    (record,) = project(seen).values()
    carried = [entry for one in seen for entry in one.stamp.history]
    return {(entry.branch or "", entry.seq): entry for entry in (*carried, *record.done)}


def _place(moment: Moment) -> tuple[int, int, float, int]:
    """Detours follow the hop whose message they are about, in the order of time where it is known."""
    detour = _DETOURS.get(moment.what, 0)
    return (moment.seq, min(detour, 1), moment.at or 0.0, moment.attempt * 10 + detour)


def _hops(entries: Mapping[Key, Entry], stamps: Mapping[Key, Stamp], started: float) -> list[Moment]:
    hops = []
    for branch, seq in sorted(entries, key=lambda key: (key[1], key[0])):
        entry, stamp = entries[branch, seq], stamps.get((branch, seq))
        ended, work = epoch(entry.at), (entry.ms or 0) / 1000
        before = max([started, *(epoch(earlier.at) for earlier in entries.values() if _led_to(earlier, entry))])
        hops.append(
            Moment(
                what=entry.outcome,
                seq=seq,
                step=entry.step,
                service=entry.service,
                branch=branch,
                at=ended,
                wait=_waited(before, ended - work),
                work=work,
                attempt=entry.attempt,
                event=stamp.event if stamp else entry.emits or "",
                changes=_between(stamps, branch, seq),
                detail=_error_of(stamp, entry),
            )
        )
    return hops


def _waited(before: float, began: float) -> float | None:
    return max(began - before, 0.0) if began > before - ROUNDING else None


def _led_to(earlier: Entry, entry: Entry) -> bool:
    """Whether one hop is on the way to another: of two branches side by side none is."""
    inside = not entry.branch or within(earlier.branch, entry.branch)
    around = not earlier.branch or within(entry.branch, earlier.branch)
    return earlier.seq < entry.seq and (inside or around)


def _between(stamps: Mapping[Key, Stamp], branch: str, seq: int) -> tuple[Change, ...] | None:
    before = stamps.get((branch, seq - 1)) or stamps.get((branch.rpartition("|")[0], seq - 1))
    after = stamps.get((branch, seq))
    return changes(before.state, after.state) if before and after else None


def _error_of(stamp: Stamp | None, entry: Entry) -> str:
    if entry.by:
        return f"{entry.by}: {entry.why or ''}"
    if stamp is None or entry.outcome != "failed" or not stamp.error:
        return ""
    return f"{stamp.error.get('type', '')}: {stamp.error.get('message', '')}"


def _detours(seen: Sequence[Sighting]) -> list[Moment]:
    found = {}
    for sighting in seen:
        if sighting.kind == "progress" or sighting.stamp.phase in ENDED:
            continue
        # A retried message keeps its timestamp and its publisher, so when and by whom it was sent again is not in it.
        at = None if sighting.kind == "retry" else sighting.at
        service, step = _place_of(sighting)
        found[sighting.kind, sighting.stamp.seq, sighting.attempt, at] = Moment(
            what=sighting.kind,
            seq=sighting.stamp.seq,
            step=step,
            service=service,
            at=at,
            attempt=sighting.attempt,
            event=sighting.stamp.event,
            detail=f"{sighting.reason}: {sighting.detail}" if sighting.detail else sighting.reason,
        )
    return list(found.values())


def _place_of(sighting: Sighting) -> tuple[str, str]:
    """Service and step that a detour is about, from its queue; an application's own queue names neither."""
    retried = sighting.kind == "retry"
    queue = sighting.routing_key if retried else sighting.queue
    service, found, step = queue.partition(f".{sighting.stamp.workflow}.")
    if not found:
        return ("" if retried else sighting.service), ""
    name, _, shard = step.rpartition(".")
    return (service if retried else sighting.service), name if name and shard.isdecimal() else step
