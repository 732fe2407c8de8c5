"""How Artifact Registry speaks on `/v2/`: a rejected token gets no challenge, a forbidden place is hidden.

Source: live captures recorded by e6qu/sockerless-cloud, ar_dataplane_auth.go.
"""

from typing import Final

from vreg_shared.provider import Answer, Presentation, RegistryKind, RejectionRule
from vreg_shared.providers.gcp.hosts import GarHost, is_gar_host, project_of
from vreg_shared.providers.gcp.read_grant import read_grant

_READER: Final = (
    "Give the identity's service account or principal roles/artifactregistry.reader on the repository, and "
    "check the location in the host and the project and repository in the path: Google does not say which of "
    "them is wrong."
)

REJECTIONS: Final = (
    RejectionRule(
        401,
        Answer.REFUSED,
        "credential_rejected",
        refreshable=True,
        cause="The access token has ended or was revoked.",
        remedy="vreg fetches a new one by itself; if this stays, test the identity.",
    ),
    RejectionRule(
        403,
        Answer.HIDDEN,
        "identity_needed",
        code="DENIED",
        contains="unauthenticated request",
        cause="The upstream has no identity, and the repository may not be read by everybody.",
        remedy="Give the upstream an identity, or let allUsers read the repository.",
    ),
    RejectionRule(
        403,
        Answer.HIDDEN,
        "permission_or_not_found",
        code="DENIED",
        contains="(or it may not exist)",
        cause="The identity may not read the repository, or there is no such repository in this location.",
        remedy=_READER,
    ),
    RejectionRule(403, Answer.HIDDEN, "permission_denied"),
    RejectionRule(
        400,
        Answer.REFUSED,
        "repository_name_invalid",
        code="NAME_INVALID",
        cause="The path is too short: it must be project/repository/image (gcr.io: project/image).",
        remedy="Put the project and the repository into the upstream's repository prefix.",
    ),
    RejectionRule(404, Answer.ABSENT, "repository_unknown", code="NAME_UNKNOWN"),
    RejectionRule(404, Answer.ABSENT, "manifest_unknown", code="MANIFEST_UNKNOWN"),
    RejectionRule(
        429,
        Answer.UNAVAILABLE,
        "throttled",
        cause="The project's quota of requests in this location is used up.",
        remedy="Ask Google for more of artifactregistry.googleapis.com/project_region_requests.",
    ),
)


def lease_scope(identity_id: str, _host: str) -> str:
    """One access token serves every location and project that the principal may read."""
    return f"{identity_id}/google"


def token_realm(host: str) -> str:
    """Return where anonymous pulls get their token: on the registry's own host."""
    return f"https://{host}/v2/token"


def storage_names(host: str) -> tuple[str, ...]:
    """Return what blobs are redirected to: nothing but the host itself, except on the older gcr.io."""
    return ("storage.googleapis.com",) if GarHost.parse(host).is_gcr else ()


GAR: Final = RegistryKind(
    name="gar",
    title="Google Artifact Registry",
    example_host="europe-west3-docker.pkg.dev",
    methods=(
        "gcp.service_account_key",
        "gcp.metadata",
        "gcp.workload_identity_federation",
        "gcp.aws_federation",
        "gcp.aws_access_key_federation",
        "gcp.impersonation",
    ),
    anonymous=True,
    presentation=Presentation.BEARER,
    owns=is_gar_host,
    lease_scope=lease_scope,
    rejections=REJECTIONS,
    may_be_private=True,
    token_realm=token_realm,
    storage_names=storage_names,
    lease_repositories=project_of,
    read_grant=read_grant,
)
