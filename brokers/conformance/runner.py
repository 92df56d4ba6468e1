"""Scenarios as values, and the one function that runs them."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from brokers.conformance.site import BrokerFactory, Cut, Site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

Need = Literal["streams", "delivery_count", "at_least_once_dead_lettering", "hash_exchanges"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One promise of the contract, played against a broker. `needs` names the capability it is about."""

    name: str
    run: Callable[[Site], Awaitable[None]]
    needs: Need | None = None

    def __str__(self) -> str:
        return self.name


def scenarios_of(module: ModuleType, needs: Need | None = None) -> tuple[Scenario, ...]:
    """Every public coroutine function defined in the module, in the order of the file."""
    return tuple(
        Scenario(name, function, needs)
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    )


async def run_scenario(
    scenario: Scenario, factory: BrokerFactory, *, cut: Cut | None = None, deadline: float = 30
) -> None:
    """Play one scenario; AssertionError, BrokerError or TimeoutError says that the promise is broken.

    `factory()` gives an open broker each time it is entered, all on the same node, which may be in use by
    others. `cut` breaks the connections of a broker and is only needed for `FAULT_SCENARIOS`. `deadline`
    is in seconds, for the whole scenario.
    """
    async with AsyncExitStack() as stack, asyncio.timeout(deadline):
        broker = await stack.enter_async_context(factory())
        site = Site(broker, factory, stack, cut=cut)
        await scenario.run(site)
        await site.clean()
