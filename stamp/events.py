"""What the runtime tells its observers: frozen facts, one noun each. Times are epoch seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """A run's first message was written in the starter's transaction."""

    service: str
    workflow: str
    version: int
    run: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HopFinished:
    """A step (or undo) committed; `outcome` as in the stamp's history."""

    service: str
    workflow: str
    run: str
    step: str
    seq: int
    outcome: str
    attempt: int
    ms: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """A step failed and comes back after `delay` seconds, as attempt `attempt`."""

    service: str
    workflow: str
    run: str
    step: str
    attempt: int
    delay: float
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateDropped:
    """The inbox had already seen this message; nothing ran."""

    service: str
    consumer: str
    message_id: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageHeld:
    """A message was parked in the held queue, whole."""

    service: str
    queue: str
    message_id: str
    reason: str
    detail: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """This hop ended the run; `outcome` is `completed`, `compensated` or `failed`.

    Independent branches end each by itself: `branch` is the path of the one that did, empty on the trunk.
    """

    service: str
    workflow: str
    run: str
    outcome: str
    at: float
    branch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StampLarge:
    """A stamp passed its soft budget."""

    service: str
    workflow: str
    run: str
    size: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Consuming stopped for a while because something the service needs is out of reach."""

    service: str
    what: str
    detail: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """What had paused the service is back."""

    service: str
    what: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A run that this service started and watches had not ended by its `deadline` (RFC 3339)."""

    service: str
    workflow: str
    run: str
    deadline: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySent:
    """The relay published rows that a process had left behind; `lag` is what still waits."""

    service: str
    sent: int
    lag: int
    at: float


Event = (
    RunStarted
    | HopFinished
    | RetryScheduled
    | DuplicateDropped
    | MessageHeld
    | RunEnded
    | StampLarge
    | Paused
    | Resumed
    | Overdue
    | RelaySent
)
