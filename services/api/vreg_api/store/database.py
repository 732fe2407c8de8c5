"""Transactions: one door to SQLite or PostgreSQL, with failures told apart by what the caller can do."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from vreg_api.store.url import parse_database_url
from vreg_shared.errors import VregError
from vreg_shared.secret import Secret

Transaction = AsyncConnection
"""What store functions act in."""

_READ_ONLY: Final = "vreg_read_only"
_BUSY_MILLISECONDS: Final = 5000
_POSTGRESQL_OPTIONS: Final = {"timeout": 5, "command_timeout": 15}
_POOL_WAIT_SECONDS: Final = 5
_PASSING_CLASSES: Final = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})
"""Connection, sign-in, no such database, deadlock, out of something, locked, shutting down, disk.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""
_NO_SUCH_TABLE: Final = "42P01"
_RUINED_FILE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DatabaseUnavailableError(VregError):
    """The database does not answer, is locked, full or ruined: nothing was changed; try again later."""


class ConflictError(VregError):
    """Somebody else changed the same thing at the same time: nothing was changed; read it and try again."""


class Database:
    """The api's database. It connects at the first use, and again whenever a connection was lost."""

    def __init__(self, url: Secret) -> None:
        self._engine = _make_engine(url)
        self._writing = asyncio.Lock() if self.is_sqlite else None
        self._on_commit: list[Callable[[], None]] = []

    @property
    def is_sqlite(self) -> bool:
        """Whether there is one file, and so one writer at a time."""
        return self._engine.dialect.name == "sqlite"

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call after every committed `write` that is news."""
        self._on_commit.append(callback)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """See one state of the database; raise DatabaseUnavailableError."""
        async with _told_apart(), self._engine.connect() as connection:
            await connection.execution_options(**{_READ_ONLY: True})
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def write(self, *, is_news: bool = True) -> AsyncIterator[Transaction]:
        """Change all of it or nothing; raise DatabaseUnavailableError or ConflictError.

        `is_news` says that the `on_commit` callbacks want to hear of it. SQLite's writers take their turn
        here: waiting in its own lock is polling, and not fair.
        """
        async with AsyncExitStack() as stack:
            if self._writing is not None:
                await stack.enter_async_context(self._writing)
            await stack.enter_async_context(_told_apart())
            yield await stack.enter_async_context(self._engine.begin())
        for callback in self._on_commit if is_news else ():
            callback()

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


@asynccontextmanager
async def _told_apart() -> AsyncIterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise ConflictError(
            "it was changed by somebody else at the same time; read it and try again"
        ) from error
    except (OperationalError, InterfaceError, PoolTimeoutError, OSError) as error:
        raise _unavailable(error) from error
    except DBAPIError as error:
        if error.connection_invalidated or _is_passing(error):
            raise _unavailable(error) from error
        raise


def _unavailable(error: Exception) -> DatabaseUnavailableError:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return DatabaseUnavailableError(f"the database cannot be used now: {type(cause).__name__}: {cause}"[:300])


def _is_passing(error: DBAPIError) -> bool:
    """Whether the database itself, and not our statement, is the reason."""
    if getattr(error.orig, "sqlite_errorcode", None) in _RUINED_FILE:
        return True
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return state[:2] in _PASSING_CLASSES or state == _NO_SUCH_TABLE


def _make_engine(url: Secret) -> AsyncEngine:
    parsed = parse_database_url(url)
    is_sqlite = parsed.drivername.startswith("sqlite")
    engine = create_async_engine(
        parsed,
        hide_parameters=True,
        pool_pre_ping=not is_sqlite,
        pool_timeout=_POOL_WAIT_SECONDS,
        connect_args={"timeout": _BUSY_MILLISECONDS / 1000} if is_sqlite else dict(_POSTGRESQL_OPTIONS),
    )
    if is_sqlite:
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    """Let us begin transactions ourselves, keep references whole, and put commits on the disk."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_wal(cursor: Any) -> None:  # noqa: ANN401 - the driver's own type
    """Switch a new file over to its log. SQLite lets nobody wait for that, but writers wait for each other.

    So whoever finds the file locked waits as a writer until the one who switches it is through.
    """
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("ROLLBACK")
        cursor.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin writers as such: a deferred transaction fails at once when it turns to writing."""
    is_read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if is_read_only else "BEGIN IMMEDIATE")
