"""The rules for virtual registries: one slug each, only upstreams there are, kept while tokens name it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ulid import ULID

from vreg_api import problems
from vreg_api.access.store import AccessStore
from vreg_api.authentication import Actor
from vreg_api.authorization import require_own_fields, require_permitted
from vreg_api.etags import Precondition
from vreg_api.ledger import Change, Ledger
from vreg_api.paging import PageRequest
from vreg_api.permissions import Action, Limits, Noun, Thing
from vreg_api.store.database import Database, Transaction
from vreg_api.upstreams.store import UpstreamStore
from vreg_api.virtual_registries.schemas import Membership, VirtualRegistryChange, VirtualRegistryCreate
from vreg_api.virtual_registries.store import VirtualRegistry, VirtualRegistryStore
from vreg_shared.clock import Clock
from vreg_shared.messages.registry import MembershipRecord, key_of

NOUN: Final = "virtual registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualRegistries:
    """What can be done with virtual registries; they raise ProblemError or DatabaseUnavailableError."""

    database: Database
    ledger: Ledger
    clock: Clock
    store: VirtualRegistryStore
    upstreams: UpstreamStore
    access: AccessStore

    async def create(self, wish: VirtualRegistryCreate, actor: Actor) -> VirtualRegistry:
        """Make a registry."""
        now = self.clock.now()
        registry = VirtualRegistry(
            id=str(ULID.from_datetime(now)),
            slug=wish.slug,
            description=wish.description,
            anonymous_pull=wish.anonymous_pull,
            on_source_change=wish.on_source_change,
            memberships=_records(wish.memberships),
            mirror_namespaces=wish.mirror_namespaces,
            version=1,
            created_at=now,
            updated_at=now,
        )
        async with self.database.write() as tx:
            await self._require_sound(tx, registry, actor.limits)
            await self.store.insert(tx, registry)
            change = Change("created", NOUN, key_of(registry.id), registry.slug, 1, after=registry)
            await self.ledger.record(tx, actor, change, registry.record())
        return registry

    async def read(self, identifier: str, actor: Actor) -> VirtualRegistry:
        """Return a registry."""
        async with self.database.read() as tx:
            return await self._require(tx, identifier, actor)

    async def page(self, asked: PageRequest, actor: Actor) -> Sequence[VirtualRegistry]:
        """Return a page, and one more if there is one."""
        async with self.database.read() as tx:
            return await self.store.page(tx, asked, actor.limits)

    async def change(
        self, identifier: str, wish: VirtualRegistryChange, precondition: Precondition, actor: Actor
    ) -> VirtualRegistry:
        """Change a registry."""
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Action.CHANGE)
            precondition.require(before.version, NOUN)
            given: dict[str, Any] = {name: getattr(wish, name) for name in wish.model_fields_set}
            if "memberships" in given:
                given["memberships"] = _records(wish.memberships)
            after = replace(before, **given)
            changed = tuple(name for name in sorted(given) if getattr(after, name) != getattr(before, name))
            if not changed:
                return before
            require_own_fields(actor, Noun.VIRTUAL_REGISTRY, changed)
            after = replace(after, version=before.version + 1, updated_at=self.clock.now())
            await self._require_sound(tx, after, actor.limits)
            if not await self.store.update(tx, after, old_version=before.version):
                raise problems.version_mismatch(NOUN)
            change = Change(
                "changed", NOUN, key_of(after.id), after.slug, after.version, changed, before, after
            )
            await self.ledger.record(tx, actor, change, after.record())
        return after

    async def delete(self, identifier: str, precondition: Precondition, actor: Actor) -> None:
        """Delete a registry that no access token is limited to."""
        async with self.database.write() as tx:
            registry = await self._require(tx, identifier, actor, Action.DELETE)
            precondition.require(registry.version, NOUN)
            users = await self.access.limited_to(tx, identifier)
            if users:
                named = tuple(
                    problems.UsedBy(noun="access token", id=access_id, name=name) for access_id, name in users
                )
                raise problems.in_use(NOUN, "deleted", named)
            await self.store.delete(tx, identifier)
            change = Change(
                "deleted", NOUN, key_of(identifier), registry.slug, registry.version + 1, before=registry
            )
            await self.ledger.record(tx, actor, change, None)

    async def _require(
        self, tx: Transaction, identifier: str, actor: Actor, action: Action = Action.READ
    ) -> VirtualRegistry:
        registry = await self.store.find(tx, identifier, lock=action is not Action.READ)
        if registry is None:
            raise problems.not_found(NOUN, identifier)
        thing = Thing(Noun.VIRTUAL_REGISTRY, frozenset({identifier}))
        require_permitted(actor, action, thing, NOUN, identifier)
        return registry

    async def _require_sound(self, tx: Transaction, registry: VirtualRegistry, limits: Limits) -> None:
        if await self.store.id_of_slug(tx, registry.slug) not in {None, registry.id}:
            raise problems.name_taken(NOUN, "slug")
        if await self.store.mirrors_elsewhere(tx, registry):
            raise problems.name_taken(NOUN, "mirror_namespaces")
        ids = [membership.upstream_id for membership in registry.memberships]
        missing = await self.upstreams.missing(tx, ids, limits)
        for index, upstream_id in enumerate(ids):
            if upstream_id in missing:
                field = f"memberships.{index}.upstream_id"
                raise problems.invalid(field, "unknown", "there is no upstream with this id")


def _records(memberships: Sequence[Membership]) -> tuple[MembershipRecord, ...]:
    return tuple(MembershipRecord(**membership.model_dump()) for membership in memberships)
