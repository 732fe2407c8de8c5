"""What Azure must be told before it trusts an identity: az commands with everything filled in that we know.

Words in capitals are for the reader to replace.
"""

import json
import shlex
from dataclasses import dataclass
from typing import Final

from vreg_shared.auth_method import TrustStep, UsableFor
from vreg_shared.providers.azure.hosts import AcrHost
from vreg_shared.providers.azure.usable_for import AzureUsableFor

_CONDITION: Final = (
    "((!(ActionMatches{'Microsoft.ContainerRegistry/registries/repositories/content/read'})\n"
    "  AND !(ActionMatches{'Microsoft.ContainerRegistry/registries/repositories/metadata/read'}))\n"
    " OR (@Request[Microsoft.ContainerRegistry/registries/repositories:name]"
    " StringEqualsIgnoreCase 'REPOSITORY'))"
)
_FEDERATION_FILE: Final = "federated-credential.json"
_CONDITION_FILE: Final = "condition.txt"


@dataclass(frozen=True, slots=True)
class Federation:
    """What a federated credential compares, exactly and with case."""

    name: str
    issuer: str
    subject: str
    audience: str


def roles(usable_for: UsableFor, principal: str) -> tuple[TrustStep, ...]:
    """Return how `principal` gets its role on each registry, in both of a registry's modes."""
    hosts = usable_for.registries if isinstance(usable_for, AzureUsableFor) else ()
    of_registry = ("--role AcrPull",)
    of_repository = (
        '--role "Container Registry Repository Reader"',
        f'--condition "$(cat {_CONDITION_FILE})"',
        "--condition-version 2.0",
    )
    condition = TrustStep(
        "Only for registries with repository permissions (ABAC): the condition that permits one repository",
        _CONDITION,
        language="text",
        file=_CONDITION_FILE,
    )
    return (
        *(_role(host, principal, "Let it pull from {}", of_registry) for host in hosts),
        condition,
        *(
            _role(host, principal, "Instead, if {} has repository permissions", of_repository)
            for host in hosts
        ),
    )


def _role(host: str, principal: str, title: str, options: tuple[str, ...]) -> TrustStep:
    place = AcrHost.parse(host)
    cloud = f"az cloud set --name {place.cloud.cli_name}\n" if place.cloud.name != "public" else ""
    assign = _command(
        "az role assignment create",
        f"--assignee-object-id {_argument(principal)}",
        "--assignee-principal-type ServicePrincipal",
        f'--scope "$(az acr show --name {place.name} --query id --output tsv)"',
        *options,
    )
    return TrustStep(title.format(host), cloud + assign)


def new_secret(client_id: str) -> TrustStep:
    """Return how an application gets one more secret."""
    reset = _command(f"az ad app credential reset --id {client_id}", "--append", "--query password")
    return TrustStep("Make a secret; its value is shown once", reset)


def new_certificate(client_id: str, pem: str) -> TrustStep:
    """Return how an application learns the certificate, which is no secret."""
    written = f"cat > vreg.pem <<'PEM'\n{pem}PEM\n"
    reset = _command(f"az ad app credential reset --id {client_id}", "--cert @vreg.pem", "--append")
    return TrustStep("Give the application the certificate", written + reset)


def federate(client_id: str, federation: Federation) -> tuple[TrustStep, ...]:
    """Return how an application, or a user-assigned identity, trusts an issuer for one subject."""
    credential = {
        "name": federation.name,
        "issuer": federation.issuer,
        "subject": federation.subject,
        "audiences": [federation.audience],
    }
    on_application = _command(
        f"az ad app federated-credential create --id {client_id}", f"--parameters @{_FEDERATION_FILE}"
    )
    on_identity = _command(
        "az identity federated-credential create --identity-name IDENTITY --resource-group RG",
        f"--name {federation.name}",
        f"--issuer {shlex.quote(federation.issuer)}",
        f"--subject {shlex.quote(federation.subject)}",
        f"--audiences {shlex.quote(federation.audience)}",
    )
    return (
        TrustStep(
            "The federated credential",
            json.dumps(credential, indent=2),
            language="json",
            file=_FEDERATION_FILE,
        ),
        TrustStep("Give it to the application", on_application),
        TrustStep("Instead, if the client id is a user-assigned identity's: give it to that", on_identity),
    )


def give_to_machine(source: str, identity: str | None) -> TrustStep:
    """Return how a machine gets a user-assigned identity, or its own when `identity` is None."""
    user = f"--user-assigned {identity}" if identity is not None else "--system-assigned"
    commands = {
        "imds": "az vm identity assign --resource-group RG --name VM"
        + (f" --identities {identity}" if identity is not None else ""),
        "app_service": "az webapp identity assign --resource-group RG --name APP"
        + (f" --identities {identity}" if identity is not None else ""),
        "container_apps": f"az containerapp identity assign --resource-group RG --name APP {user}",
    }
    return TrustStep("Give the identity to what the token-broker runs in", commands[source])


def principal_of_client(client_id: str) -> str:
    """Return the command that prints the object id of a service principal."""
    return f"az ad sp show --id {client_id} --query id --output tsv"


def principal_of_resource(resource_id: str) -> str:
    """Return the command that prints the object id of a user-assigned identity."""
    return f"az identity show --ids {shlex.quote(resource_id)} --query principalId --output tsv"


def principal_of_machine(source: str) -> str:
    """Return the command that prints the object id of a machine's own identity."""
    noun = {"imds": "vm identity show --name VM", "app_service": "webapp identity show --name APP"}
    found = noun.get(source, "containerapp identity show --name APP")
    return f"az {found} --resource-group RG --query principalId --output tsv"


def _argument(principal: str) -> str:
    """Return an object id as it is, and what a command prints in its place."""
    return f'"$({principal})"' if principal.startswith("az ") else principal


def _command(first: str, *options: str) -> str:
    return " \\\n  ".join((first, *options))
