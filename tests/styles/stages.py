"""The house of `tests.testing.orders` under every style: handlers that touch no state, and a place to play them on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from brokers.contract import Publication
from brokers.errors import BrokerError, BrokerUnreachable
from stamp import Fail, Hop, Service
from stamp.joining import Joined
from stamp.ports import Books, LedgerRow
from stamp.style import FrontController, Orchestrator, Stamped, Stateless, Style
from stamp.testing.record import Published, Run
from stamp.testing.runner import SyncBench
from tests.testing.orders import DONE, ORDERED, STATE, House

STAMPED = Stamped()
SHOP = FrontController("shop")
DESK = FrontController("desk")
ORCHESTRATED = Orchestrator("desk")
OWN = Orchestrator("shop")
STATELESS = Stateless()

OWNED: list[Style] = [SHOP, DESK, ORCHESTRATED, OWN]
COUNTED: list[Style] = [STAMPED, *OWNED]
"""Those in which a step may run more than once."""
ALL: list[Style] = [*COUNTED, STATELESS]


def label(style: Style) -> str:
    """A style for the name of a test."""
    return f"{style.name}-{style.owner}" if style.owner else style.name


class Plain(House):
    """A house whose handlers leave the state alone, with the owner of its runs among its services."""

    def __post_init__(self) -> None:
        super().__post_init__()
        owner = self.flow.style.owner
        if owner is not None:
            desk = self.services.setdefault(owner, Service(owner))
            desk.owns(self.flow)

    def _do(self, name: str) -> Any:
        made = DONE.get(f"{self.flow.name}.{name}") or DONE[name]

        async def run(event: Any, hop: Hop[Any]) -> Any:
            if name in self.hold:
                await self.hold[name]()
            said = f"{name}:{event.name}" if hasattr(event, "name") else name
            if {name, said} & self.refuse:
                raise Fail(f"{said} refused", undo_me=f"{name} half-way" in self.refuse)
            if isinstance(event, Joined):
                self.joined.append(event)
            hop.keep(label=said)
            self.calls.append(said)
            self.keys.append(hop.idempotency_key)
            return made(event)

        return run

    def _undo(self, name: str) -> Any:
        async def run(hop: Hop[Any]) -> None:
            self.calls.append(f"undo {hop.kept.get('label', name)}")
            self.keys.append(hop.idempotency_key)

        return run


@dataclass
class Stage:
    """A house on a bench."""

    house: Plain
    table: SyncBench
    run: str = ""

    def start(self, **options: Any) -> Stage:
        self.run = self.table.start(self.house.flow, ORDERED, state=STATE, **options)
        return self

    def play(self) -> Stage:
        """Start a run and wait until nothing moves."""
        self.start().table.settle()
        return self

    def away(self, *names: str) -> list[Service]:
        """Services that are stopped, for `back`."""
        for name in names:
            self.table.stop(name)
        return [self.house.services[name] for name in names]

    def back(self, services: Sequence[Service]) -> None:
        self.table.deploy(*services)
        self.table.settle()

    def restart_owner(self) -> None:
        owner = self.owner
        if owner is not None:
            self.back(self.away(owner))

    @property
    def owner(self) -> str | None:
        return self.house.flow.style.owner

    @property
    def found(self) -> Run:
        return self.table.run(self.run)

    @property
    def status(self) -> str:
        return self.found.status

    @property
    def done(self) -> list[str]:
        """The steps that ran, as their handlers noted them, sorted."""
        return sorted(call for call in self.house.calls if not call.startswith("undo "))

    @property
    def undone(self) -> list[str]:
        return [call.removeprefix("undo ") for call in self.house.calls if call.startswith("undo ")]

    @property
    def ends(self) -> list[str]:
        """The notices that the run has ended, each message once."""
        sent = {one.message.message_id: one.routing_key for one in self.table.published.of_kind("progress")}
        return [key for key in sent.values() if key.startswith("end.")]

    def row(self) -> LedgerRow | None:
        """What the owner's own database says of the run."""
        books = cast(Books, self.table.store(self.owner or ""))
        rows = self.table.call(books.ledger(runs=[self.run]))
        return rows[0] if rows else None

    def agrees(self) -> None:
        """The ledger says what the journal shows, and no handler ran twice for one visit."""
        assert len(set(self.house.keys)) == len(self.house.keys)
        if self.owner is None:
            return
        row = self.row()
        assert row is not None
        record = self.found.record
        assert (row.status, row.seq) == (self.status, record.stamp.seq)
        assert self._by_others(row.remaining) == self._by_others(record.remaining(self.house.flow))
        assert self._by_others(row.done) == self._by_others([entry.step for entry in record.done])
        assert self._by_others(row.to_undo) == self._by_others(record.to_undo)

    def _by_others(self, steps: Iterable[str]) -> list[str]:
        """What an owner does itself goes into its ledger without a message, so the journal does not see all of it."""
        known = self.house.flow.step
        return [step for step in steps if known(step.removeprefix("undo ")).service != self.owner]


@dataclass
class Post:
    """Stands between the services and the broker: keeps back what is wanted, until it is delivered."""

    table: SyncBench
    wanted: Callable[[Publication], bool]
    kept: list[Publication] = field(default_factory=list)
    lost: Callable[[Publication], bool] = field(default=lambda _: False)
    """What the broker does not take now, and says so."""

    def __post_init__(self) -> None:
        self.publish = self.table.broker.publish_all
        self.table.broker.publish_all = self._publish_all  # type: ignore[method-assign]

    async def _publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        fates = [self._fate(one) for one in publications]
        outcomes = iter(await self.publish([one for one, fate in zip(publications, fates, strict=True) if not fate]))
        self.kept += [one for one, fate in zip(publications, fates, strict=True) if fate == "kept"]
        away = BrokerUnreachable("away for now")
        return [next(outcomes) if not fate else away if fate == "lost" else None for fate in fates]

    def _fate(self, publication: Publication) -> str:
        return "kept" if self.wanted(publication) else "lost" if self.lost(publication) else ""

    def deliver(self, publications: Sequence[Publication] | None = None) -> None:
        """Send what was kept back, one at a time, in this order or the one it came in."""
        waiting, self.kept = list(self.kept if publications is None else publications), []
        for one in waiting:
            self.table.call(self._later(one))
            self.table.settle()

    async def _later(self, publication: Publication) -> None:
        await self.publish([publication])


def is_report(publication: Publication) -> bool:
    return publication.routing_key.startswith("report.")


def sent(stage: Stage) -> list[Published]:
    """Everything that was published for the run, but the copies in held queues."""
    return [one for one in stage.table.published if one.run == stage.run and one.kind in {"progress", "retry"}]


def nothing(_: Publication) -> bool:
    return False
