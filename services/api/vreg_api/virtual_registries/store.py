"""Virtual registries and their memberships in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from vreg_api.paging import PageRequest
from vreg_api.permissions import Limits
from vreg_api.store import rows
from vreg_api.store.database import Transaction
from vreg_api.store.tables import MEMBERSHIPS, MIRROR_NAMESPACES, UPSTREAMS, VIRTUAL_REGISTRIES
from vreg_shared.messages.registry import MembershipRecord, OnSourceChange, RegistryRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualRegistry:
    """A row, with its memberships in order and its mirror namespaces."""

    id: str
    slug: str
    description: str
    anonymous_pull: bool
    on_source_change: OnSourceChange
    memberships: tuple[MembershipRecord, ...]
    mirror_namespaces: tuple[str, ...]
    version: int
    created_at: datetime
    updated_at: datetime

    def record(self) -> RegistryRecord:
        """Return what brokers and proxies are told."""
        return RegistryRecord(**{name: getattr(self, name) for name in RegistryRecord.model_fields})


class VirtualRegistryStore:
    """Statements on virtual registries."""

    async def find(self, tx: Transaction, identifier: str, *, lock: bool = False) -> VirtualRegistry | None:
        """Return a registry; `lock` keeps it as it is until the transaction ends."""
        row = await rows.find(tx, VIRTUAL_REGISTRIES, identifier, lock=lock)
        return (await _with_parts(tx, [row]))[0] if row is not None else None

    async def page(self, tx: Transaction, asked: PageRequest, limits: Limits) -> Sequence[VirtualRegistry]:
        """Return a page within `limits`, and one more if there is one."""
        within = VIRTUAL_REGISTRIES.c.id.in_(limits) if limits is not None else None
        return await _with_parts(tx, await rows.page(tx, VIRTUAL_REGISTRIES, asked, within))

    async def having_upstream(self, tx: Transaction, upstream_id: str) -> Sequence[tuple[str, str]]:
        """Return id and slug of the registries an upstream is in."""
        statement = (
            sa.select(VIRTUAL_REGISTRIES.c.id, VIRTUAL_REGISTRIES.c.slug)
            .join(MEMBERSHIPS, MEMBERSHIPS.c.registry_id == VIRTUAL_REGISTRIES.c.id)
            .where(MEMBERSHIPS.c.upstream_id == upstream_id)
            .order_by(VIRTUAL_REGISTRIES.c.id)
        )
        return [(row.id, row.slug) for row in await tx.execute(statement)]

    async def using_identity(self, tx: Transaction, identity_id: str) -> frozenset[str]:
        """Return the ids of the registries that have an upstream which uses an identity."""
        statement = (
            sa.select(MEMBERSHIPS.c.registry_id)
            .join(UPSTREAMS, UPSTREAMS.c.id == MEMBERSHIPS.c.upstream_id)
            .where(UPSTREAMS.c.identity_id == identity_id)
        )
        return frozenset((await tx.execute(statement)).scalars())

    async def missing(self, tx: Transaction, identifiers: Sequence[str]) -> set[str]:
        """Return those of `identifiers` that are no registries, and keep the others from being deleted."""
        column = VIRTUAL_REGISTRIES.c.id
        statement = sa.select(column).where(column.in_(identifiers)).with_for_update(read=True)
        return set(identifiers) - set((await tx.execute(statement)).scalars())

    async def id_of_slug(self, tx: Transaction, slug: str) -> str | None:
        """Return the id of the registry with this slug."""
        return await rows.id_of_name(tx, VIRTUAL_REGISTRIES.c.slug, slug)

    async def mirrors_elsewhere(self, tx: Transaction, registry: VirtualRegistry) -> bool:
        """Whether another registry mirrors a namespace of this one."""
        columns = MIRROR_NAMESPACES.c
        statement = sa.select(columns.namespace).where(
            columns.namespace.in_(registry.mirror_namespaces), columns.registry_id != registry.id
        )
        return (await tx.execute(statement.limit(1))).first() is not None

    async def insert(self, tx: Transaction, registry: VirtualRegistry) -> None:
        """Add a registry and its parts."""
        await rows.insert(tx, VIRTUAL_REGISTRIES, _values(registry))
        await _insert_parts(tx, registry)

    async def update(self, tx: Transaction, registry: VirtualRegistry, *, old_version: int) -> bool:
        """Write a registry and its parts; return whether it still had its old version."""
        if not await rows.update(tx, VIRTUAL_REGISTRIES, _values(registry), old_version=old_version):
            return False
        await _delete_parts(tx, registry.id)
        await _insert_parts(tx, registry)
        return True

    async def delete(self, tx: Transaction, identifier: str) -> None:
        """Remove a registry and its parts."""
        await _delete_parts(tx, identifier)
        await rows.delete(tx, VIRTUAL_REGISTRIES, identifier)

    async def record(self, tx: Transaction, identifier: str) -> tuple[int, RegistryRecord] | None:
        """Return the version and the record, or None if there is none."""
        registry = await self.find(tx, identifier)
        return (registry.version, registry.record()) if registry is not None else None

    async def ids(self, tx: Transaction) -> list[str]:
        """Return every id."""
        return await rows.ids(tx, VIRTUAL_REGISTRIES)


async def _with_parts(tx: Transaction, found: Sequence[rows.Row]) -> list[VirtualRegistry]:
    ids = [row["id"] for row in found]
    memberships = await _parts(tx, MEMBERSHIPS, MEMBERSHIPS.c.position, ids)
    namespaces = await _parts(tx, MIRROR_NAMESPACES, MIRROR_NAMESPACES.c.namespace, ids)
    return [
        VirtualRegistry(
            **row,
            memberships=tuple(_membership(each) for each in memberships.get(row["id"], ())),
            mirror_namespaces=tuple(each["namespace"] for each in namespaces.get(row["id"], ())),
        )
        for row in found
    ]


async def _parts(
    tx: Transaction, table: sa.Table, order: sa.Column[Any], ids: Sequence[str]
) -> dict[str, list[rows.Row]]:
    """Return the rows of these registries in a table of parts, by registry and in order."""
    statement = sa.select(table).where(table.c.registry_id.in_(ids)).order_by(table.c.registry_id, order)
    found = (await tx.execute(statement)).mappings().all()
    return {
        registry_id: list(group) for registry_id, group in groupby(found, key=lambda row: row["registry_id"])
    }


def _membership(row: rows.Row) -> MembershipRecord:
    return MembershipRecord(
        upstream_id=row["upstream_id"], allow=row["allow"], deny=row["deny"], on_hidden=row["on_hidden"]
    )


async def _insert_parts(tx: Transaction, registry: VirtualRegistry) -> None:
    if registry.mirror_namespaces:
        named = [{"namespace": each, "registry_id": registry.id} for each in registry.mirror_namespaces]
        await tx.execute(sa.insert(MIRROR_NAMESPACES), named)
    if registry.memberships:
        values = [
            {
                "registry_id": registry.id,
                "upstream_id": membership.upstream_id,
                "position": position,
                "allow": list(membership.allow),
                "deny": list(membership.deny),
                "on_hidden": membership.on_hidden,
            }
            for position, membership in enumerate(registry.memberships)
        ]
        await tx.execute(sa.insert(MEMBERSHIPS), values)


async def _delete_parts(tx: Transaction, registry_id: str) -> None:
    for table in (MEMBERSHIPS, MIRROR_NAMESPACES):
        await tx.execute(sa.delete(table).where(table.c.registry_id == registry_id))


def _values(registry: VirtualRegistry) -> dict[str, Any]:
    names = VirtualRegistry.__dataclass_fields__.keys() - {"memberships", "mirror_namespaces"}
    return {name: getattr(registry, name) for name in names}
