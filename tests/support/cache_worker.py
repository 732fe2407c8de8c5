"""A worker process of the proxy, as far as the cache can tell, and an upstream that all workers share.

The upstream is a folder: blobs by name, `asked` with a line for each request, and `hold`, which stops bodies
past the place named in it for as long as it exists.
"""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.clock import ManualClock
from vreg_proxy.cache import Cache, Limits, Origin, Patience, Rhythm, open_cache
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client.results import BlobInterruptedError, BlobStream

_FORKS = get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.cache_worker"])


HOME = Origin("upstream-1", 0, "team/app")
UNLIMITED = Limits(keep_free=0)
USUAL = Rhythm()


@dataclass(frozen=True)
class Pull:
    """A command: this many clients pull one blob."""

    blob: str
    digest: Digest
    clients: int = 1
    origin: Origin = HOME
    stop: int | None = None


class FolderUpstream:
    """One blob of the folder, as a BlobSource."""

    def __init__(self, folder: Path, blob: str, origin: Origin) -> None:
        self._folder = folder
        self._path = folder / blob
        self._blob = blob
        self._origin = origin

    @asynccontextmanager
    async def open(self, offset: int) -> AsyncIterator[BlobStream | Verdict]:
        self._note(f"GET {self._blob} {offset}")
        await asyncio.sleep(0.001)
        if self._origin.repository == "absent":
            yield Verdict(Answer.ABSENT, "blob_unknown")
            return
        yield BlobStream(self._path.stat().st_size, offset, self._chunks(offset))

    async def prove(self) -> int | Verdict:
        self._note(f"HEAD {self._blob}")
        await asyncio.sleep(0.001)
        if self._origin.repository == "absent":
            return Verdict(Answer.ABSENT, "blob_unknown")
        return self._path.stat().st_size

    async def _chunks(self, position: int) -> AsyncIterator[bytes]:
        content = self._path.read_bytes()
        while position < len(content):
            while position >= self._held_at():  # noqa: ASYNC110 - the event is a file
                await asyncio.sleep(0.002)
            stop = min(position + 16 * 1024, self._held_at(), len(content))
            yield content[position:stop]
            position = stop
            await asyncio.sleep(0)

    def _held_at(self) -> int:
        try:
            return int((self._folder / "hold").read_text() or "0")
        except FileNotFoundError:
            return 1 << 62

    def _note(self, line: str) -> None:
        with (self._folder / "asked").open("a") as asked:
            asked.write(line + "\n")


class CacheWorker:
    """The test's end of a worker process."""

    def __init__(
        self, root: Path, upstream: Path, limits: Limits = UNLIMITED, rhythm: Rhythm = USUAL
    ) -> None:
        self._connection, theirs = _FORKS.Pipe()
        self.process = _FORKS.Process(
            target=_main, args=(root, upstream, theirs, limits, rhythm), daemon=True
        )
        self.process.start()
        theirs.close()

    def send(self, pull: Pull) -> None:
        self._connection.send(pull)

    async def answer(self) -> list[str]:
        """Return what each client got: a hash, or why not, in no order."""
        answer: list[str] = await asyncio.to_thread(self._connection.recv)
        return answer

    async def pull(self, pull: Pull) -> list[str]:
        self.send(pull)
        return await self.answer()

    def kill(self) -> None:
        os.kill(self.process.pid or 0, signal.SIGKILL)
        self.process.join()
        self._connection.close()

    async def stop(self) -> None:
        if self.process.is_alive():
            self._connection.send(None)
            await asyncio.to_thread(self.process.join, 10)
        if self.process.is_alive():
            self.kill()


def _main(root: Path, upstream: Path, connection: Connection, limits: Limits, rhythm: Rhythm) -> None:
    asyncio.run(_serve(root, upstream, connection, limits, rhythm))


async def _serve(root: Path, upstream: Path, connection: Connection, limits: Limits, rhythm: Rhythm) -> None:
    patience = Patience(first=0.01, longest=0.05)
    async with (
        open_cache(root, ManualClock(), patience=patience, limits=limits, rhythm=rhythm) as cache,
        asyncio.TaskGroup() as tasks,
    ):
        while True:
            try:
                command = await asyncio.to_thread(connection.recv)
            except EOFError:
                return
            if command is None:
                return
            tasks.create_task(_answer(cache, upstream, command, connection))


async def _answer(cache: Cache, upstream: Path, pull: Pull, connection: Connection) -> None:
    clients = (_client(cache, upstream, pull) for _ in range(pull.clients))
    connection.send(list(await asyncio.gather(*clients)))


async def _client(cache: Cache, upstream: Path, pull: Pull) -> str:
    source = FolderUpstream(upstream, pull.blob, pull.origin)
    outcome = await cache.blob(pull.origin, pull.digest, source)
    if isinstance(outcome, Verdict):
        return outcome.reason
    seen = hashlib.sha256()
    async with outcome as reader:
        try:
            async for chunk in reader.chunks(0, pull.stop):
                seen.update(chunk)
        except BlobInterruptedError as error:
            return f"interrupted: {error.reason}"
    return f"sha256:{seen.hexdigest()}"
