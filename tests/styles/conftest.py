"""The fixtures of the tests over styles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from stamp.style import Style
from stamp.testing.runner import OpenBench
from stamp.workflow import Workflow
from tests.styles.stages import Plain, Stage


class Open(Protocol):
    """Opens a house of this workflow in this style: `staged(static, STAMPED, refuse={"ship"})`."""

    def __call__(
        self,
        make: Callable[[], Workflow],
        style: Style,
        refuse: set[str] | None = None,
        without: tuple[str, ...] = (),
    ) -> Stage: ...


@pytest.fixture
def staged(bench: OpenBench) -> Open:
    return _opener(bench, "memory")


@pytest.fixture(params=["memory", "sqlite"])
def stored(request: pytest.FixtureRequest, bench: OpenBench) -> Open:
    """The same on each store that needs no server, for what has to do with it."""
    return _opener(bench, str(request.param))


def _opener(bench: OpenBench, store: str) -> Open:
    def opened(
        make: Callable[[], Workflow], style: Style, refuse: set[str] | None = None, without: tuple[str, ...] = ()
    ) -> Stage:
        house = Plain(make().styled(style), refuse=refuse or set())
        here = [service for name, service in house.services.items() if name not in without]
        return Stage(house, bench(*here, store=store))

    return opened
