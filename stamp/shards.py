"""The queues of a step as its service sees them: its own or its shards, what an earlier number left, the way in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from brokers.contract import Broker
from brokers.errors import NotFound
from stamp import layout
from stamp.trip import Station
from stamp.workflow import Step, Workflow


def queues(station: Station) -> tuple[str, ...]:
    """The queues that a station consumes: its own, or its shards. Those of a queue named by an application as well."""
    workflow, step = _line(station)
    found = layout.work_queues(workflow.name, step)
    return found if step.shards > 1 else (station.queue,)


def own(station: Station, share: tuple[int, int]) -> list[str]:
    """The queues that process `share[0]` of `share[1]` serves; of a step that is not sharded, its queue."""
    return part(queues(station), share)


def part(queues: Sequence[str], share: tuple[int, int]) -> list[str]:
    """Of the shards of anything, those of process `share[0]` of `share[1]`; a single queue is everybody's."""
    number, processes = share
    return [queue for place, queue in enumerate(queues) if place % processes == number or len(queues) == 1]


def rest(queues: Sequence[str], share: tuple[int, int]) -> list[str]:
    """The shards of the other processes: served when those are away."""
    mine = part(queues, share)
    return [queue for queue in queues if queue not in mine]


def others(station: Station, share: tuple[int, int]) -> list[str]:
    """The shards of the other processes: served when those are away."""
    return rest(queues(station), share)


def sharded(station: Station) -> bool:
    """Whether the step has more than one queue."""
    return _line(station)[1].shards > 1


async def left_over(broker: Broker, station: Station) -> list[str]:
    """The queues that the step had with fewer shards or with more, cut off from new messages; they still hold old ones.

    A queue that gets copies and that nobody consumes would grow for ever. Only a step that is sharded now looks.
    """
    workflow, step = _line(station)
    if step.shards == 1:
        return []
    for binding in layout.own_bindings(workflow, step):
        await broker.unbind(binding)
    found = [station.queue] if await _exists(broker, station.queue) else []
    for number in count(step.shards):
        if not await _exists(broker, layout.shard(station.queue, number)):
            return found
        await broker.unbind(layout.shard_binding(station.queue, number))
        found.append(layout.shard(station.queue, number))
    return found


def station_of(stations: Sequence[Station], queue: str) -> Station | None:
    """The station that a queue, or the shard of one, belongs to."""
    by_queue = {station.queue: station for station in stations}
    base, _, number = queue.rpartition(".")
    return by_queue.get(queue) or (by_queue.get(base) if number.isdecimal() else None)


def entrance(station: Station) -> tuple[str, str]:
    """Exchange and routing key that lead a message to the queue which takes its run now."""
    workflow, step = _line(station)
    return layout.entrance(workflow.name, step) if step.shards > 1 else ("", station.queue)


def _line(station: Station) -> tuple[Workflow, Step]:
    """The step as any version has it: all have the same number of shards."""
    workflow = next(iter(station.versions.values()))
    return workflow, workflow.step(station.step)


async def _exists(broker: Broker, queue: str) -> bool:
    try:
        await broker.depth(queue)
    except NotFound:
        return False
    return True
