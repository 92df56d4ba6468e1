"""`stamp compare`: the four owners of state side by side, on the embedded broker and on RabbitMQ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from brokers.contract import Broker
from brokers.errors import NotFound
from brokers.memory import MemoryBroker
from brokers.rabbitmq import RabbitBroker
from stamp.cli import main
from stamp.cli.compare_input import of_example, of_file
from stamp.cli.shipped import module
from stamp.comparing import lab, outage
from stamp.comparing.record import BEGIN
from stamp.comparing.sample import sample
from stamp.layout import JOURNAL
from tests.cli.desk import Desk, order
from tests.cli.test_runs import ALL
from tests.servers import Server

STYLES = ["stamp", "front-controller", "stateless", "orchestrator"]
QUICK = ("--broker", "memory", "--runs", "3", "--rounds", "1")


def call(broker: Broker, *words: str) -> Result:
    return CliRunner().invoke(main, ["compare", *words], obj=broker, prog_name="stamp")


@pytest.fixture(scope="module", autouse=True)
def _brisk() -> Iterator[None]:
    """On an idle machine in one process nothing takes long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lab, "QUIET", 0.1)
        patch.setattr(outage, "SETTLED", 0.3)
        patch.setattr(outage, "ASK_TIMEOUT", 0.3)
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[MemoryBroker, dict[str, Any], str]:
    """The broker afterwards, the document and the decision record of one comparison."""
    broker, record = MemoryBroker(), tmp_path_factory.mktemp("adr") / "style.md"
    result = call(broker, "NEW_TICKET", *QUICK, "-o", "json", "--adr", str(record))
    assert result.exit_code == 0, result.output
    return broker, json.loads(result.stdout), record.read_text("utf-8")


def by_style(document: dict[str, Any], *path: str) -> dict[str, Any]:
    found = {}
    for one in document["styles"]:
        value = one
        for name in path:
            value = value[name]
        found[one["style"]] = value
    return found


Measured = tuple[MemoryBroker, dict[str, Any], str]


def test_the_document_has_the_four_styles_and_how_they_were_measured(measured: Measured) -> None:
    _, document, _ = measured
    assert (document["kind"], document["version"], document["workflow"]) == ("stamp.compare", 1, "NEW_TICKET")
    assert (document["runs"], document["rounds"], document["processes"]) == (3, 1, 1)
    assert (document["broker"], document["store"]) == ("memory", "sqlite")
    assert {"date", "cores", "load", "versions"} <= set(document["machine"])
    assert [one["style"] for one in document["styles"]] == STYLES


def test_every_run_ends_alike_in_every_style(measured: Measured) -> None:
    assert by_style(measured[1], "ends") == {style: {"completed": 3} for style in STYLES}
    assert by_style(measured[1], "missing") == dict.fromkeys(STYLES, 0)
    assert by_style(measured[1], "per_run", "hops") == dict.fromkeys(STYLES, 5)


def test_messages_are_events_and_the_end_and_reports_where_somebody_keeps_a_ledger(measured: Measured) -> None:
    """Five events and an end; the owner needs no report of its own two steps; a desk is told all, and the start."""
    published = by_style(measured[1], "per_run", "published")
    assert published == {"stamp": 6, "front-controller": 9, "stateless": 6, "orchestrator": 12}
    delivered = by_style(measured[1], "per_run", "delivered")
    assert delivered == {style: number - 1 for style, number in published.items()}


def test_rows_are_counted_by_what_they_are_for(measured: Measured) -> None:
    assert by_style(measured[1], "per_run", "notes") == {
        "stamp": 0,
        "front-controller": 0,
        "stateless": 5,
        "orchestrator": 0,
    }
    ledger = by_style(measured[1], "per_run", "ledger")
    assert [name for name, rows in ledger.items() if rows] == ["front-controller", "orchestrator"]
    assert by_style(measured[1], "per_run", "outbox") == by_style(measured[1], "per_run", "published")


def test_only_the_full_stamp_carries_history(measured: Measured) -> None:
    size = by_style(measured[1], "bytes_per_message", "stamp")
    assert size["stateless"] < size["front-controller"] < size["stamp"]
    assert all(size[style] < by_style(measured[1], "bytes_per_message", "message")[style] for style in STYLES)


