"""A disk that takes no more: pulls go on without the cache, and the cache comes back by itself."""

import asyncio
import random
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cache_worker import CacheWorker, Pull
from tests.support.clock import ManualClock
from tests.support.fake_blob_source import ABSENT, FakeBlobSource
from tests.support.wait import eventually
from vreg_proxy.cache import Cache, Limits, Origin, Patience, Rhythm, open_cache
from vreg_proxy.cache.fill_record import FillFiles, has_followers
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, Manifest

HOME = Origin("upstream-1", 0, "team/app")
AT_ONCE = Patience(fruitless=3, tries=40, first=0.0, longest=0.0)
OFTEN = Rhythm(look=0.02, write=0.02, sweep=60, evict=0.05, scrub=60)
MIB = 1024 * 1024


def some_bytes(size: int) -> bytes:
    return random.Random(size).randbytes(size)  # noqa: S311 - only has to be repeatable


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0  # noqa: S603, S607 - root's own mount, or none


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)):
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)  # noqa: S603, S607 - what was mounted above


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def pull(
    cache: Cache, source: FakeBlobSource, start: int = 0, stop: int | None = None
) -> bytes | Verdict:
    outcome = await cache.blob(HOME, source.digest, source)
    if isinstance(outcome, Verdict):
        return outcome
    async with outcome as reader:
        return b"".join([chunk async for chunk in reader.chunks(start, stop)])


async def test_a_full_disk_fails_no_pull_and_frees_what_it_took(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(5 * MIB))
    async with open_cache(
        small_disk / "cache", ManualClock(), patience=AT_ONCE, limits=Limits(keep_free=0)
    ) as cache:
        source = FakeBlobSource(some_bytes(6 * MIB))
        answers = await asyncio.gather(*(pull(cache, source) for _ in range(5)))
        assert set(answers) == {source.blob}
        assert cache.problem is not None
        await eventually(lambda: not list((small_disk / "cache" / "filling").iterdir()))
        (small_disk / "ballast").unlink()
        assert await pull(cache, source) == source.blob
        assert cache.problem is None
        asked = len(source.opens)
        assert await pull(cache, source) == source.blob
        assert len(source.opens) == asked


async def test_a_disk_that_fills_up_meanwhile_fails_no_reader(small_disk: Path) -> None:
    source = FakeBlobSource(some_bytes(6 * MIB), gate=asyncio.Event(), free=2 * MIB)
    assert source.gate is not None
    async with open_cache(
        small_disk / "cache", ManualClock(), patience=AT_ONCE, limits=Limits(keep_free=0)
    ) as cache:
        readers = [asyncio.create_task(pull(cache, source)) for _ in range(3)]
        ranged = asyncio.create_task(pull(cache, source, 100, 5 * MIB))
        early = asyncio.create_task(pull(cache, source, 100, MIB))
        await eventually(lambda: source.bytes_sent >= 2 * MIB)
        fill_up(small_disk)
        source.gate.set()
        assert await asyncio.gather(*readers) == [source.blob] * 3
        assert await ranged == source.blob[100 : 5 * MIB]
        assert await early == source.blob[100:MIB]
        assert len(source.opens) > 1


async def test_what_is_passed_through_is_proved_too(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(7 * MIB))
    blob = some_bytes(3 * MIB)
    source = FakeBlobSource(blob, sent=blob[:-1] + b"x" if blob[-1:] != b"x" else blob[:-1] + b"y")
    async with open_cache(small_disk / "cache", ManualClock(), patience=AT_ONCE) as cache:
        with pytest.raises(BlobInterruptedError, match="digest_mismatch"):
            await pull(cache, source)
        with pytest.raises(BlobInterruptedError, match="digest_mismatch"):
            await pull(cache, source, 5, 10)
        denied = FakeBlobSource(some_bytes(2 * MIB), verdict=ABSENT)
        assert await pull(cache, denied) == ABSENT


async def test_what_is_passed_through_is_resumed_too(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(7 * MIB))
    async with open_cache(small_disk / "cache", ManualClock(), patience=AT_ONCE) as cache:
        for honours in (True, False):
            resets = [MIB, 2 * MIB + 1]
            source = FakeBlobSource(some_bytes(3 * MIB), resets=resets, honours_range=honours)
            assert await pull(cache, source) == source.blob


