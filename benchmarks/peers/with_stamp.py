"""The same chain on bare aio-pika and on this toolkit, in a process of its own as the others have it."""

from __future__ import annotations

import asyncio
import sys

from benchmarks import chain
from benchmarks.bare import BareChain
from benchmarks.peers.watch import Task, task, tell
from benchmarks.stamped import StampedChain


def contender(kind: str, url: str) -> chain.Chain:
    """`bare`, or `none`, `sqlite`, `postgres`: the store of the stamped chain."""
    if kind == "bare":
        return BareChain(url)
    store = None if kind == "none" else chain.store_url(kind)
    return StampedChain(url, kind, journal=False, store=store, label=f"PEERS_{kind}".upper())


def carry(work: Task, kind: str) -> dict[str, float]:
    """One round, nothing before it."""
    one = contender(kind, work.url)
    return asyncio.run(one.round(work.runs, chain.timed(work.broker, work.hops)))


if __name__ == "__main__":
    tell(carry(task(), sys.argv[4]), "state-stamp", "aio-pika")
