"""F20, F21: many clients ask for one blob that nobody has yet. It comes once, whoever leaves."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.faults.edition import amount
from tests.faults.figures import tell
from tests.faults.history import failures, recorded
from tests.faults.pull_path import Client, PullPath, pull_path, together, wrongly_committed
from tests.proxy.proxy_process import Keys
from tests.support.toxics import Direction, Toxic
from tests.support.wait import eventually

CLIENTS = amount(40, 200)
SIZE = amount(8, 50) * 1024 * 1024
LEAVES_AFTER = SIZE // 10
MOST_MEMORY = amount(128, 64) * 1024 * 1024
"""The figure to reach is that of the full edition; the small one only tells growth from a leak."""


@pytest.mark.parametrize("leader_leaves", [False, True])
async def test_a_crowd_costs_one_request(tmp_path: Path, keys: Keys, *, leader_leaves: bool) -> None:
    blob = random.Random(str(leader_leaves)).randbytes(SIZE)  # noqa: S311 - has to be repeatable
    with recorded(tmp_path) as history:
        async with pull_path(tmp_path, keys, history, workers=2) as path:
            digest = path.only.add_blob(blob)
            await _warm_up(path)
            before, passed = path.memory(), path.only.toxics.passed[Direction.DOWN]
            most = asyncio.create_task(_most_memory(path))
            await _crowd(path, digest, leader_leaves=leader_leaves)
            most.cancel()
            passed = path.only.toxics.passed[Direction.DOWN] - passed
            grown = (await _result(most)) - before
        asked = path.only.asked("GET", digest)
        name = "the first leaves" if leader_leaves else "all stay"
        tell("G10", f"{CLIENTS} clients, {SIZE >> 20} MiB, {name}: upstream GETs", asked, "1")
        tell("G10", f"{name}: bytes from upstream", f"{passed / SIZE:.4f}x", "≤ 1.01x")
        tell("G10", f"{name}: resident growth", f"{grown / 2**20:.0f} MiB", "≤ 64 MiB")
        assert not failures(history)
        assert sum(pull.wanted == digest for pull in history.pulls) == CLIENTS
        assert asked == 1
        assert passed <= SIZE * 1.01
        assert grown <= MOST_MEMORY
        assert not wrongly_committed(path.cache)


async def _crowd(path: PullPath, digest: str, *, leader_leaves: bool) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(path.client(f"client-{n}")) for n in range(CLIENTS)]
        if leader_leaves:
            await _lead_and_leave(path, digest)
        await together(CLIENTS, *clients, digest=digest)


async def _warm_up(path: PullPath) -> None:
    """Let every worker have met clients and its upstream, so that only the blob makes them grow."""
    digest = path.only.add_blob(b"warm" * 100_000)
    async with path.client("warm-up") as client:
        await together(20, client, digest=digest)


async def _lead_and_leave(path: PullPath, digest: str) -> None:
    """Be first, with others behind, and hang up after a tenth; the upstream waits until they are there."""
    path.only.toxics.afflict(down=Toxic(rate=SIZE / 4))
    async with path.client("leader") as leader, path.client("follower") as follower:
        leaving = asyncio.create_task(leader.leave_early(digest, LEAVES_AFTER))
        await eventually(lambda: path.only.asked("GET", digest))
        following = asyncio.create_task(_half(follower, digest))
        await leaving
        path.only.toxics.heal()
        await following


async def _half(client: Client, digest: str) -> None:
    await client.leave_early(digest, SIZE // 2)


async def _most_memory(path: PullPath) -> int:
    most = 0
    try:
        while True:
            most = max(most, path.memory())
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        return most


async def _result(task: asyncio.Task[int]) -> int:
    return await task
