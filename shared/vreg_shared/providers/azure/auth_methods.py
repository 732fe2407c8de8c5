"""The ways to prove ourselves to Microsoft Entra ID; each class is also its form.

The authority is computed from the cloud and the audience is the registry service's own: neither is input.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from vreg_shared.auth_method import (
    AuthMethod,
    IdentityTokenNeed,
    Objection,
    TokenFileName,
    TrustContext,
    TrustStep,
    UsableFor,
)
from vreg_shared.provider import InvalidHostError
from vreg_shared.providers.azure import certificate, trust
from vreg_shared.providers.azure.hosts import AcrHost, CloudName, cloud_named
from vreg_shared.providers.azure.usable_for import AzureUsableFor
from vreg_shared.secret import Secret

_GUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
TenantId = Annotated[
    str,
    Field(
        title="Tenant id",
        description="Directory (tenant) id, or a verified domain, of the tenant the registry's subscription "
        "belongs to; not of the tenant the application was registered in, if that is another.",
        examples=["72f988bf-86f1-41af-91ab-2d7cd011db47"],
        pattern=rf"^(?:{_GUID}|(?:[A-Za-z0-9](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?\.)+[A-Za-z]{{2,63}})$",
        max_length=253,
    ),
]
ClientId = Annotated[
    str,
    Field(
        title="Client id",
        description="Application (client) id.",
        examples=["11112222-bbbb-3333-cccc-4444dddd5555"],
        pattern=rf"^{_GUID}$",
    ),
]
Cloud = Annotated[
    CloudName,
    Field(
        title="Cloud",
        description="`public`; `us_gov` for registries below azurecr.us; `china` (21Vianet) for azurecr.cn.",
        examples=["public"],
    ),
]


_RESOURCE_ID: Final = (
    "/subscriptions/aaaa0a0a-bb1b-cc2c-dd3d-eeeeee4e4e4e/resourceGroups/RG/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/vreg-pull"
)


class _Application(AuthMethod):
    """An application or identity known by its client id, in the tenant of the registry."""

    tenant_id: TenantId
    client_id: ClientId
    cloud: Cloud = "public"

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Object to registries of another cloud: their tokens come from another Entra."""
        del now
        named = usable_for.registries if isinstance(usable_for, AzureUsableFor) else ()
        strangers = [host for host in named if _cloud_of(host) != self.cloud]
        if not strangers:
            return ()
        message = f"{strangers[0]} is no registry of the cloud {self.cloud}; use one identity for each cloud"
        return (Objection("cloud", "cloud_mismatch", message),)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the application gets its role on each registry."""
        return trust.roles(context.usable_for, self._principal)

    @property
    def _principal(self) -> str:
        """The command that prints the object id that roles are assigned to."""
        return trust.principal_of_client(self.client_id)


class ClientSecret(_Application):
    """An application that proves itself with a client secret."""

    tag: ClassVar[str] = "azure.client_secret"
    title: ClassVar[str] = "Client secret"
    help: ClassVar[str] = (
        "A service principal with a secret, which ends after at most two years and must be replaced by hand "
        "before: prefer workload identity, which has none."
    )

    method: Literal["azure.client_secret"] = "azure.client_secret"
    client_secret: Annotated[
        Secret,
        Field(
            title="Client secret", description="The secret's value, shown once when it was made; not its id."
        ),
    ]

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the secret is made, and the role."""
        return (trust.new_secret(self.client_id), *super().trust_steps(context))


class ClientCertificate(_Application):
    """An application that proves itself by signing with the key of a certificate."""

    tag: ClassVar[str] = "azure.client_certificate"
    title: ClassVar[str] = "Client certificate"
    help: ClassVar[str] = (
        "A service principal with a certificate. Only the certificate is given to Azure; its private key "
        "signs each request and never leaves vreg."
    )

    method: Literal["azure.client_certificate"] = "azure.client_certificate"
    certificate: Annotated[
        str,
        Field(
            title="Certificate",
            description="PEM text of the certificate that the application knows; of a chain, the first.",
            max_length=65536,
        ),
        AfterValidator(certificate.require_certificate),
    ]
    private_key: Annotated[
        Secret,
        Field(
            title="Private key", description="PEM text of the certificate's RSA key, without a passphrase."
        ),
        AfterValidator(certificate.require_key),
    ]

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        if not certificate.fits(self.certificate, self.private_key):
            raise ValueError("the private key is not the certificate's")
        return self

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Object to a certificate that is not valid now, besides what holds for every application."""
        found = super().objections(usable_for, now)
        if certificate.has_ended(self.certificate, now):
            message = "the certificate has ended; give the application and this identity a new one"
            found += (Objection("certificate", "certificate_expired", message),)
        if certificate.begins_later(self.certificate, now):
            message = "the certificate is not valid yet; wait, or set the clock of this machine"
            found += (Objection("certificate", "certificate_not_yet_valid", message),)
        return found

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the application learns the certificate, and the role."""
        return (trust.new_certificate(self.client_id, self.certificate), *super().trust_steps(context))


