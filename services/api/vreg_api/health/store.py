"""How health was: each change once, whichever api process hears of it first; and who has seen it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from vreg_api.store.database import Transaction
from vreg_api.store.tables import HEALTH_ACKNOWLEDGEMENTS, HEALTH_CHANGES


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """A row."""

    upstream_id: str
    since: datetime
    state: str
    reason: str
    detail: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """A row: of the state that began at `since`."""

    upstream_id: str
    since: datetime
    by: str
    at: datetime
    note: str


class HealthStore:
    """Statements on health."""

    async def add_change(self, tx: Transaction, change: HealthChange) -> None:
        """Add a change, unless it is known."""
        values = {name: getattr(change, name) for name in HealthChange.__dataclass_fields__}
        insert = sqlite.insert if tx.dialect.name == "sqlite" else postgresql.insert
        await tx.execute(insert(HEALTH_CHANGES).values(**values).on_conflict_do_nothing())

    async def changes(self, tx: Transaction, upstream_id: str, limit: int) -> Sequence[HealthChange]:
        """Return an upstream's latest changes, the latest first."""
        statement = (
            sa.select(HEALTH_CHANGES)
            .where(HEALTH_CHANGES.c.upstream_id == upstream_id)
            .order_by(HEALTH_CHANGES.c.since.desc())
            .limit(limit)
        )
        return [HealthChange(**row) for row in (await tx.execute(statement)).mappings()]

    async def forget_before(self, tx: Transaction, moment: datetime) -> None:
        """Remove what is older."""
        await tx.execute(sa.delete(HEALTH_CHANGES).where(HEALTH_CHANGES.c.since < moment))

    async def acknowledge(self, tx: Transaction, given: Acknowledgement) -> None:
        """Keep the latest of an upstream."""
        values = {name: getattr(given, name) for name in Acknowledgement.__dataclass_fields__}
        table = HEALTH_ACKNOWLEDGEMENTS
        await tx.execute(sa.delete(table).where(table.c.upstream_id == given.upstream_id))
        await tx.execute(sa.insert(table).values(**values))

    async def acknowledgements(self, tx: Transaction) -> Mapping[str, Acknowledgement]:
        """Return all, by upstream."""
        found = (await tx.execute(sa.select(HEALTH_ACKNOWLEDGEMENTS))).mappings()
        return {row["upstream_id"]: Acknowledgement(**row) for row in found}
