"""Connections to an embedded node, and the whole suite at once in no time."""

from __future__ import annotations

import asyncio
import selectors
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from brokers.clock import SystemClock
from brokers.conformance import BrokerFactory, Scenario, run_scenario
from brokers.memory import MemoryBroker, MemoryNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from brokers.contract import Broker, Clock


class LoopClock(SystemClock):
    """The event loop's own time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


class _Jumping(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select()
        self.now += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Where nothing is ready, time jumps to the next timer: a deadline costs nothing and no load can trip it."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def connections(clock: Clock) -> BrokerFactory:
    """Open brokers on one node of their own."""
    node = MemoryNode(clock)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Broker]:
        broker = MemoryBroker(node=node)
        await broker.open()
        yield broker
        await broker.close()

    return connect


async def cut(broker: Broker) -> None:
    """Lose the connection of this broker."""
    assert isinstance(broker, MemoryBroker)
    await broker.cut()


def first_failure(scenarios: Sequence[Scenario], *, deadline: float) -> BaseException | None:
    """Play all scenarios at once, each on a node of its own; how the first that failed did, with its name as a note."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(_first_failure(scenarios, deadline))


async def _first_failure(scenarios: Sequence[Scenario], deadline: float) -> BaseException | None:
    running = [asyncio.create_task(_played(scenario, deadline), name=scenario.name) for scenario in scenarios]
    done, waiting = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return next((error for task in done if (error := task.exception()) is not None), None)


async def _played(scenario: Scenario, deadline: float) -> None:
    try:
        await run_scenario(scenario, connections(LoopClock()), cut=cut, deadline=deadline)
    except Exception as error:
        error.add_note(scenario.name)
        raise
