"""Kills services of the orders example while their work is under way."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from random import Random

from tests.examples.playing import Demo

MOMENTS = (
    ("orders", "customer_order"),
    ("payments", "entry"),
    ("warehouse", "reservation"),
    ("shipping", "parcel"),
    ("notifications", "letter"),
)
"""When in a service's table a random number of rows has come together, somebody is killed."""

MOST = 60
"""Rows, well below what each of the tables will have."""


def kill_at_random(running: Demo, chance: Random) -> list[str]:
    """SIGKILL one service, whichever chance picks, at each of the moments; who it was, in order."""
    kills: list[str] = []
    for service, table in MOMENTS:
        rows = chance.randrange(1, MOST)
        running.until(lambda s=service, t=table, n=rows: running.count(s, t) >= n)  # type: ignore[misc]
        victim = chance.choice(MOMENTS)[0]
        with suppress(ProcessLookupError):  # it was killed a moment ago and is not back yet
            os.kill(running.pid_of(victim), signal.SIGKILL)
            kills.append(victim)
    return kills
