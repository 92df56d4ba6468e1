"""No foreign exception passes the adapter: each class of the client libraries has a meaning of ours."""

from __future__ import annotations

import asyncio
import inspect
from types import ModuleType

import aio_pika.exceptions
import aiormq.exceptions
import pytest
from aiormq.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ChannelAccessRefused,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)
from pamqp.commands import Basic

from brokers.contract import Message, Publication
from brokers.errors import (
    AccessRefused,
    BrokerError,
    BrokerUnreachable,
    NotFound,
    ProtocolMisuse,
    PublishRefused,
    PublishUnknown,
)
from brokers.rabbitmq.foreign import MEANING, translate, translated
from brokers.rabbitmq.publishing import judge


def classes_of(module: ModuleType) -> set[type[BaseException]]:
    return {value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, BaseException)}


FOREIGN_CLASSES = sorted(classes_of(aiormq.exceptions) | classes_of(aio_pika.exceptions), key=str)
ITEM = Publication("events", "key", Message(body=b"", message_id="id"))


@pytest.mark.parametrize("kind", FOREIGN_CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_client_libraries_has_a_meaning(kind: type[BaseException]) -> None:
    assert issubclass(MEANING[kind], BrokerError)


@pytest.mark.parametrize("kind", aio_pika.exceptions.CONNECTION_EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_what_the_library_counts_as_a_connection_error_is_translated(kind: type[BaseException]) -> None:
    assert isinstance(translate(kind("gone"), "asking"), BrokerError)


def test_an_unknown_subclass_has_the_meaning_of_its_base() -> None:
    class Newer(ChannelNotFoundEntity): ...

    assert isinstance(translate(Newer("no queue 'q'"), "asking"), NotFound)


def test_a_queue_whose_node_is_down_is_not_gone() -> None:
    down = ChannelNotFoundEntity("NOT_FOUND - home node of durable queue 'q' is down or inaccessible")
    assert isinstance(translate(down, "consuming"), BrokerUnreachable)


def test_a_lost_connection_that_looks_like_a_cancel_is_translated() -> None:
    async def play() -> None:
        with pytest.raises(BrokerUnreachable), translated("asking"):
            raise asyncio.CancelledError

    asyncio.run(play())


def test_a_real_cancel_passes() -> None:
    async def ask() -> None:
        with translated("asking"):
            await asyncio.get_running_loop().create_future()

    async def play() -> bool:
        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(play())


@pytest.mark.parametrize(
    ("failure", "alone", "expected"),
    [
        (ChannelNotFoundEntity("NOT_FOUND - no exchange 'events' in vhost '/'"), False, NotFound),
        (ChannelNotFoundEntity("NOT_FOUND - no exchange 'others' in vhost '/'"), False, PublishUnknown),
        (ChannelNotFoundEntity("NOT_FOUND - something"), True, NotFound),
        (ChannelAccessRefused("ACCESS_REFUSED - access to exchange 'events' refused"), False, AccessRefused),
        (ChannelPreconditionFailed("message size too large"), True, ProtocolMisuse),
        (ChannelPreconditionFailed("message size too large"), False, PublishUnknown),
        (ChannelInvalidStateError("closed"), False, BrokerUnreachable),
        (DeliveryError(None, Basic.Nack()), False, PublishRefused),
        (AMQPConnectionError("reset"), True, PublishUnknown),
        (AMQPError("odd"), True, PublishUnknown),
        (TimeoutError(), True, PublishUnknown),
        (asyncio.CancelledError(), True, PublishUnknown),
        (ValueError("bad name"), False, ProtocolMisuse),
    ],
    ids=lambda value: getattr(value, "__name__", None) or repr(value)[:60],
)
def test_a_failed_publish_is_blamed_on_the_right_message(
    failure: BaseException, alone: bool, expected: type[BrokerError]
) -> None:
    assert type(judge(failure, ITEM, alone=alone)) is expected
