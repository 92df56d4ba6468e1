"""What a service brings to its runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brokers.contract import Declarable
from stamp.codec import Codec, Versions
from stamp.ports import Observer
from stamp.trip import Station
from stamp.watching import Sentry


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """What a service brings to its runtime: its name, its queues and handlers, how it reads and writes stamps."""

    name: str
    stations: Sequence[Station]
    topology: Sequence[Declarable]
    codec: Codec
    observers: Sequence[Observer]
    concurrency: int
    batch: int
    share: tuple[int, int] = (0, 1)
    """The number of this process, from 0, and how many there are: which shards are its own."""
    sentries: Sequence[Sentry] = ()
    """The workflows whose runs it watches."""
    owned: Mapping[str, Versions] = field(default_factory=dict)
    """The workflows whose runs it owns, by name."""

    @property
    def exchanges(self) -> list[str]:
        """The workflow exchanges it takes part in."""
        served = [station.versions for station in self.stations] + [sentry.versions for sentry in self.sentries]
        run = [child.name for station in self.stations for child in station.children]
        taken_part = (flow.name for versions in served for flow in versions.values())
        return list(dict.fromkeys([*taken_part, *run, *self.owned]))
