"""Steps that run another workflow, on the bench: real services, real stores, the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from brokers.contract import Publication
from stamp import All, Child, Each, FrontController, Orchestrator, Service, Stateless, Step, Workflow
from stamp.codec import Codec
from stamp.events import RunEnded, RunStarted
from stamp.held import Held, Move, carry_out
from stamp.ids import first_message
from stamp.layout import JOURNAL, end_key
from stamp.model import epoch
from stamp.reading.audit import Account, Book, Evidence, judge
from stamp.repair import Case, Operator, amended, dropped, opened, skipped, turned
from stamp.seal import HmacKey, KeyRing
from stamp.style import Style
from stamp.testing.record import Published, Run
from stamp.testing.runner import OpenBench, SyncBench
from tests.testing.family import (
    BACK,
    FORTH,
    ORDERED,
    STYLES,
    Asked,
    Created,
    Family,
    Ordered,
    Prepared,
    between,
    family,
    forked,
    inside,
    outside,
)

Open = Callable[[Family], SyncBench]
PAIRS = [(outer, inner) for outer in STYLES for inner in STYLES]
by_style = pytest.mark.parametrize(("outer", "inner"), PAIRS)
OPERATOR = Operator(by="ada", why="it hangs", service="shop", now=0.0)


@pytest.fixture(params=["memory", "sqlite"])
def opened_on(request: pytest.FixtureRequest, bench: OpenBench) -> Open:
    return lambda house: bench(*house.all, store=request.param)


def play(table: SyncBench, house: Family) -> Run:
    run = table.start(house.outer, ORDERED)
    table.settle()
    return table.run(run)


def children(table: SyncBench, workflow: str = "INSIDE") -> list[Run]:
    runs = dict.fromkeys(one.run for one in table.published if one.exchange == workflow and one.run)
    return [table.run(run) for run in runs]


def first(table: SyncBench, kind: str) -> Published:
    return next(one for one in table.published if one.type == kind and one.kind == "progress")


def account(table: SyncBench) -> Account:
    book = Book()
    stream = table.broker.node.stream(JOURNAL)
    for record in stream.records(0, stream.end):
        book.enter(record)
    return judge(book, Evidence(), now=table.clock.now() + 1e6, older_than=0)


@by_style
def test_a_step_is_done_when_the_run_that_it_started_has_completed(opened_on: Open, outer: str, inner: str) -> None:
    house = family(outer, inner)
    table = opened_on(house)
    run = play(table, house)
    assert run.status == "completed"
    assert house.calls == FORTH
    assert [child.status for child in children(table)] == ["completed"]


@by_style
def test_a_child_that_failed_has_failed_the_step(opened_on: Open, outer: str, inner: str) -> None:
    house = family(outer, inner, refuse={"wrap"})
    table = opened_on(house)
    run = play(table, house)
    assert run.status == "compensated"
    assert house.calls == ["create", "prepare", "pick", "undo pick", "undo create"]
    assert [child.status for child in children(table)] == ["compensated"]
    error = run.error or {}
    assert (error["type"], error["message"], error["step"]) == ("Child", "wrap refused", "prepare")


@by_style
def test_a_failure_behind_the_step_takes_the_child_back_first(opened_on: Open, outer: str, inner: str) -> None:
    house = family(outer, inner, refuse={"ship"})
    table = opened_on(house)
    run = play(table, house)
    assert run.status == "compensated"
    assert house.calls == [*FORTH[:-1], *BACK]
    assert [child.status for child in children(table)] == ["compensated"]
    error = children(table)[0].error or {}
    assert (error["type"], error["message"], error["step"]) == ("Parent", "Fail: ship refused", "prepare")


@by_style
@pytest.mark.parametrize("refuse", [[], ["wrap"], ["ship"]], ids=["completes", "child fails", "parent fails"])
def test_every_message_may_come_twice(bench: OpenBench, outer: str, inner: str, refuse: list[str]) -> None:
    once, twice = family(outer, inner, refuse=set(refuse)), family(outer, inner, refuse=set(refuse))
    plain = play(bench(*once.all), once)
    table = bench(*twice.all)
    doubled(table)
    assert play(table, twice).status == plain.status
    assert twice.calls == once.calls
    assert table.held == ()


@by_style
@pytest.mark.parametrize("refuse", [[], ["wrap"], ["ship"]], ids=["completes", "child fails", "parent fails"])
def test_every_message_may_come_again_when_all_is_over(
    bench: OpenBench, outer: str, inner: str, refuse: list[str]
) -> None:
    house = family(outer, inner, refuse=set(refuse))
    table = bench(*house.all)
    run, calls = play(table, house), list(house.calls)
    for message in table.published.of_kind("progress"):
        table.redeliver(message)
        table.settle()
    assert house.calls == calls
    assert table.run(run.id).status == run.status
    assert table.held == ()


def doubled(table: SyncBench) -> None:
    """Whatever the services send goes out twice."""
    publish_all = table.broker.publish_all

    async def twice(publications: Sequence[Publication]) -> Any:
        outcomes = await publish_all(publications)
        await publish_all([one for one in publications if not one.exchange.startswith("stamp.")])
        return outcomes

    table.broker.publish_all = twice  # type: ignore[method-assign]


@by_style
@pytest.mark.parametrize("refuse", ["", "ship"], ids=["forward", "back"])
def test_a_parent_that_was_away_hears_of_the_end_when_it_is_back(
    opened_on: Open, outer: str, inner: str, refuse: str
) -> None:
    house = family(outer, inner, refuse={refuse})
    table = opened_on(house)
    table.stop("packing")
    run = table.start(house.outer, ORDERED)
    table.settle()
    assert house.calls == ["create", "prepare", "pick"]
    table.stop("shop")
    table.deploy(house.services["packing"])
    table.settle()
    assert house.calls == ["create", "prepare", "pick", "wrap"]
    table.deploy(house.services["shop"])
    table.settle()
    assert table.run(run).status == ("compensated" if refuse else "completed")
    assert house.calls == ([*FORTH[:-1], *BACK] if refuse else FORTH)


def test_a_parent_that_was_away_hears_that_its_child_is_taken_back(opened_on: Open) -> None:
    house = family(refuse={"ship"})
    table = opened_on(house)
    table.stop("shipping")
    run = table.start(house.outer, ORDERED)
    table.settle()
    table.stop("packing")
    table.deploy(house.services["shipping"])
    table.settle()
    table.stop("shop")
    table.deploy(house.services["packing"])
    table.settle()
    assert house.calls == [*FORTH[:-1], "undo wrap", "undo pick"]
    table.deploy(house.services["shop"])
    table.settle()
    assert table.run(run).status == "compensated"
    assert house.calls == [*FORTH[:-1], *BACK]


@by_style
def test_a_child_that_is_held_lets_the_step_wait_until_it_is_released(bench: OpenBench, outer: str, inner: str) -> None:
    house = family(outer, inner, refuse={"ship"})
    table = bench(*house.all)
    table.fail("undo:pick", times=2)
    run = play(table, house)
    assert run.status == "compensating"
    assert [held.reason for held in table.held] == ["undo-failed"]
    assert house.calls == [*FORTH[:-1], "undo wrap"]
    table.release()
    table.settle()
    assert table.run(run.id).status == "compensated"
    assert house.calls == [*FORTH[:-1], *BACK]


def one_way(inner: Workflow) -> Workflow:
    """A parent with no way back."""
    return Workflow(
        "ONE_WAY",
        version=1,
        start=Created,
        steps=[Step("prepare", service="shop", on=Created, emits=Prepared, runs=inner)],
    )


@pytest.mark.parametrize("inner", STYLES)
def test_where_there_is_no_way_back_the_step_is_held_and_a_release_runs_another_child(
    opened_on: Open, inner: str
) -> None:
    child = inside(STYLES[inner][1])
    house = Family((one_way(child), child), refuse={"wrap"})
    table = opened_on(house)
    run = table.start(house.outer, Created("o"))
    table.settle()
    assert table.run(run).status == "held"
    assert [(held.reason, held.detail) for held in table.held] == [("failed", "Child: wrap refused")]
    house.refuse.clear()
    table.release()
    table.settle()
    assert table.run(run).status == "completed"
    assert [one.status for one in children(table)] == ["compensated", "completed"]
    assert house.calls == ["prepare", "pick", "undo pick", "prepare", "pick", "wrap"]


def drop(table: SyncBench, step: str, service: str) -> None:
    """A person gives the run up whose message is held."""

    def plan(found: Sequence[Held]) -> list[Move]:
        message = found[0].original()
        return [Move(found[0], [dropped(Case(message, opened(message), step), "INSIDE", OPERATOR, signed=False)])]

    table.call(carry_out(table.broker, service, plan, now=0.0))
    table.settle()


@pytest.mark.parametrize("inner", STYLES)
def test_a_step_whose_child_failed_may_be_skipped_by_hand(opened_on: Open, inner: str) -> None:
    child = inside(STYLES[inner][1])
    house = Family((one_way(child), child), refuse={"wrap"})
    table = opened_on(house)
    run = table.start(house.outer, Created("o"))
    table.settle()

    def plan(found: Sequence[Held]) -> list[Move]:
        case = Case(found[0].original(), opened(found[0].original()), "prepare")
        return [Move(found[0], skipped(case, house.outer, OPERATOR, payload={"order": "by hand"}))]

    table.call(carry_out(table.broker, "shop", plan, now=0.0))
    table.settle()
    assert table.run(run).status == "completed"
    assert table.held == ()
    assert house.calls == ["prepare", "pick", "undo pick"]


def test_a_child_that_a_person_drops_has_failed_the_step(opened_on: Open) -> None:
    house = family(refuse={"wrap"})
    table = opened_on(house)
    table.fail("undo:pick", times=2)
    run = play(table, house)
    assert run.status == "running"
    drop(table, "pick", "shelves")
    assert table.run(run.id).status == "compensated"
    assert house.calls == ["create", "prepare", "pick", "undo create"]


def test_an_undo_whose_child_a_person_drops_is_held_and_stays_so(opened_on: Open) -> None:
    house = family(refuse={"ship"})
    table = opened_on(house)
    table.fail("undo:pick", times=2)
    run = play(table, house)
    drop(table, "pick", "shelves")
    for _ in range(2):
        assert [(held.reason, held.message.type) for held in table.held] == [("undo-failed", "undo:prepare")]
        assert table.run(run.id).status == "held"
        table.release()
        table.settle()


def test_an_undo_that_comes_before_the_child_has_ended_waits_for_that_and_takes_it_back(opened_on: Open) -> None:
    house = family()
    table = opened_on(house)
    table.stop("packing")
    run = table.start(house.outer, ORDERED)
    table.settle()
    message = first(table, "Created").message
    case = Case(message, opened(message), "prepare")
    for publication in turned(case, house.outer, OPERATOR, partly=True):
        table.call(table.broker.publish(publication))
    table.settle()
    assert house.calls == ["create", "prepare", "pick"]
    table.deploy(house.services["packing"])
    table.settle()
    assert table.run(run).status == "compensated"
    assert house.calls == [*FORTH[:-1], *BACK]


def test_an_undo_that_comes_before_the_step_finds_nothing_and_the_step_never_runs(opened_on: Open) -> None:
    house = family()
    table = opened_on(house)
    table.fail("prepare", times=9, error=RuntimeError)
    run = table.start(house.outer, ORDERED)
    message = None
    while message is None:
        table.advance(0.2)
        message = next((one.message for one in table.published if one.type == "Created"), None)
    case = Case(message, opened(message), "prepare")
    for publication in turned(case, house.outer, OPERATOR, partly=True):
        table.call(table.broker.publish(publication))
    table.advance(0.2)
    assert table.run(run).status == "compensated"
    assert house.calls == ["create", "undo create"]
    table.settle()
    assert children(table) == []


@pytest.mark.parametrize("outer", STYLES)
@pytest.mark.parametrize(
    ("refuse", "undone"),
    [
        ([], set()),
        (["wrap"], {"undo pick", "undo charge", "undo create"}),
        (["charge"], {*BACK}),
        (["ship"], {*BACK, "undo charge"}),
    ],
    ids=["completes", "child fails", "branch beside fails", "behind the join fails"],
)
def test_a_branch_of_a_fork_may_run_a_child(opened_on: Open, outer: str, refuse: list[str], undone: set[str]) -> None:
    child = inside()
    house = Family((forked(child, STYLES[outer][0]), child), refuse=set(refuse))
    table = opened_on(house)
    run = play(table, house)
    assert run.status == ("compensated" if refuse else "completed")
    assert {call for call in house.calls if call.startswith("undo")} == undone
    assert len(house.calls) == len(set(house.calls))
    assert table.held == ()


@pytest.mark.parametrize("inner", STYLES)
def test_a_child_may_have_a_child(opened_on: Open, inner: str) -> None:
    child = inside(STYLES[inner][1])
    middle = between(child)
    house = Family((outside(middle), middle, child), refuse={"ship"})
    table = opened_on(house)
    run = play(table, house)
    assert run.status == "compensated"
    assert house.calls == ["create", "prepare", "pack", "pick", "wrap", *BACK]
    grandchild, parent = children(table)[0], children(table, "BETWEEN")[0]
    assert (grandchild.stamp.parent or {})["run"] == parent.id
    assert (parent.stamp.parent or {})["run"] == run.id


def test_each_item_of_a_list_may_run_a_child(opened_on: Open) -> None:
    child = inside()
    outer = Workflow(
        "LIST",
        version=1,
        start=Ordered,
        steps=[
            Step("create", service="shop", on=Ordered, emits=Created, undo=True),
            Step("prepare", service="shop", on=Each(Created), emits=Prepared, runs=child, undo=True),
            Step("ship", service="shipping", on=All(Prepared)),
        ],
    )
    house = Family((outer, child), refuse={"ship"}, made={"create": lambda _: [Created("a"), Created("b")]})
    table = opened_on(house)
    run = play(table, house)
    assert run.status == "compensated"
    assert [one.status for one in children(table)] == ["compensated", "compensated"]
    assert sorted(house.calls) == sorted(
        ["create", *["prepare", "pick", "wrap", "undo wrap", "undo pick"] * 2, BACK[-1]]
    )


@pytest.mark.parametrize("style", [FrontController("shop"), Orchestrator("shop")], ids=lambda style: style.name)
@pytest.mark.parametrize("refuse", ["", "wrap", "ship"], ids=["completes", "child fails", "parent fails"])
def test_the_service_of_the_step_may_own_both_runs(opened_on: Open, style: Style, refuse: str) -> None:
    child = inside(style)
    house = Family((outside(child, style), child), refuse={refuse})
    table = opened_on(house)
    assert play(table, house).status == ("compensated" if refuse else "completed")
    assert len(house.calls) == len(set(house.calls))
    assert table.held == ()


def test_a_step_with_shards_may_run_a_child(opened_on: Open) -> None:
    child = inside()
    line = Step("prepare", service="shop", on=Created, emits=Prepared, runs=child, undo=True, shards=2)
    after = Step("ship", service="shipping", on=Prepared)
    house = Family((Workflow("SHARDED", version=1, start=Created, steps=[line, after]), child), refuse={"ship"})
    table = opened_on(house)
    runs = [table.start(house.outer, Created("o")) for _ in range(4)]
    table.settle()
    assert {table.run(run).status for run in runs} == {"compensated"}
    assert [one.status for one in children(table)] == ["compensated"] * 4


def test_a_signed_parent_and_a_signed_child(bench: OpenBench) -> None:
    child = inside(signed=True)
    line = Step("prepare", service="shop", on=Created, emits=Prepared, runs=child, undo=True)
    flow = Workflow(
        "SIGNED", version=1, start=Created, signed=True, steps=[line, Step("ship", service="shop", on=Prepared)]
    )
    house = Family((flow, child), refuse={"ship"})
    for service in house.all:
        service.codec = Codec(keys=KeyRing([HmacKey("k1", b"0" * 32)], signing="k1"))
    table = bench(*house.all)
    run = table.start(house.outer, Created("o"))
    table.settle()
    assert table.run(run).status == "compensated"
    assert house.calls == ["prepare", "pick", "wrap", "undo wrap", "undo pick"]


def test_versions_with_and_without_a_child_are_served_side_by_side(opened_on: Open) -> None:
    child = inside()
    alone = Step("prepare", service="shop", on=Created, emits=Prepared)
    running = Step("prepare", service="shop", on=Created, emits=Prepared, runs=child)
    old = Workflow("VERSIONS", version=1, start=Created, steps=[alone])
    new = Workflow("VERSIONS", version=2, start=Created, steps=[running])
    house, shop = Family((child,)), Service("shop")

    @shop.step(old, "prepare")
    async def prepare(event: Created, hop: Any) -> Prepared:
        return Prepared(event.order)

    @shop.step(new, "prepare")
    async def ask(event: Created, hop: Any) -> Asked:
        return Asked(event.order)

    house.services["shop"] = shop
    table = opened_on(house)
    runs = [table.start(flow, Created("o"), via=shop) for flow in (old, new)]
    table.settle()
    assert [table.run(run).status for run in runs] == ["completed", "completed"]
    assert house.calls == ["pick", "wrap"]


class Box(msgspec.Struct, kw_only=True):
    order: str
    size: int = 1


def test_the_handler_gives_a_child_its_state_and_the_parents_own_state_goes_on(opened_on: Open) -> None:
    child = inside(state=Box)
    outer = Workflow(
        "STATED",
        version=1,
        start=Created,
        state=Box,
        steps=[Step("prepare", service="shop", on=Created, emits=Prepared, runs=child)],
    )
    shop, shelves, packing = Service("shop"), Service("shelves"), Service("packing")

    @shop.step(outer, "prepare")
    async def prepare(event: Created, hop: Any) -> Child:
        hop.state.size = 2
        return Child(Asked(event.order), state=Box(order="inner", size=7))

    house = Family((child,))
    house.services = {"shop": shop, "shelves": shelves, "packing": packing, **house.services}
    table = opened_on(house)
    run = table.start(outer, Created("o"), state=Box(order="outer"))
    table.settle()
    assert table.run(run).state == {"order": "outer", "size": 2}
    assert children(table)[0].state == {"order": "inner", "size": 7}


def test_what_the_child_ends_in_is_emitted_byte_for_byte(opened_on: Open) -> None:
    house = family()
    table = opened_on(house)
    play(table, house)
    end = next(one for one in table.published if one.exchange == "INSIDE" and one.routing_key == end_key("completed"))
    assert [one.message.body for one in table.published if one.exchange == "OUTSIDE" and one.type == "Prepared"] == [
        end.message.body
    ]


def test_a_second_run_with_the_same_id_starts_the_same_child(bench: OpenBench) -> None:
    ids = set()
    for _ in range(2):
        house = family()
        table = bench(*house.all)
        play(table, house)
        ids.add(children(table)[0].id)
    assert len(ids) == 1


def test_the_ends_of_others_runs_of_the_childs_workflow_mean_nothing(opened_on: Open) -> None:
    house = family()
    table = opened_on(house)
    alone = table.start(house.flows[1], Asked("x"), via=house.services["shelves"])
    table.settle()
    assert table.run(alone).status == "completed"
    assert house.calls == ["pick", "wrap"]
    assert table.held == ()


def test_a_child_that_is_late_has_failed_the_step(opened_on: Open) -> None:
    child = inside(deadline="1h")
    house = Family((outside(child), child))
    table = opened_on(house)
    table.stop("packing")
    run = table.start(house.outer, ORDERED)
    table.settle()
    table.advance("2h")
    table.deploy(house.services["packing"])
    table.settle()
    assert table.run(run).status == "compensated"
    assert house.calls == ["create", "prepare", "pick", "undo pick", "undo create"]


@pytest.mark.parametrize(("own", "hours"), [("1h", 1), ("72h", 48), (None, 48)])
def test_a_childs_deadline_is_never_later_than_its_parents(bench: OpenBench, own: str | None, hours: int) -> None:
    child = inside(deadline=own)
    house = Family((outside(child), child))
    table = bench(*house.all)
    run = play(table, house)
    inner = children(table)[0].stamp
    assert epoch(inner.deadline or "") - epoch(inner.started) == hours * 3600
    assert (inner.parent or {}) == {
        "run": run.id,
        "workflow": "OUTSIDE",
        "step": "prepare",
        "deadline": run.stamp.deadline,
    }


@by_style
def test_the_audit_finds_every_run_ended_once(bench: OpenBench, outer: str, inner: str) -> None:
    house = family(outer, inner, refuse={"ship"})
    table = bench(*house.all)
    play(table, house)
    found = account(table)
    assert [one.fate for one in found.verdicts] == ["compensated", "compensated"]
    assert found.doubled == []


@by_style
def test_a_run_that_waits_for_its_child_is_not_missing(bench: OpenBench, outer: str, inner: str) -> None:
    house = family(outer, inner)
    table = bench(*house.all)
    table.stop("packing")
    table.start(house.outer, ORDERED)
    table.settle()
    assert account(table).places["the run that it waits for"] == 1
    table.stop("shop")
    table.deploy(house.services["packing"])
    table.settle()
    assert account(table).places["the run that it waits for"] == 1


def test_an_end_that_the_step_can_not_emit_is_held_and_does_no_harm(opened_on: Open) -> None:
    house = family()
    table = opened_on(house)
    table.stop("packing")
    run = table.start(house.outer, ORDERED)
    table.settle()
    picked = first(table, "Picked").message
    stamp = opened(picked).having({"phase": "completed", "event": "Prepared"})
    headers = {**picked.headers, "stamp": stamp.to_json().decode()}
    wrong = replace(picked, body=b"{}", type="Prepared", message_id=first_message(stamp.run), headers=headers)
    table.call(table.broker.publish(Publication("INSIDE", end_key("completed"), wrong, mandatory=False)))
    table.settle()
    assert [(held.reason, held.queue) for held in table.held] == [("payload-invalid", "shop.OUTSIDE.prepare.ends")]
    table.deploy(house.services["packing"])
    table.settle()
    assert table.run(run).status == "completed"
    assert house.calls == FORTH
    table.release()
    table.settle()
    assert table.held == ()


def test_an_amended_message_gets_the_step_another_try(opened_on: Open) -> None:
    child = inside()
    outer = Workflow(
        "ONE_WAY",
        version=1,
        start=Created,
        state=Box,
        steps=[Step("prepare", service="shop", on=Created, emits=Prepared, runs=child)],
    )
    house = Family((outer, child), refuse={"wrap"})
    table = opened_on(house)
    run = table.start(outer, Created("o"), state=Box(order="o"))
    table.settle()
    house.refuse.clear()

    def plan(found: Sequence[Held]) -> list[Move]:
        case = Case(found[0].original(), opened(found[0].original()), "prepare")
        better = amended(case, outer.contract, {"order": "o", "size": 2}, OPERATOR, signed=False)
        return [Move(found[0], [Publication("", "shop.ONE_WAY.prepare", better)])]

    table.call(carry_out(table.broker, "shop", plan, now=0.0))
    table.settle()
    assert table.run(run).status == "completed"
    assert table.run(run).state == {"order": "o", "size": 2}


def test_observers_hear_that_the_child_was_started(bench: OpenBench) -> None:
    house = family()
    table = bench(*house.all)
    play(table, house)
    started = [fact.workflow for fact in table.facts if isinstance(fact, RunStarted)]
    ended = [fact.workflow for fact in table.facts if isinstance(fact, RunEnded)]
    assert (started, ended) == (["OUTSIDE", "INSIDE"], ["INSIDE", "OUTSIDE"])


def test_a_stateless_parent_takes_its_child_back_without_any_history(opened_on: Open) -> None:
    child = inside(Stateless())
    house = Family((forked(child, Stateless()), child), refuse={"ship"})
    run = play(opened_on(house), house)
    assert run.status == "compensated"
    assert run.history == ()
