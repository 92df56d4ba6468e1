"""What a service itself remembers of a run when nobody else does: its own hops, beside its own rows.

In stateless style a message tells no more than who it is about. What a step kept for its undo, and what a service
answers when it is asked for a run, is written down here, in the transaction of the hop.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stamp.branching import within
from stamp.model import Entry, Stamp
from stamp.ports import Transaction
from stamp.step import Step
from stamp.trip import expires_of

UNDONE = "undone"


class Jotting(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a run, as the service that ran it remembers it."""

    entry: msgspec.Raw
    event: str
    """What was emitted."""
    undone: str = ""
    """When it was undone; empty while it stands."""

    def read(self) -> Entry:
        """The history entry that nobody carries."""
        return msgspec.json.decode(self.entry, type=Entry)


async def note(tx: Transaction, stamp: Stamp, raw: msgspec.Raw) -> None:
    """Write down a finished hop. An undo marks what it undid; one that found nothing to undo leaves nothing."""
    entry = msgspec.json.decode(raw, type=Entry)
    if entry.outcome != UNDONE:
        jotting = Jotting(raw, stamp.event)
    elif entry.undoes is None:
        return
    else:
        known = {_name(one.read()): one for one in await remembered(tx, stamp.run)}
        jotting = msgspec.structs.replace(known[_name(entry)], undone=entry.at)
    await tx.put_arrivals(_page(stamp.run), {_name(entry): msgspec.json.encode(jotting)}, expires=expires_of(stamp))


async def remembered(tx: Transaction, run: str) -> Sequence[Jotting]:
    """All that this service has noted of a run, in the order in which it happened."""
    rows = await tx.gather(_page(run))
    found = [msgspec.json.decode(row, type=Jotting) for row in rows.values()]
    return sorted(found, key=lambda one: one.read().seq)


async def recalled(tx: Transaction, stamp: Stamp, step: Step) -> Stamp | None:
    """The stamp of an undo with the entry that it undoes; `None` when the step has not run here, or is undone."""
    for one in reversed(await remembered(tx, stamp.run)):
        entry = one.read()
        if entry.step == step.name and entry.undo and not one.undone and _in(entry.branch, stamp.branch):
            return stamp.with_trail([one.entry], {})
    return None


def _in(branch: str | None, outer: str | None) -> bool:
    return outer is None or within(branch, outer)


def _page(run: str) -> str:
    return f"run|{run}"


def _name(entry: Entry) -> str:
    return f"{entry.step}|{entry.branch or ''}"
