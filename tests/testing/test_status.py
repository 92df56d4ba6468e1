"""Where a run stands, asked of its owner or of all who take part; overdue runs are noticed by their owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stamp import All, Fail, Hop, Service, Step, Workflow
from stamp.errors import DefinitionError, StoreUnavailable
from stamp.events import DuplicateDropped, Overdue, Paused
from stamp.inquiry import Answer, Picture, ask
from stamp.notes import Jotting
from stamp.style import FrontController, Orchestrator, Stamped, Stateless, Style
from stamp.testing.runner import OpenBench, SyncBench


class Sent(msgspec.Struct):
    parcel: str


class Weighed(msgspec.Struct):
    parcel: str


class Stamped_(msgspec.Struct):  # noqa: N801  a parcel has stamps, too
    parcel: str


class Loaded(msgspec.Struct):
    parcel: str


def table(style: Style) -> Workflow:
    return Workflow(
        "PARCEL",
        version=1,
        start=Sent,
        deadline="1h",
        style=style,
        steps=[
            Step("weigh", service="scale", on=Sent, emits=Weighed, undo=True),
            Step("frank", service="counter", on=Sent, emits=Stamped_, undo=True),
            Step("load", service="van", on=All(Weighed, Stamped_), emits=Loaded, retry="1x"),
            Step("deliver", service="van", on=Loaded),
        ],
    )


class Post:
    """The services of one style. `refuse` names the steps that fail."""

    def __init__(self, style: Style, *, refuse: str = "") -> None:
        self.flow = flow = table(style)
        self.refuse = refuse
        self.services = {name: Service(name) for name in (*flow.services, "office")}
        made: dict[str, Callable[[str], Any]] = {
            "weigh": Weighed,
            "frank": Stamped_,
            "load": Loaded,
            "deliver": lambda _: None,
        }
        for step in flow.steps:
            service = self.services[step.service]
            service.step(flow, step.name)(self._handler(step.name, made[step.name]))
            if step.undo:
                service.undo(flow, step.name)(self._undo)
        if style.owner is not None:
            self.services[style.owner].owns(flow)

    def _handler(self, name: str, made: Callable[[str], Any]) -> Any:
        async def handle(event: Any, hop: Hop[Any]) -> Any:
            if name == self.refuse:
                raise Fail(f"{name} refused")
            return made(event.parcel if hasattr(event, "parcel") else "P")

        return handle

    async def _undo(self, hop: Hop[Any]) -> None:
        """Nothing to do."""

    def play(self, bench: OpenBench, *, without: tuple[str, ...] = (), store: Any = "memory") -> tuple[SyncBench, str]:
        here = bench(*(one for name, one in self.services.items() if name not in without), store=store)
        run = here.start(self.flow, Sent("P"), via=self.services["scale"])
        here.settle()
        return here, run

    def ask(self, here: SyncBench, run: str) -> Picture:
        return here.call(ask(here.broker, self.flow, run, timeout=0.3))


OWNERS = [FrontController("scale"), FrontController("office"), Orchestrator("office")]


@pytest.mark.parametrize("style", OWNERS, ids=str)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_an_owner_tells_where_a_run_stands_from_its_own_database(bench: OpenBench, style: Style, store: str) -> None:
    post = Post(style)
    here, run = post.play(bench, without=("van",), store=store)
    standing = here.call(post.services[str(style.owner)].status(run))
    assert standing is not None
    assert (standing.status, set(standing.done), standing.current) == ("running", {"weigh", "frank"}, ("load",))
    assert (standing.remaining, set(standing.to_undo)) == (("load", "deliver"), {"weigh", "frank"})
    assert (standing.attempts, standing.error, standing.ended) == (2, "", None)


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_an_owner_knows_how_a_run_ended(bench: OpenBench, style: Style) -> None:
    post = Post(style, refuse="load")
    here, run = post.play(bench)
    standing = here.call(post.services[str(style.owner)].status(run))
    assert standing is not None
    assert (standing.status, standing.error) == ("compensated", "Fail: load refused")
    assert [entry.outcome for entry in standing.history] == ["ok", "ok", "failed", "undone", "undone"]
    assert (standing.remaining, standing.to_undo, standing.ended) == ((), (), here.clock.now())


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_an_owner_knows_what_is_held(bench: OpenBench, style: Style) -> None:
    post = Post(style, refuse="deliver")
    post.flow.step("load").pivot = True
    here, run = post.play(bench)
    standing = here.call(post.services[str(style.owner)].status(run))
    assert standing is not None
    assert (standing.status, standing.held) == ("held", "failed: Fail: deliver refused")


def test_a_run_that_the_owner_has_not_heard_of_has_no_status(bench: OpenBench) -> None:
    post = Post(Orchestrator("office"))
    here, _ = post.play(bench)
    assert here.call(post.services["office"].status("019a3c5e-7b1d-7c2a-9f00-1234567890ab")) is None


def test_who_owns_no_runs_has_no_status_to_tell(bench: OpenBench) -> None:
    post = Post(Stamped())
    here, run = post.play(bench)
    with pytest.raises(DefinitionError, match="owns no runs"):
        here.call(post.services["scale"].status(run))


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_an_owner_answers_over_the_broker_what_its_ledger_says(bench: OpenBench, style: Style) -> None:
    post = Post(style)
    here, run = post.play(bench)
    picture = post.ask(here, run)
    assert (picture.status, picture.silent) == ("completed", ())
    assert picture.standing == here.call(post.services[str(style.owner)].status(run))


def test_an_owner_that_is_away_is_named(bench: OpenBench) -> None:
    post = Post(FrontController("office"))
    here, run = post.play(bench, without=("office",))
    assert post.ask(here, run).silent == ("office",)


def test_stateless_participants_put_the_picture_together(bench: OpenBench) -> None:
    post = Post(Stateless())
    here, run = post.play(bench)
    picture = post.ask(here, run)
    assert (picture.status, picture.silent, picture.remaining) == ("completed", (), ())
    assert {(entry.step, entry.service) for entry in picture.done} == {
        ("weigh", "scale"),
        ("frank", "counter"),
        ("load", "van"),
        ("deliver", "van"),
    }


def test_a_stateless_run_on_its_way_shows_what_is_ahead_and_who_is_silent(bench: OpenBench) -> None:
    post = Post(Stateless())
    here, run = post.play(bench, without=("van",))
    picture = post.ask(here, run)
    assert (picture.status, picture.silent, picture.remaining) == ("running", ("van",), ("load", "deliver"))


def test_a_stateless_run_that_went_back_says_so(bench: OpenBench) -> None:
    post = Post(Stateless(), refuse="load")
    here, run = post.play(bench)
    picture = post.ask(here, run)
    assert (picture.status, picture.done) == ("compensated", ())
    assert all(one.undone for one in picture.steps if one.read().undo)


def test_a_step_that_this_version_does_not_know_does_not_keep_the_picture_from_being_put_together() -> None:
    entry = msgspec.json.encode(
        {"seq": 1, "step": "gone", "service": "scale", "at": "2026-11-25T10:00:00Z", "outcome": "ok"}
    )
    answer = Answer(service="scale", steps=[Jotting(msgspec.Raw(entry), "Loaded")])
    picture = Picture(run="r", workflow=table(Stateless()), answers={"scale": answer}, silent=())
    assert (picture.status, picture.remaining) == ("running", ("deliver",))


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_a_report_that_comes_again_is_settled_though_the_store_goes_away_behind_it(
    bench: OpenBench, monkeypatch: pytest.MonkeyPatch, style: Style
) -> None:
    async def away(runs: object) -> None:
        raise StoreUnavailable("gone", fix="wait")

    post = Post(style)
    here, run = post.play(bench)
    monkeypatch.setattr(here.store(str(style.owner)), "revive", away)
    here.redeliver(here.published.of_type("report:load")[0])
    here.settle()
    queue = f"{style.owner}.PARCEL.ledger"
    assert [fact.consumer for fact in here.facts if isinstance(fact, DuplicateDropped)] == [queue]
    assert not any(isinstance(fact, Paused) for fact in here.facts)
    assert (here.call(here.broker.depth(queue)), here.run(run).status) == (0, "completed")


def test_nobody_has_heard_of_an_unknown_run(bench: OpenBench) -> None:
    post = Post(Stateless())
    here, _ = post.play(bench)
    picture = post.ask(here, "019a3c5e-7b1d-7c2a-9f00-1234567890ab")
    assert (picture.status, picture.steps, picture.silent) == (None, (), ())


def test_a_service_adds_what_only_it_knows(bench: OpenBench) -> None:
    post = Post(Stateless())

    @post.services["scale"].describes(post.flow)
    async def describe(run_id: str, tx: Any) -> object:
        return {"run": run_id, "grams": 300, "rows": len(tx["parcel"])}

    here, run = post.play(bench)
    answers = post.ask(here, run).answers
    assert (answers["scale"].says, answers["van"].says) == ({"run": run, "grams": 300, "rows": 0}, None)


def test_a_describing_function_that_raises_is_an_answer_too(bench: OpenBench) -> None:
    post = Post(Stateless())

    @post.services["scale"].describes(post.flow)
    async def describe(run_id: str, tx: Any) -> object:
        raise ValueError("the scale is broken")

    here, run = post.play(bench)
    picture = post.ask(here, run)
    assert (picture.answers["scale"].error, picture.silent) == ("ValueError: the scale is broken", ())


@pytest.mark.parametrize("style", OWNERS, ids=str)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_an_owner_notices_an_overdue_run_once(bench: OpenBench, style: Style, store: str) -> None:
    post = Post(style)
    here, run = post.play(bench, without=("van",), store=store)
    here.advance("50m")
    assert overdue(here) == []
    here.advance("11m")
    assert (overdue(here), here.run(run).status) == ([run], "overdue")
    owner = post.services[str(style.owner)]
    here.deploy(owner)
    here.advance("10m")
    assert overdue(here) == [run]
    assert [one.routing_key for one in here.published if one.routing_key == "overdue"] == ["overdue"]


@pytest.mark.parametrize("style", OWNERS, ids=str)
def test_a_run_that_ended_in_time_is_never_overdue(bench: OpenBench, style: Style) -> None:
    post = Post(style)
    here, _ = post.play(bench)
    here.advance("3h")
    assert overdue(here) == []


def overdue(here: SyncBench) -> list[str]:
    return [fact.run for fact in here.facts if isinstance(fact, Overdue)]
