"""What the command line costs before it does anything: processor time of `stamp --help` and `stamp decode`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import codec, machine
from benchmarks.measure import row
from benchmarks.progress import say

STAMP = (sys.executable, str(Path(sys.executable).with_name("stamp")))
"""The command as it is installed."""


def run(*, rounds: int) -> dict[str, Any]:
    """Milliseconds of processor time of fresh processes, a bare interpreter beside them, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        environment = _with_bytecode(folder)
        file = Path(folder) / "stamp.json"
        file.write_text(codec.case(4).message.headers["stamp"])
        commands: dict[str, Sequence[str]] = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "stamp --help": (*STAMP, "--help"),
            "stamp decode": (*STAMP, "decode", str(file)),
        }
        samples: dict[str, list[float]] = {name: [] for name in commands}
        say(f"command: {rounds} rounds")
        for turn in range(rounds + 1):
            for name, words in commands.items():
                spent = _cpu_ms(words, environment)
                samples[name] += [spent] if turn else []
    return {**machine.now(), "rounds": rounds, "ms": {name: row(taken) for name, taken in samples.items()}}


def _with_bytecode(folder: str) -> dict[str, str]:
    """Nobody's command compiles its source anew each time, so none does here; the warm-up writes what is then read."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def _cpu_ms(words: Sequence[str], environment: Mapping[str, str]) -> float:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environment)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{words} ended with {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000


def slowest_imports(name: str, count: int = 5) -> list[dict[str, Any]]:
    """The dearest modules of `stamp --help` or `stamp decode` by their own time, as `-X importtime` tells them."""
    python, script = STAMP
    words = [python, "-X", "importtime", script, *name.split()[1:], *(["-"] if name.endswith("decode") else [])]
    given = codec.case(4).message.headers["stamp"]
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            done = subprocess.run(
                words, capture_output=True, text=True, check=True, input=given, env=_with_bytecode(folder)
            )
    found = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line][1:]
    spent = sorted(((int(own), name.strip()) for own, _, name in found), reverse=True)
    total = sum(own for own, _ in spent)
    return [{"where": f"import {name}", "share": round(own / total, 3)} for own, name in spent[:count]]
