"""Connection tests in the database, written at each stage, so that any api process can show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from vreg_api.paging import PageRequest
from vreg_api.store import rows
from vreg_api.store.database import Transaction
from vreg_api.store.tables import CONNECTION_TESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTest:
    """A row. `stages` and `remedy_steps` are JSON values; `upstream_id` is empty for a draft."""

    id: str
    upstream_id: str | None
    upstream_name: str
    host: str
    probe: str
    state: str
    reason: str
    stages: list[dict[str, Any]]
    remedy_steps: list[dict[str, Any]]
    started_by: str
    started_at: datetime
    ended_at: datetime | None


class ConnectionTestStore:
    """Statements on connection tests."""

    async def find(self, tx: Transaction, identifier: str) -> ConnectionTest | None:
        """Return a test."""
        row = await rows.find(tx, CONNECTION_TESTS, identifier)
        return ConnectionTest(**row) if row is not None else None

    async def page(
        self, tx: Transaction, asked: PageRequest, upstream_id: str | None
    ) -> Sequence[ConnectionTest]:
        """Return a page, the latest first, and one more if there is one."""
        statement = sa.select(CONNECTION_TESTS).order_by(CONNECTION_TESTS.c.id.desc()).limit(asked.limit + 1)
        if asked.after is not None:
            statement = statement.where(CONNECTION_TESTS.c.id < asked.after)
        if upstream_id is not None:
            statement = statement.where(CONNECTION_TESTS.c.upstream_id == upstream_id)
        return [ConnectionTest(**row) for row in (await tx.execute(statement)).mappings()]

    async def insert(self, tx: Transaction, test: ConnectionTest) -> None:
        """Add a test."""
        values = {name: getattr(test, name) for name in ConnectionTest.__dataclass_fields__}
        await rows.insert(tx, CONNECTION_TESTS, values)

    async def update_running(self, tx: Transaction, identifier: str, **values: object) -> bool:
        """Write what came of a test; return whether it was still running."""
        statement = (
            sa.update(CONNECTION_TESTS)
            .where(CONNECTION_TESTS.c.id == identifier, CONNECTION_TESTS.c.state == "running")
            .values(**values)
        )
        return (await tx.execute(statement)).rowcount == 1

    async def forget_before(self, tx: Transaction, moment: datetime) -> None:
        """Remove the tests that began before."""
        await tx.execute(sa.delete(CONNECTION_TESTS).where(CONNECTION_TESTS.c.started_at < moment))
