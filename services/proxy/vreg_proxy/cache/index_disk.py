"""The index's SQLite file: one reading thread, one writing thread, statements written in batches."""

import asyncio
import sqlite3
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.threads import in_thread
from vreg_shared.clock import Clock

Row = tuple[str | int, ...]

MOST_WAITING: Final = 100_000
"""Statements kept while the disk takes none; later ones live in memory only."""
RETRY_SECONDS: Final = 2.0
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS rights (
  upstream_id TEXT NOT NULL, cache_epoch INTEGER NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL,
  media_type TEXT NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL,
  PRIMARY KEY (upstream_id, cache_epoch, repository, digest, kind)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tags (
  upstream_id TEXT NOT NULL, cache_epoch INTEGER NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL,
  digest TEXT NOT NULL, checked_at INTEGER NOT NULL,
  PRIMARY KEY (upstream_id, cache_epoch, repository, tag)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS servers (
  registry_id TEXT NOT NULL, repository TEXT NOT NULL, upstream_id TEXT NOT NULL,
  PRIMARY KEY (registry_id, repository)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (digest TEXT PRIMARY KEY, last_used INTEGER NOT NULL) WITHOUT ROWID;
"""

_log: Final = structlog.stdlib.get_logger()


class IndexDisk:
    """What fails here is kept in `problem` and tried again later; nobody waits for a write."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._reading = ThreadPoolExecutor(1, "cache-index-read")
        self._writing = ThreadPoolExecutor(1, "cache-index-write")
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._waiting: list[tuple[str, Row]] = []
        self._flush: asyncio.Future[str | None] | None = None
        self._not_before = 0.0
        self._read_problem: str | None = None
        self._write_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Return what keeps us from the file, if anything does."""
        return self._write_problem or self._read_problem

    async def select(self, query: str, values: Row) -> tuple[object, ...] | None:
        """Return the first row, or None when there is none or the disk cannot say."""
        try:
            row = await in_thread(self._reading, self._select, query, values)
        except sqlite3.Error as error:
            self._read_problem = f"the cache index cannot be read: {error}"
            return None
        self._read_problem = None
        return row

    def later(self, statements: Iterable[tuple[str, Row]]) -> None:
        """Write soon, together with whatever else comes meanwhile."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.extend(statements)
        self._write_next()

    async def flushed(self) -> None:
        """Wait until nothing is being written, and nothing waits that the disk would take."""
        while self._flush is not None:
            await asyncio.wait([self._flush])

    async def close(self) -> None:
        """Write what waits, if the disk takes it, and let go of the file."""
        await self.flushed()
        if self._waiting:
            await in_thread(self._writing, self._write, self._waiting)
        for thread, connection in ((self._writing, self._writer), (self._reading, self._reader)):
            if connection is not None:
                await in_thread(thread, connection.close)
            thread.shutdown()

    def _write_next(self) -> None:
        if self._flush is not None or not self._waiting or self._clock.monotonic() < self._not_before:
            return
        batch, self._waiting = self._waiting, []
        self._flush = asyncio.get_running_loop().run_in_executor(self._writing, self._write, batch)
        self._flush.add_done_callback(lambda future: self._written(future.result(), batch))

    def _written(self, problem: str | None, batch: list[tuple[str, Row]]) -> None:
        self._flush = None
        self._write_problem = problem
        if problem is not None:
            _log.warning("cache_index_unwritable", problem=problem)
            self._waiting = batch + self._waiting
            self._not_before = self._clock.monotonic() + RETRY_SECONDS
        self._write_next()

    def _select(self, query: str, values: Row) -> tuple[object, ...] | None:
        if self._reader is None:
            self._reader = connect(self._path)
        row: tuple[object, ...] | None = self._reader.execute(query, values).fetchone()
        return row

    def _write(self, batch: list[tuple[str, Row]]) -> str | None:
        """Write all or nothing; return the problem. Deferred transactions fail on upgrade: IMMEDIATE."""
        try:
            if self._writer is None:
                self._writer = connect(self._path)
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in batch:
                    self._writer.execute(statement, values)
                self._writer.execute("COMMIT")
            except sqlite3.Error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            return f"the cache index cannot be written: {error}"
        return None


def connect(path: Path) -> sqlite3.Connection:
    """Open the index, a new one in place of one that is no database any more.

    Every thread has a connection of its own.
    """
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise
        _log.warning("cache_index_lost", problem=str(error))
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_TABLES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
