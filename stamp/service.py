"""A participant: its handlers, its local transactions, its life from open to drained."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from brokers.contract import Broker, Declarable
from stamp import inquiry
from stamp.children import child_of
from stamp.codec import Codec
from stamp.errors import DefinitionError, NotRunning
from stamp.handlers import touches_state
from stamp.inquiry import Describe
from stamp.layout import held_parts, ledger_parts, step_parts, watch_parts, watch_queue, work_queue
from stamp.model import Action
from stamp.participant import Participant
from stamp.ports import Clock, Observer, Store
from stamp.runtime import Runtime
from stamp.seal import KeyRing
from stamp.standing import Standing, standing_of
from stamp.starting import LocalTransaction
from stamp.style import Stateless
from stamp.trip import Handler, Station
from stamp.watching import Sentry
from stamp.workflow import Step, Workflow, service_name

log = logging.getLogger("stamp")

H = TypeVar("H", bound=Handler)
D = TypeVar("D", bound=Describe)


class Service:
    """A named participant. It owns steps of workflows and, usually, a local database.

    `batch` deliveries that wait together share a transaction; `concurrency` of those run at once. `keys` sign and
    verify the stamps of workflows that ask for it. `share=(number, processes)` gives this process, counted from 0, its
    part of the shards of sharded steps; it stands in for the others while they are away.
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int = 1,
        batch: int = 64,
        keys: KeyRing | None = None,
        observers: Iterable[Observer] = (),
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.name = service_name(name)
        self.concurrency = concurrency
        self.batch = batch
        self.share = _share(share, self.name)
        self.codec = Codec(keys=keys)
        self.observers = list(observers)
        self._workflows: dict[tuple[str, int], Workflow] = {}
        self._handlers: dict[tuple[str, int, str, Action], Handler] = {}
        self._watched: set[str] = set()
        self._describe: dict[str, Describe] = {}
        self._runtime: Runtime | None = None

    def __repr__(self) -> str:
        return f"<Service {self.name}>"

    def step(self, workflow: Workflow, name: str) -> Callable[[H], H]:
        """Register the handler `async (event, hop) -> event` of a step. Stack it to serve several versions."""
        return self._register(workflow, name, "do")

    def undo(self, workflow: Workflow, name: str) -> Callable[[H], H]:
        """Register the undo `async (hop) -> None` of a step that was declared with `undo=True`."""
        step = workflow.step(name)
        if not step.undo or step.runs is not None:
            what = "is not declared with undo=True" if not step.undo else "is undone by undoing what it runs"
            raise DefinitionError(
                f"{step} {what}", fix="leave the handler out" if step.undo else "declare it in the table"
            )
        return self._register(workflow, name, "undo")

    def _register(self, workflow: Workflow, name: str, action: Action) -> Callable[[H], H]:
        step = workflow.step(name)
        if step.service != self.name:
            raise DefinitionError(
                f"{step} belongs to service {step.service!r}, not {self.name!r}", fix="register it there"
            )
        self._know(workflow)
        if step.runs is not None:
            self._know(child_of(step))
        self._same_shards(workflow, step)

        def register(handler: H) -> H:
            key = (workflow.name, workflow.version, name, action)
            if key in self._handlers:
                raise DefinitionError(f"{step} has two {action} handlers in {self.name!r}", fix="keep one of them")
            if isinstance(workflow.style, Stateless) and touches_state(handler):
                raise DefinitionError(
                    f"{step}: its {action} handler touches hop.state, and {workflow.label} is stateless",
                    fix="let the event carry it, or choose another style; stamp explain E013",
                )
            self._handlers[key] = handler
            return handler

        return register

    def _know(self, workflow: Workflow) -> None:
        known = self._workflows.setdefault((workflow.name, workflow.version), workflow)
        if known is not workflow:
            raise DefinitionError(
                f"{workflow.label} is defined twice ({known.where}, {workflow.where})", fix="raise the version"
            )

    def styled(self, *workflows: Workflow) -> Service:
        """A service with the same handlers for these definitions of its workflows: `workflow.styled(...)` of each.

        Raises `DefinitionError` for a handler that the style can't carry.
        """
        other = Service(
            self.name,
            concurrency=self.concurrency,
            batch=self.batch,
            keys=self.codec.keys,
            observers=self.observers,
            share=self.share,
        )
        given = {(workflow.name, workflow.version): workflow for workflow in workflows}
        known = {label: given.get(label, workflow) for label, workflow in self._workflows.items()}
        for (name, version, step, action), handler in self._handlers.items():
            other._register(known[name, version], step, action)(handler)
        for workflow in known.values():
            other._know(workflow)
        other._watched = set(self._watched)
        other._describe = dict(self._describe)
        return other

    def watch(self, workflow: Workflow) -> None:
        """Watch the runs that this service starts: one that has not ended by its deadline is told to observers.

        They get `stamp.events.Overdue`; the run itself is left alone. Needs a store, which notes the ends.
        """
        self._know(workflow)
        self._watched.add(workflow.name)

    def owns(self, workflow: Workflow) -> None:
        """Own the runs of a workflow whose style names this service: a dedicated owner has no handlers to say so.

        A service with handlers of the workflow owns it without this. Needs a store, which keeps the ledger.
        """
        if workflow.style.owner != self.name:
            raise DefinitionError(
                f"{workflow.where}: runs of {workflow.label} belong to {workflow.style.owner or 'nobody'}",
                fix=f"say style=FrontController({self.name!r}) or Orchestrator({self.name!r}) in the workflow",
            )
        self._know(workflow)

    def describes(self, workflow: Workflow) -> Callable[[D], D]:
        """Register `async (run_id, tx) -> plain data`: what this service says when it is asked for a run.

        `tx` is the store's native object, as `hop.tx`. What it returns must go into JSON.
        """
        self._know(workflow)

        def register(describe: D) -> D:
            if self._describe.setdefault(workflow.name, describe) is not describe:
                raise DefinitionError(f"{self.name!r} describes {workflow.name} twice", fix="keep one of the functions")
            return describe

        return register

    async def status(self, run_id: str) -> Standing | None:
        """Where a run stands, by this service's ledger; `None` for one that it has not heard of.

        Raises `NotRunning`, `StoreUnavailable`; `DefinitionError` for a service that owns no runs.
        """
        if not self.owned():
            raise DefinitionError(
                f"service {self.name!r} owns no runs, so it has no ledger",
                fix="ask the owner that the workflow's style names, or all participants: stamp status RUN --ask",
            )
        runtime = self.runtime
        return await standing_of(runtime.store, run_id, runtime.clock.now())

    def _answers(self) -> dict[str, dict[int, Workflow]]:
        """The workflows for whose runs it answers: those it owns, those that nobody owns, those it describes."""
        found: dict[str, dict[int, Workflow]] = {}
        for flow in self.workflows:
            nobodys = isinstance(flow.style, Stateless)
            if nobodys or flow.style.owner == self.name or flow.name in self._describe:
                found.setdefault(flow.name, {})[flow.version] = flow
        return found

    def _same_shards(self, workflow: Workflow, step: Step) -> None:
        """All versions of a step share its queues."""
        for other in (known for (name, _), known in self._workflows.items() if name == workflow.name):
            twin = other.table.steps.get(step.name)
            if twin is not None and twin.shards != step.shards:
                raise DefinitionError(
                    f"{step}: shards={step.shards}, and {twin.shards} in {other.label}",
                    fix="give every version of the workflow the same number",
                )

    @property
    def workflows(self) -> tuple[Workflow, ...]:
        """Every workflow version that this service has a handler for, watches or owns."""
        return tuple(self._workflows.values())

    def stations(self) -> list[Station]:
        """The step queues of this service. Raises `DefinitionError` for an undo without its handler."""
        names = dict.fromkeys((workflow, step) for workflow, _, step, _ in self._handlers)
        return [self.station(workflow, step) for workflow, step in names]

    def station(self, workflow: str, step: str) -> Station:
        """One step's queue with the versions and handlers that serve it."""
        handlers: dict[tuple[int, Action], Handler] = {
            (version, action): handler
            for (name, version, line, action), handler in self._handlers.items()
            if (name, line) == (workflow, step)
        }
        versions = {version: self._workflows[workflow, version] for version, action in handlers if action == "do"}
        for version, definition in versions.items():
            if definition.step(step).undo and not definition.step(step).runs and (version, "undo") not in handlers:
                raise DefinitionError(
                    f"{definition.step(step)}: undo=True, and {self.name!r} has no undo handler",
                    fix=f"add @service.undo({workflow}, {step!r})",
                )
        if not versions:
            raise DefinitionError(
                f"service {self.name!r} has no handler for step {step!r} of {workflow}",
                fix=f"add @service.step({workflow}, {step!r})",
            )
        queue = work_queue(workflow, next(iter(versions.values())).step(step))
        return Station(queue, step, versions, handlers)

    def topology(self) -> list[Declarable]:
        """The exchanges, queues and bindings of every workflow it takes part in, held queues first.

        Those of the other participants too: the journal takes every message, so the broker would call an event routed
        that found no work queue, and a service that has never run yet would lose it.
        """
        names = dict.fromkeys(name for workflow in self.workflows for name in workflow.services)
        held = [part for name in (self.name, *names) for part in held_parts(name)]
        steps = [part for workflow in self.workflows for step in workflow.steps for part in step_parts(workflow, step)]
        ledgers = [part for workflow in self.workflows for part in ledger_parts(workflow)]
        watches = [part for name in sorted(self._watched) for part in watch_parts(self.name, name)]
        asked = inquiry.parts(self.name, self._answers())
        return list(dict.fromkeys([*held, *ledgers, *steps, *watches, *asked]))

    def _sentries(self) -> list[Sentry]:
        return [
            Sentry(watch_queue(self.name, name), {flow.version: flow for flow in self.workflows if flow.name == name})
            for name in sorted(self._watched)
        ]

    def owned(self) -> dict[str, dict[int, Workflow]]:
        """The workflows whose runs it owns: all versions that it knows, by name."""
        found: dict[str, dict[int, Workflow]] = {}
        for workflow in self.workflows:
            if workflow.style.owner == self.name:
                found.setdefault(workflow.name, {})[workflow.version] = workflow
        return found

    def participant(self) -> Participant:
        """What this service brings to a runtime. Raises `DefinitionError` where a handler is missing."""
        return Participant(
            name=self.name,
            stations=self.stations(),
            sentries=self._sentries(),
            owned=self.owned(),
            answers=self._answers(),
            describe=self._describe,
            topology=self.topology(),
            codec=self.codec,
            observers=self.observers,
            concurrency=self.concurrency,
            batch=self.batch,
            share=self.share,
        )

    @asynccontextmanager
    async def open(
        self,
        *,
        broker: str | Broker,
        store: str | Store | None = None,
        clock: Clock | None = None,
        consume: bool = True,
        journal: bool = True,
    ) -> AsyncIterator[Runtime]:
        """Run inside the block: declare, start relay and workers; drain and close at its end.

        `broker` and `store` are URLs, or objects that their owner opens and closes. `store=None` is at least once.
        `consume=False` opens it for starting runs only. Raises `BrokerUnreachable`, `StoreUnavailable`.
        """
        if self._runtime is not None:
            raise NotRunning(f"service {self.name!r} is open already", fix="open it once, or make a second Service")
        if store is None:
            self._refuse_joins()
        async with Runtime.opened(
            self.participant(), broker=broker, store=store, clock=clock, journal=journal
        ) as runtime:
            self._runtime = runtime
            try:
                if consume:
                    await runtime.start_consuming()
                yield runtime
            finally:
                self._runtime = None

    def _refuse_joins(self) -> None:
        """Without a store there is nowhere to collect branches, or to note the ends of runs."""
        if owned := self.owned():
            raise DefinitionError(
                f"service {self.name!r} owns the runs of {' and '.join(owned)} and has no store",
                fix="open it with store=",
            )
        if self._watched:
            raise DefinitionError(f"service {self.name!r} watches runs and has no store", fix="open it with store=")
        for workflow, version, name, _ in self._handlers:
            step = self._workflows[workflow, version].step(name)
            stateless = isinstance(self._workflows[workflow, version].style, Stateless)
            if step.joins or step.runs is not None or (step.undo and stateless):
                what = "joins branches" if step.joins else "waits for what it runs" if step.runs else _REMEMBERS
                raise DefinitionError(f"{step}: {what}, and the service has no store", fix="open it with store=")

    async def run(
        self,
        *,
        broker: str | Broker,
        store: str | Store | None = None,
        journal: bool = True,
        ready: Callable[[], None] | None = None,
    ) -> None:
        """Serve until SIGTERM or SIGINT, then drain: stop consuming, finish, commit, publish, settle, close."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        try:
            async with self.open(broker=broker, store=store, journal=journal) as runtime:
                if ready is not None:
                    ready()
                await runtime.until(stop)
        finally:
            for name in (signal.SIGTERM, signal.SIGINT):
                with suppress(ValueError):
                    loop.remove_signal_handler(name)

    @property
    def runtime(self) -> Runtime:
        """What is open now. Raises `NotRunning`."""
        if self._runtime is None:
            raise NotRunning(
                f"service {self.name!r} is not open", fix="use it inside `async with service.open(broker=, store=)`"
            )
        return self._runtime

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[LocalTransaction]:
        """A local transaction that can start runs: rows and first messages commit together, then go out.

        When the broker is away the messages wait in the outbox and the relay sends them; without a store the
        block's end waits for the broker.
        """
        runtime = self.runtime
        async with runtime.store.begin() as tx:
            local = LocalTransaction(runtime, tx)
            yield local
        await runtime.send_started(local.started)
        for event in local.events:
            runtime.tell(event)


_REMEMBERS = "remembers what it may have to undo"


def _share(share: tuple[int, int], name: str) -> tuple[int, int]:
    number, processes = share
    if not 0 <= number < processes:
        raise DefinitionError(f"service {name!r}: share={share}", fix="(number from 0, how many processes there are)")
    return share
