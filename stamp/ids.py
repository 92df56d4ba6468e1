"""Identities that are computed, never invented twice: a re-run of a hop produces the same ids."""

from __future__ import annotations

from hashlib import sha1, sha256
from uuid import UUID

_BYTES = 16
_TIME = 13
"""How much of a UUIDv7 says when it was made: 48 bits in hexadecimal, and a hyphen."""
_VARIANT = {f"{digit:x}": f"{digit & 0x3 | 0x8:x}" for digit in range(16)}


def run_id(now: float, entropy: bytes) -> str:
    """A UUIDv7 of the time `now` (epoch seconds) and at least 10 random bytes (RFC 9562, section 5.7)."""
    milliseconds = int(now * 1000) & 0xFFFF_FFFF_FFFF
    value = milliseconds << 80 | int.from_bytes(entropy[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def child_run(started: float, visit: str, n: int) -> str:
    """The id of the n-th run that a visit of a step starts: the same whenever it is asked for.

    `visit` is the idempotency key of the step; `started` is the beginning of its own run (epoch seconds).
    """
    return run_id(started, sha256(f"{visit}|{n}".encode()).digest())


def _uuid5(namespace: str, name: str) -> str:
    """RFC 9562, section 5.5, as text: `uuid.uuid5` makes three objects on the way, and every hop needs one."""
    space = bytes.fromhex(namespace.replace("-", ""))
    if len(space) != _BYTES:
        raise ValueError(f"{namespace[:80]!r} is not a UUID")
    text = sha1(space + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def first_message(run: str) -> str:
    """The id of a run's first message."""
    return _uuid5(run, "start")


def next_message(consumed: str, step: str, action: str, branch: str = "", n: int = 0) -> str:
    """The id of the n-th message that `action` (`do` or `undo`) of `step` emits for the message it consumed."""
    return _uuid5(consumed, f"{step}|{action}|{branch}|{n}")


def inbox_key(run: str, message_id: str) -> str:
    """Under what an inbox remembers a message of a run: when the run began, then the message.

    Message ids are as good as thrown. With the time in front, the rows of runs that go on lie side by side, and none
    of their inserts touches a page that is full of runs which ended long ago.
    """
    return f"{run[:_TIME]}/{message_id}"


def watch_message(run: str) -> str:
    """The id of the timer that looks at a run's deadline whether it has ended."""
    return _uuid5(run, "watch")


def overdue_message(run: str) -> str:
    """The id of the notice that a run has not ended by its deadline, from its owner."""
    return _uuid5(run, "overdue")


def join_message(run: str, fork: str) -> str:
    """What stands for the consumed message when a join goes on: the same whichever branch came last."""
    return _uuid5(run, f"join|{fork}")


def command_message(run: str, branch: str, seq: int) -> str:
    """The id of an owner's command to undo the hop `seq` of a branch; -1 stands for the end of the way back."""
    return _uuid5(run, f"command|{branch}|{seq}")


def turn_message(run: str) -> str:
    """What stands for the consumed message when a run that has ended is taken back by the step that runs it."""
    return _uuid5(run, "turn")


def repaired_message(held: str, step: str, operation: str, content: str, branch: str = "") -> str:
    """The id that a repair by hand of a held message goes on from: the same when the same repair is repeated.

    `content` is a digest of what makes the repair this one.
    """
    return _uuid5(held, f"{step}|{operation}|{branch}|{content}")


def idempotency_key(run: str, step: str, action: str, branch: str = "", visit: int = 1) -> str:
    """The key that a handler gives to systems outside its database: the same over retries and re-deliveries."""
    return _uuid5(run, f"{branch}|{step}|{action}|{visit}")
