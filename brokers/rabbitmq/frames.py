"""A message as AMQP 0-9-1 frames: bytes made in one go, without the object a field that the library makes.

Written after the specification, section 4.2 (frames, field tables) and its errata for integers in tables.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING

from brokers.framesize import sendable_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brokers.contract import HeaderValue, Message, Publication

_FRAME = Struct(">BHI")
_PUBLISH = Struct(">HHH")
_ACK = Struct(">HHQ?")
_CONTENT = Struct(">HHQH")
_LENGTH = Struct(">I")
_INT = Struct(">ci")
_LONG = Struct(">cq")
_TIMESTAMP = Struct(">Q")
_END = b"\xce"
_OCTETS = [bytes((number,)) for number in range(256)]

_BASIC, _BASIC_PUBLISH, _BASIC_ACK = 60, 40, 80
_METHOD, _HEADER, _BODY = 1, 2, 3
_PERSISTENT = b"\x02"

_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 14, 1 << 13, 1 << 12
_CORRELATION_ID, _REPLY_TO, _MESSAGE_ID, _STAMP, _TYPE, _APP_ID = 1 << 10, 1 << 9, 1 << 7, 1 << 6, 1 << 5, 1 << 3


def frames(publication: Publication, channel: int, body_limit: int) -> bytes:
    """All frames of one publish on this channel: method, header and as many body frames as needed."""
    message = publication.message
    body = message.body
    parts = [
        _method(publication.exchange, publication.routing_key, publication.mandatory, channel),
        _frame(_HEADER, channel, header(message)),
    ]
    parts += [_frame(_BODY, channel, body[at : at + body_limit]) for at in range(0, len(body), body_limit)]
    return b"".join(parts)


def header(message: Message) -> bytes:
    """The payload of the content header frame."""
    # In the order that the specification sets.
    properties = (
        (_CONTENT_TYPE, _short(message.content_type)),
        (_CONTENT_ENCODING, _short(message.content_encoding)),
        (_HEADERS, _table(sendable_headers(message.headers))),
        (_DELIVERY_MODE, _PERSISTENT),
        (_CORRELATION_ID, _short(message.correlation_id)),
        (_REPLY_TO, _short(message.reply_to)),
        (_MESSAGE_ID, _short(message.message_id)),
        (_STAMP, b"" if message.timestamp is None else _TIMESTAMP.pack(message.timestamp)),
        (_TYPE, _short(message.type)),
        (_APP_ID, _short(message.app_id)),
    )
    flags = sum([flag for flag, value in properties if value])
    start = _CONTENT.pack(_BASIC, 0, len(message.body), flags)
    return b"".join([start, *[value for _, value in properties]])


@lru_cache(maxsize=4096)
def ack(channel: int, tag: int, *, multiple: bool) -> bytes:
    """The frame of a `basic.ack`."""
    return _frame(_METHOD, channel, _ACK.pack(_BASIC, _BASIC_ACK, tag, multiple))


def _method(exchange: str, routing_key: str, mandatory: bool, channel: int) -> bytes:
    payload = b"".join(
        (
            _PUBLISH.pack(_BASIC, _BASIC_PUBLISH, 0),
            _short(exchange) or b"\x00",
            _short(routing_key) or b"\x00",
            b"\x01" if mandatory else b"\x00",
        )
    )
    return _frame(_METHOD, channel, payload)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"".join((_FRAME.pack(kind, channel, len(payload)), payload, _END))


def _table(values: Mapping[str, HeaderValue]) -> bytes:
    parts = [b""]
    for name, value in values.items():
        parts.append(_short(name) or b"\x00")
        parts.append(_value(value))
    parts[0] = _LENGTH.pack(sum(map(len, parts)))
    return b"".join(parts)


def _value(value: HeaderValue) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        return b"S" + _LENGTH.pack(len(text)) + text
    if isinstance(value, bool):
        return b"t\x01" if value else b"t\x00"
    if -(2**31) <= value < 2**31:
        return _INT.pack(b"I", value)
    return _LONG.pack(b"l", value)


def _short(text: str | None) -> bytes:
    """A short string; nothing for no text, which is how a property is left out."""
    if not text:
        return b""
    raw = text.encode()
    return _OCTETS[len(raw)] + raw
