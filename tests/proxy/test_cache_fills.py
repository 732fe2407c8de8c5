"""One fill for all readers of a process: rights, joining, leaving, resuming."""

import asyncio
import hashlib
import random
import resource
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_blob_source import ABSENT, FakeBlobSource
from tests.support.wait import eventually
from vreg_proxy.cache import BlobReader, Cache, Origin, Patience, open_cache
from vreg_proxy.cache.fill_record import FillFiles, FillRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, Manifest

HOME = Origin("upstream-1", 0, "team/app")
NEIGHBOUR = Origin("upstream-1", 0, "team/web")
OTHER = Origin("upstream-2", 0, "team/app")
AT_ONCE = Patience(fruitless=3, tries=40, first=0.0, longest=0.0)
MIB = 1024 * 1024


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - only has to be repeatable


_LOOKED_SECONDS = 1.0


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    async with open_cache(tmp_path, ManualClock(), patience=AT_ONCE) as opened:
        yield opened


async def pull(
    cache: Cache, source: FakeBlobSource, origin: Origin = HOME, start: int = 0, stop: int | None = None
) -> bytes | Verdict:
    outcome = await cache.blob(origin, source.digest, source)
    if isinstance(outcome, Verdict):
        return outcome
    async with outcome as reader:
        return b"".join([bytes(chunk) async for chunk in reader.chunks(start, stop)])


async def opened(cache: Cache, source: FakeBlobSource, origin: Origin = HOME) -> BlobReader:
    outcome = await cache.blob(origin, source.digest, source)
    assert isinstance(outcome, BlobReader)
    return outcome


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 3 * MIB + 5])
async def test_a_blob_is_fetched_once_and_then_read_from_disk(cache: Cache, size: int) -> None:
    source = FakeBlobSource(some_bytes(size))
    assert await pull(cache, source) == source.blob
    assert await pull(cache, source) == source.blob
    assert source.opens == [0]
    assert source.proofs == 0


async def test_a_hundred_cold_clients_cause_one_request(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(2 * MIB))
    bodies = await asyncio.gather(*(pull(cache, source) for _ in range(100)))
    assert set(bodies) == {source.blob}
    assert source.opens == [0]
    assert source.proofs == 0
    assert source.bytes_sent == len(source.blob)


async def test_a_first_client_that_leaves_does_not_end_the_fill_for_the_others(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(20 * MIB), gate=asyncio.Event(), free=MIB)
    assert source.gate is not None
    first = await opened(cache, source)
    second = asyncio.create_task(pull(cache, source))
    async with first as reader:
        await anext(aiter(reader.chunks()))
    await asyncio.sleep(0)
    source.gate.set()
    assert await second == source.blob
    assert source.opens == [0]


async def test_a_fill_nobody_waits_for_is_cancelled_without_a_trace(cache: Cache, tmp_path: Path) -> None:
    source = FakeBlobSource(some_bytes(20 * MIB), gate=asyncio.Event(), free=MIB)
    (await opened(cache, source)).close()
    await eventually(lambda: not list((tmp_path / "filling").iterdir()))
    assert source.gate is not None
    source.gate.set()
    assert await pull(cache, source) == source.blob
    assert source.opens == [0, 0]


async def test_a_fill_past_its_middle_is_finished_for_the_next_one(cache: Cache, tmp_path: Path) -> None:
    source = FakeBlobSource(some_bytes(20 * MIB), gate=asyncio.Event(), free=15 * MIB)
    assert source.gate is not None
    async with await opened(cache, source) as reader:
        taken = 0
        async for chunk in reader.chunks():
            taken += len(chunk)
            if taken > 12 * MIB:
                break
    source.gate.set()
    await eventually(lambda: not list((tmp_path / "filling").iterdir()))
    assert await pull(cache, source) == source.blob
    assert source.opens == [0]


async def test_resets_are_resumed_where_they_happened(cache: Cache) -> None:
    resets = [10, 200_000, 1_000_000, 1_000_001, 2 * MIB - 1]
    source = FakeBlobSource(some_bytes(2 * MIB), resets=list(resets))
    assert await pull(cache, source) == source.blob
    assert source.opens == [0, *resets]
    assert source.bytes_sent == len(source.blob)


async def test_an_upstream_that_ignores_ranges_is_read_again_but_not_served_again(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(2 * MIB), resets=[MIB, MIB + 7], honours_range=False)
    assert await pull(cache, source) == source.blob
    assert source.opens == [0, MIB, MIB + 7]


async def test_a_restarted_body_with_other_bytes_ends_the_fill(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(2 * MIB), resets=[MIB], honours_range=False)

    def change(offset: int) -> None:
        if offset:
            source.sent = bytes(2 * MIB)

    source.on_open = change
    with pytest.raises(BlobInterruptedError, match="content_changed"):
        await pull(cache, source)
    source.sent = None
    assert await pull(cache, source) == source.blob


