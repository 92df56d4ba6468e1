"""The pytest plugin: the fixture `bench`. Imports nothing of the toolkit before a test asks for the fixture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stamp.service import Service
    from stamp.testing.runner import OpenBench


@pytest.fixture
def bench() -> Iterator[OpenBench]:
    """`bench(*services, **options)` opens a `stamp.testing.SyncBench`, which is closed when the test ends.

    For plain `def test_...`. An `async def` test has a loop of its own: there say `async with Bench(*services)`.
    """
    from stamp.testing.runner import SyncBench  # noqa: PLC0415  collecting a user's tests must not load the toolkit

    with ExitStack() as stack:

        def opened(*services: Service, **options: Any) -> SyncBench:
            return stack.enter_context(SyncBench(*services, **options))

        yield opened
