"""What the store does inside the connection's thread: plain functions of a `sqlite3.Connection`.

A transaction carries a savepoint as its mark. It disappears with the transaction, so a handler that committed or
rolled back is found out even when it began another one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stamp.errors import StoreUnavailable
from stamp.stores.rows import Unwritten
from stamp.stores.sql import Schema, Statement

Rows = list[tuple[Any, ...]]

_MARK = "stamp_transaction"
_SAVEPOINT = "stamp_savepoint"

_OUT_OF_REACH = {
    sqlite3.SQLITE_BUSY: "another process holds its lock: look for a long transaction or a forgotten shell",
    sqlite3.SQLITE_LOCKED: "another connection holds its lock: look for a long transaction",
    sqlite3.SQLITE_NOMEM: "give the process more memory",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable, or put the file back where it was",
    sqlite3.SQLITE_IOERR: "check the disk and that the file is still there",
    sqlite3.SQLITE_CORRUPT: "restore the file from a backup",
    sqlite3.SQLITE_FULL: "free space on the disk (or raise max_page_count)",
    sqlite3.SQLITE_CANTOPEN: "create the folder, or make the file readable and writable",
    sqlite3.SQLITE_PROTOCOL: "the file is busy or on a network share: use a local disk",
    sqlite3.SQLITE_NOTADB: "point the URL at a SQLite file",
}


class EndedError(Exception):
    """The transaction that was begun is no longer open."""


def unavailable(error: BaseException, name: str) -> StoreUnavailable | None:
    """What `error` of anybody's statement means for the store: out of reach, or (`None`) not our business."""
    if not isinstance(error, sqlite3.DatabaseError) or unfinished(error):
        return None
    code = getattr(error, "sqlite_errorcode", None)
    fix = _OUT_OF_REACH.get(code & 0xFF) if code is not None else None
    return StoreUnavailable(f"SQLite {name}: {error}", fix=fix) if fix else None


def unfinished(error: sqlite3.Error) -> bool:
    """A cursor of the user is half read, so the transaction can't end: SQLite calls that busy too."""
    return "statements in progress" in str(error)


def inode(path: Path | None) -> tuple[int, int] | None:
    """Which file lies at `path` now; `None` for a database in memory. Raises `OSError` when there is none."""
    if path is None:
        return None
    found = path.stat()
    return found.st_dev, found.st_ino


def run(db: sqlite3.Connection, statement: Statement) -> Rows:
    """One statement's rows as tuples, whatever row factory a user has set on the connection."""
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(*statement).fetchall()


def start(db: sqlite3.Connection) -> None:
    """Take the write lock now: a read that is upgraded later could not wait for it."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"SAVEPOINT {_MARK}")


def commit(db: sqlite3.Connection, statements: Sequence[Statement], *, schema: Schema, rows: Unwritten) -> None:
    """The last rows and `statements` ride along with the transaction's commit. Raises `EndedError`."""
    try:
        _release(db, _MARK)
        _insert(db, schema, rows)
        for statement in statements:
            db.execute(*statement)
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise


def rollback(db: sqlite3.Connection) -> None:
    """End the transaction if one is open (SQLite itself may have ended it, on a full disk)."""
    if db.in_transaction:
        db.execute("ROLLBACK")


def rollback_marked(db: sqlite3.Connection) -> None:
    """Roll back; raises `EndedError` when it is not the transaction that was begun."""
    try:
        _release(db, _MARK)
    finally:
        rollback(db)


def enter(db: sqlite3.Connection) -> None:
    """Begin a savepoint. Outside a transaction it would begin one, so there it does nothing."""
    if db.in_transaction:
        db.execute(f"SAVEPOINT {_SAVEPOINT}")


def leave(db: sqlite3.Connection, *, schema: Schema, rows: Unwritten) -> None:
    """Write the rows of the block and of those before it, and keep what it did. Raises `EndedError`."""
    if not db.in_transaction:
        raise EndedError
    _insert(db, schema, rows)
    _release(db, _SAVEPOINT)


def undo(db: sqlite3.Connection) -> None:
    """Undo what the savepoint's block did. Raises `EndedError`."""
    _marked(db, f"ROLLBACK TO {_SAVEPOINT}")
    db.execute(f"RELEASE {_SAVEPOINT}")


def transact(db: sqlite3.Connection, statements: Sequence[Statement]) -> Rows:
    """A transaction of its own; the rows of the last statement."""
    rows: Rows = []
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            rows = run(db, statement)
        db.execute("COMMIT")
    except BaseException:
        rollback(db)
        raise
    return rows


def see(db: sqlite3.Connection, *, seen: Statement) -> bool:
    """Insert the inbox row; True when it is new. Raises `EndedError` outside a transaction."""
    if not db.in_transaction:
        raise EndedError
    return bool(run(db, seen))


def look(db: sqlite3.Connection, *, known: Statement) -> set[str]:
    """The message ids that the inbox has. Raises `EndedError` outside a transaction."""
    if not db.in_transaction:
        raise EndedError
    return {row[0] for row in run(db, known)}


def gather(db: sqlite3.Connection, *, statement: Statement) -> dict[str, bytes]:
    """Records by name: arrivals of a join, runs of the ledger. Raises `EndedError` outside a transaction."""
    if not db.in_transaction:
        raise EndedError
    return {name: bytes(record) for name, record in run(db, statement)}


def arrive(db: sqlite3.Connection, *, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """Write arrivals, or rows of the ledger. Raises `EndedError` outside a transaction."""
    if not db.in_transaction:
        raise EndedError
    db.executemany(sql, rows)


def _insert(db: sqlite3.Connection, schema: Schema, rows: Unwritten) -> None:
    if rows.inbox:
        db.executemany(schema.note, rows.inbox)
    if rows.outbox:
        db.executemany(schema.emit, rows.outbox)


def _release(db: sqlite3.Connection, name: str) -> None:
    _marked(db, f"RELEASE {name}")


def _marked(db: sqlite3.Connection, sql: str) -> None:
    try:
        db.execute(sql)
    except sqlite3.OperationalError as error:
        if "no such savepoint" in str(error):
            raise EndedError from error
        raise
