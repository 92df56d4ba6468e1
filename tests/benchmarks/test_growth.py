"""What is compared takes turns, and nobody always comes second."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from benchmarks import growth


@dataclass
class Runner:
    name: str
    turns: list[str]

    async def round(self, runs: int, timer: Any) -> dict[str, float]:
        self.turns.append(self.name)
        return {"hops_s": float(runs)}


def test_contenders_take_turns_there_and_back_after_one_round_to_warm_up() -> None:
    turns: list[str] = []
    contenders = [Runner("empty", turns), Runner("full", turns)]

    async def timer(_: Any) -> dict[str, float]:
        return {}

    found = asyncio.run(growth.alternating(contenders, timer, runs=5, rounds=2, what="a test"))
    assert turns == ["empty", "full", "empty", "full", "full", "empty"]
    assert {name: figures["hops_s"]["median"] for name, figures in found.items()} == {"empty": 5.0, "full": 5.0}
