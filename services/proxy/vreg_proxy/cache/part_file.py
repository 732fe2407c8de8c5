"""The bytes of a fill on disk, written and hashed behind the network, never ahead of each other."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Final, Self

from vreg_proxy.cache.content_store import PIECE, CacheUnwritableError
from vreg_proxy.cache.running_hash import RunningHash, running_hash
from vreg_proxy.cache.threads import finished
from vreg_shared.oci.digest import Digest

MOST_BEHIND: Final = 4 * 1024 * 1024
"""Bytes in memory that the disk has not taken yet; more make the network wait."""


class PartFile:
    """Only a fill's owner has one. Its calls block: use a thread, one at a time.

    `position` is both the file's length and how far the hash is, also after the disk took half a write.
    """

    def __init__(self, descriptor: int, digest: Digest) -> None:
        self.descriptor = descriptor
        self.hasher: RunningHash = running_hash(digest)
        self.position = 0

    @classmethod
    def open(cls, path: Path, digest: Digest) -> Self:
        """Open the file, new or as a dead owner left it. Raises CacheUnwritableError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CacheUnwritableError(f"no fill can begin: {error.strerror}") from error
        return cls(descriptor, digest)

    def hash_what_is_there(self) -> None:
        """Bring the hash up to the end of the file, after a dead owner."""
        buffer = bytearray(PIECE)
        try:
            while count := os.preadv(self.descriptor, [buffer], self.position):
                self.hasher.update(memoryview(buffer)[:count])
                self.position += count
        except OSError as error:
            raise CacheUnwritableError(f"the fill cannot be read back: {error.strerror}") from error

    def append(self, chunks: list[bytes]) -> None:
        """Write and hash. Raises CacheUnwritableError; what was taken until then counts."""
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                try:
                    taken = os.pwrite(self.descriptor, rest, self.position)
                except OSError as error:
                    raise CacheUnwritableError(f"the fill cannot go on: {error.strerror}") from error
                self.hasher.update(rest[:taken])
                self.position += taken
                rest = rest[taken:]


class WriteBehind:
    """Takes chunks from the network while a thread writes the ones before.

    Everything that came during one write goes into the next, so batches grow with the upstream's speed.
    """

    def __init__(self, part: PartFile, executor: Executor, wrote: Callable[[], None]) -> None:
        self._part = part
        self._executor = executor
        self._wrote = wrote
        self._waiting: list[bytes] = []
        self._behind = 0
        self._running: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    async def add(self, chunk: bytes) -> None:
        """Take a chunk; wait while too much is unwritten. Raises CacheUnwritableError."""
        self._waiting.append(chunk)
        self._behind += len(chunk)
        self._write_next()
        while self._behind > MOST_BEHIND and self._running is not None:
            await asyncio.wait([self._running])
        if self._error is not None:
            raise self._error

    async def drain(self) -> None:
        """Wait until all is written. Raises CacheUnwritableError."""
        await self.rest()
        if self._error is not None:
            raise self._error

    async def rest(self) -> None:
        """Wait until no thread touches the file any more; raises nothing, however it went."""
        while self._running is not None:
            await finished(self._running)

    def forget(self) -> None:
        """Drop what is not written yet."""
        self._waiting.clear()

    def _write_next(self) -> None:
        if self._running is not None or not self._waiting or self._error is not None:
            return
        batch, self._waiting = self._waiting, []
        loop = asyncio.get_running_loop()
        self._running = loop.run_in_executor(self._executor, self._part.append, batch)
        self._running.add_done_callback(lambda future: self._written(future, batch))

    def _written(self, future: asyncio.Future[None], batch: list[bytes]) -> None:
        self._running = None
        self._behind -= sum(map(len, batch))
        self._error = future.exception()
        self._wrote()
        self._write_next()
