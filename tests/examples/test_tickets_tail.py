"""Another terminal looks at the demo while it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.examples.playing import demo
from tests.servers import Server

MANY = 5000
"""Tickets: more than the demo gets through while the other command starts."""


def test_tail_and_decode_show_stamps_while_the_demo_runs(rabbitmq: Server, tmp_path: Path) -> None:
    ticket = {"customer": "ana@example.com", "product": "mail", "subject": "Lost", "problem": "?"}
    file = tmp_path / "many.jsonl"
    file.write_text("".join(json.dumps({"ticket_id": f"M-{number}", **ticket}) + "\n" for number in range(MANY)))
    stamp = [sys.executable, "-m", "stamp"]
    tail = [*stamp, "tail", "--broker", rabbitmq.url, "--workflow", "NEW_TICKET", "--limit", "1", "-o", "jsonl"]
    with demo(tmp_path, "--broker", rabbitmq.url, "--replace", "--input", str(file)) as running:
        running.until_started()
        seen = subprocess.run(tail, capture_output=True, check=True, timeout=60).stdout
        assert running.process.poll() is None
    decoded = subprocess.run([*stamp, "decode", "-o", "json", "-"], input=seen, capture_output=True, check=True).stdout
    assert b"NEW_TICKET" in decoded
