"""Corruption, kills, rot and eviction by the hundred: no bad blob is served whole, and none is kept."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.cache_folder import CacheFolder
from tests.support.cache_worker import HOME, Pull
from tests.support.clock import ManualClock
from tests.support.corrupt_source import corrupted, flip
from tests.support.fake_blob_source import FakeBlobSource
from tests.support.wait import eventually
from vreg_proxy.cache import Cache, Limits, Origin, Patience, Rhythm, open_cache
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import BlobInterruptedError

Count = Callable[[int, int], int]
AT_ONCE = Patience(fruitless=2, tries=10, first=0.0, longest=0.0)
SWEEPING = Rhythm(sweep=0.5)
KIB = 1024


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[CacheFolder]:
    made = CacheFolder(tmp_path)
    yield made
    await made.stop()


async def received(cache: Cache, source: FakeBlobSource) -> tuple[bytes, bool]:
    """Return what a client got and whether its body was complete."""
    outcome = await cache.blob(HOME, source.digest, source)
    if isinstance(outcome, Verdict):
        return b"", False
    pieces = []
    async with outcome as reader:
        try:
            async for chunk in reader.chunks():
                pieces.append(chunk)  # noqa: PERF401 - what came before the failure counts
        except BlobInterruptedError:
            return b"".join(pieces), False
    return b"".join(pieces), True


def kept(root: Path) -> list[Path]:
    return [path for path in (root / "content").rglob("*") if path.is_file()]


async def test_no_corruption_is_kept_or_served_whole_and_the_next_pull_works(
    tmp_path: Path, count: Count
) -> None:
    chance = random.Random(11)  # noqa: S311 - only has to be repeatable
    async with open_cache(tmp_path, ManualClock(), patience=AT_ONCE) as cache:
        for number in range(count(200, 1000)):
            source = corrupted(chance)
            body, is_complete = await received(cache, source)
            assert not is_complete, f"corruption {number} was served whole"
            assert kept(tmp_path) == []
            if number % 20 == 0:
                clean = FakeBlobSource(source.blob)
                assert await received(cache, clean) == (source.blob, True)
                kept(tmp_path)[0].unlink()
            assert source.blob.startswith(body) or len(body) < len(source.blob)
    assert list((tmp_path / "filling").iterdir()) == []


async def test_kills_at_any_moment_harm_nobody_else(folder: CacheFolder, count: Count) -> None:
    survivor = folder.start()
    for number in range(count(20, 200)):
        size = folder.random.randrange(1, 600_000)
        name = f"layer-{number}"
        digest = folder.blob(name, size)
        held = folder.random.randrange(size)
        folder.hold(held)
        victim = folder.start()
        victim.send(Pull(name, digest, clients=2))
        await eventually(
            lambda name=name, digest=digest, held=held: (
                folder.asked(f"GET {name} ") and folder.filled(digest) >= held
            )
        )
        follows = folder.random.random() < 0.5
        if follows:
            survivor.send(Pull(name, digest, clients=2))
        if folder.random.random() < 0.3:
            folder.hold(1 << 40)
        await asyncio.to_thread(victim.kill)
        folder.release()
        answer = await (survivor.answer() if follows else survivor.pull(Pull(name, digest, clients=2)))
        assert answer == [str(digest)] * 2
    assert folder.bad_content() == []
    assert folder.left_over() == []


async def test_a_bit_flipped_on_disk_is_found_and_healed(tmp_path: Path, count: Count) -> None:
    chance = random.Random(5)  # noqa: S311 - only has to be repeatable
    sizes = [5_000_000] * count(2, 10) + [10, 70_000, 300_000] * count(5, 30)
    sources = [FakeBlobSource(chance.randbytes(size)) for size in sizes]
    async with open_cache(tmp_path, ManualClock()) as cache:
        for source in sources:
            await received(cache, source)
    for path in kept(tmp_path):
        path.write_bytes(flip(path.read_bytes(), chance.randrange(path.stat().st_size)))
    async with open_cache(tmp_path, ManualClock()) as cache:
        for source in sources:
            body, is_complete = await received(cache, source)
            assert not is_complete or body == source.blob
        for source in sources:
            assert await received(cache, source) == (source.blob, True)
    assert all(Digest.of(path.read_bytes()).hex == path.name for path in kept(tmp_path))
    assert 0 < len(list((tmp_path / "quarantine").iterdir())) <= 16


async def test_eviction_under_load_breaks_no_reader_of_any_process(folder: CacheFolder, count: Count) -> None:
    """Blobs are shared by two upstreams; a few fit in, so every worker evicts what the others read."""
    blobs = {f"layer-{number}": folder.blob(f"layer-{number}", 400 * KIB) for number in range(8)}
    limits, rhythm = Limits(size=1200 * KIB, keep_free=0), Rhythm(look=0.1, write=0.05, evict=0.02)
    workers = [folder.start(limits, rhythm) for _ in range(3)]
    origins = (HOME, Origin("upstream-2", 0, "team/app"))
    for _ in range(count(15, 150)):
        pulls = [
            Pull(name, blobs[name], clients=3, origin=folder.random.choice(origins))
            for name in folder.random.choices(sorted(blobs), k=len(workers))
        ]
        answers = await asyncio.gather(*map(lambda worker, pull: worker.pull(pull), workers, pulls))
        for pull, answer in zip(pulls, answers, strict=True):
            assert answer == [str(pull.digest)] * 3
    asked = len(folder.asked("GET"))
    assert asked > len(blobs), "nothing was evicted"
    assert folder.bad_content() == []
    await eventually(lambda: sum(path.stat().st_size for path in kept(folder.root)) <= 1200 * KIB)


async def test_bytes_of_the_killed_are_gone_soon_without_a_restart(folder: CacheFolder, count: Count) -> None:
    survivor = folder.start(rhythm=SWEEPING)
    for number in range(count(3, 20)):
        name = f"layer-{number}"
        digest = folder.blob(name, 200 * KIB)
        folder.hold(50 * KIB)
        victim = folder.start()
        victim.send(Pull(name, digest))
        await eventually(lambda digest=digest: folder.filled(digest) == 50 * KIB)
        await asyncio.to_thread(victim.kill)
    await eventually(lambda: folder.left_over() == [], deadline=60)
    folder.release()
    assert survivor.process.is_alive()


async def test_a_restart_with_many_entries_serves_at_once(tmp_path: Path, count: Count) -> None:
    chance = random.Random(3)  # noqa: S311 - only has to be repeatable
    entries = count(1_000, 10_000)
    async with open_cache(tmp_path, ManualClock(), patience=AT_ONCE) as cache:
        source = FakeBlobSource(chance.randbytes(1000))
        assert await received(cache, source) == (source.blob, True)
    for _ in range(entries):
        body = chance.randbytes(32)
        digest = Digest.of(body)
        path = tmp_path / "content" / "sha256" / digest.hex[:2] / digest.hex
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
    (tmp_path / "index.db").unlink()
    began = time.monotonic()
    async with open_cache(tmp_path, ManualClock(), patience=AT_ONCE, rhythm=Rhythm(evict=0.05)) as cache:
        assert await received(cache, source) == (source.blob, True)
        print(f"restart to serving with {entries} entries: {time.monotonic() - began:.3f} s")  # noqa: T201 - the figure
        await eventually(lambda: _has_counted(cache, entries + 1), deadline=60)


async def _has_counted(cache: Cache, entries: int) -> bool:
    return (await cache.statistics.snapshot()).entries == entries
