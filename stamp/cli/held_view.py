"""One held message as commands show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from stamp import parking
from stamp.cli import output
from stamp.cli.decode import print_reading
from stamp.codec import STAMP
from stamp.errors import StampError
from stamp.held import Held
from stamp.layout import undo_key
from stamp.model import Stamp
from stamp.reading.changes import ABSENT, Change, changes
from stamp.reading.describe import Flows, Reading, read
from stamp.reading.inputs import Specimen
from stamp.reading.standing import gone_past, last_good
from stamp.reading.text import json_text
from stamp.sighting import Sighting

SHOWN_BODY = 2000


@dataclass(frozen=True)
class Item:
    """A held message, with what its stamp says when it can be read."""

    service: str
    held: Held
    reading: Reading | None
    problem: str = ""

    @property
    def stamp(self) -> Stamp | None:
        """The stamp, as far as it could be read."""
        return self.reading.stamp if self.reading else None

    @property
    def message_id(self) -> str:
        return self.held.message.message_id

    @property
    def run(self) -> str:
        """The run, by the stamp or else by the correlation id; empty when both are missing."""
        return self.stamp.run if self.stamp else self.held.message.correlation_id or ""

    @property
    def workflow(self) -> str:
        return self.stamp.workflow if self.stamp else ""

    @property
    def step(self) -> str:
        """The step whose queue it came from, by the queue's name."""
        prefix = f"{self.service}.{self.workflow}."
        return self.held.queue.removeprefix(prefix) if self.held.queue.startswith(prefix) else ""

    @property
    def reason(self) -> str:
        return self.held.reason

    @property
    def at(self) -> float:
        """Epoch seconds; 0 when the broker parked it."""
        return self.held.at / 1000

    @property
    def exchange(self) -> str:
        """For what was unroutable: the exchange it was meant for."""
        return str(self.held.message.headers.get(parking.EXCHANGE, ""))

    @property
    def key(self) -> str:
        """The routing key that the stamp asks for; empty when nothing follows."""
        if self.stamp is None:
            return ""
        if self.stamp.phase == "backward":
            return undo_key(self.held.message.type.removeprefix("undo:"))
        return self.stamp.event if self.stamp.phase == "forward" else ""

    @cached_property
    def original(self) -> Any:
        """The message as it was before it was held."""
        try:
            return self.held.original()
        except (ValueError, KeyError, TypeError, msgspec.MsgspecError):
            return self.held.message

    def document(self) -> dict[str, Any]:
        """As plain values: what `stamp decode` reads too."""
        message = self.original
        return {
            "service": self.service,
            "message_id": self.message_id,
            "run": self.run,
            "workflow": self.workflow,
            "step": self.step,
            "reason": self.reason,
            "detail": self.held.detail,
            "error": self.held.error,
            "trace": self.held.trace.splitlines(),
            "at": self.at,
            "queue": self.held.queue,
            "problem": self.problem,
            "properties": {
                "message_id": message.message_id,
                "type": message.type,
                "correlation_id": message.correlation_id,
                "app_id": message.app_id,
                "timestamp": message.timestamp,
                "content_type": message.content_type,
                "headers": {name: _plain(value) for name, value in message.headers.items()},
            },
            "payload": message.body.decode(errors="backslashreplace"),
        }


@dataclass(frozen=True, slots=True)
class Past:
    """What the journal says about the run of a held message."""

    journal: bool
    good: Sighting | None = None
    """The last message of the run that was handled."""
    changed: tuple[Change, ...] = ()
    """From its state to the held one."""
    gone: str = ""
    """Where the run is now, when it has gone past the held message."""

    @classmethod
    def of(cls, item: Item, seen: Iterable[Sighting] | None) -> Past:
        """From the sightings of the run; `None` stands for no journal."""
        if seen is None or item.stamp is None:
            return cls(seen is not None)
        seen = list(seen)
        good = last_good(seen, item.stamp)
        changed = changes(good.stamp.state, item.stamp.state) if good else ()
        return cls(True, good, changed, gone_past(seen, item.stamp))

    def document(self) -> dict[str, Any]:
        """As plain values; `last_good` is null when none was seen."""
        good = self.good
        known = None if good is None else {"seq": good.stamp.seq, "event": good.stamp.event, "id": good.message_id}
        return {"last_good": known, "changes": [change.document() for change in self.changed], "done": self.gone}


def item_of(service: str, held: Held) -> Item:
    """What a held message says. Never raises: that it can't be read may be why it is held."""
    item = Item(service, held, None)
    value = item.original.headers.get(STAMP)
    text = value.encode(errors="surrogatepass") if isinstance(value, str) else b""
    properties = {
        "type": held.message.type,
        "message_id": held.message.message_id,
        "headers": {parking.REASON: held.reason, parking.DETAIL: held.detail},
    }
    try:
        return Item(service, held, read(Specimen(where=held.message.message_id, text=text, properties=properties)))
    except StampError as error:
        return Item(service, held, None, problem=str(error))


def _plain(value: object) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def print_item(item: Item, past: Past, flows: Flows) -> None:
    """Everything about one held message, for people."""
    output.table(
        ("", ""),
        [
            ("held", f"{item.reason}: {item.held.detail}" if item.held.detail else item.reason),
            ("service", item.service),
            ("queue", item.held.queue or f"none (unroutable on {item.exchange})"),
            *([("done", f"already: {past.gone}")] if past.gone else []),
        ],
    )
    if item.reading is not None:
        print_reading(item.reading, flows)
    else:
        output.table(("", ""), [("message", item.message_id), ("stamp", item.problem)])
    _print_past(past)
    _print_trace(item)
    document = item.document()
    _print_headers(document["properties"]["headers"])
    output.heading("BODY")
    body = document["payload"]
    output.table(("",), [(body[:SHOWN_BODY] + ("…" if len(body) > SHOWN_BODY else ""),)], indent=2)


def _print_past(past: Past) -> None:
    """The difference to the last good state, by path."""
    if past.good is None:
        output.heading(
            f"CHANGED  unknown ({'nothing of the run before it was seen' if past.journal else 'no journal'})"
        )
        return
    since = f"since seq {past.good.stamp.seq} ({past.good.stamp.event})"
    output.heading(f"CHANGED  {since}" if past.changed else f"CHANGED  nothing {since}")
    if past.changed:
        rows = [(change.path, _side(change.before), "→", _side(change.after)) for change in past.changed]
        output.table(("", "", "", ""), rows, indent=2)


def _side(value: object) -> str:
    return "absent" if value is ABSENT else json_text(value)


def _print_trace(item: Item) -> None:
    lines = item.held.trace.splitlines()
    if lines:
        output.heading("RAISED AT")
        output.table(("",), [(line,) for line in lines], indent=2)


def _print_headers(headers: Mapping[str, Any]) -> None:
    others = {name: value for name, value in headers.items() if name != STAMP}
    output.heading("HEADERS" if others else "HEADERS  none but the stamp")
    if others:
        output.table(("", ""), [(name, json_text(value)) for name, value in others.items()], indent=2)
