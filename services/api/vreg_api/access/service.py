"""The rules for access tokens: shown once, revoked by deleting, and an admin always left."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from ulid import ULID

from vreg_api import problems
from vreg_api.access.schemas import AccessTokenChange, AccessTokenCreate, AccessTokenRotation
from vreg_api.access.store import AccessStore, AccessToken
from vreg_api.authentication import Actor
from vreg_api.authorization import require_permitted
from vreg_api.etags import Precondition
from vreg_api.ledger import Change, Ledger
from vreg_api.paging import PageRequest
from vreg_api.permissions import Action, Noun, Thing, is_no_more
from vreg_api.store.database import Database, Transaction
from vreg_api.virtual_registries.store import VirtualRegistryStore
from vreg_shared.clock import Clock
from vreg_shared.messages.access import hash_token, key_of, new_token
from vreg_shared.secret import Secret

NOUN: Final = "access token"
BOOTSTRAP: Final = Actor("bootstrap", "bootstrap", "admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTokens:
    """What can be done with access tokens; every method raises ProblemError or DatabaseUnavailableError."""

    database: Database
    ledger: Ledger
    clock: Clock
    store: AccessStore
    registries: VirtualRegistryStore

    async def create(self, wish: AccessTokenCreate, actor: Actor) -> tuple[AccessToken, Secret]:
        """Make a token; its text is returned this once."""
        async with self.database.write() as tx:
            return await self._create(tx, wish, actor)

    async def bootstrap(self) -> Secret | None:
        """Make the first admin token, if there is no token at all."""
        async with self.database.write() as tx:
            if not await self.store.is_empty(tx):
                return None
            wish = AccessTokenCreate(name="bootstrap", role="admin")
            _, text = await self._create(tx, wish, BOOTSTRAP)
            return text

    async def read(self, identifier: str, actor: Actor) -> AccessToken:
        """Return a token."""
        async with self.database.read() as tx:
            return await self._require(tx, identifier, actor)

    async def own(self, actor: Actor) -> AccessToken:
        """Return the token of whoever asks, which needs no permission."""
        async with self.database.read() as tx:
            token = await self.store.find(tx, actor.access_id)
        if token is None:
            raise problems.not_found(NOUN, actor.access_id)
        return token

    async def page(self, asked: PageRequest, actor: Actor) -> Sequence[AccessToken]:
        """Return a page, and one more if there is one."""
        async with self.database.read() as tx:
            return await self.store.page(tx, asked, actor.limits)

    async def change(
        self, identifier: str, wish: AccessTokenChange, precondition: Precondition, actor: Actor
    ) -> AccessToken:
        """Change what a token may do, and until when."""
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Action.CHANGE)
            precondition.require(before.version, NOUN)
            given: dict[str, Any] = {name: getattr(wish, name) for name in wish.model_fields_set}
            after = replace(before, **given)
            changed = tuple(name for name in sorted(given) if getattr(after, name) != getattr(before, name))
            if not changed:
                return before
            after = replace(after, version=before.version + 1, updated_at=self.clock.now())
            await self._require_sound(tx, after, set(changed), actor)
            if after.role != "admin" or after.limits is not None or _ends_sooner(after, before):
                await self._require_admin_besides(tx, before)
            await self._update(tx, before, after, changed, actor)
        return after

    async def rotate(
        self, identifier: str, wish: AccessTokenRotation, precondition: Precondition, actor: Actor
    ) -> tuple[AccessToken, Secret]:
        """Give a token a new secret, returned this once; the one until now is good for the overlap."""
        text = new_token(identifier)
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Action.CHANGE)
            precondition.require(before.version, NOUN)
            now, overlap = self.clock.now(), timedelta(hours=wish.overlap_hours)
            after = replace(
                before,
                secret_sha256=hash_token(text),
                previous_sha256=before.secret_sha256 if overlap else None,
                previous_until=now + overlap if overlap else None,
                version=before.version + 1,
                updated_at=now,
            )
            await self._update(tx, before, after, ("secret",), actor)
        return after, text

    async def end_overlap(self, identifier: str, precondition: Precondition, actor: Actor) -> None:
        """Revoke the secret before the last rotation; the present one stays."""
        async with self.database.write() as tx:
            before = await self._require(tx, identifier, actor, Action.CHANGE)
            precondition.require(before.version, NOUN)
            if before.previous_sha256 is None:
                return
            ended = replace(before, previous_sha256=None, previous_until=None)
            after = replace(ended, version=before.version + 1, updated_at=self.clock.now())
            await self._update(tx, before, after, ("previous_secret",), actor)

    async def delete(self, identifier: str, precondition: Precondition, actor: Actor) -> None:
        """Revoke a token."""
        async with self.database.write() as tx:
            token = await self._require(tx, identifier, actor, Action.DELETE)
            precondition.require(token.version, NOUN)
            await self._require_admin_besides(tx, token)
            await self.store.delete(tx, identifier)
            change = Change("deleted", NOUN, key_of(identifier), token.name, token.version + 1, before=token)
            await self.ledger.record(tx, actor, change, None)

    async def _create(
        self, tx: Transaction, wish: AccessTokenCreate, actor: Actor
    ) -> tuple[AccessToken, Secret]:
        now = self.clock.now()
        identifier = str(ULID.from_datetime(now))
        text = new_token(identifier)
        token = AccessToken(
            id=identifier,
            name=wish.name,
            secret_sha256=hash_token(text),
            role=wish.role,
            registry_ids=wish.registry_ids,
            expires_at=wish.expires_at,
            previous_sha256=None,
            previous_until=None,
            last_used_at=None,
            version=1,
            created_at=now,
            updated_at=now,
        )
        await self._require_sound(tx, token, {"registry_ids", "expires_at"}, actor)
        await self.store.insert(tx, token)
        change = Change("created", NOUN, key_of(token.id), token.name, 1, after=token)
        await self.ledger.record(tx, actor, change, token.record())
        return token, text

    async def _update(
        self,
        tx: Transaction,
        before: AccessToken,
        after: AccessToken,
        changed: tuple[str, ...],
        actor: Actor,
    ) -> None:
        if not await self.store.update(tx, after, old_version=before.version):
            raise problems.version_mismatch(NOUN)
        change = Change("changed", NOUN, key_of(after.id), after.name, after.version, changed, before, after)
        await self.ledger.record(tx, actor, change, after.record())

    async def _require(
        self, tx: Transaction, identifier: str, actor: Actor, action: Action = Action.READ
    ) -> AccessToken:
        token = await self.store.find(tx, identifier, lock=action is not Action.READ)
        if token is None:
            raise problems.not_found(NOUN, identifier)
        require_permitted(actor, action, Thing(Noun.ACCESS_TOKEN, token.limits), NOUN, identifier)
        return token

    async def _require_sound(
        self, tx: Transaction, token: AccessToken, changed: set[str], actor: Actor
    ) -> None:
        if "expires_at" in changed and token.expires_at is not None and token.expires_at <= self.clock.now():
            raise problems.invalid("expires_at", "past", "is in the past; to revoke a token, delete it")
        if "registry_ids" in changed and token.registry_ids:
            beyond = set() if actor.limits is None else set(token.registry_ids) - actor.limits
            missing = beyond | await self.registries.missing(tx, token.registry_ids)
            if missing:
                message = f"there is no virtual registry {min(missing)}"
                raise problems.invalid("registry_ids", "unknown", message)
        if not is_no_more(token.role, token.limits, actor.role, actor.limits):
            detail = (
                "nobody can give a token more than he may do himself: give a role and limits within yours"
            )
            raise problems.ProblemError(problems.FORBIDDEN, detail)

    async def _require_admin_besides(self, tx: Transaction, token: AccessToken) -> None:
        """Nobody may lock everybody out: a limited admin does not count. `token` is as it was before."""
        admins = await self.store.lock_admins(tx, self.clock.now())
        if admins == {token.id}:
            detail = "this is the only admin token that does not expire before the change; make another first"
            raise problems.ProblemError(problems.LAST_ADMIN, detail)


def _ends_sooner(after: AccessToken, before: AccessToken) -> bool:
    if after.expires_at is None:
        return False
    return before.expires_at is None or after.expires_at < before.expires_at
