"""What the stamp itself costs a hop: everything a delivery goes through, but without a broker and a database."""

from __future__ import annotations

import cProfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks import machine, profiles, tickets
from benchmarks.measure import no_collector, ratio, row
from brokers.contract import Message, Publication
from stamp.beginning import begin
from stamp.codec import Arrival, Codec
from stamp.decision import Decision, Done, Position, decide
from stamp.hop import Hop
from stamp.outgoing import publications
from stamp.seal import HmacKey, KeyRing
from stamp.workflow import Workflow

LENGTHS = (1, 8, 31, 32)
"""Entries in the history of the stamp that comes in. At 32 the hop also folds 30 of them away, which the 30 hops
after it are spared: 31 is the dearest ordinary hop, 32 the dearest of all."""

NOW = 1_790_000_000.0
RUN = "01a0d2f4-7c00-7a3b-8f12-5d1e9b6c4a21"
STAGES = ("decode", "handle", "decide", "encode")


@dataclass(frozen=True, slots=True)
class Case:
    """A message as it lies in a queue, and what is needed to carry it one hop on."""

    workflow: Workflow
    codec: Codec
    message: Message
    now: float = NOW

    def decode(self) -> Arrival:
        """Size, signature, nesting, JSON, schemas of header, newest entry, state and payload."""
        return self.codec.decode(self.message, {1: self.workflow})

    def handle(self, arrival: Arrival) -> tuple[Position, Done]:
        """The typed event and state, a change of the state, and the check of what the handler left."""
        step = self.workflow.step(f"step-{arrival.stamp.seq}")
        position = Position(step=step, action="do", message_id=arrival.message.message_id, ms=3)
        event: Any = msgspec.convert(arrival.payload, step.on)
        hop: Hop[tickets.Ticket] = Hop(self.workflow, arrival.stamp, position)
        hop.state.expert = "Ada"
        hop.state.hops += 1
        state = hop.state_after()
        if not self.workflow.contract.state.is_valid(state):
            raise ValueError(self.workflow.contract.state.explain(state))
        return position, Done(event=step.emits[0](event.ticket_id, event.problem), state=state)

    def encode(self, decision: Decision) -> list[Publication]:
        """The next message: stamp, payload checked by its schema, signature."""
        return publications(decision, self.workflow, self.codec, service="tickets", now=self.now, trace={})

    def hop(self) -> list[Publication]:
        """One hop from message to message."""
        arrival = self.decode()
        position, done = self.handle(arrival)
        return self.encode(decide(self.workflow, arrival.stamp, position, done, self.now))


def case(length: int) -> Case:
    """A run that has gone `length` real hops, each encoded and decoded again."""
    workflow = tickets.line(max(LENGTHS) + 2)
    codec = Codec(keys=keys())
    return Case(workflow, codec, gone(workflow, codec, length).message)


def keys() -> KeyRing:
    """What the line of tickets is signed with."""
    return KeyRing([HmacKey("k1", b"benchmark" * 4)], signing="k1")


def gone(workflow: Workflow, codec: Codec, length: int, *, run: str = RUN, now: float = NOW) -> Publication:
    """The message that a run sends at its hop `length`; 0 is its first."""
    event = workflow.start("T-000001", tickets.problem())
    started = begin(workflow, event, run=run, state=msgspec.to_builtins(tickets.ticket()), now=now)
    (following,) = publications(started, workflow, codec, service="tickets", now=now, trace={})
    for _ in range(length):
        (following,) = Case(workflow, codec, following.message, now).hop()
    return following


def timed(work: Callable[[], object], count: int) -> float:
    """Microseconds of processor time that one call takes, over `count` calls."""
    with no_collector():
        began = time.thread_time_ns()
        for _ in range(count):
            work()
        return (time.thread_time_ns() - began) / count / 1000


def stages(one: Case, count: int) -> dict[str, float]:
    """Where one hop's time goes, in microseconds a stage."""
    arrival = one.decode()
    position, done = one.handle(arrival)
    decision = decide(one.workflow, arrival.stamp, position, done, NOW)
    work: tuple[Callable[[], object], ...] = (
        one.decode,
        lambda: one.handle(arrival),
        lambda: decide(one.workflow, arrival.stamp, position, done, NOW),
        lambda: one.encode(decision),
    )
    return {name: timed(part, count) for name, part in zip(STAGES, work, strict=True)}


def run(*, rounds: int, count: int) -> dict[str, Any]:
    """Alternate over the lengths, `count` hops each, `rounds` times after a warm-up."""
    cases = {length: case(length) for length in LENGTHS}
    for one in cases.values():
        timed(one.hop, max(1, count // 10))
    samples: dict[int, list[float]] = {length: [] for length in LENGTHS}
    parts: list[dict[str, float]] = []
    for _ in range(rounds):
        for length, one in cases.items():
            samples[length].append(timed(one.hop, count))
        parts.append(stages(cases[8], count))
    hops = {
        str(length): {"us": row(samples[length]), "stamp_bytes": len(cases[length].message.headers["stamp"])}
        for length in LENGTHS
    }
    return {
        **machine.now(),
        "rounds": rounds,
        "hops_per_round": count,
        "body_bytes": len(cases[8].message.body),
        "hops": hops,
        "stages_at_8": {name: row([part[name] for part in parts]) for name in STAGES},
        "ratio_32_to_8": ratio(hops["32"], hops["8"], "us"),
        "ratio_31_to_1": ratio(hops["31"], hops["1"], "us"),
        "ratio_32_to_1": ratio(hops["32"], hops["1"], "us"),
    }


def profile(count: int, *, length: int = 8, lines: int = 45) -> str:
    """A cProfile table of `count` hops, by own time."""
    return profiles.text(profiled(count, length=length), lines)


def profiled(count: int, *, length: int) -> cProfile.Profile:
    """`count` hops under the profiler."""
    one = case(length)
    timed(one.hop, 100)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(count):
        one.hop()
    profiler.disable()
    return profiler