async def test_followers_in_another_process_go_on_when_the_disk_is_full(
    small_disk: Path, tmp_path: Path
) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    (upstream / "layer").write_bytes(some_bytes(7 * MIB))
    (upstream / "hold").write_text(str(2 * MIB))
    digest = Digest.of(some_bytes(7 * MIB))
    first, second = (CacheWorker(small_disk / "cache", upstream) for _ in range(2))
    try:
        first.send(Pull("layer", digest, clients=3))
        part = FillFiles.of(small_disk / "cache" / "filling", digest, HOME).part
        await eventually(lambda: part.exists() and part.stat().st_size == 2 * MIB)
        second.send(Pull("layer", digest, clients=3))
        await eventually(lambda: has_followers(part))
        fill_up(small_disk)
        (upstream / "hold").unlink()
        assert await first.answer() == [str(digest)] * 3
        assert await second.answer() == [str(digest)] * 3
        assert len((upstream / "asked").read_text().splitlines()) == 1 + 6
    finally:
        await first.stop()
        await second.stop()


async def test_a_read_only_disk_fails_no_pull(small_disk: Path) -> None:
    kept = FakeBlobSource(some_bytes(MIB))
    async with open_cache(
        small_disk / "cache", ManualClock(), patience=AT_ONCE, limits=Limits(keep_free=0)
    ) as cache:
        await pull(cache, kept)
    assert mount("-o", "remount,ro", str(small_disk))
    async with open_cache(
        small_disk / "cache", ManualClock(), patience=AT_ONCE, limits=Limits(keep_free=0)
    ) as cache:
        fresh = FakeBlobSource(some_bytes(2 * MIB))
        assert await pull(cache, fresh) == fresh.blob
        assert await pull(cache, kept) == kept.blob
        assert len(kept.opens) == 1
        body = b'{"schemaVersion":2}'
        manifest = Manifest(Digest.of(body), OCI_MANIFEST, body)
        await cache.store_manifest(HOME, manifest)
        assert await cache.manifest(HOME, manifest.digest) == manifest
        assert cache.problem is not None


async def test_a_limit_on_file_size_is_a_full_disk_too(tmp_path: Path) -> None:
    source = FakeBlobSource(some_bytes(3 * MIB))
    async with open_cache(tmp_path, ManualClock(), patience=AT_ONCE) as cache:
        with files_no_larger_than(MIB):
            assert await pull(cache, source) == source.blob
        assert await pull(cache, source) == source.blob
        await eventually(lambda: cache.problem is None)


async def test_a_folder_that_could_not_be_made_at_start_is_made_later(tmp_path: Path) -> None:
    in_the_way = tmp_path / "disk"
    in_the_way.write_bytes(b"")
    source = FakeBlobSource(some_bytes(MIB))
    async with open_cache(in_the_way / "cache", ManualClock(), patience=AT_ONCE) as cache:
        assert cache.problem is not None
        assert await pull(cache, source) == source.blob
        in_the_way.unlink()
        assert await pull(cache, source) == source.blob
        asked = len(source.opens)
        assert await pull(cache, source) == source.blob
        assert len(source.opens) == asked
    assert (in_the_way / "cache").stat().st_mode & 0o077 == 0


def _later(clock: ManualClock) -> bool:
    """Let time go on: what failed a moment ago is tried again after a while."""
    clock.advance(1)
    return True


async def test_a_cache_becomes_well_again_although_nobody_pulls(small_disk: Path) -> None:
    clock, limits = ManualClock(), Limits(keep_free=MIB)
    source = FakeBlobSource(some_bytes(2 * MIB))
    async with open_cache(
        small_disk / "cache", clock, patience=AT_ONCE, limits=limits, rhythm=OFTEN
    ) as cache:
        fill_up(small_disk)
        assert await pull(cache, source) == source.blob
        assert cache.problem is not None
        (small_disk / "ballast").unlink()
        await eventually(lambda: _later(clock) and cache.problem is None)


