"""Upstreams in the database."""

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
from vreg_api.store.tables import MEMBERSHIPS, UPSTREAMS
from vreg_shared.messages.upstream import StaleCase, UpstreamRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A row."""

    id: str
    name: str
    description: str
    kind: str
    host: str
    identity_id: str | None
    repository_prefix: str
    tag_validity_seconds: int
    stale_for: tuple[StaleCase, ...]
    max_stale_seconds: int | None
    token_realm: str | None
    private_ca: str | None
    enabled: bool
    probe: str
    cache_epoch: int
    version: int
    created_at: datetime
    updated_at: datetime

    def record(self) -> UpstreamRecord:
        """Return what brokers and proxies are told."""
        return UpstreamRecord(**{name: getattr(self, name) for name in UpstreamRecord.model_fields})


class UpstreamStore:
    """Statements on upstreams."""

    async def find(self, tx: Transaction, identifier: str, *, lock: bool = False) -> Upstream | None:
        """Return an upstream; `lock` keeps it as it is until the transaction ends."""
        row = await rows.find(tx, UPSTREAMS, identifier, lock=lock)
        return _upstream(row) if row is not None else None

    async def page(self, tx: Transaction, asked: PageRequest, limits: Limits) -> Sequence[Upstream]:
        """Return a page of those that a registry within `limits` has, and one more if there is one."""
        return [_upstream(row) for row in await rows.page(tx, UPSTREAMS, asked, _within(limits))]

    async def using_identity(self, tx: Transaction, identity_id: str) -> Sequence[Upstream]:
        """Return the upstreams that use an identity."""
        statement = (
            sa.select(UPSTREAMS).where(UPSTREAMS.c.identity_id == identity_id).order_by(UPSTREAMS.c.id)
        )
        return [_upstream(row) for row in (await tx.execute(statement)).mappings()]

    async def missing(self, tx: Transaction, identifiers: Sequence[str], limits: Limits) -> set[str]:
        """Return those of `identifiers` that are no upstreams, and keep the others from being deleted.

        An upstream that no registry within `limits` has is as good as none.
        """
        statement = (
            sa.select(UPSTREAMS.c.id)
            .where(UPSTREAMS.c.id.in_(identifiers), _within(limits))
            .with_for_update(read=True)
        )
        return set(identifiers) - set((await tx.execute(statement)).scalars())

    async def id_of_name(self, tx: Transaction, name: str) -> str | None:
        """Return the id of the upstream with this name, in whatever case."""
        return await rows.id_of_name(tx, UPSTREAMS.c.name_key, name_key(name))

    async def insert(self, tx: Transaction, upstream: Upstream) -> None:
        """Add an upstream."""
        await rows.insert(tx, UPSTREAMS, _values(upstream))

    async def update(self, tx: Transaction, upstream: Upstream, *, old_version: int) -> bool:
        """Write an upstream; return whether it still had its old version."""
        return await rows.update(tx, UPSTREAMS, _values(upstream), old_version=old_version)

    async def delete(self, tx: Transaction, identifier: str) -> None:
        """Remove an upstream."""
        await rows.delete(tx, UPSTREAMS, identifier)

    async def record(self, tx: Transaction, identifier: str) -> tuple[int, UpstreamRecord] | None:
        """Return the version and the record, or None if there is none."""
        upstream = await self.find(tx, identifier)
        return (upstream.version, upstream.record()) if upstream is not None else None

    async def ids(self, tx: Transaction, limits: Limits = None) -> list[str]:
        """Return every id within `limits`."""
        statement = sa.select(UPSTREAMS.c.id).where(_within(limits)).order_by(UPSTREAMS.c.id)
        return list((await tx.execute(statement)).scalars())


def _within(limits: Limits) -> sa.ColumnElement[bool]:
    """Whether a registry within `limits` has the upstream."""
    if limits is None:
        return sa.true()
    return UPSTREAMS.c.id.in_(
        sa.select(MEMBERSHIPS.c.upstream_id).where(MEMBERSHIPS.c.registry_id.in_(limits))
    )


def _upstream(row: rows.Row) -> Upstream:
    values = {name: value for name, value in row.items() if name != "name_key"}
    return Upstream(**values | {"stale_for": tuple(row["stale_for"])})


def _values(upstream: Upstream) -> dict[str, Any]:
    values = {name: getattr(upstream, name) for name in Upstream.__dataclass_fields__}
    return {**values, "name_key": name_key(upstream.name)}
