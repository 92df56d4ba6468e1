"""What changed between two states, by path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Absent:
    """Stands for a member that is not there."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


class Change(NamedTuple):
    """One member that differs; `before` or `after` is `ABSENT` when it came or went."""

    path: str
    before: Any
    after: Any

    def document(self) -> dict[str, Any]:
        """As plain values; a side that was absent is left out."""
        sides = {"before": self.before, "after": self.after}
        return {"path": self.path, **{name: value for name, value in sides.items() if value is not ABSENT}}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every difference at the deepest object level, in the order of names; arrays count as one value."""
    return tuple(_changes(before, after, ""))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], path: str) -> Iterator[Change]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, ABSENT), after.get(name, ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{path}{name}.")
        elif type(old) is not type(new) or old != new:
            yield Change(f"{path}{name}", old, new)
