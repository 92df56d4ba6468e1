"""From decisions to messages: the next hop, a start, a retry, a held record. Only transport values are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from brokers.contract import Message, Publication
from stamp.codec import ATTEMPT, JSON, SIGNATURE, STAMP, Codec, write_payload
from stamp.decision import Decision, Next
from stamp.layout import HELD, delay_exchange
from stamp.retry import rung
from stamp.workflow import Workflow

TRACE_HEADERS = ("traceparent", "tracestate")
CARRIED = frozenset({STAMP, SIGNATURE, ATTEMPT, *TRACE_HEADERS})
"""The headers that a re-send takes along; everything else belongs to somebody else's delivery."""

HELD_REASON = "stamp_held_reason"
HELD_DETAIL = "stamp_held_detail"
HELD_QUEUE = "stamp_held_queue"
HELD_EXCHANGE = "stamp_held_exchange"
HELD_KEY = "stamp_held_key"
HELD_AT = "stamp_held_at"
"""Epoch milliseconds."""
RELEASED = "released."
HELD_SERVICE = "stamp_held_service"
DETAIL_LIMIT = 2000


def publications(
    decision: Decision, workflow: Workflow, codec: Codec, *, service: str, now: float, trace: Mapping[str, str]
) -> list[Publication]:
    """The messages of a decision, encoded once. Raises `StampTooLarge` or `OutputInvalid`."""
    header = codec.encode(decision.stamp)
    return [
        Publication(
            workflow.name,
            message.routing_key,
            _message(message, decision, workflow, codec, header=header, service=service, now=now, trace=trace),
            message.mandatory,
        )
        for message in decision.messages
    ]


def _message(
    message: Next,
    decision: Decision,
    workflow: Workflow,
    codec: Codec,
    *,
    header: str,
    service: str,
    now: float,
    trace: Mapping[str, str],
) -> Message:
    body = b"{}" if message.event is None else write_payload(message.event, workflow)
    headers: dict[str, str | int] = {STAMP: header, ATTEMPT: 1, **trace}
    if workflow.signed:
        signature = codec.sign(message_id=message.message_id, type_=message.type, stamp=header, body=body)
        headers |= {SIGNATURE: signature} if signature else {}
    return Message(
        body=body,
        message_id=message.message_id,
        type=message.type,
        headers=headers,
        correlation_id=decision.stamp.run,
        app_id=service,
        timestamp=int(now),
        content_type=JSON,
    )


def trace_of(message: Message) -> dict[str, str]:
    """The W3C trace context that came with a message."""
    return {name: value for name in TRACE_HEADERS if isinstance(value := message.headers.get(name), str)}


def again(message: Message, queue: str, *, attempt: int, delay: float) -> Publication:
    """The same message once more after a pause: same id, same bytes, one attempt later."""
    headers = {name: value for name, value in message.headers.items() if name in CARRIED}
    return Publication(delay_exchange(rung(delay)), queue, replace(message, headers={**headers, ATTEMPT: attempt}))


def held(
    message: Message, *, service: str, reason: str, detail: str, now: float, origin: Mapping[str, str]
) -> Publication:
    """The message, whole, with a note why it is held. `origin` names the queue, or the exchange and key."""
    note: dict[str, Any] = {
        HELD_REASON: reason,
        HELD_DETAIL: detail[:DETAIL_LIMIT],
        HELD_SERVICE: service,
        HELD_AT: int(now * 1000),
        **origin,
    }
    scalars = {name: value for name, value in message.headers.items() if isinstance(value, str | int)}
    kept = {name: value for name, value in scalars.items() if not name.startswith(("x-", "stamp_held_"))}
    return Publication(HELD, service, replace(message, headers={**kept, **note}))


def released(message: Message, *, service: str, now: float) -> Publication:
    """A notice for the journal that a held message went on; no queue needs to want it."""
    kept = {name: value for name, value in message.headers.items() if name in CARRIED or name == HELD_REASON}
    note = {HELD_SERVICE: service, HELD_AT: int(now * 1000)}
    return Publication(HELD, f"{RELEASED}{service}", replace(message, headers={**kept, **note}), mandatory=False)
