"""A table that is wrong is refused where it is written, with its line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stamp import Service, Step, Workflow
from stamp.errors import DefinitionError, SchemaDrift, SchemaMissing


class A(msgspec.Struct):
    id: str


class B(msgspec.Struct):
    id: str


class C(msgspec.Struct):
    id: str


def flow(*steps: Step, **more: object) -> Workflow:
    return Workflow("FLOW", version=1, start=A, steps=steps, **more)  # type: ignore[arg-type]


def test_a_step_that_nothing_leads_to_is_refused() -> None:
    loop = [
        Step("two", service="s", on=B, emits=C, max_visits=2),
        Step("three", service="s", on=C, emits=B, max_visits=2),
    ]
    with pytest.raises(DefinitionError, match=r'test_workflow.py:\d+: Step\("two"\): no path from the start'):
        flow(Step("one", service="s", on=A), *loop)


def test_an_event_that_nobody_emits_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r'Step\("two"\): nobody emits B'):
        flow(Step("one", service="s", on=A), Step("two", service="s", on=B))


def test_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"the name is taken by test_workflow.py:\d+"):
        flow(Step("one", service="s", on=A, emits=B), Step("one", service="s", on=B))


def test_a_loop_without_a_bound_is_refused() -> None:
    with pytest.raises(DefinitionError, match="leads back to itself without a bound"):
        flow(Step("one", service="s", on=A, emits=B), Step("two", service="s", on=B, emits=(A, C)))


def test_a_bounded_loop_is_accepted() -> None:
    table = flow(
        Step("one", service="s", on=A, emits=B, max_visits=3),
        Step("two", service="s", on=B, emits=(A, C), max_visits=3),
    )
    assert table.remaining("A") == ("one", "two")


def test_two_steps_on_one_event_that_never_meet_again_are_refused() -> None:
    with pytest.raises(DefinitionError, match="the fork at A never joins"):
        flow(Step("one", service="s", on=A), Step("two", service="s", on=A))


def test_a_start_event_that_no_step_consumes_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"nobody emits B|no step consumes the start event A"):
        flow(Step("one", service="s", on=B))


@pytest.mark.parametrize("name", ["", "1st", "a b", "x" * 65, "tick\n"])
def test_a_name_that_does_not_fit_the_wire_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="is not a workflow name"):
        Workflow(name, version=1, start=A, steps=[Step("one", service="s", on=A)])


def test_a_promised_frozen_schema_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SchemaMissing, match="stamp schemas freeze"):
        flow(Step("one", service="s", on=A), schemas=tmp_path)


def test_code_that_left_its_frozen_schema_is_found_out(tmp_path: Path) -> None:
    from stamp.schema import freeze

    class Changed(msgspec.Struct):
        id: int

    Changed.__name__ = "A"
    freeze(flow(Step("one", service="s", on=A)).derived, tmp_path)
    with pytest.raises(SchemaDrift, match="FLOW v1 is not what was frozen"):
        Workflow("FLOW", version=1, start=Changed, steps=[Step("one", service="s", on=Changed)], schemas=tmp_path)


def test_the_remaining_steps_follow_the_events() -> None:
    table = flow(Step("one", service="s", on=A, emits=B), Step("two", service="s", on=B, emits=C))
    assert (table.remaining("A"), table.remaining("B"), table.remaining("C")) == (("one", "two"), ("two",), ())


def test_a_handler_of_somebody_elses_step_is_refused() -> None:
    table = flow(Step("one", service="s", on=A))
    with pytest.raises(DefinitionError, match="belongs to service 's', not 'other'"):
        Service("other").step(table, "one")


def test_an_undo_that_the_table_does_not_declare_is_refused() -> None:
    with pytest.raises(DefinitionError, match="is not declared with undo=True"):
        Service("s").undo(flow(Step("one", service="s", on=A)), "one")


def test_a_declared_undo_without_a_handler_is_refused_when_the_service_opens() -> None:
    table, service = flow(Step("one", service="s", on=A, undo=True)), Service("s")

    @service.step(table, "one")
    async def one(event: A, hop: object) -> None: ...

    with pytest.raises(DefinitionError, match="has no undo handler"):
        service.participant()


def test_two_definitions_of_one_version_are_refused() -> None:
    service = Service("s")
    service.step(flow(Step("one", service="s", on=A)), "one")
    with pytest.raises(DefinitionError, match="is defined twice"):
        service.step(flow(Step("one", service="s", on=A)), "one")
