"""The piece of a run's history that a slim stamp carries: none, or the one entry that a message is about. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stamp.errors import StampInvalid
from stamp.model import Stamp
from stamp.style import Stamped

if TYPE_CHECKING:  # words for types alone: a tool that reads a stamp loads no tables
    from stamp.workflow import Workflow

NOTHING = b"[]"
WINDOW = 1
"""How many entries a slim stamp carries at most."""


def as_seen(stamp: Stamp, workflow: Workflow) -> Stamp:
    """A stamp as it came in, with the place for history that a step writes into.

    Raises `StampInvalid` when the stamp is not of the workflow's style: who owns a run never changes on its way.
    """
    style = workflow.style
    if isinstance(style, Stamped):
        if stamp.trail is None:
            raise StampInvalid(f"{workflow.label} carries its history in the stamp, and there is none")
        if stamp.owner is not None:
            raise StampInvalid(f"the stamp is owned by {stamp.owner[:64]!r}, and {workflow.label} owns itself")
        return stamp
    if stamp.owner != style.owner or len(stamp.raw_history()) > WINDOW:
        raise StampInvalid(
            f"{workflow.label} is of style {style.name} (owner: {style.owner or 'nobody'}), the stamp is not",
            fix="another style is another version of the workflow: raise it, and let old runs end first",
        )
    return stamp if stamp.trail is not None else Stamp(stamp.values, NOTHING)
