"""Blobs: the right first, then the bytes that are here, or one fill that everybody reads behind."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from vreg_proxy.cache.body import Body
from vreg_proxy.cache.content_store import CacheUnwritableError, is_same_file, make_folder
from vreg_proxy.cache.disk_state import DiskState
from vreg_proxy.cache.download import Download
from vreg_proxy.cache.endings import Ending, Failed, Refused, Unwritable, Verified
from vreg_proxy.cache.fill_owner import Workshop
from vreg_proxy.cache.fills import Fills
from vreg_proxy.cache.hits import Hit
from vreg_proxy.cache.index import Index
from vreg_proxy.cache.origin import Kind, Origin, Right
from vreg_proxy.cache.reader import WITHHELD, BlobReader, ReadingRoom
from vreg_proxy.cache.recent import Recent
from vreg_proxy.cache.running_hash import RunningHash
from vreg_proxy.cache.source import BlobSource
from vreg_proxy.cache.threads import in_thread
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCTET_STREAM
from vreg_shared.provider import Answer, Verdict

CHECKED_AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes hashed faster than a client would notice."""
MOST_PROVED: Final = 100_000
ROTTEN: Final = "cache_corrupt"
ATTEMPTS: Final = 3
"""Fills joined in a row that somebody else's upstream refused."""

_log: Final = structlog.stdlib.get_logger()
_Signature = tuple[int, int, int, int]


