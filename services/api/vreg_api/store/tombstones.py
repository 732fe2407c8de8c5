"""What was deleted, kept for ever, since only a signed tombstone makes readers forget."""

from datetime import datetime

import sqlalchemy as sa

from vreg_api.store.database import Transaction
from vreg_api.store.tables import TOMBSTONES


async def add(tx: Transaction, key: str, version: int, deleted_at: datetime) -> None:
    """Remember a deletion, in the transaction that makes it."""
    await tx.execute(sa.insert(TOMBSTONES).values(key=key, version=version, deleted_at=deleted_at))


async def version(tx: Transaction, key: str) -> int | None:
    """Return the tombstone's version, or None if the key was not deleted."""
    found: int | None = (
        await tx.execute(sa.select(TOMBSTONES.c.version).where(TOMBSTONES.c.key == key))
    ).scalar_one_or_none()
    return found


async def keys(tx: Transaction) -> list[str]:
    """Return every deleted key."""
    return list((await tx.execute(sa.select(TOMBSTONES.c.key).order_by(TOMBSTONES.c.key))).scalars())
