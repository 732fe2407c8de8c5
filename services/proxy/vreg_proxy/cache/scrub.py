"""Hashing what lies on disk again, slowly, so that bit rot is found before somebody pulls it.

The index says what was hashed longest ago, so whoever has the turn goes on where the last one was.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.books import Books, Entry
from vreg_proxy.cache.content_store import PIECE, ContentStore
from vreg_proxy.cache.running_hash import running_hash
from vreg_proxy.cache.threads import in_thread
from vreg_proxy.cache.turn import turn
from vreg_shared.clock import Clock
from vreg_shared.oci.digest import Digest

EVERY_SECONDS: Final = 24 * 3600
"""Nothing is hashed more often than this."""
BATCH: Final = 100
_log: Final = structlog.stdlib.get_logger()


class Scrub:
    """Reads `rate` bytes a second on the average; a rate of 0 reads nothing."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        root: Path,
        store: ContentStore,
        executor: Executor,
        rate: int,
        clock: Clock,
        on_bad: Callable[[Digest], None],
    ) -> None:
        self._root = root
        self._store = store
        self._executor = executor
        self._rate = rate
        self._clock = clock
        self._on_bad = on_bad

    async def scrub(self) -> None:
        """Hash what is due, unless another process does."""
        if not self._rate:
            return
        with turn(self._root / "scrub.lock") as is_ours:
            while is_ours and (due := await in_thread(self._executor, self._due)):
                for entry in due:
                    await self._scrub(entry.digest)

    def _due(self) -> list[Entry]:
        before = int(self._clock.now().timestamp()) - EVERY_SECONDS
        try:
            with closing(Books(self._root / "index.db")) as books:
                return books.due_for_scrub(before, BATCH)
        except sqlite3.Error as error:
            _log.warning("cache_scrub_waits", problem=str(error))
            return []

    async def _scrub(self, digest: Digest) -> None:
        descriptor = await in_thread(self._executor, self._store.open, digest)
        is_sound = descriptor is not None
        try:
            if descriptor is not None and not await self._is_sound(descriptor, digest):
                is_sound = False
                await in_thread(self._executor, self._store.quarantine, digest, descriptor)
                self._on_bad(digest)
        finally:
            if descriptor is not None:
                os.close(descriptor)
        await in_thread(self._executor, self._note, digest, is_sound=is_sound)

    async def _is_sound(self, descriptor: int, digest: Digest) -> bool:
        hasher, position = running_hash(digest), 0
        try:
            while piece := await in_thread(self._executor, os.pread, descriptor, PIECE, position):
                await in_thread(self._executor, hasher.update, piece)
                position += len(piece)
                await asyncio.sleep(len(piece) / self._rate)
        except OSError:
            return False
        return digest.matches(hasher)

    def _note(self, digest: Digest, *, is_sound: bool) -> None:
        try:
            with closing(Books(self._root / "index.db")) as books:
                if is_sound:
                    books.scrubbed(digest, self._clock.now())
                else:
                    books.lost(digest)
        except sqlite3.Error as error:
            _log.warning("cache_scrub_not_noted", problem=str(error))