async def test_an_upstream_that_never_gets_on_is_given_up(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(2 * MIB), sent=some_bytes(2 * MIB)[:MIB])
    with pytest.raises(BlobInterruptedError, match="truncated"):
        await pull(cache, source)
    assert source.opens == [0, MIB, MIB, MIB]


async def test_the_end_of_a_range_waits_for_the_digest_of_the_whole(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(10 * MIB), gate=asyncio.Event(), free=9 * MIB)
    assert source.gate is not None
    ranged = asyncio.create_task(pull(cache, source, start=100, stop=MIB))
    await eventually(lambda: source.bytes_sent >= 9 * MIB)
    assert not ranged.done()
    source.gate.set()
    assert await ranged == source.blob[100:MIB]
    assert await pull(cache, source, start=5, stop=20 * MIB) == source.blob[5:]


async def test_a_right_is_needed_to_read_what_is_here(cache: Cache, tmp_path: Path) -> None:
    source = FakeBlobSource(some_bytes(MIB))
    await pull(cache, source)
    await eventually(lambda: list((tmp_path / "filling").iterdir()) == [])
    denied = FakeBlobSource(source.blob, verdict=ABSENT)
    assert await pull(cache, denied, OTHER) == ABSENT
    allowed = FakeBlobSource(source.blob)
    assert await pull(cache, allowed, OTHER) == source.blob
    assert (allowed.proofs, allowed.opens) == (1, [])
    assert await pull(cache, allowed, OTHER) == source.blob
    assert allowed.proofs == 1


async def test_a_right_is_needed_to_join_a_fill(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(20 * MIB), gate=asyncio.Event(), free=MIB)
    assert source.gate is not None
    leader = asyncio.create_task(pull(cache, source))
    await eventually(lambda: source.bytes_sent >= MIB)
    denied = FakeBlobSource(source.blob, verdict=ABSENT)
    assert await pull(cache, denied, NEIGHBOUR) == ABSENT
    allowed = FakeBlobSource(source.blob)
    joined = await opened(cache, allowed, NEIGHBOUR)
    source.gate.set()
    async with joined as reader:
        assert b"".join([bytes(chunk) async for chunk in reader.chunks()]) == source.blob
    assert await leader == source.blob
    assert (allowed.proofs, allowed.opens) == (1, [])


@pytest.mark.parametrize("sends", ["nothing more", "wrong bytes"])
async def test_a_slow_or_lying_upstream_does_not_touch_who_has_the_blob_of_another(
    cache: Cache, sends: str
) -> None:
    blob = some_bytes(3 * MIB)
    bad = FakeBlobSource(blob, sent=bytes(len(blob)), gate=asyncio.Event(), free=MIB)
    if sends == "nothing more":
        bad.sent = None
    leader = asyncio.create_task(pull(cache, bad))
    await eventually(lambda: bad.bytes_sent >= MIB)
    good = FakeBlobSource(blob)
    async with asyncio.timeout(10):
        assert await pull(cache, good, OTHER) == blob
    leader.cancel()


async def test_a_raised_epoch_leaves_the_rights_behind(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(MIB))
    await pull(cache, source)
    purged = FakeBlobSource(source.blob, verdict=ABSENT)
    assert await pull(cache, purged, Origin("upstream-1", 1, "team/app")) == ABSENT


async def test_the_upstreams_answer_reaches_all_who_asked_it(cache: Cache) -> None:
    refused = Verdict(Answer.REFUSED, "credential_rejected", retry_after=3.0, detail="the role is gone")
    source = FakeBlobSource(some_bytes(10), verdict=refused, gate=asyncio.Event())
    asking = [asyncio.create_task(pull(cache, source)) for _ in range(20)]
    await eventually(lambda: source.opens)
    # All look into the index first, in threads; whoever came after the answer would rightly ask again.
    asyncio.get_running_loop().call_later(_LOOKED_SECONDS, source.gate.set)
    answers = await asyncio.gather(*asking)
    assert answers == [refused] * 20
    assert len(source.opens) == 1


async def test_the_refusal_of_one_upstream_is_not_the_answer_of_another(cache: Cache) -> None:
    refusing = FakeBlobSource(some_bytes(MIB), verdict=ABSENT)
    giving = FakeBlobSource(some_bytes(MIB))
    answers = await asyncio.gather(pull(cache, refusing), pull(cache, giving, OTHER))
    assert answers == [ABSENT, giving.blob]


async def test_size_is_told_by_right_or_by_proof(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(MIB))
    assert await cache.blob_size(HOME, source.digest, source) == MIB
    assert await cache.blob_size(HOME, source.digest, source) == MIB
    assert source.proofs == 1


async def test_a_whole_blob_is_offered_as_a_file(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(MIB))
    await pull(cache, source)
    async with await opened(cache, source) as reader:
        assert reader.file is not None


