"""Orders under load while something goes wrong, and the account of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from brokers.contract import Publication
from stamp import journal
from stamp.codec import ATTEMPT
from stamp.layout import undo_key, work_queue
from stamp.parking import sendable
from tests.faults import orders
from tests.faults.account import Account
from tests.faults.matrix import counted
from tests.faults.orders import SERVICES
from tests.faults.play import DONE, Child, Play, until

Trouble = Callable[[Play], Awaitable[None]]

CREW = (("shop", ("shop",)), ("others", ("bank", "depot")))
"""Processes by name, with their services."""


async def under_load(
    playing: AbstractAsyncContextManager[Play],
    trouble: Trouble,
    *,
    crew: Sequence[tuple[str, Sequence[str]]] = CREW,
    patience: float = DONE,
    plans: Mapping[str, Mapping[str, object]] | None = None,
) -> tuple[Account, int]:
    """The account after `trouble`, which began with a tenth of the work done, and the highest attempt seen.

    `plans` says what is special about the plan of a process, by its name.
    """
    async with playing as play:
        children = [play.child(name, services, **(plans or {}).get(name, {})) for name, services in crew]
        for child in children:
            child.start()
        for child in children:
            await child.ready()
        await reached(play, 0.1)
        await trouble(play)
        account = await counted(play, patience)
        return account, await highest_attempt(play)


async def reached(play: Play, share: float, seconds: float = DONE) -> None:
    """Wait until this share of all rows is there."""

    async def there() -> bool:
        return await play.done() >= share

    await until(
        there, seconds, lambda: "\n".join([f"never came to {share}", *(child.tail() for child in play.children)])
    )


async def highest_attempt(play: Play) -> int:
    """The highest attempt that any message of the play had. Two is what the bank asks for by itself."""
    tagged = orders.full_name("", play.tag)
    highest = 1
    async for record in journal.recorded(play.broker, start=play.since):
        if tagged in record.exchange or tagged in record.routing_key:
            highest = max(highest, int(record.message.headers.get(ATTEMPT, 1)))
    return highest


async def doubling(play: Play) -> None:
    """Put a twin of every message of the play into its queue, until cancelled."""
    flow = orders.workflow(play.tag)
    queues = {step.event: work_queue(flow.name, step) for step in flow.steps}
    queues |= {undo_key(step.name): work_queue(flow.name, step) for step in flow.steps if step.undo}
    async for record in journal.following(play.broker, start=play.since):
        if record.exchange == flow.name and (queue := queues.get(record.routing_key)):
            await play.broker.publish_all([Publication("", queue, sendable(record.message))])


def twin_crew(service: str) -> list[tuple[str, Sequence[str]]]:
    """Two processes of one service, and one of all others."""
    rest = [name for name in SERVICES if name != service]
    return [("rest", rest), ("first", [service]), ("second", [service])]


def twins(play: Play) -> list[Child]:
    """The two processes of one service."""
    return [child for child in play.children if child.name in {"first", "second"}]
