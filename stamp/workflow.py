"""A workflow is a table: its steps, what each consumes and emits. Checked when it is defined."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stamp.duration import seconds
from stamp.errors import DefinitionError, SchemaDrift
from stamp.evolution import Lift, Upcast, Upcasters
from stamp.retry import Retry
from stamp.schema import Contract, drift, frozen

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
DEFAULT_RETRY = "5x 1s..60s"
HOP_GUARD = 64

Emits = type | Sequence[type] | None


def _where(depth: int) -> str:
    frame = sys._getframe(depth)  # noqa: SLF001  the line of the user's table, for error messages
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


class Step:
    """One line of the table: a service's local transaction.

    `on` is the event it consumes, `emits` the event (or the choice of events) it publishes; `undo=True` asks the
    service for an undo handler; after a `pivot` there is no way back. `retry` is a policy text such as
    `"5x 1s..60s"`, `undo_retry` the same for its undo, `no_retry` the exceptions that are never retried.
    A step on a loop needs `max_visits`. `queue` names a queue that an application declares and binds by itself, to
    `on` and with an undo to `undo.<step>`; nobody else declares it then. `shards=N` spreads the step over N queues by
    run id: each has one consumer at a time, so the messages of a run keep their order over any number of processes.
    """

    def __init__(
        self,
        name: str,
        *,
        service: str,
        on: type,
        emits: Emits = None,
        undo: bool = False,
        pivot: bool = False,
        retry: str | Retry = DEFAULT_RETRY,
        undo_retry: str | Retry | None = None,
        no_retry: Iterable[type[BaseException]] = (),
        max_visits: int = 1,
        queue: str | None = None,
        shards: int = 1,
    ) -> None:
        self.where = _where(2)
        self.name = _name(name, "step", self.where)
        self.service = _name(service, "service", self.where)
        self.on = on
        self.event = on.__name__
        """The name of the event it consumes."""
        self.emits: tuple[type, ...] = () if emits is None else (emits,) if isinstance(emits, type) else tuple(emits)
        self.outputs = tuple(event.__name__ for event in self.emits)
        """The names of the events it may emit."""
        self.undo = undo
        self.pivot = pivot
        self.retry = Retry.parse(retry)
        self.undo_retry = Retry.parse(undo_retry) if undo_retry else self.retry
        self.no_retry = tuple(no_retry)
        self.max_visits = max_visits
        self.queue = queue
        self.shards = shards
        if max_visits < 1:
            raise DefinitionError(f"{self}: max_visits={max_visits}", fix="a step is visited at least once")
        if shards < 1 or (shards > 1 and queue is not None):
            raise DefinitionError(
                f"{self}: shards={shards}", fix="one or more, and 1 where an application owns the queue"
            )

    def __str__(self) -> str:
        return f'{self.where}: Step("{self.name}")'

    def __repr__(self) -> str:
        return f"<Step {self.name} of {self.service}>"


def _name(text: str, kind: str, where: str) -> str:
    if not NAME.fullmatch(text):
        raise DefinitionError(
            f"{where}: {text!r} is not a {kind} name",
            fix="a letter, then at most 63 letters, digits, '_', '.' or '-'",
        )
    return text


def service_name(text: str) -> str:
    """A checked service name."""
    return _name(text, "service", _where(3))


@dataclass(frozen=True, slots=True)
class Stamped:
    """The message itself owns the workflow's state: the whole stamp travels."""


Style = Stamped


