"""Rounds of all contenders in turn on one broker and one database server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from benchmarks import chain, machine
from benchmarks.measure import listener, ratio, rows
from benchmarks.peers.contenders import CONTENDERS, Peer
from benchmarks.peers.environment import PYTHON, ROOT, last_words, prepare
from benchmarks.progress import say

PATIENCE = 180.0

Sample = dict[str, float]


class Failed(Exception):  # noqa: N818  it says what is the case
    """A contender did not come to its end."""


def run(url: str, *, runs: int, rounds: int, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Every contender once a round; one that can't be installed or run is told, with the reason.

    `POSTGRES_URL` names the database of those that need one.
    """
    wanted = [peer for peer in CONTENDERS if names is None or peer.name in names]
    missing = prepare((peer.name, peer.packages) for peer in wanted if not peer.ours)
    present = [peer for peer in wanted if peer.name not in missing]
    samples: dict[str, list[Sample]] = {}
    versions: dict[str, dict[str, str]] = {}
    for turn in range(rounds):
        for peer in [one for one in present if one.name not in missing]:
            say(f"peers: round {turn + 1} of {rounds}, {peer.name}")
            try:
                sample, versions[peer.name] = run_once(peer, url, runs)
            except Failed as error:
                missing[peer.name] = str(error)
            else:
                samples.setdefault(peer.name, []).append(sample)
    found = {name: rows(taken) for name, taken in samples.items() if name not in missing}
    return {
        **machine.now(rabbitmq=asyncio.run(chain.server_version(url)), fsync_us=machine.fsync_us()),
        "rounds": rounds,
        "runs_per_round": runs,
        "peers": found,
        "versions": versions,
        "missing": missing,
        **_ratios(found),
    }


def _ratios(found: dict[str, Any]) -> dict[str, Any]:
    bare = found.get("bare aio-pika")
    return {
        "ratio_to_bare": {name: ratio(figures, bare, "hops_s") for name, figures in found.items()} if bare else {},
        "stamped_to": _of("stamped", found),
        "stamped_postgres_to": _of("stamped, postgres", found),
    }


def _of(name: str, found: dict[str, Any]) -> dict[str, float]:
    if name not in found:
        return {}
    return {other: ratio(found[name], figures, "hops_s") for other, figures in found.items() if other != name}


def run_once(peer: Peer, url: str, runs: int) -> tuple[Sample, dict[str, str]]:
    """One round of one contender in a process of its own, and the versions that took part. Raises `Failed`."""
    broker = None if peer.database else listener(urlsplit(url).port or 5672)
    place = os.environ["POSTGRES_URL"] if peer.database else url
    python = sys.executable if peer.ours else str(PYTHON)
    command = [python, "-m", f"benchmarks.peers.{peer.module}", place, str(runs), str(broker or 0), *peer.words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=ROOT)
    except subprocess.TimeoutExpired:
        raise Failed(f"did not end within {PATIENCE:.0f} s") from None
    if done.returncode:
        raise Failed(f"ended with {done.returncode}: {last_words(done.stderr)}")
    told = json.loads(done.stdout.splitlines()[-1])
    return told["sample"], told["versions"]
