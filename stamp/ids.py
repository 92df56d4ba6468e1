"""Identities that are computed, never invented twice: a re-run of a hop produces the same ids."""

from __future__ import annotations

from uuid import UUID, uuid5


def run_id(now: float, entropy: bytes) -> str:
    """A UUIDv7 of the time `now` (epoch seconds) and at least 10 random bytes (RFC 9562, section 5.7)."""
    milliseconds = int(now * 1000) & 0xFFFF_FFFF_FFFF
    value = milliseconds << 80 | int.from_bytes(entropy[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form, so that it can be the namespace of the next id."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def first_message(run: str) -> str:
    """The id of a run's first message."""
    return str(uuid5(UUID(run), "start"))


def next_message(consumed: str, step: str, action: str, branch: str = "", n: int = 0) -> str:
    """The id of the n-th message that `action` (`do` or `undo`) of `step` emits for the message it consumed."""
    return str(uuid5(UUID(consumed), f"{step}|{action}|{branch}|{n}"))


def idempotency_key(run: str, step: str, action: str, branch: str = "", visit: int = 1) -> str:
    """The key that a handler gives to systems outside its database: the same over retries and re-deliveries."""
    return str(uuid5(UUID(run), f"{branch}|{step}|{action}|{visit}"))
