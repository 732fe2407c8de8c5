"""Carries the journal to the bus in the background, in order, and goes on where it was after any outage.

A stream that was made anew has lost what it held: everything the journal still has is published again, and
whoever has it already knows it by its id.
"""

import asyncio
import json
from pathlib import Path
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.messages.audit import STREAM, AuditEvent
from vreg_token_broker.journal import Position

BATCH: Final = 100
RETRY_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class Publishes(Protocol):
    """The part of the bus that is needed."""

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Store a message once for each id; raise a BusError."""
        ...

    async def stream_birth(self, stream: str) -> str:
        """Return when a stream was made; raise a BusError."""
        ...


class Journalled(Protocol):
    """The part of the ledger that is needed."""

    async def read(self, after: Position, limit: int) -> list[tuple[Position, bytes]]:
        """Return durable events after a position."""
        ...

    async def forget(self, published: Position) -> None:
        """Let go of old events that were published."""
        ...

    async def wait_written(self) -> None:
        """Return once something was written."""
        ...


class Cursor:
    """How far the journal was published, kept in a file; losing it costs duplicates under the same ids."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Position:
        """Return the position, or the beginning when there is none to be read."""
        try:
            kept = json.loads(self._path.read_text())
            return Position(int(kept["file"]), int(kept["offset"]))
        except (OSError, ValueError, KeyError, TypeError):
            return Position(0, 0)

    def load_stream(self) -> str:
        """Return which stream it was published to, by its birth; nothing when that is not known."""
        try:
            return str(json.loads(self._path.read_text())["stream"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def store(self, position: Position, stream: str = "") -> None:
        """Keep a position in a stream; raise OSError."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"file": position.file, "offset": position.offset, "stream": stream}))
        fresh.replace(self._path)


class AuditPublisher:
    """Publishes each event under its own id, so that an event sent twice is stored once."""

    def __init__(self, ledger: Journalled, bus: Publishes, cursor: Cursor) -> None:
        self._ledger = ledger
        self._bus = bus
        self._cursor = cursor
        self._position = cursor.load()
        self._stream = self._birth = cursor.load_stream()
        self._is_new = asyncio.Event()

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            if not await self.publish_some():
                await self._wait_news()

    async def reconnected(self) -> None:
        """See whether the stream is the one we published to, and begin again if it is not."""
        self._birth = await self._bus.stream_birth(STREAM)
        if self._birth != self._stream:
            _log.info("audit_published_again", stream_made=self._birth)
            self._is_new.set()

    async def _wait_news(self) -> None:
        """Return once something was written, or the stream is a new one."""
        waits = [asyncio.create_task(each) for each in (self._ledger.wait_written(), self._is_new.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def publish_some(self) -> int:
        """Publish what is there, a batch at most; return how much that was. Waits while the bus is down."""
        if self._is_new.is_set():
            self._is_new.clear()
            self._position, self._stream = Position(0, 0), self._birth
        lines = await self._ledger.read(self._position, BATCH)
        for position, line in lines:
            await self._publish(line)
            if self._is_new.is_set():
                return len(lines)
            self._position = position
        if lines:
            await self._keep_cursor()
        return len(lines)

    async def _publish(self, line: bytes) -> None:
        try:
            event = AuditEvent.model_validate_json(line)
        except ValidationError:
            _log.error(
                "journal_line_unreadable", remedy="the file was altered; it is kept for who looks into it"
            )
            return
        while True:
            try:
                await self._bus.publish(event.bus_subject, line, message_id=event.id)
            except BusUnavailableError as error:
                _log.info("audit_waits_for_the_bus", reason=str(error))
            except BusError as error:
                _log.error("audit_refused_by_the_bus", reason=str(error))
            else:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def _keep_cursor(self) -> None:
        try:
            await asyncio.to_thread(self._cursor.store, self._position, self._stream)
            await self._ledger.forget(self._position)
        except OSError as error:
            _log.warning("audit_cursor_not_kept", reason=error.strerror)
