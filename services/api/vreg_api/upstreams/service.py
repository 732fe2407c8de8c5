"""The rules for upstreams: a host of its kind, an identity that may be used there, kept while used."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ulid import ULID

from vreg_api import problems
from vreg_api.authentication import Actor
from vreg_api.authorization import require_own_fields, require_permitted
from vreg_api.etags import Precondition
from vreg_api.identities.store import IdentityStore
from vreg_api.ledger import Action, Change, Ledger
from vreg_api.paging import PageRequest
from vreg_api.permissions import Action as Permitted
from vreg_api.permissions import Noun, Thing
from vreg_api.store.database import Database, Transaction
from vreg_api.upstreams.fitness import normal_host, require_fit
from vreg_api.upstreams.schemas import UpstreamChange, UpstreamCreate
from vreg_api.upstreams.store import Upstream, UpstreamStore
from vreg_api.virtual_registries.store import VirtualRegistryStore
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.messages.upstream import key_of

NOUN: Final = "upstream"
_SOURCE: Final = ("kind", "host", "identity_id", "repository_prefix")
"""What decides whose content an upstream gives: rights got before a change of it are worth nothing after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstreams:
    """What can be done with upstreams; every method raises ProblemError or DatabaseUnavailableError."""

    database: Database
    ledger: Ledger
    catalogue: Catalogue
    clock: Clock
    store: UpstreamStore
    identities: IdentityStore
    registries: VirtualRegistryStore

    async def create(self, wish: UpstreamCreate, actor: Actor) -> Upstream:
        """Make an upstream."""
        upstream = self.drafted(wish)
        async with self.database.write() as tx:
            await self._require_sound(tx, upstream)
            await self.store.insert(tx, upstream)
            await self._record(tx, actor, "created", (None, upstream))
        return upstream

    def drafted(self, wish: UpstreamCreate) -> Upstream:
        """Return the upstream that `wish` describes, saved nowhere."""
        now = self.clock.now()
        given: dict[str, Any] = {name: getattr(wish, name) for name in UpstreamCreate.model_fields}
        given["host"] = normal_host(self.catalogue, wish.kind, wish.host)
        return Upstream(
            id=str(ULID.from_datetime(now)), cache_epoch=0, version=1, created_at=now, updated_at=now, **given
        )

    def after(self, before: Upstream, wish: UpstreamChange) -> Upstream:
        """Return what a change makes of an upstream, saved nowhere."""
        given: dict[str, Any] = {name: getattr(wish, name) for name in wish.model_fields_set}
        after = replace(before, **given)
        return replace(after, host=normal_host(self.catalogue, after.kind, after.host))

    async def read(self, identifier: str, actor: Actor) -> Upstream:
        """Return an upstream."""
        async with self.database.read() as tx:
            return await self._require(tx, identifier, actor)

    async def page(self, asked: PageRequest, actor: Actor) -> Sequence[Upstream]:
        """Return a page, and one more if there is one."""
        async with self.database.read() as tx:
            return await self.store.page(tx, asked, actor.limits)

    async def change(
        self, identifier: str, wish: UpstreamChange, precondition: Precondition, actor: Actor
    ) -> Upstream:
        """Change an upstream; if its content comes from elsewhere afterwards, what is cached ends."""
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Permitted.CHANGE)
            precondition.require(before.version, NOUN)
            after = self.after(before, wish)
            changed = tuple(
                name
                for name in sorted(wish.model_fields_set)
                if getattr(after, name) != getattr(before, name)
            )
            if not changed:
                return before
            require_own_fields(actor, Noun.UPSTREAM, changed)
            epoch = before.cache_epoch + bool(set(changed) & set(_SOURCE))
            after = replace(after, cache_epoch=epoch, version=before.version + 1, updated_at=self.clock.now())
            await self._require_sound(tx, after)
            await self._update(tx, before, after)
            await self._record(tx, actor, "changed", (before, after), changed)
        return after

    async def purge(self, identifier: str, actor: Actor) -> Upstream:
        """End the cache's trust in everything this upstream gave, in every proxy, absent ones too."""
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Permitted.DELETE, Noun.CACHED_CONTENT)
            after = replace(
                before,
                cache_epoch=before.cache_epoch + 1,
                version=before.version + 1,
                updated_at=self.clock.now(),
            )
            await self._update(tx, before, after)
            await self._record(tx, actor, "purged", (before, after), ("cache_epoch",))
        return after

    async def delete(self, identifier: str, precondition: Precondition, actor: Actor) -> None:
        """Delete an upstream that is in no virtual registry."""
        async with self.database.write() as tx:
            upstream = await self._require(tx, identifier, actor, Permitted.DELETE)
            precondition.require(upstream.version, NOUN)
            users = await self.registries.having_upstream(tx, identifier)
            if users:
                named = tuple(
                    problems.UsedBy(noun="virtual registry", id=registry_id, name=slug)
                    for registry_id, slug in users
                )
                raise problems.in_use(NOUN, "deleted", named)
            await self.store.delete(tx, identifier)
            change = Change(
                "deleted", NOUN, key_of(identifier), upstream.name, upstream.version + 1, before=upstream
            )
            await self.ledger.record(tx, actor, change, None)

    async def _require(
        self,
        tx: Transaction,
        identifier: str,
        actor: Actor,
        action: Permitted = Permitted.READ,
        noun: Noun = Noun.UPSTREAM,
    ) -> Upstream:
        upstream = await self.store.find(tx, identifier, lock=action is not Permitted.READ)
        if upstream is None:
            raise problems.not_found(NOUN, identifier)
        if actor.limits is not None:
            users = await self.registries.having_upstream(tx, identifier)
            thing = Thing(noun, frozenset(registry_id for registry_id, _ in users))
            require_permitted(actor, action, thing, NOUN, identifier)
        return upstream

    async def _require_sound(self, tx: Transaction, upstream: Upstream) -> None:
        identity = None
        if upstream.identity_id is not None:
            identity = await self.identities.find(tx, upstream.identity_id, lock=True)
            if identity is None:
                raise problems.invalid("identity_id", "unknown", "there is no identity with this id")
        require_fit(self.catalogue, upstream, identity)
        if await self.store.id_of_name(tx, upstream.name) not in {None, upstream.id}:
            raise problems.name_taken(NOUN, "name")

    async def _update(self, tx: Transaction, before: Upstream, after: Upstream) -> None:
        if not await self.store.update(tx, after, old_version=before.version):
            raise problems.version_mismatch(NOUN)

    async def _record(
        self,
        tx: Transaction,
        actor: Actor,
        action: Action,
        states: tuple[Upstream | None, Upstream],
        fields: tuple[str, ...] = (),
    ) -> None:
        before, after = states
        change = Change(action, NOUN, key_of(after.id), after.name, after.version, fields, before, after)
        await self.ledger.record(tx, actor, change, after.record())
