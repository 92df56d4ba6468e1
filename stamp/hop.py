"""What a handler gets: its place in the run, the state it may change, and the local transaction it writes in."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

import msgspec

from stamp.decision import Position
from stamp.errors import NoState, StateInvalid
from stamp.graft import graft
from stamp.history import kept_for, to_settle, visit_of
from stamp.ids import idempotency_key
from stamp.model import Entry, Stamp, epoch
from stamp.style import Stateless
from stamp.workflow import Workflow

S = TypeVar("S")


class Local(Protocol):
    """The part of a local transaction that a handler sees."""

    @property
    def native(self) -> Any: ...


class Hop(Generic[S]):
    """One delivery of one step, as its handler sees it.

    Change `state` in place or assign it; it is validated and written into the stamp when the handler returns. Rows
    written through `tx` commit together with the stamp and the next message, or not at all.
    """

    __slots__ = ("_before", "_kept", "_local", "_position", "_state", "_workflow", "stamp", "trace")

    def __init__(
        self,
        workflow: Workflow,
        stamp: Stamp,
        position: Position,
        *,
        local: Local | None = None,
        trace: str | None = None,
    ) -> None:
        self._workflow = workflow
        self._position = position
        self._kept: dict[str, Any] = {}
        self._state: Any = msgspec.UNSET
        self._before: Any = None
        self.stamp = stamp
        """The stamp as it came in; read-only."""
        self._local = local
        self.trace = trace
        """The W3C `traceparent` of this hop, if there is one."""

    def __repr__(self) -> str:
        return f"<Hop {self._position.action} {self._position.step.name} of {self.stamp!r}>"

    @property
    def tx(self) -> Any:
        """The store's native object: aiosqlite or asyncpg connection, SQLAlchemy session; `None` without a store."""
        # Asked for late: a hop that never touches the database needs no savepoint in it.
        return None if self._local is None else self._local.native

    @property
    def run_id(self) -> str:
        return self.stamp.run

    @property
    def seq(self) -> int:
        """How many hops of this run finished before this one."""
        return self.stamp.seq

    @property
    def attempt(self) -> int:
        """Which try of this step this is, from 1."""
        return self._position.attempt

    @property
    def idempotency_key(self) -> str:
        """A UUID for calls outside the database: the same for every try of this step in this run."""
        step, action, stamp = self._position.step, self._position.action, self.stamp
        undoes = to_settle(stamp, step) if action == "undo" else None
        if undoes is None:
            return idempotency_key(self.run_id, step.name, action, stamp.branch or "", visit_of(stamp, step))
        return idempotency_key(self.run_id, step.name, action, undoes.branch or "", undoes.visit)

    @property
    def action_key(self) -> str:
        """The idempotency key of the action, in its step and in its undo: one visit of the step has one."""
        step, stamp = self._position.step, self.stamp
        undoes = to_settle(stamp, step) if self._position.action == "undo" else None
        if undoes is None:
            return idempotency_key(self.run_id, step.name, "do", stamp.branch or "", visit_of(stamp, step))
        return idempotency_key(self.run_id, step.name, "do", undoes.branch or "", undoes.visit)

    @property
    def deadline(self) -> float | None:
        """Epoch seconds by which the run should have ended."""
        return None if self.stamp.deadline is None else epoch(self.stamp.deadline)

    @property
    def history(self) -> tuple[Entry, ...]:
        """The hops that finished before, oldest first."""
        return self.stamp.history

    @property
    def state(self) -> S:
        """The workflow's own data as its declared type (a dict where none is declared).

        Raises `NoState` in stateless style.
        """
        if isinstance(self._workflow.style, Stateless):
            raise NoState(
                f"{self._workflow.label} is stateless, and step {self._position.step.name!r} asks for hop.state",
                fix="let the event carry it, or give the workflow another style",
            )
        if self._state is msgspec.UNSET:
            self._state = self._view()
            self._before = msgspec.to_builtins(self._state)
        state: S = self._state
        return state

    @state.setter
    def state(self, value: S) -> None:
        _ = self.state
        self._state = value

    def _view(self) -> Any:
        kind = self._workflow.state_type
        try:
            return msgspec.convert(self.stamp.state, dict if kind is None else kind)
        except msgspec.ValidationError as error:
            raise StateInvalid(f"state of {self._workflow.label}: {error}") from None

    def keep(self, **values: Any) -> None:
        """Carry values in the stamp for this step's undo (at most 1 KiB of JSON), read there as `hop.kept`."""
        self._kept |= values

    @property
    def kept(self) -> dict[str, Any]:
        """In an undo: what the step kept when it ran. In a step: what it has kept so far."""
        return self._kept if self._position.action == "do" else kept_for(self.stamp, self._position.step)

    def state_after(self) -> dict[str, Any]:
        """The state as it goes on: the handler's changes, and every member that its types do not know."""
        if self._state is msgspec.UNSET:
            return self.stamp.state
        after: dict[str, Any] = graft(self.stamp.state, self._before, msgspec.to_builtins(self._state))
        return after
