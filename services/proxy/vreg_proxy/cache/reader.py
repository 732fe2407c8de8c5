"""One client's way through a blob: its own cursor, and the last bytes only when the digest is proved."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Self

from vreg_proxy.cache.body import Body
from vreg_proxy.cache.download import Download, NotServedError
from vreg_proxy.cache.endings import Failed, Refused, Unwritable, Verified
from vreg_proxy.cache.hits import Hit
from vreg_proxy.cache.running_hash import RunningHash
from vreg_proxy.cache.threads import in_thread
from vreg_shared.registry_client.results import BlobInterruptedError

WITHHELD: Final = 64 * 1024
"""Bytes at the end of what a client asked for that wait for the digest."""
LARGEST: Final = 1024 * 1024
SMALLEST: Final = 64 * 1024
IN_FLIGHT: Final = 8 * 1024 * 1024
"""Bytes that all readers of a process may hold together, as far as the smallest chunk allows."""


@dataclass(slots=True)
class ReadingRoom:
    """What all readers of a process share: threads for a cold disk, and how many they are."""

    executor: Executor
    readers: int = 0

    @property
    def chunk(self) -> int:
        """Return how many bytes one reader may take at once."""
        return max(SMALLEST, min(LARGEST, IN_FLIGHT // max(1, self.readers)))


class BlobReader:
    """`async with reader: async for chunk in reader.chunks(): ...`; chunks are at most 1 MiB.

    A body that turns out wrong raises BlobInterruptedError before its last byte: end the response short.
    Every reader is entered, or closed with `close()`; leaving tells the fill that one less waits.
    """

    def __init__(
        self,
        body: Body,
        room: ReadingRoom,
        continued: Callable[[int, RunningHash], Download],
        hit: Hit = Hit.DISK,
    ) -> None:
        if body.size is None:
            raise ValueError("a reader begins when the size is known")
        self.digest = body.digest
        self.size = body.size
        self._hit = hit
        self._body = body
        self._room = room
        self._continued = continued
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._is_open = True
        room.readers += 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._chunks is not None:
            await self._chunks.aclose()
        self.close()

    def close(self) -> None:
        """Leave, once or more often."""
        if self._is_open:
            self._is_open = False
            self._room.readers -= 1
            self._body.leave()

    @property
    def hit(self) -> Hit:
        """Return where the bytes come from, as far as it is known yet."""
        return Hit.PASSED if isinstance(self._body.ending, Unwritable) else self._hit

    @property
    def file(self) -> int | None:
        """Return a descriptor of the whole, proved blob for pread or sendfile, or None while unproved.

        It is shared: never move its position, never close it, and use it only until this reader is closed.
        """
        return self._body.descriptor if isinstance(self._body.ending, Verified) else None

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Give the bytes from `start` up to `stop` (exclusive; the end when None); call it once.

        Raises BlobInterruptedError.
        """
        self._chunks = self._read(start, self.size if stop is None else min(stop, self.size))
        return self._chunks

    async def _read(self, cursor: int, stop: int) -> AsyncGenerator[bytes, None]:
        while not isinstance(self._body.ending, Unwritable):
            ceiling = self._ceiling(cursor, stop)
            if cursor < ceiling:
                piece = await self._piece(cursor, ceiling)
                cursor += len(piece)
                yield piece
            elif self._body.ending is None:
                await self._body.changed()
            else:
                return
        async with aclosing(self._on_our_own(self._body.ending, cursor, stop)) as pieces:
            async for piece in pieces:
                yield piece

    def _ceiling(self, cursor: int, stop: int) -> int:
        """Return how far this reader may go now; raise BlobInterruptedError if no further, ever."""
        match self._body.ending:
            case None:
                return min(self._body.available, stop - WITHHELD)
            case Failed(reason):
                raise BlobInterruptedError(reason, cursor)
            case Refused(verdict):
                raise BlobInterruptedError(verdict.reason, cursor)
            case _:
                return stop

    async def _piece(self, cursor: int, ceiling: int) -> bytes:
        """Read from the page cache at once, from a slow disk in a thread."""
        descriptor = self._body.descriptor
        length = min(self._room.chunk, ceiling - cursor)
        if descriptor is None:
            raise BlobInterruptedError("closed", cursor)
        if is_in_memory(descriptor, length, cursor):
            piece = os.pread(descriptor, length, cursor)
        else:
            piece = await in_thread(self._room.executor, os.pread, descriptor, length, cursor)
        if not piece:
            raise BlobInterruptedError("truncated", cursor)
        return piece

    async def _on_our_own(
        self, unwritable: Unwritable, cursor: int, stop: int
    ) -> AsyncGenerator[bytes, None]:
        """Go on without the disk: what it took first, then the upstream, one piece late until proved."""
        held = b""
        hasher = unwritable.hasher.copy()
        while cursor < min(stop, unwritable.position):
            if held:
                yield held
            held = await self._piece(cursor, min(stop, unwritable.position))
            cursor += len(held)
        async with self._continued(unwritable.position, hasher) as download:
            try:
                async with aclosing(download.chunks()) as chunks:
                    async for chunk in chunks:
                        await self._hash(hasher, chunk)
                        began = download.position - len(chunk)
                        wanted = chunk[max(0, cursor - began) : max(0, stop - began)]
                        if wanted:
                            if held:
                                yield held
                            held, cursor = wanted, cursor + len(wanted)
            except NotServedError as error:
                raise BlobInterruptedError(error.verdict.reason, cursor) from error
        if not self.digest.matches(hasher):
            raise BlobInterruptedError("digest_mismatch", cursor)
        if held:
            yield held

    async def _hash(self, hasher: RunningHash, chunk: bytes) -> None:
        if len(chunk) <= SMALLEST:
            hasher.update(chunk)
        else:
            await in_thread(self._room.executor, hasher.update, chunk)


def is_in_memory(descriptor: int, length: int, offset: int) -> bool:
    """Whether the page cache has the ends of a stretch, so that reading it will hardly wait for a disk."""
    probe = bytearray(1)
    try:
        return all(
            os.preadv(descriptor, [probe], position, os.RWF_NOWAIT)
            for position in (offset, offset + length - 1)
        )
    except OSError:
        return False
