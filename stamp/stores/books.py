"""The ledger as people read it, the same for every store that speaks SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stamp.ports import LedgerRow
from stamp.stores.ledger import Question, after, row_of
from stamp.stores.ledger_sql import COLUMNS
from stamp.stores.sql import Schema, Statement

Condition = tuple[str, Any]
"""SQL with one `{}` for its parameter, and the parameter."""


class SQLBooks:
    """See `stamp.ports.Books`. A store adds `_fetch`, which runs one query outside any transaction of a hop."""

    schema: Schema

    async def ledger(
        self,
        *,
        runs: Sequence[str] | None = None,
        prefix: str = "",
        workflow: str | None = None,
        statuses: Sequence[str] = (),
        overdue: float | None = None,
        limit: int = 1000,
    ) -> Sequence[LedgerRow]:
        """See `stamp.ports.Books.ledger`."""
        question = Question(
            runs=runs, prefix=prefix, workflow=workflow, statuses=statuses, overdue=overdue, limit=limit
        )
        return [row_of(values) for values in await self._fetch(asking(self.schema, question))]

    async def counts(self, workflow: str | None = None) -> Mapping[str, int]:
        """See `stamp.ports.Books.counts`."""
        sql = self.schema.books
        statement: Statement = (sql.counts, ()) if workflow is None else (sql.counts_of, (workflow,))
        return {row[0]: row[1] for row in await self._fetch(statement)}

    async def _fetch(self, statement: Statement) -> Sequence[Sequence[Any]]:
        raise NotImplementedError


_ASK = "SELECT {columns} FROM {ledger} WHERE {where} ORDER BY {order} LIMIT ${limit}"


def asking(schema: Schema, question: Question) -> Statement:
    """The query that answers `question`."""
    conditions = list(_conditions(schema, question))
    texts = [text.format(f"${number}") for number, (text, _) in enumerate(conditions, 1)]
    sql = _ASK.format(
        columns=COLUMNS,
        ledger=schema.ledger,
        where=" AND ".join(texts) or "true",
        order=_order(question),
        limit=len(conditions) + 1,
    )
    parameters = (*(value for _, value in conditions), question.limit)
    return (sql.replace("$", "?") if schema.dialect == "sqlite" else sql), parameters


def _order(question: Question) -> str:
    # A planner without statistics might walk all runs in their order, to save the sorting of a few: the sign takes that
    # index away from it.
    return "+started DESC, run DESC" if _few(question) else "started DESC, run DESC"


def _few(question: Question) -> bool:
    """What is asked by run or by deadline is little, and found by an index of its own."""
    return question.runs is not None or bool(question.prefix) or question.overdue is not None


def _conditions(schema: Schema, question: Question) -> Iterator[Condition]:
    if question.runs is not None:
        yield f"run {_among(schema)}", schema.array(question.runs)
    if question.prefix:
        # A range and no LIKE: it takes the prefix as it is, and the key's index finds it.
        yield "run >= {}", question.prefix
        if (end := after(question.prefix)) is not None:
            yield "run < {}", end
    if question.overdue is not None:
        yield "ended IS NULL AND deadline < {}", question.overdue
    # As in `_order`; PostgreSQL gathers statistics, and has no sign for text.
    sign = "+" if schema.dialect == "sqlite" and _few(question) else ""
    if question.workflow is not None:
        yield f"{sign}workflow = {{}}", question.workflow
    # One status is worth a text of its own: its rows lie in the index in the order in which they are wanted.
    if len(question.statuses) == 1:
        yield f"{sign}status = {{}}", question.statuses[0]
    elif question.statuses:
        yield f"{sign}status {_among(schema)}", schema.array(question.statuses)


def _among(schema: Schema) -> str:
    return "IN (SELECT value FROM json_each({}))" if schema.dialect == "sqlite" else "= ANY({}::text[])"
