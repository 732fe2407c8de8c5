"""What a worker does now and then: scrubbing, sweeping, counting, and recovering without being asked."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.cache_worker import CacheWorker, Pull
from tests.support.clock import ManualClock
from tests.support.fake_blob_source import FakeBlobSource
from tests.support.wait import eventually
from vreg_proxy.cache import Cache, Hit, Limits, Origin, Patience, Rhythm, open_cache
from vreg_proxy.cache.fill_record import FillFiles
from vreg_proxy.cache.folder_id import folder_id
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.registry_client.results import Manifest

HOME = Origin("upstream-1", 0, "team/app")
AT_ONCE = Patience(fruitless=3, tries=40, first=0.0, longest=0.0)
OFTEN = Rhythm(look=0.02, write=0.02, sweep=0.1, evict=0.02, scrub=0.02)
DAY = 24 * 3600
FAST_SCRUB = Limits(keep_free=0, scrub_rate=1 << 40)
KIB = 1024


def blob(number: int, size: int = 100 * KIB) -> FakeBlobSource:
    return FakeBlobSource(random.Random(number).randbytes(size))  # noqa: S311 - only has to be repeatable


async def pull(cache: Cache, source: FakeBlobSource) -> Hit:
    outcome = await cache.blob(HOME, source.digest, source)
    async with outcome as reader:  # type: ignore[union-attr] # a verdict has no body: the test fails here
        assert b"".join([chunk async for chunk in reader.chunks()]) == source.blob
        hit: Hit = reader.hit
        return hit


def content(root: Path, digest: Digest) -> Path:
    return root / "content" / digest.algorithm / digest.hex[:2] / digest.hex


def flip_a_bit(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


async def test_a_scrub_finds_bit_rot_that_nobody_pulled_and_the_next_pull_heals_it(tmp_path: Path) -> None:
    clock, rotten, sound = ManualClock(), blob(1), blob(2)
    async with open_cache(tmp_path, clock, limits=FAST_SCRUB, rhythm=OFTEN) as cache:
        await pull(cache, rotten)
        await pull(cache, sound)
        flip_a_bit(content(tmp_path, rotten.digest))
        clock.advance(2 * DAY)
        await eventually(lambda: not content(tmp_path, rotten.digest).exists())
        assert content(tmp_path, sound.digest).exists()
        assert len(list((tmp_path / "quarantine").iterdir())) == 1
        await eventually(lambda: _quarantined(cache, 1))
        assert await pull(cache, rotten) is Hit.FILLED


async def _quarantined(cache: Cache, count: int) -> bool:
    return (await cache.statistics.snapshot()).quarantined == count


async def test_a_scrub_reads_nothing_twice_a_day_also_after_a_restart(tmp_path: Path) -> None:
    clock, source = ManualClock(), blob(1)
    async with open_cache(tmp_path, clock, limits=FAST_SCRUB, rhythm=OFTEN) as cache:
        await pull(cache, source)
        await cache.flushed()
        clock.advance(2 * DAY)
        await eventually(lambda: _scrubbed_at(tmp_path) == int(clock.now().timestamp()))
        before = _scrubbed_at(tmp_path)
        clock.advance(DAY / 2)
    async with open_cache(tmp_path, clock, limits=FAST_SCRUB, rhythm=OFTEN):
        clock.advance(DAY)
        await eventually(lambda: _scrubbed_at(tmp_path) == before + DAY + DAY // 2)


def _scrubbed_at(root: Path) -> int:
    with closing(sqlite3.connect(root / "index.db")) as connection:
        return int(connection.execute("SELECT scrubbed_at FROM content").fetchone()[0])


async def test_a_rate_of_nothing_scrubs_nothing(tmp_path: Path) -> None:
    clock, source = ManualClock(), blob(1)
    async with open_cache(tmp_path, clock, limits=Limits(keep_free=0), rhythm=OFTEN) as cache:
        await pull(cache, source)
        await cache.flushed()
        before = _scrubbed_at(tmp_path)
        clock.advance(2 * DAY)
        await pull(cache, source)
        await eventually(lambda: _was_used_at(tmp_path, clock))
        assert _scrubbed_at(tmp_path) == before


def _was_used_at(root: Path, clock: ManualClock) -> bool:
    with closing(sqlite3.connect(root / "index.db")) as connection:
        used = connection.execute("SELECT last_used FROM content").fetchone()[0]
    return bool(used == int(clock.now().timestamp()))


async def test_counts_of_all_processes_are_added_up_and_survive_a_restart(tmp_path: Path) -> None:
    clock, source = ManualClock(), blob(1)
    async with (
        open_cache(tmp_path, clock, rhythm=OFTEN) as one,
        open_cache(tmp_path, clock, rhythm=OFTEN) as two,
    ):
        assert await pull(one, source) is Hit.FILLED
        one.statistics.served("registry-1", "upstream-1", Hit.FILLED, 10)
        await one.flushed()
        assert await pull(two, source) is Hit.DISK
        for _ in range(2):
            two.statistics.served("registry-1", "upstream-1", Hit.DISK, 100)
    async with open_cache(tmp_path, clock, rhythm=OFTEN) as again:
        again.statistics.served("registry-1", "upstream-1", Hit.DISK, 5)
        await eventually(lambda: _served(again, Hit.DISK, 3, 205))
        told = await again.statistics.snapshot()
        assert [(each.hit, each.answers, each.bytes) for each in told.served] == [
            (Hit.DISK, 3, 205),
            (Hit.FILLED, 1, 10),
        ]
        assert [(each.upstream_id, each.bytes) for each in told.fetched] == [("upstream-1", len(source.blob))]
        assert [(each.upstream_id, each.entries) for each in told.held] == [("upstream-1", 1)]
        assert (told.entries, told.bytes) == (1, len(source.blob))


async def _served(cache: Cache, hit: Hit, answers: int, size: int) -> bool:
    told = await cache.statistics.snapshot()
    return any((each.hit, each.answers, each.bytes) == (hit, answers, size) for each in told.served)


async def test_bytes_of_a_dead_process_go_without_anybody_starting_anew(tmp_path: Path) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    (upstream / "layer").write_bytes(bytes(100 * KIB))
    (upstream / "hold").write_text("5000")
    digest = Digest.of(bytes(100 * KIB))
    root = tmp_path / "cache"
    rhythm = Rhythm(look=60, write=60, sweep=0.1, evict=60, scrub=60)
    async with open_cache(root, ManualClock(), rhythm=rhythm):
        victim = CacheWorker(root, upstream)
        victim.send(Pull("layer", digest))
        part = FillFiles.of(root / "filling", digest, HOME).part
        await eventually(lambda: part.exists() and part.stat().st_size == 5000)
        victim.kill()
        await eventually(lambda: not list((root / "filling").iterdir()), deadline=20)


async def test_an_index_that_goes_bad_while_we_run_is_replaced(tmp_path: Path) -> None:
    clock, source, later = ManualClock(), blob(1), blob(2)
    limits = Limits(keep_free=0)
    async with (
        open_cache(tmp_path, clock, limits=limits, rhythm=OFTEN) as one,
        open_cache(tmp_path, clock, limits=limits, rhythm=OFTEN) as two,
    ):
        await pull(one, source)
        await one.flushed()
        await two.right(HOME, source.digest)
        for name in ("index.db", "index.db-wal"):
            with (tmp_path / name).open("r+b") as file:
                file.write(b"no database " * 10_000)
        for cache in (one, two):
            await pull(cache, source)
        await pull(one, later)
        clock.advance(5)
        await eventually(lambda: one.problem is None and two.problem is None)
        await eventually(lambda: _knows(two, later))


async def _knows(cache: Cache, source: FakeBlobSource) -> bool:
    return await cache.right(HOME, source.digest) is not None


async def test_a_locked_index_delays_no_pull_and_is_written_once_it_is_free(tmp_path: Path) -> None:
    clock, source = ManualClock(), blob(1)
    async with open_cache(tmp_path, clock, rhythm=OFTEN) as cache:
        await cache.flushed()
        blocker = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        assert await pull(cache, source) is Hit.FILLED
        assert await pull(cache, source) is Hit.DISK
        await eventually(lambda: cache.problem is not None)
        blocker.execute("ROLLBACK")
        blocker.close()
        clock.advance(5)
        await eventually(lambda: cache.problem is None)
    async with open_cache(tmp_path, clock, rhythm=OFTEN) as cache:
        assert await cache.right(HOME, source.digest) is not None


async def test_a_manifest_gone_bad_is_counted(tmp_path: Path) -> None:
    body = b'{"schemaVersion":2}'
    manifest = Manifest(Digest.of(body), OCI_MANIFEST, body)
    async with open_cache(tmp_path, ManualClock()) as cache:
        await cache.store_manifest(HOME, manifest)
    flip_a_bit(content(tmp_path, manifest.digest))
    async with open_cache(tmp_path, ManualClock(), rhythm=OFTEN) as cache:
        assert await cache.manifest(HOME, manifest.digest) is None
        await eventually(lambda: _quarantined(cache, 1))


def test_a_folder_has_one_id_for_all_and_for_ever(tmp_path: Path) -> None:
    assert folder_id(tmp_path / "cache") == folder_id(tmp_path / "cache")
    assert folder_id(tmp_path / "cache") != folder_id(tmp_path / "other")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["folder-id"]
