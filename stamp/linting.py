"""What a table promises and can't keep: rules about undo, pivot, joins, loops and time, each with a code.

Errors make the definition fail, warnings are shown by `stamp workflows check`. Each code has a page, which
`stamp explain CODE` shows.

    L001  a step before the pivot has no undo and does not say why       error; warning without a pivot
    L002  a step behind the pivot declares an undo that can never run    error
    L003  a path never reaches the end                                   error
    L004  a join waits for its branches without an end                   warning
    L005  timeouts and pauses can take longer than the deadline          warning
    L006  the bounds of the loops allow more hops than the hop guard     error
    L007  a saga without a deadline: silence is never noticed            warning
    L008  the saga pattern that is claimed is not the one of the table   error
    L009  the pattern is one that is known to hurt                       warning
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stamp.duration import text
from stamp.patterns import DANGEROUS, Pattern, pattern_of
from stamp.step import Step
from stamp.table import Table

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found, at a line of the table."""

    code: str
    severity: Severity
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the rules look at: a table with what is said about the whole workflow."""

    where: str
    start: str
    """The name of the start event."""
    steps: Sequence[Step]
    table: Table
    deadline: float | None
    hop_guard: int
    claim: Pattern | None = None
    coordination: Literal["choreographed", "orchestrated"] = "choreographed"

    @property
    def compensates(self) -> bool:
        """Whether anything in it can be undone."""
        return any(step.undo for step in self.steps)

    def after(self, step: Step) -> dict[str, Step]:
        """The steps that some path runs after this one, by name."""
        seen: dict[str, Step] = {}
        events = list(step.outputs)
        while events:
            for follower in self.table.after(events.pop()):
                if follower.name not in seen:
                    seen[follower.name] = follower
                    events.extend(follower.outputs)
        return seen

    def behind_pivot(self) -> set[str]:
        """The names of the steps that every path reaches only over a pivot."""
        behind = {name for step in self.steps if step.pivot for name in self.after(step)}
        return behind - self._reached_without_pivot()

    def _reached_without_pivot(self) -> set[str]:
        reached, waiting = set[str](), list(self.table.after(self.start))
        while waiting:
            step = waiting.pop()
            if step.name in reached:
                continue
            reached.add(step.name)
            if not step.pivot:
                waiting += [follower for output in step.outputs for follower in self.table.after(output)]
        return reached


def lint(subject: Subject) -> list[Finding]:
    """Everything that the rules find, in the order of their codes."""
    return [finding for rule in RULES for finding in rule(subject)]


def _undo_before_pivot(subject: Subject) -> Iterator[Finding]:
    if not subject.compensates:
        return
    pivots = [step for step in subject.steps if step.pivot]
    for step in subject.steps:
        if step.undo or step.pivot or step.no_undo or step.joins:
            continue
        ahead = subject.after(step)
        if any(pivot.name in ahead for pivot in pivots):
            yield Finding("L001", "error", f"{step}: comes before the pivot and can't be undone", _SAY_UNDO)
        elif ahead and not pivots:
            yield Finding(
                "L001", "warning", f"{step}: a later step may turn the run back, and it can't be undone", _SAY_UNDO
            )


_SAY_UNDO = 'say undo=True and write its undo, or undo=None with a reason="..." why nothing is to be undone'


def _undo_behind_pivot(subject: Subject) -> Iterator[Finding]:
    behind = subject.behind_pivot()
    for step in subject.steps:
        if step.undo and step.name in behind:
            yield Finding(
                "L002",
                "error",
                f"{step}: its undo can never run, there is no way back behind the pivot",
                "leave out undo=, or move the pivot behind this step",
            )


def _paths_end(subject: Subject) -> Iterator[Finding]:
    for step in subject.steps:
        around = {step.name: step, **subject.after(step)}
        outputs = [output for other in around.values() for output in other.outputs]
        ends = any(not other.outputs for other in around.values())
        if not ends and all(subject.table.after(output) for output in outputs):
            yield Finding(
                "L003",
                "error",
                f"{step}: no path from here ever ends",
                "let a step of the loop choose an event that nobody consumes: emits=(Again, Done)",
            )


def _joins_wait(subject: Subject) -> Iterator[Finding]:
    for step in subject.steps:
        if step.joins and step.timeout is None and subject.deadline is None:
            yield Finding(
                "L004",
                "warning",
                f"{step}: waits for its branches for ever",
                'say timeout= and missing="fail" or "proceed", or give the workflow a deadline',
            )


def _time_fits(subject: Subject) -> Iterator[Finding]:
    if subject.deadline is None:
        return
    longest = _longest(subject.steps)
    if longest > subject.deadline:
        yield Finding(
            "L005",
            "warning",
            f"{subject.where}: pauses and timeouts can take {text(round(longest))}, "
            f"the deadline is {text(subject.deadline)}",
            "shorten retry= and timeout=, or give the run more time",
        )


def _longest(steps: Sequence[Step]) -> float:
    """Seconds that the slowest path may wait: each step once a visit, the slowest branch of a fork."""
    costs = {step.name: step.max_visits * _cost(step) for step in steps}
    known: dict[str, float] = {}

    def walk(step: Step, trail: frozenset[str]) -> float:
        if step.name in trail:
            return 0.0
        if step.name not in known:
            followers = [other for other in steps if set(step.outputs) & set(other.events)]
            rest = max((walk(follower, trail | {step.name}) for follower in followers), default=0.0)
            known[step.name] = costs[step.name] + rest
        return known[step.name]

    return max((walk(step, frozenset()) for step in steps), default=0.0)


def _cost(step: Step) -> float:
    trying = 0.0 if step.timeout is None or step.joins else step.retry.attempts * step.timeout
    inside = 0.0 if step.runs is None else _longest(step.runs.steps)
    return step.retry.budget() + trying + inside + (step.timeout or 0.0 if step.joins else 0.0)


def _loops_fit(subject: Subject) -> Iterator[Finding]:
    hops = sum(step.max_visits for step in subject.steps)
    if hops > subject.hop_guard and any(step.max_visits > 1 for step in subject.steps):
        yield Finding(
            "L006",
            "error",
            f"{subject.where}: the loops allow {hops} hops, the hop guard is {subject.hop_guard}",
            "lower max_visits=, or raise hop_guard= of the workflow",
        )


def _silence(subject: Subject) -> Iterator[Finding]:
    if subject.compensates and subject.deadline is None:
        yield Finding(
            "L007",
            "warning",
            f"{subject.where}: a saga without a deadline: nobody notices when it falls silent",
            'say deadline="48h" or whatever your customers would accept',
        )


def _claim_holds(subject: Subject) -> Iterator[Finding]:
    actual = pattern_of(compensates=subject.compensates, coordination=subject.coordination)
    if subject.claim is not None and subject.claim is not actual:
        yield Finding(
            "L008",
            "error",
            f"{subject.where}: claims to be {subject.claim.label}, and is {actual.label}",
            f"{actual.difference_from(subject.claim)}; or say saga={actual.code!r}",
        )


def _claim_hurts(subject: Subject) -> Iterator[Finding]:
    if subject.claim is not None and subject.claim in DANGEROUS:
        yield Finding("L009", "warning", f"{subject.where}: {subject.claim.label}: {DANGEROUS[subject.claim]}", _READ)


_READ = "read docs/explanation/sagas.md: a pivot, short chains and kept values take most of the pain out of it"

RULES: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    _undo_before_pivot,
    _undo_behind_pivot,
    _paths_end,
    _joins_wait,
    _time_fits,
    _loops_fit,
    _silence,
    _claim_holds,
    _claim_hurts,
)

MEANINGS: Mapping[str, str] = {
    line.split()[0]: " ".join(line.split()[1:])
    for line in (__doc__ or "").splitlines()
    if line.strip().startswith("L0")
}
"""What each code stands for, in a line."""
