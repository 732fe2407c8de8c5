"""An upstream for the cache: one blob, any number of faults, and a count of what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property

from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, BlobStream

ABSENT = Verdict(Answer.ABSENT, "blob_unknown")


@dataclass
class FakeBlobSource:
    """Gives `sent` (by default the blob itself), saying it is `said_size` bytes, in pieces of `piece`.

    `resets` are positions at which the connection breaks, each once. `gate`, when given, is awaited before
    every piece beyond `free` bytes. `verdict` answers in place of the blob, behind the gate too.
    """

    blob: bytes
    sent: bytes | None = None
    said_size: int | None = None
    piece: int = 16 * 1024
    resets: list[int] = field(default_factory=list)
    honours_range: bool = True
    verdict: Verdict | None = None
    proof: Verdict | None = None
    gate: asyncio.Event | None = None
    free: int = 0
    on_open: Callable[[int], None] = lambda _offset: None
    opens: list[int] = field(default_factory=list)
    proofs: int = 0
    bytes_sent: int = 0

    @cached_property
    def digest(self) -> Digest:
        return Digest.of(self.blob)

    @asynccontextmanager
    async def open(self, offset: int) -> AsyncIterator[BlobStream | Verdict]:
        self.opens.append(offset)
        self.on_open(offset)
        await asyncio.sleep(0)
        if self.verdict is not None:
            if self.gate is not None:
                await self.gate.wait()
            yield self.verdict
            return
        size = len(self.blob) if self.said_size is None else self.said_size
        start = offset if self.honours_range else 0
        yield BlobStream(size, start, self._chunks(start, size))

    async def prove(self) -> int | Verdict:
        self.proofs += 1
        await asyncio.sleep(0)
        return self.proof or self.verdict or len(self.blob)

    async def _chunks(self, position: int, size: int) -> AsyncIterator[bytes]:
        sent = self.blob if self.sent is None else self.sent
        while position < len(sent):
            if self.gate is not None and position >= self.free:
                await self.gate.wait()
            stop = min(position + self.piece, len(sent))
            broken = [reset for reset in self.resets if position <= reset < stop]
            if broken:
                self.resets.remove(broken[0])
                stop = broken[0]
            if position < stop:
                self.bytes_sent += stop - position
                yield sent[position:stop]
            if broken:
                raise BlobInterruptedError("connection_failed", stop)
            position = stop
            await asyncio.sleep(0)
        if position < size:
            raise BlobInterruptedError("truncated", position)
