"""From the bus and the outbox into the archive: each event once, chained in the order of its coming."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from vreg_api.audit.chain import Filed, filed, head_signature
from vreg_api.audit.store import REJECTED_BYTES, AuditStore, Head
from vreg_api.store import bookmarks, outbox
from vreg_api.store.database import Database, Transaction
from vreg_api.store.outbox import Outbox, Waiting
from vreg_shared.bus import Bookmark, Stored
from vreg_shared.clock import Clock
from vreg_shared.errors import VregError
from vreg_shared.messages import audit
from vreg_shared.messages.audit import AuditEventRejectedError
from vreg_shared.messages.audit_chain import ChainLink, Keys, link_hash
from vreg_shared.signing import SigningKey

_log = structlog.get_logger(__name__)


class Growth:
    """Tells any number of readers that something was archived by this process."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def next(self) -> asyncio.Event:
        """Return what is set when something is archived after this call."""
        return self._next

    def grew(self) -> None:
        """Let all who wait go on."""
        grown, self._next = self._next, asyncio.Event()
        grown.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Adds events. Any number of api processes may: the chain's end is locked while one of them does."""

    database: Database
    store: AuditStore
    keys: Keys
    signing_key: SigningKey
    clock: Clock
    growth: Growth = field(default_factory=Growth)

    async def add(self, messages: Sequence[Stored]) -> None:
        """Archive what the stream brought and move the bookmark, in one; raise DatabaseUnavailableError."""
        async with self.database.write(is_news=False) as tx:
            head = await self.store.head(tx, lock=True)
            for message in messages:
                head = await self._take(tx, head, message)
            await self.store.set_head(tx, head)
            await bookmarks.put(tx, audit.STREAM, messages[-1].bookmark)
        self.growth.grew()

    async def add_own(self, tx: Transaction, text: str) -> None:
        """Archive an event of this api's own outbox, within the transaction that empties it."""
        head = await self.store.head(tx, lock=True)
        await self.store.set_head(tx, await self._chained(tx, head, filed(text, self.keys)))

    async def bookmark(self) -> Bookmark | None:
        """Return how far the stream was read; raise DatabaseUnavailableError."""
        async with self.database.read() as tx:
            return await bookmarks.find(tx, audit.STREAM)

    async def set_aside(self, message: Stored, reason: str) -> None:
        """Keep apart what the archive cannot take; raise DatabaseUnavailableError."""
        async with self.database.write(is_news=False) as tx:
            await self.reject(tx, message, reason)
            await bookmarks.put(tx, audit.STREAM, message.bookmark)

    async def _take(self, tx: Transaction, head: Head, message: Stored) -> Head:
        try:
            text = message.payload.decode()
            event = filed(text, self.keys, message.subject)
        except (AuditEventRejectedError, ValueError, OverflowError) as error:
            await self.reject(
                tx, message, str(error) if isinstance(error, VregError) else type(error).__name__
            )
            return head
        return await self._chained(tx, head, event)

    async def _chained(self, tx: Transaction, head: Head, event: Filed) -> Head:
        """Add an event after `head` unless it is archived, and return what is the head then."""
        if await self.store.known(tx, [event.event.id]):
            return head
        await self._look_for_gap(tx, event)
        sequence = head.sequence + 1
        link = ChainLink(sequence, head.hash, link_hash(sequence, head.hash, event.text), event.text)
        await self.store.add(tx, link, event, self.clock.now())
        signature = head_signature(sequence, link.hash, self.signing_key)
        return Head(sequence, link.hash, signature, head.anchor)

    async def _look_for_gap(self, tx: Transaction, event: Filed) -> None:
        if event.source_sequence is None:
            return
        last = await self.store.last_of_source(tx, event.event.source)
        if last is not None and event.source_sequence > last + 1:
            _log.error(
                "audit_gap",
                source=event.event.source,
                after=last,
                before=event.source_sequence,
                remedy="if GET /api/v1/audit-chain goes on showing it, look into the writer's journal",
            )

    async def reject(self, tx: Transaction, message: Stored, reason: str) -> None:
        """Keep apart what is no event of its writer's, and raise the alarm once."""
        payload = message.payload[:REJECTED_BYTES].decode("utf-8", "backslashreplace").replace("\0", "\\0")
        values = {
            "received_at": self.clock.now(),
            "subject": message.subject[:255],
            "reason": reason[:500],
            "payload": payload,
        }
        if await self.store.reject(tx, hashlib.sha256(message.payload).hexdigest(), values):
            _log.critical("audit_event_rejected", bus_subject=message.subject, reason=reason)


class ArchivedOutbox:
    """The outbox as the relay sees it: what leaves it is in the archive, whatever becomes of the bus."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database = database
        self._archive = archive
        self._outbox = Outbox(database)

    async def waiting(self, after: int, limit: int) -> list[Waiting]:
        """Return the oldest changes above `after`; raise DatabaseUnavailableError."""
        return await self._outbox.waiting(after, limit)

    async def remove(self, waiting: Waiting) -> None:
        """Archive a change's event and forget the change; raise DatabaseUnavailableError."""
        async with self._database.write(is_news=False) as tx:
            try:
                await self._archive.add_own(tx, waiting.event)
            except AuditEventRejectedError as error:
                message = Stored(0, "outbox", waiting.event.encode())
                await self._archive.reject(tx, message, str(error))
            await outbox.forget(tx, waiting)
        self._archive.growth.grew()
