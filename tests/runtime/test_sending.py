"""A burst ends confirmed or held, whatever the broker says first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from brokers.clock import SystemClock
from brokers.contract import Message, Publication
from brokers.errors import BrokerError, BrokerUnreachable, MessageTooLarge, NotFound, PublishUnknown, Unroutable
from stamp.events import Event, MessageHeld, Paused
from stamp.layout import HELD
from stamp.nostore import NoStore
from stamp.parking import EXCHANGE, REASON
from stamp.sending import Sender, Teller

Script = Sequence[Sequence[BrokerError | None]]


class Scripted:
    """A publisher that answers each burst with the next line of a script, and then confirms everything."""

    def __init__(self, script: Script) -> None:
        self.script = list(script)
        self.bursts: list[list[Publication]] = []

    async def publish_all(self, publications: Sequence[Publication]) -> Sequence[BrokerError | None]:
        self.bursts.append(list(publications))
        return self.script.pop(0) if self.script else [None] * len(publications)


def publication(name: str, exchange: str = "W") -> Publication:
    return Publication(exchange, "Key", Message(body=b"", message_id=name))


class Desk:
    def __init__(self, *script: Sequence[BrokerError | None]) -> None:
        self.publisher = Scripted(script)
        self.facts: list[Event] = []
        self.declared = 0
        self.sender = Sender(
            service="s",
            broker=self.publisher,  # type: ignore[arg-type]
            store=NoStore(),
            clock=SystemClock(),
            tell=Teller([self.facts.append]),
            declare=self.declare,
            declare_rung=self.declare_rung,
        )

    async def declare(self) -> None:
        self.declared += 1

    async def declare_rung(self, pause: float) -> None:
        if self.declared == 0:
            self.declared = 1
            raise BrokerUnreachable("away")

    def send(self, *publications: Publication) -> list[list[str]]:
        async def scenario() -> None:
            async with asyncio.timeout(10):
                await self.sender.send(publications)

        asyncio.run(scenario())
        return [[item.message.message_id for item in burst] for burst in self.publisher.bursts]


def test_a_confirmed_burst_goes_once() -> None:
    assert Desk().send(publication("a"), publication("b")) == [["a", "b"]]


def test_only_what_was_not_confirmed_is_sent_again() -> None:
    desk = Desk([None, PublishUnknown("?")])
    assert desk.send(publication("a"), publication("b")) == [["a", "b"], ["b"]]
    assert [fact.what for fact in desk.facts if isinstance(fact, Paused)] == ["broker"]


def test_what_no_queue_wants_is_held_with_where_it_should_have_gone() -> None:
    desk = Desk([Unroutable("nobody"), None])
    assert desk.send(publication("a"), publication("b")) == [["a", "b"], ["a"]]
    parked = desk.publisher.bursts[1][0]
    assert (parked.exchange, parked.message.headers[REASON], parked.message.headers[EXCHANGE]) == (
        HELD,
        "unroutable",
        "W",
    )
    assert [fact.reason for fact in desk.facts if isinstance(fact, MessageHeld)] == ["unroutable"]


def test_what_does_not_fit_in_a_frame_is_held() -> None:
    assert Desk([MessageTooLarge("big")]).send(publication("a")) == [["a"], ["a"]]


def test_a_missing_exchange_is_declared_again_before_the_next_try() -> None:
    desk = Desk([NotFound("W")])
    assert desk.send(publication("a")) == [["a"], ["a"]]
    assert desk.declared == 1


def test_two_messages_of_one_id_are_both_sent_and_never_at_once() -> None:
    assert Desk().send(publication("a"), publication("a"), publication("b")) == [["a", "b"], ["a"]]


def test_a_delay_that_cannot_be_declared_now_is_declared_later() -> None:
    desk = Desk()
    assert desk.send(publication("a", "stamp.delay.1s")) == [["a"]]
    assert desk.declared == 1
