"""`python -m benchmarks`: measure on loopback, write the results and the pages made of them."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import (
    branches,
    chain,
    codec,
    command,
    growth,
    guard,
    latency,
    memory,
    profiles,
    report,
    scale,
    tables,
    targets,
)
from benchmarks.peers import alternating
from benchmarks.peers.contenders import CONTENDERS

PARTS = tuple(tables.GROWTH)
NAMES = [peer.name for peer in CONTENDERS]


def parser() -> argparse.ArgumentParser:
    """The command line; without a command everything is measured."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--json", type=Path, default=report.RESULTS, metavar="FILE", help="default: docs/benchmarks.json"
    )
    shared.add_argument("--profile", action="store_true", help="print a cProfile table, measure nothing")
    commands = top.add_subparsers(dest="command")
    one = commands.add_parser("codec", parents=[shared], help="the stamp alone, no broker")
    one.add_argument("--rounds", type=int, default=15)
    one.add_argument("--count", type=int, default=2000, help="hops a round and length")
    one.set_defaults(measure=_codec)
    four = commands.add_parser("chain", parents=[shared], help="four hops on RabbitMQ, against bare aio-pika")
    four.add_argument("--store", action="append", choices=chain.STORES, help="may be given several times")
    four.add_argument("--runs", type=int, default=1000, help="runs a round")
    four.add_argument("--rounds", type=int, default=7)
    four.add_argument("--broker", metavar="URL", help="default: a private node")
    four.set_defaults(measure=_chain)
    _add_more(commands, shared)
    scale.add_to(commands)
    guard.add_to(commands)
    return top


def _add_more(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Latency, growth, peers and targets: each with a broker and rounds."""
    on_broker = argparse.ArgumentParser(add_help=False, parents=[shared])
    on_broker.add_argument("--broker", metavar="URL", help="default: a private node")
    light = commands.add_parser("latency", parents=[on_broker], help="one ticket at a time, against bare aio-pika")
    light.add_argument("--store", action="append", choices=chain.STORES, help="may be given several times")
    light.add_argument("--tickets", type=int, default=40, help="tickets a round")
    light.add_argument("--rounds", type=int, default=15)
    light.set_defaults(measure=_latency)
    grown = commands.add_parser("growth", parents=[on_broker], help="long histories, many finished runs, memory")
    grown.add_argument("--part", action="append", choices=PARTS, help="may be given several times; default: all")
    grown.add_argument("--hops", type=int, default=1_000_000, help="hops whose memory is watched")
    grown.add_argument("--seconds", type=float, default=120, help="but no longer than this; 0 is without an end")
    grown.add_argument("--finished", type=int, default=1_000_000, help="runs that the inboxes remember")
    grown.add_argument("--runs", type=int, default=500, help="runs a round")
    grown.add_argument("--rounds", type=int, default=7)
    grown.set_defaults(measure=_growth)
    others = commands.add_parser("peers", parents=[on_broker], help="the chain on other frameworks, installed apart")
    others.add_argument("--peer", action="append", choices=NAMES, help="may be given several times; default: all")
    others.add_argument("--runs", type=int, default=500, help="runs a round")
    others.add_argument("--rounds", type=int, default=7)
    others.set_defaults(measure=_peers)
    top = commands.add_parser("command", parents=[shared], help="what the command line costs")
    top.add_argument("--rounds", type=int, default=15)
    top.set_defaults(measure=_command)
    aims = commands.add_parser("targets", parents=[on_broker], help="everything, in about 21 minutes")
    aims.set_defaults(measure=_targets)


def main(words: Sequence[str] | None = None) -> None:
    """Measure what the words ask for."""
    given = list(sys.argv[1:] if words is None else words)
    options = parser().parse_args(given or ["targets"])
    options.measure(options)


def _codec(options: argparse.Namespace) -> None:
    if options.profile:
        print(codec.profile(options.count))
        return
    _keep({"codec": codec.run(rounds=options.rounds, count=options.count)}, options.json)


def _chain(options: argparse.Namespace) -> None:
    stores = options.store or ["none", "sqlite"]
    with chain.rabbitmq(options.broker) as url:
        for store in stores:
            with chain.database(store):
                _one_store(url, store, options)


def _one_store(url: str, store: str, options: argparse.Namespace) -> None:
    if options.profile:
        print(chain.profile(url, store=store, runs=options.runs))
        return
    section = asyncio.run(chain.run(url, store=store, runs=options.runs, rounds=options.rounds))
    _keep({"chain": {store: section}}, options.json)


def _latency(options: argparse.Namespace) -> None:
    stores = options.store or chain.STORES
    with _servers(options) as url:
        if options.profile:
            print(profiles.text(asyncio.run(latency.profiled(url)), 60))
            return
        found = latency.run(url, stores=stores, tickets_a_round=options.tickets, rounds=options.rounds)
        _keep({"latency": asyncio.run(found)}, options.json)


def _growth(options: argparse.Namespace) -> None:
    with _servers(options) as url:
        for part in options.part or PARTS:
            _keep({"growth": {part: _grown(part, url, options)}}, options.json)


def _grown(part: str, url: str, options: argparse.Namespace) -> dict[str, Any]:
    kind, _, store = part.partition(" ")
    runs, rounds = options.runs, options.rounds
    match kind:
        case "history":
            return asyncio.run(growth.history(url, runs=runs, rounds=rounds))
        case "inbox" | "owner":
            found = growth.remembered(
                url,
                store=store,
                style=growth.STYLES[kind],
                finished_runs=options.finished,
                runs=runs,
                rounds=rounds,
            )
            return asyncio.run(found)
        case "memory":
            return memory.service(url, store=store, hops=options.hops, seconds=options.seconds or math.inf)
        case "branches":
            return branches.run(rounds=rounds)
        case _:
            return memory.ledger()


def _peers(options: argparse.Namespace) -> None:
    with _servers(options) as url:
        found = alternating.run(url, runs=options.runs, rounds=options.rounds, names=options.peer)
        _keep({"peers": found}, options.json)


def _command(options: argparse.Namespace) -> None:
    _keep({"command": command.run(rounds=options.rounds)}, options.json)


def _targets(options: argparse.Namespace) -> None:
    with _servers(options, plugins=(scale.PLUGIN,)) as url:
        _keep(targets.run(url, targets.Plan()), options.json)


@contextmanager
def _servers(options: argparse.Namespace, *, plugins: tuple[str, ...] = ()) -> Iterator[str]:
    """The broker's URL, with a PostgreSQL server beside it."""
    with chain.rabbitmq(options.broker, plugins=plugins) as url, chain.database("postgres"):
        yield url


def _keep(results: report.Results, path: Path) -> None:
    report.save(results, path)
    print(report.tables(results))


if __name__ == "__main__":
    main()
