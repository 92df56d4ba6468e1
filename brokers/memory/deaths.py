"""What the broker writes on a message when it dead-letters it, and how it finds a cycle.

Follows https://www.rabbitmq.com/docs/dlx: `x-death` holds the latest death first, one entry a queue and reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brokers.contract import Message

Reason = Literal["rejected", "expired", "delivery_limit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """One message leaving one queue other than by an acknowledgement."""

    reason: Reason
    queue: str
    exchange: str
    routing_key: str
    time: int


def with_death(message: Message, death: Death) -> Message:
    """The message as it leaves for the dead-letter exchange; its body and properties stay as they are."""
    headers = {name: value for name, value in message.headers.items() if name != "x-delivery-count"}
    headers["x-death"] = _recorded(headers.get("x-death", []), death)
    headers.setdefault("x-first-death-reason", death.reason)
    headers.setdefault("x-first-death-queue", death.queue)
    headers.setdefault("x-first-death-exchange", death.exchange)
    return replace(message, headers=headers)


def is_cycle(headers: Mapping[str, Any], queue: str) -> bool:
    """Did the message leave this queue before, and by no consumer's rejection since?"""
    for death in headers.get("x-death", ()):
        if death["reason"] == "rejected":
            return False
        if death["queue"] == queue:
            return True
    return False


def _recorded(deaths: list[dict[str, Any]], death: Death) -> list[dict[str, Any]]:
    same = [entry for entry in deaths if (entry["queue"], entry["reason"]) == (death.queue, death.reason)]
    latest = {
        "count": 1 + sum(entry["count"] for entry in same),
        "reason": death.reason,
        "queue": death.queue,
        "time": death.time,
        "exchange": death.exchange,
        "routing-keys": [death.routing_key],
    }
    return [latest, *(entry for entry in deaths if entry not in same)]
