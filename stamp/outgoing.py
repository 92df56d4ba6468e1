"""From decisions to messages: the next hop, a start, a retry. Only transport values are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from brokers.contract import Message, Publication
from stamp.codec import ATTEMPT, CARRIED, JSON, SIGNATURE, STAMP, TRACE_HEADERS, Codec, write_payload
from stamp.decision import Decision, Next
from stamp.layout import delay_exchange
from stamp.retry import rung
from stamp.workflow import Workflow

TRACE_LIMIT = 512
"""Characters of a trace header that are believed (W3C: a list member of `tracestate` has at most 256 and two keys)."""


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
    values = {name: message.headers.get(name) for name in TRACE_HEADERS}
    return {name: value for name, value in values.items() if isinstance(value, str) and len(value) <= TRACE_LIMIT}


def again(message: Message, queue: str, *, attempt: int, delay: float) -> Publication:
    """The same message once more after a pause: same id, same bytes, one attempt later."""
    headers = {name: value for name, value in message.headers.items() if name in CARRIED}
    return Publication(delay_exchange(rung(delay)), queue, replace(message, headers={**headers, ATTEMPT: attempt}))
