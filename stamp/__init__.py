"""Workflows over RabbitMQ whose versioned state travels in the message.

Names are loaded when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp.children import Child
    from stamp.hop import Hop
    from stamp.joining import Joined
    from stamp.merging import merge
    from stamp.model import Entry, Fail, RetryLater, Stamp
    from stamp.retry import Retry
    from stamp.service import Service
    from stamp.style import FrontController, Orchestrator, Stamped, Stateless
    from stamp.workflow import All, Each, Step, Workflow

__version__ = "0.1.0"

_HOMES = {
    "All": "stamp.workflow",
    "Child": "stamp.children",
    "Each": "stamp.workflow",
    "Entry": "stamp.model",
    "Fail": "stamp.model",
    "FrontController": "stamp.style",
    "Hop": "stamp.hop",
    "Joined": "stamp.joining",
    "Orchestrator": "stamp.style",
    "Retry": "stamp.retry",
    "RetryLater": "stamp.model",
    "Service": "stamp.service",
    "Stamp": "stamp.model",
    "Stamped": "stamp.style",
    "Stateless": "stamp.style",
    "Step": "stamp.workflow",
    "Workflow": "stamp.workflow",
    "merge": "stamp.merging",
}

__all__ = [
    "All",
    "Child",
    "Each",
    "Entry",
    "Fail",
    "FrontController",
    "Hop",
    "Joined",
    "Orchestrator",
    "Retry",
    "RetryLater",
    "Service",
    "Stamp",
    "Stamped",
    "Stateless",
    "Step",
    "Workflow",
    "merge",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stamp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
