"""The stopwatch of a contender in its own process. Needs nothing but Python: it runs in the peers' environment.

Every contender is `python -m benchmarks.peers.<name> URL RUNS BROKER_PID`: it fills its first queue, then times how
long its four services take for all of it, and prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from importlib.metadata import version

from benchmarks.measure import cpu_seconds
from benchmarks.texts import SERVICES


@dataclass(frozen=True, slots=True)
class Task:
    """What to do: carry `runs` tickets over the server at `url`."""

    url: str
    runs: int
    broker: int | None

    @property
    def hops(self) -> int:
        """All hops of all tickets."""
        return self.runs * len(SERVICES)


def task() -> Task:
    """The task that the command line names."""
    url, runs, broker = sys.argv[1:4]
    return Task(url, int(runs), int(broker) or None)


@dataclass(slots=True)
class Watch:
    """Started when the first queue is full and the consumers begin; `stop` gives the sample."""

    task: Task
    began: float = field(default_factory=time.perf_counter)
    client: float = field(default_factory=time.process_time)
    server: float = 0.0

    def __post_init__(self) -> None:
        self.server = cpu_seconds(self.task.broker)

    def stop(self) -> dict[str, float]:
        """Hops a second, and processor time a hop of this process and of the broker."""
        seconds, hops = time.perf_counter() - self.began, self.task.hops
        return {
            "hops_s": hops / seconds,
            "client_us": (time.process_time() - self.client) / hops * 1e6,
            "broker_us": (cpu_seconds(self.task.broker) - self.server) / hops * 1e6,
        }


def tell(sample: dict[str, float], *packages: str) -> None:
    """Print the sample and the versions of what was measured."""
    print(json.dumps({"sample": sample, "versions": {name: version(name) for name in packages}}), flush=True)
