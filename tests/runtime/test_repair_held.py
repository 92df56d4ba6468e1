"""Repairs meet running services: what is held goes on once, however the repair was interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from brokers.contract import Message, Publication
from brokers.errors import BrokerUnreachable, Unroutable
from brokers.memory import MemoryBroker
from stamp import Fail, Hop, Service, Step, Workflow, held, parking, repair
from stamp.codec import STAMP
from stamp.held import Held, Move
from stamp.layout import HELD, held_parts
from stamp.repair import Case, Operator
from stamp.testing import Bench


class Order(msgspec.Struct, kw_only=True):
    order: str
    card: str = ""


class Placed(msgspec.Struct):
    order: str


class Charged(msgspec.Struct):
    order: str


class Shipped(msgspec.Struct):
    order: str


class Told(msgspec.Struct):
    order: str


ORDER = Workflow(
    "ORDER",
    version=1,
    state=Order,
    start=Placed,
    steps=[
        Step("charge", service="payments", on=Placed, emits=Charged, undo=True, retry="1x", undo_retry="1x"),
        Step("ship", service="shipping", on=Charged, emits=Shipped, pivot=True, retry="1x"),
        Step("tell", service="shipping", on=Shipped, emits=Told, retry="1x"),
    ],
)


class Shop:
    """Two services whose trouble a test can switch on, and what they did."""

    def __init__(self) -> None:
        self.bank = True
        self.courier = True
        self.done: list[str] = []
        self.payments = Service("payments")
        self.shipping = Service("shipping")
        self.payments.step(ORDER, "charge")(self.charge)
        self.payments.undo(ORDER, "charge")(self.refund)
        self.shipping.step(ORDER, "ship")(self.ship)
        self.shipping.step(ORDER, "tell")(self.tell)

    async def charge(self, event: Placed, hop: Hop[Order]) -> Charged:
        self.done.append(f"charge {hop.state.card}")
        return Charged(event.order)

    async def refund(self, hop: Hop[Order]) -> None:
        if not self.bank:
            raise ConnectionError("the bank is closed")
        self.done.append("refund")

    async def ship(self, event: Charged, hop: Hop[Order]) -> Shipped:
        if not self.courier:
            raise Fail("no courier")
        self.done.append("ship")
        return Shipped(event.order)

    async def tell(self, event: Shipped, hop: Hop[Order]) -> Told:
        if hop.state.card == "lost":
            raise ValueError(f"no mail to {hop.state.order}")
        self.done.append(f"tell {hop.state.card}")
        return Told(event.order)


def played(scenario: Callable[[Shop, Bench], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        shop = Shop()
        async with Bench(shop.payments, shop.shipping) as bench:
            await scenario(shop, bench)

    asyncio.run(play())


async def at_failing_undo(shop: Shop, bench: Bench) -> str:
    """A run that is held because the undo of `charge` failed."""
    shop.bank = shop.courier = False
    run = await bench.start(ORDER, Placed("o-1"), state=Order(order="o-1", card="c"))
    await bench.settle()
    assert [one.reason for one in bench.held] == ["undo-failed"]
    return run


async def at_failing_step(bench: Bench) -> tuple[str, Held]:
    """A run that is held because its last step failed, after the pivot."""
    run = await bench.start(ORDER, Placed("o-1"), state=Order(order="o-1", card="lost"))
    await bench.settle()
    (one,) = bench.held
    return run, one


def ada(bench: Bench, service: str = "payments") -> Operator:
    return Operator(by="ada", why="by hand", service=service, now=bench.clock.now())


def case_of(one: Held, step: str) -> Case:
    message = one.original()
    return Case(message, repair.opened(message), step)


async def carry(bench: Bench, service: str, publications: list[Publication]) -> None:
    outcomes = await held.carry_out(
        bench.broker, service, lambda found: [Move(found[0], publications)], now=bench.clock.now()
    )
    assert [error for _, error in outcomes] == [None]


def ends(bench: Bench, run: str) -> list[str]:
    return [one.routing_key for one in bench.published if one.run == run and one.routing_key.startswith("end.")]


def test_a_run_held_by_a_failing_undo_is_released_and_ends_compensated_once() -> None:
    async def scenario(shop: Shop, bench: Bench) -> None:
        run = await at_failing_undo(shop, bench)
        shop.bank = True
        await bench.release()
        await bench.settle()
        assert (bench.run(run).status, shop.done) == ("compensated", ["charge c", "refund"])
        assert (ends(bench, run), bench.held) == (["end.compensated"], ())

    played(scenario)


def test_an_undo_done_by_hand_ends_the_run_compensated_without_running_it() -> None:
    async def scenario(shop: Shop, bench: Bench) -> None:
        run = await at_failing_undo(shop, bench)
        await carry(bench, "payments", repair.skipped(case_of(bench.held[0], "charge"), ORDER, ada(bench)))
        await bench.settle()
        assert (bench.run(run).status, shop.done) == ("compensated", ["charge c"])
        assert (ends(bench, run), bench.held) == (["end.compensated"], ())

    played(scenario)


def test_a_repair_that_was_sent_twice_is_done_once() -> None:
    """As after a crash between the confirm and the acknowledgement, without a journal that could tell."""

    async def scenario(shop: Shop, bench: Bench) -> None:
        run = await at_failing_undo(shop, bench)
        case = case_of(bench.held[0], "charge")
        amended = repair.amended(case, ORDER.contract, {"order": "o-1", "card": "d"}, ada(bench), signed=False)
        shop.bank = True
        await bench.broker.publish(Publication("", "payments.ORDER.charge", amended))
        await bench.settle()
        later = replace(ada(bench), now=bench.clock.now() + 60, by="bob")
        again = repair.amended(case, ORDER.contract, {"order": "o-1", "card": "d"}, later, signed=False)
        await carry(bench, "payments", [Publication("", "payments.ORDER.charge", again)])
        await bench.settle()
        assert (bench.run(run).status, shop.done) == ("compensated", ["charge c", "refund"])
        assert (ends(bench, run), bench.held) == (["end.compensated"], ())

    played(scenario)


def test_an_amended_copy_of_a_step_that_ran_after_all_is_refused_and_not_done_twice() -> None:
    async def scenario(shop: Shop, bench: Bench) -> None:
        run = await bench.start(ORDER, Placed("o-1"), state=Order(order="o-1", card="first"))
        await bench.settle()
        start = bench.published[0]
        case = Case(start.message, repair.opened(start.message), "charge")
        operator = ada(bench)
        again = repair.amended(case, ORDER.contract, {"order": "o-1", "card": "second"}, operator, signed=False)
        for message in (start.message, again, again):
            await bench.broker.publish(Publication("", "payments.ORDER.charge", message))
            await bench.settle()
        assert [what for what in shop.done if what.startswith("charge")] == ["charge first"]
        assert {held.reason for held in bench.held} == {"already-settled"}
        assert bench.run(run).status == "completed"

    played(scenario)


def test_of_a_message_and_its_amended_copy_only_the_copy_is_released() -> None:
    """A process that died while it amended leaves both in the held queue."""

    async def scenario(shop: Shop, bench: Bench) -> None:
        run, before = await at_failing_step(bench)
        state = {"order": "o-1", "card": "found"}
        message = repair.amended(case_of(before, "tell"), ORDER.contract, state, ada(bench), signed=False)
        await bench.broker.publish(held.again(before, message, service="shipping"))
        assert held.superseded(bench.held) == {before.message.message_id}
        await bench.release()
        await bench.settle()
        assert (bench.run(run).status, shop.done) == ("completed", ["charge lost", "ship", "tell found"])
        assert [one.message.message_id for one in bench.held] == [before.message.message_id]

    played(scenario)


def test_the_held_record_says_where_the_handler_raised_and_no_value() -> None:
    async def scenario(shop: Shop, bench: Bench) -> None:
        _, one = await at_failing_step(bench)
        assert (one.error, one.trace.splitlines()[0]) == ("ValueError", "ValueError")
        assert "runtime/test_repair_held.py" in one.trace
        assert "tell: raise ValueError" in one.trace
        assert "stamp/delivery.py" not in one.trace
        assert "o-1" not in one.trace
        assert "o-1" in one.detail
        assert parking.TRACE not in one.original().headers
        assert "raise" not in str(one.message.headers[STAMP])

    played(scenario)


def test_an_amended_message_keeps_the_note_of_the_old_one() -> None:
    async def scenario(shop: Shop, bench: Bench) -> None:
        _, before = await at_failing_step(bench)
        case = case_of(before, "tell")
        message = repair.amended(case, ORDER.contract, {"order": "o-1", "card": "x"}, ada(bench), signed=False)
        after = held.again(before, message, service="shipping").message
        noted = {name: value for name, value in after.headers.items() if name.startswith("stamp_held")}
        assert noted == {name: before.message.headers[name] for name in noted}
        assert {parking.REASON, parking.AT, parking.QUEUE, parking.TRACE} <= noted.keys()

    played(scenario)


async def parked(*ids: str) -> MemoryBroker:
    node = MemoryBroker()
    await node.open()
    await node.declare([*held_parts("desk"), *held_parts("other")])
    for message_id in ids:
        await node.publish(Publication(HELD, "desk", Message(body=b"", message_id=message_id)))
    return node


def onward(found: Any, exchange: str = "", key: str = "stamp.held.other") -> list[Move]:
    return [Move(one, [Publication(exchange, key, replace(one.message, headers={}))]) for one in found]


def test_what_can_not_be_sent_stays_held_with_the_error_and_the_others_go() -> None:
    async def scenario() -> None:
        node = await parked("m0", "m1")

        def plan(found: Any) -> list[Move]:
            return [*onward(found[:1], key="nowhere"), *onward(found[1:])]

        outcomes = await held.carry_out(node, "desk", plan, now=1.0)
        assert [type(error) for _, error in outcomes] == [Unroutable, type(None)]
        assert [one.message.message_id for one in await held.listed(node, "desk")] == ["m0"]

    asyncio.run(scenario())


class Flaky(MemoryBroker):
    """Loses its connection when it is to send a certain message to another queue."""

    async def publish_all(self, publications: Any) -> Any:
        if any(one.message.message_id == "m2" and one.exchange == "" for one in publications):
            return [BrokerUnreachable("gone")] * len(publications)
        return await super().publish_all(publications)


def test_a_broker_that_goes_away_half_way_loses_nothing_and_what_went_is_out() -> None:
    async def scenario() -> None:
        node = Flaky()
        await node.open()
        await node.declare([*held_parts("desk"), *held_parts("other")])
        for number in range(4):
            await node.publish(Publication(HELD, "desk", Message(body=b"", message_id=f"m{number}")))

        async def pace() -> None:
            """Each message by itself."""

        with pytest.raises(BrokerUnreachable):
            await held.carry_out(node, "desk", onward, now=1.0, pace=pace)
        assert [one.message.message_id for one in await held.listed(node, "desk")] == ["m2", "m3"]
        assert [one.message.message_id for one in await held.listed(node, "other")] == ["m0", "m1"]

    asyncio.run(scenario())


def test_two_copies_of_one_message_never_travel_in_one_burst() -> None:
    async def scenario() -> None:
        node = await parked("m0", "m0", "m1")
        outcomes = await held.carry_out(node, "desk", onward, now=1.0)
        assert [error for _, error in outcomes] == [None] * 3
        assert await node.depth("stamp.held.desk") == 0

    asyncio.run(scenario())
