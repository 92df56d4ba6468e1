"""The whole comparison: the styles take turns on one broker, then each loses its owner for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from brokers.contract import Broker, Queue
from brokers.errors import NotFound
from stamp import journal
from stamp.comparing.ends import watching
from stamp.comparing.figures import Figures, impossible, verdict
from stamp.comparing.lab import Input, Lab, Urls, lab
from stamp.comparing.outage import Outage, outage
from stamp.comparing.speed import WARM_UP, Turn, turn
from stamp.comparing.variants import Impossible, Variant
from stamp.errors import DefinitionError
from stamp.layout import JOURNAL, delay_exchange
from stamp.retry import LADDER

PATIENCE = 60.0
ALONE = 20
"""Runs of each turn that have the services to themselves, if as many were asked for."""
DOWN = 20
"""Runs that are under way when the owner stops, if as many were asked for."""

Note = Callable[[int, int, int], None]
"""Told how many runs are through, how many there will be, and the hops so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure."""

    runs: int
    """Of each style, in bursts."""
    rounds: int
    patience: float = PATIENCE

    @property
    def burst(self) -> int:
        """Runs of one turn."""
        return -(-self.runs // self.rounds)

    @property
    def alone(self) -> int:
        """Runs of one turn that go one by one."""
        return min(ALONE, self.burst)

    @property
    def down(self) -> int:
        """Runs that lose their owner."""
        return min(DOWN, self.runs)

    @property
    def total(self) -> int:
        """Runs of one style, all together."""
        return self.rounds * (WARM_UP + self.burst + self.alone) + self.down


class Occupied(Exception):  # noqa: N818  the broker is at work for somebody else
    """Queues of the workflow are on the broker already."""

    def __init__(self, queues: Sequence[str]) -> None:
        super().__init__(", ".join(queues))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The styles in their order, measured or not possible."""

    styles: Sequence[Figures | Impossible]

    @property
    def measured(self) -> list[Figures]:
        """Those that are possible."""
        return [one for one in self.styles if isinstance(one, Figures)]

    @property
    def complete(self) -> bool:
        """Whether every run came to an end."""
        return not any(one.missing for one in self.measured)

    def documents(self) -> list[Mapping[str, Any]]:
        """Plain data, one a style."""
        return [one.document() if isinstance(one, Figures) else impossible(one) for one in self.styles]


async def compare(
    styles: Sequence[Variant | Impossible],
    broker: Broker,
    *,
    plan: Plan,
    urls: Urls,
    inputs: Callable[[], Iterator[Input]],
    note: Note,
) -> Comparison:
    """Measure. `inputs` gives every style the same. Raises `Occupied`, and what brokers and stores raise."""
    possible = [one for one in styles if isinstance(one, Variant)]
    turns: dict[str, list[Turn]] = {one.name: [] for one in possible}
    outages: dict[str, Outage] = {}
    total = plan.total * len(possible)
    async with _labs(possible, broker, plan=plan, urls=urls, inputs=inputs) as labs:
        for one in labs * plan.rounds:
            if any(earlier.missing for earlier in turns[one.variant.name]):
                continue  # What gets stuck once would be waited for in every turn.
            turns[one.variant.name].append(await turn(one, runs=plan.burst, alone=plan.alone))
            note(len(one.ends.seen), total, _hops(labs))
        for one in labs:
            outages[one.variant.name] = await outage(one, runs=plan.down)
            note(len(one.ends.seen), total, _hops(labs))
    free = outages[possible[0].name]
    return Comparison(
        [one if isinstance(one, Impossible) else _figures(one, turns, outages[one.name], free) for one in styles]
    )


def _hops(labs: Sequence[Lab]) -> int:
    return sum(one.counts["hops"] for one in labs)


def _figures(one: Variant, turns: Mapping[str, Sequence[Turn]], seen: Outage, free: Outage) -> Figures:
    owner = one.style.owner
    return Figures(name=one.name, owner=owner, turns=turns[one.name], outage=seen, verdict=verdict(owner, seen, free))


@asynccontextmanager
async def _labs(
    possible: Sequence[Variant],
    broker: Broker,
    *,
    plan: Plan,
    urls: Urls,
    inputs: Callable[[], Iterator[Input]],
) -> AsyncIterator[list[Lab]]:
    """The labs of all styles on a broker that looks afterwards as before, but for exchanges, which hold nothing."""
    if not possible:
        raise DefinitionError("the workflow can have none of the styles", fix="see why above")
    name = possible[0].workflow.name
    shared = [JOURNAL, *map(delay_exchange, LADDER)]
    async with AsyncExitStack() as stack:
        before = {queue for queue in shared if await _exists(broker, queue)}
        await _refuse_occupied(possible, broker)
        stack.push_async_callback(_delete, broker, [queue for queue in shared if queue not in before])
        await broker.declare(journal.parts([]))
        ends = await stack.enter_async_context(watching(broker, name))
        yield [
            await stack.enter_async_context(
                lab(one, broker, urls=urls, inputs=inputs(), ends=ends, patience=plan.patience)
            )
            for one in possible
        ]


async def _refuse_occupied(possible: Sequence[Variant], broker: Broker) -> None:
    parts = [part for one in possible for service in one.services.values() for part in service.topology()]
    queues = dict.fromkeys(part.name for part in parts if isinstance(part, Queue))
    if found := [queue for queue in queues if await _exists(broker, queue)]:
        raise Occupied(found)


async def _exists(broker: Broker, queue: str) -> bool:
    try:
        await broker.depth(queue)
    except NotFound:
        return False
    return True


async def _delete(broker: Broker, queues: Sequence[str]) -> None:
    for queue in queues:
        await broker.delete_queue(queue)
