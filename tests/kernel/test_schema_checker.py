"""A verdict is quick and never raises; the words behind it are few, short and point at the place."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stamp.schema
from stamp.errors import BadConfiguration
from stamp.resources import examples, schemas
from stamp.schema import Checker, header_checker

PERSON = {
    "type": "object",
    "required": ["name", "age"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]", "minLength": 2, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 200},
        "pets": {"type": "array", "items": {"type": "object", "required": ["kind"]}},
        "colour": {"enum": ["red", "green"]},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}, {"$ref": "#/$defs/Note"}]},
        "line": {"type": "string", "not": {"pattern": "\n"}},
    },
    "$defs": {"Note": {"type": "object", "properties": {"text": {}}, "additionalProperties": False}},
}
ADA: dict[str, Any] = {"name": "Ada", "age": 36}


def explain(**changes: Any) -> str:
    return Checker(PERSON).explain({**ADA, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age": "36"}, '$.age: expected integer, got "36"'),
        ({"age": -1}, "$.age: expected at least 0, got -1"),
        ({"age": 201}, "$.age: expected at most 200, got 201"),
        ({"name": "ada"}, '$.name: expected text like ^[A-Z], got "ada"'),
        ({"name": "A"}, '$.name: expected at least 2 characters, got "A"'),
        ({"pets": [{"kind": "cat"}, {"kin": 1}]}, "$.pets[1]: 'kind' is a required property, got an object with kin"),
        ({"colour": "blue"}, '$.colour: expected one of "red", "green", got "blue"'),
        ({"note": 1}, "$.note: expected string or null or Note, got 1"),
        ({"line": "a\n"}, '$.line: a character or form that is not allowed here, got "a\\n"'),
        ({"pets": {}}, "$.pets: expected array, got an empty object"),
        ({"name": ["x"]}, "$.name: expected string, got an array of 1"),
    ],
)
def test_a_problem_is_told_with_its_path_and_what_was_expected(changes: dict[str, Any], words: str) -> None:
    assert explain(**changes) == words


def test_an_undeclared_member_is_named() -> None:
    closed = Checker({"properties": {"a": {}}, "additionalProperties": False})
    assert closed.explain({"a": 1, "b": 2}) == "$: undeclared member b, got an object with a, b"


def test_a_long_value_is_cut_and_the_instance_is_never_shown() -> None:
    words = explain(age="x" * 10_000, secret="y" * 10_000)
    assert len(words) < 160
    assert "y" not in words.replace("got", "")


def test_at_most_three_problems_are_told() -> None:
    words = explain(name=1, age="a", colour="b", pets=3, line=4)
    assert words.count("expected") == 3
    assert words.endswith("; and 2 more")


@pytest.mark.parametrize(
    "instance", [b"bytes", {1: "key"}, {"name": "\ud800", "age": 1}, {"name": {1, 2}, "age": 1}], ids=repr
)
def test_what_json_cannot_express_is_invalid_and_said_so(instance: Any) -> None:
    assert not Checker(PERSON).is_valid(instance)
    assert Checker(PERSON).explain(instance).startswith("$")


def test_an_endless_structure_is_explained_without_an_overflow() -> None:
    endless: dict[str, Any] = {}
    endless["self"] = endless
    assert Checker({"type": "array"}).explain(endless).startswith("$: not expressible in JSON")


def test_nothing_is_fetched_for_a_reference_to_elsewhere() -> None:
    with pytest.raises(BadConfiguration, match="can't be used"):
        Checker({"$ref": "http://127.0.0.1:9/other.json"}).is_valid({})


def test_members_unknown_to_the_format_pass_the_header_check() -> None:
    stamp = {"stamp": "1.3", "workflow": "W", "version": 1, "run": "01936f3e-8d2a-7abc-8def-0123456789ab"}
    stamp |= {"started": "2026-11-23T10:00:00Z", "phase": "forward", "event": "E", "seq": 0, "state": {}}  # type: ignore[dict-item]
    assert header_checker().is_valid({**stamp, "later": {"deep": [None]}})


def test_importing_the_package_loads_neither_validator() -> None:
    code = (
        "import sys, stamp.schema; print([name for name in sys.modules if name.split('.')[0].startswith('jsonschema')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_the_schema_package_imports_a_validator() -> None:
    package = Path(stamp.schema.__file__).parent
    others = [path for path in package.parent.rglob("*.py") if package not in path.parents]
    assert [path for path in others if "import jsonschema" in path.read_text("utf-8")] == []


def test_schemas_and_examples_lie_where_resources_says() -> None:
    assert (schemas() / "stamp" / "1.json").is_file()
    assert examples().is_dir()


def test_a_wheel_finds_the_folders_beside_its_modules(tmp_path: Path) -> None:
    package = tmp_path / "stamp"
    (package / "schemas").mkdir(parents=True)
    source = Path(stamp.schema.__file__).parent.parent / "resources.py"
    (package / "resources.py").write_text(source.read_text("utf-8"), "utf-8")
    code = "import resources; print(resources.schemas(), resources.examples())"
    done = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str((package / "schemas").resolve()), str((tmp_path / "examples").resolve())]
