"""What lets a principal of Google read one repository of Artifact Registry."""

import shlex

from vreg_shared.auth_method import TrustStep
from vreg_shared.provider import Reader
from vreg_shared.providers.gcp.hosts import GarHost, project_of


def read_grant(reader: Reader) -> tuple[TrustStep, ...]:
    """Return the command, with location, project and repository as host and path name them."""
    place, project = GarHost.parse(reader.host), project_of(reader.repository)
    rest = reader.repository.removeprefix(project).strip("/")
    repository = reader.host if place.is_gcr else rest.partition("/")[0]
    options = (
        f"--location={place.location or 'LOCATION'}",
        f"--project={project.replace('/', ':') or 'PROJECT'}",
        f"--member={_member(reader.principal)}",
        "--role=roles/artifactregistry.reader",
    )
    bind = f"gcloud artifacts repositories add-iam-policy-binding {shlex.quote(repository or 'REPOSITORY')}"
    return (TrustStep("Let it read the repository", " \\\n  ".join((bind, *map(shlex.quote, options)))),)


def _member(principal: str) -> str:
    """Return a principal as policies name it: only a service account is told by its address alone."""
    if "@" in principal and ":" not in principal:
        return f"serviceAccount:{principal}"
    return principal or "MEMBER"
