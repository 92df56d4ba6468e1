"""What an owner does not believe is held, and what it may believe later is let in; owners do not hear each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from brokers.contract import Publication
from stamp.codec import STAMP
from stamp.events import DuplicateDropped
from stamp.layout import HELD
from stamp.seal import HmacKey, KeyRing
from stamp.service import Service
from stamp.stores.memory import MemoryStore
from stamp.style import Stateless, Style
from stamp.testing.record import Published
from stamp.testing.runner import OpenBench
from tests.styles.conftest import Open
from tests.styles.stages import (
    ALL,
    DESK,
    ORCHESTRATED,
    OWNED,
    SHOP,
    STAMPED,
    STATELESS,
    Plain,
    Post,
    Stage,
    label,
    nothing,
)
from tests.styles.tables import chain, line
from tests.testing.orders import dynamic, static

STYLES = pytest.mark.parametrize("style", ALL, ids=label)
OWNERS = pytest.mark.parametrize("style", OWNED, ids=label)


def with_stamp(publication: Publication, message_id: str | None = None, **members: Any) -> Publication:
    """The same message with other members in its stamp."""
    message = publication.message
    stamp = msgspec.json.encode({**msgspec.json.decode(str(message.headers[STAMP])), **members}).decode()
    headers = {**message.headers, STAMP: stamp}
    return replace(publication, message=replace(message, headers=headers, message_id=message_id or message.message_id))


def publication_of(message: Published) -> Publication:
    return Publication(message.exchange, message.routing_key, message.message, mandatory=False)


def report_of(stage: Stage, step: str) -> Publication:
    return next(publication_of(one) for one in stage.table.published if one.routing_key == f"report.{step}")


def forged(report: Publication) -> Publication:
    """Another message that tells the same hop otherwise."""
    stamp = msgspec.json.decode(str(report.message.headers[STAMP]))
    [entry] = stamp["history"]
    return with_stamp(report, str(uuid4()), history=[{**entry, "keep": {"label": "another"}}])


def post(stage: Stage, publication: Publication) -> None:
    stage.table.call(stage.table.broker.publish(publication))
    stage.table.settle()


@OWNERS
def test_two_accounts_of_one_hop_are_held_as_equivocation(stored: Open, style: Style) -> None:
    stage = stored(line, style).play()
    before = stage.row()
    post(stage, forged(report_of(stage, "charge")))
    [held] = stage.table.held
    assert (held.reason, held.queue) == ("equivocation", f"{style.owner}.STATIC.ledger")
    assert stage.row() == before


@OWNERS
def test_a_report_that_was_not_believed_is_looked_at_again_when_it_is_released(stored: Open, style: Style) -> None:
    stage = stored(line, style).play()
    post(stage, forged(report_of(stage, "charge")))
    assert [held.reason for held in stage.table.release()] == ["equivocation"]
    stage.table.settle()
    assert [held.reason for held in stage.table.held] == ["equivocation"]


@OWNERS
def test_notes_that_come_with_one_that_is_not_believed_are_written_all_the_same(stored: Open, style: Style) -> None:
    stage = stored(line, style)
    kept = Post(stage.table, lambda one: one.routing_key == "report.charge")
    stage.play()
    real, owner = kept.kept[0], stage.away(stage.owner or "")
    kept.wanted = nothing
    kept.deliver([real, forged(real)])
    stage.back(owner)
    assert [held.reason for held in stage.table.held] == ["equivocation"]
    assert stage.status == "completed"
    stage.agrees()


@OWNERS
def test_the_copy_of_a_held_message_that_tells_the_owner_nothing_new_is_no_duplicate(
    staged: Open, style: Style
) -> None:
    stage = staged(chain, style)
    stage.table.fail("tell", times=2)
    kept = Post(stage.table, lambda one: one.exchange == HELD)
    stage.play()
    kept.wanted = nothing
    kept.deliver([*kept.kept, *kept.kept])
    assert stage.status == "held"
    assert [fact for fact in stage.table.facts if isinstance(fact, DuplicateDropped)] == []


@OWNERS
def test_a_report_that_is_released_by_its_queue_is_read_as_the_report_it_is(staged: Open, style: Style) -> None:
    stage = staged(line, style)
    kept = Post(stage.table, lambda one: one.routing_key == "report.charge")
    stage.play()
    kept.wanted = nothing
    kept.deliver([replace(one, exchange="", routing_key=f"{style.owner}.STATIC.ledger") for one in kept.kept])
    assert stage.status == "completed"
    row = stage.row()
    assert row is not None
    assert (row.status, row.done) == ("completed", ("check", "charge", "ship", "tell"))


@pytest.mark.parametrize("style", [DESK, ORCHESTRATED], ids=label)
def test_reports_of_a_version_that_the_owner_does_not_know_wait_for_the_owner_that_does(
    bench: OpenBench, style: Style
) -> None:
    new = Plain(line(version=2).styled(style))
    old = Service("desk")
    old.owns(line().styled(style))
    table = bench(*(service for name, service in new.services.items() if name != "desk"), old)
    stage = Stage(new, table).play()
    assert {held.reason for held in table.held} == {"too-new"}
    stage.back([new.services["desk"]])
    assert (stage.status, table.held) == ("completed", ())
    stage.agrees()


def test_versions_with_different_owners_are_told_to_their_own(bench: OpenBench) -> None:
    old, new = Plain(line().styled(ORCHESTRATED)), Plain(line(version=2).styled(SHOP))
    services = []
    for name in dict.fromkeys([*old.services, *new.services]):
        both = Service(name)
        for house in (old, new):
            _serve(both, house)
        services.append(both)
    table = bench(*services)
    stages = [Stage(house, table).start() for house in (old, new)]
    table.settle()
    assert [stage.status for stage in stages] == ["completed", "completed"]
    assert table.held == ()
    for stage in stages:
        stage.agrees()


def _serve(service: Service, house: Plain) -> None:
    for step in house.flow.steps:
        if step.service == service.name:
            service.step(house.flow, step.name)(house._do(step.name))
            if step.undo:
                service.undo(house.flow, step.name)(house._undo(step.name))
    if house.flow.style.owner == service.name:
        service.owns(house.flow)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (STAMPED, DESK),
        (DESK, STAMPED),
        (DESK, SHOP),
        (SHOP, ORCHESTRATED),
        (STATELESS, DESK),
        (STAMPED, STATELESS),
        (STATELESS, STAMPED),
    ],
    ids=label,
)
def test_a_message_of_another_style_is_held(bench: OpenBench, mine: Style, theirs: Style) -> None:
    here, there = Plain(line().styled(mine)), Plain(line().styled(theirs))
    table = bench(
        *(service for name, service in here.services.items() if name != "payments"), there.services["payments"]
    )
    stage = Stage(here, table).start(via=here.services["shop"])
    table.settle()
    assert ([held.reason for held in table.held], stage.house.calls) == (["invalid"], ["check"])


NEWS = {"x_news": {"deep": [1, {"er": None}]}}
EXT = {"com.example": {"colour": "red"}}


@STYLES
@pytest.mark.parametrize("make", [static, dynamic])
@pytest.mark.parametrize("refused", ["", "tell"])
def test_what_nobody_here_knows_survives_every_hop(staged: Open, style: Style, make: Any, refused: str) -> None:
    if isinstance(style, Stateless) and make is dynamic:
        make = static
    stage = staged(make, style, {refused})
    kept = Post(stage.table, lambda one: one.message.type in {"Ordered", "report:start"})
    stage.play()
    kept.wanted = lambda one: one.message.type == "Ordered" and not one.message.headers.get("seen")
    [first, *_] = [one for one in kept.kept if style != ORCHESTRATED or one.message.type == "report:start"]
    stamp = msgspec.json.decode(str(first.message.headers[STAMP]))
    kept.wanted = nothing
    kept.deliver([with_stamp(first, state={**stamp["state"], **NEWS}, ext=EXT, **NEWS)])
    last = stage.found.stamp
    assert stage.ends == (["end.compensated"] if refused else ["end.completed"])
    assert (last.values["x_news"], last.values["ext"]) == (NEWS["x_news"], EXT)
    if not isinstance(style, Stateless):
        assert last.state["x_news"] == NEWS["x_news"]


@STYLES
@pytest.mark.parametrize("refused", ["", "ship"])
def test_a_signed_workflow_is_signed_by_services_and_owner(bench: OpenBench, style: Style, refused: str) -> None:
    house = Plain(line(signed=True).styled(style), refuse={refused})
    ring = KeyRing([HmacKey("k", b"s" * 32)], signing="k")
    for service in house.services.values():
        service.codec = msgspec.structs.replace(service.codec, keys=ring)
    stage = Stage(house, bench(*house.all)).play()
    assert (stage.status, stage.table.held) == ("compensated" if refused else "completed", ())
    assert all("stamp_signature" in one.message.headers for one in stage.table.published)
    stage.agrees()


@OWNERS
def test_an_unsigned_report_of_a_signed_workflow_is_held(bench: OpenBench, style: Style) -> None:
    house = Plain(line(signed=True).styled(style))
    ring = KeyRing([HmacKey("k", b"s" * 32)], signing="k")
    for service in house.services.values():
        service.codec = msgspec.structs.replace(service.codec, keys=ring)
    stage = Stage(house, bench(*house.all)).play()
    before = stage.row()
    post(stage, forged(report_of(stage, "charge")))
    assert [held.reason for held in stage.table.held] == ["signature"]
    assert stage.row() == before


@STYLES
@pytest.mark.parametrize("refused", ["", "ship"])
def test_two_versions_run_side_by_side(bench: OpenBench, style: Style, refused: str) -> None:
    old, new = Plain(line().styled(style), refuse={refused}), Plain(line(version=2).styled(style), refuse={refused})
    services = []
    for name in old.services:
        both = Service(name)
        for house in (old, new):
            _serve(both, house)
        services.append(both)
    table = bench(*services)
    stages = [Stage(house, table).start() for house in (old, new)]
    table.settle()
    for stage in stages:
        assert stage.status == ("compensated" if refused else "completed")
        stage.agrees()
    assert table.held == ()


@STYLES
@pytest.mark.parametrize("refused", ["", "ship"])
def test_steps_may_be_sharded(staged: Open, style: Style, refused: str) -> None:
    stage = staged(sharded, style, {refused}).play()
    assert (stage.status, stage.table.held) == ("compensated" if refused else "completed", ())
    assert stage.undone == (["charge", "check"] if refused else [])
    stage.agrees()


def sharded() -> Any:
    return line(shards=2)


@pytest.mark.parametrize("style", [DESK, ORCHESTRATED], ids=label)
@pytest.mark.parametrize("refused", ["", "tell"])
def test_services_without_a_store_report_to_the_owner_which_has_one(
    bench: OpenBench, style: Style, refused: str
) -> None:
    house = Plain(line().styled(style), refuse={refused})
    stage = Stage(house, bench(*house.all, store=lambda name: MemoryStore() if name == "desk" else None))
    stage.play()
    assert stage.status == ("compensated" if refused else "completed")
    assert stage.undone == (["ship", "charge", "check"] if refused else [])
    stage.agrees()
