"""Where a cache is assembled from its folder and its limits, and taken down again."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from vreg_proxy.cache.bad_content import BadContent
from vreg_proxy.cache.blobs import Blobs
from vreg_proxy.cache.cache import Cache
from vreg_proxy.cache.census import Census
from vreg_proxy.cache.content_store import ContentStore
from vreg_proxy.cache.contents import Contents
from vreg_proxy.cache.disk_state import DiskState
from vreg_proxy.cache.download import Patience
from vreg_proxy.cache.evictor import Evictor
from vreg_proxy.cache.fill_owner import Workshop
from vreg_proxy.cache.folder_id import folder_id
from vreg_proxy.cache.housekeeping import Housekeeping, Rhythm
from vreg_proxy.cache.index import Index
from vreg_proxy.cache.limits import Limits
from vreg_proxy.cache.scrub import Scrub
from vreg_proxy.cache.statistics import Statistics
from vreg_proxy.cache.threads import in_thread
from vreg_shared.clock import Clock

THREADS: Final = 8
HOUSE_THREADS: Final = 2
"""For work nobody waits for, so that it never takes a thread from a pull."""


@asynccontextmanager
async def open_cache(
    root: Path,
    clock: Clock,
    *,
    limits: Limits | None = None,
    patience: Patience | None = None,
    rhythm: Rhythm | None = None,
) -> AsyncIterator[Cache]:
    """Run a cache in this folder; several processes of one host may share it, on a local file system.

    Leaving the context cancels the fills of this process; readers in other processes take them over.
    """
    limits = limits or Limits()
    store, index = ContentStore(root), Index(root / "index.db", clock)
    disk, statistics = DiskState(store, limits.keep_free), Statistics(index.disk)
    bad_content, evictor = BadContent(index, statistics), Evictor(root, store, limits, clock)
    with (
        ThreadPoolExecutor(THREADS, "cache") as executor,
        ThreadPoolExecutor(HOUSE_THREADS, "cache-house") as house,
    ):
        workshop = Workshop(store, executor, patience or Patience(), evictor, statistics.fetched)
        try:
            async with asyncio.TaskGroup() as tasks:
                blobs = Blobs(root / "filling", workshop, index, disk, tasks, on_bad=bad_content.found)
                await in_thread(executor, blobs.prepare)
                cache = Cache(
                    store=store,
                    index=index,
                    blobs=blobs,
                    disk=disk,
                    statistics=statistics,
                    bad_content=bad_content,
                    contents=Contents(index.disk, store, house),
                    executor=executor,
                    folder_id=await in_thread(executor, folder_id, root),
                )
                keeping = Housekeeping(
                    index=index,
                    disk=disk,
                    statistics=statistics,
                    fills=blobs.fills,
                    census=Census(root, store, clock),
                    evictor=evictor,
                    scrub=Scrub(
                        root=root,
                        store=store,
                        executor=house,
                        rate=limits.scrub_rate,
                        clock=clock,
                        on_bad=bad_content.found,
                    ),
                    executor=house,
                    on_purge=cache.purged,
                )
                kept = tasks.create_task(keeping.run(rhythm or Rhythm()))
                try:
                    yield cache
                finally:
                    kept.cancel()
                    blobs.stop()
                    await keeping.write()
        finally:
            await index.close()
