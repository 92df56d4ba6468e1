"""`python -m benchmarks [codec|chain]`: measure on loopback, write the results and the pages made of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import chain, codec, report, scale


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
    scale.add_to(commands)
    return top


def main(words: Sequence[str] | None = None) -> None:
    """Measure what the words ask for."""
    given = list(sys.argv[1:] if words is None else words)
    for line in [given] if given else [["codec"], ["chain"]]:
        options = parser().parse_args(line)
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


def _keep(results: report.Results, path: Path) -> None:
    report.save(results, path)
    print(report.tables(results))


if __name__ == "__main__":
    main()
