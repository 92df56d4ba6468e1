"""A bench for users' workflows: embedded broker, local stores, virtual time. Names are loaded when first used.

The pytest plugin lives in this package, so importing it must cost a user's test run nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp.testing.bench import Bench
    from stamp.testing.clock import VirtualClock
    from stamp.testing.faults import Injected
    from stamp.testing.record import Publications, Published, Run
    from stamp.testing.runner import SyncBench
    from stamp.testing.settling import NotSettled

_HOMES = {
    "Bench": "stamp.testing.bench",
    "Injected": "stamp.testing.faults",
    "NotSettled": "stamp.testing.settling",
    "Publications": "stamp.testing.record",
    "Published": "stamp.testing.record",
    "Run": "stamp.testing.record",
    "SyncBench": "stamp.testing.runner",
    "VirtualClock": "stamp.testing.clock",
}

__all__ = ["Bench", "Injected", "NotSettled", "Publications", "Published", "Run", "SyncBench", "VirtualClock"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stamp.testing' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
