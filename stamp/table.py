"""The checked lookups of a workflow: who consumes an event, where forks open and close, in which each step lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from stamp.branching import START, Place, place_of
from stamp.errors import DefinitionError
from stamp.step import Step

Context = tuple[str, ...]
"""The forks around a place in the table, outermost first, each named by the event that opens it."""


@dataclass(frozen=True, slots=True)
class Table:
    """What `Table.of` has read and checked. Events and steps by name."""

    steps: Mapping[str, Step]
    consumers: Mapping[str, tuple[Step, ...]]
    """Event to the steps that consume it, in the order of the table; joins are in `arrivals`."""
    arrivals: Mapping[str, Step]
    """Event to the join that waits for it."""
    contexts: Mapping[str, Context] = field(default_factory=dict)
    joins: Mapping[str, Step] = field(default_factory=dict)
    """Event that opens a fork to the join that closes it."""

    @classmethod
    def of(cls, steps: Sequence[Step], start: str, *, where: str, independent: bool) -> Table:
        """Read and check the table. Raises `DefinitionError` for the first line that is wrong."""
        table = cls(_by_name(steps), _by_event(steps), _by_arrival(steps))
        _all_events_come_from_somewhere(table, start, where=where)
        walk = Walk(table)
        walk.from_event(start)
        _all_steps_are_reached(table, walk.contexts)
        _loops_are_bounded(table)
        _forks_are_sound(table, walk, _independent(table, start, independent=independent))
        if table.dynamic(start):
            raise DefinitionError(
                f"{table.consumers[start][0]}: the start event is one, not a list", fix=f"say on={start}"
            )
        if table.forks(start) and START in table.steps:
            raise DefinitionError(f"{table.steps[START]}: the start event forks", fix=f"name no step {START!r} then")
        return cls(table.steps, table.consumers, table.arrivals, walk.contexts, walk.joins)

    def after(self, event: str) -> tuple[Step, ...]:
        """The steps that an event leads to; none when it is terminal."""
        join = self.arrivals.get(event)
        return self.consumers.get(event, ()) if join is None else (join,)

    def forks(self, event: str) -> bool:
        """Whether the event opens a fork: several steps consume it, or one step consumes each of a list."""
        steps = self.consumers.get(event, ())
        return len(steps) > 1 or any(step.each for step in steps)

    def dynamic(self, event: str) -> bool:
        """Whether the event is sent as a list, one branch an item."""
        steps = self.consumers.get(event, ())
        return len(steps) == 1 and steps[0].each  # the items of a list go to one step

    def closed_by(self, join: Step) -> tuple[str, ...]:
        """The events that open the fork which the join closes."""
        return tuple(fork for fork, closing in self.joins.items() if closing is join)

    def undone_before(self, step: Step, branch: str | None) -> Step | None:
        """The step that is undone next when nobody knows which ran: the nearest before `step`, in its branch.

        Where there is a choice of ways, those that were not taken are among them: their services know.
        """
        order = [one for one in self._in_order() if one.undo or one is step]
        if branch is not None:
            inside = self._branch(place_of(branch))
            order = [one for one in order if one.name in inside or one is step]
        before = order[: order.index(step)] if step in order else order
        return before[-1] if before else None

    def _in_order(self) -> list[Step]:
        """The steps, each behind all that may run before it."""
        found: list[Step] = []
        waiting = list(self.steps.values())
        while waiting:
            ready = [one for one in waiting if not self._needs(one, waiting)]
            found += ready or waiting
            waiting = [one for one in waiting if one not in found]
        return found

    def _needs(self, step: Step, others: Sequence[Step]) -> bool:
        emitted = {output for other in others if other is not step for output in other.outputs}
        return any(event in emitted for event in step.events)

    def _branch(self, place: Place) -> set[str]:
        """The steps of one branch of a fork: from the child's first step to where the branches meet."""
        first = self.consumers[self.opening(place)]
        child = first[0] if first[0].each else first[place.child]
        context = self.contexts[child.name]
        found, events = {child.name}, list(child.outputs)
        while events:
            for step in self.after(events.pop()):
                if step.name not in found and self.contexts[step.name][: len(context)] == context:
                    found.add(step.name)
                    events.extend(step.outputs)
        return found

    def opening(self, place: Place) -> str:
        """The event that opened a fork, by the step that emitted it."""
        name = place.fork.rpartition("|")[2].rpartition(":")[0]
        emitted = {output for step in self.steps.values() for output in step.outputs}
        events = self.steps[name].outputs if name in self.steps else tuple(set(self.consumers) - emitted)
        return next(event for event in events if self.forks(event))

    def join_around(self, step: Step, depth: int) -> Step | None:
        """The join that closes the `depth`-th fork around a step; `None` when its branches are independent."""
        return self.joins.get(self.contexts[step.name][depth - 1])


