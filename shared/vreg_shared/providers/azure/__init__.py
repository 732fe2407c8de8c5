"""Microsoft Azure: Azure Container Registry in every cloud, by identities of Microsoft Entra ID."""

from typing import Final

from vreg_shared.auth_method import AuthMethod
from vreg_shared.provider import MethodExample, Provider
from vreg_shared.providers.azure.auth_methods import (
    ClientCertificate,
    ClientSecret,
    ManagedIdentity,
    WorkloadIdentity,
)
from vreg_shared.providers.azure.example_certificate import EXAMPLE_CERTIFICATE, EXAMPLE_KEY
from vreg_shared.providers.azure.refusals import EXCHANGE, REFUSALS
from vreg_shared.providers.azure.registry import ACR
from vreg_shared.providers.azure.usable_for import AzureUsableFor
from vreg_shared.secret import Secret

_HOST: Final = "contoso.azurecr.io"
_TENANT: Final = "72f988bf-86f1-41af-91ab-2d7cd011db47"
_CLIENT: Final = "11112222-bbbb-3333-cccc-4444dddd5555"


def _example(method: AuthMethod) -> MethodExample:
    return MethodExample(
        method=method, usable_for=AzureUsableFor(registries=(_HOST,)), kind="acr", host=_HOST
    )


PROVIDER: Final = Provider(
    name="azure",
    title="Microsoft Azure",
    kinds=(ACR,),
    methods=(ClientSecret, ClientCertificate, WorkloadIdentity, ManagedIdentity),
    usable_for=AzureUsableFor,
    refusals=REFUSALS,
    credential_steps=frozenset({EXCHANGE}),
    examples=(
        _example(
            ClientSecret(
                tenant_id=_TENANT,
                client_id=_CLIENT,
                client_secret=Secret("example-client-secret-of-40-characters-ab"),
            )
        ),
        _example(
            ClientCertificate(
                tenant_id=_TENANT,
                client_id=_CLIENT,
                certificate=EXAMPLE_CERTIFICATE,
                private_key=Secret(EXAMPLE_KEY),
            )
        ),
        _example(WorkloadIdentity(tenant_id=_TENANT, client_id=_CLIENT)),
        _example(ManagedIdentity(client_id=_CLIENT)),
    ),
)
