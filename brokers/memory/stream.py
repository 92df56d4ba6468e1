"""A stream: a bounded ring of records with offsets, read by any number of cursors."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from brokers.contract import Queue, Recorded
from brokers.errors import ProtocolMisuse
from brokers.memory.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brokers.contract import Clock, Message

DEFAULT_BYTES = 128 * 2**20
"""What a stream keeps when its declaration says nothing: bytes of bodies and text headers."""

DEFAULT_RECORDS = 250_000
"""What a stream keeps at most, in records, whatever its declaration says."""

_UNITS = {"Y": 31_536_000, "M": 2_592_000, "D": 86_400, "h": 3600, "m": 60, "s": 1}
_STEP = 1024


class MemoryStream:
    """Append-only; the oldest records go when there are too many, too large or too old.

    Retention works in steps of about a thousand records, as RabbitMQ's works in segments.
    """

    def __init__(self, spec: Queue, clock: Clock, *, max_records: int = DEFAULT_RECORDS) -> None:
        self.spec = spec
        self.bell = Bell()
        self._clock = clock
        self._max_records = max_records
        self._max_bytes = DEFAULT_BYTES if spec.max_bytes is None else spec.max_bytes
        self._max_age = _seconds(spec.max_age)
        self._records: list[Recorded] = []
        self._kept: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._first = 0
        self.gone = False

    @property
    def first(self) -> int:
        """The offset of the oldest record that is still here."""
        return self._first

    @property
    def end(self) -> int:
        """One past the last offset."""
        return self._first + len(self._records)

    @property
    def depth(self) -> int:
        """Records kept."""
        return len(self._records)

    def put(self, message: Message, exchange: str, routing_key: str) -> None:
        """Append a message."""
        size = len(message.body) + sum(len(value) for value in message.headers.values() if isinstance(value, str))
        record = Recorded(offset=self.end, message=message, exchange=exchange, routing_key=routing_key)
        self._records.append(record)
        self._kept.append((self._clock.now(), size))
        self._bytes += size
        if record.offset % _STEP == 0 or self._bytes > self._max_bytes:
            self._trim()
        self.bell.ring_all()

    def records(self, start: int, limit: int) -> Sequence[Recorded]:
        """At most `limit` records from this offset on, or from the oldest that is left."""
        place = max(start - self._first, 0)
        return self._records[place : place + limit]

    def delete(self) -> None:
        """Drop everything and tell the readers."""
        self.gone = True
        self._records.clear()
        self.bell.ring_all()

    def _trim(self) -> None:
        surplus = len(self._records) - self._max_records
        oldest = self._clock.now() - self._max_age
        room = self._max_bytes - self._max_bytes // 16  # some at once: each trim moves the whole list
        dropped = 0
        while len(self._kept) > 1 and (dropped < surplus or self._bytes > room or self._kept[0][0] < oldest):
            self._bytes -= self._kept.popleft()[1]
            dropped += 1
        del self._records[:dropped]
        self._first += dropped


def _seconds(age: str | None) -> float:
    if age is None:
        return float("inf")
    found = re.fullmatch(r"([0-9]+)([YMDhms])", age)
    if found is None:
        raise ProtocolMisuse(f"max_age {age!r} is not a number with one of the units Y, M, D, h, m, s")
    return int(found[1]) * _UNITS[found[2]]
