"""One process of a deployment that is measured: the four services of the chain, from `go` until its input ends."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from benchmarks import tickets
from stamp import Hop, Service, Step, Workflow

READY = "ready"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is told: `share` is its number and how many there are; `folder` holds the stores, if any."""

    url: str
    shards: int
    share: tuple[int, int]
    folder: str | None = None
    wait_ms: float = 0
    """What a handler waits for something outside, such as another service's answer."""


def workflow(shards: int) -> Workflow:
    """The chain of four steps, each with so many shards."""
    events = tickets.CHAIN
    steps = [
        Step(f"step-{place}", service=service, on=events[place], emits=events[place + 1], shards=shards)
        for place, service in enumerate(tickets.SERVICES)
    ]
    return Workflow(f"SCALE_{shards}", version=1, state=tickets.Ticket, start=events[0], deadline="48h", steps=steps)


def services(part: Part) -> list[Service]:
    """The four services of one process."""
    flow = workflow(part.shards)
    return [_service(flow, place, part) for place in range(len(tickets.SERVICES))]


def _service(flow: Workflow, place: int, part: Part) -> Service:
    service = Service(tickets.SERVICES[place], share=part.share)
    emitted = tickets.CHAIN[place + 1]

    @service.step(flow, f"step-{place}")
    async def handle(event: Any, hop: Hop[tickets.Ticket]) -> Any:
        hop.state.expert = service.name
        hop.state.hops += 1
        if part.wait_ms:
            await asyncio.sleep(part.wait_ms / 1000)
        return emitted(event.ticket_id, event.problem)

    return service


async def serve(part: Part) -> None:
    """Open the services, say so, consume once told to, and close them when the input ends."""
    async with AsyncExitStack() as stack:
        runtimes = []
        for service in services(part):
            store = None if part.folder is None else f"sqlite:///{part.folder}/{service.name}.db"
            opened = service.open(broker=part.url, store=store, journal=False, consume=False)
            runtimes.append(await stack.enter_async_context(opened))
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for runtime in runtimes:
            await runtime.start_consuming()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Part)))
