"""The state stamp as values: what travels, what a step's history entry holds, and the words of a handler."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

import msgspec

FORMAT = "1.0"
"""The format version that this library writes: `major.minor`."""

Phase = Literal["forward", "backward", "completed", "compensated", "failed"]
Outcome = Literal["ok", "failed", "skipped", "timeout", "undone"]
Action = Literal["do", "undo"]

ENDED: frozenset[str] = frozenset({"completed", "compensated", "failed"})
"""The phases after which a run does not move any more."""

_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form, so that it can be the namespace of the next id."""
    return _CANONICAL.fullmatch(text) is not None


class Fail(Exception):  # noqa: N818  a word of the handler, not an error of ours
    """A business failure: this step can't be done, the run goes backward. Nothing is retried.

    `undo_me=True` says that the step was partly done, so that its own undo runs as well.
    """

    def __init__(self, reason: str, *, undo_me: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.undo_me = undo_me


class RetryLater(Exception):  # noqa: N818
    """Not now: try this delivery again, `after` a length of time (`"30s"`, seconds) or by the step's policy.

    Bounded by the step's retry policy like any failure.
    """

    def __init__(self, reason: str, *, after: str | float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished hop. A view: unknown members of an entry live on in the stamp's own text."""

    seq: int
    step: str
    service: str
    at: str
    """RFC 3339, UTC."""
    outcome: str
    branch: str | None = None
    ms: int | None = None
    """How long the handler took, in milliseconds."""
    attempt: int = 1
    visit: int = 1
    emits: str | None = None
    undo: bool = False
    """This step can be undone."""
    keep: dict[str, Any] | None = None
    """What its undo needs, by value; at most 1 KiB."""
    pivot: bool = False
    undoes: int | None = None
    """The `seq` of the entry that this one settles."""
    message: str | None = None
    by: str | None = None
    """Who did this by hand, in an entry that an operator wrote."""
    why: str | None = None
    """The operator's reason."""


_TRAIL = msgspec.json.Decoder(list[Entry])
_ENTRY = msgspec.json.Decoder(Entry)
_RAW_TRAIL = msgspec.json.Decoder(list[msgspec.Raw])
_ANY = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode


class Stamp:
    """The versioned state of one run. Immutable: every change returns a new stamp.

    `values` is every member but `history`, decoded; members that this version does not know included. `trail` is
    the history as the JSON text it came in: it is read only when somebody asks, so a hop does not pay for
    the hops before it, and what a middle service does not know is carried on byte for byte.
    """

    def __init__(
        self, values: Mapping[str, Any], trail: bytes | None, entries: list[msgspec.Raw] | None = None
    ) -> None:
        self.values = values
        self.trail = trail
        self._entries = entries

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stamp) and self.values == other.values and self._plain() == other._plain()

    def __hash__(self) -> int:
        return hash((self.run, self.seq, self.phase))

    def __repr__(self) -> str:
        return f"<Stamp {self.workflow} {self.run} seq={self.seq} {self.phase} {self.event}>"

    def _plain(self) -> Any:
        return None if self.trail is None else _ANY.decode(self.trail)

    @property
    def format(self) -> str:
        return str(self.values["stamp"])

    @property
    def workflow(self) -> str:
        return str(self.values["workflow"])

    @property
    def version(self) -> int:
        return int(self.values["version"])

    @property
    def run(self) -> str:
        return str(self.values["run"])

    @property
    def phase(self) -> str:
        return str(self.values["phase"])

    @property
    def event(self) -> str:
        return str(self.values["event"])

    @property
    def seq(self) -> int:
        return int(self.values["seq"])

    @property
    def started(self) -> str:
        return str(self.values["started"])

    @property
    def deadline(self) -> str | None:
        return self.values.get("deadline")

    @property
    def branch(self) -> str | None:
        return self.values.get("branch")

    @property
    def owner(self) -> str | None:
        return self.values.get("owner")

    @property
    def parent(self) -> Mapping[str, Any] | None:
        """Whose child the run is: `run`, `workflow` and `step`, and the other run's `deadline`. For people to read."""
        return self.values.get("parent")

    @property
    def past(self) -> Mapping[str, Any]:
        """What a step must know of a history that does not travel: `last`, `visits`, `pivot`. Empty in stamp style."""
        return self.values.get("past") or {}

    @property
    def state(self) -> dict[str, Any]:
        """The workflow's own data, as plain values. Treat it as read-only."""
        state: dict[str, Any] = self.values["state"]
        return state

    @property
    def error(self) -> dict[str, Any] | None:
        return self.values.get("error")

    @property
    def trace(self) -> str | None:
        return self.values.get("trace")

    @cached_property
    def history(self) -> tuple[Entry, ...]:
        """The finished hops that still travel, oldest first; those folded into `base` are counted there."""
        return () if self.trail is None else tuple(_TRAIL.decode(self.trail))

    @property
    def folded(self) -> int:
        """How many finished hops were folded away into `base`."""
        base = self.values.get("base")
        return int(base["count"]) if base else 0

    def raw_history(self) -> list[msgspec.Raw]:
        """The entries as the JSON texts they travel in."""
        if self._entries is None:
            self._entries = [] if self.trail is None else _RAW_TRAIL.decode(self.trail)
        return self._entries

    def last_entry(self) -> dict[str, Any] | None:
        """The newest entry, decoded; `None` before the first hop."""
        entries = self.raw_history()
        if not entries:
            return None
        entry: dict[str, Any] = _ANY.decode(entries[-1])
        return entry

    def entries(self, count: int) -> Iterator[Entry]:
        """The oldest `count` entries, each decoded when its turn comes."""
        return map(_ENTRY.decode, self.raw_history()[:count])

    def having(self, changes: Mapping[str, Any], *, without: Iterable[str] = ()) -> Stamp:
        """This stamp with members set and others left out; the history stays."""
        values = {**self.values, **changes}
        for name in without:
            values.pop(name, None)
        return Stamp(values, self.trail, self._entries)

    def appended(self, entry: Entry, changes: Mapping[str, Any]) -> Stamp:
        """This stamp with one more finished hop, and members set in the same stroke."""
        values = {**self.values, "seq": entry.seq, **changes}
        if self.trail is None:
            return Stamp(values, None)
        text = _encode(entry)
        earlier = self.trail.strip()[1:-1].strip()
        trail = b"[%b,%b]" % (earlier, text) if earlier else b"[%b]" % text
        known = self._entries
        return Stamp(values, trail, None if known is None else [*known, msgspec.Raw(text)])

    def with_trail(self, entries: Iterable[msgspec.Raw], changes: Mapping[str, Any]) -> Stamp:
        """This stamp with another history (folding, merging) and members set."""
        found = list(entries)
        return Stamp({**self.values, **changes}, b"[%b]" % b",".join(found), found)

    def to_json(self) -> bytes:
        """The stamp as it travels: compact UTF-8 JSON, history last."""
        if self.trail is None:
            return _encode(self.values)
        return _encode({**self.values, "history": msgspec.Raw(self.trail)})

    def to_dict(self) -> dict[str, Any]:
        """The stamp as one plain dict, history included: for tools, not for the road of a hop."""
        document: dict[str, Any] = _ANY.decode(self.to_json())
        return document


def timestamp(now: float) -> str:
    """Epoch seconds as the stamp writes them: RFC 3339 in UTC, to the millisecond."""
    second, millisecond = divmod(int(now * 1000), 1000)
    return f"{_to_the_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=8)
def _to_the_second(second: int) -> str:
    """Hops of one second share this text: a calendar costs more than a whole history entry."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def epoch(text: str) -> float:
    """The epoch seconds of a timestamp in a stamp."""
    return datetime.fromisoformat(text).timestamp()


def encoded_size(value: object) -> int:
    """Bytes of `value` as compact JSON."""
    return len(_encode(value))
