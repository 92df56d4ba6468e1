"""What fits in one AMQP frame, and what AMQP can carry at all: decided before anything is sent.

Both adapters ask here, so that a message which the embedded broker takes is one that RabbitMQ takes too.
Sizes follow AMQP 0-9-1 section 4.2 (field tables, short and long strings) and the errata for integer types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brokers.contract import FRAME_LIMIT, FRAME_RESERVE, HeaderValue, Message, Publication
from brokers.errors import BrokerError, MessageTooLarge, ProtocolMisuse

if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT_STRING_LIMIT = 255
"""Bytes of a routing key, an exchange name or a property such as `message_id`."""

HEADER_NAME_LIMIT = 128
"""Bytes of a header's name; client libraries cut longer ones without a word."""

LAST_TIMESTAMP = 253_402_300_799
"""The end of the year 9999: what a client's date type can hold."""

SIZE_LIMIT = FRAME_LIMIT - FRAME_RESERVE

_FIXED = 2 + 2 + 8 + 2 + 1 + 4  # class, weight, body size, flags, delivery mode, length of the header table
_SENDER_SELECTED = frozenset({"CC", "BCC"})
_SIGNED_64 = 2**63
_INTEGER_SIZES = ((-(2**7), 2**7, 1), (-(2**15), 2**16, 2), (-(2**31), 2**32, 4))


def sendable_headers(headers: Mapping[str, Any]) -> dict[str, HeaderValue]:
    """The headers without the broker's own `x-*`, which must never be copied forward."""
    return {name: value for name, value in headers.items() if name[:2] != "x-"}


def header_frame_size(message: Message) -> int:
    """Bytes of the content header frame's payload: properties and sendable headers as they go over the wire.

    Compare with `FRAME_LIMIT`. The values must be ones that AMQP can carry (see `refusal`).
    """
    size = _FIXED
    for text in _texts(message):
        if text:
            size += 1 + _length(text)
    if message.timestamp is not None:
        size += 8
    for name, value in message.headers.items():
        if name[:2] != "x-":
            size += 2 + _length(name) + _value_size(value)
    return size


def refusal(publication: Publication) -> BrokerError | None:
    """The error with which this publication must be refused before it is sent; `None` when it may go.

    `ProtocolMisuse` for what AMQP cannot carry, `MessageTooLarge` above `SIZE_LIMIT`.
    """
    if _plainly_fits(publication):
        return None
    message = publication.message
    flaw = _address_flaw(publication) or _property_flaw(message) or _header_flaw(message.headers)
    if flaw is not None:
        return ProtocolMisuse(f"message {message.message_id!r} can't be sent: {flaw}")
    size = header_frame_size(message)
    if size <= SIZE_LIMIT:
        return None
    return MessageTooLarge(
        f"message {message.message_id!r}: properties and headers take {size} bytes, {SIZE_LIMIT} fit in one frame"
    )


def _plainly_fits(publication: Publication) -> bool:
    """Most messages are seen to be well at a glance: their short texts fit together where each may be as long."""
    message = publication.message
    headers = message.headers
    try:
        texts = "".join([publication.exchange, publication.routing_key, *filter(None, _texts(message))])
        names = "".join(headers)
    except TypeError:
        return False
    return (
        len(texts) <= SHORT_STRING_LIMIT
        and len(names) <= HEADER_NAME_LIMIT
        and texts.isascii()
        and names.isascii()
        and isinstance(message.body, bytes)
        and bool(message.message_id)
        and (message.timestamp is None or 0 <= message.timestamp <= LAST_TIMESTAMP)
        and "" not in headers
        and _SENDER_SELECTED.isdisjoint(headers)
        and _plain_values_fit(headers)
    )


def _plain_values_fit(headers: Mapping[str, Any]) -> bool:
    """Whether these are texts and small numbers that fit however they are written."""
    size = SHORT_STRING_LIMIT + HEADER_NAME_LIMIT + _FIXED + 16 * len(headers)
    for value in headers.values():
        if isinstance(value, str):
            if not _is_scalar(value):
                return False
            size += 4 * len(value)
        elif not isinstance(value, int) or not -_SIGNED_64 <= value < _SIGNED_64:
            return False
    return size <= SIZE_LIMIT


def _address_flaw(publication: Publication) -> str | None:
    if not _fits(publication.routing_key, SHORT_STRING_LIMIT):
        return f"the routing key is not text of at most {SHORT_STRING_LIMIT} bytes"
    if not _fits(publication.exchange, SHORT_STRING_LIMIT):
        return f"the exchange name is not text of at most {SHORT_STRING_LIMIT} bytes"
    return None


def _property_flaw(message: Message) -> str | None:
    if not isinstance(message.body, bytes):
        return f"the body is {type(message.body).__name__}, not bytes"
    if not message.message_id:
        return "message_id is empty"
    if message.timestamp is not None and not 0 <= message.timestamp <= LAST_TIMESTAMP:
        return f"timestamp {message.timestamp} is not in whole seconds since 1970"
    for text in _texts(message):
        if text and not _fits(text, SHORT_STRING_LIMIT):
            return f"a property is not text of at most {SHORT_STRING_LIMIT} bytes: {text[:40]!r}…"
    return None


def _header_flaw(headers: Mapping[str, Any]) -> str | None:
    for name, value in headers.items():
        if not _fits(name, HEADER_NAME_LIMIT) or not name:
            return f"header name {name[:40]!r} is not text of 1 to {HEADER_NAME_LIMIT} bytes"
        if name[:2] != "x-" and not _is_scalar(value):
            return f"header {name!r} is {type(value).__name__}; str, bool and 64-bit int are possible"
        if name in _SENDER_SELECTED:
            return f"header {name!r} is read by the broker as a list of further routing keys"
    return None


def _texts(message: Message) -> tuple[str | None, ...]:
    return (
        message.message_id,
        message.type,
        message.correlation_id,
        message.app_id,
        message.content_type,
        message.content_encoding,
        message.reply_to,
    )


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return value.isascii() or _fits(value, FRAME_LIMIT * 4)
    return isinstance(value, int) and -_SIGNED_64 <= value < _SIGNED_64


def _fits(text: object, limit: int) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return _length(text) <= limit
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _value_size(value: HeaderValue) -> int:
    if isinstance(value, str):
        return 4 + _length(value)
    if isinstance(value, bool):
        return 1
    for low, high, size in _INTEGER_SIZES:
        if low <= value < high:
            return size
    return 8
