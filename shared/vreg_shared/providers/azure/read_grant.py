"""What lets a principal of Microsoft Entra pull from one registry, or one repository of it."""

import re
import shlex
from typing import Final

from vreg_shared.auth_method import TrustStep
from vreg_shared.provider import Reader
from vreg_shared.providers.azure.hosts import AcrHost

_OBJECT: Final = re.compile(r"object ([0-9a-f-]{36})")


def read_grant(reader: Reader) -> tuple[TrustStep, ...]:
    """Return the role assignment for both of a registry's modes; only the one it is in has an effect."""
    place = AcrHost.parse(reader.host)
    found = _OBJECT.search(reader.principal)
    principal = found[1] if found is not None else "OBJECT_ID"
    cloud = f"az cloud set --name {place.cloud.cli_name}\n" if place.cloud.name != "public" else ""
    common = (
        "az role assignment create",
        f"--assignee-object-id {principal}",
        "--assignee-principal-type ServicePrincipal",
        f'--scope "$(az acr show --name {place.name} --query id --output tsv)"',
    )
    condition = (
        "((!(ActionMatches{'Microsoft.ContainerRegistry/registries/repositories/content/read'})"
        " AND !(ActionMatches{'Microsoft.ContainerRegistry/registries/repositories/metadata/read'}))"
        " OR (@Request[Microsoft.ContainerRegistry/registries/repositories:name]"
        f" StringEqualsIgnoreCase '{reader.repository}'))"
    )
    of_repository = (
        *common,
        '--role "Container Registry Repository Reader"',
        f"--condition {shlex.quote(condition)}",
        "--condition-version 2.0",
    )
    return (
        TrustStep(f"Let it pull from {reader.host}", cloud + _command((*common, "--role AcrPull"))),
        TrustStep(
            "Instead, if the registry has repository permissions (ABAC)", cloud + _command(of_repository)
        ),
    )


def _command(parts: tuple[str, ...]) -> str:
    return " \\\n  ".join(parts)
