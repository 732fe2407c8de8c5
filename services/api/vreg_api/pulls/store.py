"""Pulls in the database: added in batches, listed newest first, and let go of when they are old."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from vreg_api.pulls.schemas import PullFilter, PullView
from vreg_api.store.database import Transaction
from vreg_api.store.tables import PULLS
from vreg_shared.messages.pulls import PullBatch


class PullStore:
    """Statements on pulls."""

    async def add(self, tx: Transaction, batch: PullBatch) -> None:
        """Add a batch, unless it is there."""
        found = await tx.execute(sa.select(PULLS.c.id).where(PULLS.c.batch == batch.id).limit(1))
        if found.first() is None and batch.pulls:
            rows = [{**pull.model_dump(), "proxy": batch.proxy, "batch": batch.id} for pull in batch.pulls]
            await tx.execute(sa.insert(PULLS), rows)

    async def page(
        self, tx: Transaction, wanted: PullFilter, before: int | None, limit: int
    ) -> Sequence[PullView]:
        """Return pulls, newest first."""
        statement = sa.select(PULLS).where(*_conditions(wanted)).order_by(PULLS.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(PULLS.c.id < before)
        return [PullView.model_validate(dict(row)) for row in (await tx.execute(statement)).mappings()]

    async def prune(self, tx: Transaction, before: datetime) -> int:
        """Let go of what is older; return how many rows went."""
        return (await tx.execute(sa.delete(PULLS).where(PULLS.c.time < before))).rowcount


def _conditions(wanted: PullFilter) -> list[sa.ColumnElement[bool]]:
    plain = {
        PULLS.c.access_id: wanted.access_id,
        PULLS.c.registry_id: wanted.registry,
        PULLS.c.upstream_id: wanted.upstream,
        PULLS.c.repository: wanted.repository,
        PULLS.c.digest: wanted.digest,
    }
    conditions: list[sa.ColumnElement[bool]] = [column == value for column, value in plain.items() if value]
    if wanted.since:
        conditions.append(PULLS.c.time >= wanted.since)
    if wanted.until:
        conditions.append(PULLS.c.time < wanted.until)
    return conditions
