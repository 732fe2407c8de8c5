"""Looking into the cache and taking things out of it, in the words of the bus."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_blob_source import FakeBlobSource
from tests.support.wait import eventually
from vreg_proxy.cache import Cache, Hit, Origin, Rhythm, open_cache
from vreg_proxy.cache.contents import CacheUnreadableError
from vreg_proxy.cache_requests import CacheRequestRejectedError, CacheRequests
from vreg_shared.messages.cache import (
    CacheEntry,
    CacheListReply,
    CacheListRequest,
    CachePosition,
    CacheRemoveReply,
    CacheRemoveRequest,
    CacheSelection,
    CacheStatisticsReply,
)
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import Manifest

APP = Origin("upstream-1", 0, "team/app")
WEB = Origin("upstream-1", 0, "team/web")
OTHER = Origin("upstream-2", 0, "team/app")
LAYER, SHARED = FakeBlobSource(b"layer" * 1000), FakeBlobSource(b"shared" * 1000)
MANIFEST = Manifest(Digest.of(b"{}"), OCI_MANIFEST, b"{}")
OFTEN = Rhythm(look=0.02, write=0.02)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[Cache]:
    async with open_cache(tmp_path, ManualClock(), rhythm=OFTEN) as made:
        await made.store_manifest(APP, MANIFEST)
        for tag in ("latest", "1.0"):
            made.point_tag(APP, tag, MANIFEST.digest, ManualClock().now())
        await pull(made, APP, LAYER)
        for origin in (APP, WEB, OTHER):
            await pull(made, origin, SHARED)
        await made.flushed()
        yield made


async def pull(cache: Cache, origin: Origin, source: FakeBlobSource) -> None:
    outcome = await cache.blob(origin, source.digest, source)
    assert not isinstance(outcome, Verdict)
    outcome.close()
    await cache.settled()


async def listed(
    cache: Cache,
    selection: CacheSelection | None = None,
    after: CachePosition | None = None,
    limit: int = 100,
) -> tuple[CacheEntry, ...]:
    request = CacheListRequest(selection=selection, after=after, limit=limit)
    reply = await CacheRequests(cache).page(request.model_dump_json().encode())
    told = CacheListReply.model_validate_json(reply)
    assert told.folder == cache.folder_id
    return told.entries


async def removed(cache: Cache, selection: CacheSelection) -> tuple[int, int]:
    request = CacheRemoveRequest(selection=selection).model_dump_json().encode()
    told = CacheRemoveReply.model_validate_json(await CacheRequests(cache).remove(request))
    return told.entries, told.bytes


def content(root: Path) -> set[str]:
    return {path.name for path in (root / "content").glob("*/*/*")}


async def test_every_right_is_an_entry_and_pages_put_together_are_the_list(cache: Cache) -> None:
    whole = await listed(cache)
    assert len(whole) == 5
    pages: list[CacheEntry] = []
    while page := await listed(cache, after=pages[-1].position if pages else None, limit=2):
        pages.extend(page)
    assert tuple(pages) == whole
    positions = [tuple(entry.position.model_dump().values()) for entry in whole]
    assert positions == sorted(positions)


async def test_an_entry_tells_what_it_is(cache: Cache) -> None:
    selection = CacheSelection(upstream_id="upstream-1", repository="team/app", digest=str(MANIFEST.digest))
    (entry,) = await listed(cache, selection)
    assert (entry.position.kind, entry.media_type, entry.size) == ("manifest", OCI_MANIFEST, 2)
    assert entry.tags == ("1.0", "latest")
    assert entry.last_used == ManualClock().now()


async def test_removing_one_repositorys_right_leaves_what_others_have(cache: Cache, tmp_path: Path) -> None:
    selection = CacheSelection(upstream_id="upstream-1", repository="team/app", digest=str(SHARED.digest))
    assert await removed(cache, selection) == (1, 0)
    assert SHARED.digest.hex in content(tmp_path)
    await eventually(lambda: _lacks(cache, APP))
    assert await cache.right(WEB, SHARED.digest) is not None


async def test_removing_a_repository_takes_its_bytes_tags_and_rights(cache: Cache, tmp_path: Path) -> None:
    selection = CacheSelection(upstream_id="upstream-1", repository="team/app")
    assert await removed(cache, selection) == (3, len(LAYER.blob) + 2)
    assert content(tmp_path) == {SHARED.digest.hex}
    assert await listed(cache, selection) == ()
    await eventually(lambda: _lacks(cache, APP))
    assert await cache.manifest(APP, MANIFEST.digest) is None
    assert await cache.tag(APP, "latest") is None


async def test_purging_an_upstream_leaves_another_upstreams_rights(cache: Cache, tmp_path: Path) -> None:
    assert (await removed(cache, CacheSelection(upstream_id="upstream-1")))[0] == 4
    assert {entry.position.upstream_id for entry in await listed(cache)} == {"upstream-2"}
    assert content(tmp_path) == {SHARED.digest.hex}


async def test_every_process_of_the_folder_forgets_what_one_removed(cache: Cache, tmp_path: Path) -> None:
    forgot: list[str] = []
    async with open_cache(tmp_path, ManualClock(), rhythm=OFTEN) as other:
        other.on_purge(lambda: forgot.append("other"))
        await eventually(lambda: forgot)  # the first look
        forgot.clear()
        assert await other.right(APP, LAYER.digest) is not None
        assert await other.manifest(APP, MANIFEST.digest) is not None

        async def is_removed() -> bool:
            try:
                await removed(cache, CacheSelection(upstream_id="upstream-1"))
            except CacheUnreadableError:
                return False  # the other one is writing: ask again
            return True

        await eventually(is_removed)
        await eventually(lambda: forgot)
        assert await other.right(APP, LAYER.digest) is None
        assert await other.manifest(APP, MANIFEST.digest) is None
        assert other.folder_id == cache.folder_id


async def test_statistics_are_told_as_they_are(cache: Cache) -> None:
    cache.statistics.served("registry-1", "upstream-1", Hit.DISK, 7)

    async def told() -> CacheStatisticsReply:
        return CacheStatisticsReply.model_validate_json(await CacheRequests(cache).statistics(b""))

    await eventually(lambda: _has_served(told))
    reply = await told()
    assert reply.held["upstream-2"].bytes == len(SHARED.blob)
    assert reply.entries == 3
    assert reply.fetched_bytes == {"upstream-1": len(LAYER.blob) + len(SHARED.blob) + 2}


async def test_an_unreadable_question_is_refused(cache: Cache) -> None:
    requests = CacheRequests(cache)
    for payload in (b"", b"[]", b'{"limit": 0}', b'{"selection": {}}'):
        with pytest.raises(CacheRequestRejectedError):
            await requests.page(payload)
    with pytest.raises(CacheRequestRejectedError):
        await requests.remove(b'{"selection": {"upstream_id": "a", "digest": "../../etc"}}')


async def _lacks(cache: Cache, origin: Origin) -> bool:
    return await cache.right(origin, SHARED.digest) is None


async def _has_served(told: object) -> bool:
    reply: CacheStatisticsReply = await told()  # type: ignore[operator] # the closure above
    return any(each.bytes == 7 for each in reply.served)
