"""One set of handlers for every owner of the state: what they may not touch, and how a style is chosen."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from common.databases import Databases, PostgresServer, SQLiteFiles
from common.styles import VARIABLE, chosen, with_owner

from stamp import FrontController, Orchestrator, Service, Stamped, Stateless, Step, Workflow
from stamp.errors import BadConfiguration
from stamp.resources import examples
from stamp.style import Style

FILES = sorted(path for name in ("tickets", "orders", "existing_consumer") for path in (examples() / name).glob("*.py"))
STYLES = [Stamped(), FrontController("shop"), Orchestrator("shop-desk"), Stateless()]
OWNED = [style for style in STYLES if style.owner]
OWNERLESS = [style for style in STYLES if not style.owner]


def name(style: Style) -> str:
    return style.name


class Asked(msgspec.Struct): ...


def workflow(style: Style) -> Workflow:
    return Workflow("ASK", version=1, start=Asked, style=style, steps=[Step("answer", service="shop", on=Asked)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_handler_touches_state_or_history_because_they_do_not_travel_in_every_style(path: Path) -> None:
    touched = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    assert [f"line {node.lineno}" for node in touched if node.attr in {"state", "history"}] == []


@pytest.mark.parametrize("style", STYLES, ids=name)
def test_a_style_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch, style: Style) -> None:
    monkeypatch.setenv(VARIABLE, style.name)
    assert chosen(controller="shop", desk="shop-desk") == style


@pytest.mark.parametrize("value", [None, ""])
def test_the_stamp_owns_the_state_where_no_style_is_named(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert chosen(controller="shop", desk="shop-desk") == Stamped()


def test_a_style_that_does_not_exist_is_refused_with_those_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "stamped")
    known = ", ".join(style.name for style in STYLES)
    with pytest.raises(BadConfiguration, match=rf"stamped names no style .fix: one of: {known}"):
        chosen(controller="shop", desk="shop-desk")


@pytest.mark.parametrize("style", OWNERLESS, ids=name)
def test_without_an_owner_the_services_stay_as_they_are(style: Style) -> None:
    shop = Service("shop")
    assert with_owner({"shop": shop}, workflow(style)) == {"shop": shop}


@pytest.mark.parametrize("style", OWNED, ids=name)
def test_the_owner_is_among_the_services_and_knows_the_workflow(
    monkeypatch: pytest.MonkeyPatch, style: FrontController | Orchestrator
) -> None:
    owners: list[tuple[str, Workflow]] = []
    monkeypatch.setattr(Service, "owns", lambda self, flow: owners.append((self.name, flow)), raising=False)
    flow, shop = workflow(style), Service("shop")
    services = with_owner({"shop": shop}, flow)
    assert owners == [(style.owner, flow)]
    assert services["shop"] is shop
    assert list(services) == list(dict.fromkeys(["shop", style.owner]))


def test_an_owner_without_tables_has_a_sqlite_database(tmp_path: Path) -> None:
    assert asyncio.run(_asked(SQLiteFiles(tmp_path))) == [(1,)]


def test_an_owner_without_tables_has_a_postgres_database(postgres: str) -> None:
    assert asyncio.run(_asked(PostgresServer(postgres, "styles"))) == [(1,)]


async def _asked(databases: Databases) -> list[tuple[Any, ...]]:
    tables = {"shop-desk": ""}
    await databases.prepare(tables)
    try:
        return await databases.ask("shop-desk", "SELECT 1")
    finally:
        await databases.clear(tables)


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        ([], {}, "stamp"),
        ([], {VARIABLE: "stateless"}, "stateless"),
        (["--style", "stamp"], {VARIABLE: "stateless"}, "stamp"),
        (["--style", "stateless"], {}, "stateless"),
    ],
    ids=["default", "variable", "option before variable", "option"],
)
def test_the_demo_chooses_the_style_before_the_workflow_is_defined(
    tmp_path: Path, given: list[str], variable: dict[str, str], expected: str
) -> None:
    told = _demo(tmp_path, *given, **variable)
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"{expected}\n"


def test_the_demo_refuses_a_style_that_does_not_exist(tmp_path: Path) -> None:
    told = _demo(tmp_path, "--style", "stamped")
    assert told.returncode == 2
    assert "'stamped' is not one of 'stamp', 'front-controller', 'orchestrator', 'stateless', 'mixed'" in told.stderr


CODE = """
import sys
from stamp.cli import demo

def play(example, *_, **__):
    print(example.workflow.style.name)
    sys.exit()

demo._play = play
demo.demo(sys.argv[1:])
"""
"""The demo up to where it would begin to play."""


def _demo(tmp_path: Path, *given: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", CODE, *given],
        cwd=tmp_path,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
