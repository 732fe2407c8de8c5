"""Following the bus in tests: work in the background, and a reader that remembers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from vreg_shared.bus import Entry


class Reader:
    """Remembers the latest values it was handed, and how many snapshots."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.snapshots = 0

    async def on_entry(self, entry: Entry) -> None:
        self.values[entry.key] = entry.value

    async def on_synced(self) -> None:
        self.snapshots += 1


@asynccontextmanager
async def in_background(*work: Awaitable[None]) -> AsyncIterator[None]:
    """Run what never ends by itself, and end it with the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_awaited(each)) for each in work]
        yield
        for task in tasks:
            task.cancel()


async def _awaited(work: Awaitable[None]) -> None:
    await work
