"""The rules for identities: sealed at once, re-pointed only with the secret, kept while used."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from pydantic import ValidationError
from ulid import ULID

from vreg_api import problems
from vreg_api.authentication import Actor
from vreg_api.authorization import require_may, require_permitted
from vreg_api.etags import Precondition
from vreg_api.identities.credentials import Sealer, changed, settings_of
from vreg_api.identities.documents import read_document
from vreg_api.identities.schemas import IdentityChange, IdentityCreate, IdentityImport, TrustView
from vreg_api.identities.store import Identity, IdentityStore
from vreg_api.identities.trust import trust_of
from vreg_api.ledger import Change, Ledger
from vreg_api.paging import PageRequest
from vreg_api.permissions import Action, Noun, Thing
from vreg_api.problem_responses import of_validation
from vreg_api.store.database import Database, Transaction
from vreg_api.upstreams.store import Upstream, UpstreamStore
from vreg_api.virtual_registries.store import VirtualRegistryStore
from vreg_shared.auth_method import AuthMethod, UsableFor
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.messages.identity import key_of
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.private_ca import fingerprints

NOUN: Final = "identity"
_UNTOLD: Final = frozenset({"version", "updated_at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """What can be done with identities; every method raises ProblemError or DatabaseUnavailableError."""

    database: Database
    ledger: Ledger
    sealer: Sealer
    catalogue: Catalogue
    clock: Clock
    store: IdentityStore
    upstreams: UpstreamStore
    registries: VirtualRegistryStore
    grants: OperatorGrants

    async def create(self, wish: IdentityCreate, actor: Actor) -> Identity:
        """Make an identity, its external id and its seal."""
        return await self._make(wish.name, wish.auth_method, wish.usable_for.model_dump(mode="json"), actor)

    async def import_document(self, wish: IdentityImport, actor: Actor) -> Identity:
        """Make an identity of what a document in the cloud's own format says."""
        provider, method = read_document(self.catalogue, wish)
        return await self._make(wish.name, method, _usable_for(provider.usable_for, wish.usable_for), actor)

    def drafted(self, wish: IdentityCreate, actor: Actor) -> Identity:
        """Return the identity that `wish` describes, sealed and saved nowhere."""
        return self._new(wish.name, wish.auth_method, wish.usable_for.model_dump(mode="json"), actor)

    def after(self, before: Identity, wish: IdentityChange, actor: Actor) -> Identity:
        """Return what a change makes of an identity, saved nowhere."""
        after = self._after(before, wish)
        require_may(actor, Action.CHANGE, self._noun(after))
        self._require_unobjectionable(after)
        return after

    async def trust(self, identifier: str, actor: Actor) -> TrustView:
        """Return what the cloud must be told of an identity."""
        return trust_of(await self.read(identifier, actor), self.catalogue, self.grants)

    async def read(self, identifier: str, actor: Actor) -> Identity:
        """Return an identity."""
        async with self.database.read() as tx:
            return await self._require(tx, identifier, actor)

    async def page(self, asked: PageRequest, actor: Actor) -> Sequence[Identity]:
        """Return a page, and one more if there is one."""
        async with self.database.read() as tx:
            return await self.store.page(tx, asked, actor.limits)

    async def change(
        self, identifier: str, wish: IdentityChange, precondition: Precondition, actor: Actor
    ) -> Identity:
        """Change an identity; what its seal binds changes only with its secrets."""
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Action.CHANGE)
            precondition.require(before.version, NOUN)
            after = self._after(before, wish)
            if after == before:
                return before
            require_may(actor, Action.CHANGE, self._noun(after))
            self._require_unobjectionable(after)
            after = replace(after, version=before.version + 1, updated_at=self.clock.now())
            await self._require_free_name(tx, after)
            await self._require_fits_upstreams(tx, after)
            if not await self.store.update(tx, after, old_version=before.version):
                raise problems.version_mismatch(NOUN)
            told = tuple(
                field.name
                for field in fields(Identity)
                if field.name not in _UNTOLD and getattr(after, field.name) != getattr(before, field.name)
            )
            change = Change("changed", NOUN, key_of(after.id), after.name, after.version, told, before, after)
            await self._record(tx, actor, after, change)
        return after

    async def delete(self, identifier: str, precondition: Precondition, actor: Actor) -> None:
        """Delete an identity that no upstream uses."""
        async with self.database.write() as tx:
            identity = await self._require(tx, identifier, actor, Action.DELETE)
            precondition.require(identity.version, NOUN)
            users = await self.upstreams.using_identity(tx, identifier)
            if users:
                raise problems.in_use(NOUN, "deleted", _named(users))
            await self.store.delete(tx, identifier)
            change = Change(
                "deleted", NOUN, key_of(identifier), identity.name, identity.version + 1, before=identity
            )
            await self.ledger.record(tx, actor, change, None)

    async def _make(
        self, name: str, method: AuthMethod, usable_for: dict[str, object], actor: Actor
    ) -> Identity:
        identity = self._new(name, method, usable_for, actor)
        async with self.database.write() as tx:
            await self._require_free_name(tx, identity)
            await self.store.insert(tx, identity)
            change = Change("created", NOUN, key_of(identity.id), identity.name, 1, after=identity)
            await self._record(tx, actor, identity, change)
        return identity

    def _new(self, name: str, method: AuthMethod, usable_for: dict[str, object], actor: Actor) -> Identity:
        now = self.clock.now()
        unsealed = Identity(
            id=str(ULID.from_datetime(now)),
            name=name,
            method=method.tag,
            settings={},
            usable_for=usable_for,
            external_id=f"vreg-{secrets.token_hex(16)}",
            secret_fields=(),
            sealed_secrets=None,
            credential_version=1,
            version=1,
            created_at=now,
            updated_at=now,
        )
        identity = self.sealer.with_method(unsealed, method)
        require_may(actor, Action.CREATE, self._noun(identity))
        self._require_unobjectionable(identity)
        return identity

    def _after(self, before: Identity, wish: IdentityChange) -> Identity:
        given = wish.model_fields_set
        change = wish.auth_method if "auth_method" in given else None
        method = self.catalogue.method(change.method if change is not None else before.method)
        usable_for = before.usable_for
        if "usable_for" in given or method.tag != before.method:
            kind = self.catalogue.provider_of_method(method.tag).usable_for
            usable_for = _usable_for(kind, wish.usable_for if "usable_for" in given else before.usable_for)
        named = replace(before, name=wish.name) if "name" in given else before
        if change is None and usable_for == before.usable_for:
            return named
        return changed(self.sealer, named, method, change, usable_for)

    async def _require(
        self, tx: Transaction, identifier: str, actor: Actor, action: Action = Action.READ
    ) -> Identity:
        identity = await self.store.find(tx, identifier, lock=action is not Action.READ)
        if identity is None:
            raise problems.not_found(NOUN, identifier)
        users = await self.registries.using_identity(tx, identifier) if actor.limits is not None else None
        require_permitted(actor, action, Thing(self._noun(identity), users), NOUN, identifier)
        return identity

    def _noun(self, identity: Identity) -> Noun:
        """Return what it is as far as permissions go: the operator's machine is lent by admins alone."""
        method = settings_of(identity, self.catalogue.method(identity.method))
        need = method.identity_token
        is_machines = method.is_ambient or (need is not None and need.file is not None)
        return Noun.MACHINE_IDENTITY if is_machines else Noun.IDENTITY

    async def _require_free_name(self, tx: Transaction, identity: Identity) -> None:
        if await self.store.id_of_name(tx, identity.name) not in {None, identity.id}:
            raise problems.name_taken(NOUN, "name")

    def _require_unobjectionable(self, identity: Identity) -> None:
        """Refuse to save what is known to be refused later: by the operator, or by the cloud."""
        method = settings_of(identity, self.catalogue.method(identity.method))
        usable_for = self.catalogue.provider_of_method(identity.method).usable_for.model_validate(
            identity.usable_for
        )
        for objection in self.grants.objections(method) + method.objections(usable_for, self.clock.now()):
            raise problems.invalid(f"auth_method.{objection.field}", objection.code, objection.message)

    async def _require_fits_upstreams(self, tx: Transaction, identity: Identity) -> None:
        """Narrowing must not leave an upstream with an identity that may not be used there."""
        usable_for = self.catalogue.provider_of_method(identity.method).usable_for.model_validate(
            identity.usable_for
        )
        unfit = [
            upstream
            for upstream in await self.upstreams.using_identity(tx, identity.id)
            if not usable_for.permits(upstream.host, upstream.repository_prefix)
            or not usable_for.permits_private_ca(fingerprints(upstream.private_ca))
            or identity.method not in self.catalogue.kind(upstream.kind).methods
        ]
        if unfit:
            raise problems.in_use(NOUN, "changed so", _named(unfit))

    async def _record(self, tx: Transaction, actor: Actor, identity: Identity, change: Change) -> None:
        await self.ledger.record(tx, actor, change, identity.record())


def _usable_for(kind: type[UsableFor], given: object) -> dict[str, object]:
    try:
        return kind.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        raise of_validation(error, below="usable_for") from None


def _named(upstreams: Sequence[Upstream]) -> tuple[problems.UsedBy, ...]:
    return tuple(problems.UsedBy(noun="upstream", id=each.id, name=each.name) for each in upstreams)
