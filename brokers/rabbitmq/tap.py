"""Deliveries and confirms are taken out of a connection's bytes as they arrive; the library never sees them.

aiormq reads a frame by two or three awaits, makes an object of each and passes it through a queue to the channel's
task: about a third of what a message costs. Here a delivery is one call from the socket's callback. Everything else
goes on to aiormq in its order, and so does what can't be read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

import aio_pika
from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader

from brokers.contract import Message
from brokers.rabbitmq.unframe import DELIVER, Delivery, UnusualError, Values, content, deliver
from brokers.rabbitmq.wire import Arrived, values_of

if TYPE_CHECKING:
    from yarl import URL

FRAME = Struct(">BHI")
_OVERHEAD = FRAME.size + 1
METHOD = 1
_HEADER, _BODY, _HEARTBEAT = 2, 3, 8
_KINDS = frozenset({METHOD, _HEADER, _BODY, _HEARTBEAT})
_END = 0xCE
_BLOCKED, _UNBLOCKED = b"\x00\x0a\x00\x3c", b"\x00\x0a\x00\x3d"
"""Class and method of `connection.blocked` and `connection.unblocked`."""
_SIGN_OF_LIFE = bytes((_HEARTBEAT, 0, 0, 0, 0, 0, 0, _END))
_SIGN_EVERY = 1.0
"""Seconds. The library calls a connection dead on which it sees no frame."""

_BUFFER = 64 * 1024


class Diversion(Protocol):
    """Who takes frames of one channel."""

    def takes(self, kind: int, frame: bytes) -> bool:
        """Whether the frame is taken; the library gets what is not. Raises `UnusualError` for what can't be read."""
        ...

    def untaken(self) -> bytes:
        """What was taken before a frame that can't be read, and is the library's after all."""
        ...


class Sink:
    """Puts the deliveries of one channel together from their frames."""

    def __init__(self, arrived: Callable[[Arrived], None]) -> None:
        self._arrived = arrived
        self._method = b""
        self._delivery: Delivery | None = None
        self._values: Values | None = None
        self._missing = 0
        self._bodies: list[bytes] = []

    def takes(self, kind: int, frame: bytes) -> bool:
        """Whether the frame is part of a delivery. Raises `UnusualError` for what can't be read."""
        if kind == METHOD:
            return self._begins(frame)
        if self._delivery is None:
            return False
        if self._values is not None:
            self._bodies.append(frame[FRAME.size : -1])
            self._missing -= len(frame) - _OVERHEAD
        elif kind == _HEADER:
            self._missing, self._values = _content(frame)
        if self._missing <= 0 and self._values is not None:
            self._complete(self._delivery, self._values)
        return True

    def untaken(self) -> bytes:
        """The frame that was taken before the one that can't be read."""
        return self._method

    def _begins(self, frame: bytes) -> bool:
        self._method, self._delivery, self._values, self._bodies = b"", None, None, []
        if not frame.startswith(DELIVER, FRAME.size):
            return False
        self._delivery = deliver(frame[FRAME.size : -1])
        self._method = frame
        return True

    def _complete(self, delivery: Delivery, values: Values) -> None:
        bodies, self._delivery, self._values, self._bodies = self._bodies, None, None, []
        body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
        self._arrived(Arrived(Message(body=body, **values), *delivery))


class Alarm:
    """Hears, on the connection's own channel, whether the broker lets it publish; takes nothing."""

    def __init__(self) -> None:
        self.on = False

    def takes(self, kind: int, frame: bytes) -> bool:
        """Never."""
        if kind == METHOD:
            method = frame[FRAME.size : FRAME.size + len(_BLOCKED)]
            self.on = method == _BLOCKED or (self.on and method != _UNBLOCKED)
        return False

    def untaken(self) -> bytes:
        """Nothing."""
        return b""


