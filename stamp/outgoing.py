"""From decisions to messages: the next hop, a start, a retry. Only transport values are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from brokers.contract import Message, Publication
from stamp.codec import ATTEMPT, CARRIED, JSON, SIGNATURE, STAMP, TRACE_HEADERS, Codec, write_payload, write_timer
from stamp.decision import Decision, Next
from stamp.layout import delay_exchange
from stamp.reporting import write_report
from stamp.retry import rung, rung_below
from stamp.workflow import Workflow

TRACE_LIMIT = 512
"""Characters of a trace header that are believed (W3C: a list member of `tracestate` has at most 256 and two keys)."""


def publications(
    decision: Decision,
    workflow: Workflow,
    codec: Codec,
    *,
    service: str,
    now: float,
    trace: Mapping[str, str],
    queue: str = "",
) -> list[Publication]:
    """The messages of a decision, encoded once; timers come back to `queue`.

    Raises `StampTooLarge` or `OutputInvalid`.
    """
    own, run = b"", decision.stamp.run
    found = []
    for message in decision.messages:
        if message.stamp is None:
            own = stamp = own or codec.written(decision.stamp)
        else:
            stamp = codec.written(message.stamp)
        sent = _message(message, workflow, codec, stamp=stamp, trace=trace, run=run, app_id=service, now=now)
        found.append(_routed(message, sent, workflow, queue=queue, now=now))
    return found


def _routed(message: Next, sent: Message, workflow: Workflow, *, queue: str, now: float) -> Publication:
    if message.timer is None:
        return Publication(workflow.name, message.routing_key, sent, message.mandatory)
    return wait(sent, message.routing_key or queue, left=message.timer.due / 1000 - now)


def _message(
    message: Next,
    workflow: Workflow,
    codec: Codec,
    *,
    stamp: bytes,
    trace: Mapping[str, str],
    run: str,
    app_id: str,
    now: float,
) -> Message:
    body = _body(message, workflow)
    headers: dict[str, str | int] = {STAMP: stamp.decode(), ATTEMPT: 1, **trace}
    if workflow.signed:
        signature = codec.sign(message_id=message.message_id, type_=message.type, stamp=stamp, body=body)
        if signature:
            headers[SIGNATURE] = signature
    return Message(
        body=body,
        message_id=message.message_id,
        type=message.type,
        headers=headers,
        correlation_id=run,
        app_id=app_id,
        timestamp=int(now),
        content_type=JSON,
    )


def _body(message: Next, workflow: Workflow) -> bytes:
    if message.timer is not None:
        return write_timer(message.timer)
    if message.kind == "report":
        return write_report(message.event, workflow)
    return b"{}" if message.event is None else write_payload(message.event, workflow)


def trace_of(message: Message) -> dict[str, str]:
    """The W3C trace context that came with a message."""
    values = {name: message.headers.get(name) for name in TRACE_HEADERS}
    return {name: value for name, value in values.items() if isinstance(value, str) and len(value) <= TRACE_LIMIT}


def again(message: Message, queue: str, *, attempt: int, delay: float) -> Publication:
    """The same message once more after a pause: same id, same bytes, one attempt later."""
    headers = {name: value for name, value in message.headers.items() if name in CARRIED}
    return Publication(delay_exchange(rung(delay)), queue, replace(message, headers={**headers, ATTEMPT: attempt}))


def resent(message: Message) -> Message:
    """The same message once more, without what belongs to its last delivery."""
    return replace(message, headers={name: value for name, value in message.headers.items() if name in CARRIED})


def wait(message: Message, queue: str, *, left: float) -> Publication:
    """A timer on its way: the same message, to come back to `queue` no later than `left` seconds from now."""
    return Publication(delay_exchange(rung_below(left)), queue, resent(message))
