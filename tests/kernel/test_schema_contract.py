"""Types become a contract, the contract is frozen, and from then on code and file must say the same."""

from __future__ import annotations

import copy
import datetime
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from msgspec import Meta, Struct

from stamp.errors import BadConfiguration, DefinitionError, SchemaDrift, SchemaMissing
from stamp.evolution import subset_problems
from stamp.evolution.compare import compare
from stamp.schema import Contract, drift, dumps, freeze, frozen, versions


class Customer(Struct, kw_only=True):
    name: str
    tags: list[str] = []


class Ticket(Struct, kw_only=True):
    """What travels."""

    ticket_id: uuid.UUID
    customer: Customer
    priority: Annotated[int, Meta(ge=1, le=5)] = 3
    due: datetime.datetime | None = None
    counts: dict[str, int] = {}


class Created(Struct):
    problem: str
    channel: Literal["mail", "phone"] = "mail"


@dataclass
class Assigned:
    expert: str


class Closed(TypedDict):
    note: str


STATE = {"ticket_id": "x", "customer": {"name": "Ada"}}


def contract(state: Any = Ticket, events: Any = (Created, Assigned, Closed), version: int = 1) -> Contract:
    return Contract.derive("NEW_TICKET", version, state, events)


def test_the_document_names_its_dialect_its_workflow_and_its_events() -> None:
    document = contract().document
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert document["$id"] == "urn:stamp:workflow:NEW_TICKET:1"
    assert document["$ref"] == "#/$defs/Ticket"
    assert document["x-events"] == ["Assigned", "Closed", "Created"]
    assert sorted(document["$defs"]) == ["Assigned", "Closed", "Created", "Customer", "Ticket"]


def test_structs_dataclasses_and_typed_dicts_get_a_schema() -> None:
    checked = {"Created": {"problem": "p"}, "Assigned": {"expert": "e"}, "Closed": {"note": "n"}}
    assert [contract().event(name).is_valid(payload) for name, payload in checked.items()] == [True] * 3
    assert [contract().event(name).is_valid({}) for name in checked] == [False] * 3


def test_state_is_checked_against_its_type() -> None:
    assert contract().state.is_valid(STATE)
    assert not contract().state.is_valid({**STATE, "priority": 9})


@pytest.mark.parametrize("state", [None, dict])
def test_without_a_state_type_any_object_is_state(state: Any) -> None:
    assert contract(state).state.is_valid({"x": [1]})
    assert not contract(state).state.is_valid([])


def test_a_contract_without_events_is_possible() -> None:
    assert contract(events=()).events == ()


def test_one_type_may_be_state_and_event() -> None:
    assert contract(Created, [Created]).event("Created").is_valid({"problem": "p"})


def test_readers_let_undeclared_members_pass_at_every_level() -> None:
    assert contract().state.is_valid({**STATE, "later": 1, "customer": {"name": "Ada", "later": None}})


@pytest.mark.parametrize("state", [{**STATE, "typo": 1}, {**STATE, "customer": {"name": "Ada", "typo": 1}}])
def test_writers_may_not_add_undeclared_members_at_any_level(state: Any) -> None:
    assert contract().strict_state.is_valid(STATE)
    assert not contract().strict_state.is_valid(state)


def test_a_member_that_is_a_map_stays_open_for_writers() -> None:
    assert contract().strict_state.is_valid({**STATE, "counts": {"any": 1}})


def test_an_event_is_strict_for_its_writer_only() -> None:
    payload = {"problem": "p", "later": 1}
    assert (contract().event("Created").is_valid(payload), contract().strict_event("Created").is_valid(payload)) == (
        True,
        False,
    )


def test_a_default_that_looks_like_a_schema_is_left_alone() -> None:
    class Odd(Struct):
        form: dict[str, Any] = msgspec.field(default_factory=dict)

    document = copy.deepcopy(dict(contract(Odd).document))
    document["$defs"]["Odd"]["properties"]["form"]["default"] = {"properties": {}}
    strict = Contract.load(document).strict_state.schema
    assert strict["$defs"]["Odd"]["properties"]["form"]["default"] == {"properties": {}}


def test_an_event_without_schema_is_refused_by_name() -> None:
    with pytest.raises(SchemaMissing, match="no schema for the event 'Ticket'"):
        contract().event("Ticket")


def test_a_type_that_has_no_schema_is_named_with_the_way_out() -> None:
    class Holder(Struct):
        call: Callable[[], None]

    with pytest.raises(DefinitionError, match=r"Holder has no JSON Schema.*Callable.*fix: use msgspec structs"):
        contract(events=[Created, Holder])


def test_two_types_of_one_name_are_refused() -> None:
    def other() -> type:
        class Customer(Struct):
            number: int

        class Moved(Struct):
            to: Customer

        Moved.__annotations__["to"] = Customer
        return msgspec.defstruct("Moved", [("to", Customer)])

    with pytest.raises(DefinitionError, match=r"share one name.*Customer"):
        contract(events=[other()])


def test_a_type_that_closes_itself_to_newer_members_is_refused() -> None:
    class Shut(Struct, forbid_unknown_fields=True):
        a: int

    with pytest.raises(DefinitionError, match="Shut forbids unknown fields"):
        contract(Shut)