class Workflow:
    """A named, versioned definition: start event, steps, state type, deadline, style.

    `schemas` names a folder with frozen schemas (`stamp schemas freeze`): then the frozen file is the contract
    and must exist; without it the contract is derived from the types. Raises `DefinitionError` that names the
    line of the table.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int,
        start: type,
        steps: Sequence[Step],
        state: type | None = None,
        deadline: str | float | None = None,
        style: Style | None = None,
        schemas: str | Path | None = None,
        hop_guard: int = HOP_GUARD,
        signed: bool = False,
        upcasts: Mapping[int, Upcast | Lift] | None = None,
    ) -> None:
        self.where = _where(2)
        self.name = _name(name, "workflow", self.where)
        self.version = version
        self.start = start
        self.steps = tuple(steps)
        self.state_type = state
        self.deadline = None if deadline is None else seconds(deadline)
        self.style = style or Stamped()
        self.hop_guard = hop_guard
        self.signed = signed
        self.upcasters = Upcasters(name, upcasts or {})
        self.table = Table.of(self)
        self.derived = Contract.derive(name, version, state, self.event_types)
        self.contract = self.derived if schemas is None else self._frozen(Path(schemas))

    def __repr__(self) -> str:
        return f"<Workflow {self.name} version {self.version}>"

    def _frozen(self, folder: Path) -> Contract:
        contract = frozen(folder, self.name, self.version)
        if differences := drift(self.derived, contract):
            raise SchemaDrift(
                f"{self.where}: {self.label} is not what was frozen: {'; '.join(differences[:3])}",
                fix="raise the version, or bring the types back; a frozen schema is a promise to running stamps",
            )
        return contract

    @property
    def label(self) -> str:
        """Name and version for people: `NEW_TICKET v1`."""
        return f"{self.name} v{self.version}"

    @property
    def event_types(self) -> tuple[type, ...]:
        """Every payload type of the table, each once, start first."""
        found: dict[str, type] = {}
        for event in (self.start, *(event for step in self.steps for event in (step.on, *step.emits))):
            if found.setdefault(event.__name__, event) is not event:
                raise DefinitionError(
                    f"{self.where}: two different types are called {event.__name__}", fix="rename one of the events"
                )
        return tuple(found.values())

    @property
    def saga(self) -> bool:
        """Whether anything in it can be undone."""
        return any(step.undo for step in self.steps)

    @property
    def services(self) -> tuple[str, ...]:
        """The participants, in the order of the table."""
        return tuple(dict.fromkeys(step.service for step in self.steps))

    def step(self, name: str) -> Step:
        """The step of that name. Raises `DefinitionError` that names those which exist."""
        try:
            return self.table.steps[name]
        except KeyError:
            known = ", ".join(self.table.steps)
            raise DefinitionError(f"{self.label} has no step {name!r}", fix=f"one of: {known}") from None

    def consumer(self, event: str) -> Step | None:
        """The step that consumes the event; `None` when it is terminal or unknown."""
        return self.table.consumers.get(event)

    def terminal(self, event: str) -> bool:
        """Whether the event ends a run: no step consumes it."""
        return event not in self.table.consumers

    def remaining(self, event: str) -> tuple[str, ...]:
        """The steps still ahead once `event` is the last fact: those that every or any path may run, in order."""
        ahead: dict[str, None] = {}
        events = [event]
        while events:
            step = self.consumer(events.pop(0))
            if step is not None and step.name not in ahead:
                ahead[step.name] = None
                events.extend(step.outputs)
        return tuple(ahead)


@dataclass(frozen=True, slots=True)
class Table:
    """The checked lookups of a workflow: steps by name, the consumer of each event."""

    steps: Mapping[str, Step]
    consumers: Mapping[str, Step] = field(default_factory=dict)

    @classmethod
    def of(cls, workflow: Workflow) -> Table:
        """Read and check the table. Raises `DefinitionError` for the first line that is wrong."""
        if workflow.version < 1:
            raise DefinitionError(f"{workflow.where}: version={workflow.version}", fix="versions count from 1")
        if not workflow.steps:
            raise DefinitionError(f"{workflow.where}: {workflow.name} has no steps", fix="add at least one Step")
        table = cls(_by_name(workflow.steps), _by_event(workflow.steps))
        _all_events_come_from_somewhere(workflow, table)
        _all_steps_are_reached(workflow, table)
        _loops_are_bounded(table)
        return table


def _by_name(steps: Iterable[Step]) -> dict[str, Step]:
    names: dict[str, Step] = {}
    for step in steps:
        if step.name in names:
            raise DefinitionError(
                f"{step}: the name is taken by {names[step.name].where}", fix="step names are unique in a workflow"
            )
        names[step.name] = step
    return names


def _by_event(steps: Iterable[Step]) -> dict[str, Step]:
    consumers: dict[str, Step] = {}
    for step in steps:
        if step.event in consumers:
            raise DefinitionError(
                f"{step}: {step.event} is already consumed by {consumers[step.event]}",
                fix="one step per event; let it emit an event of its own for the other step",
            )
        consumers[step.event] = step
    return consumers


def _all_events_come_from_somewhere(workflow: Workflow, table: Table) -> None:
    emitted = {workflow.start.__name__, *(name for step in workflow.steps for name in step.outputs)}
    for step in workflow.steps:
        if step.event not in emitted:
            raise DefinitionError(
                f"{step}: nobody emits {step.event}", fix="emit it in another step, or make it the start event"
            )
    if workflow.start.__name__ not in table.consumers:
        raise DefinitionError(
            f"{workflow.where}: no step consumes the start event {workflow.start.__name__}",
            fix=f"add a Step(..., on={workflow.start.__name__})",
        )


def _all_steps_are_reached(workflow: Workflow, table: Table) -> None:
    reached: set[str] = set()
    events = [workflow.start.__name__]
    while events:
        step = table.consumers.get(events.pop())
        if step is not None and step.name not in reached:
            reached.add(step.name)
            events.extend(step.outputs)
    for step in workflow.steps:
        if step.name not in reached:
            raise DefinitionError(f"{step}: no path from the start event leads here", fix="connect it or remove it")


def _loops_are_bounded(table: Table) -> None:
    for step in table.steps.values():
        if step.max_visits == 1 and step.name in _after(table, step):
            raise DefinitionError(
                f"{step}: leads back to itself without a bound", fix="say max_visits=N on each step of the loop"
            )


def _after(table: Table, first: Step) -> set[str]:
    seen: set[str] = set()
    events = list(first.outputs)
    while events:
        step = table.consumers.get(events.pop())
        if step is not None and step.name not in seen:
            seen.add(step.name)
            events.extend(step.outputs)
    return seen
