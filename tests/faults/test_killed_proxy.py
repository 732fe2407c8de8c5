"""F22: a proxy that is killed while it writes. No half blob is ever visible, and none stays behind."""

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

from tests.faults.edition import amount, seeded
from tests.faults.figures import tell
from tests.faults.history import History, Pull, lies, recorded, unexplained
from tests.faults.pull_path import PullPath, half_written, pull_path, wrongly_committed
from tests.proxy.proxy_process import Keys
from tests.support.cache_worker import HOME, CacheWorker
from tests.support.cache_worker import Pull as CachePull
from tests.support.toxics import Direction, Toxic
from tests.support.wait import eventually
from vreg_proxy.cache.fill_record import FillFiles
from vreg_shared.oci.digest import Digest

WORKER_KILLS = amount(1, 12)
PROXY_KILLS = amount(1, 8)
"""Of whole processes, which take seconds to start; the other kills are of processes that are but a cache."""
CACHE_KILLS = amount(10, 180)
SIZES = (1000, 300_000, 2_000_000)
RATE = 8_000_000
"""Of the upstream in bytes a second, so that kills come in the middle of writes."""
ORPHAN_SECONDS = 60


async def test_no_half_blob_is_seen_after_any_kill(tmp_path: Path, keys: Keys) -> None:
    seed, dice = seeded()
    bad: list[str] = []
    starts: list[float] = []
    met = 0
    with recorded(tmp_path, seed) as history:
        async with pull_path(tmp_path, keys, history, workers=2) as path:
            path.only.toxics.afflict(down=Toxic(rate=RATE, piece=16_384))
            digests: list[str] = []
            for number in range(WORKER_KILLS + PROXY_KILLS):
                sizes = (SIZES[-1], *dice.choices(SIZES, k=2))
                fresh = [path.only.add_blob(dice.randbytes(size)) for size in sizes]
                digests += fresh
                pulling = asyncio.create_task(_pull(path, fresh))
                await _some_bytes_later(path, dice, pulling)
                met += half_written(path.cache) > 0
                if number < WORKER_KILLS:
                    await _kill_a_worker(path, dice)
                else:
                    starts.append(await _kill_and_start(path))
                await pulling
                bad += wrongly_committed(path.cache)
                if number % 10 == 0:
                    bad += await _pulled_wrongly(path, digests)
            assert not bad
            orphans, began = half_written(path.cache), asyncio.get_running_loop().time()
            await eventually(lambda: not half_written(path.cache), deadline=ORPHAN_SECONDS)
            gone = asyncio.get_running_loop().time() - began
            path.only.toxics.heal()
            assert not await _pulled_wrongly(path, digests)
            assert not lies(history)
            assert not unexplained(_of_the_living(history), 503)
    kills = WORKER_KILLS + PROXY_KILLS
    assert met, "no kill came in the middle of a write"
    tell(
        "G12",
        f"{kills} kills (seed {seed}), {met} in a write: bad files, all hashed after each",
        len(bad),
        "0",
    )
    tell("G12", f"orphan bytes after the last: {orphans}, gone after", f"{gone:.1f} s", "≤ 60 s")
    tell("G12", f"from start to serving, {len(starts)} starts, longest", f"{max(starts):.1f} s", "≤ 2 s")


async def test_no_half_blob_is_left_by_a_cache_that_is_killed_as_it_writes(tmp_path: Path) -> None:
    seed, dice = seeded()
    root, upstream = tmp_path / "cache", tmp_path / "upstream"
    upstream.mkdir()
    bad: list[str] = []
    survivor = CacheWorker(root, upstream)
    for number in range(CACHE_KILLS):
        content = dice.randbytes(dice.choice(SIZES))
        (upstream / f"{number}").write_bytes(content)
        pull = CachePull(f"{number}", Digest.of(content), clients=2)
        victim = CacheWorker(root, upstream)
        victim.send(pull)
        point = dice.randrange(len(content))
        await eventually(lambda point=point, digest=pull.digest: _has_come_to(root, digest, point))
        victim.kill()
        bad += wrongly_committed(root)
        if dice.random() < 0.5:
            assert await survivor.pull(pull) == [str(pull.digest)] * 2
    await survivor.stop()
    heir = CacheWorker(root, upstream)
    again = [int(path.name) for path in upstream.iterdir() if path.name.isdigit()]
    for number in again:
        digest = Digest.of((upstream / f"{number}").read_bytes())
        assert await heir.pull(CachePull(f"{number}", digest)) == [str(digest)]
    await heir.stop()
    assert not bad + wrongly_committed(root)
    assert not half_written(root)
    tell(
        "G12",
        f"{CACHE_KILLS} kills of a cache (seed {seed}): bad files, all hashed after each",
        len(bad),
        "0",
    )


def _has_come_to(root: Path, digest: Digest, point: int) -> bool:
    """Whether a blob is committed, or so much of it is written."""
    part = FillFiles.of(root / "filling", digest, HOME).part
    with suppress(FileNotFoundError):
        return part.stat().st_size >= point
    return any((root / "content").rglob(digest.hex))


async def _pull(path: PullPath, digests: list[str]) -> None:
    """Let three clients pull each blob, over connections of their own, so that they meet both workers."""

    async def one(digest: str) -> None:
        async with path.client() as client:
            await client.blob(digest)

    async with asyncio.TaskGroup() as group:
        for digest in digests * 3:
            group.create_task(one(digest))


async def _some_bytes_later(path: PullPath, dice: random.Random, pulling: asyncio.Task[None]) -> None:
    """Wait for a random number of bytes from the upstream."""
    point = path.only.toxics.passed[Direction.DOWN] + dice.randrange(1, 2_000_000)
    await eventually(lambda: pulling.done() or path.only.toxics.passed[Direction.DOWN] >= point, deadline=60)


async def _kill_a_worker(path: PullPath, dice: random.Random) -> None:
    """Kill one of two, and wait until there are two again."""
    victim = dice.choice(path.proxy.workers())
    started = path.proxy.log.read_text().count("worker_serving")
    os.kill(victim, signal.SIGKILL)
    await eventually(lambda: path.proxy.log.read_text().count("worker_serving") > started, deadline=60)


async def _kill_and_start(path: PullPath) -> float:
    """Kill all processes at once; return how long it took from the start until all was as before."""
    await path.kill()
    began = asyncio.get_running_loop().time()
    await path.proxy.start()
    return asyncio.get_running_loop().time() - began


async def _pulled_wrongly(path: PullPath, digests: list[str]) -> list[str]:
    """Pull all again; return what did not come right."""
    async with path.client("afterwards") as client:
        pulls: list[Pull] = [await client.blob(digest) for digest in digests]
    return [pull.wanted for pull in pulls if not pull.is_right]


def _of_the_living(history: History) -> History:
    """Leave out the pulls whose connection went with a process before there was an answer."""
    return History(history.seed, [pull for pull in history.pulls if pull.status])
