"""Access tokens in the database: of the secret, only its hash."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from vreg_api.fields import name_key
from vreg_api.paging import PageRequest
from vreg_api.permissions import Limits
from vreg_api.store import rows
from vreg_api.store.database import Database, Transaction
from vreg_api.store.tables import ACCESS_REGISTRIES, ACCESS_TOKENS
from vreg_shared.messages.access import AccessRecord, Role, prefix_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """A row. `registry_ids` None means every registry."""

    id: str
    name: str
    secret_sha256: str
    role: Role
    registry_ids: tuple[str, ...] | None
    expires_at: datetime | None
    previous_sha256: str | None
    previous_until: datetime | None
    last_used_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def prefix(self) -> str:
        """What the token's text begins with, to know it by."""
        return prefix_of(self.id)

    @property
    def limits(self) -> Limits:
        """The registries it is good for, None for all."""
        return None if self.registry_ids is None else frozenset(self.registry_ids)

    def record(self) -> AccessRecord:
        """Return what proxies are told."""
        return AccessRecord(**{name: getattr(self, name) for name in AccessRecord.model_fields})


class AccessStore:
    """Statements on access tokens."""

    async def find(self, tx: Transaction, identifier: str, *, lock: bool = False) -> AccessToken | None:
        """Return a token; `lock` keeps it as it is until the transaction ends."""
        row = await rows.find(tx, ACCESS_TOKENS, identifier, lock=lock)
        # As many statements for an unknown id as for a known one: time must not tell them apart.
        found = await _with_registries(tx, [row] if row is not None else [])
        return found[0] if found else None

    async def page(self, tx: Transaction, asked: PageRequest, limits: Limits) -> Sequence[AccessToken]:
        """Return a page of the tokens that are good for nothing beyond `limits`, and one more."""
        within = _within(limits) if limits is not None else None
        return await _with_registries(tx, await rows.page(tx, ACCESS_TOKENS, asked, within))

    async def limited_to(self, tx: Transaction, registry_id: str) -> Sequence[tuple[str, str]]:
        """Return id and name of the tokens limited to a registry, perhaps among others."""
        statement = (
            sa.select(ACCESS_TOKENS.c.id, ACCESS_TOKENS.c.name)
            .join(ACCESS_REGISTRIES, ACCESS_REGISTRIES.c.access_id == ACCESS_TOKENS.c.id)
            .where(ACCESS_REGISTRIES.c.registry_id == registry_id)
            .order_by(ACCESS_TOKENS.c.id)
        )
        return [(row.id, row.name) for row in await tx.execute(statement)]

    async def lock_admins(self, tx: Transaction, now: datetime) -> set[str]:
        """Return the ids of the live admin tokens without limits, kept so until the transaction ends."""
        statement = (
            sa.select(ACCESS_TOKENS.c.id)
            .where(ACCESS_TOKENS.c.role == "admin", ACCESS_TOKENS.c.is_limited.is_(False))
            .where(sa.or_(ACCESS_TOKENS.c.expires_at.is_(None), ACCESS_TOKENS.c.expires_at > now))
            .order_by(ACCESS_TOKENS.c.id)
            .with_for_update()
        )
        return set((await tx.execute(statement)).scalars())

    async def is_empty(self, tx: Transaction) -> bool:
        """Return whether there is no token, and let nobody else add one until the transaction ends."""
        if tx.dialect.name == "postgresql":
            await tx.execute(sa.text("LOCK TABLE access_tokens IN EXCLUSIVE MODE"))
        return (await tx.execute(sa.select(ACCESS_TOKENS.c.id).limit(1))).first() is None

    async def insert(self, tx: Transaction, token: AccessToken) -> None:
        """Add a token."""
        await rows.insert(tx, ACCESS_TOKENS, _values(token))
        await _insert_registries(tx, token)

    async def update(self, tx: Transaction, token: AccessToken, *, old_version: int) -> bool:
        """Write a token; return whether it still had its old version."""
        values = {name: value for name, value in _values(token).items() if name != "last_used_at"}
        if not await rows.update(tx, ACCESS_TOKENS, values, old_version=old_version):
            return False
        await _delete_registries(tx, token.id)
        await _insert_registries(tx, token)
        return True

    async def write_last_uses(self, tx: Transaction, uses: Mapping[str, datetime]) -> None:
        """Write when tokens were used, unless a later time is known; whoever is gone is left out."""
        column = ACCESS_TOKENS.c.last_used_at
        for access_id, at in sorted(uses.items()):  # in one order, so that two processes do not deadlock
            is_news = sa.or_(column.is_(None), column < at)
            statement = sa.update(ACCESS_TOKENS).where(ACCESS_TOKENS.c.id == access_id, is_news)
            await tx.execute(statement.values(last_used_at=at))

    async def delete(self, tx: Transaction, identifier: str) -> None:
        """Remove a token."""
        await _delete_registries(tx, identifier)
        await rows.delete(tx, ACCESS_TOKENS, identifier)

    async def record(self, tx: Transaction, identifier: str) -> tuple[int, AccessRecord] | None:
        """Return the version and the record, or None if there is none."""
        token = await self.find(tx, identifier)
        return (token.version, token.record()) if token is not None else None

    async def ids(self, tx: Transaction) -> list[str]:
        """Return every id."""
        return await rows.ids(tx, ACCESS_TOKENS)


