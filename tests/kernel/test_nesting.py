"""The nesting guard against a scanner that does it the obvious way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp.nesting import depth_exceeds

HOSTILE = st.text(alphabet='[]{}"\\a,:é\n', max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=20,
)


def naive(text: bytes) -> int:
    """Byte by byte; outside strings, where JSON has no backslash, it escapes a quote all the same."""
    depth = deepest = 0
    inside = escaped = False
    for byte in text:
        char = chr(byte)
        inside ^= char == '"' and not escaped
        escaped = char == "\\" and not escaped
        if inside:
            continue
        if char in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "]}":
            depth -= 1
    return deepest


@settings(max_examples=300, deadline=None)
@given(value=VALUES, ascii_only=st.booleans(), limit=st.integers(0, 6))
def test_json_is_measured_exactly(value: object, ascii_only: bool, limit: int) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert depth_exceeds(text, limit) == (naive(text) > limit)


@settings(max_examples=500, deadline=None)
@given(text=st.text(alphabet='[]{}"\\a', max_size=60), limit=st.integers(0, 6))
def test_any_text_is_measured_like_the_scanner_does_it(text: str, limit: int) -> None:
    assert depth_exceeds(text.encode(), limit) == (naive(text.encode()) > limit)


@settings(max_examples=200, deadline=None)
@given(levels=st.integers(1, 60), limit=st.integers(1, 40), text=HOSTILE, objects=st.booleans())
def test_a_text_deeper_than_the_limit_is_never_called_fine(levels: int, limit: int, text: str, objects: bool) -> None:
    value: object = text
    for _ in range(levels):
        value = {text: value} if objects else [value, text]
    assert depth_exceeds(json.dumps(value).encode(), limit) == (levels > limit)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 60_000,
        b'"' * 60_001,
        b'["' + b'\\"' * 30_000,
        b"[" * 40 + b'"\\' * 30_000,
        b"]" * 30_000 + b"[" * 30_000,
        b'{"":' * 15_000,
        b"\\" * 60_001 + b"[" * 40,
    ],
    ids=lambda text: repr(text[:6]),
)
def test_a_text_made_to_be_slow_gets_an_answer(text: bytes) -> None:
    assert depth_exceeds(text, 32) == (naive(text) > 32)
