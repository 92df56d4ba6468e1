"""Every test that the guarantees name as their proof exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"
PROOF = re.compile(r"`((?:tests|stamp|brokers)/[\w/]+\.py)::(\w+)`", re.ASCII)


def functions(path: Path) -> set[str]:
    if not path.is_file():
        return set()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)}


def test_every_proof_that_is_named_exists() -> None:
    named = PROOF.findall(PAGE.read_text())
    assert len(named) > 30
    assert [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)] == []


def test_every_promise_in_the_table_has_a_proof() -> None:
    table = PAGE.read_text().partition("## The proof")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row for row in rows if not PROOF.search(row.split("|")[2])] == []