def left_by_a_dead_owner(root: Path, source: FakeBlobSource, written: int) -> FillFiles:
    """Leave what a process leaves that is killed after this many bytes."""
    files = FillFiles.of(root / "filling", source.digest, HOME)
    record = FillRecord.open(files.record)
    assert record.try_own()
    record.prepare()
    record.note_asking(HOME.mark)
    record.note_granted(HOME.mark, len(source.blob))
    files.part.write_bytes(source.blob[:written])
    record.close()
    return files


@pytest.mark.parametrize(("written", "asked"), [(0, [0]), (MIB, [MIB]), (2 * MIB, [])])
async def test_a_dead_owners_fill_is_gone_on_with(
    cache: Cache, tmp_path: Path, written: int, asked: list[int]
) -> None:
    source = FakeBlobSource(some_bytes(2 * MIB))
    left_by_a_dead_owner(tmp_path, source, written)
    assert await pull(cache, source) == source.blob
    assert (source.opens, source.proofs) == (asked, 0)
    await eventually(lambda: list((tmp_path / "filling").iterdir()) == [])


async def test_a_dead_owners_bad_bytes_cost_one_pull(cache: Cache, tmp_path: Path) -> None:
    source = FakeBlobSource(some_bytes(2 * MIB))
    files = left_by_a_dead_owner(tmp_path, source, MIB)
    files.part.write_bytes(bytes(MIB))
    with pytest.raises(BlobInterruptedError, match="digest_mismatch"):
        await pull(cache, source)
    assert await pull(cache, source) == source.blob


async def test_a_start_sweeps_up_what_nobody_owns(tmp_path: Path) -> None:
    (tmp_path / "filling").mkdir()
    source = FakeBlobSource(some_bytes(MIB))
    left_by_a_dead_owner(tmp_path, source, 1000)
    (tmp_path / "filling" / "sha256-00.part").write_bytes(b"no record")
    (tmp_path / "filling" / "abc.tmp").write_bytes(b"no lock")
    async with open_cache(tmp_path, ManualClock()):
        assert list((tmp_path / "filling").iterdir()) == []


async def test_two_hundred_slow_readers_stay_within_memory(cache: Cache) -> None:
    source = FakeBlobSource(some_bytes(24 * MIB), piece=128 * 1024)
    before = resident()
    most = before

    async def slow_client() -> str:
        nonlocal most
        seen = hashlib.sha256()
        async with await opened(cache, source) as reader:
            async for chunk in reader.chunks():
                await asyncio.sleep(0.001)
                seen.update(chunk[:100])
                seen.update(chunk[-100:])
                most = max(most, resident())
        return seen.hexdigest()

    await asyncio.gather(*(slow_client() for _ in range(200)))
    assert source.opens == [0]
    assert most - before <= 64 * MIB


async def test_five_resets_of_each_of_many_blobs_fail_nobody_and_fetch_nothing_twice(cache: Cache) -> None:
    chance = random.Random(3)  # noqa: S311 - only has to be repeatable
    for number in range(100):
        blob = some_bytes(chance.randrange(100, 300_000), number)
        resets = sorted(chance.randrange(len(blob)) for _ in range(5))
        source = FakeBlobSource(blob, resets=resets)
        bodies = await asyncio.gather(*(pull(cache, source) for _ in range(3)))
        assert set(bodies) == {blob}
        assert source.bytes_sent == len(blob)


async def test_a_source_with_a_bug_fails_its_readers_and_nobody_else(cache: Cache) -> None:
    def fail(_offset: int) -> None:
        raise ZeroDivisionError

    source = FakeBlobSource(some_bytes(MIB), on_open=fail)
    assert await pull(cache, source) == Verdict(Answer.UNAVAILABLE, "internal_error")
    other = FakeBlobSource(some_bytes(MIB, seed=2))
    assert await pull(cache, other) == other.blob


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_a_right_to_a_blob_does_not_replace_the_one_to_a_manifest(cache: Cache) -> None:
    """Some registries give a manifest's bytes as a blob too."""
    body = b'{"config": {}, "layers": []}'
    manifest = Manifest(Digest.of(body), OCI_MANIFEST, body)
    await cache.store_manifest(HOME, manifest)
    assert await pull(cache, FakeBlobSource(body)) == body
    assert await cache.manifest(HOME, manifest.digest) == manifest


async def test_nobody_waits_for_the_disk_once_the_digest_is_proved(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = threading.Event()
    monkeypatch.setattr("os.fsync", lambda _descriptor: disk.wait())
    source = FakeBlobSource(some_bytes(2 * MIB))
    small = FakeBlobSource(some_bytes(100))
    try:
        assert await pull(cache, source) == source.blob
        assert await pull(cache, source) == source.blob  # joins what is being written out
        assert await pull(cache, small) == small.blob
        assert len(list((tmp_path / "filling").glob("*.part"))) == 2, "not kept while the disk may lose it"
    finally:
        disk.set()
    await eventually(lambda: list((tmp_path / "filling").iterdir()) == [])
    assert await pull(cache, source) == source.blob
    assert len(source.opens) == len(small.opens) == 1
