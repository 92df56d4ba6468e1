"""What a run's history says: what is still to be undone, whether there is a way back, which visit this is.

Nothing of it is stored twice: all is derived from the entries that travel. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from stamp.branching import within
from stamp.model import Entry, Stamp

if TYPE_CHECKING:  # words for types alone: a tool that reads a stamp loads no tables
    from stamp.step import Step
    from stamp.workflow import Workflow

FOLD_ENTRIES = 32
FOLD_BYTES = 12 * 1024
PORTION = 2
"""Entries that one hop folds."""
ROUND = 26
"""Entries that are folded over several hops, once it has begun: the hops after it carry a short history again."""
NEVER_FOLDED = 3

PASSED = frozenset({"ok", "skipped"})
"""The outcomes with which a step counts as done."""
UNDOABLE = frozenset({"ok", "failed", "timeout"})


def undo_stack(stamp: Stamp) -> list[Entry]:
    """The entries still to be undone, first to undo last: never stored, always derived from the history.

    In a branch only what the branch itself did, and the forks within it; the trunk waits for the join.
    """
    stack = unsettled(stamp.history)
    branch = stamp.branch
    return stack if branch is None else [entry for entry in stack if within(entry.branch, branch)]


def unsettled(history: Iterable[Entry]) -> list[Entry]:
    """The entries of a history that are still to be undone, in their order."""
    live: dict[tuple[str | None, int], Entry] = {}
    for entry in history:
        if entry.undoes is not None:
            live.pop((entry.branch, entry.undoes), None)
        elif entry.pivot and entry.outcome in PASSED:
            live.clear()
        elif entry.undo and entry.outcome in UNDOABLE:
            live[entry.branch, entry.seq] = entry
    return list(live.values())


def to_settle(stamp: Stamp, step: Step) -> Entry | None:
    """The entry that an undo of `step` settles: the newest of its entries that is still to be undone."""
    return next((entry for entry in reversed(undo_stack(stamp)) if entry.step == step.name), None)


def past_pivot(stamp: Stamp) -> bool:
    """Whether a step ran after which there is no way back."""
    return bool(stamp.past.get("pivot")) or any(entry.pivot and entry.outcome in PASSED for entry in stamp.history)


def visit_of(stamp: Stamp, step: Step) -> int:
    """Which visit of the step this is, from 1. Steps outside loops don't cost a look at the history."""
    if step.max_visits == 1:
        return 1
    known = int(stamp.past.get("visits", {}).get(step.name, 0))
    visits = (entry.visit for entry in stamp.history if entry.step == step.name and not entry.undoes)
    return 1 + max(visits, default=known)


def kept_for(stamp: Stamp, step: Step) -> dict[str, Any]:
    """What the step kept for its undo when it ran."""
    entry = to_settle(stamp, step)
    return (entry.keep or {}) if entry else {}


def fold(stamp: Stamp, workflow: Workflow) -> Stamp:
    """Fold settled history into `base` once it is long: a count and a digest stay, so size and cost stay bounded.

    A few entries at each hop, so that no hop pays for thirty. Nothing is folded in a branch: the join unites histories
    entry by entry. What a later hop may still need is never folded: live undos, the last pivot, the last visit of a
    step in a loop, and the last three entries.
    """
    if stamp.trail is None or stamp.branch is not None:
        return stamp
    most = _due(stamp, stamp.trail)
    count = _spared(stamp, workflow, most) if most else 0
    if not count:
        return stamp
    raw = stamp.raw_history()
    base = stamp.values.get("base") or {}
    digest = str(base.get("digest", "")).encode()
    from hashlib import sha256  # noqa: PLC0415  whoever only reads folds nothing, and OpenSSL takes 2 ms to load

    for text in raw[:count]:
        digest = sha256(digest + text).hexdigest().encode()
    folded = {**base, "count": stamp.folded + count, "digest": digest.decode()}
    return stamp.with_trail(raw[count:], {"base": folded})


def _due(stamp: Stamp, trail: bytes) -> int:
    """How many entries are to be folded now: a portion of the round that is under way, or begins."""
    folded, over = stamp.folded, len(trail) - FOLD_BYTES
    entries = stamp.seq - folded
    if over > 0:
        sizes = accumulate(len(bytes(text)) for text in stamp.raw_history())
        return max(PORTION, 1 + sum(1 for size in sizes if size < over))
    if entries > FOLD_ENTRIES:
        return max(PORTION, entries - FOLD_ENTRIES)
    return min(PORTION, -folded % ROUND)


def _spared(stamp: Stamp, workflow: Workflow, most: int) -> int:
    """How many of the oldest `most` entries no later hop needs."""
    most = max(0, min(most, len(stamp.raw_history()) - NEVER_FOLDED))
    for entry in stamp.entries(most):
        if entry.undo or entry.pivot or _loops(entry, workflow):
            # Whether an undo is settled, a pivot or a visit the last one: only the others tell.
            return min(most, _first_needed(stamp, workflow))
    return most


def _loops(entry: Entry, workflow: Workflow) -> bool:
    step = workflow.table.steps.get(entry.step)
    return step is not None and step.max_visits > 1


def _first_needed(stamp: Stamp, workflow: Workflow) -> int:
    live = {(entry.branch, entry.seq) for entry in undo_stack(stamp)}
    history: Sequence[Entry] = stamp.history
    last_pivot = max([entry.seq for entry in history if entry.pivot], default=-1)
    last_visit = {entry.step: entry.seq for entry in history if _loops(entry, workflow)}
    for place, entry in enumerate(history[:-NEVER_FOLDED]):
        if (entry.branch, entry.seq) in live or entry.seq == last_pivot or last_visit.get(entry.step) == entry.seq:
            return place
    return max(len(history) - NEVER_FOLDED, 0)
