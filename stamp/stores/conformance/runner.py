"""Scenarios as values, and the one function that runs them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import ModuleType

from stamp.stores.conformance.site import PlaceFactory, Site


@dataclass(frozen=True, slots=True)
class Scenario:
    """One promise of the contract, played against a store."""

    name: str
    run: Callable[[Site], Awaitable[None]]

    def __str__(self) -> str:
        return self.name


def scenarios_of(module: ModuleType) -> tuple[Scenario, ...]:
    """Every public coroutine function defined in the module, in the order of the file."""
    return tuple(
        Scenario(name, function)
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    )


async def run_scenario(scenario: Scenario, factory: PlaceFactory, *, deadline: float = 30) -> None:
    """Play one scenario; AssertionError, another error or TimeoutError says that a promise is broken.

    `deadline` is in seconds, for the whole scenario with its search for leaks.
    """
    async with AsyncExitStack() as stack, asyncio.timeout(deadline):
        place = await stack.enter_async_context(factory())
        site = Site(place)
        try:
            await site.prepare()
            await scenario.run(site)
            assert await place.open_transactions() == 0, "a transaction was left open"
        finally:
            await site.close()
        assert await place.open_connections() == 0, "a connection was left behind"
