"""One stamp as a tool shows it: checked whole, lenient with what is newer, with what is ahead and what to undo."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from stamp.codec import HARD_LIMIT, check_readable, parse
from stamp.errors import StampInvalid, StampUnreadable, TooNew
from stamp.history import undo_stack
from stamp.model import ENDED, Entry, Stamp
from stamp.reading.inputs import Specimen
from stamp.schema import stamp_checker

if TYPE_CHECKING:  # words for types alone: a tool that reads a stamp loads no tables
    from stamp.workflow import Workflow

Flows = Mapping[tuple[str, int], "Workflow"]
"""The workflows that a tool was told about, by name and version."""

STATUS = {"forward": "running", "backward": "compensating"}

LENIENT_LIMIT = 8 * 1024 * 1024
"""Bytes of one stamp that a tool still reads; on the wire `HARD_LIMIT` holds."""


class Reading(msgspec.Struct, frozen=True, dict=True):
    """A stamp that could be read, and what to say about it."""

    where: str
    stamp: Stamp
    properties: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """The phase in words for people; a held message says so."""
        phase = str(self.stamp.values.get("phase", "unknown"))
        held = "stamp_held_reason" in self.properties.get("headers", {})
        return "held" if held else STATUS.get(phase, phase)

    @cached_property
    def history(self) -> tuple[Entry, ...]:
        """The entries; none when a newer format writes them in a way this version can't read."""
        try:
            return self.stamp.history
        except (msgspec.ValidationError, msgspec.DecodeError):
            return ()

    @property
    def to_undo(self) -> tuple[Entry, ...]:
        """What would be undone now, first to undo first."""
        return tuple(reversed(undo_stack(self.stamp))) if self.history else ()

    def remaining(self, flows: Flows) -> tuple[str, ...] | None:
        """The steps still ahead; `None` when the workflow is not known here."""
        if self.stamp.values.get("phase") in ENDED:
            return ()
        if self.stamp.values.get("phase") == "backward":
            return tuple(f"undo {entry.step}" for entry in self.to_undo)
        workflow = flow_of(self.stamp, flows)
        return None if workflow is None else workflow.remaining(self.stamp.event)

    def document(self, flows: Flows) -> dict[str, Any]:
        """Everything as plain values, the stamp itself whole."""
        ahead = self.remaining(flows)
        return {
            "where": self.where,
            "status": self.status,
            "stamp": self.stamp.to_dict(),
            "message": dict(self.properties),
            "remaining": None if ahead is None else list(ahead),
            "undo": [{"step": entry.step, "seq": entry.seq, "keep": entry.keep or {}} for entry in self.to_undo],
            "warnings": list(self.warnings),
        }


def flow_of(stamp: Stamp, flows: Flows) -> Workflow | None:
    """The definition that a stamp names, when it is among those known."""
    name, version = stamp.values.get("workflow"), stamp.values.get("version")
    return flows.get((name, version)) if isinstance(name, str) and isinstance(version, int) else None


def read(specimen: Specimen) -> Reading:
    """Read one specimen. Raises one of `stamp.errors.Theirs`; what is only newer becomes a warning."""
    if specimen.error is not None:
        raise specimen.error
    if len(specimen.text) > LENIENT_LIMIT:
        raise StampUnreadable(f"the stamp has {len(specimen.text)} bytes", fix=f"the limit is {HARD_LIMIT}")
    stamp = parse(specimen.text)
    warnings = []
    if len(specimen.text) > HARD_LIMIT:
        warnings.append(f"{len(specimen.text)} bytes are over the limit of {HARD_LIMIT}: no service accepts it")
    try:
        check_readable(stamp)
    except TooNew as error:
        warnings.append(f"newer than this version, read as far as possible: {error.what}")
        return Reading(specimen.where, _presentable(stamp), specimen.properties, tuple(warnings))
    document = stamp.to_dict()
    if not stamp_checker().is_valid(document):
        raise StampInvalid(stamp_checker().explain(document))
    _check_count(stamp)
    return Reading(specimen.where, stamp, specimen.properties, tuple(warnings))


def _check_count(stamp: Stamp) -> None:
    counted = stamp.branch is None and stamp.owner is None  # an owner's command carries the entry that it undoes
    if counted and stamp.history and stamp.history[-1].seq != stamp.seq:
        raise StampInvalid(f"seq is {stamp.seq}, but the last entry has {stamp.history[-1].seq}")


def _presentable(stamp: Stamp) -> Stamp:
    """A newer stamp whose members have at least the types that the display relies on."""
    values = dict(stamp.values)
    defaults: dict[str, Any] = {"workflow": "?", "version": 0, "run": "?", "event": "?", "phase": "?", "seq": 0}
    for name, default in {**defaults, "state": {}, "started": "?"}.items():
        if not isinstance(values.get(name), type(default)):
            values[name] = default
    for name in ("deadline", "branch", "owner"):
        if not isinstance(values.get(name), str):
            values.pop(name, None)
    for name in ("error", "base", "parent"):
        if not isinstance(values.get(name), dict):
            values.pop(name, None)
    if not isinstance(values.get("base", {}).get("count", 0), int):
        values.pop("base")
    return Stamp(values, stamp.trail)
