"""Identities in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from vreg_api.fields import name_key
from vreg_api.paging import PageRequest
from vreg_api.permissions import Limits
from vreg_api.store import rows
from vreg_api.store.database import Transaction
from vreg_api.store.tables import IDENTITIES, MEMBERSHIPS, UPSTREAMS
from vreg_shared.messages.identity import IdentityRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A row. `settings` holds no secrets, `sealed_secrets` only the broker can open."""

    id: str
    name: str
    method: str
    settings: dict[str, Any]
    usable_for: dict[str, Any]
    external_id: str
    secret_fields: tuple[str, ...]
    sealed_secrets: str | None
    credential_version: int
    version: int
    created_at: datetime
    updated_at: datetime

    @property
    def auth_method(self) -> dict[str, Any]:
        """What may be shown of the auth method."""
        return {**self.settings, "method": self.method}

    def record(self) -> IdentityRecord:
        """Return what the broker is told."""
        return IdentityRecord(
            id=self.id,
            name=self.name,
            method=self.method,
            settings=self.settings,
            usable_for=self.usable_for,
            external_id=self.external_id,
            sealed_secrets=self.sealed_secrets,
            credential_version=self.credential_version,
        )


class IdentityStore:
    """Statements on identities."""

    async def find(self, tx: Transaction, identifier: str, *, lock: bool = False) -> Identity | None:
        """Return an identity; `lock` keeps it as it is until the transaction ends."""
        row = await rows.find(tx, IDENTITIES, identifier, lock=lock)
        return _identity(row) if row is not None else None

    async def page(self, tx: Transaction, asked: PageRequest, limits: Limits) -> Sequence[Identity]:
        """Return a page of those that a registry within `limits` needs, and one more if there is one."""
        within = _within(limits) if limits is not None else None
        return [_identity(row) for row in await rows.page(tx, IDENTITIES, asked, within)]

    async def id_of_name(self, tx: Transaction, name: str) -> str | None:
        """Return the id of the identity with this name, in whatever case."""
        return await rows.id_of_name(tx, IDENTITIES.c.name_key, name_key(name))

    async def insert(self, tx: Transaction, identity: Identity) -> None:
        """Add an identity."""
        await rows.insert(tx, IDENTITIES, _values(identity))

    async def update(self, tx: Transaction, identity: Identity, *, old_version: int) -> bool:
        """Write an identity; return whether it still had its old version."""
        return await rows.update(tx, IDENTITIES, _values(identity), old_version=old_version)

    async def delete(self, tx: Transaction, identifier: str) -> None:
        """Remove an identity."""
        await rows.delete(tx, IDENTITIES, identifier)

    async def record(self, tx: Transaction, identifier: str) -> tuple[int, IdentityRecord] | None:
        """Return the version and the record, or None if there is none."""
        identity = await self.find(tx, identifier)
        return (identity.version, identity.record()) if identity is not None else None

    async def ids(self, tx: Transaction) -> list[str]:
        """Return every id."""
        return await rows.ids(tx, IDENTITIES)


def _within(limits: frozenset[str]) -> sa.ColumnElement[bool]:
    """Whether an upstream of a registry within `limits` uses the identity."""
    return IDENTITIES.c.id.in_(
        sa.select(UPSTREAMS.c.identity_id)
        .join(MEMBERSHIPS, MEMBERSHIPS.c.upstream_id == UPSTREAMS.c.id)
        .where(MEMBERSHIPS.c.registry_id.in_(limits))
    )


def _identity(row: rows.Row) -> Identity:
    values = {name: value for name, value in row.items() if name != "name_key"}
    return Identity(**{**values, "secret_fields": tuple(row["secret_fields"])})


def _values(identity: Identity) -> dict[str, Any]:
    values = {name: getattr(identity, name) for name in Identity.__dataclass_fields__}
    return {**values, "secret_fields": list(identity.secret_fields), "name_key": name_key(identity.name)}
