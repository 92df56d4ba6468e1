"""What goes on and what waits while the owner of the runs is down: tried, not asserted.

    1  only the owner and the first service work: every run takes its first step
    2  the owner is stopped, all others work: whatever can go on goes on
    3  the owner is back: everything ends

In styles without an owner the first service stands in for it, so that the steps which wait for a service that is down
can be told from those which wait for an owner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from stamp.comparing.asking import answers
from stamp.comparing.lab import Lab
from stamp.layout import JOURNAL

SETTLED = 1.0
"""Seconds without any movement after which nothing more is expected of the others."""

ASK_TIMEOUT = 1.0
FULL = "full answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was seen."""

    stopped: str
    """The service that was stopped."""
    runs: int
    steps: int
    """Forward, that ran while it was down."""
    waited: int
    """Forward, that ran when it was back."""
    undone: int
    """Steps that were undone while it was down."""
    undone_later: int
    ended: int
    """Runs that ended while it was down."""
    ended_later: int
    answered: str
    """What came of asking for a run while it was down: `full answer`, `partial answer`, `no answer`."""

    @property
    def tried(self) -> str:
        """What was seen, in words."""
        undone = self.undone + self.undone_later
        undos = f" and {self.undone} of {undone} undos" if undone else ""
        return (
            f"{self.steps} of {self.steps + self.waited} steps{undos} ran, {self.ended} of {self.runs} runs ended, "
            f"status: {self.answered}"
        )

    @property
    def share(self) -> float:
        """Of the forward steps that were left, how many ran while it was down."""
        return self.steps / max(1, self.steps + self.waited)


class _Hops(NamedTuple):
    forward: int
    undone: int


def _hops(lab: Lab) -> _Hops:
    return _Hops(lab.counts["hops"] - lab.counts["undone"], lab.counts["undone"])


async def outage(lab: Lab, *, runs: int) -> Outage:
    """Stop the owner of some runs under way, and start it again."""
    stopped = lab.variant.style.owner or lab.variant.first
    others = [name for name in lab.variant.services if name != stopped]
    try:
        async with lab.serving(dict.fromkeys([stopped, lab.variant.first])):
            since = await lab.broker.end(JOURNAL)
            started = await _begun(lab, runs)
        before = _hops(lab)
        async with lab.serving(others):
            await lab.quiet(SETTLED)
            down, ended = _hops(lab), _ended(lab, started)
            (answer,) = await answers(lab, started[-1:], since=since, timeout=ASK_TIMEOUT)
            async with lab.serving([stopped]):
                await lab.ends.until(started, patience=lab.patience)
                await lab.quiet()
        after = _hops(lab)
        return Outage(
            stopped=stopped,
            runs=runs,
            steps=down.forward - before.forward,
            waited=after.forward - down.forward,
            undone=down.undone - before.undone,
            undone_later=after.undone - down.undone,
            ended=ended,
            ended_later=_ended(lab, started) - ended,
            answered=FULL if answer.complete else "partial answer" if answer.partly else "no answer",
        )
    finally:
        await lab.clear()


async def _begun(lab: Lab, runs: int) -> list[str]:
    """Runs that have taken their first step."""
    enough = lab.counts["hops"] + runs
    started = await lab.start(runs)
    await lab.until(lambda: lab.counts["hops"] >= enough, bound=lab.patience)
    await lab.quiet()
    return started


def _ended(lab: Lab, runs: list[str]) -> int:
    return len(lab.ends.seen.keys() & set(runs))