class Blobs:
    """Rights, content and fills put together.

    A file this process did not write is hashed once before its last bytes are trusted.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        folder: Path,
        workshop: Workshop,
        index: Index,
        disk: DiskState,
        tasks: asyncio.TaskGroup,
        *,
        on_bad: Callable[[Digest], None],
    ) -> None:
        self._folder = folder
        self._workshop = workshop
        self._index = index
        self._disk = disk
        self._on_bad = on_bad
        self._tasks = tasks
        self.fills = Fills(folder, workshop, tasks, self._fill_ended)
        self._room = ReadingRoom(workshop.executor)
        self._proofs: dict[tuple[Origin, Digest], asyncio.Task[int | Verdict]] = {}
        self._checks: dict[Digest, Body] = {}
        self._proved: Recent[Digest, _Signature] = Recent(MOST_PROVED)

    def prepare(self) -> None:
        """Make the folder and sweep up after dead processes; do without one that cannot be written."""
        try:
            make_folder(self._folder)
            self.fills.reclaim()
        except CacheUnwritableError as error:
            self._disk.broke(str(error))
        except OSError as error:
            self._disk.broke(f"the cache folder cannot be written: {error.strerror}")

    def stop(self) -> None:
        """End what this process fetches."""
        self.fills.stop()
        for proof in self._proofs.values():
            proof.cancel()

    async def size(self, origin: Origin, digest: Digest, source: BlobSource) -> int | Verdict:
        """Return the size by right, or prove the right."""
        right = await self._index.right(origin, digest, Kind.BLOB)
        if right is not None:
            return right.size
        return await self._prove(origin, digest, source)

    async def read(self, origin: Origin, digest: Digest, source: BlobSource) -> BlobReader | Verdict:
        """Return a reader for an origin with a right, or with one it gets on the way."""
        for _ in range(ATTEMPTS):
            has_right = await self._index.right(origin, digest, Kind.BLOB) is not None
            body = await self._here(digest, origin)
            hit = Hit.DISK
            if body is None:
                hit = Hit.FILLED if self.fills.current(digest, origin) is None else Hit.JOINED
                body = self.fills.join(digest, origin, source)
            try:
                outcome = await self._admitted(body, origin, source, hit, has_right=has_right)
            except BaseException:
                body.leave()
                raise
            if isinstance(outcome, BlobReader):
                self._index.used(digest)
                return outcome
            body.leave()
            if outcome is not None:
                return outcome
        return Verdict(Answer.UNAVAILABLE, "contended")

    async def _admitted(
        self, body: Body, origin: Origin, source: BlobSource, hit: Hit, *, has_right: bool
    ) -> BlobReader | Verdict | None:
        """Wait for the right and the size; None means that there was nothing for us: begin again."""
        while True:
            if not has_right and origin.mark in body.granted:
                self._grant(origin, body)
                has_right = True
            match body.ending:
                case Refused(verdict, mark):
                    return verdict if mark == origin.mark else None
                case Failed(reason):
                    return None if reason == ROTTEN else Verdict(Answer.UNAVAILABLE, reason)
                case Unwritable() if body.size is None:
                    proof = await self._prove(origin, body.digest, source)
                    if isinstance(proof, Verdict):
                        return proof
                    has_right, body.size = True, proof
            if not has_right and (body.ending is not None or _is_for_others(body, origin)):
                proof = await self._prove(origin, body.digest, source)
                if isinstance(proof, Verdict):
                    return proof
                has_right = True
            elif has_right and body.size is not None and not _is_worth_waiting_for(body, body.size):
                return self._reader(body, origin, source, hit)
            else:
                await body.changed()

    def _reader(self, body: Body, origin: Origin, source: BlobSource, hit: Hit) -> BlobReader:
        def continued(position: int, hasher: RunningHash) -> Download:
            async def prefix() -> str:
                return hasher.hexdigest()

            return Download(
                body.digest,
                source,
                self._workshop.patience,
                prefix=prefix,
                on_open=lambda _: None,
                on_bytes=lambda size: self._workshop.fetched(origin.upstream_id, size),
                position=position,
                size=body.size,
            )

        if hit is Hit.FILLED and not body.is_ours:
            hit = Hit.JOINED  # another process fetches
        return BlobReader(body, self._room, continued, hit)

    def _grant(self, origin: Origin, body: Body) -> None:
        self._index.grant(origin, body.digest, Right(OCTET_STREAM, body.size or 0, Kind.BLOB))

    async def _prove(self, origin: Origin, digest: Digest, source: BlobSource) -> int | Verdict:
        """Ask this origin's upstream once for all who wait; a client that leaves takes nothing with it."""
        proof = self._proofs.get((origin, digest))
        if proof is None:
            proof = self._tasks.create_task(_asked(source))
            self._proofs[origin, digest] = proof
            proof.add_done_callback(lambda _: self._proofs.pop((origin, digest), None))
        answer = await asyncio.shield(proof)
        if not isinstance(answer, Verdict):
            self._index.grant(origin, digest, Right(OCTET_STREAM, answer, Kind.BLOB))
        return answer

    async def _here(self, digest: Digest, origin: Origin) -> Body | None:
        """Return committed content, joined; unless its file is known as sound, somebody begins to hash it."""
        if self.fills.current(digest, origin) is not None:
            return None
        if (checking := self._checks.get(digest)) is not None:
            checking.join()
            return checking
        descriptor = await in_thread(self._workshop.executor, self._workshop.store.open, digest)
        if descriptor is None:
            return None
        if (checking := self._checks.get(digest)) is not None:
            os.close(descriptor)
            checking.join()
            return checking
        body = _whole(digest, descriptor)
        body.join()
        if self._proved.get(digest) == _signature(descriptor):
            body.end(Verified())
        else:
            self._checks[digest] = body
            self._tasks.create_task(self._check(body, descriptor))
        return body

    async def _check(self, body: Body, descriptor: int) -> None:
        """Hash a file that this process did not write; readers wait for it with their last bytes only."""
        body.join()
        is_sound = False
        try:
            is_sound = await in_thread(
                self._workshop.executor, self._workshop.store.is_sound, descriptor, body.digest
            )
            if is_sound:
                self._proved.put(body.digest, _signature(descriptor))
            else:
                quarantine = self._workshop.store.quarantine
                await in_thread(self._workshop.executor, quarantine, body.digest, descriptor)
                self._on_bad(body.digest)
        finally:
            del self._checks[body.digest]
            body.end(Verified() if is_sound else Failed(ROTTEN))
            body.leave()

    def _fill_ended(self, body: Body, ending: Ending) -> None:
        """Note what a fill of this process, or one it followed, came to."""
        match ending:
            case Verified():
                if body.descriptor is not None:
                    self._kept(body, body.descriptor)
            case Unwritable(position, _):
                if body.size is None or self._workshop.room.may_ever_hold(body.size):
                    self._disk.broke(
                        "the cache takes no more bytes: blobs are passed through; free some space"
                    )
                _log.warning("cache_passes_through", digest=str(body.digest), position=position)
            case Failed(reason):
                _log.warning("cache_fill_failed", digest=str(body.digest), reason=reason)
            case Refused():
                pass

    def _kept(self, body: Body, descriptor: int) -> None:
        """Note that a blob is proved, and on disk; one that could not be named is not."""
        self._proved.put(body.digest, _signature(descriptor))
        if is_same_file(self._workshop.store.path(body.digest), descriptor):
            self._disk.works()
            self._index.kept(body.digest, body.available)
        else:
            self._disk.broke("a finished blob could not be kept; look at the cache's disk")


async def _asked(source: BlobSource) -> int | Verdict:
    try:
        return await source.prove()
    except Exception:  # noqa: BLE001 - one source's bug must not end the task group all fills live in
        _log.exception("cache_proof_failed")
        return Verdict(Answer.UNAVAILABLE, "internal_error")


def _is_worth_waiting_for(body: Body, size: int) -> bool:
    """Whether hardly a byte could go out before the ending: then the ending may choose the answer."""
    return not body.is_decided and size <= (WITHHELD if body.is_being_fetched else CHECKED_AT_ONCE)


def _is_for_others(body: Body, origin: Origin) -> bool:
    """Whether we know whom the fill asks, and it is not this origin's upstream."""
    return bool(body.asking) and origin.mark not in body.asking


def _whole(digest: Digest, descriptor: int) -> Body:
    body = Body(digest)
    body.descriptor = descriptor
    body.size = body.available = os.fstat(descriptor).st_size
    return body


def _signature(descriptor: int) -> _Signature:
    """Return what changes when somebody writes to the file or puts another in its place."""
    found = os.fstat(descriptor)
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
