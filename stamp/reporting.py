"""Reports between bytes and values: what a service writes to the owner of a run, and what the owner reads. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from brokers.contract import Message
from stamp.codec import Codec, Versions, check_state, lifted, read_payload, served, write_payload
from stamp.errors import PayloadInvalid, StampInvalid
from stamp.model import Stamp, is_uuid
from stamp.window import as_seen
from stamp.workflow import Workflow

REPORT = "report:"
"""What the type of a report begins with; the step follows."""


class _Body(msgspec.Struct):
    events: list[msgspec.Raw] = []


@dataclass(frozen=True, slots=True)
class Report:
    """What a service says of a finished hop, checked."""

    workflow: Workflow
    step: str
    stamp: Stamp
    events: tuple[bytes, ...]
    """The payloads that the owner shall send on, each valid for the stamp's event."""


def is_report(message: Message) -> bool:
    """Whether a message only tells the owner of its run what a service did."""
    return message.type.startswith(REPORT)


def write_report(events: object, workflow: Workflow) -> bytes:
    """The body of a report. Raises `OutputInvalid` when a schema refuses one of its events."""
    if not isinstance(events, list):
        return b"{}"
    written = [msgspec.Raw(write_payload(event, workflow)) for event in events if event is not None]
    return msgspec.json.encode(_Body(written))


def read_report(message: Message, versions: Versions, codec: Codec) -> Report:
    """A report, with every check that an event would pass. Raises one of `stamp.errors.Theirs`."""
    stamp = codec.notice(message, versions)
    if not is_uuid(message.message_id) or not is_report(message):
        raise StampInvalid(f"{message.type[:80]!r} with id {message.message_id[:80]!r} is no report")
    workflow = served(stamp, versions)
    lifts = versions[max(versions)].upcasters
    written = stamp.version
    stamp = as_seen(lifted(stamp, workflow, lifts), workflow)
    check_state(stamp, workflow)
    events = [_event(payload, stamp, workflow, lifts, written) for payload in _events(message)]
    return Report(workflow, message.type.removeprefix(REPORT), stamp, tuple(events))


def _events(message: Message) -> list[Any]:
    body = read_payload(message)
    events = body.get("events", []) if isinstance(body, dict) else None
    if not isinstance(events, list):
        raise PayloadInvalid("not the body of a report", fix='{"events": [payload, …]}, or {}')
    return events


def _event(payload: Any, stamp: Stamp, workflow: Workflow, lifts: Any, written: int) -> bytes:
    if stamp.event not in workflow.contract.events:
        raise StampInvalid(f"{workflow.label} has no event {stamp.event[:80]!r}", fix="look at who published it")
    if written != workflow.version:
        payload = lifts.event(stamp.event, payload, written, workflow.version)
    checker = workflow.contract.event(stamp.event)
    if not checker.is_valid(payload):
        raise PayloadInvalid(f"{stamp.event} of {workflow.label}: {checker.explain(payload)}")
    return msgspec.json.encode(payload)
