"""How often and when a failed step is tried again: a policy decided here, carried out by queues with a TTL.

Delays are the rungs of a fixed ladder (one queue each), never a TTL of the message: RabbitMQ expires
messages only at the head of a queue, so one long delay would hold up all short ones behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

from stamp.duration import seconds, text
from stamp.errors import DefinitionError

LADDER = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""The delays that exist, in seconds."""

_POLICY = re.compile(r"([0-9]+)x(?:\s+([0-9.]+[a-z]+)(?:\.\.([0-9.]+[a-z]+))?)?")


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` tries in all, the first pause `first` seconds, doubled each time up to `ceiling`, with jitter."""

    attempts: int = 5
    first: float = 1.0
    ceiling: float = 60.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 < self.first <= self.ceiling:
            raise DefinitionError(
                f"retry policy {self} is not possible", fix="at least one attempt, and 0 < first pause <= ceiling"
            )

    @classmethod
    def parse(cls, policy: str | Retry) -> Retry:
        """`"5x 1s..60s"`: five tries, pauses from one second to a minute. `"3x"` keeps the default pauses."""
        if isinstance(policy, Retry):
            return policy
        found = _POLICY.fullmatch(policy.strip())
        if not found:
            raise DefinitionError(f"{policy!r} is not a retry policy", fix='write it like "5x 1s..60s" or "3x"')
        if not found[2]:
            return cls(int(found[1]))
        first = seconds(found[2])
        return cls(int(found[1]), first, seconds(found[3]) if found[3] else first)

    def left(self, attempt: int) -> bool:
        """Whether another try follows the failed try number `attempt` (from 1)."""
        return attempt < self.attempts

    def delay(self, attempt: int, *, seed: str) -> float:
        """The pause after try number `attempt`: a rung of the ladder.

        The jitter (a quarter up or down) comes from `seed`, so that the same message always waits the same
        time and different messages don't come back together.
        """
        pause = min(self.first * 2.0 ** min(attempt - 1, 64), self.ceiling)
        spread = blake2b(f"{seed}|{attempt}".encode(), digest_size=2).digest()
        jittered = pause * (0.75 + int.from_bytes(spread, "big") / 65535 / 2)
        return min(rung(jittered, near=True), rung(self.ceiling))

    def budget(self) -> float:
        """Seconds that all pauses together take at most, jitter included."""
        pauses = (min(self.first * 2.0 ** min(n, 64), self.ceiling) for n in range(self.attempts - 1))
        return sum(min(rung(pause * 1.25), rung(self.ceiling)) for pause in pauses)

    def __str__(self) -> str:
        return f"{self.attempts}x {text(self.first)}..{text(self.ceiling)}"


def rung(pause: float, *, near: bool = False) -> float:
    """The ladder's rung for a pause: the next one that is long enough, or with `near` the closest by ratio."""
    if near:
        return min(LADDER, key=lambda step: max(step, pause) / min(step, pause))
    return next((step for step in LADDER if step >= pause), LADDER[-1])


def rung_below(pause: float) -> float:
    """The longest rung that is not longer than `pause`: how a timer comes close to its moment, rung by rung."""
    return max((step for step in LADDER if step <= pause), default=LADDER[0])
