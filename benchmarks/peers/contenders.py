"""Who takes part, what it needs, and what it promises in the way it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One contender and the guarantees of its chain; `ours` runs in the project's environment."""

    name: str
    module: str
    confirms: str
    """Whether the next message is confirmed before the last is acknowledged."""
    mandatory: str
    """What becomes of a message that no queue takes."""
    queues: str
    twice: str
    """What a redelivered message does."""
    packages: Sequence[str] = ()
    words: Sequence[str] = ()
    database: bool = False
    """It works on PostgreSQL instead of RabbitMQ."""

    @property
    def ours(self) -> bool:
        """It needs nothing that the project does not need."""
        return not self.packages


_RUNS_AGAIN = "the step runs again"
_ONCE = "effectively once"

CONTENDERS = (
    Peer("bare aio-pika", "with_stamp", "yes", "raises", "quorum", _RUNS_AGAIN, words=("bare",)),
    Peer(
        "stamped", "with_stamp", "yes", "held, with its reason", "quorum", _RUNS_AGAIN + ", same ids", words=("none",)
    ),
    Peer("stamped, postgres", "with_stamp", "yes", "held, with its reason", "quorum", _ONCE, words=("postgres",)),
    Peer(
        "FastStream",
        "with_faststream",
        "yes",
        "raises",
        "quorum",
        _RUNS_AGAIN,
        packages=("faststream[rabbit]",),
    ),
    Peer(
        "taskiq",
        "with_taskiq",
        "yes",
        "comes back, unnoticed",
        "quorum",
        _RUNS_AGAIN,
        packages=("taskiq", "taskiq-aio-pika"),
    ),
    Peer(
        "Celery (solo)",
        "with_celery",
        "yes (`confirm_publish`, `acks_late`)",
        "not supported: lost",
        "quorum",
        _RUNS_AGAIN,
        packages=("celery",),
    ),
    Peer(
        "dramatiq",
        "with_dramatiq",
        "yes (`confirm_delivery`)",
        "raises",
        "classic, durable: no other",
        _RUNS_AGAIN,
        packages=("dramatiq[rabbitmq]",),
    ),
    Peer(
        "DBOS",
        "with_dbos",
        "no broker",
        "no broker",
        "rows in PostgreSQL",
        "a finished step does not run again",
        packages=("dbos",),
        database=True,
    ),
)
"""The first is what the others are compared with."""
