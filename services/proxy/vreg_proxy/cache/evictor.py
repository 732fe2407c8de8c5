"""Making room: what was unused for longest goes, in small batches, by one process at a time.

Only names are removed, so readers that hold a file go on to its end. Rights outlive bytes that made room:
they are what the upstream said, and the next reader fetches anew. What was unused for too long goes with its
rights and tags, so that the index does not grow for ever.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.books import MOST_ROWS, Books, Entry
from vreg_proxy.cache.content_store import ContentStore
from vreg_proxy.cache.limits import Limits
from vreg_proxy.cache.turn import turn
from vreg_shared.clock import Clock

BATCH: Final = 256
WAIT_SECONDS: Final = 1.0
"""How long a fill waits for another process that is making room."""
WAIT_STEP: Final = 0.02
_log: Final = structlog.stdlib.get_logger()


@dataclass(slots=True)
class Evicted:
    """How much went."""

    entries: int = 0
    bytes: int = 0


class Evictor:
    """Blocks on the disk: use a thread."""

    def __init__(self, root: Path, store: ContentStore, limits: Limits, clock: Clock) -> None:
        self._root = root
        self._store = store
        self._limits = limits
        self._clock = clock
        self._uncounted: list[Evicted] = []

    def evict(self) -> None:
        """Bring the folder within its limits; do nothing while another process does."""
        with turn(self._root / "eviction.lock") as is_ours:
            if is_ours:
                self._work(0)
                self._trim()

    def may_ever_hold(self, size: int) -> bool:
        """Whether one blob of this size fits into the cache at all."""
        return self._limits.may_ever_hold(size)

    def could_hold(self, size: int) -> bool:
        """Whether this many bytes more could be written if all else went; nothing goes."""
        if not self._limits.may_ever_hold(size):
            return False
        wanted = size + self._limits.keep_free
        return self._store.has_room(wanted) or self._store.has_room(wanted - self._kept())

    def has_room(self, size: int) -> bool:
        """Make room for this many bytes more, and tell whether they may be written."""
        if self._store.has_room(size + self._limits.keep_free):
            return True
        self._make_room(size)
        return self._store.has_room(size + self._limits.keep_free)

    def uncounted(self) -> Evicted:
        """Return how much went since the last time this was asked, in any thread."""
        done, self._uncounted = self._uncounted, []
        return Evicted(sum(each.entries for each in done), sum(each.bytes for each in done))

    def _kept(self) -> int:
        books = Books(self._root / "index.db")
        try:
            return books.total() + self._store.bytes_beside()
        except sqlite3.Error:
            return 0
        finally:
            books.close()

    def _make_room(self, size: int) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            with turn(self._root / "eviction.lock") as is_ours:
                if is_ours:
                    self._work(size)
                    return
            if self._store.has_room(size + self._limits.keep_free):
                return
            time.sleep(WAIT_STEP)

    def _work(self, wanted: int) -> None:
        evicted, books = Evicted(), Books(self._root / "index.db")
        try:
            self._drop_idle(books, evicted)
            kept = books.total() + self._store.bytes_beside()
            free = self._store.free_bytes()
            surplus = self._limits.surplus(kept, free - wanted if free is not None else None)
            if surplus:
                self._drop_least_missed(books, surplus, evicted)
        except sqlite3.Error as error:
            _log.warning("cache_eviction_failed", problem=str(error))
        finally:
            books.close()
        if evicted.entries:
            _log.info("cache_evicted", entries=evicted.entries, bytes=evicted.bytes)
            self._uncounted.append(evicted)

    def _trim(self) -> None:
        """Bound what the index holds beside content."""
        books = Books(self._root / "index.db")
        try:
            if (since := self._limits.idle_since(self._clock.now())) is not None:
                books.drop_stale_tags(since)
            books.trim(MOST_ROWS)
        except sqlite3.Error as error:
            _log.warning("cache_index_not_trimmed", problem=str(error))
        finally:
            books.close()

    def _drop_idle(self, books: Books, evicted: Evicted) -> None:
        since = self._limits.idle_since(self._clock.now())
        while since is not None and (entries := books.idle(since, BATCH)):
            self._drop(books, entries, evicted, with_rights=True)

    def _drop_least_missed(self, books: Books, surplus: int, evicted: Evicted) -> None:
        surplus -= self._store.empty_quarantine()
        while surplus > 0 and (entries := books.least_missed(BATCH)):
            chosen = _first(entries, surplus)
            surplus -= sum(entry.size for entry in chosen)
            self._drop(books, chosen, evicted, with_rights=False)

    def _drop(self, books: Books, entries: list[Entry], evicted: Evicted, *, with_rights: bool) -> None:
        for entry in entries:
            if self._store.remove(entry.digest):
                evicted.entries += 1
                evicted.bytes += entry.size
        books.dropped(entries, with_rights=with_rights)


def _first(entries: list[Entry], surplus: int) -> list[Entry]:
    """Return as many as make up the surplus, or all."""
    chosen = []
    for entry in entries:
        if surplus <= 0:
            break
        chosen.append(entry)
        surplus -= entry.size
    return chosen
