"""What the stamp itself costs a hop: everything a delivery goes through, but without a broker and a database."""

from __future__ import annotations

import cProfile
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from benchmarks import machine, profiles, tickets
from benchmarks.measure import no_collector, ratio, row
from brokers.contract import Message, Publication
from stamp.beginning import begin
from stamp.codec import Arrival, Codec, parse
from stamp.decision import Decision, Done, Position, decide
from stamp.history import ROUND
from stamp.hop import Hop
from stamp.outgoing import publications
from stamp.seal import HmacKey, KeyRing
from stamp.workflow import Workflow

LENGTHS = (1, 8, 31, 32)
"""Entries in the history of the stamp that comes in. The hop at 32 is the first that also folds; 31 is the dearest that
does not."""

LATER = (33, 40)
"""Hops that a run has behind it while a round of folding is under way."""

LONG = range(2 * ROUND + 6, 3 * ROUND + 6)
"""Each hop of one whole round, from one begin of folding to the next: what a long run costs on average."""

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
    workflow = tickets.line(length + 2)
    codec = Codec(keys=keys())
    return Case(workflow, codec, gone(workflow, codec, length).message)


def cases(hops: Iterable[int]) -> dict[int, Case]:
    """One run, as it stands after so many hops each."""
    wanted = frozenset(hops)
    workflow, codec = tickets.line(max(wanted) + 2), Codec(keys=keys())
    message, found = gone(workflow, codec, 0).message, {}
    for number in range(max(wanted) + 1):
        one = Case(workflow, codec, message)
        if number in wanted:
            found[number] = one
        message = one.hop()[0].message
    return found


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
    measured = cases((*LENGTHS, *LATER, *LONG))
    single = {length: measured[length] for length in (*LENGTHS, *LATER)}
    long = [measured[number] for number in LONG]
    for one in measured.values():
        timed(one.hop, max(1, count // 10))
    samples: dict[int, list[float]] = {length: [] for length in single}
    means: list[float] = []
    parts: list[dict[str, float]] = []
    for _ in range(rounds):
        for length, one in single.items():
            samples[length].append(timed(one.hop, count))
        means.append(statistics.mean(timed(one.hop, max(1, count // 4)) for one in long))
        parts.append(stages(single[8], count))
    hops = {str(length): {"us": row(samples[length]), **_size(one)} for length, one in single.items()}
    mean = {"us": row(means), "stamp_bytes": round(statistics.mean(_size(one)["stamp_bytes"] for one in long))}
    return {
        **machine.now(),
        "rounds": rounds,
        "hops_per_round": count,
        "body_bytes": len(single[8].message.body),
        "hops": hops,
        "long": mean,
        "stages_at_8": {name: row([part[name] for part in parts]) for name in STAGES},
        "ratio_32_to_8": ratio(hops["32"], hops["8"], "us"),
        "ratio_31_to_1": ratio(hops["31"], hops["1"], "us"),
        "ratio_32_to_1": ratio(hops["32"], hops["1"], "us"),
        "ratio_long_to_1": ratio(mean, hops["1"], "us"),
    }


def _size(one: Case) -> dict[str, int]:
    header = one.message.headers["stamp"]
    return {"stamp_bytes": len(header), "entries": len(parse(header.encode()).raw_history())}


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
