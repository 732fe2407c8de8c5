"""What the rooms' stores have in common: rows found, listed, and changed only if nobody else did."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from vreg_api.paging import PageRequest
from vreg_api.store.database import Transaction

Row = sa.RowMapping
Values = dict[str, Any]


async def find(tx: Transaction, table: sa.Table, identifier: str, *, lock: bool = False) -> Row | None:
    """Return a row; `lock` keeps others from changing it until the transaction ends."""
    statement = sa.select(table).where(table.c.id == identifier)
    if lock:
        statement = statement.with_for_update()
    return (await tx.execute(statement)).mappings().one_or_none()


async def page(
    tx: Transaction, table: sa.Table, asked: PageRequest, within: sa.ColumnElement[bool] | None = None
) -> Sequence[Row]:
    """Return rows in the order of their making, one more than asked for if there are more.

    `asked.name` finds rows whose name contains it, in whatever case; `within` leaves only rows that meet it.
    """
    statement = sa.select(table).order_by(table.c.id).limit(asked.limit + 1)
    if within is not None:
        statement = statement.where(within)
    if asked.after is not None:
        statement = statement.where(table.c.id > asked.after)
    if asked.name:
        column = table.c.name_key if "name_key" in table.c else table.c.slug
        statement = statement.where(column.contains(asked.name.casefold(), autoescape=True))
    return (await tx.execute(statement)).mappings().all()


async def insert(tx: Transaction, table: sa.Table, values: Values) -> None:
    """Add a row."""
    await tx.execute(sa.insert(table).values(**values))


async def update(tx: Transaction, table: sa.Table, values: Values, *, old_version: int) -> bool:
    """Write the row of `values["id"]` if its version is still `old_version`; return whether it was."""
    statement = (
        sa.update(table)
        .where(table.c.id == values["id"], table.c.version == old_version)
        .values(**{name: value for name, value in values.items() if name != "id"})
    )
    return (await tx.execute(statement)).rowcount == 1


async def delete(tx: Transaction, table: sa.Table, identifier: str) -> None:
    """Remove a row."""
    await tx.execute(sa.delete(table).where(table.c.id == identifier))


async def id_of_name(tx: Transaction, column: sa.Column[Any], value: str) -> str | None:
    """Return the id of the row whose `column` has this value, if any."""
    table = column.table
    identifier: str | None = (
        await tx.execute(sa.select(table.c.id).where(column == value))
    ).scalar_one_or_none()
    return identifier


async def ids(tx: Transaction, table: sa.Table) -> list[str]:
    """Return every id."""
    return list((await tx.execute(sa.select(table.c.id).order_by(table.c.id))).scalars())
