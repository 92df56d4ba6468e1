"""What a service brings to its runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from brokers.contract import Declarable
from stamp.codec import Codec, Versions
from stamp.inquiry import Describe
from stamp.layout import ledger_entrance, ledger_queue, ledger_queues
from stamp.ports import Observer
from stamp.trip import Station, ends_of
from stamp.watching import Sentry
from stamp.workflow import Workflow


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
    answers: Mapping[str, Versions] = field(default_factory=dict)
    """The workflows for whose runs it answers when it is asked, by name."""
    describe: Mapping[str, Describe] = field(default_factory=dict)

    @property
    def ledgers(self) -> dict[str, tuple[str, str]]:
        """Exchange and key that lead a report to the ledger of a workflow that it owns, by the ledger's name."""
        return {ledger_queue(self.name, name): ledger_entrance(self._newest(name)) for name in self.owned}

    @property
    def beside(self) -> dict[str, tuple[str, str]]:
        """Exchange and key that lead a message to its queue, where that is no step's: ledgers, and ends of children."""
        ends = [ends_of(station) for station in self.stations if station.children]
        return self.ledgers | {queue: ("", queue) for queue in ends}

    def ledger(self, workflow: str) -> tuple[str, ...]:
        """The queues in which reports of a workflow come to it, as the owner of its runs."""
        return ledger_queues(self._newest(workflow))

    def _newest(self, workflow: str) -> Workflow:
        versions = self.owned[workflow]
        return versions[max(versions)]

    @property
    def exchanges(self) -> list[str]:
        """The workflow exchanges it takes part in."""
        served = [station.versions for station in self.stations] + [sentry.versions for sentry in self.sentries]
        run = [child.name for station in self.stations for child in station.children]
        taken_part = (flow.name for versions in served for flow in versions.values())
        return list(dict.fromkeys([*taken_part, *run, *self.owned]))
