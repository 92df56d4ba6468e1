"""Stamps are read in every form in which people get hold of them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stamp.reading.inputs import specimens
from tests.cli.desk import ENTRY, MESSAGE, RUN, STAMP, Desk

TEXT = json.dumps(STAMP)
FORMS: dict[str, str] = {
    "a bare stamp": TEXT,
    "a pretty stamp": json.dumps(STAMP, indent=2),
    "a stamp with a byte order mark": "\ufeff" + TEXT,
    "the header's value in quotes": json.dumps(TEXT),
    "headers": json.dumps({"stamp": TEXT, "stamp_attempt": 2}),
    "a dump with headers on top": json.dumps({"headers": {"stamp": TEXT}, "body": "{}"}),
    "a dump with an opened stamp": json.dumps({"properties": {"headers": {"stamp": STAMP}}}),
    "a message of rabbitmqadmin": json.dumps(MESSAGE),
    "rabbitmqadmin get, old": json.dumps([{**MESSAGE, "message_count": 0, "redelivered": False}]),
    "rabbitmqadmin get, v2": json.dumps([{**MESSAGE, "properties": json.dumps(MESSAGE["properties"])}], indent=2),
    "a line of tail": json.dumps({"kind": "stamp.seen", "version": 1, "offset": 3, "stamp": STAMP}),
    "a document of ours": json.dumps({"kind": "stamp.reading", "version": 1, "items": [{"stamp": STAMP}]}),
    "base64 of a stamp": base64.b64encode(TEXT.encode()).decode(),
    "base64 of a message, wrapped": base64.encodebytes(json.dumps(MESSAGE).encode()).decode(),
    "url-safe base64 without padding": base64.urlsafe_b64encode(TEXT.encode()).decode().rstrip("="),
    "a header in base64": json.dumps({"headers": {"stamp": base64.b64encode(TEXT.encode()).decode()}}),
}
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\n",
    "a nesting bomb": b"[" * 100_000,
    "a nested stamp": b'{"stamp":"1.0","workflow":"W","state":' + b'{"a":' * 50 + b"1" + b"}" * 51,
    "not UTF-8": b'{"stamp":"\xff\xfe"}',
    "binary": bytes(range(256)),
    "base64 of base64": base64.b64encode(base64.b64encode(TEXT.encode())),
    "a number": b"[1]",
    "an empty array": b"[]",
    "NaN": b'{"stamp":"1.0","workflow":"W","seq":NaN}',
    "a huge number": b'{"stamp":"1.0","workflow":"W","seq":' + b"9" * 5000 + b"}",
    "a lone surrogate": b'{"stamp":"1.0","workflow":"\\ud800"}',
    "no stamp in it": b'{"properties":{"headers":{}}}',
    "empty tables as the management API writes them": b'[{"properties":[],"headers":[]}]',
    "a stamp that is a number": b'{"headers":{"stamp":7}}',
    "cut off": TEXT[:-40].encode(),
    "an invalid stamp": json.dumps({**STAMP, "seq": -1}).encode(),
    "a wrong entry in the middle": json.dumps(
        {**STAMP, "seq": 2, "history": [{"seq": 1}, {**ENTRY, "seq": 2}]}
    ).encode(),
    "a count that does not fit": json.dumps({**STAMP, "seq": 2}).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_stamp(desk: Desk, form: str) -> None:
    result = desk.call("decode", "-", "-o", "json", input=FORMS[form])
    assert result.exit_code == 0, result.output
    (item,) = json.loads(result.stdout)["items"]
    assert item["stamp"] == STAMP


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_a_clear_error_and_exit_1(desk: Desk, name: str) -> None:
    result = desk.call("decode", "-", input=HOSTILE[name])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error[E02")


@pytest.mark.parametrize("name", HOSTILE)
def test_reading_never_raises(name: str) -> None:
    specimens(HOSTILE[name], name)


def test_the_table_shows_state_history_what_remains_and_what_would_be_undone(desk: Desk) -> None:
    shown = desk.call("decode", "message.json", "--app", "app").stdout
    assert f"run       {RUN}" in shown
    assert 'ticket_id  "T-1"' in shown
    assert "1    assign  assignment  ✓ ok" in shown
    assert "REMAINING  print → notify" in shown
    assert 'assign  {"expert":"Ada"}' in shown


def test_without_the_workflow_what_remains_is_unknown(desk: Desk) -> None:
    assert desk.document("decode", "message.json")["items"][0]["remaining"] is None
    assert "REMAINING  unknown" in desk.call("decode", "message.json").stdout


def test_several_files_and_several_stamps_in_one_come_out_in_order(desk: Desk, folder: Path) -> None:
    (folder / "two.json").write_text(json.dumps([MESSAGE, STAMP]))
    (folder / "lines.jsonl").write_text(f"{TEXT}\n{TEXT}\n")
    items = desk.document("decode", "message.json", "two.json", "lines.jsonl")["items"]
    assert [item["where"] for item in items] == [
        "message.json",
        "two.json[0]",
        "two.json[1]",
        "lines.jsonl:1",
        "lines.jsonl:2",
    ]


def test_a_broken_line_is_told_by_its_number_and_the_others_are_shown(desk: Desk) -> None:
    result = desk.call("decode", "-", "-o", "name", input=f"{TEXT}\nnot json\n{TEXT}\n")
    assert result.exit_code == 3
    assert result.stdout.split() == [RUN, RUN]
    assert "error[E021]: -:2: this line is not JSON" in result.stderr


def test_a_line_with_a_bad_byte_is_told_by_its_number_and_the_others_are_judged(desk: Desk, folder: Path) -> None:
    (folder / "lines.jsonl").write_bytes(f"{TEXT}\n".encode() + b'{"stamp":"\xff"}\n' + f"{TEXT}\n".encode())
    result = desk.call("validate", "lines.jsonl")
    assert result.exit_code == 1
    assert "lines.jsonl:2  this line is not UTF-8" in result.stdout
    assert result.stderr == "2 valid, 1 invalid\n"


@pytest.mark.parametrize("change", [{"stamp": "2.0"}, {"crit": ["warp"]}, {"phase": "sideways"}], ids=str)
def test_a_newer_stamp_is_shown_as_far_as_possible_with_a_warning(desk: Desk, change: dict[str, Any]) -> None:
    result = desk.call("decode", "-", input=json.dumps({**STAMP, **change}))
    assert result.exit_code == 0, result.output
    assert RUN in result.stdout
    assert "warning: -: newer than this version" in result.stderr


def test_a_newer_stamp_with_other_types_is_shown_too(desk: Desk) -> None:
    strange = {"stamp": "9.0", "workflow": 7, "run": None, "state": [], "history": {"a": 1}, "base": {"count": "x"}}
    for form in ("table", "json"):
        assert desk.call("decode", "-", "-o", form, input=json.dumps(strange | {"error": 1})).exit_code in {0, 1}


def test_control_characters_never_reach_the_terminal(desk: Desk) -> None:
    poisoned = {**STAMP, "state": {"\x1b[2J": "\x1b]0;owned\x07\u202e\x9b31m"}, "future": "\x1b[31m"}
    for form in ("table", "json", "jsonl"):
        result = desk.call("decode", "-", "-o", form, input=json.dumps(poisoned))
        assert result.exit_code == 0
        assert not set(result.output) & {"\x1b", "\x07", "\u202e", "\x9b"}


def test_json_that_was_made_safe_still_reads_back_as_the_same_value(desk: Desk) -> None:
    state = {"text": "\x1b[31m\u202e\u2028 ü 漢"}
    result = desk.call("decode", "-", "-o", "json", input=json.dumps({**STAMP, "state": state}))
    assert json.loads(result.stdout)["items"][0]["stamp"]["state"] == state


def test_a_state_that_breaks_the_frozen_schema_is_told(desk: Desk) -> None:
    assert desk.call("schemas", "freeze", "app").exit_code == 0
    result = desk.call("decode", "-", input=json.dumps({**STAMP, "state": {}}))
    assert result.exit_code == 0
    assert "'ticket_id' is a required property" in result.stderr


def test_a_file_that_is_not_there_is_exit_4(desk: Desk) -> None:
    result = desk.call("decode", "nowhere.json")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        4,
        "error[E062]: nowhere.json can't be read: No such file or directory",
    )


def test_decode_starts_without_the_broker_client_the_event_loop_the_slow_validator_and_the_tables(folder: Path) -> None:
    program = (
        "import sys; from stamp.cli import main\n"
        "try: main(['decode', 'message.json'])\n"
        "except SystemExit: pass\n"
        "late = {'aio_pika', 'aiormq', 'jsonschema', 'asyncio', 'brokers.memory', 'hashlib', 'stamp.workflow'}\n"
        "print(sorted(late & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"
