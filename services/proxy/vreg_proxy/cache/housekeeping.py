"""What a worker does for the cache now and then, whether or not anybody pulls."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from vreg_proxy.cache.census import Census
from vreg_proxy.cache.disk_state import DiskState
from vreg_proxy.cache.evictor import Evictor
from vreg_proxy.cache.index import Index
from vreg_proxy.cache.scrub import Scrub
from vreg_proxy.cache.statistics import Statistics
from vreg_proxy.cache.threads import in_thread

SETTLED_SECONDS: Final = 5.0
"""What is younger may be about to be locked by its maker."""
_log: Final = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between two times of each kind of work."""

    look: float = 1.0
    """See whether what failed works again, and whether rights were taken away."""
    write: float = 5.0
    """Bring uses and counts to disk: so much of them a crash may cost."""
    sweep: float = 20.0
    evict: float = 10.0
    scrub: float = 60.0


class Sweeps(Protocol):
    """Removes what dead processes left."""

    def reclaim(self, settled_seconds: float = 0.0) -> None:
        """Do it; blocks on the disk."""
        ...


@dataclass(frozen=True)
class Housekeeping:
    """One for each worker; work that concerns the folder as a whole is done by whoever has the turn."""

    index: Index
    disk: DiskState
    statistics: Statistics
    fills: Sweeps
    census: Census
    evictor: Evictor
    scrub: Scrub
    executor: Executor
    on_purge: Callable[[], None]

    async def run(self, rhythm: Rhythm) -> None:
        """Go on for ever; work that fails is tried again at its next time."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_every(rhythm.look, self.look))
            group.create_task(_every(rhythm.write, self.write))
            group.create_task(_every(rhythm.sweep, self.sweep))
            group.create_task(_every(rhythm.evict, self.evict))
            group.create_task(_every(rhythm.scrub, self.scrub.scrub))

    async def look(self) -> None:
        """Recover what works again, and forget what another process purged."""
        await self.index.disk.try_again()
        if self.disk.problem is not None:
            await in_thread(self.executor, self.disk.try_again)
        if await self.index.was_purged():
            self.on_purge()

    async def write(self) -> None:
        """Bring uses and counts to disk."""
        self.index.write_uses()
        evicted = self.evictor.uncounted()
        self.statistics.evicted(evicted.entries, evicted.bytes)
        self.statistics.flush()

    async def sweep(self) -> None:
        """Remove what dead processes left behind."""
        await in_thread(self.executor, self.fills.reclaim, SETTLED_SECONDS)

    async def evict(self) -> None:
        """Keep to the limits, by true figures."""
        await in_thread(self.executor, self.census.take_if_due)
        await in_thread(self.executor, self.evictor.evict)


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001 - pulls go on whatever breaks here
            _log.exception("cache_housekeeping_failed")
