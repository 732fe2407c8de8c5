"""The proxy's cache as its endpoints see it: manifests, tags, and blobs that many read and one fetches."""

from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from typing import Final

import structlog

from vreg_proxy.cache.bad_content import BadContent
from vreg_proxy.cache.blobs import Blobs
from vreg_proxy.cache.content_store import CacheUnwritableError, ContentStore, WrongContentError
from vreg_proxy.cache.contents import Contents
from vreg_proxy.cache.disk_state import DiskState
from vreg_proxy.cache.index import Index, TagEntry
from vreg_proxy.cache.origin import Kind, Origin, Right
from vreg_proxy.cache.reader import BlobReader
from vreg_proxy.cache.recent import Recent
from vreg_proxy.cache.source import BlobSource
from vreg_proxy.cache.statistics import Statistics
from vreg_proxy.cache.threads import in_thread
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Verdict
from vreg_shared.registry_client.results import Manifest

MANIFESTS_IN_MEMORY: Final = 64 * 1024 * 1024

_log: Final = structlog.stdlib.get_logger()


class Cache:
    """Made by `open_cache`. Every question is asked for one origin, and answered from its rights alone.

    `statistics` tell what it did, `contents` are for people who look into it, and `folder_id` names the
    folder that several processes share.
    """

    def __init__(  # noqa: PLR0913 - each is a side of the cache
        self,
        *,
        store: ContentStore,
        index: Index,
        blobs: Blobs,
        disk: DiskState,
        statistics: Statistics,
        bad_content: BadContent,
        contents: Contents,
        executor: Executor,
        folder_id: str,
    ) -> None:
        self._store = store
        self._index = index
        self._blobs = blobs
        self._disk = disk
        self._bad_content = bad_content
        self._executor = executor
        self._manifests: Recent[Digest, bytes] = Recent(MANIFESTS_IN_MEMORY, len)
        self._on_purge: list[Callable[[], None]] = [self._manifests.clear]
        self.statistics = statistics
        self.contents = contents
        self.folder_id = folder_id

    @property
    def problem(self) -> str | None:
        """Return why nothing is kept at the moment, for readiness and logs; pulls go on."""
        return self._disk.problem or self._index.problem

    def on_purge(self, listener: Callable[[], None]) -> None:
        """Tell this listener when rights were taken away, so that it forgets what it has in memory."""
        self._on_purge.append(listener)

    def purged(self) -> None:
        """Forget what is in memory, here and at all listeners."""
        for listener in self._on_purge:
            listener()

    async def manifest(self, origin: Origin, digest: Digest) -> Manifest | None:
        """Return a manifest this origin has a right to; None means: ask the upstream, by digest.

        Bytes from disk are hashed again; those in memory were.
        """
        right = await self._index.right(origin, digest, Kind.MANIFEST)
        if right is None:
            return None
        body = self._manifests.get(digest) or await self._from_disk(digest)
        if body is None:
            return None
        self._index.used(digest)
        return Manifest(digest, right.media_type, body)

    async def store_manifest(self, origin: Origin, manifest: Manifest) -> None:
        """Keep a manifest that the origin's upstream gave, and its right. A full disk keeps it in memory."""
        self._manifests.put(manifest.digest, manifest.body)
        right = Right(manifest.media_type, len(manifest.body), Kind.MANIFEST)
        self._index.grant(origin, manifest.digest, right)
        self.statistics.fetched(origin.upstream_id, len(manifest.body))
        try:
            await in_thread(self._executor, self._store.put, manifest.digest, manifest.body)
        except CacheUnwritableError as error:
            _log.warning("cache_unwritable", digest=str(manifest.digest), problem=str(error))
            self._disk.broke(str(error))
        else:
            self._index.kept(manifest.digest, len(manifest.body))

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

    @property
    def can_tell_servers(self) -> bool:
        """Whether the None that `server_of` has just returned means nobody; otherwise the disk cannot say."""
        return self._index.disk.is_readable

    async def served(self, registry_id: str, after: str, most: int) -> list[tuple[str, str]] | None:
        """Return repositories that were served, by name, each with its upstream; None: nobody can say."""
        return await self._index.served(registry_id, after, most)

    def remember_server(self, registry_id: str, repository: str, upstream_id: str) -> None:
        """Remember which upstream served this repository."""
        self._index.remember_server(registry_id, repository, upstream_id)

    def forget_before(self, upstream_id: str, cache_epoch: int) -> None:
        """Remove an upstream's rows of older epochs, which nobody can reach any more."""
        self._index.forget_before(upstream_id, cache_epoch)

    async def settled(self) -> None:
        """Wait until what this process fetches is on disk or given up, maybe long after its readers."""
        await self._blobs.fills.settled()

    async def flushed(self) -> None:
        """Wait until rights given so far can be seen by other processes."""
        await self._index.flushed()

    async def _from_disk(self, digest: Digest) -> bytes | None:
        try:
            body = await in_thread(self._executor, self._store.read_whole, digest)
        except WrongContentError:
            self._bad_content.found(digest)
            return None
        if body is not None:
            self._manifests.put(digest, body)
        return body