async def test_a_cache_becomes_well_again_when_it_may_be_written_again(small_disk: Path) -> None:
    clock = ManualClock()
    async with open_cache(
        small_disk / "cache", clock, patience=AT_ONCE, limits=Limits(keep_free=0), rhythm=OFTEN
    ) as cache:
        await cache.flushed()
        assert mount("-o", "remount,ro", str(small_disk))
        source = FakeBlobSource(some_bytes(MIB))
        assert await pull(cache, source) == source.blob
        await eventually(lambda: cache.problem is not None)
        assert mount("-o", "remount,rw", str(small_disk))
        await eventually(lambda: _later(clock) and cache.problem is None)
        assert await pull(cache, source) == source.blob
        asked = len(source.opens)
        assert await pull(cache, source) == source.blob
        assert len(source.opens) == asked


async def test_what_is_old_makes_room_for_what_is_pulled_now(small_disk: Path) -> None:
    clock = ManualClock()
    layers = [FakeBlobSource(some_bytes(2 * MIB + number)) for number in range(8)]
    async with open_cache(
        small_disk / "cache", clock, patience=AT_ONCE, limits=Limits(keep_free=2 * MIB)
    ) as cache:
        for layer in layers:
            assert await pull(cache, layer) == layer.blob
            clock.advance(60)
            assert cache.problem is None
        assert await pull(cache, layers[-1]) == layers[-1].blob
        assert len(layers[-1].opens) == 1
        assert await pull(cache, layers[0]) == layers[0].blob
        assert len(layers[0].opens) == 2


async def test_an_announced_size_takes_nothing_away_before_its_bytes_come(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.cache.fill_owner.AHEAD", MIB)
    root, limits, clock = small_disk / "cache", Limits(keep_free=MIB), ManualClock()
    layers = [FakeBlobSource(some_bytes(MIB + number)) for number in range(5)]
    async with open_cache(root, clock, patience=AT_ONCE, limits=limits) as cache:
        for layer in layers:
            await pull(cache, layer)
            await cache.settled()
            clock.advance(60)
        for sent, left in ((b"", 5), (some_bytes(64 * 1024), 4)):
            liar = FakeBlobSource(b"never sent", sent=sent, said_size=5 * MIB)
            with pytest.raises(BlobInterruptedError):
                await pull(cache, liar)
            await cache.settled()
            assert len(list((root / "content").glob("*/*/*"))) >= left


async def test_a_disk_that_is_full_for_a_while_under_load_fails_no_pull(small_disk: Path) -> None:
    """Every pull is of a blob of its own or of a shared one, before, while and after the disk is full."""
    clock = ManualClock()
    shared = FakeBlobSource(some_bytes(MIB))
    chance = random.Random(5)  # noqa: S311 - only has to be repeatable
    phase, pulled = "before", {"before": 0, "full": 0, "after": 0}

    async def client() -> None:
        while phase != "over":
            source = shared if chance.random() < 0.3 else FakeBlobSource(chance.randbytes(200_000))
            began = phase
            assert await pull(cache, source) == source.blob
            clock.advance(0.1)
            if began in pulled:
                pulled[began] += 1

    async with open_cache(
        small_disk / "cache", clock, patience=AT_ONCE, limits=Limits(keep_free=MIB), rhythm=OFTEN
    ) as cache:
        async with asyncio.TaskGroup() as clients:
            for _ in range(4):
                clients.create_task(client())
            await eventually(lambda: pulled["before"] > 40)
            fill_up(small_disk)
            phase = "full"
            await eventually(lambda: pulled["full"] > 40)
            (small_disk / "ballast").unlink()
            phase = "after"
            await eventually(lambda: pulled["after"] > 40)
            phase = "over"
        await eventually(lambda: cache.problem is None, deadline=5)
        kept = FakeBlobSource(chance.randbytes(200_000))
        assert await pull(cache, kept) == kept.blob
        assert await pull(cache, kept) == kept.blob
        assert len(kept.opens) == 1


def fill_up(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(64 * 1024)) == 64 * 1024:
                pass
        except OSError:
            pass
