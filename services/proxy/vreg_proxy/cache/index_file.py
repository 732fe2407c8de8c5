"""One thread's connection to the index: to the file that is there now, or a new one for a broken one."""

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

_BROKEN: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS rights (
  upstream_id TEXT NOT NULL, cache_epoch INTEGER NOT NULL, repository TEXT NOT NULL, digest TEXT NOT NULL,
  media_type TEXT NOT NULL, size INTEGER NOT NULL, kind TEXT NOT NULL,
  PRIMARY KEY (upstream_id, cache_epoch, repository, digest, kind)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rights_by_digest ON rights (digest, upstream_id, kind);
CREATE TABLE IF NOT EXISTS tags (
  upstream_id TEXT NOT NULL, cache_epoch INTEGER NOT NULL, repository TEXT NOT NULL, tag TEXT NOT NULL,
  digest TEXT NOT NULL, checked_at INTEGER NOT NULL,
  PRIMARY KEY (upstream_id, cache_epoch, repository, tag)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_digest ON tags (digest);
CREATE TABLE IF NOT EXISTS servers (
  registry_id TEXT NOT NULL, repository TEXT NOT NULL, upstream_id TEXT NOT NULL,
  PRIMARY KEY (registry_id, repository)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS content (
  digest TEXT PRIMARY KEY, size INTEGER NOT NULL, last_used INTEGER NOT NULL, scrubbed_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS content_by_use ON content (last_used);
CREATE INDEX IF NOT EXISTS content_by_scrub ON content (scrubbed_at);
CREATE TABLE IF NOT EXISTS counts (
  registry_id TEXT NOT NULL, upstream_id TEXT NOT NULL, event TEXT NOT NULL,
  times INTEGER NOT NULL, bytes INTEGER NOT NULL,
  PRIMARY KEY (registry_id, upstream_id, event)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO marks VALUES ('purges', 0);
"""

_log: Final = structlog.stdlib.get_logger()


class IndexFile:
    """Calls block, wait at most `patience` seconds for a lock, and raise sqlite3.Error."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def first(self, query: str, values: Sequence[str | int]) -> tuple[object, ...] | None:
        """Return the first row, or None when there is none."""
        return next(iter(self.all([(query, values)])[0]), None)

    def all(self, queries: Iterable[tuple[str, Sequence[str | int]]]) -> list[list[tuple[str | int, ...]]]:
        """Return all rows of each query."""
        connection = self._connected()
        try:
            return [connection.execute(query, values).fetchall() for query, values in queries]
        except sqlite3.DatabaseError as error:
            self._let_go_of_broken(error)
            raise

    def write(self, statements: Iterable[tuple[str, Sequence[str | int]]]) -> None:
        """Write all or nothing. Deferred transactions fail on upgrade: IMMEDIATE."""
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    connection.execute(statement, values)
                connection.execute("COMMIT")
            except sqlite3.Error:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            self._let_go_of_broken(error)
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        """Return a connection to the file that the name means now: another process may have replaced it."""
        if self._connection is not None and self._identity != _identity(self._path):
            self.close()
        if self._connection is None:
            try:
                self._connection = _connect(self._path, self._patience)
            except sqlite3.DatabaseError as error:
                if not _is_broken(error):
                    raise
                replace_broken(self._path, _identity(self._path))
                self._connection = _connect(self._path, self._patience)
            self._identity = _identity(self._path)
        return self._connection

    def _let_go_of_broken(self, error: sqlite3.DatabaseError) -> None:
        if _is_broken(error):
            self.close()
            replace_broken(self._path, self._identity)


def replace_broken(path: Path, identity: tuple[int, int] | None) -> None:
    """Take a file away that is no database any more, unless another process was faster."""
    try:
        descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _identity(path) != identity:
            return
        _log.warning("cache_index_lost", path=str(path))
        for suffix in ("-wal", "-shm", ""):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cache_index_not_replaced", problem=error.strerror)
    finally:
        os.close(descriptor)


def _is_broken(error: sqlite3.Error) -> bool:
    """Whether the file itself is bad; the low byte is the code, what is above tells where."""
    code = getattr(error, "sqlite_errorcode", None)  # errors of Python's own have none
    return code is not None and code & 0xFF in _BROKEN


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path, patience: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_TABLES)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
