"""What fits in a frame, held against the client library that writes the frames."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from brokers.contract import Message, Publication
from brokers.errors import MessageTooLarge, ProtocolMisuse
from brokers.framesize import SIZE_LIMIT, header_frame_size, refusal, sendable_headers

texts = st.text(max_size=60)
integers = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 127, 128, -129, 32767, 32768, 65535, 65536, 2**32])
headers = st.dictionaries(
    st.text(string.ascii_lowercase + "_é", min_size=1, max_size=30), texts | integers | st.booleans()
)
messages = st.builds(
    Message,
    body=st.binary(max_size=20),
    message_id=st.text(min_size=1, max_size=60),
    type=texts,
    headers=headers,
    correlation_id=st.none() | texts,
    app_id=st.none() | texts,
    timestamp=st.none() | st.integers(0, 2**31),
    content_type=st.none() | texts,
    content_encoding=st.none() | texts,
    reply_to=st.none() | texts,
)


def marshalled(message: Message) -> bytes:
    when = None if message.timestamp is None else datetime.fromtimestamp(message.timestamp, UTC)
    properties = Basic.Properties(
        message_id=message.message_id,
        message_type=message.type,
        headers=dict(message.headers),
        correlation_id=message.correlation_id,
        app_id=message.app_id,
        timestamp=when,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        reply_to=message.reply_to,
        delivery_mode=2,
    )
    return ContentHeader(body_size=len(message.body), properties=properties).marshal()


def to_queue(**properties: Any) -> Publication:
    return Publication("", "queue", Message(**{"body": b"", "message_id": "id"} | properties))


@given(messages)
def test_the_size_is_what_the_client_library_writes(message: Message) -> None:
    assert header_frame_size(message) == len(marshalled(message))


@given(messages)
def test_a_message_of_scalars_is_not_refused(message: Message) -> None:
    assert refusal(Publication("exchange", "key", message)) is None


def test_the_brokers_own_headers_do_not_count() -> None:
    plain = Message(body=b"", message_id="id", headers={"stamp": "s"})
    bearing = Message(body=b"", message_id="id", headers={"stamp": "s", "x-death": [{"count": 1}]})
    assert header_frame_size(bearing) == header_frame_size(plain)
    assert sendable_headers(bearing.headers) == {"stamp": "s"}


def test_the_last_byte_that_fits_is_taken_and_the_next_refused() -> None:
    room = SIZE_LIMIT - header_frame_size(to_queue(headers={"stamp": ""}).message)
    assert refusal(to_queue(headers={"stamp": "x" * room})) is None
    assert isinstance(refusal(to_queue(headers={"stamp": "x" * (room + 1)})), MessageTooLarge)


def test_letters_beyond_ascii_count_in_bytes() -> None:
    assert isinstance(refusal(to_queue(headers={"stamp": "é" * (SIZE_LIMIT // 2)})), MessageTooLarge)


@pytest.mark.parametrize(
    "properties",
    [
        {"headers": {"CC": "other"}},
        {"headers": {"value": 1.5}},
        {"headers": {"value": None}},
        {"headers": {"value": "\ud800"}},
        {"headers": {"value": 2**63}},
        {"headers": {"n" * 129: "x"}},
        {"headers": {"": "x"}},
        {"message_id": ""},
        {"type": "é" * 128},
        {"reply_to": "\ud800"},
        {"timestamp": -1},
        {"timestamp": 10**15},
        {"body": "text"},
    ],
    ids=str,
)
def test_what_amqp_cannot_carry_is_refused(properties: dict[str, Any]) -> None:
    assert isinstance(refusal(to_queue(**properties)), ProtocolMisuse)


def test_a_refusal_names_the_message_and_the_header() -> None:
    assert str(refusal(to_queue(headers={"price": 1.5}))) == (
        "message 'id' can't be sent: header 'price' is float; str, bool and 64-bit int are possible"
    )
