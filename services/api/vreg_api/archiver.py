"""Reading a stream into the database for ever: outages are waited out, and no message stops what follows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from vreg_api.store.database import ConflictError, DatabaseUnavailableError
from vreg_shared.bus import Bookmark, BusPermissionError, Stored
from vreg_shared.bus.backoff import delays

REFUSED_SECONDS: Final = 30.0
_log = structlog.get_logger(__name__)


class ReadsStreams(Protocol):
    """The part of the bus that is needed."""

    async def read(
        self,
        stream: str,
        bookmark: Callable[[], Awaitable[Bookmark | None]],
        on_stored: Callable[[Sequence[Stored]], Awaitable[None]],
    ) -> None:
        """Hand over all that a stream holds after a bookmark, for ever; raise BusPermissionError."""
        ...


class Archive(Protocol):
    """Where the messages go, with the bookmark beside them."""

    async def bookmark(self) -> Bookmark | None:
        """Return how far the stream was read; raise DatabaseUnavailableError."""
        ...

    async def add(self, messages: Sequence[Stored]) -> None:
        """Keep messages and move the bookmark, in one; raise DatabaseUnavailableError or ConflictError."""
        ...

    async def set_aside(self, message: Stored, reason: str) -> None:
        """Keep a message apart that `add` cannot take, and move the bookmark; raise the same."""
        ...


class Archiver:
    """Reads one stream. Any number of processes may: whatever comes twice is kept once."""

    def __init__(self, bus: ReadsStreams, stream: str, archive: Archive) -> None:
        self._bus = bus
        self._stream = stream
        self._archive = archive

    async def run(self) -> None:
        """Archive until cancelled."""
        while True:
            try:
                await self._bus.read(self._stream, self._bookmark, self._take)
            except BusPermissionError as error:
                _log.error("bus_refuses", stream=self._stream, reason=str(error))
            await asyncio.sleep(REFUSED_SECONDS)

    async def _bookmark(self) -> Bookmark | None:
        found: list[Bookmark | None] = []

        async def find() -> None:
            found.append(await self._archive.bookmark())

        await self._until_done(find)
        return found[0]

    async def _take(self, messages: Sequence[Stored]) -> None:
        """Archive a batch; what the database cannot take in it is found one by one and set aside."""
        try:
            await self._until_done(lambda: self._archive.add(messages))
        except Exception as error:  # noqa: BLE001 - one message must not stop all that follow
            reason = type(error).__name__
            if len(messages) > 1:
                for message in messages:
                    await self._take([message])
            else:
                _log.error("message_not_archived", stream=self._stream, reason=reason)
                await self._until_done(lambda: self._archive.set_aside(messages[0], reason))

    async def _until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        for seconds in delays(0.5, 15.0):
            try:
                await work()
            except (DatabaseUnavailableError, ConflictError) as error:
                _log.warning("archive_waits", stream=self._stream, reason=str(error))
                await asyncio.sleep(seconds)
            else:
                return