def test_a_status_is_read_from_the_journal_or_asked_of_the_owner_or_of_everybody(measured: Measured) -> None:
    status = by_style(measured[1], "status")
    assert all(one["answered"] == one["asked"] == 3 for one in status.values())
    assert (status["front-controller"]["messages"], status["front-controller"]["rows"]) == (2, 1)
    assert (status["orchestrator"]["messages"], status["orchestrator"]["rows"]) == (2, 1)
    assert (status["stateless"]["messages"], status["stateless"]["rows"]) == (5, 5)
    assert (status["stamp"]["messages"] > 18, status["stamp"]["rows"]) == (True, 0)


def test_what_waits_while_the_owner_is_down_was_tried(measured: Measured) -> None:
    down = by_style(measured[1], "owner_down")
    assert {style: one["what_waits"] for style, one in down.items()} == {
        "stamp": "nothing",
        "front-controller": "status and undo wait",
        "stateless": "nothing",
        "orchestrator": "runs wait",
    }
    assert {style: one["steps_while_down"] for style, one in down.items()} == {
        "stamp": 9,
        "front-controller": 9,
        "stateless": 9,
        "orchestrator": 3,
    }
    assert {one["steps_while_down"] + one["steps_afterwards"] for one in down.values()} == {12}
    assert {one["ended_while_down"] + one["ended_afterwards"] for one in down.values()} == {3}
    assert {style: one["status"] for style, one in down.items()} == {
        "stamp": "full answer",
        "front-controller": "no answer",
        "stateless": "partial answer",
        "orchestrator": "no answer",
    }


def test_nothing_is_left_on_the_broker(measured: Measured) -> None:
    assert measured[0].queues == {}


def test_the_decision_record_has_the_numbers_as_a_table_and_as_data_and_leaves_the_decision_open(
    measured: Measured,
) -> None:
    _, document, record = measured
    numbers = json.loads(record.partition(f"{BEGIN}\n")[2].partition("\n```")[0])
    assert numbers["styles"] == document["styles"]
    rows = [line.split(" | ") for line in record.splitlines() if line.startswith("| ")]
    assert [row[0].removeprefix("| ") for row in rows[2:]] == STYLES
    assert [row[-1].removesuffix(" |") for row in rows[3:]] == ["status and undo wait", "nothing", "runs wait"]
    assert "## Decision\n\n_Fill in:" in record
    assert "`tickets-desk`, sends every next step" in record


def test_a_style_that_handlers_rule_out_has_a_row_that_says_why(desk: Desk) -> None:
    shown = call(desk.broker, "NEW_TICKET", "--app", "app", "--store", "memory", *QUICK)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    rows = [line for line in lines if line.split(" ")[0] in STYLES]
    assert [row.split(" ")[0] for row in rows] == [*STYLES, *(style for style in STYLES if style != "stateless")]
    assert "not possible: app.py" in rows[2].replace(str(desk.folder), "").replace("/", "")
    assert "its do handler touches hop.state, and NEW_TICKET v1 is stateless" in rows[2]
    assert lines[0].startswith("NEW_TICKET v1: 3 runs a style in 1 turn, broker memory, store memory, one process")
    assert "3 completed" in rows[0]


