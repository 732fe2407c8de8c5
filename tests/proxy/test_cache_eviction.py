"""What has to go, goes in a fair order, and takes nothing from those who read."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tests.support.fake_blob_source import ABSENT, FakeBlobSource
from tests.support.wait import eventually
from vreg_proxy.cache import Cache, Limits, Origin, Patience, Rhythm, open_cache
from vreg_proxy.cache.turn import turn
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import Manifest

HOME = Origin("upstream-1", 0, "team/app")
OTHER = Origin("upstream-2", 0, "team/app")
AT_ONCE = Patience(fruitless=3, tries=40, first=0.0, longest=0.0)
OFTEN = Rhythm(look=0.02, write=0.02, sweep=60, evict=0.02, scrub=60)
KIB = 1024


@asynccontextmanager
async def cache_of(
    root: Path, size: int | None, clock: ManualClock, max_idle: timedelta | None = None
) -> AsyncIterator[Cache]:
    limits = Limits(size=size, keep_free=0, max_idle=max_idle)
    async with open_cache(root, clock, limits=limits, patience=AT_ONCE, rhythm=OFTEN) as cache:
        yield cache


def blob(number: int, size: int = 100 * KIB) -> FakeBlobSource:
    return FakeBlobSource(random.Random(number).randbytes(size))  # noqa: S311 - only has to be repeatable


async def pull(cache: Cache, source: FakeBlobSource, origin: Origin = HOME) -> bytes | Verdict:
    outcome = await cache.blob(origin, source.digest, source)
    if isinstance(outcome, Verdict):
        return outcome
    async with outcome as reader:
        body = b"".join([chunk async for chunk in reader.chunks()])
    await cache.settled()
    return body


def kept(root: Path) -> set[str]:
    return {path.name for path in (root / "content").glob("*/*/*")}


def bytes_kept(root: Path) -> int:
    return sum(path.stat().st_size for path in (root / "content").glob("*/*/*"))


async def test_what_was_unused_for_longest_makes_room(tmp_path: Path) -> None:
    clock = ManualClock()
    sources = [blob(number) for number in range(10)]
    async with cache_of(tmp_path, None, clock) as cache:
        for source in sources:
            await pull(cache, source)
            clock.advance(60)
        await pull(cache, sources[0])
    async with cache_of(tmp_path, 500 * KIB, clock) as cache:
        left = {source.digest.hex for source in (sources[0], *sources[-3:])}
        await eventually(lambda: kept(tmp_path) == left)
        assert await pull(cache, sources[1]) == sources[1].blob
        assert len(sources[1].opens) == 2


async def test_a_use_counts_although_the_process_died_after_it(tmp_path: Path) -> None:
    clock = ManualClock()
    first, second = blob(1), blob(2)
    async with cache_of(tmp_path, None, clock) as cache:
        for source in (first, second):
            await pull(cache, source)
            clock.advance(60)
        await pull(cache, first)
        await eventually(lambda: _is_written(cache, first))
        async with cache_of(tmp_path, 150 * KIB, clock):
            await eventually(lambda: kept(tmp_path) == {first.digest.hex})


async def _is_written(cache: Cache, source: FakeBlobSource) -> bool:
    page = await cache.contents.page(None, None, 10)
    uses = {entry.position.digest: entry.last_used for entry in page}
    newest = max(used for used in uses.values() if used is not None)
    return uses[str(source.digest)] == newest


async def test_a_right_outlives_bytes_that_made_room(tmp_path: Path) -> None:
    clock, source = ManualClock(), blob(1)
    async with cache_of(tmp_path, None, clock) as cache:
        await pull(cache, source)
    clock.advance(1)
    async with cache_of(tmp_path, 1, clock) as cache:
        await eventually(lambda: not kept(tmp_path))
        assert await cache.blob_size(HOME, source.digest, source) == len(source.blob)
        assert source.proofs == 0
        denied = FakeBlobSource(source.blob, verdict=ABSENT)
        assert await pull(cache, denied, OTHER) == ABSENT
        assert await pull(cache, source) == source.blob


async def test_what_nobody_pulled_for_too_long_goes_with_its_rights(tmp_path: Path) -> None:
    clock, old, young = ManualClock(), blob(1), blob(2)
    async with cache_of(tmp_path, None, clock) as cache:
        await pull(cache, old)
        clock.advance(timedelta(days=20).total_seconds())
        await pull(cache, young)
        clock.advance(timedelta(days=15).total_seconds())
        async with cache_of(tmp_path, None, clock, timedelta(days=30)) as other:
            await eventually(lambda: kept(tmp_path) == {young.digest.hex})
            await eventually(lambda: _lacks(cache, old))
            assert await other.right(HOME, old.digest) is None
            assert await other.right(HOME, young.digest) is not None


async def _lacks(cache: Cache, source: FakeBlobSource) -> bool:
    return await cache.right(HOME, source.digest) is None


async def test_rights_and_tags_without_content_do_not_grow_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.cache.evictor.MOST_ROWS", 5)
    monkeypatch.setattr("vreg_proxy.cache.books.TRIMMED_AT_ONCE", 3)
    clock, here = ManualClock(), blob(0)
    async with cache_of(tmp_path, None, clock) as cache:
        await pull(cache, here)
        for number in range(1, 20):
            source = blob(number, KIB)
            await cache.blob_size(HOME, source.digest, source)
            cache.point_tag(HOME, f"v{number}", source.digest, clock.now())
        await cache.flushed()
        await eventually(lambda: rows(tmp_path) == {"rights": 5, "tags": 5})
    async with cache_of(tmp_path, None, clock) as cache:
        assert await cache.right(HOME, here.digest) is not None


async def test_a_tag_whose_content_never_came_goes_after_a_while(tmp_path: Path) -> None:
    clock, old, young = ManualClock(), blob(1), blob(2)
    async with cache_of(tmp_path, None, clock) as cache:
        cache.point_tag(HOME, "old", old.digest, clock.now())
        clock.advance(timedelta(days=31).total_seconds())
        cache.point_tag(HOME, "young", young.digest, clock.now())
        await cache.flushed()
    async with cache_of(tmp_path, None, clock, timedelta(days=30)) as cache:
        await eventually(lambda: rows(tmp_path)["tags"] == 1)
        assert await cache.tag(HOME, "young") is not None


def rows(root: Path) -> dict[str, int]:
    with closing(sqlite3.connect(root / "index.db")) as index:
        return {
            table: index.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0]  # noqa: S608 - a constant
            for table in ("rights", "tags")
        }


async def test_blobs_go_before_manifests_and_tagged_manifests_last(tmp_path: Path) -> None:
    clock, layer = ManualClock(), blob(1)
    tagged, loose = (Manifest(Digest.of(body), OCI_MANIFEST, body) for body in (b"{ }" * 999, b"{}" * 999))
    async with cache_of(tmp_path, None, clock) as cache:
        await cache.store_manifest(HOME, tagged)
        cache.point_tag(HOME, "latest", tagged.digest, clock.now())
        clock.advance(60)
        await cache.store_manifest(HOME, loose)
        clock.advance(60)
        await pull(cache, layer)
    clock.advance(1)
    async with cache_of(tmp_path, 6 * KIB, clock):
        await eventually(lambda: kept(tmp_path) == {tagged.digest.hex, loose.digest.hex})
    async with cache_of(tmp_path, 4 * KIB, clock):
        await eventually(lambda: kept(tmp_path) == {tagged.digest.hex})


async def test_readers_go_on_while_everything_is_evicted_under_them(tmp_path: Path) -> None:
    """Two caches of one folder: whoever gets the turn evicts all the time, whoever pulls fetches again."""
    clock = ManualClock()
    sources = [blob(number, 300 * KIB) for number in range(6)]

    async def client(cache: Cache, origin: Origin, number: int) -> None:
        chance = random.Random(number)  # noqa: S311 - only has to be repeatable
        for _ in range(15):
            source = chance.choice(sources)
            clock.advance(1)
            assert await pull(cache, source, origin) == source.blob

    async with cache_of(tmp_path, 400 * KIB, clock) as one, cache_of(tmp_path, 400 * KIB, clock) as two:
        async with asyncio.TaskGroup() as clients:
            for number in range(6):
                clients.create_task(client(one, HOME, number))
                clients.create_task(client(two, OTHER, number))
        await eventually(lambda: bytes_kept(tmp_path) <= 400 * KIB)
        told = await one.statistics.snapshot()
        await eventually(lambda: _has_counted_evictions(one))
        assert told.bytes <= 6 * 300 * KIB
    assert all(Digest.of(path.read_bytes()).hex == path.name for path in (tmp_path / "content").glob("*/*/*"))


async def _has_counted_evictions(cache: Cache) -> bool:
    return (await cache.statistics.snapshot()).evicted_entries > 0


async def test_a_lost_index_is_counted_again_from_the_files(tmp_path: Path) -> None:
    clock = ManualClock()
    async with cache_of(tmp_path, None, clock) as cache:
        for number in range(5):
            await pull(cache, blob(number))
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    async with cache_of(tmp_path, 250 * KIB, clock):
        await eventually(lambda: bytes_kept(tmp_path) <= 250 * KIB)
    assert kept(tmp_path)


async def test_what_is_larger_than_the_cache_passes_through_and_evicts_nothing(tmp_path: Path) -> None:
    clock, small, large = ManualClock(), blob(1), blob(2, 400 * KIB)
    async with cache_of(tmp_path, 300 * KIB, clock) as cache:
        await pull(cache, small)
        assert await pull(cache, large) == large.blob
        assert kept(tmp_path) == {small.digest.hex}
        assert cache.problem is None


async def test_what_is_quarantined_counts_and_goes_first(tmp_path: Path) -> None:
    clock, source = ManualClock(), blob(1)
    async with cache_of(tmp_path, None, clock) as cache:
        await pull(cache, source)
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / "sha256-00").write_bytes(bytes(200 * KIB))
    async with cache_of(tmp_path, 150 * KIB, clock):
        await eventually(lambda: not list((tmp_path / "quarantine").iterdir()))
        assert kept(tmp_path) == {source.digest.hex}


def test_a_turn_is_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "work.lock"
    with turn(path) as first, turn(path) as second:
        assert (first, second) == (True, False)
    with turn(path) as again:
        assert again is True
    with turn(tmp_path / "missing" / "work.lock") as nowhere:
        assert nowhere is False


@given(
    kept_bytes=st.integers(0, 1 << 50),
    free=st.none() | st.integers(-(1 << 40), 1 << 50),
    size=st.none() | st.integers(1, 1 << 50),
    keep_free=st.integers(0, 1 << 40),
)
def test_after_the_surplus_has_gone_both_limits_hold(
    kept_bytes: int, free: int | None, size: int | None, keep_free: int
) -> None:
    surplus = Limits(size=size, keep_free=keep_free).surplus(kept_bytes, free)
    assert surplus >= 0
    if size is not None:
        assert kept_bytes - surplus <= size
    is_enough = free is None or free + kept_bytes >= keep_free
    if free is not None and is_enough:
        assert free + surplus >= keep_free
    within = (size is None or kept_bytes <= size) and (free is None or free >= keep_free or not is_enough)
    assert (surplus == 0) == within


@pytest.mark.parametrize("free", [None, 0])
def test_without_limits_nothing_goes(free: int | None) -> None:
    assert Limits(keep_free=0).surplus(1 << 60, free) == 0
