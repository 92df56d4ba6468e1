"""What AMQP 0-9-1 frames of a delivery or a confirm say, read in one go. The other way: `brokers.rabbitmq.frames`.

Reads what publishers usually send. What is unusual (nested tables, dates, floats in headers) raises `UnusualError`, and
the library reads it.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error
from typing import Any, Literal

Values = dict[str, Any]
Delivery = tuple[int, str, str, bool]

DELIVER = b"\x00\x3c\x00\x3c"
"""Class and method of `basic.deliver`, the first bytes of its frame."""

CONFIRM = b"\x00\x3c\x00\x50"
"""Of `basic.ack`."""

_DELIVERY = Struct(">QB")
_CONFIRM = Struct(">QB")
_CONTENT = Struct(">HHQH")
_LENGTH = Struct(">I")
_INT = Struct(">i")
_LONG = Struct(">q")
_TIMESTAMP = Struct(">Q")
_LAST_SECOND = 0xFFFF_FFFF
"""Above it the library takes a timestamp for milliseconds."""

_STRING, _INTEGER, _LARGE, _TRUTH = b"SIlt"

Kind = Literal["short", "octet", "table", "timestamp"]
_PROPERTIES: tuple[tuple[str, Kind], ...] = (
    ("content_type", "short"),
    ("content_encoding", "short"),
    ("headers", "table"),
    ("", "octet"),  # delivery mode
    ("", "octet"),  # priority
    ("correlation_id", "short"),
    ("reply_to", "short"),
    ("", "short"),  # expiration
    ("message_id", "short"),
    ("timestamp", "timestamp"),
    ("type", "short"),
    ("", "short"),  # user id
    ("app_id", "short"),
    ("", "short"),  # cluster id
)
"""In the order of their flags, the highest bit first; names as `brokers.contract.Message` has them."""

_NO_PROPERTY = 0b11


class UnusualError(Exception):
    """Left to the library."""


def deliver(payload: bytes) -> Delivery:
    """Delivery tag, exchange, routing key and redelivered of a `basic.deliver`."""
    try:
        at = 5 + payload[4]
        tag, redelivered = _DELIVERY.unpack_from(payload, at)
        exchange, at = _short(payload, at + _DELIVERY.size)
        routing_key, at = _short(payload, at)
    except (error, IndexError, UnicodeDecodeError) as flaw:
        raise UnusualError from flaw
    return tag, exchange, routing_key, bool(redelivered & 1)


def confirm(payload: bytes) -> tuple[int, bool]:
    """Delivery tag of a `basic.ack`, and whether it stands for all before it."""
    try:
        tag, multiple = _CONFIRM.unpack_from(payload, len(CONFIRM))
    except error as flaw:
        raise UnusualError from flaw
    return tag, bool(multiple & 1)


def content(payload: bytes) -> tuple[int, Values]:
    """The body's size, and the properties by their names in `brokers.contract.Message`."""
    try:
        _, _, size, flags = _CONTENT.unpack_from(payload)
        values, at = _properties(payload, _CONTENT.size, flags)
    except (error, IndexError, UnicodeDecodeError) as flaw:
        raise UnusualError from flaw
    if at != len(payload):
        raise UnusualError
    return size, values


def _properties(payload: bytes, at: int, flags: int) -> tuple[Values, int]:
    values: Values = {"message_id": ""}
    for name, kind in _present(flags):
        value: Any = None
        match kind:
            case "short":
                value, at = _short(payload, at)
            case "octet":
                at += 1
            case "table":
                value, at = _table(payload, at)
            case "timestamp":
                value, at = _seconds(payload, at)
        if name:
            values[name] = value
    return values, at


@lru_cache(maxsize=256)
def _present(flags: int) -> tuple[tuple[str, Kind], ...]:
    if flags & _NO_PROPERTY:
        raise UnusualError
    return tuple(field for place, field in enumerate(_PROPERTIES) if flags & 1 << 15 - place)


def _short(payload: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + payload[at]
    return payload[at + 1 : end].decode(), end


def _seconds(payload: bytes, at: int) -> tuple[int, int]:
    (seconds,) = _TIMESTAMP.unpack_from(payload, at)
    if seconds > _LAST_SECOND:
        raise UnusualError
    return seconds, at + 8


def _table(payload: bytes, at: int) -> tuple[Values, int]:
    end = at + 4 + _LENGTH.unpack_from(payload, at)[0]
    at += 4
    values: Values = {}
    while at < end:
        name, at = _short(payload, at)
        values[name], at = _value(payload, at)
    if at != end:
        raise UnusualError
    return values, at


def _value(payload: bytes, at: int) -> tuple[str | int | bool, int]:
    kind = payload[at]
    if kind == _STRING:
        end = at + 5 + _LENGTH.unpack_from(payload, at + 1)[0]
        return payload[at + 5 : end].decode(), end
    if kind == _INTEGER:
        return _INT.unpack_from(payload, at + 1)[0], at + 5
    if kind == _LARGE:
        return _LONG.unpack_from(payload, at + 1)[0], at + 9
    if kind == _TRUTH:
        return payload[at + 1] != 0, at + 2
    raise UnusualError
