"""Following a fill that another process owns: look at its file and its record until it ends or is ours."""

import asyncio
import os
from concurrent.futures import Executor
from enum import Enum, auto
from typing import Final

from vreg_proxy.cache.body import Body
from vreg_proxy.cache.content_store import PIECE, ContentStore
from vreg_proxy.cache.endings import Ending, Failed, Unwritable, Verified, refused_from_record
from vreg_proxy.cache.fill_record import FillFiles, FillRecord, stop_following, try_follow
from vreg_proxy.cache.running_hash import RunningHash, running_hash
from vreg_proxy.cache.threads import in_thread
from vreg_shared.oci.digest import Digest

LOOK_SECONDS: Final = 0.01


class Next(Enum):
    """What a follower does when there is no ending to tell."""

    OWN = auto()
    """The owner is gone and its lock is ours."""
    BEGIN_AGAIN = auto()
    """That fill left nothing behind and no reader of ours saw a byte of it."""


class FillFollower:
    """Readers here see bytes only while this process counts as a follower of that very file."""

    def __init__(
        self, store: ContentStore, executor: Executor, files: FillFiles, record: FillRecord, body: Body
    ) -> None:
        self._store = store
        self._executor = executor
        self._files = files
        self._record = record
        self._body = body

    async def follow(self) -> Ending | Next:
        """Keep the body up to date until there is an ending or something else to do."""
        while True:
            self._record.refresh()
            owned = self._record.ending is None and self._record.try_own()
            if self._record.ending is not None:
                return await self._ending(self._record.ending)
            if owned:
                return self._take_over()
            self._look()
            await asyncio.sleep(LOOK_SECONDS)

    def _take_over(self) -> Next | Failed:
        if not self._record.is_current:
            return Next.BEGIN_AGAIN if self._body.descriptor is None else Failed("owner_lost")
        if self._body.descriptor is not None:
            stop_following(self._body.descriptor)
        return Next.OWN

    def _look(self) -> None:
        body = self._body
        if body.descriptor is None and self._record.size is not None:
            body.descriptor = self._open_part()
        if body.descriptor is not None:
            body.advance(os.fstat(body.descriptor).st_size)
        if body.descriptor is not None or self._record.size is None:
            body.learn(self._record.asking, self._record.granted, self._record.size)
        if body.descriptor is not None and self._record.is_proved:
            body.prove()

    def _open_part(self) -> int | None:
        """Open the file of this record's fill and no other's: the name still being ours proves it."""
        try:
            descriptor = os.open(self._files.part, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        if try_follow(descriptor):
            self._record.refresh()
            if self._record.is_current and self._record.ending is None:
                return descriptor
        os.close(descriptor)
        return None

    async def _ending(self, ending: dict[str, object]) -> Ending | Next:
        """Read what the owner wrote."""
        match ending:
            case {"is": "verified"}:
                return await self._verified()
            case {"is": "failed", "reason": str(reason)}:
                return Failed(reason)
            case {"is": "refused"}:
                self._body.learn(self._record.asking, self._record.granted, self._record.size)
                return refused_from_record(ending)
            case {"is": "unwritable", "position": int(position)}:
                return await self._unwritable(position)
            case _:
                return Next.BEGIN_AGAIN if self._body.descriptor is None else Failed("owner_lost")

    async def _verified(self) -> Ending | Next:
        body = self._body
        if body.descriptor is None:
            body.descriptor = await in_thread(self._executor, self._store.open, body.digest)
        if body.descriptor is None:
            return Next.BEGIN_AGAIN
        size = os.fstat(body.descriptor).st_size
        body.learn(self._record.asking, self._record.granted, size)
        body.advance(size)
        return Verified()

    async def _unwritable(self, position: int) -> Ending:
        body = self._body
        if body.descriptor is None:
            body.learn(self._record.asking, self._record.granted, None)
            return Unwritable(0, running_hash(body.digest))
        hasher = await in_thread(self._executor, _hash_of, body.descriptor, position, body.digest)
        if hasher is None:
            return Failed("owner_lost")
        body.advance(position)
        return Unwritable(position, hasher)


def _hash_of(descriptor: int, size: int, digest: Digest) -> RunningHash | None:
    """Hash the first `size` bytes of a file; None when they are not all there."""
    hasher, buffer, position = running_hash(digest), bytearray(PIECE), 0
    while position < size:
        count = os.preadv(descriptor, [memoryview(buffer)[: size - position]], position)
        if not count:
            return None
        hasher.update(memoryview(buffer)[:count])
        position += count
    return hasher
