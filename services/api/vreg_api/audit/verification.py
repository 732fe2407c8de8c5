"""Verifying the archive: the chain from its anchor to its signed head, and every writer's signature.

What was verified once is gone on from, so that looking often costs little; `whole` begins again.
"""

import asyncio
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from vreg_api.audit.chain import is_our_head
from vreg_api.audit.schemas import AuditChainView
from vreg_api.audit.store import AuditStore, Head
from vreg_api.store.database import Database
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import AuditEventRejectedError, parse, verify
from vreg_shared.messages.audit_chain import START, ChainLink, Keys, Verified, flaws
from vreg_shared.messages.audit_facts import AuditPruned

BATCH: Final = 500
MAX_FLAWS: Final = 100


@dataclass(slots=True, kw_only=True)
class Verification:
    """Verifies on demand; it remembers how far the chain was sound."""

    database: Database
    store: AuditStore
    keys: Keys
    sound: Verified = field(default_factory=Verified)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One at a time: it is a processor's work."""

    async def report(self, *, whole: bool) -> AuditChainView:
        """Return what is wrong; raise DatabaseUnavailableError. Only a sound chain is remembered."""
        async with self.turn:
            return await self._report(whole=whole)

    async def _report(self, *, whole: bool) -> AuditChainView:
        async with self.database.read() as tx:
            head = await self.store.head(tx)
            length, rejected = await self.store.counts(tx)
            gaps = await self.store.gaps(tx)
        found, begin = self._beginning(head)
        at = _copy(begin if whole or self.sound.sequence < begin.sequence else self.sound)
        first = at.sequence + 1
        found += await self._walk(at, head)
        found += self._of_head(at, head)
        if not found:
            self.sound = at
        return AuditChainView(
            is_intact=not found and not gaps,
            length=length,
            head_sequence=head.sequence,
            head_hash=head.hash,
            pruned_until=begin.sequence,
            verified_from=first,
            verified_until=at.sequence,
            flaws=tuple(found[:MAX_FLAWS]),
            gaps=gaps,
            rejected=rejected,
        )

    async def _walk(self, at: Verified, head: Head) -> list[str]:
        """Follow the chain as far as it went when the head was read."""
        found: list[str] = []
        while at.sequence < head.sequence and len(found) < MAX_FLAWS:
            async with self.database.read() as tx:
                links = await self.store.links(tx, at.sequence, min(BATCH, head.sequence - at.sequence))
            links = [link for link in links if link.sequence <= head.sequence]
            if not links:
                break
            found += await asyncio.to_thread(self._flaws, links, at)
        return found

    def _flaws(self, links: list[ChainLink], at: Verified) -> list[str]:
        return list(islice(flaws(links, self.keys, at), MAX_FLAWS))

    def _beginning(self, head: Head) -> tuple[list[str], Verified]:
        """Return where the chain begins: at its first event, or after what the signed anchor says is gone."""
        if head.anchor is None:
            return [], Verified(0, START)
        try:
            event = parse(head.anchor)
            verify(event, self.keys[Service.API])
            pruned = AuditPruned.model_validate(event.data)
        except (AuditEventRejectedError, ValueError) as error:
            return [f"the anchor of what was pruned was altered: {error}"], Verified(0, START)
        return [], Verified(pruned.until_sequence, pruned.until_hash)

    def _of_head(self, at: Verified, head: Head) -> list[str]:
        if head.sequence == 0:
            return []
        if not is_our_head(head.sequence, head.hash, head.signature, self.keys[Service.API]):
            return [f"the head of the chain, event {head.sequence}, is not signed by the api"]
        if at.sequence < head.sequence:
            return [f"event {at.sequence + 1} is missing, and all after it up to {head.sequence}"]
        if at.hash != head.hash:
            return [f"event {head.sequence} is not the one that the api signed as the head of the chain"]
        return []


def _copy(verified: Verified) -> Verified:
    return replace(verified, writers=dict(verified.writers))
