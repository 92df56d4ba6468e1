"""What all commands have in common: errors, exit codes, options, colours, tables, help."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from brokers import errors as broker_errors
from stamp import errors
from stamp.cli import main, output, problems
from stamp.cli.app import COMMANDS
from stamp.cli.explain import pages
from stamp.reading.text import masked, safe
from tests.cli.desk import RUN, Desk
from tests.cli.test_runs import ALL

SERVES = {"run", "demo", "broker", "compare"}
"""Commands whose examples run as processes of their own, in other tests."""


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(main)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", command.commands[inner]) for inner in command.commands)


def examples(command: click.Command) -> list[str]:
    _, found, lines = (command.epilog or "").partition("Examples:\n")
    return [line.strip() for line in lines.splitlines()] if found else []


NAMED = dict(commands())


@pytest.mark.parametrize("name", NAMED)
def test_every_help_ends_with_two_examples(name: str) -> None:
    given = examples(NAMED[name])
    assert len(given) == 2
    assert all(f"stamp {name}" in example for example in given)


@pytest.mark.parametrize("name", [name for name in NAMED if name.split()[0] not in SERVES])
def test_the_examples_of_the_help_run(desk: Desk, name: str) -> None:
    desk.app.BROKEN["phone"] = True
    desk.start(services=ALL, until="held")
    desk.start(3, services=["assignment"], until="TicketAssigned")
    desk.call("schemas", "freeze", "app")
    desk.call("db", "upgrade", "--store", "sqlite:///assignment.db")
    (held,) = desk.call("list", "--status", "held", "-o", "name").stdout.split()
    for example in examples(NAMED[name]):
        assert _run(desk, example, held) == 0, example


def _run(desk: Desk, example: str, run: str) -> int:
    """Run an example as a shell would: `<`, `>`, one `|` to xargs. Runs and services are those of the test."""
    line = example.replace(" 0190", f" {run}").replace("assignment --", "notification --")
    line = line.replace("show 0190 --service assignment", f"show {run} --service notification")
    first, _, second = line.partition(" | xargs ")
    words = shlex.split(first)[1:]
    source = words.index("<") if "<" in words else None
    text = Path(words[source + 1]).read_text() if source is not None else None
    plain = [word for place, word in enumerate(words) if source is None or place not in {source, source + 1}]
    if ">" in plain:
        plain = plain[: plain.index(">")]
    if "tail" in plain and "--from" not in plain:
        plain += ["--from", "start"]
    if "--service" in plain:
        plain[plain.index("--service") + 1] = "notification"
    result = desk.call(*plain, input=text)
    if second and result.exit_code == 0:
        return (
            0 if desk.call(*shlex.split(second)[1:], *result.stdout.split(), "--timeout", "10ms").exit_code == 1 else 9
        )
    return 0 if plain[0] == "wait" and result.exit_code == 1 else result.exit_code


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_list_of_commands_is_true_to_the_command(name: str) -> None:
    context = click.Context(main)
    command = main.get_command(context, name)
    assert command is not None
    assert COMMANDS[name][1].endswith(".")
    assert command.name == name


def test_every_error_has_a_code_of_its_own_and_a_page() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StampError)]
    codes = [kind.code for kind in ours if kind.code != "E000"]
    codes += [code for code, _ in problems.BROKER_CODES.values()]
    assert len(codes) == len(set(codes))
    assert set(codes) <= set(pages())


def test_every_broker_error_has_a_code() -> None:
    kinds = {
        kind
        for kind in vars(broker_errors).values()
        if isinstance(kind, type) and issubclass(kind, broker_errors.BrokerError)
    }
    assert kinds - {broker_errors.BrokerError} == set(problems.BROKER_CODES)


def test_every_code_that_commands_use_has_a_page() -> None:
    source = "".join(path.read_text() for path in Path(problems.__file__).parent.glob("*.py"))
    used = {f"E0{part[:2]}" for part in source.split('"E0')[1:] if part[2:3] == '"'}
    assert used - {"E000"} <= set(pages())


@pytest.mark.parametrize("page", pages())
def test_every_page_says_what_why_and_how_to_mend_it(desk: Desk, page: str) -> None:
    shown = desk.call("explain", page)
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"# {page}: ")
    assert "**Why.**" in shown.stdout
    assert "**Fix.**" in shown.stdout


@pytest.mark.parametrize(
    ("wanted", "title"), [("e23", "# E023"), ("too-new", "# E023"), ("unroutable", "# unroutable")]
)
def test_explain_takes_short_codes_and_reasons(desk: Desk, wanted: str, title: str) -> None:
    assert desk.call("explain", wanted).stdout.startswith(title)


def test_explain_of_nothing_known_is_exit_4(desk: Desk) -> None:
    assert desk.call("explain", "E999").exit_code == 4
    assert desk.call("explain", "../app").exit_code == 4


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (broker_errors.BrokerUnreachable("gone"), 69),
        (broker_errors.NotFound("gone"), 4),
        (broker_errors.AccessRefused("no"), 78),
        (errors.StoreUnavailable("gone"), 69),
        (errors.DefinitionError("bad"), 78),
        (errors.StampInvalid("bad"), 1),
        (click.UsageError("what"), 2),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (ZeroDivisionError("oh"), 70),
        (BaseExceptionGroup("one", [broker_errors.BrokerUnreachable("gone")]), 69),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_kind_of_error_has_its_exit_code(error: BaseException, status: int) -> None:
    assert problems.report(error) == status


def test_errors_say_what_why_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    problems.report(errors.StampTooLarge("it is too big", fix="make it smaller"))
    assert capsys.readouterr().err.splitlines() == [
        "error[E005]: it is too big",
        "  why: The stamp would exceed its hard budget; the transaction rolled back and nothing was lost.",
        "  fix: make it smaller",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://user:secret@host/", "amqp://user:***@host/"),
        ("amqp://user:se@c/re:t@host", "amqp://user:***@host"),
        ("a amqp://u:p@h1,amqp://v:q@h2 b", "a amqp://u:***@h1,amqp://v:***@h2 b"),
        ("postgresql://h/db?password=x&a=1", "postgresql://h/db?password=***&a=1"),
        ("amqp://host/ and me@mail", "amqp://host/ and me@mail"),
        ("amqp://user@host/", "amqp://user@host/"),
    ],
)
def test_passwords_in_urls_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_text_from_outside_is_made_safe_and_ordinary_text_is_left_alone() -> None:
    assert safe("a\x1b[0m\n\t\x9b\u202e\u2066\ud800") == "a\\x1b[0m\\n\\t\\x9b\\u202e\\u2066\\ud800"
    assert safe("Zoë 漢字 👩\u200d🔧") == "Zoë 漢字 👩\u200d🔧"


def test_a_flag_beats_the_environment_and_that_beats_the_project_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (folder / "pyproject.toml").write_text('[tool.stamp]\napp = "app"\noutput = "name"\n')
    assert desk.call("workflows").stdout == "NEW_TICKET@1\n"
    monkeypatch.setenv("STAMP_OUTPUT", "jsonl")
    assert desk.call("workflows").stdout.startswith('{"kind":"stamp.workflows"')
    assert desk.call("workflows", "-o", "name").stdout == "NEW_TICKET@1\n"
    monkeypatch.setenv("STAMP_APP", "nothing")
    assert desk.call("workflows").exit_code == 78


@pytest.mark.parametrize("text", ["[tool.stamp]\nbrokr = 'x'\n", "[tool.stamp\n"])
def test_a_project_file_with_a_mistake_is_exit_78(desk: Desk, folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    assert desk.call("workflows").exit_code == 78


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere", "there is no module 'nowhere'"),
        ("nowhere.py", "there is no file nowhere.py"),
        ("app:nothing", "app has no 'nothing'"),
        ("app:BROKEN", "app:BROKEN has neither workflows nor services"),
        ("broken", "importing broken raised ValueError: no (broken.py:2)"),
        ("leaves", "importing leaves raised SystemExit: 3 (leaves.py:1)"),
        ("needs", "importing needs raised ModuleNotFoundError: No module named 'missing_thing' (needs.py:1)"),
    ],
)
def test_an_app_that_can_not_be_loaded_is_exit_78_and_says_why(
    desk: Desk, folder: Path, target: str, words: str
) -> None:
    (folder / "broken.py").write_text("\nraise ValueError('no')\n")
    (folder / "needs.py").write_text("import missing_thing\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    result = desk.call("workflows", "--app", target)
    assert result.exit_code == 78
    assert result.stderr.startswith(f"error[E061]: {words}")


def test_a_missing_choice_is_told_in_one_plain_line(desk: Desk) -> None:
    told = desk.call("db", "print").stderr
    assert told.startswith("error[E060]: Missing option '--dialect'. Choose from: sqlite, postgres")


@pytest.mark.parametrize("target", ["app", "app.py", "./app.py", "app:NEW_TICKET", "app:assignment"])
def test_an_app_is_a_module_a_file_or_an_object_of_it(desk: Desk, target: str) -> None:
    assert desk.call("workflows", "--app", target, "-o", "name").stdout == "NEW_TICKET@1\n"


def test_a_file_in_a_package_is_imported_as_part_of_it(
    desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = folder / "src" / "helpdesk"
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("")
    (inner / "desk.py").write_text("from helpdesk.table import NEW_TICKET\n")
    (inner / "table.py").write_text((folder / "app.py").read_text())
    for target in ("src/helpdesk/desk.py", "src.helpdesk.desk"):
        assert desk.call("workflows", "--app", target, "-o", "name").stdout == "NEW_TICKET@1\n"
        for name in ("helpdesk", "helpdesk.desk", "helpdesk.table"):
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1"}, False),
    ],
    ids=str,
)
def test_colours_follow_the_environment_when_piped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in desk.call("decode", "message.json").stdout) == coloured


def test_a_table_is_never_cut_when_piped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert RUN in desk.call("decode", "message.json").stdout


def test_a_table_is_cut_to_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "16")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.table(("A", "B"), [("漢字", "a long text of many words")])
    assert capsys.readouterr().out == "A     B\n漢字  a long te…\n"


def test_all_json_documents_have_a_kind_and_a_version(desk: Desk) -> None:
    desk.start(services=ALL, until="completed")
    for words in (["list"], ["workflows", "--app", "app"], ["explain"], ["decode", "message.json"]):
        document = desk.document(*words)
        assert document["kind"].startswith("stamp.")
        assert document["version"] == 1


def test_help_of_the_whole_command_loads_no_command(desk: Desk) -> None:
    shown = desk.call("--help").stdout
    assert [name for name in COMMANDS if f"  {name} " not in shown] == []
    assert desk.call().exit_code == 2
    assert desk.call("nothing").exit_code == 2


def test_the_generated_pages_of_the_documentation_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    from docs.generate import stale

    for name in [name for name in os.environ if name.startswith("STAMP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(Path(__file__).parents[2])
    assert stale() == []