@dataclass(frozen=True, slots=True)
class StoredAccess:
    """Looks access tokens up for authentication, each in a transaction of its own."""

    database: Database
    store: AccessStore

    async def find_record(self, access_id: str) -> AccessRecord | None:
        """Return the record, or None if there is none (any more); raise DatabaseUnavailableError."""
        async with self.database.read() as tx:
            token = await self.store.find(tx, access_id)
        return token.record() if token is not None else None


def _within(limits: frozenset[str]) -> sa.ColumnElement[bool]:
    """Whether a token is good for some of these registries and for no others."""
    of_it = ACCESS_REGISTRIES.c.access_id == ACCESS_TOKENS.c.id
    is_inside = ACCESS_REGISTRIES.c.registry_id.in_(limits)
    return sa.and_(
        ACCESS_TOKENS.c.is_limited.is_(True),
        sa.exists().where(of_it, is_inside),
        sa.not_(sa.exists().where(of_it, sa.not_(is_inside))),
    )


async def _with_registries(tx: Transaction, found: Sequence[rows.Row]) -> list[AccessToken]:
    statement = (
        sa.select(ACCESS_REGISTRIES)
        .where(ACCESS_REGISTRIES.c.access_id.in_([row["id"] for row in found if row["is_limited"]]))
        .order_by(ACCESS_REGISTRIES.c.access_id, ACCESS_REGISTRIES.c.registry_id)
    )
    limits = (await tx.execute(statement)).mappings().all()
    by_token = {
        access_id: tuple(row["registry_id"] for row in group)
        for access_id, group in groupby(limits, key=lambda row: row["access_id"])
    }
    return [_token(row, by_token.get(row["id"], ())) for row in found]


def _token(row: rows.Row, registry_ids: tuple[str, ...]) -> AccessToken:
    names = AccessToken.__dataclass_fields__
    values = {name: value for name, value in row.items() if name in names}
    return AccessToken(**values, registry_ids=registry_ids if row["is_limited"] else None)


async def _insert_registries(tx: Transaction, token: AccessToken) -> None:
    if token.registry_ids:
        values = [{"access_id": token.id, "registry_id": each} for each in token.registry_ids]
        await tx.execute(sa.insert(ACCESS_REGISTRIES), values)


async def _delete_registries(tx: Transaction, access_id: str) -> None:
    await tx.execute(sa.delete(ACCESS_REGISTRIES).where(ACCESS_REGISTRIES.c.access_id == access_id))


def _values(token: AccessToken) -> dict[str, Any]:
    names = AccessToken.__dataclass_fields__
    values = {name: getattr(token, name) for name in names if name != "registry_ids"}
    return {**values, "name_key": name_key(token.name), "is_limited": token.registry_ids is not None}
