"""The log of pulls: kept as proxies tell of them, shown, and let go of after a while."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from pydantic import ValidationError

from vreg_api.pulls.schemas import PullFilter, PullView
from vreg_api.pulls.store import PullStore
from vreg_api.store import bookmarks
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_shared.bus import Bookmark, Stored
from vreg_shared.clock import Clock
from vreg_shared.messages import pulls
from vreg_shared.messages.pulls import PullBatch

PRUNE_SECONDS: Final = 600.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PullLog:
    """What was pulled; methods raise DatabaseUnavailableError."""

    database: Database
    store: PullStore
    clock: Clock
    retention: timedelta

    async def page(self, wanted: PullFilter, before: int | None, limit: int) -> Sequence[PullView]:
        """Return pulls, newest first."""
        async with self.database.read() as tx:
            return await self.store.page(tx, wanted, before, limit)

    async def bookmark(self) -> Bookmark | None:
        """Return how far the stream was read."""
        async with self.database.read() as tx:
            return await bookmarks.find(tx, pulls.STREAM)

    async def add(self, messages: Sequence[Stored]) -> None:
        """Keep what the stream brought and move the bookmark, in one; what is no batch is passed over."""
        async with self.database.write(is_news=False) as tx:
            await bookmarks.find(tx, pulls.STREAM, lock=True)
            for batch in _batches(messages):
                await self.store.add(tx, batch)
            await bookmarks.put(tx, pulls.STREAM, messages[-1].bookmark)

    async def set_aside(self, message: Stored, reason: str) -> None:  # noqa: ARG002 - it was logged with it
        """Pass over what the database cannot take."""
        async with self.database.write(is_news=False) as tx:
            await bookmarks.put(tx, pulls.STREAM, message.bookmark)

    async def prune(self) -> int:
        """Let go of what is older than the retention; return how many rows went."""
        async with self.database.write(is_news=False) as tx:
            return await self.store.prune(tx, self.clock.now() - self.retention)

    async def prune_for_ever(self) -> None:
        """Prune now and then until cancelled."""
        while True:
            try:
                await self.prune()
            except DatabaseUnavailableError as error:
                _log.warning("pulls_not_pruned", reason=str(error))
            await asyncio.sleep(PRUNE_SECONDS)


def _batches(messages: Sequence[Stored]) -> Iterator[PullBatch]:
    for message in messages:
        try:
            batch = PullBatch.model_validate_json(message.payload)
        except ValidationError:
            _log.error("pull_batch_unreadable", sequence=message.sequence)
            continue
        if batch.dropped:
            _log.warning("pulls_not_told", proxy=batch.proxy, count=batch.dropped)
        yield batch
