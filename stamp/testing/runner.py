"""The bench for tests that are plain functions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from brokers.memory import MemoryBroker
from stamp.errors import NotRunning
from stamp.events import Event
from stamp.held import Held
from stamp.nostore import NoStore
from stamp.ports import Store
from stamp.service import Service
from stamp.testing.bench import PATIENCE, Bench, StoreChoice
from stamp.testing.clock import VirtualClock
from stamp.testing.faults import Injected
from stamp.testing.record import Publications, Published, Run
from stamp.workflow import Workflow

T = TypeVar("T")


class OpenBench(Protocol):
    """What the fixture `bench` is: call it with services, and the bench is open until the test ends."""

    def __call__(self, *services: Service, store: StoreChoice = "memory", patience: float = PATIENCE) -> SyncBench: ...


class SyncBench:
    """A `Bench` with an event loop of its own, for `def test_...`: the same verbs, without `await`.

    Between two calls nothing moves. For use in a `with` block, or through the fixture `bench`, which opens it at once
    and closes it at the end of the test (an own `with` closes it earlier).
    """

    def __init__(self, *services: Service, store: StoreChoice = "memory", patience: float = PATIENCE) -> None:
        self._bench = Bench(*services, store=store, patience=patience)
        self._runner = asyncio.Runner()
        self._open = False

    def __enter__(self) -> Self:
        if self._open:
            return self
        if asyncio._get_running_loop() is not None:  # noqa: SLF001  the public call raises where there is none
            raise NotRunning(
                "this bench has an event loop of its own, and one runs already",
                fix="in an async test say `async with Bench(...)`",
            )
        try:
            self.call(self._bench.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return
        self._open = False
        try:
            self.call(self._bench.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of your own on the bench's loop, such as one that looks into a service's tables."""
        return self._runner.run(coroutine)

    def start(
        self,
        workflow: Workflow,
        event: object,
        *,
        state: object = None,
        via: Service | None = None,
        run_id: str | None = None,
    ) -> str:
        """As `Bench.start`."""
        return self.call(self._bench.start(workflow, event, state=state, via=via, run_id=run_id))

    def settle(self) -> None:
        """As `Bench.settle`."""
        self.call(self._bench.settle())

    def advance(self, length: str | float) -> None:
        """As `Bench.advance`."""
        self.call(self._bench.advance(length))

    def deploy(self, *services: Service) -> None:
        """As `Bench.deploy`."""
        self.call(self._bench.deploy(*services))

    def stop(self, name: str) -> None:
        """As `Bench.stop`."""
        self.call(self._bench.stop(name))

    def redeliver(self, message: Published) -> None:
        """As `Bench.redeliver`."""
        self.call(self._bench.redeliver(message))

    def release(self, reason: str | None = None) -> list[Held]:
        """As `Bench.release`."""
        return self.call(self._bench.release(reason))

    def fail(
        self,
        step: str,
        *,
        times: int = 1,
        error: BaseException | type[BaseException] = Injected,
        workflow: Workflow | None = None,
    ) -> None:
        """As `Bench.fail`."""
        self._bench.fail(step, times=times, error=error, workflow=workflow)

    def run(self, run_id: str) -> Run:
        """As `Bench.run`."""
        return self._bench.run(run_id)

    def store(self, service: str | Service) -> Store | NoStore:
        """As `Bench.store`."""
        return self._bench.store(service)

    @property
    def published(self) -> Publications:
        """As `Bench.published`."""
        return self._bench.published

    @property
    def held(self) -> tuple[Held, ...]:
        """As `Bench.held`."""
        return self._bench.held

    @property
    def facts(self) -> list[Event]:
        """As `Bench.facts`."""
        return self._bench.facts

    @property
    def broker(self) -> MemoryBroker:
        """As `Bench.broker`."""
        return self._bench.broker

    @property
    def clock(self) -> VirtualClock:
        """As `Bench.clock`."""
        return self._bench.clock