class Walk:
    """Every path from the start event: in which forks each step lies, which join closes which fork, open ends."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.contexts: dict[str, Context] = {}
        self.joins: dict[str, Step] = {}
        self.forks: dict[str, Step] = {}
        """Event that opens a fork to the first step in it."""
        self.ends: list[tuple[Step | None, Context]] = []
        """Where a branch ends without a join, with the last step."""

    def from_event(self, event: str, context: Context = (), last: Step | None = None) -> None:
        """Follow an event to the steps behind it, each once."""
        after = self.table.after(event)
        if not after:
            self.ends.append((last, context))
        for step in after:
            self._arrive(step, self._inside(step, event, context))

    def _arrive(self, step: Step, context: Context) -> None:
        known = self.contexts.get(step.name)
        if known == context:
            return
        if known is not None:
            raise DefinitionError(
                f"{step}: is reached both {_words(known)} and {_words(context)}",
                fix="let each step lie in one place: join the branches first, or make two steps of it",
            )
        self.contexts[step.name] = context
        if not step.outputs:
            self.ends.append((step, context))
        for output in step.outputs:
            self.from_event(output, context, step)

    def _inside(self, step: Step, event: str, context: Context) -> Context:
        """The forks around `step` when `event` arrives there."""
        if not step.joins and not self.table.forks(event):
            return context
        if not step.joins:
            self.forks.setdefault(event, step)
            return (*context, event)
        if not context:
            raise DefinitionError(f"{step}: joins {event}, which comes from no fork", fix=f"say on={event}")
        fork = context[-1]
        if self.joins.setdefault(fork, step) is not step:
            raise DefinitionError(
                f"{step}: the fork at {fork} is already joined by {self.joins[fork]}", fix="close a fork with one join"
            )
        return context[:-1]


def _words(context: Context) -> str:
    return f"in the fork at {' in the fork at '.join(reversed(context))}" if context else "outside any fork"


def _by_name(steps: Iterable[Step]) -> dict[str, Step]:
    names: dict[str, Step] = {}
    for step in steps:
        if step.name in names:
            raise DefinitionError(
                f"{step}: the name is taken by {names[step.name].where}", fix="step names are unique in a workflow"
            )
        names[step.name] = step
    return names


def _by_event(steps: Iterable[Step]) -> dict[str, tuple[Step, ...]]:
    consumers: dict[str, tuple[Step, ...]] = {}
    for step in steps:
        if step.joins:
            continue
        others = consumers.get(step.event, ())
        if others and (step.each or others[0].each):
            raise DefinitionError(
                f"{step}: {step.event} is already consumed by {others[0]}",
                fix="the items of a list go to one step; let that step emit an event for the others",
            )
        consumers[step.event] = (*others, step)
    return consumers


def _by_arrival(steps: Sequence[Step]) -> dict[str, Step]:
    arrivals: dict[str, Step] = {}
    for step in steps:
        for event in step.events if step.joins else ():
            other = arrivals.get(event) or next((one for one in steps if not one.joins and one.event == event), None)
            if other is not None:
                raise DefinitionError(
                    f"{step}: joins {event}, which {other} consumes",
                    fix="an event ends a branch or goes to steps, not both: emit another event for one of them",
                )
            arrivals[event] = step
    return arrivals


def _all_events_come_from_somewhere(table: Table, start: str, *, where: str) -> None:
    emitted = {start, *(name for step in table.steps.values() for name in step.outputs)}
    for step in table.steps.values():
        for event in step.events:
            if event not in emitted:
                raise DefinitionError(
                    f"{step}: nobody emits {event}", fix="emit it in another step, or make it the start event"
                )
    if not table.after(start):
        raise DefinitionError(f"{where}: no step consumes the start event {start}", fix=f"add a Step(..., on={start})")


def _all_steps_are_reached(table: Table, contexts: Mapping[str, Context]) -> None:
    for step in table.steps.values():
        if step.name not in contexts:
            raise DefinitionError(f"{step}: no path from the start event leads here", fix="connect it or remove it")


def _loops_are_bounded(table: Table) -> None:
    for step in table.steps.values():
        if step.max_visits == 1 and step.name in _ahead(table, step):
            raise DefinitionError(
                f"{step}: leads back to itself without a bound", fix="say max_visits=N on each step of the loop"
            )


def _ahead(table: Table, first: Step) -> set[str]:
    seen: set[str] = set()
    events = list(first.outputs)
    while events:
        for step in table.after(events.pop()):
            if step.name not in seen:
                seen.add(step.name)
                events.extend(step.outputs)
    return seen


def _independent(table: Table, start: str, *, independent: bool) -> set[str]:
    """The events whose branches are declared never to meet again: by each step that emits one."""
    said = {output: step.independent for step in table.steps.values() for output in step.outputs}
    for step in table.steps.values():
        said |= {output: said[output] and step.independent for output in step.outputs}
    return {event for event, free in {**said, **({start: True} if independent else {})}.items() if free}


def _forks_are_sound(table: Table, walk: Walk, independent: set[str]) -> None:
    for fork, first in walk.forks.items():
        if fork in independent and fork in walk.joins:
            raise DefinitionError(
                f"{walk.joins[fork]}: joins branches that were declared independent", fix="leave out branches="
            )
        if fork not in independent and fork not in walk.joins:
            raise DefinitionError(
                f"{first}: the fork at {fork} never joins",
                fix='add a step on=All(...), or say branches="independent" where it is emitted',
            )
    for step, context in walk.ends:
        if open_forks := [fork for fork in context if fork not in independent]:
            raise DefinitionError(
                f"{step}: may end its branch here, and {walk.joins[open_forks[-1]]} would wait for ever",
                fix="let it emit an event that the join names",
            )
    for step in table.steps.values():
        if step.pivot and any(fork not in independent for fork in walk.contexts[step.name]):
            raise DefinitionError(f"{step}: a pivot in a fork that joins", fix="put the pivot behind the join")
