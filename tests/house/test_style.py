"""How the code reads, held by numbers: no long functions, no long files, nothing of this machine in the text."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "stamp").rglob("*.py"), *(ROOT / "brokers").rglob("*.py")])
LONGEST_FUNCTION = 40
LONGEST_FILE = 400


def _code_lines(node: ast.AST) -> int:
    """Lines of a function without its docstring and signature."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_forty_lines(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [node.name for node in functions if _code_lines(node) > LONGEST_FUNCTION] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_and_public_class_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    assert [node.name for node in classes if not ast.get_docstring(node)] == []


def test_the_error_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    import brokers.errors
    import stamp.errors

    for module in (stamp.errors, brokers.errors):
        drawing = {
            line.strip(" │├└─").split()[0].rstrip(":") for line in (module.__doc__ or "").splitlines() if "─ " in line
        }
        base = {"StampError", "BrokerError"}
        classes = {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__
        }
        assert drawing == classes - base


def test_every_error_code_is_used_once() -> None:
    import stamp.errors

    concrete = [
        value
        for value in vars(stamp.errors).values()
        if isinstance(value, type) and issubclass(value, stamp.errors.StampError) and "code" in vars(value)
    ]
    codes = [value.code for value in concrete]
    assert sorted(codes) == sorted(set(codes))


def test_the_project_names_no_path_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    places = ("/" + "work/", "/" + "root/", "/" + "tmp/" + "bash_jobs")
    found = []
    for name in filter(None, listed):
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".sh", ".json", ".yml", ""}:
            text = path.read_text(errors="replace")
            found += [f"{name}: {place}" for place in places if place in text]
    assert found == []
