"""Imports go down only: in functions and under TYPE_CHECKING too."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.layers import FREE, IMPURE_MODULES, OUTSIDE, PURE_ROWS, ROWS

ROOT = Path(__file__).parents[2]
ROW_OF = {module: row for row, modules in ROWS.items() for module in modules}
PACKAGES = ("stamp", "brokers")


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(part for part in parts if part != "__init__"), path


def line_of(module: str) -> str | None:
    """The line of the table that a module belongs to: its own, or that of the nearest package."""
    while module and module not in ROW_OF:
        module = module.rpartition(".")[0]
    return module or None


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (_resolved(node.module or "", alias.name) for alias in node.names)


def _resolved(module: str, name: str) -> str:
    inner = f"{module}.{name}"
    as_path = ROOT / Path(*inner.split("."))
    return inner if as_path.with_suffix(".py").exists() or (as_path / "__init__.py").exists() else module


ALL = list(modules())


@pytest.mark.parametrize(("module", "path"), ALL, ids=[name for name, _ in ALL])
def test_every_module_imports_downwards_or_sideways_only(module: str, path: Path) -> None:
    if module in FREE:
        return
    line = line_of(module)
    assert line is not None, f"{module} has no row: add it to tests/house/layers.py"
    wrong = []
    for name in imports(path):
        target = line_of(name) if name.split(".")[0] in PACKAGES else None
        if target is not None and ROW_OF[target] > ROW_OF[line]:
            wrong.append(f"{module} (row {ROW_OF[line]}) -> {name} (row {ROW_OF[target]})")
        if module.startswith("brokers") and name.split(".")[0] == "stamp":
            wrong.append(f"{module} -> {name}: brokers know nothing of stamps")
    assert wrong == []


@pytest.mark.parametrize(("module", "path"), ALL, ids=[name for name, _ in ALL])
def test_every_outside_package_is_imported_only_where_it_belongs(module: str, path: Path) -> None:
    for name in imports(path):
        root = name.split(".")[0]
        if root in PACKAGES or root in sys.stdlib_module_names:
            continue
        allowed = OUTSIDE.get(root, ())
        assert any(module == home or module.startswith(f"{home}.") for home in allowed), f"{module} imports {root}"


@pytest.mark.parametrize(("module", "path"), ALL, ids=[name for name, _ in ALL])
def test_the_kernel_has_no_clock_no_loop_and_no_dice(module: str, path: Path) -> None:
    line = line_of(module)
    if not module.startswith("stamp.") or line is None or ROW_OF[line] not in PURE_ROWS:
        return
    assert {name.split(".")[0] for name in imports(path)} & IMPURE_MODULES == set()


def test_there_are_no_import_cycles() -> None:
    names = {name for name, _ in ALL}
    graph = {name: {target for target in imports(path) if target in names and target != name} for name, path in ALL}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "cycle: " + " -> ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        for target in sorted(graph[name]):
            visit(target, (*trail, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())
