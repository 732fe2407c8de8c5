"""F23 and rot: a cache's disk that is full under load, or turns bits over. No pull fails, and none lies."""

import asyncio
import random
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.edition import amount, seeded
from tests.faults.figures import tell
from tests.faults.history import failures, lies, recorded, unexplained
from tests.faults.pull_path import PullPath, committed, pull_path, wrongly_committed
from tests.proxy.proxy_process import Keys
from tests.proxy.test_cache_full_disk import fill_up, mount
from tests.support.wait import eventually
from vreg_proxy.cache.limits import KEEP_FREE

CLIENTS = 4
PULLS_MEANWHILE = amount(40, 2000)
SIZES = (1000, 50_000, 200_000)
ROTTEN = amount(10, 100)
MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system with little more room than a proxy leaves free."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={KEEP_FREE + 200 * MIB}", "tmpfs", str(place)):
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)  # noqa: S603, S607 - what was mounted above


async def test_a_full_disk_fails_no_pull_and_is_used_again_once_there_is_room(
    disk: Path, tmp_path: Path, keys: Keys
) -> None:
    with recorded(tmp_path) as history:
        async with (
            pull_path(tmp_path, keys, history, workers=2, cache=disk / "cache") as path,
            _load(path),
        ):
            await eventually(lambda: committed(path.cache))
            fault_began = time.monotonic()
            with history.fault("full disk"):
                await asyncio.to_thread(fill_up, disk)
                await _pulls_later(path, PULLS_MEANWHILE)
            lasted = time.monotonic() - fault_began
            (disk / "ballast").unlink()
            back = await _until_it_keeps_again(path)
        assert not failures(history)
        assert not wrongly_committed(path.cache)
    tell("G13", f"full disk for {lasted:.0f} s: failed pulls of {len(history.pulls)}", 0, "0")
    tell("G13", "kept again after there was room", f"{back:.2f} s", "≤ 5 s")


async def test_a_bit_that_turns_over_on_disk_reaches_nobody_and_heals(tmp_path: Path, keys: Keys) -> None:
    seed, dice = seeded()
    with recorded(tmp_path, seed) as history:
        async with pull_path(tmp_path, keys, history) as path, path.client() as client:
            digests = [
                path.only.add_blob(dice.randbytes(dice.choice((1000, 100_000, 5 * MIB))))
                for _ in range(ROTTEN)
            ]
            for digest in digests:
                await client.blob(digest)
            for file in committed(path.cache):
                _turn_a_bit_over(file, dice)
            with history.fault("rotten"):
                first = [await client.blob(digest) for digest in digests]
            second = [await client.blob(digest) for digest in digests]
            assert not lies(history)
            assert not unexplained(history, 503)
            assert all(pull.is_right for pull in second)
            assert not wrongly_committed(path.cache)
    cut = sum(not pull.is_right for pull in first)
    tell("G12", f"{ROTTEN} bits turned over on disk (seed {seed}): bad bodies complete", 0, "0")
    tell("G12", "of these: cut short at first, right when resumed or pulled again", cut, "any")


def _turn_a_bit_over(file: Path, dice: random.Random) -> None:
    with file.open("r+b") as opened:
        at = dice.randrange(file.stat().st_size)
        opened.seek(at)
        (byte,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes((byte ^ 1 << dice.randrange(8),)))


@asynccontextmanager
async def _load(path: PullPath) -> AsyncIterator[None]:
    """Pull blobs that nobody has yet, and now and then one again, while the block runs."""
    ended = asyncio.Event()

    async def lane(number: int) -> None:
        dice = random.Random(f"{number} {time.monotonic()}")  # noqa: S311 - fresh blobs, not secrets
        async with path.client(f"client-{number}") as client:
            while not ended.is_set():
                digest = path.only.add_blob(dice.randbytes(dice.choice(SIZES)))
                await client.blob(digest)
                await client.blob(digest)
                await asyncio.sleep(0.02)  # a pace, so that the small disk holds them all

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(lane(number))
        try:
            yield
        finally:
            ended.set()


async def _pulls_later(path: PullPath, count: int) -> None:
    seen = len(path.history.pulls)
    await eventually(lambda: len(path.history.pulls) >= seen + count, deadline=240)


async def _until_it_keeps_again(path: PullPath) -> float:
    """Wait until something new is committed and nobody complains; return how long it took."""
    began, before = time.monotonic(), set(committed(path.cache))
    await eventually(lambda: set(committed(path.cache)) - before, deadline=60)
    return time.monotonic() - began
