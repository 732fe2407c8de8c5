"""Counting the files themselves now and then: the index may have been lost, and so may its last seconds."""

import sqlite3
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.books import Books
from vreg_proxy.cache.content_store import ContentStore
from vreg_proxy.cache.turn import turn
from vreg_shared.clock import Clock
from vreg_shared.oci.digest import Digest

EVERY_SECONDS: Final = 3600
_log: Final = structlog.stdlib.get_logger()


class Census:
    """Blocks on the disk: use a thread."""

    def __init__(self, root: Path, store: ContentStore, clock: Clock) -> None:
        self._root = root
        self._store = store
        self._clock = clock

    def take_if_due(self) -> None:
        """Count when nobody did for an hour, or when the index is a new one."""
        with turn(self._root / "census.lock") as is_ours:
            if not is_ours:
                return
            books = Books(self._root / "index.db")
            try:
                last, now = books.last_census(), self._clock.now().timestamp()
                if last is None or not 0 <= now - last < EVERY_SECONDS:
                    self._take(books)
            except sqlite3.Error as error:
                _log.warning("cache_census_failed", problem=str(error))
            finally:
                books.close()

    def _take(self, books: Books) -> None:
        """Enter what the index lacks, and strike out what is not there any more."""
        missing, found = books.known(), dict[str, tuple[int, int]]()
        for digest, size, moment in self._store.walk():
            if missing.pop(str(digest), None) != size:
                found[str(digest)] = (size, moment)
        names = [name for name in missing if not self._store.path(Digest.parse(name)).exists()]
        books.counted(found, names, self._clock.now())
        if found or names:
            _log.info("cache_counted", unknown=len(found), missing=len(names))
