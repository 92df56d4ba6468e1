"""What a step may ask of the workflow that it runs: one end, one of the step's own events, and a way back.

Checked when the outer workflow is defined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stamp.errors import DefinitionError
from stamp.step import Inner, Step
from stamp.table import Table


def check_lineage(outer: str, steps: Sequence[Step], table: Table) -> None:
    """Raises `DefinitionError` for the first step that asks what the workflow which it runs can't give."""
    for step in steps:
        if step.runs is not None:
            _runs_no_ancestor(step, step.runs, outer)
            _ends_once(step, step.runs)
            _emits_what_the_child_ends_in(step, step.runs, table)
            _can_be_taken_back(step, step.runs)


def _runs_no_ancestor(step: Step, inner: Inner, outer: str) -> None:
    for way in _below(inner):
        if outer in way:
            names = " -> ".join((outer, *way))
            raise DefinitionError(f"{step}: workflows run each other: {names}", fix="break the circle")


def _below(inner: Inner) -> Iterator[tuple[str, ...]]:
    """The names of a workflow and those that it runs, one way down at a time."""
    yield (inner.name,)
    for step in inner.steps:
        if step.runs is not None:
            yield from ((inner.name, *way) for way in _below(step.runs))


def _ends_once(step: Step, inner: Inner) -> None:
    if inner.scattered:
        raise DefinitionError(
            f"{step}: runs {inner.label}, whose branches end each for itself", fix="join them before its end"
        )


def _emits_what_the_child_ends_in(step: Step, inner: Inner, table: Table) -> None:
    ends = {end: "nothing" if end is None else end.__name__ for end in inner.ends}
    wrong = [event.__name__ for event in step.emits if event not in ends]
    missing = [name for end, name in ends.items() if end not in step.emits] if step.emits else []
    if wrong or missing:
        what = f"emits {wrong[0]}, and {inner.label} can't end in it" if wrong else _also(step, inner, missing[0])
        raise DefinitionError(
            f"{step}: {what}", fix=f"{inner.label} ends in {' or '.join(ends.values())}: emit exactly that"
        )
    if listed := next((event for event in step.outputs if table.dynamic(event)), None):
        raise DefinitionError(
            f"{step}: a workflow ends in one {listed}, not in a list", fix="let a step of its own make the list"
        )


def _also(step: Step, inner: Inner, end: str) -> str:
    return f"emits {' or '.join(step.outputs)}, and {inner.label} can also end in {end}"


def _can_be_taken_back(step: Step, inner: Inner) -> None:
    if not step.undo:
        return
    if pivot := next((one for one in inner.steps if one.pivot), None):
        raise DefinitionError(
            f"{step}: undo=True, and there is no way back in {inner.label} behind its pivot {pivot.name!r}",
            fix="leave out undo=, and let the step be a pivot itself",
        )
    if not any(one.undo for one in inner.steps):
        raise DefinitionError(
            f"{step}: undo=True, and no step of {inner.label} can be undone",
            fix='say undo=True there, or here undo=None with a reason="..."',
        )
