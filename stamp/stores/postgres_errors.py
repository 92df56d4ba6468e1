"""What PostgreSQL's and asyncpg's errors mean for a store."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from stamp.errors import BadConfiguration, StoreUnavailable

try:
    import asyncpg  # type: ignore[import-untyped]
    from asyncpg import exceptions as pg
except ImportError as missing:
    raise BadConfiguration(
        "the PostgreSQL store needs asyncpg, which is not installed",
        fix='pip install "state-stamp[postgres]"',
    ) from missing

# Whoever's statement it was: the database is out of reach, shutting down, full, or a standby after a failover.
_OUT_OF_REACH: dict[type[BaseException], str] = {
    pg.PostgresConnectionError: "check that the server runs and that the network reaches it",
    pg.CannotConnectNowError: "the server is starting or stopping: wait",
    pg.AdminShutdownError: "the server is stopping: wait for it to start again",
    pg.CrashShutdownError: "the server is recovering from a crash: wait",
    pg.TooManyConnectionsError: "raise max_connections, or lower `connections` of the stores",
    pg.InsufficientResourcesError: "free disk space or memory on the server",
    pg.ReadOnlySQLTransactionError: "the server is a standby: point the URL at the primary",
}

# Only about the toolkit's own statements: the same delivery may succeed the next time.
_OURS_LATER: dict[type[BaseException], str] = {
    pg.TransactionRollbackError: "two transactions met: it is tried again",
    pg.LockNotAvailableError: "another transaction holds a lock: it is tried again",
    pg.QueryCanceledError: "raise statement_timeout for this role",
    pg.UndefinedTableError: "run `stamp db upgrade`",
    pg.UndefinedColumnError: "run `stamp db upgrade`",
    pg.InvalidSchemaNameError: "run `stamp db upgrade`",
    pg.ObjectNotInPrerequisiteStateError: "let the database accept connections again",
    pg.InvalidCatalogNameError: "create the database named in the URL",
    pg.InvalidAuthorizationSpecificationError: "check user and password in the URL",
    pg.InsufficientPrivilegeError: "grant the role rights to the schema, or let another role run `stamp db upgrade`",
}

DRIVERS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)
"""What the driver raises; the last when the server's last words came while nobody asked it anything."""

_LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Of the toolkit's own statements only: a handler may raise these about something else."""


def unavailable(error: BaseException, name: str) -> StoreUnavailable | None:
    """What an error of anybody's statement means: out of reach, or (`None`) not our business."""
    return _translated(error, name, _OUT_OF_REACH)


def ours_unavailable(error: BaseException, name: str) -> StoreUnavailable | None:
    """What an error of the toolkit's own statement means; `None` when the user's rows caused it."""
    if isinstance(error, _LOST):
        return StoreUnavailable(f"PostgreSQL {name}: {error or type(error).__name__}", fix="check that the server runs")
    return _translated(error, name, _OUT_OF_REACH | _OURS_LATER)


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=user))


def _translated(error: BaseException, name: str, table: dict[type[BaseException], str]) -> StoreUnavailable | None:
    fix = next((fix for kind, fix in table.items() if isinstance(error, kind)), None)
    return StoreUnavailable(f"PostgreSQL {name}: {error}", fix=fix) if fix else None