class Tap(asyncio.StreamReader):
    """A stream reader that passes on what nobody diverted, frame by frame."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        super().__init__(limit=_BUFFER, loop=asyncio.get_running_loop())
        self._rest = b""
        self.alarm = Alarm()
        self._sinks: dict[int, Diversion] = {0: self.alarm}
        self.writer: asyncio.StreamWriter | None = None
        """The other way of the same connection."""
        self._verbatim = False
        self._last_sign = self._clock()

    def divert(self, channel: int, sink: Diversion) -> Callable[[], None]:
        """Show `sink` each frame of this channel first, in order, until the returned function is called."""
        self._sinks[channel] = sink

        def undo() -> None:
            if self._sinks.get(channel) is sink:
                del self._sinks[channel]

        return undo

    def diverted(self, channel: int) -> Diversion | None:
        """Who sees the frames of this channel first."""
        return self._sinks.get(channel)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]  # of anything iterable, says typeshed
        """As of a stream reader; called by the transport with what the socket had."""
        if self._verbatim:
            super().feed_data(data)
            return
        data = self._rest + data if self._rest else data
        start = at = 0
        while (end := self._end_of_frame(data, at)) > 0:
            if self._taken(data, at, end):
                self._pass(data[start:at])
                start = end
            at = end
        self._pass(data[start:at])
        self._show_life()
        self._rest = data[at:]
        if end < 0 or self._verbatim:
            self._give_up()

    def feed_eof(self) -> None:
        """As of a stream reader."""
        self._give_up()
        super().feed_eof()

    def _end_of_frame(self, data: bytes, at: int) -> int:
        """Where the frame ends that begins at `at`; 0 when it is not all here, below when it is no frame."""
        if self._verbatim or len(data) - at < _OVERHEAD:
            return 0
        kind, _, size = FRAME.unpack_from(data, at)
        end: int = at + size + _OVERHEAD
        if kind not in _KINDS:
            return -1
        if end > len(data):
            return 0
        return end if data[end - 1] == _END else -1

    def _taken(self, data: bytes, at: int, end: int) -> bool:
        sink = self._sinks.get(data[at + 1] << 8 | data[at + 2])
        if sink is None:
            return False
        try:
            return sink.takes(data[at], data[at:end])
        except UnusualError:
            self._verbatim = True
            self._pass(sink.untaken())
            return False

    def _pass(self, data: bytes) -> None:
        if data:
            super().feed_data(data)
            self._last_sign = self._clock()

    def _show_life(self) -> None:
        if self._clock() - self._last_sign > _SIGN_EVERY:
            self._pass(_SIGN_OF_LIFE)

    def _give_up(self) -> None:
        self._verbatim = self.alarm.on = True  # from here on nobody listens for the end of one
        rest, self._rest = self._rest, b""
        self._pass(rest)


class Tapping(TransportFactory):
    """Opens connections as aiormq does, with a tap in each."""

    def __init__(self) -> None:
        self.tap: Tap | None = None

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See `aiormq.connection.TransportFactory`."""
        secrets = options.pop("ssl_context_provider")
        tls = await secrets.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        self.tap = tap = Tap()
        protocol = asyncio.StreamReaderProtocol(tap, loop=loop)
        try:
            transport, _ = await loop.create_connection(
                lambda: protocol, str(url.host), url.port or 0, ssl=tls, **options
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        tap.writer = asyncio.StreamWriter(transport, protocol, tap, loop)
        return tap, tap.writer


class TappedConnection(aio_pika.Connection):
    """An aio-pika connection with a tap."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.kwargs["transport_factory"] = Tapping()


def tap_of(connection: object) -> Tap | None:
    """The tap in a connection of aiormq, if there is one."""
    factory = getattr(connection, "_transport_factory", None)
    return factory.tap if isinstance(factory, Tapping) else None


def _content(frame: bytes) -> tuple[int, Values]:
    try:
        return content(frame[FRAME.size : -1])
    except UnusualError:
        return _read_by_the_library(frame)


def _read_by_the_library(frame: bytes) -> tuple[int, Values]:
    try:
        _, _, head = unmarshal(frame)
    except (PAMQPException, ValueError) as error:
        raise UnusualError from error
    if not isinstance(head, ContentHeader):
        raise UnusualError
    return head.body_size, values_of(head.properties)
