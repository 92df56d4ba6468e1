"""Repairs of held messages in styles whose history stays with an owner: the run goes on, and its owner knows why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from brokers.contract import Message
from stamp import Service, Workflow, held, repair
from stamp.beginning import begin
from stamp.errors import RepairRefused
from stamp.held import Held
from stamp.repair import Case, Operator
from stamp.slim import begun
from stamp.standing import Standing
from stamp.style import FrontController, Orchestrator, Stateless, Style
from stamp.testing import Bench
from tests.runtime.test_repair_held import ORDER, Order, Placed, Shop, ada, carry, case_of, ends

RUN = "019a3c5e-7b1d-7c2a-9f00-1234567890ab"
OWNERS = [FrontController("payments"), FrontController("office"), Orchestrator("office")]


@dataclass
class Place:
    """The shop under one style."""

    flow: Workflow
    shop: Shop
    bench: Bench
    services: dict[str, Service]
    run: str = ""

    async def start(self, card: str) -> Held:
        """A run that stops at something held."""
        self.run = await self.bench.start(
            self.flow, Placed("o-1"), state=Order(order="o-1", card=card), via=self.services["payments"]
        )
        await self.bench.settle()
        (one,) = self.bench.held
        return one

    async def standing(self) -> Standing:
        await self.bench.settle()
        found = await self.services[str(self.flow.style.owner)].status(self.run)
        assert found is not None
        return found


def played(style: Style, scenario: Callable[[Place], Coroutine[Any, Any, None]]) -> None:
    async def play() -> None:
        shop, flow = Shop(), ORDER.styled(style)
        services = {one.name: one.styled(flow) for one in (shop.payments, shop.shipping)}
        if style.owner is not None and style.owner not in services:
            services[style.owner] = Service(style.owner)
            services[style.owner].owns(flow)
        async with Bench(*services.values()) as bench:
            await scenario(Place(flow, shop, bench, services))

    asyncio.run(play())


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_a_released_message_lets_the_owner_know_that_the_run_goes_on(style: Style) -> None:
    async def scenario(place: Place) -> None:
        place.shop.bank = place.shop.courier = False
        one = await place.start("c")
        assert ((await place.standing()).status, one.reason) == ("held", "undo-failed")
        place.shop.bank = True
        await place.bench.release()
        assert (await place.standing()).status == "compensated"
        assert ends(place.bench, place.run) == ["end.compensated"]

    played(style, scenario)


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_a_step_skipped_by_hand_completes_the_run_in_the_ledger(style: Style) -> None:
    async def scenario(place: Place) -> None:
        case = case_of(await place.start("lost"), "tell")
        sent = repair.skipped(case, place.flow, ada(place.bench, "shipping"), event="Told", payload={"order": "o-1"})
        await carry(place.bench, "shipping", sent)
        standing = await place.standing()
        assert (standing.status, standing.history[-1].by, standing.history[-1].outcome) == (
            "completed",
            "ada",
            "skipped",
        )
        assert ends(place.bench, place.run) == ["end.completed"]

    played(style, scenario)


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_an_undo_skipped_by_hand_lets_the_owner_walk_on(style: Style) -> None:
    async def scenario(place: Place) -> None:
        place.shop.bank = place.shop.courier = False
        case = case_of(await place.start("c"), "charge")
        await carry(place.bench, "payments", repair.skipped(case, place.flow, ada(place.bench)))
        standing = await place.standing()
        assert (standing.status, standing.history[-1].why, standing.to_undo) == ("compensated", "by hand", ())

    played(style, scenario)


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_a_run_dropped_by_hand_has_failed_in_the_ledger(style: Style) -> None:
    async def scenario(place: Place) -> None:
        case = case_of(await place.start("lost"), "tell")
        notice = repair.dropped(case, "ORDER", ada(place.bench, "shipping"), signed=False)
        await carry(place.bench, "shipping", [notice])
        standing = await place.standing()
        assert (standing.status, standing.error, standing.history[-1].by) == ("failed", "Operator: by hand", "ada")

    played(style, scenario)


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_an_amended_message_is_held_in_the_old_ones_place_and_goes_on_with_the_new_state(style: Style) -> None:
    async def scenario(place: Place) -> None:
        one = await place.start("lost")
        case = case_of(one, "tell")
        operator = ada(place.bench, "shipping")
        message = repair.amended(
            case, place.flow.contract, {**case.stamp.state, "card": "found"}, operator, signed=False
        )
        await carry(place.bench, "shipping", [held.again(one, message, service="shipping")])
        assert (await place.standing()).status == "held"
        await place.bench.release()
        standing = await place.standing()
        assert (standing.status, standing.state["card"]) == ("completed", "found")
        assert [entry.step for entry in standing.history] == ["charge", "ship", "amend:tell", "tell"]

    played(style, scenario)


def test_a_stateless_run_has_no_state_to_amend() -> None:
    stamp = begun(
        ORDER.styled(Stateless()), begin(ORDER, Placed("o-1"), run=RUN, state={"order": "o-1"}, now=0.0)
    ).stamp
    case = Case(Message(body=b"{}", message_id=RUN), stamp, "tell")
    operator = Operator(by="ada", why="by hand", service="shipping", now=0.0)
    with pytest.raises(RepairRefused, match="no state travels"):
        repair.amended(case, ORDER.contract, {"order": "o-2"}, operator, signed=False)
