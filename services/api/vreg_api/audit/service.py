"""What can be asked of the archive: a page, one event, all of them as a stream, and what comes next."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from vreg_api.audit.archive import Archive
from vreg_api.audit.schemas import AuditChainView, Filter, Order
from vreg_api.audit.store import AuditStore, Head
from vreg_api.audit.verification import Verification
from vreg_api.ledger import Ledger
from vreg_api.problems import not_found
from vreg_api.store.database import Database, DatabaseUnavailableError
from vreg_shared.clock import Clock
from vreg_shared.messages.audit_chain import ChainLink
from vreg_shared.messages.audit_facts import AuditPruned

NOUN: Final = "audit event"
BATCH: Final = 500
LOOK_SECONDS: Final = 2.0
"""How soon we notice what another api process archived."""
PRUNE_SECONDS: Final = 3600.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvents:
    """Reads the archive and lets go of what is too old; methods raise DatabaseUnavailableError."""

    database: Database
    store: AuditStore
    archive: Archive
    verification: Verification
    ledger: Ledger
    clock: Clock
    retention: timedelta | None

    async def read(self, event_id: str) -> ChainLink:
        """Return an event; raise ProblemError."""
        async with self.database.read() as tx:
            link = await self.store.find(tx, event_id)
        if link is None:
            raise not_found(NOUN, event_id)
        return link

    async def page(self, wanted: Filter, order: Order, after: int | None, limit: int) -> Sequence[ChainLink]:
        """Return `limit` events, from a sequence on."""
        async with self.database.read() as tx:
            return await self.store.page(tx, wanted, order, after, limit)

    async def every(self, wanted: Filter, after: int = 0) -> AsyncIterator[ChainLink]:
        """Yield every event that a filter lets through, oldest first, a few in memory at a time."""
        while links := await self.page(wanted, "oldest", after, BATCH):
            for link in links:
                yield link
            after = links[-1].sequence

    async def tail(self, wanted: Filter, after: int | None) -> AsyncIterator[ChainLink | None]:
        """Yield what is archived after a sequence (None: from now on), for ever; None when nothing came."""
        if after is None:
            async with self.database.read() as tx:
                after = (await self.store.head(tx)).sequence
        while True:
            grown = self.archive.growth.next()
            async with self.database.read() as tx:
                head = await self.store.head(tx)  # before the page, which then has all up to it
                links = await self.store.page(tx, wanted, "oldest", after, BATCH)
            for link in links:
                yield link
                after = link.sequence
            if not links:
                after = max(after, head.sequence)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await grown.wait()
                yield None

    async def verified(self, *, whole: bool) -> AuditChainView:
        """Return what is wrong with the archive."""
        return await self.verification.report(whole=whole)

    async def prune(self) -> int:
        """Let go of what is older than the retention; return how many events went."""
        if self.retention is None:
            return 0
        async with self.database.write() as tx:
            head = await self.store.head(tx, lock=True)
            kept = await self.store.first_to_keep(tx, self.clock.now() - self.retention)
            until = (kept or head.sequence + 1) - 1
            last = await self.store.links(tx, until - 1, 1)
            if not last or last[0].sequence != until:
                return 0
            events = await self.store.prune(tx, until)
            facts = AuditPruned(until_sequence=until, until_hash=last[0].hash, events=events)
            anchor = await self.ledger.note(tx, "archive", facts)
            await self.store.set_head(tx, Head(head.sequence, head.hash, head.signature, anchor.line()))
        _log.info("audit_pruned", until_sequence=until, events=events)
        return events

    async def prune_for_ever(self) -> None:
        """Prune now and then until cancelled."""
        while True:
            try:
                await self.prune()
            except DatabaseUnavailableError as error:
                _log.warning("audit_not_pruned", reason=str(error))
            await asyncio.sleep(PRUNE_SECONDS)
