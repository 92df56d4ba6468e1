"""One line of a workflow's table: a step, the event it consumes or the branches it joins, what it promises."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from stamp.duration import seconds
from stamp.errors import DefinitionError
from stamp.retry import Retry

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
DEFAULT_RETRY = "5x 1s..60s"

Emits = type | Sequence[type] | None
Branches = Literal["joined", "independent"]
Missing = Literal["wait", "fail", "proceed"]


class All:
    """`on=All(Charged, Reserved)`: the step joins the branches that end in these events."""

    def __init__(self, *events: type) -> None:
        if not events:
            raise DefinitionError("All() names no event", fix="name the events that the branches end in")
        self.events = events

    def __repr__(self) -> str:
        return f"All({', '.join(event.__name__ for event in self.events)})"


class Each:
    """`on=Each(Item)`: the step runs once for each item of the list that the step before returned."""

    def __init__(self, event: type) -> None:
        self.event = event

    def __repr__(self) -> str:
        return f"Each({self.event.__name__})"


class Inner(Protocol):
    """What a table has to know of the workflow that one of its steps runs: a `stamp.Workflow` is one."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def steps(self) -> Sequence[Step]: ...

    @property
    def ends(self) -> Sequence[type | None]: ...

    @property
    def scattered(self) -> bool: ...


class Step:
    """One line of the table: a service's local transaction.

    `on` is the event it consumes, `emits` the event (or the choice of events) it publishes; `undo=True` asks the
    service for an undo handler, `undo=None` with a `reason` says that there is nothing to undo; after a `pivot` there
    is no way back. `retry` is a policy text such as `"5x 1s..60s"`, `undo_retry` the same for its undo, `no_retry` the
    exceptions that are never retried. A step on a loop needs `max_visits`. `queue` names a queue that an application
    declares and binds by itself, to `on` and with an undo to `undo.<step>`; nobody else declares it then. `shards=N`
    spreads the step over N queues by run id: each has one consumer at a time, so the messages of a run keep their
    order over any number of processes.

    Two steps `on` one event are a fork, as is a list of events for a step `on=Each(Item)`. A step `on=All(A, B)` joins
    the branches; `branches="independent"` says that those which this step opens never meet again. `timeout` is how
    long one try of the handler may take; in a join it is how long it waits for its branches, and `missing` what then
    happens: `"fail"` turns the run back, `"proceed"` goes on without, `"wait"` goes on waiting.

    `runs` is another workflow: the handler returns its start event, and the step waits until that child run has ended.
    What the child ends in is what the step emits; when the child fails, the step has failed; with `undo=True` the undo
    of the step takes the child back, and needs no handler.
    """

    def __init__(
        self,
        name: str,
        *,
        service: str,
        on: type | All | Each,
        emits: Emits = None,
        undo: bool | None = False,
        reason: str = "",
        pivot: bool = False,
        retry: str | Retry = DEFAULT_RETRY,
        undo_retry: str | Retry | None = None,
        no_retry: Iterable[type[BaseException]] = (),
        max_visits: int = 1,
        queue: str | None = None,
        shards: int = 1,
        timeout: str | float | None = None,
        missing: Missing | None = None,
        branches: Branches = "joined",
        runs: Inner | None = None,
    ) -> None:
        self.where = place(2)
        self.name = checked_name(name, "step", self.where)
        self.service = checked_name(service, "service", self.where)
        self.on = on
        self.inputs: tuple[type, ...] = (
            on.events if isinstance(on, All) else (on.event if isinstance(on, Each) else on,)
        )
        """The types of the events it consumes: one, or those that a join waits for."""
        self.events = tuple(event.__name__ for event in self.inputs)
        self.event = self.events[0]
        """The name of the event it consumes; of a join, the first that it names."""
        self.consumes = repr(on) if isinstance(on, All | Each) else self.event
        """What it is `on`, in words."""
        self.joins = isinstance(on, All)
        self.each = isinstance(on, Each)
        self.emits: tuple[type, ...] = () if emits is None else (emits,) if isinstance(emits, type) else tuple(emits)
        self.outputs = tuple(event.__name__ for event in self.emits)
        """The names of the events it may emit."""
        self.undo = bool(undo)
        self.no_undo = reason
        """Why there is nothing to undo, where the table says `undo=None`."""
        self.pivot = pivot
        self.retry = Retry.parse(retry)
        self.undo_retry = Retry.parse(undo_retry) if undo_retry else self.retry
        self.no_retry = tuple(no_retry)
        self.max_visits = max_visits
        self.queue = queue
        self.shards = shards
        self.timeout = None if timeout is None else seconds(timeout)
        self.missing: Missing = missing or ("wait" if timeout is None else "fail")
        self.independent = branches == "independent"
        self.runs = runs
        """The workflow that it runs, and waits for."""
        self._check(missing)
        if (undo is None) != bool(reason):
            raise DefinitionError(
                f"{self}: undo=None and reason= go together", fix='say undo=None, reason="it only reads", or undo=True'
            )

    def _check(self, missing: Missing | None) -> None:
        if self.max_visits < 1:
            raise DefinitionError(f"{self}: max_visits={self.max_visits}", fix="a step is visited at least once")
        if self.shards < 1 or (self.shards > 1 and self.queue is not None):
            raise DefinitionError(
                f"{self}: shards={self.shards}", fix="one or more, and 1 where an application owns the queue"
            )
        if missing is not None and not self.joins:
            raise DefinitionError(f"{self}: missing= is for a join", fix="say on=All(...), or leave missing= out")
        if missing in {"fail", "proceed"} and self.timeout is None:
            raise DefinitionError(
                f"{self}: missing={missing!r} and no timeout", fix="say how long it waits for its branches: timeout="
            )

        if self.runs is not None and (self.joins or self.timeout is not None or self.queue is not None):
            what = "on=All(...)" if self.joins else "timeout=" if self.queue is None else "queue="
            raise DefinitionError(f"{self}: runs= and {what}", fix=_APART[what])

    def __str__(self) -> str:
        return f'{self.where}: Step("{self.name}")'

    def __repr__(self) -> str:
        return f"<Step {self.name} of {self.service}>"


_APART = {
    "on=All(...)": "join in one step, and let the next one run the workflow",
    "timeout=": "give the workflow that it runs a deadline",
    "queue=": "let the toolkit declare the queue: the service also has to hear of the ends of what it runs",
}
"""What to do instead of running a workflow in a step that has something else besides."""


def place(depth: int) -> str:
    """File and line of the caller `depth` calls up: where a table is written, for error messages."""
    frame = sys._getframe(depth)  # noqa: SLF001
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def checked_name(text: str, kind: str, where: str) -> str:
    """`text`, if it may name a step, service or workflow. Raises `DefinitionError`."""
    if not NAME.fullmatch(text):
        raise DefinitionError(
            f"{where}: {text!r} is not a {kind} name",
            fix="a letter, then at most 63 letters, digits, '_', '.' or '-'",
        )
    return text


def service_name(text: str) -> str:
    """A checked service name."""
    return checked_name(text, "service", place(3))
