"""How registries without a cloud's identity speak on `/v2/`: the distribution specification's token dance."""

from typing import Final

from vreg_shared.provider import Answer, Presentation, RegistryKind, RejectionRule
from vreg_shared.providers.basic.hosts import is_oci_host

_REALMS: Final = {
    "registry-1.docker.io": "https://auth.docker.io/token",
    "registry.gitlab.com": "https://gitlab.com/jwt/auth",
}
"""Token endpoints that stand on another host than their registry; others must be the host's own."""

_DOCKER_HUB: Final = "registry-1.docker.io"
_STORAGE: Final = {
    _DOCKER_HUB: (
        "*.cloudflarestorage.com",
        "production.cloudflare.docker.com",
        "docker-images-prod.*.r2.cloudflarestorage.com",
    ),
    "quay.io": ("*.quay.io", "quayio-production-s3.s3.amazonaws.com"),
    "ghcr.io": ("pkg-containers.githubusercontent.com",),
    "registry.gitlab.com": ("cdn.registry.gitlab-static.net", "storage.googleapis.com"),
}

REJECTIONS: Final = (
    RejectionRule(403, Answer.UNAVAILABLE, "throttled", code="TOOMANYREQUESTS"),
    RejectionRule(
        401,
        Answer.HIDDEN,
        "permission_denied",
        contains="insufficient_scope",
        cause="The account may not pull from the repository, or there is no such repository.",
        remedy="Give the account the right to pull, and see that the repository's name is right.",
    ),
    RejectionRule(
        401,
        Answer.REFUSED,
        "credential_rejected",
        refreshable=True,
        cause="The password was withdrawn, has expired or was mistyped, or the account is locked.",
        remedy="Make a new password at the registry and give it to the identity.",
    ),
)


def token_realm(host: str) -> str | None:
    """Return the known token endpoint of `host`, or None when it is on the host itself."""
    return _REALMS.get(host)


def lease_scope(identity_id: str, host: str) -> str:
    """Return one scope a host: the same password can be good on one host and revoked on another."""
    return f"{identity_id}/{host}"


def storage_names(host: str) -> tuple[str, ...]:
    """Return the known names that blobs of `host` are redirected to."""
    return _STORAGE.get(host, ())


def upstream_repository(repository: str, host: str) -> str:
    """Docker Hub's official images stand below `library/`, and nobody else's do."""
    return f"library/{repository}" if host == _DOCKER_HUB and "/" not in repository else repository


OCI: Final = RegistryKind(
    name="oci",
    title="OCI registry",
    example_host="harbor.example.com",
    methods=("basic.password",),
    anonymous=True,
    is_generic=True,
    presentation=Presentation.REALM,
    owns=is_oci_host,
    lease_scope=lease_scope,
    rejections=REJECTIONS,
    token_realm=token_realm,
    storage_names=storage_names,
    upstream_repository=upstream_repository,
)
