"""What the owner of a run does about a report: send the run on, walk it back, tell its end. Pure.

    the report says          front controller         orchestrator
    -----------------------  -----------------------  ----------------------------------------
    a run has begun          notes it                 notes it, sends the first event
    a step has run           notes it                 notes it, sends the event, or the end
    the run turned back      both send the command to undo what ran last, one at a time
    an undo has run          both send the next one; when none is left, the end

What to undo next is derived from the record alone, and the ids of commands from what they undo: a record that is looked
at twice, or a stale report, asks for nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from stamp.branching import branch_of, fork_of, place_of, within
from stamp.decision import Next, compensated_notice, undo_of
from stamp.history import unsettled
from stamp.ids import command_message, next_message
from stamp.layout import end_key
from stamp.ledger import Record
from stamp.model import Entry, Stamp
from stamp.sighting import Sighting
from stamp.slim import without_history
from stamp.style import Orchestrator
from stamp.workflow import Workflow

Steered = tuple[Record, tuple[Next, ...]]


def steer(workflow: Workflow, before: Record | None, after: Record, seen: Sighting, events: Sequence[Any]) -> Steered:
    """What follows when `seen` has made `after` out of `before`; `events` are payloads that the report handed over."""
    onward = _onward(workflow, seen, events) if isinstance(workflow.style, Orchestrator) and seen.is_report else ()
    if before is after:
        return after, ()
    commands: list[Next] = []
    for head in tuple(after.heads.values()):
        due, was_due = _due(workflow, after, head), before and _due(workflow, before, before.heads.get(head.branch))
        if due is not None and due != was_due:
            commands.append(_command(workflow, after, head, due))
        elif due is None and _is_back(workflow, after, head):
            after, notice = _ended(workflow, after, head)
            commands += notice
    return after, (*onward, *commands)


def _onward(workflow: Workflow, seen: Sighting, events: Sequence[Any]) -> tuple[Next, ...]:
    """The messages that a step handed over instead of sending them itself."""
    stamp = without_history(seen.stamp)
    if stamp.phase == "completed":
        return (_end(seen, stamp, events),)
    if stamp.phase != "forward":
        return ()
    return tuple(
        Next(
            kind="event",
            routing_key=stamp.event,
            type=stamp.event,
            message_id=next_message(seen.message_id, "", "onward", stamp.branch or "", n),
            event=event,
            stamp=_item(workflow, seen.stamp, stamp, n, len(events)),
        )
        for n, event in enumerate(events)
    )


def _item(workflow: Workflow, reported: Stamp, stamp: Stamp, n: int, children: int) -> Stamp:
    """The stamp of one of several events: each opens a branch of the fork at the step that was reported."""
    if not workflow.table.dynamic(stamp.event):
        return stamp
    entry = reported.history[-1]
    return stamp.having({"branch": branch_of(fork_of(stamp.branch, entry.step, entry.visit), n, children)})


def _end(seen: Sighting, stamp: Stamp, events: Sequence[Any]) -> Next:
    return Next(
        kind="end",
        routing_key=end_key("completed"),
        type=stamp.event,
        message_id=next_message(seen.message_id, "", "onward", stamp.branch or ""),
        event=events[0] if events else None,
        mandatory=False,
        stamp=stamp,
    )


def _due(workflow: Workflow, record: Record, head: Sighting | None) -> tuple[str, int] | None:
    """The branch and `seq` of the entry that is to be undone next on behalf of `head`; `None` when it has to wait."""
    if head is None or not _walks(workflow, record, head):
        return None
    stack = _stack(record, head)
    return (stack[-1].branch or "", stack[-1].seq) if stack else None


def _walks(workflow: Workflow, record: Record, head: Sighting) -> bool:
    """Whether `head` is on its way back by itself, and all that ran before is known."""
    if head.stamp.phase not in {"backward", "compensated"}:
        return False
    return not _waits_for_join(workflow, record, head) and _complete(record, head)


def _waits_for_join(workflow: Workflow, record: Record, head: Sighting) -> bool:
    """Whether a join will take the branch back with the others. One that went on without the branch will not."""
    if not head.branch or not _joined(workflow, head):
        return False
    return not any(head.branch in _left_out(other) for other in record.heads.values())


def _left_out(head: Sighting) -> Sequence[str]:
    """The branches that joins before `head` went on without: each walks back alone, whenever it comes."""
    without: Sequence[str] = head.stamp.past.get("without", ())
    return without


def _joined(workflow: Workflow, head: Sighting) -> bool:
    """Whether the branch of `head` lies in a fork that a join closes."""
    return workflow.table.opening(place_of(head.branch)) in workflow.table.joins


def _own(record: Record, head: Sighting) -> list[Entry]:
    """The hops that `head` counts: of its branch and the forks inside it, on the trunk of the whole run."""
    own = [entry for entry in record.done if not head.branch or within(entry.branch, head.branch)]
    return [entry for entry in own if not any(within(entry.branch, branch) for branch in _left_out(head))]


def _stack(record: Record, head: Sighting) -> list[Entry]:
    """What is still to be undone on behalf of `head`."""
    return unsettled(_own(record, head))


def _complete(record: Record, head: Sighting) -> bool:
    """Whether every hop up to `head` was reported: a report may be late, when its sender died in between."""
    before = _before(record, head.branch) if head.branch else 0
    return before is not None and len(_own(record, head)) >= head.stamp.seq - before


def _before(record: Record, branch: str) -> int | None:
    """How many hops had finished when the fork of a branch opened."""
    fork = branch.rpartition(".")[0]
    parent, _, last = fork.rpartition("|")
    step, _, visit = last.rpartition(":")
    for entry in record.done:
        if (entry.branch or "", entry.step, str(entry.visit)) == (parent, step, visit) and entry.undoes is None:
            return entry.seq
    return 0 if step == "start" and not parent else None


def _command(workflow: Workflow, record: Record, head: Sighting, due: tuple[str, int]) -> Next:
    raw = record.entries[due]
    entry = msgspec.json.decode(raw, type=Entry)
    step = workflow.step(entry.step)
    command = undo_of(step, command_message(record.run, entry.branch or "", entry.seq))
    stamp = without_history(head.stamp).having({"phase": "backward", "event": step.event})
    return msgspec.structs.replace(command, stamp=stamp.with_trail([msgspec.Raw(raw)], {}))


def _is_back(workflow: Workflow, record: Record, head: Sighting) -> bool:
    return head.stamp.phase == "backward" and _walks(workflow, record, head) and not _stack(record, head)


def _ended(workflow: Workflow, record: Record, head: Sighting) -> tuple[Record, list[Next]]:
    """The record with `head` undone, and the notice of it. A branch that its join left behind ends without one."""
    stamp = without_history(head.stamp).having({"phase": "compensated"})
    ended = replace(head, stamp=stamp, message_id=command_message(record.run, head.branch, -1))
    after = replace(record, heads={**record.heads, head.branch: ended})
    notice = msgspec.structs.replace(compensated_notice(stamp, ended.message_id), stamp=stamp)
    return after, [] if head.branch and _joined(workflow, head) else [notice]
