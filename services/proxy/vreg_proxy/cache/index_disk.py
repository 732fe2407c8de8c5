"""The index's SQLite file: one thread for pulls, one that writes batches, one for those who browse."""

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.index_file import IndexFile
from vreg_proxy.cache.threads import in_thread
from vreg_shared.clock import Clock

Row = tuple[str | int, ...]
Statement = tuple[str, Row]

MOST_WAITING: Final = 100_000
"""Statements kept while the disk takes none; later ones live in memory only."""
RETRY_SECONDS: Final = 2.0
READ_WAIT_SECONDS: Final = 0.25
"""How long a pull waits for a file that somebody else has locked."""
WRITE_WAIT_SECONDS: Final = 5.0

_log: Final = structlog.stdlib.get_logger()


class IndexDisk:
    """What fails here is kept in `problem` and tried again later; nobody waits for a write.

    A pull that could not read lets the others do without the disk for a moment, so that they do not queue.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._reading = ThreadPoolExecutor(1, "cache-index-read")
        self._writing = ThreadPoolExecutor(1, "cache-index-write")
        self._browsing = ThreadPoolExecutor(1, "cache-index-browse")
        self._reader = IndexFile(path, READ_WAIT_SECONDS)
        self._writer = IndexFile(path, WRITE_WAIT_SECONDS)
        self._browser = IndexFile(path, WRITE_WAIT_SECONDS)
        self._waiting: list[Statement] = []
        self._flush: asyncio.Future[str | None] | None = None
        self._write_again_at = 0.0
        self._read_again_at = 0.0
        self._read_problem: str | None = None
        self._write_problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Return what keeps us from the file, if anything does."""
        return self._write_problem or self._read_problem

    @property
    def is_readable(self) -> bool:
        """Whether the last `select` could say; after a None, whether there is nothing."""
        return self._read_problem is None

    async def select(self, query: str, values: Row) -> tuple[object, ...] | None:
        """Return the first row, or None when there is none or the disk cannot say."""
        if self._clock.monotonic() < self._read_again_at:
            return None
        try:
            row = await in_thread(self._reading, self._reader.first, query, values)
        except sqlite3.Error as error:
            self._read_problem = f"the cache index cannot be read: {error}"
            self._read_again_at = self._clock.monotonic() + RETRY_SECONDS
            return None
        self._read_problem, self._read_again_at = None, 0.0
        return row

    async def browse(self, queries: Sequence[Statement]) -> list[list[Row]] | None:
        """Return all rows of each query, off the way of pulls; None when the disk cannot say."""
        try:
            return await in_thread(self._browsing, self._browser.all, queries)
        except sqlite3.Error as error:
            _log.warning("cache_index_unreadable", problem=str(error))
            return None

    def later(self, statements: Iterable[Statement]) -> None:
        """Write soon, together with whatever else comes meanwhile."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.extend(statements)
        self._write_next()

    async def try_again(self) -> None:
        """See whether what failed works again; called now and then, for nobody else may come to ask."""
        if self._write_problem is not None and not self._waiting:
            self._waiting.append(("UPDATE marks SET value = value WHERE FALSE", ()))
        self._write_next()
        if self._read_problem is not None:
            await self.select("SELECT 1", ())

    async def flushed(self) -> None:
        """Wait until nothing is being written, and nothing waits that the disk would take."""
        while self._flush is not None:
            await asyncio.wait([self._flush])

    async def close(self) -> None:
        """Write what waits, if the disk takes it, and let go of the file."""
        await self.flushed()
        if self._waiting:
            await in_thread(self._writing, self._write, self._waiting)
        for thread, file in (
            (self._writing, self._writer),
            (self._reading, self._reader),
            (self._browsing, self._browser),
        ):
            await in_thread(thread, file.close)
            thread.shutdown()

    def _write_next(self) -> None:
        if self._flush is not None or not self._waiting or self._clock.monotonic() < self._write_again_at:
            return
        batch, self._waiting = self._waiting, []
        self._flush = asyncio.get_running_loop().run_in_executor(self._writing, self._write, batch)
        self._flush.add_done_callback(lambda future: self._written(future.result(), batch))

    def _written(self, problem: str | None, batch: list[Statement]) -> None:
        self._flush = None
        self._write_problem = problem
        if problem is not None:
            _log.warning("cache_index_unwritable", problem=problem)
            self._waiting = batch + self._waiting
            self._write_again_at = self._clock.monotonic() + RETRY_SECONDS
        self._write_next()

    def _write(self, batch: Sequence[Statement]) -> str | None:
        try:
            self._writer.write(batch)
        except sqlite3.Error as error:
            return f"the cache index cannot be written: {error}"
        return None
