"""The pytest plugin: a fixture that costs nothing until it is asked for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from stamp.errors import NotRunning
from stamp.testing.runner import OpenBench
from tests.testing.desk import OPENED, STATE, TICKET, Desk

USER_TEST = """
import msgspec
from stamp import Service, Step, Workflow

class Asked(msgspec.Struct):
    question: str

class Answered(msgspec.Struct):
    answer: int

ASK = Workflow("ASK", version=1, start=Asked, steps=[Step("answer", service="oracle", on=Asked, emits=Answered)])
oracle = Service("oracle")

@oracle.step(ASK, "answer")
async def answer(event, hop):
    return Answered(42)

def test_the_oracle_answers(bench):
    table = bench(oracle)
    run_id = table.start(ASK, Asked("why?"))
    table.settle()
    assert table.run(run_id).status == "completed"

def test_the_oracle_answers_again(bench):
    with bench(oracle, store="sqlite") as table:
        table.fail("answer", times=2)
        run_id = table.start(ASK, Asked("why?"))
        table.settle()
        assert table.run(run_id).history[0].attempt == 3
"""

LOADED = """
import sys
import stamp.testing.plugin
heavy = {"aio_pika", "aiosqlite", "jsonschema", "jsonschema_rs", "msgspec", "asyncpg", "sqlalchemy", "asyncio"}
print(sorted(heavy & set(sys.modules)))
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_a_users_tests_find_the_fixture_and_no_warning(tmp_path: Path) -> None:
    (tmp_path / "test_oracle.py").write_text(USER_TEST)
    done = run("-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_loading_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    assert run("-c", "import pytest" + LOADED, folder=tmp_path).stdout.strip() in {"[]", "['asyncio']"}


def test_a_bench_never_loads_a_driver_of_a_server(tmp_path: Path) -> None:
    loaded = "import stamp.testing.bench, sys; print({'aio_pika', 'aiormq', 'asyncpg'} & set(sys.modules))"
    assert run("-c", loaded, folder=tmp_path).stdout.strip() == "set()"


def test_in_an_async_test_the_fixture_says_what_to_write_instead(bench: OpenBench) -> None:
    async def scenario() -> None:
        with pytest.raises(NotRunning, match=r"in an async test say `async with Bench\(\.\.\.\)`"):
            bench(*Desk().services)

    asyncio.run(scenario())


def test_several_benches_of_one_test_know_nothing_of_each_other(bench: OpenBench) -> None:
    first, second = bench(*Desk().services), bench(*Desk().services)
    run_id = first.start(TICKET, OPENED, state=STATE)
    first.settle()
    second.settle()
    assert first.run(run_id).status == "completed"
    assert second.published == ()
