"""Text from outside made fit for a terminal, and secrets taken out of it."""

from __future__ import annotations

import re
from typing import Any

import msgspec

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PASSWORD = re.compile(r"(://[^\s:/@]*):(?:(?![A-Za-z][A-Za-z0-9+.-]*://)\S)*@")
_PARAMETER = re.compile(r"([?&](?:password|passwd|secret|token|sslpassword)=)[^&\s]+", re.IGNORECASE)


def safe(text: str) -> str:
    """One line that a terminal shows as it is: control characters, text direction marks and the like are escaped."""
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character in _NAMED:
        return _NAMED[character]
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"  # noqa: PLR2004


def masked(text: str) -> str:
    """The text with the passwords of all URLs in it replaced by `***`."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def json_text(value: Any, *, indent: int = 0) -> str:
    """JSON that a terminal shows as it is and that reads back as the same value."""
    text = msgspec.json.encode(value)
    if indent:
        text = msgspec.json.format(text, indent=indent)
    return _UNSAFE.sub(_json_escaped, text.decode())


def _json_escaped(found: re.Match[str]) -> str:
    # Line ends can only be the formatting's own: inside JSON strings they are escaped already.
    return "\n" if found[0] == "\n" else f"\\u{ord(found[0]):04x}"


def ago(seconds: float) -> str:
    """A length of time for people: `850 ms`, `12.3 s`, `5 min`, `3 h`, `2 d`."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    for unit, size, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "s" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
