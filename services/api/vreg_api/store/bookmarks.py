"""How far a stream was read, changed in the transaction that keeps what was read."""

import sqlalchemy as sa

from vreg_api.store.database import Transaction
from vreg_api.store.tables import STREAM_BOOKMARKS
from vreg_shared.bus import Bookmark


async def find(tx: Transaction, stream: str, *, lock: bool = False) -> Bookmark | None:
    """Return the bookmark of a stream, if any was set; `lock` keeps it until the transaction ends."""
    statement = sa.select(STREAM_BOOKMARKS).where(STREAM_BOOKMARKS.c.stream == stream)
    statement = statement.with_for_update() if lock else statement
    row = (await tx.execute(statement)).one_or_none()
    return Bookmark(row.sequence, row.sha256) if row is not None else None


async def put(tx: Transaction, stream: str, bookmark: Bookmark) -> None:
    """Set the bookmark of a stream."""
    values = {"sequence": bookmark.sequence, "sha256": bookmark.sha256}
    changed = await tx.execute(
        sa.update(STREAM_BOOKMARKS).where(STREAM_BOOKMARKS.c.stream == stream).values(**values)
    )
    if not changed.rowcount:
        await tx.execute(sa.insert(STREAM_BOOKMARKS).values(stream=stream, **values))
