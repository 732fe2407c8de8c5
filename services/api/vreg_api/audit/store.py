"""The archive in the database: links are added at the end, read in order, and pruned from the start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from vreg_api.audit.chain import Filed
from vreg_api.audit.schemas import Filter, GapView, Order
from vreg_api.fields import in_utc
from vreg_api.store.database import Transaction
from vreg_api.store.tables import AUDIT_CHAIN, AUDIT_CONCERNED, AUDIT_EVENTS, AUDIT_REJECTED
from vreg_shared.messages.audit_chain import ChainLink

REJECTED_BYTES: Final = 16 * 1024
"""How much is kept of what was rejected."""
MAX_GAPS: Final = 100
_E: Final = AUDIT_EVENTS.c


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain, and the text of the signed event that tells where it begins, if it was pruned."""

    sequence: int
    hash: str
    signature: str
    anchor: str | None = None


class AuditStore:
    """Statements on the archive."""

    async def head(self, tx: Transaction, *, lock: bool = False) -> Head:
        """Return the chain's end; `lock` keeps every other writer waiting until the transaction ends."""
        statement = sa.select(AUDIT_CHAIN).where(AUDIT_CHAIN.c.id == 1)
        row = (await tx.execute(statement.with_for_update() if lock else statement)).one()
        return Head(row.sequence, row.hash, row.signature, row.anchor)

    async def set_head(self, tx: Transaction, head: Head) -> None:
        """Write the chain's end."""
        values = {
            "sequence": head.sequence,
            "hash": head.hash,
            "signature": head.signature,
            "anchor": head.anchor,
        }
        await tx.execute(sa.update(AUDIT_CHAIN).where(AUDIT_CHAIN.c.id == 1).values(**values))

    async def known(self, tx: Transaction, event_ids: Iterable[str]) -> set[str]:
        """Return those of the ids that are archived."""
        statement = sa.select(_E.event_id).where(_E.event_id.in_(list(event_ids)))
        return set((await tx.execute(statement)).scalars())

    async def add(self, tx: Transaction, link: ChainLink, filed: Filed, now: datetime) -> None:
        """Add a link."""
        event = filed.event
        values = {
            "sequence": link.sequence,
            "event_id": event.id,
            "time": in_utc(event.time),
            "archived_at": now,
            "type": event.type,
            "writer": event.writer.value,
            "source": event.source,
            "source_sequence": filed.source_sequence,
            "actor": filed.actor,
            "outcome": filed.outcome,
            "event": filed.text,
            "previous_hash": link.previous_hash,
            "hash": link.hash,
        }
        await tx.execute(sa.insert(AUDIT_EVENTS).values(**values))
        if filed.concerned:
            rows = [{"key": key, "sequence": link.sequence} for key in filed.concerned]
            await tx.execute(sa.insert(AUDIT_CONCERNED), rows)

    async def last_of_source(self, tx: Transaction, source: str) -> int | None:
        """Return the highest number a writer gave an event of those that are here."""
        statement = sa.select(sa.func.max(_E.source_sequence)).where(_E.source == source)
        highest: int | None = (await tx.execute(statement)).scalar_one()
        return highest

    async def reject(self, tx: Transaction, sha256: str, values: dict[str, Any]) -> bool:
        """Keep what is no event, once; return whether it is news."""
        found = await tx.execute(sa.select(AUDIT_REJECTED.c.sha256).where(AUDIT_REJECTED.c.sha256 == sha256))
        if found.first() is not None:
            return False
        await tx.execute(sa.insert(AUDIT_REJECTED).values(sha256=sha256, **values))
        return True

    async def links(self, tx: Transaction, after: int, limit: int) -> list[ChainLink]:
        """Return links in their order."""
        statement = sa.select(AUDIT_EVENTS).where(_E.sequence > after).order_by(_E.sequence).limit(limit)
        return [_link(row) for row in (await tx.execute(statement)).mappings()]

    async def find(self, tx: Transaction, event_id: str) -> ChainLink | None:
        """Return the link of an event, if it is archived."""
        statement = sa.select(AUDIT_EVENTS).where(_E.event_id == event_id)
        row = (await tx.execute(statement)).mappings().one_or_none()
        return _link(row) if row is not None else None

    async def page(
        self, tx: Transaction, wanted: Filter, order: Order, after: int | None, limit: int
    ) -> Sequence[ChainLink]:
        """Return links that a filter lets through, from a sequence on."""
        statement = sa.select(AUDIT_EVENTS).where(*_conditions(wanted)).limit(limit)
        statement = statement.order_by(_E.sequence if order == "oldest" else _E.sequence.desc())
        if after is not None:
            statement = statement.where(_E.sequence > after if order == "oldest" else _E.sequence < after)
        return [_link(row) for row in (await tx.execute(statement)).mappings()]

    async def counts(self, tx: Transaction) -> tuple[int, int]:
        """Return how many events there are, and how many were rejected."""
        events = (await tx.execute(sa.select(sa.func.count()).select_from(AUDIT_EVENTS))).scalar_one()
        rejected = (await tx.execute(sa.select(sa.func.count()).select_from(AUDIT_REJECTED))).scalar_one()
        return int(events), int(rejected)

    async def gaps(self, tx: Transaction) -> tuple[GapView, ...]:
        """Return where a writer's numbers jump."""
        before = sa.func.lag(_E.source_sequence).over(partition_by=_E.source, order_by=_E.source_sequence)
        numbered = (
            sa.select(_E.source, _E.source_sequence.label("number"), before.label("before"))
            .where(_E.source_sequence.is_not(None))
            .subquery()
        )
        statement = (
            sa.select(numbered)
            .where(numbered.c.number > numbered.c.before + 1)
            .order_by(numbered.c.source, numbered.c.number)
            .limit(MAX_GAPS)
        )
        rows = await tx.execute(statement)
        return tuple(GapView(source=row.source, after=row.before, before=row.number) for row in rows)

    async def first_to_keep(self, tx: Transaction, archived_since: datetime) -> int | None:
        """Return the first link that was archived since; None if there is none."""
        statement = sa.select(sa.func.min(_E.sequence)).where(_E.archived_at >= archived_since)
        sequence: int | None = (await tx.execute(statement)).scalar_one()
        return sequence

    async def prune(self, tx: Transaction, until: int) -> int:
        """Let go of links up to a sequence; return how many went."""
        await tx.execute(sa.delete(AUDIT_CONCERNED).where(AUDIT_CONCERNED.c.sequence <= until))
        return (await tx.execute(sa.delete(AUDIT_EVENTS).where(_E.sequence <= until))).rowcount


def _conditions(wanted: Filter) -> list[sa.ColumnElement[bool]]:
    plain = {_E.type: wanted.type, _E.writer: wanted.writer, _E.outcome: wanted.outcome}
    conditions: list[sa.ColumnElement[bool]] = [column == value for column, value in plain.items() if value]
    concerned = {"identity": wanted.identity, "upstream": wanted.upstream, "registry": wanted.registry}
    conditions += [_is_about(f"{noun}.{value}") for noun, value in concerned.items() if value]
    if wanted.actor:
        conditions.append(sa.or_(_E.actor == wanted.actor, _is_about(f"actor.{wanted.actor}")))
    if wanted.since:
        conditions.append(_E.time >= wanted.since)
    if wanted.until:
        conditions.append(_E.time < wanted.until)
    return conditions


def _is_about(key: str) -> sa.ColumnElement[bool]:
    return _E.sequence.in_(sa.select(AUDIT_CONCERNED.c.sequence).where(AUDIT_CONCERNED.c.key == key))


def _link(row: sa.RowMapping) -> ChainLink:
    return ChainLink(row["sequence"], row["previous_hash"], row["hash"], row["event"])
