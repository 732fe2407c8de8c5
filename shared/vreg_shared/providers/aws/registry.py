"""How ECR speaks on `/v2/`, private and public.

Its answers are not the protocol's: an expired token is 403 or 400 without a challenge, and 401 is plain text.
Sources: live answers quoted in public issues (flipt#3043, containers-roadmap#1299 and #2835, enroot#59).
"""

from typing import Final

from vreg_shared.pace import Pace
from vreg_shared.provider import Answer, Presentation, RegistryKind, RejectionRule
from vreg_shared.providers.aws.auth_methods import METHODS
from vreg_shared.providers.aws.hosts import EcrHost, is_ecr_host, is_ecr_public_host
from vreg_shared.providers.aws.read_grant import read_grant

REJECTIONS: Final = (
    RejectionRule(
        403,
        Answer.REFUSED,
        "credential_expired",
        code="DENIED",
        contains="authorization token has expired",
        refreshable=True,
    ),
    RejectionRule(
        403,
        Answer.HIDDEN,
        "permission_denied",
        code="DENIED",
        contains="no resource-based policy allows",
        cause="The repository is another account's, and its own policy does not let the role pull.",
        remedy="In the repository's account, set the repository policy that the trust steps show.",
    ),
    RejectionRule(
        403,
        Answer.HIDDEN,
        "permission_denied",
        code="DENIED",
        contains="is not authorized to perform",
        cause="The user or role may get a token and not read this repository.",
        remedy="Allow ecr:BatchGetImage, ecr:GetDownloadUrlForLayer and ecr:BatchCheckLayerAvailability on "
        "the repository; a session policy or an explicit deny counts too.",
    ),
    RejectionRule(401, Answer.REFUSED, "credential_rejected", refreshable=True),
    RejectionRule(400, Answer.REFUSED, "credential_rejected", refreshable=True),
    RejectionRule(
        404,
        Answer.ABSENT,
        "repository_unknown",
        code="NAME_UNKNOWN",
        cause="There is no repository of this name in this account and region.",
        remedy="Correct the upstream's host or repository prefix. A repository of a pull-through cache "
        "exists only after a first pull by somebody who may ecr:CreateRepository and "
        "ecr:BatchImportUpstreamImage.",
    ),
    RejectionRule(405, Answer.UNAVAILABLE, "pagination_refused", code="UNSUPPORTED"),
)
PUBLIC_REJECTIONS: Final = (
    RejectionRule(
        400,
        Answer.REFUSED,
        "credential_expired",
        code="DENIED",
        contains="token has expired",
        refreshable=True,
    ),
    RejectionRule(
        400,
        Answer.REFUSED,
        "credential_rejected",
        code="DENIED",
        contains="token is invalid",
        refreshable=True,
    ),
    RejectionRule(401, Answer.REFUSED, "credential_rejected", refreshable=True),
    RejectionRule(
        429,
        Answer.UNAVAILABLE,
        "throttled",
        cause="More than one pull a second without an identity, or ten with one.",
        remedy="Give the upstream an identity; it is limited ten times later.",
    ),
)


def lease_scope(identity_id: str, host: str) -> str:
    """One token serves every account a principal may read, in one region of one partition."""
    place = EcrHost.parse(host)
    fips = "/fips" if place.fips else ""
    return f"{identity_id}/{place.partition.name}/{place.region}{fips}"


def public_lease_scope(identity_id: str, host: str) -> str:
    """One token serves all of ECR Public."""
    del host
    return f"{identity_id}/public"


def storage_names(host: str) -> tuple[str, ...]:
    """Return the names of the buckets that blobs are redirected to: S3 in the same region."""
    place = EcrHost.parse(host)
    suffix = place.partition.suffix
    return (
        f"prod-{place.region}-starport-layer-bucket.s3.{place.region}.{suffix}",
        f"prod-{place.region}-starport-layer-bucket.s3.dualstack.{place.region}.{suffix}",
    )


def pace(host: str) -> Pace:
    """ECR counts token calls by account and region; by region alone is stricter, and needs no account.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors.html
    """
    place = EcrHost.parse(host)
    return Pace(f"aws/{place.partition.name}/{place.region}", 20)


def public_token_realm(host: str) -> str:
    """Return where a host gives registry tokens to those without an identity."""
    return f"https://{host}/token/"


def public_storage_names(host: str) -> tuple[str, ...]:
    """Return the names that blobs of ECR Public are redirected to.

    AWS documents none; CloudFront is what is generally observed, under names that nobody has listed.
    """
    del host
    return ("*.cloudfront.net",)


_TAGS: Final = tuple(method.tag for method in METHODS)


ECR: Final = RegistryKind(
    name="ecr",
    title="Amazon ECR (private)",
    example_host="123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    methods=_TAGS,
    anonymous=False,
    presentation=Presentation.BASIC,
    owns=is_ecr_host,
    lease_scope=lease_scope,
    rejections=REJECTIONS,
    may_be_private=True,
    pace=pace,
    storage_names=storage_names,
    read_grant=read_grant,
)
ECR_PUBLIC: Final = RegistryKind(
    name="ecr_public",
    title="Amazon ECR Public",
    example_host="public.ecr.aws",
    methods=_TAGS,
    anonymous=True,
    presentation=Presentation.BEARER,
    owns=is_ecr_public_host,
    lease_scope=public_lease_scope,
    rejections=PUBLIC_REJECTIONS,
    token_realm=public_token_realm,
    storage_names=public_storage_names,
    stale_token_statuses=frozenset({400, 401}),
)
