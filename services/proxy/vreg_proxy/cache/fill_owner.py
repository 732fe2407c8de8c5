"""Owning a fill: fetch, hash, write, commit, and tell everyone how it ended."""

import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import structlog

from vreg_proxy.cache.body import Body
from vreg_proxy.cache.content_store import CacheUnwritableError, ContentStore, WrongContentError
from vreg_proxy.cache.download import Download, NotServedError, Patience
from vreg_proxy.cache.endings import Ending, Failed, Refused, Unwritable, Verified, to_record
from vreg_proxy.cache.fill_record import FillFiles, FillRecord, has_followers
from vreg_proxy.cache.origin import Origin
from vreg_proxy.cache.part_file import PartFile, WriteBehind
from vreg_proxy.cache.running_hash import running_hash
from vreg_proxy.cache.source import BlobSource
from vreg_proxy.cache.threads import in_thread
from vreg_shared.registry_client.results import BlobInterruptedError

AHEAD: Final = 64 * 1024 * 1024
"""Bytes for which room is made before they came. An upstream may announce any size and send nothing."""

_log: Final = structlog.get_logger(__name__)


class MakesRoom(Protocol):
    """Who lets older content go for newer."""

    def may_ever_hold(self, size: int) -> bool:
        """Whether one blob of this size fits into the cache at all."""
        ...

    def could_hold(self, size: int) -> bool:
        """Whether this many bytes more could be written if all else went. Blocks on the disk."""
        ...

    def has_room(self, size: int) -> bool:
        """Make room for this many bytes more, and tell whether they may be written. Blocks on the disk."""
        ...


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every fill of this process needs. `fetched` counts bytes by upstream."""

    store: ContentStore
    executor: Executor
    patience: Patience
    room: MakesRoom
    fetched: Callable[[str, int], None]


class FillOwner:
    """Holds the lock of one fill. The ending is written down before the lock goes."""

    def __init__(  # noqa: PLR0913 - each is a collaborator of its own
        self,
        *,
        workshop: Workshop,
        files: FillFiles,
        record: FillRecord,
        body: Body,
        origin: Origin,
        source: BlobSource,
    ) -> None:
        self._workshop = workshop
        self._files = files
        self._record = record
        self._body = body
        self._origin = origin
        self._source = source

    async def own(self) -> Ending:
        """Bring the fill to its end; a cancelled one is left to the readers in other processes, if any."""
        self._body.is_ours = True
        try:
            ending = await self._fill()
        except BaseException:
            let_go(self._files.part, self._record)
            raise
        self._record.note_ending(to_record(ending))
        self._record.remove_with(self._files.part)
        return ending

    async def _fill(self) -> Ending:  # noqa: PLR0911 - a table of what can happen
        body = self._body
        try:
            self._record.prepare()
            if body.descriptor is None and await self._already_here():
                return Verified()
            part = self._part()
        except CacheUnwritableError:
            return Unwritable(0, running_hash(body.digest))
        behind = WriteBehind(part, self._workshop.executor, lambda: body.advance(part.position))
        try:
            return await self._fetch(part, behind)
        except NotServedError as error:
            return Refused(error.verdict, self._origin.mark)
        except BlobInterruptedError as error:
            return Failed(error.reason)
        except WrongContentError:
            return Failed("digest_mismatch")
        except CacheUnwritableError:
            await behind.rest()
            return Unwritable(part.position, part.hasher)
        finally:
            behind.forget()
            await behind.rest()

    async def _fetch(self, part: PartFile, behind: WriteBehind) -> Ending:
        self._learn()
        await in_thread(self._workshop.executor, part.hash_what_is_there)
        self._body.advance(part.position)
        if self._record.size is None or part.position < self._record.size:
            await self._download(part, behind)
        await self._commit(part)
        return Verified()

    async def _download(self, part: PartFile, behind: WriteBehind) -> None:
        async def prefix() -> str:
            await behind.drain()
            return part.hasher.hexdigest()

        self._record.note_asking(self._origin.mark)
        self._learn()
        download = Download(
            self._body.digest,
            self._source,
            self._workshop.patience,
            prefix=prefix,
            on_open=self._granted,
            on_bytes=lambda size: self._workshop.fetched(self._origin.upstream_id, size),
            position=part.position,
            size=self._record.size,
        )
        async with download:
            size = await download.start() if not part.position else self._record.size or 0
            room, roomy_to = self._workshop.room, part.position
            await self._require(room.could_hold, size - part.position)
            async for chunk in download.chunks():
                if download.position > roomy_to:
                    roomy_to = max(download.position, min(size, download.position + AHEAD))
                    await self._require(room.has_room, roomy_to - part.position)
                await behind.add(chunk)
            await behind.drain()

    async def _require(self, is_possible: Callable[[int], bool], size: int) -> None:
        if not await in_thread(self._workshop.executor, is_possible, size):
            raise CacheUnwritableError("the cache's disk is almost full; free some space")

    async def _commit(self, part: PartFile) -> None:
        """Compare before naming. Right bytes that the disk cannot keep are still right for the readers.

        They do not wait for the disk: writing out a large blob takes longer than fetching it.
        """
        if not self._body.digest.matches(part.hasher):
            raise WrongContentError("the bytes are not those the digest names")
        self._record.note_proved()
        self._body.prove()
        size = self._record.size if self._record.size is not None else part.position
        store, executor, digest = self._workshop.store, self._workshop.executor, self._body.digest
        try:
            await in_thread(executor, store.commit, self._files.part, part.descriptor, digest, size)
        except CacheUnwritableError as error:
            if not await in_thread(executor, store.is_sound, part.descriptor, digest):
                raise WrongContentError("the disk lost bytes of a finished fill") from error
            _log.warning("cache_commit_failed", digest=str(digest), problem=str(error))

    def _part(self) -> PartFile:
        """Go on with the file our readers already hold, or open it."""
        if self._body.descriptor is None:
            part = PartFile.open(self._files.part, self._body.digest)
            self._body.descriptor = part.descriptor
            return part
        return PartFile(self._body.descriptor, self._body.digest)

    async def _already_here(self) -> bool:
        """Whether another fill was committed before we got the lock."""
        descriptor = await in_thread(self._workshop.executor, self._workshop.store.open, self._body.digest)
        if descriptor is None:
            return False
        size = os.fstat(descriptor).st_size
        self._body.descriptor = descriptor
        self._body.learn(set(), set(), size)
        self._body.advance(size)
        return True

    def _granted(self, size: int) -> None:
        self._record.note_granted(self._origin.mark, size)
        self._learn()

    def _learn(self) -> None:
        self._body.learn(self._record.asking, self._record.granted, self._record.size)


def let_go(part: Path, record: FillRecord) -> None:
    """Leave an unfinished fill: to the readers of other processes, or else to nobody, without a trace."""
    if has_followers(part):
        return
    record.note_ending({"is": "abandoned"})
    record.remove_with(part)
