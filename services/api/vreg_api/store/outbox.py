"""Changes that are committed and that the bus has still to hear of."""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from vreg_api.store.database import Database, Transaction
from vreg_api.store.tables import OUTBOX

NO_RECORD: Final = ""
"""The key of an event that is not about a record."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change that waits: which record it touched, and the audit event that tells of it."""

    id: int
    key: str
    event: str


async def add(tx: Transaction, key: str, event: str) -> None:
    """Let a change wait, in the transaction that makes it."""
    await tx.execute(sa.insert(OUTBOX).values(key=key, event=event))


async def forget(tx: Transaction, waiting: Waiting) -> None:
    """Take a change out."""
    await tx.execute(sa.delete(OUTBOX).where(OUTBOX.c.id == waiting.id))


class Outbox:
    """The relay's side of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, after: int, limit: int) -> list[Waiting]:
        """Return the oldest changes above `after`; raise DatabaseUnavailableError."""
        statement = sa.select(OUTBOX).where(OUTBOX.c.id > after).order_by(OUTBOX.c.id).limit(limit)
        async with self._database.read() as tx:
            return [Waiting(row.id, row.key, row.event) for row in await tx.execute(statement)]

    async def remove(self, waiting: Waiting) -> None:
        """Forget a change the bus has acknowledged; raise DatabaseUnavailableError."""
        async with self._database.write(is_news=False) as tx:
            await forget(tx, waiting)

    async def count(self) -> int:
        """Return how many changes wait; raise DatabaseUnavailableError."""
        async with self._database.read() as tx:
            return int((await tx.execute(sa.select(sa.func.count()).select_from(OUTBOX))).scalar_one())
