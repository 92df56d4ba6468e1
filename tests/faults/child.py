"""A process that runs services of a play until SIGTERM, or until its trap kills it: `python -m tests.faults.child`."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

from brokers.clock import SystemClock
from brokers.rabbitmq import RabbitBroker
from stamp.errors import StoreUnavailable
from stamp.ports import sleep
from stamp.runtime import Runtime
from stamp.service import Service
from stamp.workflow import Workflow
from tests.faults import orders
from tests.faults.places import Place, place_of
from tests.faults.plan import READY_WORD, VARIABLE, Plan
from tests.faults.points import PATH, Point, Trap
from tests.faults.sabotage import broken_broker, broken_store
from tests.faults.watched import WatchedBroker, WatchedCodec, WatchedStore

_PR_SET_PDEATHSIG = 1


async def main(plan: Plan) -> None:
    """Open everything, say so, place the orders, and serve until SIGTERM; raises what a worker died of."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    trap = Trap(Point.parse(plan.kill) if plan.kill else None, plan.nth)
    async with AsyncExitStack() as stack:
        broker = RabbitBroker(plan.broker, timeout=5.0, heartbeat=2)
        await broker.open()
        stack.push_async_callback(broker.close)
        crew = Crew(plan, trap, broker, stack)
        runtimes = [await crew.open(name) for name in plan.places]
        print(READY_WORD, flush=True)
        placing = [asyncio.create_task(crew.place())] if plan.orders and "shop" in plan.places else []
        await _first_of([*placing, *(asyncio.create_task(runtime.until(stop)) for runtime in runtimes)], stop)


async def _first_of(tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> None:
    waiting: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    while not stop.is_set():
        done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
            tasks.remove(task)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Crew:
    """The services of this process, on one broker connection."""

    def __init__(self, plan: Plan, trap: Trap, broker: RabbitBroker, stack: AsyncExitStack) -> None:
        self._plan = plan
        self._trap = trap
        self._broker = WatchedBroker(broken_broker(broker, plan.sabotage), trap)
        self._stack = stack
        self._flow: Workflow = orders.workflow(plan.tag)
        self._services: dict[str, Service] = {}
        self._places: dict[str, Place] = {name: place_of(url) for name, url in plan.places.items()}

    async def open(self, name: str) -> Runtime:
        """Open one service on its store."""
        plan, place = self._plan, self._places[name]
        store = place.store(plan)
        await store.open()
        self._stack.push_async_callback(store.close)
        made = orders.service(
            name, self._flow, plan.tag, books=place.books(), visit=self._trap.strike, batch=plan.batch
        )
        made.codec = WatchedCodec(made.codec, self._trap)  # type: ignore[assignment]
        self._services[name] = made
        watched = WatchedStore(broken_store(store, plan.sabotage), self._trap, plan.lease)
        return await self._stack.enter_async_context(made.open(broker=self._broker, store=watched))

    async def place(self) -> None:
        """Place every order that is not yet placed, as an application would: its row and its run in one transaction."""
        PATH.set("start")
        numbers = range(self._plan.orders)
        chunk = self._plan.chunk
        for first in range(0, len(numbers), chunk):
            await self._insist(numbers[first : first + chunk])

    async def _insist(self, numbers: range) -> None:
        """The database may be away; whether it took the rows before it went is asked of it when it is back."""
        while not await self._placed(numbers):
            await sleep(SystemClock(), 0.1)

    async def _placed(self, numbers: range) -> bool:
        books, shop = self._places["shop"].books(), self._services["shop"]
        try:
            async with shop.transaction() as tx:
                for number in numbers:
                    if not await books.known(tx.native, (number, "order", "place")):
                        await books.write(tx.native, (number, "order", "place"))
                        await tx.start(self._flow, orders.Placed(number), state=orders.Order(number=number))
        except StoreUnavailable:
            return False
        return True


def end_with_parent() -> None:
    """SIGKILL this process when its parent dies, however that came (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:
        sys.exit("the parent is gone")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    end_with_parent()
    asyncio.run(main(Plan.parse(os.environ[VARIABLE])))
