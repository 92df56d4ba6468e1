"""The installed command as a process: exit codes, signals, pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from stamp.cli.run import run
from tests.cli.desk import STAMP
from tests.cli.test_conventions import examples

COMMAND = (sys.executable, "-m", "stamp")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}


def call(*words: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, input=input, env=environment(), timeout=60
    )


@contextmanager
def serving(words: Sequence[str], **more: str) -> Iterator[subprocess.Popen[str]]:
    """A `stamp run` that says that it runs; `more` is added to its environment."""
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True, env={**environment(), **more})
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("running "), line + process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        process.stderr.close()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("example", examples(run))
def test_the_examples_of_run_serve_until_sigterm_and_drain(example: str) -> None:
    words = example.replace("'", "").split()[1:]
    with serving(words) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read().endswith("draining\nstopped\n")


@pytest.mark.usefixtures("folder")
def test_ctrl_c_drains_and_is_130() -> None:
    with serving(["run", "app", "--broker", "memory:"]) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("words", [("run", "app"), ("list",), ("tail",), ("peek", "q"), ("wait", "0190")], ids=str)
def test_a_broker_out_of_reach_is_69_with_its_url_and_without_its_password(words: tuple[str, ...]) -> None:
    done = call(*words, "--broker", "amqp://user:secret@127.0.0.1:9/")
    assert done.returncode == 69, done.stderr
    assert done.stderr.startswith("error[E040]:")
    assert "127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.usefixtures("folder")
def test_a_url_of_no_known_broker_is_78() -> None:
    assert call("list", "--broker", "kafka://host").returncode == 78


@pytest.mark.usefixtures("folder")
def test_a_store_that_can_not_be_opened_is_69() -> None:
    done = call("run", "app", "--broker", "memory:", "--store", "sqlite:////no/such/folder/{service}.db")
    assert done.returncode == 69, done.stderr


@pytest.mark.usefixtures("folder")
def test_a_reader_that_stops_reading_is_no_error() -> None:
    line = json.dumps(STAMP) + "\n"
    with subprocess.Popen(
        [*COMMAND, "decode", "-", "-o", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(line * 2000)
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (0, "")


def test_a_terminal_of_another_encoding_gets_escapes_not_a_traceback(folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "decode", "message.json"],
        capture_output=True,
        check=False,
        env={**environment(), "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    )
    assert (folder.exists(), done.returncode, done.stderr) == (True, 0, b"")
    assert b"\\u2713 ok" in done.stdout


def test_a_command_that_cannot_be_loaded_is_told_as_our_bug_and_not_as_a_traceback() -> None:
    program = (
        "import sys; sys.argv = ['stamp', 'decode', '-']; sys.modules['stamp.cli.decode'] = None\n"
        "from stamp.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment(), timeout=60
    )
    assert (done.returncode, done.stderr.partition(":")[0]) == (70, "error[E070]")


def test_a_command_runs_with_its_garbage_collected() -> None:
    program = (
        "import gc; from stamp.cli import app; from stamp.__main__ import main\n"
        "app.main = lambda: print(gc.isenabled())\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment(), timeout=60
    )
    assert done.stdout == "True\n"
