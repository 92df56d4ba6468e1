"""Every exception of aiormq and aio-pika, and what it means to a caller of ours: the one place that knows."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import aio_pika.exceptions as pika
import aiormq.exceptions as rmq
from pamqp.exceptions import PAMQPException

from brokers.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnreachable,
    NotFound,
    ProtocolMisuse,
    PublishRefused,
    TopologyMismatch,
    Unroutable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

MEANING: dict[type[BaseException], type[BrokerError]] = {
    rmq.AMQPError: BrokerUnreachable,
    rmq.AMQPConnectionError: BrokerUnreachable,
    rmq.IncompatibleProtocolError: BrokerUnreachable,
    rmq.AuthenticationError: AccessRefused,
    rmq.ProbableAuthenticationError: AccessRefused,
    rmq.ConnectionClosed: BrokerUnreachable,
    rmq.ConnectionSyntaxError: ProtocolMisuse,
    rmq.ConnectionFrameError: ProtocolMisuse,
    rmq.ConnectionCommandInvalid: ProtocolMisuse,
    rmq.ConnectionChannelError: ProtocolMisuse,
    rmq.ConnectionUnexpectedFrame: ProtocolMisuse,
    rmq.ConnectionResourceError: BrokerUnreachable,
    rmq.ConnectionNotAllowed: AccessRefused,
    rmq.ConnectionNotImplemented: ProtocolMisuse,
    rmq.ConnectionInternalError: BrokerUnreachable,
    rmq.AMQPChannelError: BrokerUnreachable,
    rmq.ChannelClosed: BrokerUnreachable,
    rmq.ChannelAccessRefused: AccessRefused,
    rmq.ChannelNotFoundEntity: NotFound,
    rmq.ChannelLockedResource: AccessRefused,
    rmq.ChannelPreconditionFailed: TopologyMismatch,
    rmq.DuplicateConsumerTag: ProtocolMisuse,
    rmq.ProtocolSyntaxError: BrokerUnreachable,
    rmq.InvalidFrameError: BrokerUnreachable,
    rmq.MethodNotImplemented: ProtocolMisuse,
    rmq.DeliveryError: PublishRefused,
    rmq.PublishError: Unroutable,
    rmq.ChannelInvalidStateError: BrokerUnreachable,
    pika.MessageProcessError: ProtocolMisuse,
    pika.QueueEmpty: NotFound,
    PAMQPException: ProtocolMisuse,
    OSError: BrokerUnreachable,
    # aio-pika raises it bare where a connection or channel is gone already.
    RuntimeError: BrokerUnreachable,
    asyncio.CancelledError: BrokerUnreachable,
    # pamqp, for a name or value that it will not write.
    ValueError: ProtocolMisuse,
    TypeError: ProtocolMisuse,
}

FOREIGN = (rmq.AMQPError, PAMQPException, OSError, RuntimeError, ValueError, TypeError)
"""What a call into aio-pika may raise. Wrap nothing but such calls: RuntimeError is among them."""

_DOWN = "inaccessible"
"""RabbitMQ answers 404 for a queue whose node is down; the queue is not gone."""


def translate(error: BaseException, what: str) -> BrokerError:
    """The error of ours that a foreign one means; `what` says what was being done."""
    if isinstance(error, BrokerError):
        return error
    meaning = next((MEANING[kind] for kind in type(error).__mro__ if kind in MEANING), BrokerUnreachable)
    if meaning is NotFound and _DOWN in str(error):
        meaning = BrokerUnreachable
    return meaning(f"{what}: {words_of(error)}")


def words_of(error: BaseException) -> str:
    """What the broker or the library said, in one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"
    if isinstance(error, rmq.InvalidFrameError) and "Connection.OpenOk" in str(error):
        # aiormq drops the broker's reason; a virtual host that is down comes back, so this stays transient.
        return "the broker refused the virtual host (missing, no permission, too many connections, or down)"
    return " ".join(str(part) for part in error.args if part) or type(error).__name__


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what aio-pika raises inside into a `BrokerError`; a real cancel passes."""
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise translate(error, what) from error
    except FOREIGN as error:
        raise translate(error, what) from error


def is_cancelled() -> bool:
    """Whether somebody cancelled the running task; aiormq raises CancelledError for a lost connection too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
