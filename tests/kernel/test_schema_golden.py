"""The golden files: locked byte by byte, each with its verdict, and both validators agree on them and near them."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp.evolution import too_new
from stamp.nesting import depth_exceeds
from stamp.resources import schemas
from stamp.schema import entry_checker, header_checker, stamp_checker

GOLDEN = schemas() / "golden"
LOCK = GOLDEN / "lock.json"
VALID = sorted((GOLDEN / "valid").glob("*.json"))
INVALID = sorted((GOLDEN / "invalid").glob("*.json"))
STAMPS = [json.loads(path.read_text("utf-8")) for path in VALID]
REFERENCE = jsonschema.Draft202012Validator(stamp_checker().schema)


def name(path: Path) -> str:
    return path.stem


def digests() -> dict[str, str]:
    files = [schemas() / "stamp" / "1.json", *sorted(GOLDEN.glob("*/*.json"))]
    return {
        str(path.relative_to(schemas()).as_posix()): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def reason(text: bytes) -> str | None:
    """The verdict on a header value, in the order in which a reader must look."""
    try:
        stamp = None if depth_exceeds(text, 32) else msgspec.json.decode(text)
    except msgspec.DecodeError:
        stamp = None
    if not isinstance(stamp, dict):
        return "unreadable"
    if too_new(stamp, own="1.0"):
        return "too-new"
    return None if stamp_checker().is_valid(stamp) else "invalid"


def test_no_golden_file_has_changed() -> None:
    assert json.loads(LOCK.read_text("utf-8")) == digests()


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_golden_stamp_is_accepted(path: Path) -> None:
    assert reason(path.read_bytes()) is None


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_golden_stamp_is_held_for_the_reason_in_its_name(path: Path) -> None:
    assert reason(path.read_bytes()) == path.stem.partition("--")[0]


@pytest.mark.parametrize("path", [*VALID, *(path for path in INVALID if path.stem.startswith("invalid"))], ids=name)
def test_the_reference_validator_comes_to_the_same_verdict(path: Path) -> None:
    stamp = json.loads(path.read_text("utf-8"))
    assert REFERENCE.is_valid(stamp) == stamp_checker().is_valid(stamp)


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_the_words_for_an_invalid_golden_stamp_name_a_path_and_are_short(path: Path) -> None:
    if path.stem.startswith("invalid"):
        words = stamp_checker().explain(json.loads(path.read_text("utf-8")))
        assert words.startswith("$")
        assert "refused by the schema" not in words
        assert len(words) < 800


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_golden_stamp_is_the_compact_text_that_travels(path: Path) -> None:
    text = path.read_text("utf-8").removesuffix("\n")
    assert json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":")) == text


def test_a_plain_entry_takes_at_most_110_bytes() -> None:
    plain = json.loads((GOLDEN / "valid" / "plain-8.json").read_text("utf-8"))["history"]
    required = [{key: entry[key] for key in ("seq", "step", "service", "at", "outcome")} for entry in plain]
    assert max(len(msgspec.json.encode(entry)) for entry in required) <= 110


def test_the_header_check_leaves_the_entries_to_the_entry_check() -> None:
    stamp = json.loads((GOLDEN / "invalid" / "invalid--entry-outcome.json").read_text("utf-8"))
    assert header_checker().is_valid(stamp)
    assert not entry_checker().is_valid(stamp["history"][-1])


def test_the_schema_refers_to_nothing_outside_itself() -> None:
    text = json.dumps(stamp_checker().schema)
    assert text.count('"$ref"') == text.count('"$ref": "#/$defs/')
    assert '"format"' not in text


Path_ = tuple[str | int, ...]


def places(value: Any, path: Path_ = ()) -> list[Path_]:
    below: list[Path_] = []
    if isinstance(value, dict):
        below = [place for key, item in value.items() for place in places(item, (*path, key))]
    if isinstance(value, list):
        below = [
            place
            for index, item in enumerate(value[-2:], max(0, len(value) - 2))
            for place in places(item, (*path, index))
        ]
    return [path, *below]


def other_script(text: str) -> str:
    return text.translate({ord("0") + digit: 0x0660 + digit for digit in range(10)})


STRANGE = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        1.0,
        1.5,
        -0.0,
        1e300,
        2**53 - 1,
        2**53,
        2**64,
        -(10**30),
        "",
        "\n",
        [],
        {},
        [None],
        {"a": None},
    ]
)
ENDINGS = st.sampled_from(["\n", "\r", "\r\n", "\u2028", "\u0000", "\u0301", " "]).map(
    lambda end: lambda text: text + end
)
SPELLINGS = ENDINGS | st.sampled_from(
    [other_script, str.upper, str.lower, lambda text: "\n" + text, lambda text: text[:-1], lambda text: text * 20]
)


@st.composite
def mutants(draw: st.DrawFn) -> Any:
    """A golden stamp with one to three members dropped, replaced, or spelt otherwise."""
    stamp = copy.deepcopy(draw(st.sampled_from(STAMPS)))
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from([place for place in places(stamp) if place] or [("stamp",)]))
        parent = stamp
        for step in path:
            parent = parent[step]
        mutate(draw, parent, last)
    return stamp


def mutate(draw: st.DrawFn, parent: Any, last: Any) -> None:
    how = draw(st.sampled_from(["drop", "strange", "text"]))
    if how == "drop":
        parent.pop(last, None) if isinstance(parent, dict) else parent.pop(last)
    elif how == "text" and isinstance(parent[last] if isinstance(parent, list) else parent.get(last), str):
        parent[last] = draw(SPELLINGS)(parent[last])
    else:
        parent[last] = copy.deepcopy(draw(STRANGE))


@settings(max_examples=500, deadline=None)
@given(stamp=mutants())
def test_both_validators_agree_on_stamps_that_are_nearly_golden(stamp: Any) -> None:
    assert stamp_checker().is_valid(stamp) == REFERENCE.is_valid(stamp)


@settings(max_examples=100, deadline=None)
@given(stamp=mutants())
def test_a_refused_stamp_is_always_explained(stamp: Any) -> None:
    if not stamp_checker().is_valid(stamp):
        assert "refused by the schema" not in stamp_checker().explain(stamp)


def write_lock() -> None:
    locked = json.loads(LOCK.read_text("utf-8")) if LOCK.exists() else {}
    now = digests()
    changed = [path for path, digest in locked.items() if now.get(path) != digest]
    if changed:
        sys.exit(
            f"error: locked files differ: {', '.join(changed)}\nfix: put them back; only a new major starts a new lock"
        )
    LOCK.write_text(json.dumps(now, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    write_lock()
