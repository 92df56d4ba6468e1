"""One SQLite file and the connection to it: opened, prepared, noticed when it is taken away."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote

from stamp.errors import BadConfiguration, StoreUnavailable
from stamp.stores import sqlite_work
from stamp.stores.common import hijacked
from stamp.stores.link import Link, connect

T = TypeVar("T")

_CACHE_KIB = 1500
"""Less than SQLite's default: what is not in it is in the system's own cache, and a service stays small for good."""

_WAL_RETRY = 0.02


class SQLiteFile:
    """The place a `sqlite:` URL names. `busy_timeout` (seconds) is how long a statement waits for other processes."""

    def __init__(self, url: str, *, busy_timeout: float) -> None:
        self._path = path_of(url)
        self.name = str(self._path or "in memory")
        self._busy_timeout = busy_timeout
        self._link: Link | None = None
        self._inode: tuple[int, int] | None = None

    async def open(self) -> None:
        """Connect, and create the file when it is missing. Raises `StoreUnavailable`."""
        await self._connect(create=True)

    async def close(self) -> None:
        """Disconnect. Idempotent."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def link(self) -> Link:
        """The connection; a new one when the file was taken away and is back. Never creates the file again."""
        if self._link is not None and self._in_place():
            return self._link
        await self.close()
        return await self._connect(create=False)

    async def do(self, link: Link, work: Callable[[sqlite3.Connection], T]) -> T:
        """The toolkit's own work in the connection's thread. What SQLite says against it makes the store unavailable.

        What the user's rows cause (a deferred constraint, a cursor still open) passes through unchanged.
        """
        try:
            return await link.post(work)
        except sqlite_work.EndedError as error:
            raise hijacked() from error
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            if sqlite_work.unfinished(error):
                raise
            raise self._out_of_reach(error) from error
        except ValueError as error:
            raise StoreUnavailable(f"SQLite {self.name}: {error}", fix="something closed the connection") from error

    def unavailable(self, error: BaseException) -> StoreUnavailable | None:
        """What an error of a user's statement says about the store: out of reach, or `None`."""
        return sqlite_work.unavailable(error, self.name)

    def _out_of_reach(self, error: sqlite3.Error) -> StoreUnavailable:
        fix = "run `stamp db upgrade`, and check that nothing else changes the toolkit's tables"
        return self.unavailable(error) or StoreUnavailable(f"SQLite {self.name}: {error}", fix=fix)

    def _in_place(self) -> bool:
        # A deleted file goes on working for whoever has it open, and everything written to it is lost.
        try:
            return sqlite_work.inode(self._path) == self._inode
        except OSError:
            return False

    async def _connect(self, *, create: bool) -> Link:
        try:
            link = await connect(_uri(self._path, create=create), timeout=self._busy_timeout)
        except sqlite3.Error as error:
            raise self._out_of_reach(error) from error
        self._link = link
        await self.do(link, partial(_prepare, patience=self._busy_timeout))
        self._inode = sqlite_work.inode(self._path)
        return link


def path_of(url: str) -> Path | None:
    """The file that a `sqlite:` URL names; `None` is a private database in memory. Raises `BadConfiguration`."""
    before, found, rest = url.partition("://")
    if not found or before != "sqlite" or "?" in rest or (rest and not rest.startswith("/")):
        fix = "write sqlite:///relative.db, sqlite:////absolute.db, or sqlite:// for a database in memory"
        raise BadConfiguration(f"not a URL of a SQLite file: {url!r}", fix=fix)
    name = unquote(rest[1:])
    if rest == "/":
        raise BadConfiguration(
            f"{url!r} names no file", fix="is a variable empty? Write sqlite:///name.db, or sqlite:// for memory"
        )
    return None if name in {"", ":memory:"} else Path(name)


def _uri(path: Path | None, *, create: bool) -> str:
    if path is None:
        return "file::memory:"
    return f"file:{quote(str(path))}?mode={'rwc' if create else 'rw'}"


def _prepare(db: sqlite3.Connection, *, patience: float) -> None:
    _switch_to_wal(db, deadline=time.monotonic() + patience)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")


def _switch_to_wal(db: sqlite3.Connection, *, deadline: float) -> None:
    # The switch asks for an exclusive lock without calling the busy handler, and processes start together.
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_WAL_RETRY)
