"""Asking services where a run stands: one question to all that take part, their answers put together.

    ask ──► stamp.ask (key: the workflow) ──► stamp.ask.<service> ──► what it knows, from its own database
        ◄── stamp.answers (key: the question's id) ◄─────────────────┘

The owner of a run answers from its ledger, a stateless participant from its notes, and whoever registered a function
with `@service.describes(WORKFLOW)` adds what only it knows. Answers go to an exchange of ours under the id of the
question: no address is ever taken from a message. Questions that nobody reads for half a minute go away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from brokers.contract import Binding, Broker, Consumer, Declarable, Delivery, Exchange, Message, Publication, Queue
from stamp.codec import JSON, Versions
from stamp.errors import StampError, StoreUnavailable
from stamp.history import PASSED
from stamp.ledger import Status
from stamp.model import Entry, is_uuid
from stamp.nostore import NoStore
from stamp.notes import Jotting, remembered
from stamp.ports import Clock, Store
from stamp.standing import Standing, standing_of
from stamp.trip import Settler
from stamp.workflow import Workflow

log = logging.getLogger("stamp")

ASK = "stamp.ask"
ANSWERS = "stamp.answers"
FORGOTTEN_MS = 30_000
TIMEOUT = 2.0

Describe = Callable[[str, Any], Awaitable[object]]
"""`async (run_id, tx) -> plain data`: what a service says of a run beyond what the toolkit knows."""


class Question(msgspec.Struct, frozen=True):
    """What is asked."""

    run: str
    workflow: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one service knows of a run."""

    service: str
    steps: list[Jotting] = []
    """Its own hops, in a workflow that nobody owns."""
    standing: Standing | None = None
    """Where the run stands, by its owner's ledger."""
    says: Any = None
    """What its own function said."""
    error: str = ""
    """Why it could not say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the services that answered in time know of a run, put together."""

    run: str
    workflow: Workflow
    answers: Mapping[str, Answer]
    silent: tuple[str, ...]
    """The participants that did not answer in time."""

    @property
    def standing(self) -> Standing | None:
        """What the owner says; `None` where nobody owns the run, or the owner is silent or has not heard of it."""
        return next((answer.standing for answer in self.answers.values() if answer.standing is not None), None)

    @property
    def steps(self) -> tuple[Jotting, ...]:
        """The hops that the participants remember, in order."""
        found = [jotting for answer in self.answers.values() for jotting in answer.steps]
        return tuple(sorted(found, key=lambda one: (one.read().seq, one.read().at)))

    @property
    def done(self) -> tuple[Entry, ...]:
        """The entries of the steps that have run and stand."""
        return tuple(one.read() for one in self.steps if not one.undone and one.read().outcome in PASSED)

    @property
    def remaining(self) -> tuple[str, ...]:
        """The steps still ahead, as far as those who answered can tell."""
        if self.standing is not None:
            return self.standing.remaining
        return self._ahead() if self.status == "running" else ()

    def _ahead(self) -> tuple[str, ...]:
        ran = {one.read().step: one.event for one in self.steps}
        known = self.workflow.table.steps  # the run may be of another version, with steps that are not in this one
        events = [event for step, event in ran.items() if step not in known or known[step].outputs]
        ahead = {step for event in events for step in self.workflow.remaining(event) if step not in ran}
        return tuple(step.name for step in self.workflow.steps if step.name in ahead)

    @property
    def status(self) -> Status | None:
        """In one word; `None` when nobody who answered has heard of the run."""
        if self.standing is not None:
            return self.standing.status
        if not self.steps:
            return None
        if any(one.undone or one.read().outcome in {"failed", "timeout"} for one in self.steps):
            return "compensating" if any(entry.undo for entry in self.done) else "compensated"
        return "running" if self._ahead() else "completed"


def queue_of(service: str) -> str:
    """Where questions to a service arrive."""
    return f"{ASK}.{service}"


def parts(service: str, workflows: Iterable[str]) -> list[Declarable]:
    """What a service that answers needs on the broker; nothing when there is no workflow to answer for."""
    names = sorted(set(workflows))
    if not names:
        return []
    queue = queue_of(service)
    return [
        Exchange(ASK),
        Exchange(ANSWERS),
        Queue(name=queue, kind="classic", ttl_ms=FORGOTTEN_MS),
        *(Binding(queue, ASK, name) for name in names),
    ]


