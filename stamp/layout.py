"""Which exchanges and queues a workflow needs, by name. Names come from the table, never from a message."""

from __future__ import annotations

from collections.abc import Iterable

from brokers.contract import Binding, Declarable, Exchange, ExchangeBinding, Queue
from stamp.duration import text
from stamp.style import FrontController, Orchestrator
from stamp.workflow import Step, Workflow

HELD = "stamp.held"
JOURNAL = "stamp.journal"
DELAY = "stamp.delay."

REPORT = "report"
"""The first word of the routing keys of reports."""

RELEASED = "released."
"""Before a service's name: the routing key of the notice that a held message went on."""

ENDS = ("completed", "compensated", "failed")
"""The ways in which a run ends."""

OVERDUE = "overdue"
"""The routing key of the notice that a run has not ended by its deadline."""

DELIVERY_LIMIT = 100
"""Redeliveries of a work queue before the broker itself parks the message: set explicitly because 4.x has a default
of 20, high because lost connections count too. It guards against messages that kill the process; it is not the
retry policy."""

HELD_DELIVERY_LIMIT = 1_000_000
"""Looking at held messages returns them to the queue: that must never spend them."""

HELD_PREFETCH = 10_000
"""How many held messages one look takes at a time."""


def work_queue(workflow: str, step: Step) -> str:
    """The queue of a step: `<service>.<workflow>.<step>`, unless the table names one of an application.

    A sharded step has an exchange of this name and its queues behind it; the inbox knows them all by this one name.
    """
    return step.queue or f"{step.service}.{workflow}.{step.name}"


def work_queues(workflow: str, step: Step) -> tuple[str, ...]:
    """The queues that are consumed for a step: its own, or its shards `<service>.<workflow>.<step>.<number>`."""
    name = work_queue(workflow, step)
    return (name,) if step.shards == 1 else tuple(shard(name, number) for number in range(step.shards))


def shard(name: str, number: int) -> str:
    """The queue of one shard, counted from 0."""
    return f"{name}.{number}"


def entrance(workflow: str, step: Step) -> tuple[str, str]:
    """Exchange and routing key that lead a message of any run to its queue of the step, and to no other step's."""
    name = work_queue(workflow, step)
    return ("", name) if step.shards == 1 else (name, "")


def shard_binding(name: str, number: int) -> Binding:
    """One shard's share, of weight 1. A second binding of one shard would double its share."""
    return Binding(shard(name, number), name, "1")


def own_bindings(workflow: Workflow, step: Step) -> list[Binding]:
    """How the queue of a step that is not sharded hears of its events."""
    return [Binding(work_queue(workflow.name, step), workflow.name, key) for key in _keys(workflow, step)]


def _keys(workflow: Workflow, step: Step) -> list[str]:
    """What a step's queue is bound to. A join hears of its fork, of each branch, and of branches that failed."""
    forks = workflow.table.closed_by(step) if step.joins else ()
    backward = [undo_key(step.name)] if step.undo or step.joins else []
    return [*step.events, *forks, *backward]


def held_queue(service: str) -> str:
    """Where a service's held messages are parked."""
    return f"{HELD}.{service}"


def delay_exchange(pause: float) -> str:
    """The rung of the delay ladder for `pause` seconds (exchange and queue have one name)."""
    return DELAY + text(pause)


def undo_key(step: str) -> str:
    """The routing key of a step's undo."""
    return f"undo.{step}"


def report_key(step: str) -> str:
    """The routing key under which a finished hop is reported to the owner of its run."""
    return f"{REPORT}.{step}"


def ledger_queue(owner: str, workflow: str) -> str:
    """Where the owner of a workflow's runs hears of every finished hop, and of every message that is held."""
    return f"{owner}.{workflow}.ledger"


def ledger_queues(workflow: Workflow) -> tuple[str, ...]:
    """The queues that the owner consumes: its one, or its shards; none in styles without an owner."""
    match workflow.style:
        case FrontController() | Orchestrator() as style:
            name = ledger_queue(style.owner, workflow.name)
            return (name,) if style.shards == 1 else tuple(shard(name, number) for number in range(style.shards))
        case _:
            return ()


def ledger_entrance(workflow: Workflow) -> tuple[str, str]:
    """Exchange and routing key that lead a report of any run to its ledger queue."""
    queues = ledger_queues(workflow)
    name = ledger_queue(workflow.style.owner or "", workflow.name)
    return ("", name) if len(queues) == 1 else (name, "")


def ledger_parts(workflow: Workflow) -> list[Declarable]:
    """The owner's queues; nothing in styles without one. Everybody declares them, so that no report is ever lost."""
    owner, queues = workflow.style.owner, ledger_queues(workflow)
    if owner is None:
        return []
    name = ledger_queue(owner, workflow.name)
    taken = [(workflow.name, f"{REPORT}.#"), (workflow.name, end_key("failed")), *_held_keys(owner, workflow)]
    return [
        *held_parts(owner),
        Exchange(workflow.name),
        *(_ledger(queue, owner, alone=len(queues) == 1) for queue in queues),
        *([] if len(queues) == 1 else _spread(name, queues)),
        *(Binding(name, *key) if len(queues) == 1 else ExchangeBinding(name, *key) for key in taken),
    ]


