"""The proxy's cache as its endpoints see it: manifests, tags, and blobs that many read and one fetches."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.blobs import Blobs
from vreg_proxy.cache.content_store import CacheUnwritableError, ContentStore
from vreg_proxy.cache.download import Patience
from vreg_proxy.cache.fill_owner import Workshop
from vreg_proxy.cache.index import Index, TagEntry
from vreg_proxy.cache.origin import Kind, Origin, Right
from vreg_proxy.cache.reader import BlobReader
from vreg_proxy.cache.recent import Recent
from vreg_proxy.cache.source import BlobSource
from vreg_proxy.cache.threads import in_thread
from vreg_shared.clock import Clock
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import Manifest

THREADS: Final = 8
MANIFESTS_IN_MEMORY: Final = 64 * 1024 * 1024
KEEP_FREE: Final = 32 * 1024 * 1024

_log: Final = structlog.stdlib.get_logger()


class Cache:
    """Made by `open_cache`. Every question is asked for one origin, and answered from its rights alone."""

    def __init__(self, store: ContentStore, index: Index, blobs: Blobs, executor: Executor) -> None:
        self._store = store
        self._index = index
        self._blobs = blobs
        self._executor = executor
        self._manifests: Recent[Digest, bytes] = Recent(MANIFESTS_IN_MEMORY, len)

    @property
    def problem(self) -> str | None:
        """Return why nothing is kept at the moment, for readiness and logs; pulls go on."""
        return self._blobs.problem or self._index.problem

    async def manifest(self, origin: Origin, digest: Digest) -> Manifest | None:
        """Return a manifest this origin has a right to; None means: ask the upstream, by digest.

        Bytes from disk are hashed again; those in memory were.
        """
        right = await self._index.right(origin, digest, Kind.MANIFEST)
        if right is None:
            return None
        body = self._manifests.get(digest)
        if body is None:
            body = await in_thread(self._executor, self._store.read_whole, digest)
            if body is None:
                return None
            self._manifests.put(digest, body)
        self._index.used(digest)
        return Manifest(digest, right.media_type, body)

    async def store_manifest(self, origin: Origin, manifest: Manifest) -> None:
        """Keep a manifest that the origin's upstream gave, and its right. A full disk keeps it in memory."""
        self._manifests.put(manifest.digest, manifest.body)
        right = Right(manifest.media_type, len(manifest.body), Kind.MANIFEST)
        self._index.grant(origin, manifest.digest, right)
        try:
            await in_thread(self._executor, self._store.put, manifest.digest, manifest.body)
        except CacheUnwritableError as error:
            _log.warning("cache_unwritable", digest=str(manifest.digest), problem=str(error))

    def grant_manifest(self, origin: Origin, digest: Digest, media_type: str, size: int) -> None:
        """Remember that the origin's upstream answered a HEAD or GET for this very manifest with 2xx."""
        self._index.grant(origin, digest, Right(media_type, size, Kind.MANIFEST))

    async def tag(self, origin: Origin, tag: str, checked_after: datetime | None = None) -> TagEntry | None:
        """Return where a tag pointed at its last check, by any process; it may be older than asked for."""
        return await self._index.tag(origin, tag, checked_after)

    def point_tag(self, origin: Origin, tag: str, digest: Digest, checked_at: datetime) -> None:
        """Remember what the upstream said a tag points to, and when it was asked."""
        self._index.point(origin, tag, TagEntry(digest, checked_at))

    async def right(self, origin: Origin, digest: Digest) -> Right | None:
        """Return the right to a blob that an origin already has, without asking its upstream."""
        return await self._index.right(origin, digest, Kind.BLOB)

    async def blob(self, origin: Origin, digest: Digest, source: BlobSource) -> BlobReader | Verdict:
        """Return a reader, which must be entered or closed, or the upstream's answer."""
        return await self._blobs.read(origin, digest, source)

    async def blob_size(self, origin: Origin, digest: Digest, source: BlobSource) -> int | Verdict:
        """Return a blob's size in bytes, asking the upstream only when the origin has no right yet."""
        return await self._blobs.size(origin, digest, source)

    async def server_of(self, registry_id: str, repository: str) -> str | None:
        """Return the upstream that served this repository of a virtual registry last."""
        return await self._index.server_of(registry_id, repository)

    def remember_server(self, registry_id: str, repository: str, upstream_id: str) -> None:
        """Remember which upstream served this repository."""
        self._index.remember_server(registry_id, repository, upstream_id)

    def forget_before(self, upstream_id: str, cache_epoch: int) -> None:
        """Remove an upstream's rows of older epochs, which nobody can reach any more."""
        self._index.forget_before(upstream_id, cache_epoch)

    async def flushed(self) -> None:
        """Wait until rights given so far can be seen by other processes."""
        await self._index.flushed()


@asynccontextmanager
async def open_cache(
    root: Path, clock: Clock, *, patience: Patience | None = None, keep_free: int = KEEP_FREE
) -> AsyncIterator[Cache]:
    """Run a cache in this folder; several processes of one host may share it, on a local file system.

    `keep_free` is the room in bytes below which new blobs are passed through. Leaving the context cancels
    the fills of this process; readers in other processes take them over.
    """
    store = ContentStore(root)
    with ThreadPoolExecutor(THREADS, "cache") as executor:
        workshop = Workshop(store, executor, patience or Patience(), keep_free)
        index = Index(root / "index.db", clock)
        try:
            async with asyncio.TaskGroup() as tasks:
                blobs = Blobs(root / "filling", workshop, index, tasks)
                await in_thread(executor, blobs.prepare)
                try:
                    yield Cache(store, index, blobs, executor)
                finally:
                    blobs.stop()
        finally:
            await index.close()
