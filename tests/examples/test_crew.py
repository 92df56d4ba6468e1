"""The processes of an example, at the moments when their end is easily missed."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from common.crew import Crew
from common.databases import SQLiteFiles
from common.example import load


class StoppedMeanwhile(Crew):
    """Told to stop while the process is being created; it would serve for ever."""

    async def _start(self, name: str) -> Process:
        await self.stop()
        return await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=PIPE, stdout=PIPE)


def test_a_process_that_was_being_started_when_all_were_told_to_stop_is_ended_as_well(tmp_path: Path) -> None:
    crew = StoppedMeanwhile(load("tickets"), "amqp://127.0.0.1", SQLiteFiles(tmp_path), note=print)

    async def kept() -> Process:
        async with asyncio.timeout(20):
            await crew.keep("tickets", asyncio.Event())
        return crew.processes["tickets"]

    assert asyncio.run(kept()).returncode is not None
