"""Failures on request, and a note of which handlers run right now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import Any

from stamp.model import Action
from stamp.trip import Handler, Station
from stamp.workflow import Workflow

UNDO = "undo:"


class Injected(Exception):  # noqa: N818  it stands for whatever may happen
    """Raised in place of a handler, as `Bench.fail` asked for."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """The next `left` tries of a step raise `error`."""

    workflow: str | None
    step: str
    action: Action
    left: int
    error: BaseException | type[BaseException]

    def hits(self, workflow: Workflow, step: str, action: Action) -> bool:
        """Whether it is meant for this try and not yet used up."""
        meant = (self.step, self.action) == (step, action) and self.workflow in {None, workflow.name}
        return meant and self.left > 0


@dataclass(slots=True)
class Faults:
    """Stands in front of every handler of a bench."""

    planned: list[Fault] = field(default_factory=list)
    running: list[tuple[str, str]] = field(default_factory=list)
    """The handlers that were called and have not returned, each with its service."""

    def plan(
        self, step: str, *, times: int, error: BaseException | type[BaseException], workflow: Workflow | None
    ) -> None:
        """The next `times` tries of the step (`undo:<step>` for its undo) raise `error` instead of running."""
        action: Action = "undo" if step.startswith(UNDO) else "do"
        name = None if workflow is None else workflow.name
        fault = Fault(workflow=name, step=step.removeprefix(UNDO), action=action, left=times, error=error)
        self.planned.append(fault)

    def guarded(self, station: Station) -> Station:
        """The station with its handlers behind this."""
        handlers: dict[tuple[int, Action], Handler] = {
            (version, action): self._guard(handler, station.versions[version], station.step, action)
            for (version, action), handler in station.handlers.items()
        }
        return replace(station, handlers=handlers)

    def _guard(self, handler: Handler, workflow: Workflow, step: str, action: Action) -> Handler:
        running = (workflow.step(step).service, _label(handler, workflow, step, action))

        @wraps(handler)
        async def guard(*args: Any) -> Any:
            self._strike(workflow, step, action)
            with self._noted(running):
                return await handler(*args)

        return guard

    def _strike(self, workflow: Workflow, step: str, action: Action) -> None:
        for fault in self.planned:
            if fault.hits(workflow, step, action):
                fault.left -= 1
                raise fault.error if isinstance(fault.error, BaseException) else fault.error("as Bench.fail asked for")

    @contextmanager
    def _noted(self, running: tuple[str, str]) -> Iterator[None]:
        self.running.append(running)
        try:
            yield
        finally:
            self.running.remove(running)


def _label(handler: Handler, workflow: Workflow, step: str, action: Action) -> str:
    what = f"undo of step {step!r}" if action == "undo" else f"step {step!r}"
    code = getattr(handler, "__code__", None)
    place = "" if code is None else f" ({Path(code.co_filename).name}:{code.co_firstlineno})"
    return f"{what} of {workflow.label}{place}"
