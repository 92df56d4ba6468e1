"""How deep a JSON text is nested, without parsing it: a parser would run out of stack on a nesting bomb."""

from __future__ import annotations

import itertools
import re

_SKELETON = bytes.maketrans(b"{}", b"[]")
_REST = bytes(byte for byte in range(256) if byte not in b'[]{}"')

# Possessive, and a string that never ends is one token too: linear in any input.
_STRING = re.compile(rb'"[^"]*+"?')


def depth_exceeds(text: bytes, limit: int) -> bool:
    """Whether arrays and objects nest more than `limit` levels (`[]` is one level). Linear, never raises.

    Exact for JSON; of a text that is not JSON it says True whenever a reader would get deeper before the error.
    """
    skeleton = text.translate(_SKELETON, _REST)
    openings = skeleton.count(b"[")
    if openings <= limit or openings - skeleton.count(b"][") <= limit:
        # Each `][` closes a level before it opens one, so it can't add any; in a string it is counted twice. It never
        # stands half in a string: there would be a quote between.
        return False
    return _deeper(_brackets(text), limit)


def _brackets(text: bytes) -> bytes:
    """The brackets outside strings, all written `[` and `]`.

    Without escapes, and with everything else gone, a string without brackets is `""`. If no quote is left when these
    pairs are removed, an even number of quotes stood before each bracket, so none of the brackets was in a string.
    """
    if b"\\" in text:
        # Backslashes come in runs that start unescaped, so pairs first; what is left escapes no quote.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    skeleton = text.translate(_SKELETON, _REST)
    kept = skeleton.replace(b'""', b"")
    return _STRING.sub(b"", skeleton) if b'"' in kept else kept


def _deeper(brackets: bytes, limit: int) -> bool:
    left = brackets
    for _ in range(limit):
        left = left.replace(b"[]", b"")  # the innermost level, everywhere at once
        if not left:
            return False
    return bool(left) and _deepest(brackets) > limit


def _deepest(brackets: bytes) -> int:
    """The highest number of brackets open at once: counted only for what is too deep or does not close."""
    opens = b"["[0]
    return max(itertools.accumulate(1 if bracket == opens else -1 for bracket in brackets))