def _held_keys(owner: str, workflow: Workflow) -> list[tuple[str, str]]:
    names = dict.fromkeys([owner, *workflow.services])
    return [(HELD, key) for name in names for key in (name, f"{RELEASED}{name}")]


def _spread(name: str, queues: tuple[str, ...]) -> list[Declarable]:
    return [
        Exchange(name, "x-consistent-hash", hash_on="correlation_id"),
        *(shard_binding(name, number) for number in range(len(queues))),
    ]


def _ledger(queue: str, owner: str, *, alone: bool) -> Queue:
    return Queue(
        name=queue,
        dead_letter_exchange=HELD,
        dead_letter_key=owner,
        delivery_limit=DELIVERY_LIMIT,
        at_least_once=True,
        single_active_consumer=not alone,
    )


def end_key(outcome: str) -> str:
    """The routing key of the terminal notice: `end.completed`, `end.compensated` or `end.failed`."""
    return f"end.{outcome}"


def ends_queue(workflow: str, step: Step) -> str:
    """Where a step that runs another workflow hears of the ends of its runs."""
    return f"{step.service}.{workflow}.{step.name}.ends"


def ends_parts(workflow: str, step: Step, child: str) -> list[Declarable]:
    """That queue, bound to every end of the other workflow's runs. Everybody declares it, so that no end is lost."""
    queue = ends_queue(workflow, step)
    return [
        Exchange(child),
        Queue(
            name=queue,
            dead_letter_exchange=HELD,
            dead_letter_key=step.service,
            delivery_limit=DELIVERY_LIMIT,
            at_least_once=True,
        ),
        *(Binding(queue, child, end_key(outcome)) for outcome in ENDS),
    ]


def watch_queue(service: str, workflow: str) -> str:
    """Where the ends and deadlines of runs come to the service that started them."""
    return f"{service}.{workflow}.watch"


def watch_parts(service: str, workflow: str) -> list[Declarable]:
    """A watch queue, bound to every end of the workflow's runs."""
    queue = watch_queue(service, workflow)
    return [
        Exchange(workflow),
        Queue(name=queue, dead_letter_exchange=HELD, dead_letter_key=service, delivery_limit=DELIVERY_LIMIT),
        *(Binding(queue, workflow, end_key(outcome)) for outcome in ENDS),
    ]


def held_parts(service: str) -> list[Declarable]:
    """The service's held exchange and queue; declared before the work queues that dead-letter into it."""
    return [
        Exchange(HELD),
        Queue(name=held_queue(service), delivery_limit=HELD_DELIVERY_LIMIT),
        Binding(held_queue(service), HELD, service),
    ]


def step_parts(workflow: Workflow, step: Step) -> list[Declarable]:
    """The workflow's exchange and one step's work queue with its bindings, unless it is an application's own."""
    exchange = Exchange(workflow.name)
    ends = [] if step.runs is None else ends_parts(workflow.name, step, step.runs.name)
    if step.queue is not None:
        return [exchange]
    if step.shards > 1:
        return [exchange, *_sharded_parts(workflow, step), *ends]
    return [exchange, _queue(work_queue(workflow.name, step), step), *own_bindings(workflow, step), *ends]


def _sharded_parts(workflow: Workflow, step: Step) -> list[Declarable]:
    """The way in is bound last: no message finds the exchange without its shards."""
    name = work_queue(workflow.name, step)
    return [
        Exchange(name, "x-consistent-hash", hash_on="correlation_id"),
        *(_queue(queue, step) for queue in work_queues(workflow.name, step)),
        *(shard_binding(name, number) for number in range(step.shards)),
        *(ExchangeBinding(name, workflow.name, key) for key in _keys(workflow, step)),
    ]


def _queue(name: str, step: Step) -> Queue:
    return Queue(
        name=name,
        dead_letter_exchange=HELD,
        dead_letter_key=step.service,
        delivery_limit=DELIVERY_LIMIT,
        at_least_once=True,
        single_active_consumer=step.shards > 1,
    )


def delay_parts(pause: float) -> list[Declarable]:
    """One rung of the ladder: what expires goes to the queue that its routing key names."""
    name = delay_exchange(pause)
    return [
        Exchange(name, "fanout"),
        Queue(name=name, ttl_ms=int(pause * 1000), dead_letter_exchange="", at_least_once=True),
        Binding(name, name),
    ]


def journal_parts(exchanges: Iterable[str], *, max_age: str, max_bytes: int) -> list[Declarable]:
    """The journal stream and its bindings to the exchanges it taps."""
    return [
        Queue(name=JOURNAL, kind="stream", max_age=max_age, max_bytes=max_bytes),
        *(Binding(JOURNAL, exchange) for exchange in exchanges),
    ]
