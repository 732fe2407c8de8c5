"""Everything a test may do to the emulated Azure; every value is JSON, so that it works across processes."""

import secrets
from dataclasses import dataclass
from uuid import uuid4

from tests.clouds.azure.acr_tokens import refresh_token
from tests.clouds.azure.blob_storage import BlobStorage
from tests.clouds.azure.entra import entra_token
from tests.clouds.azure.machine import AppService
from tests.clouds.azure.model import (
    Assignment,
    Federation,
    Identity,
    Registry,
    ScopeMapToken,
    Tenant,
)
from tests.clouds.azure.state import REGISTRY_AUDIENCE, AzureState
from tests.clouds.shelf import Shelf

_YEAR = 365 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class MadeIdentity:
    """An application or managed identity, and its principal in the tenant it was made in."""

    client_id: str
    object_id: str
    tenant: str
    resource_id: str | None = None


class AzureControl:
    """Tenants, identities, registries, images and switches. Unknown names raise."""

    def __init__(self, state: AzureState, app_service: AppService) -> None:
        self._state = state
        self._app_service = app_service

    def add_tenant(self, domain: str, *, cloud: str = "public") -> str:
        """Make a directory; return its id."""
        tenant = Tenant(str(uuid4()), domain, cloud)
        self._state.model.tenants[tenant.id] = tenant
        return tenant.id

    def add_app(self, tenant: str, name: str, *, is_multi_tenant: bool = False) -> MadeIdentity:
        """Register an application, with its service principal at home."""
        identity = self._state.model.add_identity(name, tenant, is_multi_tenant=is_multi_tenant)
        return _made(identity)

    def add_service_principal(self, client_id: str, tenant: str) -> str:
        """Let another tenant know a multi-tenant application; return the principal's object id."""
        identity = self._state.model.identity(client_id)
        if not identity.is_multi_tenant:
            raise ValueError(f"{identity.name} is not multi-tenant")
        self._state.model.require_tenant(tenant)
        return identity.principals.setdefault(tenant, str(uuid4()))

    def delete_service_principal(self, client_id: str, tenant: str) -> None:
        """Let a tenant not know an application any more."""
        del self._state.model.identity(client_id).principals[tenant]

    def add_secret(self, client_id: str, *, seconds: float = _YEAR) -> str:
        """Give an application one more secret; return its value."""
        value = f"{secrets.token_urlsafe(2)}8Q~{secrets.token_urlsafe(26)}"
        self._state.model.identity(client_id).secrets[value] = self._state.clock.now() + seconds
        return value

    def delete_secret(self, client_id: str, value: str) -> None:
        """Take a secret away."""
        del self._state.model.identity(client_id).secrets[value]

    def end_secrets(self, client_id: str) -> None:
        """Let every secret of an application have ended."""
        identity = self._state.model.identity(client_id)
        identity.secrets = dict.fromkeys(identity.secrets, self._state.clock.now())

    def set_certificates(self, client_id: str, pems: tuple[str, ...]) -> None:
        """Let an application know these certificates and no others."""
        self._state.model.identity(client_id).certificates = list(pems)

    def federate(self, client_id: str, issuer: str, subject: str, audience: str) -> None:
        """Give an application or user-assigned identity one more federated credential, of twenty at most."""
        identity = self._state.model.identity(client_id)
        if len(identity.federations) >= 20:
            raise ValueError("an application takes at most 20 federated credentials")
        works_from = self._state.clock.now() + self._state.propagation_seconds
        identity.federations.append(Federation(issuer, subject, audience, works_from))

    def unfederate(self, client_id: str) -> None:
        """Take every federated credential away."""
        self._state.model.identity(client_id).federations.clear()

    def add_managed_identity(self, tenant: str, name: str, *, is_system: bool = False) -> MadeIdentity:
        """Make a user-assigned identity, or what a machine gets when it is given its own."""
        resource = (
            f"/subscriptions/{uuid4()}/resourceGroups/rg/providers/Microsoft.ManagedIdentity"
            f"/userAssignedIdentities/{name}"
        )
        identity = self._state.model.add_identity(name, tenant, resource_id=None if is_system else resource)
        return _made(identity)

    def set_machine(self, service: str, client_ids: tuple[str, ...]) -> None:
        """Let a machine (the name of a local service) have exactly these managed identities."""
        for each in client_ids:
            self._state.model.identity(each)
        self._state.model.machines[service] = list(client_ids)

    def app_service_header(self) -> str:
        """Return what App Service tells its app as IDENTITY_HEADER."""
        return self._app_service.header

    def add_registry(self, name: str, tenant: str, *, label_hash: str | None = None) -> str:
        """Make a registry, if it is not there, in a tenant's cloud; return its login server."""
        return self._state.model.add_registry(name, tenant, label_hash).host

    def delete_registry(self, host: str) -> None:
        """Remove a registry, whose name then leads nowhere."""
        self._registry(host)
        del self._state.model.registries[host]

    def grant(
        self, host: str, object_id: str, role: str = "AcrPull", *, repositories: tuple[str, ...] = ("*",)
    ) -> None:
        """Assign a role on a registry; `repositories` are globs of an ABAC condition."""
        self._registry(host).assignments.append(Assignment(object_id, role, repositories))

    def revoke(self, host: str, object_id: str) -> None:
        """Take every role on a registry away from somebody."""
        registry = self._registry(host)
        registry.assignments = [each for each in registry.assignments if each.object_id != object_id]

    def deny(self, host: str, object_id: str, repository: str) -> None:
        """Let somebody do nothing to one repository, whatever the roles say."""
        self._registry(host).denied.add((object_id, repository))

    def set_abac(self, host: str, *, is_so: bool) -> None:
        """Choose the mode: repository permissions, which ignore AcrPull, or not."""
        self._registry(host).is_abac = is_so

    def set_anonymous_pull(self, host: str, *, is_so: bool) -> None:
        """Let anybody pull, or nobody without a name."""
        self._registry(host).allows_anonymous = is_so

    def set_arm_tokens(self, host: str, *, is_so: bool) -> None:
        """Let the registry take tokens for Azure Resource Manager, or refuse them."""
        self._registry(host).allows_arm_tokens = is_so

    def set_firewall(self, host: str, address: str | None) -> None:
        """Let the firewall block us, under this address; None lets everybody in."""
        self._registry(host).blocked_address = address

    def set_data_endpoint(self, host: str, *, is_so: bool) -> None:
        """Serve blobs from a dedicated data endpoint."""
        self._registry(host).has_data_endpoint = is_so

    def set_admin_password(self, host: str, password: str | None) -> None:
        """Switch the admin user on with this password, or off."""
        self._registry(host).admin_password = password

    def add_token(self, host: str, name: str, repositories: dict[str, tuple[str, ...]]) -> str:
        """Make or replace a scope-map token with actions on repositories; return its password."""
        password = secrets.token_urlsafe(39)
        self._registry(host).tokens[name] = ScopeMapToken(password, repositories)
        return password

    def disable_token(self, host: str, name: str) -> None:
        """Switch a scope-map token off."""
        self._registry(host).tokens[name].is_enabled = False

    def put_manifest(  # noqa: PLR0913 -- where and what, the latter by name
        self,
        host: str,
        name: str,
        *,
        digest: str,
        media_type: str,
        blobs: tuple[str, ...] = (),
        tag: str | None = None,
    ) -> None:
        """Let a repository, made if need be, hold a manifest and blobs of the content store."""
        for each in (digest, *blobs):
            self._state.content.size(each)
        shelf = self._registry(host).shelves.setdefault(name, Shelf())
        shelf.put(digest, media_type, blobs, tag)

    def delete_repository(self, host: str, name: str) -> None:
        """Remove a repository with everything in it."""
        del self._registry(host).shelves[name]

    def delete_tag(self, host: str, name: str, tag: str) -> None:
        """Let a tag name nothing."""
        self._registry(host).shelves[name].tags.pop(tag)

    def blob_path(self, host: str, digest: str) -> str:
        """Return the path of a blob in storage, to aim a fault at."""
        return BlobStorage.path_of(self._registry(host), digest)

    def entra_token(self, client_id: str, tenant: str, audience: str = REGISTRY_AUDIENCE) -> str:
        """Return a token of Microsoft Entra without any call."""
        model = self._state.model
        return entra_token(self._state, model.identity(client_id), model.require_tenant(tenant), audience)

    def refresh_token(self, host: str, object_id: str) -> str:
        """Return a refresh token of the registry for somebody, without any call."""
        return refresh_token(self._state, self._registry(host), object_id)

    def set_life(
        self, *, entra: float | None = None, refresh: float | None = None, access: float | None = None
    ) -> None:
        """Let tokens given out from now on live so long, in seconds."""
        state = self._state
        state.entra_token_seconds = state.entra_token_seconds if entra is None else entra
        state.refresh_token_seconds = state.refresh_token_seconds if refresh is None else refresh
        state.access_token_seconds = state.access_token_seconds if access is None else access

    def set_storage_url_life(self, seconds: float) -> None:
        """Let the addresses that blobs are redirected to live so long."""
        self._state.storage_url_seconds = seconds

    def set_clock_offset(self, seconds: float) -> None:
        """Let Azure's clock be ahead of ours by so much; negative is behind."""
        self._state.clock.offset = seconds

    def set_propagation(self, seconds: float) -> None:
        """Let federated credentials made from now on be seen only so much later."""
        self._state.propagation_seconds = seconds

    def set_knows_audience(self, *, is_so: bool) -> None:
        """Choose whether tenants know the registry service."""
        self._state.knows_audience = is_so

    def set_names_federation_mismatch(self, *, is_so: bool) -> None:
        """Choose whether Entra says what about a federated token differs."""
        self._state.names_federation_mismatch = is_so

    def set_refuses_at_exchange(self, *, is_so: bool) -> None:
        """Choose where a missing role shows: at the exchange, or at the token endpoint."""
        self._state.refuses_at_exchange = is_so

    def set_reduces_access(self, *, is_so: bool) -> None:
        """Choose what a token for too much is: one for less, or a 401."""
        self._state.reduces_access = is_so

    def set_snapshots_permissions(self, *, is_so: bool) -> None:
        """Choose whether a refresh token keeps what its owner might do."""
        self._state.snapshots_permissions = is_so

    def answer_oddly(self, service: str, body: str) -> None:
        """Let a service say this the next time, with status 200, as a captive portal would."""
        self._state.odd[service] = body

    def end_tokens(self) -> int:
        """Let every registry token given out so far be dead; return how many there were."""
        count = len(self._state.given)
        self._state.dead |= self._state.given
        self._state.given.clear()
        return count

    def rotate_registry_key(self) -> None:
        """Let the registry service sign with another key and know the old one no more."""
        self._state.registry_signer = self._state.registry_signer.rotated()

    def rotate_entra_key(self) -> None:
        """Let Entra sign with another key and the registries know the old one no more."""
        self._state.entra_signer = self._state.entra_signer.rotated()

    def _registry(self, host: str) -> Registry:
        return self._state.model.registry(host)


def _made(identity: Identity) -> MadeIdentity:
    object_id = identity.principals[identity.home]
    return MadeIdentity(identity.client_id, object_id, identity.home, identity.resource_id)
