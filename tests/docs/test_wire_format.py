"""The page that participants in other languages are written from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from brokers.contract import Queue
from brokers.rabbitmq.declaring import arguments_of
from stamp import Step, Workflow
from stamp.layout import delay_parts, held_parts, step_parts

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "wire-format.md"


class Ordered(msgspec.Struct):
    order_id: str


def test_the_page_names_the_arguments_that_queues_are_declared_with() -> None:
    order = Workflow("ORDER", version=1, start=Ordered, steps=[Step("price", service="pricing", on=Ordered)])
    parts = [*step_parts(order, order.step("price")), *held_parts("pricing"), *delay_parts(5.0)]
    blocks = [
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert {part.name: arguments_of(part) for part in parts if isinstance(part, Queue)} in blocks
