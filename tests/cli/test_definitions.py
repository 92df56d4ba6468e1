"""Workflows are shown, drawn, frozen and checked."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.desk import STAMP, Desk
from tests.cli.test_processes import call


def test_the_table_of_a_workflow_is_shown_with_services_events_undo_pivot_and_retry(desk: Desk) -> None:
    (flow,) = desk.document("workflows", "--app", "app")["items"]
    assert (flow["name"], flow["version"], flow["saga"], flow["deadline_s"]) == ("NEW_TICKET", 1, True, 172_800)
    assert flow["steps"][0] == {
        "name": "assign",
        "service": "assignment",
        "on": "TicketCreated",
        "emits": ["TicketAssigned"],
        "undo": True,
        "pivot": False,
        "retry": "1x 1s..1m",
        "max_visits": 1,
        "queue": "assignment.NEW_TICKET.assign",
    }
    assert "print   printing      TicketAssigned  LetterPrinted" in desk.call("workflows", "--app", "app").stdout


def test_a_workflow_is_drawn_in_three_forms(desk: Desk) -> None:
    mermaid = desk.call("graph", "NEW_TICKET", "--app", "app").stdout
    assert 's0["assign<br/>assignment · undo"]' in mermaid
    assert "s0 -->|TicketAssigned| s1" in mermaid
    assert '"print" -> "notify" [label="LetterPrinted"];' in desk.call("graph", "--app", "app", "-o", "dot").stdout
    drawing = ElementTree.fromstring(desk.call("graph", "--app", "app", "-o", "svg").stdout)
    texts = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"assign", "print", "notify", "TicketAssigned"} <= set(texts)


def test_which_app_is_a_question_of_usage(desk: Desk) -> None:
    assert desk.call("graph").exit_code == 2


def test_freezing_writes_the_schema_and_the_lock_and_checking_agrees(desk: Desk, folder: Path) -> None:
    result = desk.call("schemas", "freeze", "app:NEW_TICKET")
    assert (result.exit_code, result.stdout) == (0, "schemas/workflows/NEW_TICKET/1.json\n")
    assert (folder / "schemas/workflows/lock.json").is_file()
    checked = desk.call("schemas", "check", "app")
    assert (checked.exit_code, checked.stderr) == (0, "2 ok, 0 failed\n")


def test_code_that_drifted_from_its_frozen_schema_fails(desk: Desk, folder: Path) -> None:
    desk.call("schemas", "freeze", "app")
    _newer(folder, "    ticket_id: str\n    expert", "    ticket_id: int\n    expert")
    (drift, *_) = desk.document("schemas", "check", "newer")["items"]
    assert (drift["check"], drift["ok"]) == ("drift", False)
    assert '"integer" in the code, "string" frozen' in drift["why"]
    assert desk.call("schemas", "freeze", "newer").exit_code == 1
    assert desk.call("schemas", "freeze", "newer", "--force").exit_code == 0


def test_what_was_never_frozen_fails(desk: Desk) -> None:
    result = desk.call("schemas", "check", "app")
    assert result.exit_code == 1
    assert "not frozen yet" in result.stdout


def test_a_module_that_promises_frozen_schemas_is_frozen_and_checked_before_it_can_run(folder: Path) -> None:
    _newer(folder, '    deadline="48h",', '    deadline="48h",\n    schemas="schemas",')
    assert "no frozen schema of NEW_TICKET version 1" in call("validate", "newer").stdout
    assert call("schemas", "freeze", "newer").stdout == "schemas/workflows/NEW_TICKET/1.json\n"
    assert call("validate", "newer").returncode == 0


def test_a_module_that_drifted_from_what_it_promises_is_checked_and_by_force_frozen_again(folder: Path) -> None:
    promise = ('    deadline="48h",', '    deadline="48h",\n    schemas="schemas",')
    _newer(folder, *promise)
    call("schemas", "freeze", "newer")
    _newer(folder, *promise, "    ticket_id: str\n    expert", "    ticket_id: int\n    expert")
    assert "is not what was frozen" in call("validate", "newer").stdout
    assert '"integer" in the code, "string" frozen' in call("schemas", "check", "newer").stdout
    assert "error[E003]" in call("schemas", "freeze", "newer").stderr
    assert call("schemas", "freeze", "newer", "--force").returncode == 0
    assert call("validate", "newer").returncode == 0


def test_incompatible_versions_fail_unless_an_upcast_stands_between_them(desk: Desk, folder: Path) -> None:
    desk.call("schemas", "freeze", "app")
    _newer(folder, "    ticket_id: str\n    expert", "    ticket_id: int\n    expert", "version=1", "version=2")
    desk.call("schemas", "freeze", "newer")
    failed = {item["what"]: item for item in desk.document("schemas", "check", "newer")["items"]}
    assert failed["NEW_TICKET v1 -> v2"]["ok"] is False
    assert "state.ticket_id" in failed["NEW_TICKET v1 -> v2"]["why"]
    source = (folder / "newer.py").read_text()
    (folder / "lifted.py").write_text(source.replace("version=2,", "version=2, upcasts={1: lambda state: state},"))
    lifted = {item["what"]: item for item in desk.document("schemas", "check", "lifted")["items"]}
    assert lifted["NEW_TICKET v1 -> v2"] == {
        "check": "compatible",
        "what": "NEW_TICKET v1 -> v2",
        "ok": True,
        "why": "upcast over 1 breaking changes",
    }


@pytest.mark.parametrize("harm", ["edit", "delete", "add"])
def test_a_frozen_file_that_was_touched_by_hand_fails(desk: Desk, folder: Path, harm: str) -> None:
    desk.call("schemas", "freeze", "app")
    file = folder / "schemas/workflows/NEW_TICKET/1.json"
    match harm:
        case "edit":
            file.write_text(file.read_text() + " ")
        case "delete":
            file.unlink()
        case "add":
            text = file.read_text().replace("NEW_TICKET:1", "NEW_TICKET:2")
            file.with_name("2.json").write_text(text)
    assert "lock" in [item["check"] for item in desk.document("schemas", "check")["items"] if not item["ok"]]


def _newer(folder: Path, *changes: str) -> None:
    text = (folder / "app.py").read_text()
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    (folder / "newer.py").write_text(text)


def test_validate_judges_stamps_schemas_and_apps(desk: Desk, folder: Path) -> None:
    desk.call("schemas", "freeze", "app")
    (folder / "bad.json").write_text(json.dumps({**STAMP, "seq": 2}))
    verdicts = {
        item["where"]: item["valid"] for item in desk.document("validate", "message.json", "bad.json", "app")["items"]
    }
    assert verdicts == {"message.json": True, "bad.json": False, "app": True}
    assert desk.call("validate", "schemas").exit_code == 0
    assert desk.call("validate", "bad.json").exit_code == 1


def test_validate_refuses_what_decode_only_warns_about(desk: Desk, folder: Path) -> None:
    (folder / "newer.json").write_text(json.dumps({**STAMP, "stamp": "2.0"}))
    assert desk.call("decode", "newer.json").exit_code == 0
    assert desk.call("validate", "newer.json").exit_code == 1


def test_validate_finds_a_wrong_table_and_a_missing_handler(desk: Desk, folder: Path) -> None:
    text = (folder / "app.py").read_text()
    (folder / "wrong.py").write_text(text.replace("on=LetterPrinted", "on=TicketCreated"))
    (folder / "without.py").write_text(text.replace('@assignment.undo(NEW_TICKET, "assign")', ""))
    for target, words in (("wrong", "never joins"), ("without", "has no undo handler")):
        result = desk.call("validate", target)
        assert result.exit_code == 1
        assert words in result.stdout


def test_validate_of_a_state_that_breaks_its_frozen_schema_fails(desk: Desk, folder: Path) -> None:
    desk.call("schemas", "freeze", "app")
    (folder / "state.json").write_text(json.dumps({**STAMP, "state": {}}))
    assert desk.call("validate", "state.json").exit_code == 1


def test_validate_of_nothing_is_exit_4(desk: Desk) -> None:
    assert desk.call("validate", "no/such/file.json").exit_code == 4


ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "schemas" / "golden"


def test_the_frozen_schemas_of_the_project_are_locked_and_compatible() -> None:
    done = call("schemas", "check", "--dir", str(ROOT / "schemas"))
    assert done.returncode == 0, done.stdout


def test_golden_stamps_get_the_verdict_in_their_folder(desk: Desk) -> None:
    valid = desk.document("validate", str(GOLDEN / "valid"))["items"]
    invalid = desk.document("validate", str(GOLDEN / "invalid"))["items"]
    assert {item["valid"] for item in valid} == {True}
    assert {item["valid"] for item in invalid} == {False}
    assert len(invalid) == len(list((GOLDEN / "invalid").glob("*.json")))


@pytest.mark.parametrize("file", sorted((GOLDEN / "valid").glob("*.json")), ids=lambda file: file.stem)
def test_golden_stamps_are_decoded_whole(desk: Desk, file: Path) -> None:
    (item,) = desk.document("decode", str(file))["items"]
    assert item["stamp"] == json.loads(file.read_bytes())


def test_a_folder_that_cannot_be_written_is_told_by_its_name_and_is_no_bug(desk: Desk, folder: Path) -> None:
    (folder / "taken").write_text("a file, where a folder is asked for")
    result = desk.call("schemas", "freeze", "app", "--dir", "taken/schemas")
    assert (result.exit_code, "error[E064]: taken" in result.stderr) == (1, True)
