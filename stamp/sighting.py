"""What one message says about its run, wherever it was seen: an exchange, the journal, an owner's queue. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from brokers.contract import Message
from stamp import parking
from stamp.codec import STAMP, attempt_of, check_header, header_text, is_timer, parse
from stamp.errors import StampError
from stamp.layout import DELAY, HELD, RELEASED, REPORT
from stamp.model import ENDED, Stamp, epoch

Kind = Literal["progress", "released", "retry", "held"]

_RANK: dict[Kind, int] = {"progress": 0, "released": 1, "retry": 2, "held": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One message of a run, seen on an exchange."""

    stamp: Stamp
    kind: Kind
    at: float
    """Epoch seconds: when it was written, or when it was held or released."""
    attempt: int
    message_id: str
    routing_key: str
    reason: str = ""
    detail: str = ""
    service: str = ""
    queue: str = ""

    @property
    def order(self) -> tuple[int, bool, float, int, int]:
        """Later facts of a run compare greater. Retries carry the moment of the first sending: the attempt tells.

        A join may turn a branch without a hop, and its clock may be behind: at one `seq` backward is later.
        """
        return (rank(self.stamp), self.stamp.phase == "backward", self.at, _RANK[self.kind], self.attempt)

    @property
    def is_report(self) -> bool:
        """Whether a service only tells the run's owner of a finished hop."""
        return self.kind == "progress" and self.routing_key.startswith(f"{REPORT}.")

    @property
    def branch(self) -> str:
        """The branch it was seen in; empty on the trunk."""
        return self.stamp.branch or ""


def rank(stamp: Stamp) -> int:
    """Later hops of a run rank higher, its end above the hop that brought it about; a run taken back goes on above."""
    return 2 * stamp.seq + (1 if stamp.phase in ENDED else 0)


def sight(message: Message, exchange: str, routing_key: str) -> Sighting | None:
    """What a message on an exchange says about its run; `None` when it carries no readable stamp, or only the time."""
    if is_timer(message):
        return None
    try:
        stamp = parse(header_text(message))
        check_header(stamp)
    except StampError:
        return None
    if not _legible(stamp):
        return None
    kind = _kind(exchange, routing_key)
    noted = message.headers.get(parking.AT)
    at = noted / 1000 if isinstance(noted, int) else float(message.timestamp or 0)
    return Sighting(
        stamp=stamp,
        kind=kind,
        at=at,
        attempt=attempt_of(message),
        message_id=message.message_id,
        routing_key=routing_key,
        reason=str(message.headers.get(parking.REASON, "")),
        detail=str(message.headers.get(parking.DETAIL, "")),
        service=str(message.headers.get(parking.SERVICE) or message.app_id or ""),
        queue=str(message.headers.get(parking.QUEUE, "")),
    )


def unreadable(message: Message) -> bool:
    """Whether it carries a stamp that nobody can read: `sight` passes over it, so its run may be missed."""
    return STAMP in message.headers and not is_timer(message) and sight(message, "", "") is None


def _legible(stamp: Stamp) -> bool:
    """Whether all of the history can be read. Others write it, and a service looks at its newest entry only."""
    try:
        return all(epoch(entry.at) is not None for entry in stamp.history)
    except (msgspec.DecodeError, ValueError):
        return False


def _kind(exchange: str, routing_key: str) -> Kind:
    if exchange == HELD:
        return "released" if routing_key.startswith(RELEASED) else "held"
    return "retry" if exchange.startswith(DELAY) else "progress"
