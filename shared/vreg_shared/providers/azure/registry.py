"""How Azure Container Registry speaks on `/v2/` and at its own token endpoint.

The lease is a refresh token, shown as Basic with a user name of zeros; every registry token is good for one
repository, which is what registries with repository permissions (ABAC) insist on. Two refusals share the
status 403 and differ by their text. Sources: https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md;
live answers quoted in issues of Azure/acr.
"""

from typing import Final

from vreg_shared.provider import Answer, Presentation, RegistryKind, RejectionRule
from vreg_shared.providers.azure.hosts import AcrHost, is_acr_host
from vreg_shared.providers.azure.read_grant import read_grant

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The user name that tells the token endpoint that a refresh token stands for the password."""
FIREWALL: Final = "is not allowed access"
FIREWALL_CAUSE: Final = "The registry's firewall does not let our address in, or its public access is off."
FIREWALL_REMEDY: Final = (
    "Add the address in the provider's words to the registry's network rules, or reach it by a private "
    "endpoint."
)
ROLE_CAUSE: Final = (
    "The identity has no role on the registry that may pull, or has AcrPull on a registry with repository "
    "permissions (ABAC), which ignores it."
)
ROLE_REMEDY: Final = (
    "Assign AcrPull on the registry, or, with repository permissions, Container Registry Repository Reader; "
    "an assignment takes some minutes to apply."
)

REJECTIONS: Final = (
    RejectionRule(
        403,
        Answer.UNAVAILABLE,
        "network_firewall",
        contains=FIREWALL,
        cause=FIREWALL_CAUSE,
        remedy=FIREWALL_REMEDY,
    ),
    RejectionRule(
        403,
        Answer.HIDDEN,
        "permission_denied",
        contains="retrieving permissions failed",
        cause=ROLE_CAUSE,
        remedy=ROLE_REMEDY,
    ),
    RejectionRule(401, Answer.HIDDEN, "permission_denied", contains="insufficient_scope"),
    RejectionRule(
        401,
        Answer.REFUSED,
        "credential_rejected",
        refreshable=True,
        cause="The password of a scope-map token or of the admin user is not accepted.",
        remedy="Give the identity its user name and password again, and look whether they have ended.",
    ),
    RejectionRule(404, Answer.ABSENT, "repository_unknown", code="NAME_UNKNOWN"),
    RejectionRule(404, Answer.ABSENT, "manifest_unknown", code="MANIFEST_UNKNOWN"),
    RejectionRule(
        429,
        Answer.UNAVAILABLE,
        "throttled",
        cause="The registry is asked more often than its tier permits.",
        remedy="Wait; if it happens often, cache for longer or choose a higher tier.",
    ),
)


def lease_scope(identity_id: str, host: str) -> str:
    """Return one scope a login server: a refresh token is good for the registry that gave it."""
    return f"{identity_id}/{host}"


def token_realm(host: str) -> str:
    """Return the token endpoint: on the login server, whatever a challenge says."""
    return f"https://{host}/oauth2/token"


def storage_names(host: str) -> tuple[str, ...]:
    """Return the names that blobs are redirected to: the cloud's storage, or dedicated data endpoints."""
    place = AcrHost.parse(host)
    return f"*.{place.cloud.storage_domain}", f"{place.label}.*.data.{place.cloud.domain}"


ACR: Final = RegistryKind(
    name="acr",
    title="Azure Container Registry",
    example_host="contoso.azurecr.io",
    methods=(
        "azure.client_secret",
        "azure.client_certificate",
        "azure.workload_identity",
        "azure.managed_identity",
        "basic.password",
    ),
    anonymous=True,
    presentation=Presentation.REALM,
    owns=is_acr_host,
    lease_scope=lease_scope,
    rejections=REJECTIONS,
    may_be_private=True,
    token_realm=token_realm,
    storage_names=storage_names,
    read_grant=read_grant,
)
