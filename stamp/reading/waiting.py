"""What waits in a queue, worked out from the journal: nothing is read from the queue itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stamp.layout import held_queue, ledger_queue, work_queue
from stamp.model import ENDED
from stamp.sighting import Sighting
from stamp.workflow import Workflow


@dataclass(slots=True)
class Routes:
    """Which queue an event goes to: as declared by the workflows given, else as observed in the runs seen."""

    queues: dict[tuple[str, int, str], str] = field(default_factory=dict)

    @classmethod
    def declared(cls, workflows: Iterable[Workflow]) -> Routes:
        """From tables."""
        return cls(
            {
                (workflow.name, workflow.version, event): work_queue(workflow.name, step)
                for workflow in workflows
                for step in workflow.steps
                for event in step.events
            }
        )

    def observe(self, sightings: Iterable[Sighting]) -> None:
        """Learn from runs: who handled the event that the stamp before carried. What is declared stays."""
        events = {}
        handled = []
        for sighting in sightings:
            stamp = sighting.stamp
            if sighting.kind != "progress" or stamp.phase == "backward":
                continue
            events[stamp.run, stamp.branch, stamp.seq] = stamp.event
            if queue := _queue_of(sighting):
                handled.append((stamp, queue))
        for stamp, queue in handled:
            event = events.get((stamp.run, stamp.branch, stamp.seq - 1))
            if event is not None:
                self.queues.setdefault((stamp.workflow, stamp.version, event), queue)

    def queue_for(self, sighting: Sighting) -> str | None:
        """Where the message seen waits, or waited; `None` when nothing follows or the step is not known."""
        if sighting.kind == "held":
            return held_queue(sighting.service)
        if sighting.is_report:
            return ledger_queue(sighting.stamp.owner or "", sighting.stamp.workflow)
        if sighting.stamp.phase in ENDED:
            return None
        if sighting.kind == "retry":
            return sighting.routing_key
        if sighting.stamp.phase == "backward":
            return _undo_queue(sighting)
        stamp = sighting.stamp
        return self.queues.get((stamp.workflow, stamp.version, stamp.event))


def _queue_of(sighting: Sighting) -> str | None:
    """The queue of the step that has just run: by its entry, or by what a slim stamp says of the past."""
    stamp = sighting.stamp
    if stamp.history:
        entry = stamp.history[-1]
        return f"{entry.service}.{stamp.workflow}.{entry.step}" if entry.undoes is None else None
    step = str(stamp.past.get("last", "")).rpartition(":")[0]
    return f"{sighting.service}.{stamp.workflow}.{step}" if step and stamp.owner is None else None


def _undo_queue(sighting: Sighting) -> str | None:
    step = sighting.routing_key.removeprefix("undo.")
    done = next((entry for entry in reversed(sighting.stamp.history) if entry.step == step), None)
    return None if done is None else f"{done.service}.{sighting.stamp.workflow}.{step}"


def waiting(sightings: Iterable[Sighting], queue: str, routes: Routes) -> list[Sighting]:
    """The messages routed to `queue` that no later stamp of their run has followed, oldest first."""
    latest: dict[tuple[str, str | None], Sighting] = {}
    for sighting in sightings:
        key = (sighting.stamp.run, sighting.stamp.branch)
        known = latest.get(key)
        if known is None or sighting.order > known.order:
            latest[key] = sighting
    found = [sighting for sighting in latest.values() if routes.queue_for(sighting) == queue]
    return sorted(found, key=lambda sighting: sighting.at)


def known_queues(routes: Routes) -> Mapping[str, None]:
    """The queues that events are known to go to, in order of name."""
    return dict.fromkeys(sorted(set(routes.queues.values())))
