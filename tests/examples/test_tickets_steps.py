"""The steps of the example one by one, on the bench."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from common.databases import SQLiteFiles
from common.feed import Rejected, read
from tickets.app import EXAMPLE
from tickets.tickets import receive
from tickets.workflow import NEW_TICKET, Ticket, TicketSubmitted

from stamp.schema import drift
from stamp.testing import SyncBench
from tests.examples.playing import query


@pytest.fixture
def desk(tmp_path: Path, bench: Callable[..., SyncBench]) -> SyncBench:
    """All four services with their tables."""
    databases = SQLiteFiles(tmp_path)
    asyncio.run(databases.prepare(EXAMPLE.ddl))
    return bench(*EXAMPLE.services.values(), store=databases.url)


def submitted(**changes: str) -> TicketSubmitted:
    ticket = {"ticket_id": "T-1", "customer": "ana@example.com", "product": "mail", "subject": "Lost", "problem": "?"}
    return TicketSubmitted(**{**ticket, **changes})


def took(desk: SyncBench, *arrived: TicketSubmitted) -> list[tuple[str, str]]:
    """What became of tickets, settled."""
    receipts = desk.call(receive(list(arrived)))
    desk.settle()
    return [(receipt.outcome, receipt.run) for receipt in receipts]


def test_a_ticket_goes_through_all_steps(desk: SyncBench) -> None:
    ((_, run),) = took(desk, submitted())
    assert desk.run(run).events == [
        "TicketSubmitted",
        "TicketCreated",
        "TicketAssigned",
        "TicketResolved",
        "NotificationSent",
        "TicketClosed",
    ]
    assert desk.run(run).status == "completed"


def test_the_same_ticket_twice_is_one_run(desk: SyncBench) -> None:
    first, second = took(desk, submitted(), submitted())
    assert first == ("started", second[1])
    assert second[0] == "duplicate"


def test_another_ticket_under_a_taken_id_is_a_conflict(desk: SyncBench) -> None:
    assert [outcome for outcome, _ in took(desk, submitted(), submitted(problem="other"))] == ["started", "conflict"]


def test_an_unknown_product_rejects_the_ticket(desk: SyncBench, tmp_path: Path) -> None:
    ((_, run),) = took(desk, submitted(product="toaster"))
    assert desk.run(run).status == "compensated"
    assert query(tmp_path, "tickets", "SELECT status, reason FROM ticket") == [
        ["rejected", "nobody here knows the product 'toaster'"]
    ]


def test_a_retired_product_frees_the_expert_again(desk: SyncBench, tmp_path: Path) -> None:
    ((_, run),) = took(desk, submitted(product="fax"))
    assert desk.run(run).status == "compensated"
    assert query(tmp_path, "assignment", "SELECT load FROM expert WHERE skill = 'fax'") == [[0]]
    assert query(tmp_path, "assignment", "SELECT count(*) FROM assignment") == [[0]]


def test_a_letter_that_bounces_is_tried_twice_then_held(desk: SyncBench) -> None:
    ((_, run),) = took(desk, submitted(customer="nobody@bounce.invalid"))
    assert desk.run(run).status == "held"
    assert [len(desk.published.of_run(run).of_kind(kind)) for kind in ("retry", "held")] == [1, 1]


def test_the_expert_with_the_least_to_do_gets_the_ticket(desk: SyncBench) -> None:
    took(desk, *(submitted(ticket_id=f"T-{n}") for n in range(4)))
    assigned = desk.published.of_type("TicketAssigned")
    assert sorted(one.payload["expert"] for one in assigned) == ["Barbara", "Barbara", "Edsger", "Edsger"]


def test_the_long_text_does_not_travel_past_the_first_service(desk: SyncBench) -> None:
    ((_, run),) = took(desk, submitted(problem="long " * 1000))
    later = [message for message in desk.published.of_run(run) if message.type != "TicketSubmitted"]
    assert [message.type for message in later if b"long long" in message.message.body] == []


def test_a_ticket_that_is_not_open_can_not_be_closed(desk: SyncBench, tmp_path: Path) -> None:
    desk.stop("notification")
    ((_, run),) = took(desk, submitted())
    with closing(sqlite3.connect(tmp_path / "tickets.db")) as database, database:
        database.execute("UPDATE ticket SET status = 'rejected'")
    desk.deploy(EXAMPLE.services["notification"])
    desk.settle()
    assert desk.run(run).status == "held"
    assert query(tmp_path, "tickets", "SELECT status FROM ticket") == [["rejected"]]


def test_the_frozen_schema_is_what_the_types_say() -> None:
    assert drift(NEW_TICKET.derived, NEW_TICKET.contract) == []
    assert NEW_TICKET.state_type is Ticket


def test_a_file_is_read_line_by_line_whatever_is_in_it(tmp_path: Path) -> None:
    good = b'{"ticket_id": "T-1", "customer": "a", "product": "mail", "subject": "s", "problem": "p"}'
    path = tmp_path / "in.jsonl"
    bad = [b"", b"{", good + b"x" * 2_000_000, b"[" * 5000]
    path.write_bytes(b"\r\n".join([good, *bad, good[:-1] + b', "new": 1}', good]))
    shown = [
        (place, str(found)[:40] if isinstance(found, Rejected) else "ticket") for place, found in read(path, EXAMPLE)
    ]
    assert shown == [
        ("in.jsonl:1", "ticket"),
        ("in.jsonl:3", "in.jsonl:3: not JSON: Input data was tru"),
        ("in.jsonl:4", "in.jsonl:4: longer than 1000000 bytes"),
        ("in.jsonl:5", "in.jsonl:5: not a ticket: Expected `obje"),
        ("in.jsonl:6", "ticket"),
        ("in.jsonl:7", "ticket"),
    ]