def test_the_queues_of_services_at_work_are_left_alone(desk: Desk) -> None:
    desk.start(services=ALL, until="completed")
    refused = call(desk.broker, "NEW_TICKET", "--app", "app", "--store", "memory", *QUICK)
    assert refused.exit_code == 1
    assert "error[E064]: the broker has queues of the workflow already:" in refused.stderr
    assert asyncio.run(desk.broker.depth("assignment.NEW_TICKET.assign")) == 0


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["NOTHING"], 4, "no shipped example has a workflow 'NOTHING'"),
        (["NOTHING", "--app", "app"], 4, "app has no workflow 'NOTHING'"),
        (["NEW_TICKET", "--store", "memory"], 2, "the example tickets is written for sqlite"),
        (["NEW_TICKET", "--input", "tickets.jsonl"], 2, "a shipped example brings its own input"),
        (["NEW_TICKET", "--app", "app", "--store", "sqlite:///one.db"], 2, "--store with {style} and {service}"),
        (["NEW_TICKET", "--app", "app", "--input", "app.py"], 1, "app.py:2: not JSON"),
        (["NEW_TICKET", "--app", "app", "--input", "empty.jsonl"], 1, "empty.jsonl is empty"),
        (["NEW_TICKET", "--adr", "app.py"], 2, "app.py is there already"),
        (["NEW_TICKET", "--runs", "0"], 2, "0 is not in the range x>=1"),
        (["NEW_TICKET", "--broker", "nowhere:"], 78, "no broker for a URL that starts with 'nowhere'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_compared_is_told_before_anything_runs(
    desk: Desk, words: list[str], status: int, told: str
) -> None:
    (desk.folder / "empty.jsonl").write_text("\n")
    chosen = [] if "--broker" in words else ["--broker", "memory"]
    result = CliRunner().invoke(main, ["compare", *words, *chosen], prog_name="stamp")
    assert (result.exit_code, told in result.stderr) == (status, True), result.stderr


def test_a_file_is_used_over_and_over_with_the_number_of_the_run(desk: Desk) -> None:
    line = json.dumps(order()).replace("T-1", "T-{n}")
    (desk.folder / "numbered.jsonl").write_text(f"{line}\n{line}\n")
    inputs = of_file(Path("numbered.jsonl"), desk.app.NEW_TICKET)
    assert [one.event.ticket_id for one in islice(inputs(), 3)] == ["T-1", "T-2", "T-3"]
    assert [one.state["ticket_id"] for one in islice(inputs(), 1)] == ["T-1"]


def test_the_lines_of_an_example_come_again_under_keys_of_their_own() -> None:
    inputs = of_example(module("example").load("tickets"))
    keys = [one.state.ticket_id for one in islice(inputs(), 1200)]
    assert len(set(keys)) == 1200
    assert keys[0] == "T-0001"
    assert "T-0001-1" in keys


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "minLength": 8}, "sample--"),
        ({"type": "string", "maxLength": 3}, "sam"),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number", "maximum": 0}, 0),
        ({"type": "boolean"}, False),
        ({"enum": ["b", "a"]}, "b"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        (
            {
                "$ref": "#/$defs/Thing",
                "$defs": {
                    "Thing": {
                        "type": "object",
                        "properties": {"one": {"const": 7}, "two": {"type": "string"}},
                        "required": ["one"],
                    }
                },
            },
            {"one": 7},
        ),
    ],
    ids=lambda value: "" if not isinstance(value, dict) else next(iter(value)),
)
def test_a_sample_is_the_least_that_a_schema_allows(schema: dict[str, Any], value: object) -> None:
    assert sample(schema) == value


def test_on_rabbitmq_the_same_is_counted_and_nothing_is_left(rabbitmq: Server) -> None:
    asyncio.run(_cleared(rabbitmq.url))
    words = ("NEW_TICKET", "--broker", rabbitmq.url, "--runs", "2", "--rounds", "1", "-o", "json")
    before = asyncio.run(_there(rabbitmq.url))
    result = CliRunner().invoke(main, ["compare", *words], prog_name="stamp")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert by_style(document, "ends") == {style: {"completed": 2} for style in STYLES}
    assert by_style(document, "per_run", "hops") == dict.fromkeys(STYLES, 5)
    assert by_style(document, "owner_down", "ended_afterwards") == dict.fromkeys(STYLES, 2)
    assert asyncio.run(_there(rabbitmq.url)) == before


async def _cleared(url: str) -> None:
    """Without what other tests have left on the node: the command refuses to share the queues of the workflow."""
    broker = RabbitBroker(url)
    await broker.open()
    for service in ("tickets", "assignment", "resolution", "notification"):
        await broker.delete_queue(f"stamp.held.{service}")
    await broker.close()


async def _there(url: str) -> list[str]:
    broker = RabbitBroker(url)
    await broker.open()
    found = []
    for queue in ("tickets.NEW_TICKET.create", "tickets.NEW_TICKET.ledger", "stamp.held.tickets-desk", JOURNAL):
        try:
            await broker.depth(queue)
            found.append(queue)
        except NotFound:
            continue
    await broker.close()
    return found
