"""Azure for the contract kit: two tenants, and a registry and an identity of its own for each applicant."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tests.clouds.azure.control import MadeIdentity
from tests.clouds.azure.machine import IMDS
from tests.clouds.azure_scene import DOMAIN, acr, make_certificate
from tests.clouds.clouds import Clouds
from tests.clouds.images import make_image
from tests.contract.stage import Applicant, Prepared, Stage
from vreg_shared.auth_method import AuthMethod
from vreg_shared.providers.azure import PROVIDER
from vreg_shared.providers.azure.auth_methods import (
    ClientCertificate,
    ClientSecret,
    ManagedIdentity,
    WorkloadIdentity,
)
from vreg_shared.providers.azure.usable_for import AzureUsableFor
from vreg_shared.secret import Secret


@dataclass
class Played:
    """Who plays one applicant's part now."""

    applicant: Applicant
    host: str
    identity: MadeIdentity


class AzureStage:
    """The methods differ in how the identity proves itself; its role on the registry is the same."""

    def __init__(self, clouds: Clouds) -> None:
        self._clouds = clouds
        self._azure = clouds.azure
        self._tenants = [clouds.azure.add_tenant(domain) for domain in (DOMAIN, f"other-{DOMAIN}")]
        self._played: dict[str, Played] = {}

    def prepare(self, tag: str, applicant: Applicant) -> Prepared:
        assert tag in {method.tag for method in PROVIDER.methods}
        repository = f"team/{applicant.identity_id.lower()}"
        host = self._azure.add_registry(f"contract{applicant.identity_id.lower()}", self._tenant(tag))
        digest = acr(self._clouds, host, repository).push(make_image(repository), "1")
        method, secrets = self._trusted(tag, applicant, host)
        return Prepared(
            method=method,
            usable_for=AzureUsableFor(registries=(host,)),
            kind="acr",
            host=host,
            repository=repository,
            tag="1",
            digest=digest,
            environment=self._environment(tag),
            services=(IMDS if tag == ManagedIdentity.tag else "entra", "acr"),
            secrets=secrets,
        )

    def push(self, prepared: Prepared, seed: str, tag: str) -> str:
        return acr(self._clouds, prepared.host, prepared.repository).push(make_image(seed), tag)

    def granted(self) -> int:
        return self._clouds.log.count(service="acr", path="/oauth2/exchange", status="200")

    def set_life(self, seconds: float) -> None:
        self._azure.set_life(refresh=seconds)

    def end_credentials(self) -> None:
        self._azure.end_tokens()

    def refuse(self, prepared: Prepared) -> None:
        self._azure.revoke(prepared.host, self._played[prepared.host].identity.object_id)

    def replace(self, prepared: Prepared) -> Prepared:
        played, tag = self._played[prepared.host], prepared.method.tag
        old = played.identity
        if isinstance(prepared.method, ClientSecret):
            self._azure.delete_secret(old.client_id, prepared.method.client_secret.reveal())
        self._azure.set_certificates(old.client_id, ())
        self._azure.unfederate(old.client_id)
        method, secrets = self._trusted(tag, played.applicant, prepared.host)
        return replace(prepared, method=method, secrets=(*prepared.secrets, *secrets))

    def _tenant(self, tag: str) -> str:
        """Return the tenant that an auth method is tried in: secrets in the one, keyless in the other."""
        return self._tenants[tag in {WorkloadIdentity.tag, ManagedIdentity.tag}]

    def _trusted(self, tag: str, applicant: Applicant, host: str) -> tuple[AuthMethod, tuple[str, ...]]:
        """Make an identity that proves itself by this method, with a role on the registry."""
        name = applicant.identity_id.lower()
        if tag == ManagedIdentity.tag:
            identity = self._azure.add_managed_identity(self._tenant(tag), name)
            self._azure.set_machine(IMDS, (identity.client_id,))
        else:
            identity = self._azure.add_app(self._tenant(tag), name)
        self._azure.grant(host, identity.object_id)
        self._played[host] = Played(applicant, host, identity)
        return self._method(tag, applicant, identity)

    def _method(
        self, tag: str, applicant: Applicant, identity: MadeIdentity
    ) -> tuple[AuthMethod, tuple[str, ...]]:
        who = {"tenant_id": self._tenant(tag), "client_id": identity.client_id}
        if tag == ClientSecret.tag:
            secret = self._azure.add_secret(identity.client_id)
            return ClientSecret(**who, client_secret=Secret(secret)), (secret,)
        if tag == ClientCertificate.tag:
            made = make_certificate(identity.client_id)
            self._azure.set_certificates(identity.client_id, (made.certificate,))
            key = made.private_key
            return ClientCertificate(**who, certificate=made.certificate, private_key=Secret(key)), (key,)
        if tag == WorkloadIdentity.tag:
            method = WorkloadIdentity(**who)
            audience = method.identity_token.audience
            self._azure.federate(identity.client_id, applicant.issuer_url, applicant.subject, audience)
            return method, ()
        return ManagedIdentity(client_id=identity.client_id), ()

    def _environment(self, tag: str) -> Mapping[str, str]:
        if tag != ManagedIdentity.tag:
            return {}
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": self._clouds.local[IMDS]}


def stage(clouds: Clouds) -> Stage:
    """Return Azure's stage."""
    return AzureStage(clouds)