class WorkloadIdentity(_Application):
    """An application or user-assigned identity that trusts tokens of another issuer: no secret at all."""

    tag: ClassVar[str] = "azure.workload_identity"
    title: ClassVar[str] = "Workload identity federation"
    help: ClassVar[str] = (
        "An application or user-assigned identity with a federated credential for this identity's subject. "
        "There is no secret to keep or to renew."
    )

    method: Literal["azure.workload_identity"] = "azure.workload_identity"
    token_file: TokenFileName = None

    @property
    def identity_token(self) -> IdentityTokenNeed:
        """A token for the audience that the cloud's federated credentials use."""
        return IdentityTokenNeed(cloud_named(self.cloud).federation_audience, self.token_file)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return the federated credential, with issuer and subject where vreg knows them, and the role."""
        is_ours = self.token_file is None
        federation = trust.Federation(
            name=f"vreg-{context.subject.rpartition(':')[2].lower()}",
            issuer=context.issuer_url if is_ours and context.issuer_url else "ISSUER_OF_THE_TOKEN",
            subject=context.subject if is_ours else "SUBJECT_OF_THE_TOKEN",
            audience=self.identity_token.audience,
        )
        return (*trust.federate(self.client_id, federation), *super().trust_steps(context))


class ManagedIdentity(AuthMethod):
    """The identity that Azure gives to the machine or container which the token-broker runs in."""

    tag: ClassVar[str] = "azure.managed_identity"
    title: ClassVar[str] = "Managed identity"
    help: ClassVar[str] = (
        "The managed identity of the machine that vreg runs on: system-assigned when nothing is named, or "
        "one user-assigned identity. It works within its own tenant only."
    )
    is_ambient: ClassVar[bool] = True
    platform_variables: ClassVar[tuple[str, ...]] = (
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    )

    method: Literal["azure.managed_identity"] = "azure.managed_identity"
    source: Annotated[
        Literal["imds", "app_service", "container_apps"],
        Field(
            title="Source",
            description="Who hands the token out: `imds` on virtual machines, scale sets and AKS nodes; "
            "`app_service` for App Service and Functions; `container_apps` for Container Apps.",
            examples=["imds"],
        ),
    ] = "imds"
    client_id: Annotated[
        str | None,
        Field(
            title="Client id",
            description="Of a user-assigned identity; name it by one id at most.",
            examples=["11112222-bbbb-3333-cccc-4444dddd5555"],
            pattern=rf"^{_GUID}$",
        ),
    ] = None
    object_id: Annotated[
        str | None,
        Field(
            title="Object id",
            description="Object (principal) id of a user-assigned identity.",
            examples=["aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"],
            pattern=rf"^{_GUID}$",
        ),
    ] = None
    resource_id: Annotated[
        str | None,
        Field(
            title="Resource id",
            description="Azure Resource Manager id of a user-assigned identity.",
            examples=[_RESOURCE_ID],
            pattern=rf"^/subscriptions/{_GUID}/resource[Gg]roups/[\w.()-]{{1,90}}/providers/"
            r"Microsoft\.ManagedIdentity/userAssignedIdentities/[A-Za-z0-9_-]{3,128}$",
        ),
    ] = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if sum(each is not None for each in (self.client_id, self.object_id, self.resource_id)) > 1:
            raise ValueError("name a user-assigned identity by client id, object id or resource id, by one")
        return self

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the identity is given to the machine, and its role on each registry."""
        if self.object_id is not None:
            principal = self.object_id
        elif self.client_id is not None:
            principal = trust.principal_of_client(self.client_id)
        elif self.resource_id is not None:
            principal = trust.principal_of_resource(self.resource_id)
        else:
            principal = trust.principal_of_machine(self.source)
        is_system = not (self.client_id or self.object_id or self.resource_id)
        return (
            trust.give_to_machine(self.source, None if is_system else self.resource_id or "IDENTITY_ID"),
            *trust.roles(context.usable_for, principal),
        )


def _cloud_of(host: str) -> str:
    try:
        return AcrHost.parse(host).cloud.name
    except InvalidHostError:
        return ""
