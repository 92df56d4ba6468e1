"""Held messages as they lie in the held queue: the original, whole, with a note why it is there.

What a publisher can't send as a header again (tables, bytes, `CC`), or what would no longer fit in a frame next to
the note, moves into the body; `unpark` puts everything back where it was.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec

from brokers.contract import Message, Publication
from brokers.framesize import refusal
from stamp.codec import ATTEMPT, CARRIED, STAMP
from stamp.layout import HELD, RELEASED

REASON = "stamp_held_reason"
DETAIL = "stamp_held_detail"
SERVICE = "stamp_held_service"
AT = "stamp_held_at"
"""Epoch milliseconds."""
QUEUE = "stamp_held_queue"
"""The work queue it came from; absent when it never reached one."""
EXCHANGE = "stamp_held_exchange"
KEY = "stamp_held_key"
TRACE = "stamp_held_trace"
"""Where in the code the handler's exception came from: frames alone, no values. Absent when no handler raised."""
DETAIL_LIMIT = 2000
TRACE_LIMIT = 2048
"""Bytes."""
ENVELOPE = "application/vnd.stamp.held+json"
"""Content type of a held message whose headers had to move into the body."""

_OWN = (REASON, DETAIL, SERVICE, AT, QUEUE, EXCHANGE, KEY, TRACE)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def park(
    message: Message, *, service: str, reason: str, detail: str, now: float, origin: Mapping[str, str], trace: str = ""
) -> Publication:
    """The publication that holds a message. `origin` names its `QUEUE`, or its `EXCHANGE` and `KEY`. Always fits.

    `trace` is kept up to `TRACE_LIMIT` bytes, from its end.
    """
    note: dict[str, Any] = {
        REASON: reason,
        DETAIL: _printable(detail),
        SERVICE: service,
        AT: int(now * 1000),
        **origin,
    }
    if trace:
        note[TRACE] = trace.encode(errors="replace")[-TRACE_LIMIT:].decode(errors="ignore")
    headers = {name: value for name, value in message.headers.items() if not name.startswith("x-") and name not in _OWN}
    own = {name: value for name, value in headers.items() if name in CARRIED and isinstance(value, str | int)}
    bare = {name: value for name, value in own.items() if name != STAMP}
    body = _envelope(message, headers)
    boxed = replace(message, body=body, content_type=ENVELOPE, message_id=message.message_id or _stand_in(body))
    forms = (
        replace(message, headers={**headers, **note}),
        replace(boxed, headers={**own, **note}),
        replace(boxed, headers={**bare, **note}),
    )
    return next(form for form in (Publication(HELD, service, form) for form in forms) if refusal(form) is None)


def unpark(message: Message) -> Message:
    """The message as it was before it was held: same bytes, without the note, counted from its first attempt."""
    headers = {name: value for name, value in message.headers.items() if not name.startswith("x-")}
    if message.content_type == ENVELOPE:
        parcel = _decode(message.body)
        headers = {**headers, **{name: _opened(value) for name, value in parcel["headers"].items()}}
        message = replace(
            message,
            body=b64decode(parcel["body"]),
            content_type=parcel["content_type"],
            message_id=parcel["message_id"],
        )
    kept = {name: value for name, value in headers.items() if name not in _OWN and name != ATTEMPT}
    return replace(message, headers=kept)


def sendable(message: Message) -> Message:
    """The message with the headers that can be published again; tables and bytes stay with the held record."""
    return replace(message, headers={name: value for name, value in message.headers.items() if _plain(value)})


def released(message: Message, *, service: str, now: float, note: str = "") -> Publication:
    """A notice for the journal that a held message went on, and why; no queue needs to want it."""
    kept = {name: value for name, value in message.headers.items() if name in CARRIED or name == REASON}
    why = {DETAIL: _printable(note)} if note else {}
    notice = replace(
        message,
        headers={**kept, SERVICE: service, AT: int(now * 1000), **why},
        body=b"",
        content_type=None,
    )
    return Publication(HELD, f"{RELEASED}{service}", notice, mandatory=False)


def _plain(value: object) -> bool:
    return isinstance(value, str | int)


def _stand_in(body: bytes) -> str:
    """The id of a held message that came without one: AMQP clients would invent another at every sending."""
    return str(uuid5(NAMESPACE_OID, sha256(body).hexdigest()))


def _printable(detail: str) -> str:
    return detail[:DETAIL_LIMIT].encode(errors="replace").decode()


def _envelope(message: Message, headers: Mapping[str, Any]) -> bytes:
    parcel = {
        "headers": {_printable(name): _wrapped(value) for name, value in headers.items()},
        "body": b64encode(message.body).decode(),
        "content_type": message.content_type,
        "message_id": message.message_id,
    }
    return _encode(parcel)


def _wrapped(value: Any) -> Any:
    """A header value as JSON; bytes and texts without UTF-8 as base64, what JSON has no form for as its text."""
    match value:
        case bytes() | bytearray():
            return {"$bytes": b64encode(bytes(value)).decode()}
        case Mapping():
            return {"$table": {_printable(str(name)): _wrapped(inner) for name, inner in value.items()}}
        case list() | tuple():
            return [_wrapped(inner) for inner in value]
        case str():
            return _text(value)
        case int() | float() | None:
            return value
        case _:
            return _printable(value.isoformat() if isinstance(value, datetime) else str(value))


def _text(text: str) -> str | dict[str, str]:
    """The text, or as base64 where it has no form in UTF-8: JSON writers refuse lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"$text": b64encode(text.encode(errors="surrogatepass")).decode()}
    return text


def _opened(value: Any) -> Any:
    match value:
        case {"$bytes": str(text)}:
            return b64decode(text)
        case {"$text": str(text)}:
            return b64decode(text).decode(errors="surrogatepass")
        case {"$table": dict(table)}:
            return {name: _opened(inner) for name, inner in table.items()}
        case list():
            return [_opened(inner) for inner in value]
        case _:
            return value