@dataclass(slots=True, kw_only=True)
class Clerk:
    """Answers the questions that come to a service. Nothing is held: who asks will ask again."""

    service: str
    workflows: Mapping[str, Versions]
    describe: Mapping[str, Describe]
    """By workflow."""
    store: Store | NoStore
    broker: Broker
    clock: Clock

    async def travel(self, deliveries: Sequence[Delivery], settler: Settler) -> None:
        """Answer each, once; what is no question is dropped."""
        for delivery in deliveries:
            question = _question(delivery.message)
            if question is not None and question.workflow in self.workflows:
                await self._answer(question, delivery.message.message_id)
        await settler.ack(deliveries)

    async def _answer(self, question: Question, key: str) -> None:
        body = msgspec.json.encode(await self._known(question))
        message = Message(
            body=body,
            message_id=str(uuid4()),
            type="answer",
            correlation_id=question.run,
            app_id=self.service,
            timestamp=int(self.clock.now()),
            content_type=JSON,
        )
        outcomes = await self.broker.publish_all([Publication(ANSWERS, key, message, mandatory=False)])
        for error in filter(None, outcomes):
            log.warning("%s: an answer was not sent: %s", self.service, error)

    async def _known(self, question: Question) -> Answer:
        try:
            standing = await standing_of(self.store, question.run, self.clock.now())
            async with self.store.begin() as tx, tx.savepoint():
                steps = [] if isinstance(self.store, NoStore) else list(await remembered(tx, question.run))
                describe = self.describe.get(question.workflow)
                says = await describe(question.run, tx.native) if describe is not None else None
            msgspec.json.encode(says)
        except (StoreUnavailable, StampError) as error:
            return Answer(service=self.service, error=str(error))
        except Exception as error:  # a describing function is a guest: what it raises is its answer
            log.exception("%s: describing run %s failed", self.service, question.run)
            return Answer(service=self.service, error=f"{type(error).__name__}: {error}")
        return Answer(service=self.service, steps=steps, standing=standing, says=says)


def _question(message: Message) -> Question | None:
    try:
        question = msgspec.json.decode(message.body, type=Question)
    except msgspec.DecodeError:
        return None
    return question if is_uuid(question.run) and is_uuid(message.message_id) else None


async def ask(
    broker: Broker, workflow: Workflow, run: str, *, timeout: float = TIMEOUT, wanted: Iterable[str] | None = None
) -> Picture:
    """Ask all that take part in a workflow for a run; who has not answered after `timeout` seconds is named.

    `wanted` are the services to wait for: the owner where there is one, else every participant.
    """
    owner = workflow.style.owner
    expected = list(wanted if wanted is not None else [owner] if owner else workflow.services)
    question = str(uuid4())
    queue = f"{ANSWERS}.{question}"
    await broker.declare(
        [
            Exchange(ASK),
            Exchange(ANSWERS),
            Queue(name=queue, kind="classic", expires_ms=FORGOTTEN_MS),
            Binding(queue, ANSWERS, question),
        ]
    )
    consumer = await broker.consume(queue, prefetch=100)
    try:
        body = msgspec.json.encode(Question(run, workflow.name))
        asked = Message(body=body, message_id=question, type="question", timestamp=int(time.time()), content_type=JSON)
        await broker.publish_all([Publication(ASK, workflow.name, asked, mandatory=False)])
        answers = await _collected(consumer, expected, timeout)
    finally:
        await consumer.close()
        await broker.delete_queue(queue)
    silent = tuple(name for name in expected if name not in answers)
    return Picture(run=run, workflow=workflow, answers=answers, silent=silent)


async def _collected(consumer: Consumer, expected: Sequence[str], timeout: float) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while not answers.keys() >= set(expected):
                for delivery in await consumer.receive(100):
                    answer = _read(delivery.message)
                    if answer is not None:
                        answers[answer.service] = answer
                    await consumer.ack([delivery])
    return answers


def _read(message: Message) -> Answer | None:
    try:
        return msgspec.json.decode(message.body, type=Answer)
    except msgspec.DecodeError:
        log.warning("an answer of %r can't be read", message.app_id)
        return None
