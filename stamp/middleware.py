"""Wrap a consumer of an application that owns its aio-pika connection, channel and queue.

    await queue.consume(stamped(assignment, NEW_TICKET, "assign", channel=channel))

The application keeps its connection, its prefetch and its queue; the toolkit brings the stamp, the local
transaction, retries and holding. Messages are acknowledged by the middleware: don't use `no_ack`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from brokers.contract import Adopted, Delivery
from brokers.registry import adopt
from stamp import shards
from stamp.delivery import Road
from stamp.errors import DefinitionError
from stamp.runtime import Runtime
from stamp.service import Service
from stamp.trip import Station
from stamp.workflow import Workflow

Callback = Callable[[Any], Awaitable[None]]


def stamped(service: Service, workflow: Workflow, step: str, *, channel: object, queue: str | None = None) -> Callback:
    """A callback for `queue.consume` that runs the step's handler as the service's own queue would.

    The service must be open with `consume=False` (its store and relay run) when messages arrive. `channel` is the
    application's own and publishes the next messages: it must have publisher confirms and `on_return_raises=True`.
    `queue` is the queue's name when it is not the standard `<service>.<workflow>.<step>`: retries come back to it.
    Raises `DefinitionError` when the step has no handler, `ProtocolMisuse` when the channel can't confirm.
    """
    station = service.station(workflow.name, step)
    if queue is None and shards.sharded(station):
        raise DefinitionError(f"{workflow.step(step)} is sharded", fix="say which shard this consumer has: queue=")
    if station.children:
        raise DefinitionError(
            f"{workflow.step(step)} runs another workflow", fix="let its service consume: it hears of the ends, too"
        )
    station = station if queue is None else Station(queue, step, station.versions, station.handlers)
    adopted = adopt(channel)
    roads: dict[int, Road] = {}

    async def callback(message: Any) -> None:
        runtime: Runtime = service.runtime
        road = roads.get(id(runtime))
        if road is None:
            roads.clear()
            road = roads[id(runtime)] = runtime.road(station, broker=adopted)
        await road.travel([adopted.delivery(message, station.queue)], _Settling(adopted, message))

    return callback


class _Settling:
    """Settles the one message of a callback."""

    def __init__(self, adopted: Adopted, message: object) -> None:
        self._adopted = adopted
        self._message = message

    async def ack(self, deliveries: Sequence[Delivery]) -> None:  # noqa: ARG002  it is the message of this call
        await self._adopted.ack(self._message)
