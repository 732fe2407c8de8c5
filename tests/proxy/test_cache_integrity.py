"""Wrong bytes, from the upstream or from the disk: never kept, never a complete body."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_blob_source import FakeBlobSource
from vreg_proxy.cache import Cache, Origin, Patience, open_cache
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, Manifest

HOME = Origin("upstream-1", 0, "team/app")
OTHER = Origin("upstream-2", 0, "team/app")
AT_ONCE = Patience(fruitless=2, tries=10, first=0.0, longest=0.0)
CORRUPTIONS = 1000
KIB = 1024


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    async with open_cache(tmp_path, ManualClock(), patience=AT_ONCE) as opened:
        yield opened


async def received(
    cache: Cache, source: FakeBlobSource, start: int = 0, stop: int | None = None
) -> tuple[bytes, bool]:
    """Return what a client got and whether its body was complete."""
    outcome = await cache.blob(HOME, source.digest, source)
    if isinstance(outcome, Verdict):
        return b"", False
    pieces = []
    async with outcome as reader:
        try:
            async for chunk in reader.chunks(start, stop):
                pieces.append(chunk)  # noqa: PERF401 - what came before the failure counts
        except BlobInterruptedError:
            return b"".join(pieces), False
    return b"".join(pieces), True


def kept(root: Path) -> list[Path]:
    return [path for path in (root / "content").rglob("*") if path.is_file()]


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def corrupted(chance: random.Random) -> FakeBlobSource:
    """Return an upstream that gives something else than its blob, in one of six ways."""
    blob = chance.randbytes(chance.choice([1, 2, 100, 5_000, 70_000, 200_000]))
    place = chance.randrange(len(blob))
    extra = chance.randbytes(chance.randrange(1, 1000))
    sent, said = {
        "flip": (flip(blob, place), None),
        "truncate": (blob[:place], None),
        "append": (blob + extra, None),
        "longer": (blob + extra, len(blob) + len(extra)),
        "shorter": (blob[:place], place),
        "swap": (chance.randbytes(len(blob)) + b"x", len(blob) + 1),
    }[chance.choice(["flip", "truncate", "append", "longer", "shorter", "swap"])]
    piece = chance.choice([1_000, 16_384, 100_000])
    honours = chance.random() < 0.8
    return FakeBlobSource(blob, sent=sent, said_size=said, piece=piece, honours_range=honours)


async def test_no_corruption_is_kept_or_served_whole_and_the_next_pull_works(
    cache: Cache, tmp_path: Path
) -> None:
    chance = random.Random(11)  # noqa: S311 - only has to be repeatable
    for number in range(CORRUPTIONS):
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


async def test_no_range_of_wrong_bytes_is_complete(cache: Cache) -> None:
    blob = random.Random(1).randbytes(500_000)  # noqa: S311 - only has to be repeatable
    source = FakeBlobSource(blob, sent=flip(blob, 10))
    assert (await received(cache, source, 0, 1000))[1] is False


async def test_a_bit_flipped_on_disk_is_found_and_healed(tmp_path: Path) -> None:
    chance = random.Random(5)  # noqa: S311 - only has to be repeatable
    sizes = [5_000_000] * 10 + [10, 70_000, 300_000] * 30
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


async def test_a_file_changed_while_we_run_is_hashed_again(cache: Cache, tmp_path: Path) -> None:
    source = FakeBlobSource(bytes(5_000_000))
    await received(cache, source)
    path = kept(tmp_path)[0]
    path.write_bytes(flip(path.read_bytes(), 4_999_999))
    assert (await received(cache, source))[1] is False
    assert await received(cache, source) == (source.blob, True)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_manifest_is_kept_byte_for_byte(tmp_path: Path, algorithm: str) -> None:
    body = b'{ "schemaVersion":2 }\n'
    manifest = Manifest(Digest.of(body, algorithm), OCI_MANIFEST, body)
    async with open_cache(tmp_path, ManualClock()) as cache:
        await cache.store_manifest(HOME, manifest)
        assert await cache.manifest(HOME, manifest.digest) == manifest
        assert await cache.manifest(OTHER, manifest.digest) is None
    async with open_cache(tmp_path, ManualClock()) as cache:
        assert await cache.manifest(HOME, manifest.digest) == manifest
        assert await cache.manifest(Origin("upstream-1", 1, "team/app"), manifest.digest) is None


async def test_a_manifest_gone_bad_on_disk_reads_as_missing(tmp_path: Path) -> None:
    body = b'{"schemaVersion":2}'
    manifest = Manifest(Digest.of(body), OCI_MANIFEST, body)
    async with open_cache(tmp_path, ManualClock()) as cache:
        await cache.store_manifest(HOME, manifest)
    kept(tmp_path)[0].write_bytes(flip(body, 3))
    async with open_cache(tmp_path, ManualClock()) as cache:
        assert await cache.manifest(HOME, manifest.digest) is None
        await cache.store_manifest(HOME, manifest)
    async with open_cache(tmp_path, ManualClock()) as cache:
        assert await cache.manifest(HOME, manifest.digest) == manifest


async def test_a_manifests_right_is_no_right_to_a_blob(cache: Cache) -> None:
    body = b'{"schemaVersion":2}'
    await cache.store_manifest(HOME, Manifest(Digest.of(body), OCI_MANIFEST, body))
    source = FakeBlobSource(body)
    assert await received(cache, source) == (body, True)
    assert source.proofs == 1
