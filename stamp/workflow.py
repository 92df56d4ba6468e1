"""A workflow is a table: its steps, what each consumes and emits. Checked when it is defined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

from stamp.duration import seconds
from stamp.errors import DefinitionError
from stamp.evolution import Lift, Upcast, Upcasters
from stamp.lineage import check_lineage
from stamp.linting import Finding, Subject, lint
from stamp.patterns import Pattern, pattern_of
from stamp.schema import Contract, contract_of
from stamp.step import All, Branches, Each, Step, checked_name, place, service_name
from stamp.style import FrontController, Orchestrator, Stamped, Stateless, Style
from stamp.table import Table

__all__ = [
    "HOP_GUARD",
    "All",
    "Each",
    "FrontController",
    "Orchestrator",
    "Stamped",
    "Stateless",
    "Step",
    "Style",
    "Workflow",
    "service_name",
]

HOP_GUARD = 64


class Workflow:
    """A named, versioned definition: start event, steps, state type, deadline, style.

    `schemas` names a folder with frozen schemas (`stamp schemas freeze`): then the frozen file is the contract
    and must exist; without it the contract is derived from the types. `branches="independent"` says that the steps
    which share the start event never meet again. `saga` claims one of the eight patterns (`"aec"`, `"Anthology"`): the
    claim is checked. `findings` are the linter's warnings; its errors raise. Raises `DefinitionError` that names the
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
        branches: Branches = "joined",
        saga: str | None = None,
    ) -> None:
        self.where = place(2)
        self.name = checked_name(name, "workflow", self.where)
        self.version = version
        self.start = start
        self.steps = tuple(steps)
        self.state_type = state
        self.deadline = None if deadline is None else seconds(deadline)
        self.style = style or Stamped()
        self.hop_guard = hop_guard
        self.signed = signed
        self.upcasters = Upcasters(name, upcasts or {})
        self.table = self._table(branches)
        self._check_style()
        check_lineage(self.name, self.steps, self.table)
        self.pattern = None if saga is None else Pattern.named(saga, where=self.where)
        self.findings = self._linted()
        self.derived = Contract.derive(name, version, state, self.event_types)
        self.contract = self.derived if schemas is None else contract_of(self.derived, Path(schemas), where=self.where)

    def __repr__(self) -> str:
        return f"<Workflow {self.name} version {self.version}>"

    def _table(self, branches: Branches) -> Table:
        if self.version < 1:
            raise DefinitionError(f"{self.where}: version={self.version}", fix="versions count from 1")
        if not self.steps:
            raise DefinitionError(f"{self.where}: {self.name} has no steps", fix="add at least one Step")
        return Table.of(self.steps, self.start.__name__, where=self.where, independent=branches == "independent")

    def _check_style(self) -> None:
        """Without anybody who counts, a step that runs several times in a run can't tell which time it is."""
        if not isinstance(self.style, Stateless):
            return
        for step in self.steps:
            if step.max_visits > 1 or step.each:
                raise DefinitionError(
                    f"{step}: runs more than once in a run, and nobody counts in stateless style",
                    fix="choose another style, or let one step do all of it",
                )

    def styled(self, style: Style) -> Workflow:
        """The same table under another owner of its state. Raises `DefinitionError` where the style can't carry it."""
        other = copy(self)
        other.style = style
        other._check_style()  # noqa: SLF001  it is one of us
        return other

    def _linted(self) -> tuple[Finding, ...]:
        subject = Subject(
            where=f"{self.where}: {self.name}",
            start=self.start.__name__,
            steps=self.steps,
            table=self.table,
            deadline=self.deadline,
            hop_guard=self.hop_guard,
            claim=self.pattern,
        )
        findings = lint(subject)
        if wrong := next((finding for finding in findings if finding.severity == "error"), None):
            raise DefinitionError(str(wrong), fix=f"{wrong.fix}; stamp explain {wrong.code}")
        return tuple(findings)

    @property
    def label(self) -> str:
        """Name and version for people: `NEW_TICKET v1`."""
        return f"{self.name} v{self.version}"

    @property
    def event_types(self) -> tuple[type, ...]:
        """Every payload type of the table, each once, start first."""
        found: dict[str, type] = {}
        for event in (self.start, *(event for step in self.steps for event in (*step.inputs, *step.emits))):
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
    def kind(self) -> Pattern:
        """Which of the eight saga patterns the table is."""
        return pattern_of(compensates=self.saga, coordination="choreographed")

    @property
    def services(self) -> tuple[str, ...]:
        """The participants, in the order of the table."""
        return tuple(dict.fromkeys(step.service for step in self.steps))

    @property
    def ends(self) -> tuple[type | None, ...]:
        """What a run can end in: the events that no step consumes, `None` for a step that emits nothing."""
        found: dict[type | None, None] = {}
        for step in self.steps:
            found |= dict.fromkeys(event for event in step.emits if self.terminal(event.__name__))
            if not step.emits:
                found[None] = None
        return tuple(found)

    @property
    def scattered(self) -> bool:
        """Whether branches of a run may end each for itself."""
        return any(self.table.forks(event) and event not in self.table.joins for event in self.table.consumers)

    @property
    def inner(self) -> tuple[Workflow, ...]:
        """The workflows that its steps run, each once."""
        return tuple(dict.fromkeys(step.runs for step in self.steps if isinstance(step.runs, Workflow)))

    def step(self, name: str) -> Step:
        """The step of that name. Raises `DefinitionError` that names those which exist."""
        try:
            return self.table.steps[name]
        except KeyError:
            known = ", ".join(self.table.steps)
            raise DefinitionError(f"{self.label} has no step {name!r}", fix=f"one of: {known}") from None

    def consumer(self, event: str) -> Step | None:
        """The first step that consumes the event; `None` when it is terminal or unknown."""
        return next(iter(self.table.after(event)), None)

    def terminal(self, event: str) -> bool:
        """Whether the event ends a run (or an independent branch of it): no step consumes it."""
        return not self.table.after(event)

    def remaining(self, event: str) -> tuple[str, ...]:
        """The steps still ahead once `event` is the last fact: those that every or any path may run, in order."""
        ahead: dict[str, None] = {}
        events = [event]
        while events:
            for step in self.table.after(events.pop(0)):
                if step.name not in ahead:
                    ahead[step.name] = None
                    events.extend(step.outputs)
        return tuple(ahead)
