"""Wrong bytes, from the upstream or from the disk: never kept, never a complete body."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.corrupt_source import flip
from tests.support.fake_blob_source import FakeBlobSource
from vreg_proxy.cache import Cache, Origin, Patience, open_cache
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, Manifest

HOME = Origin("upstream-1", 0, "team/app")
OTHER = Origin("upstream-2", 0, "team/app")
AT_ONCE = Patience(fruitless=2, tries=10, first=0.0, longest=0.0)
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


async def test_no_range_of_wrong_bytes_is_complete(cache: Cache) -> None:
    blob = random.Random(1).randbytes(500_000)  # noqa: S311 - only has to be repeatable
    source = FakeBlobSource(blob, sent=flip(blob, 10))
    assert (await received(cache, source, 0, 1000))[1] is False


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
