"""How versions live side by side: what is too new, what lifts old data, what a new version may change.

Names are loaded when they are first used: reading a stamp needs no comparison of schemas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stamp.evolution.compare import Change as Change
    from stamp.evolution.formats import newest as newest
    from stamp.evolution.formats import too_new as too_new
    from stamp.evolution.subset import subset_problems as subset_problems
    from stamp.evolution.upcast import Lift as Lift
    from stamp.evolution.upcast import Upcast as Upcast
    from stamp.evolution.upcast import Upcasters as Upcasters

_HOMES = {
    "Change": "compare",
    "Lift": "upcast",
    "Upcast": "upcast",
    "Upcasters": "upcast",
    "newest": "formats",
    "subset_problems": "subset",
    "too_new": "formats",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stamp.evolution' has no attribute {name!r}")
    return getattr(import_module(f"stamp.evolution.{_HOMES[name]}"), name)