class Row(Struct, array_like=True):
    a: int


@pytest.mark.parametrize("state", [int, list[int], Row, Ticket | None])
def test_a_state_that_is_not_an_object_is_refused(state: Any) -> None:
    with pytest.raises(DefinitionError, match="is not a JSON object"):
        contract(state)


@pytest.mark.parametrize("event", [dict, list[int], str])
def test_an_event_needs_a_type_of_its_own(event: Any) -> None:
    with pytest.raises(DefinitionError, match="not a named type"):
        contract(events=[event])


def test_a_derived_contract_lies_in_the_part_that_the_gate_can_judge() -> None:
    assert subset_problems(contract().document) == []
    assert compare(contract().document, contract(version=2).document) == []


def test_the_same_types_give_the_same_bytes_in_any_order() -> None:
    assert dumps(contract().document) == dumps(contract(events=[Closed, Created, Assigned, Created]).document)


def test_freezing_writes_the_file_once_and_again_without_complaint(tmp_path: Path) -> None:
    path = freeze(contract(), tmp_path)
    assert path == freeze(contract(), tmp_path) == tmp_path / "workflows" / "NEW_TICKET" / "1.json"
    assert path.read_text("utf-8") == dumps(contract().document)
    assert path.read_text("utf-8").endswith("}\n")


def test_what_was_frozen_reads_back_as_the_same_contract(tmp_path: Path) -> None:
    freeze(contract(), tmp_path)
    again = frozen(tmp_path, "NEW_TICKET", 1)
    assert drift(contract(), again) == []
    assert (again.workflow, again.version, again.events) == ("NEW_TICKET", 1, ("Assigned", "Closed", "Created"))
    assert not again.state.is_valid({})


def test_a_changed_type_does_not_overwrite_the_frozen_file(tmp_path: Path) -> None:
    freeze(contract(), tmp_path)
    with pytest.raises(SchemaDrift, match=r"frozen and the code differs: .*fix: raise the version to 2"):
        freeze(contract(Customer), tmp_path)
    assert drift(contract(), frozen(tmp_path, "NEW_TICKET", 1)) == []


def test_overwriting_is_possible_when_it_is_asked_for(tmp_path: Path) -> None:
    freeze(contract(), tmp_path)
    freeze(contract(Customer), tmp_path, overwrite=True)
    assert drift(contract(Customer), frozen(tmp_path, "NEW_TICKET", 1)) == []


def test_a_changed_description_is_no_drift(tmp_path: Path) -> None:
    document = copy.deepcopy(dict(contract().document))
    document["$defs"]["Ticket"]["description"] = "Other words."
    document["$defs"]["Ticket"]["required"].reverse()
    assert drift(contract(), Contract.load(document)) == []


def test_a_member_called_title_is_part_of_the_contract() -> None:
    class Titled(Struct):
        title: str

    document = copy.deepcopy(dict(contract(Titled).document))
    document["$defs"]["Titled"]["properties"]["title"]["type"] = "integer"
    assert drift(contract(Titled), Contract.load(document)) == [
        '$.$defs.Titled.properties.title.type: "string" in the code, "integer" frozen'
    ]


def test_drift_tells_each_difference_by_its_path() -> None:
    document = copy.deepcopy(dict(contract().document))
    properties = document["$defs"]["Ticket"]["properties"]
    properties["priority"]["maximum"] = 9
    properties["old"] = properties.pop("counts")
    assert [line.partition(":")[0] for line in drift(contract(), Contract.load(document))] == [
        "$.$defs.Ticket.properties.counts",
        "$.$defs.Ticket.properties.old",
        "$.$defs.Ticket.properties.priority.maximum",
    ]


def test_a_missing_frozen_file_is_named_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(SchemaMissing, match=r"NEW_TICKET/7\.json is not there.*stamp schemas freeze"):
        frozen(tmp_path, "NEW_TICKET", 7)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "{}", '{"$id": "urn:other:W:1", "x-events": [], "$defs": {}}', '{"$id": "urn:stamp:workflow:W:x"}'],
)
def test_a_damaged_frozen_file_is_refused(tmp_path: Path, text: str) -> None:
    path = freeze(contract(), tmp_path)
    path.write_text(text, "utf-8")
    with pytest.raises(BadConfiguration):
        frozen(tmp_path, "NEW_TICKET", 1)


def test_a_frozen_file_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    path = freeze(contract(), tmp_path)
    path.rename(path.with_name("2.json"))
    with pytest.raises(BadConfiguration, match="holds urn:stamp:workflow:NEW_TICKET:1"):
        frozen(tmp_path, "NEW_TICKET", 2)


def test_the_frozen_versions_of_a_workflow_are_listed_by_number(tmp_path: Path) -> None:
    for version in (10, 2):
        freeze(contract(version=version), tmp_path)
    assert versions(tmp_path, "NEW_TICKET") == (2, 10)
    assert versions(tmp_path, "OTHER") == ()


def test_a_frozen_file_is_a_schema_by_itself(tmp_path: Path) -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(json.loads(freeze(contract(), tmp_path).read_text("utf-8")))
