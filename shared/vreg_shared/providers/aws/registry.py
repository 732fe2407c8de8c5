"""How private ECR speaks on `/v2/`.

Its answers are not the protocol's: an expired token is 403 without a challenge, and 401 is plain text.
Source: live answers quoted in public issues (flipt#3043, containers-roadmap#1299, enroot#59).
"""

from typing import Final

from vreg_shared.pace import Pace
from vreg_shared.provider import Answer, Presentation, RegistryKind, RejectionRule
from vreg_shared.providers.aws.hosts import EcrHost, is_ecr_host

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
        403, Answer.HIDDEN, "permission_denied", code="DENIED", contains="is not authorized to perform"
    ),
    RejectionRule(401, Answer.REFUSED, "credential_rejected", refreshable=True),
    RejectionRule(400, Answer.REFUSED, "credential_rejected", refreshable=True),
    RejectionRule(404, Answer.ABSENT, "repository_unknown", code="NAME_UNKNOWN"),
    RejectionRule(405, Answer.UNAVAILABLE, "pagination_refused", code="UNSUPPORTED"),
)


def lease_scope(identity_id: str, host: str) -> str:
    """One token serves every account a principal may read, in one region of one partition."""
    place = EcrHost.parse(host)
    fips = "/fips" if place.fips else ""
    return f"{identity_id}/{place.partition.name}/{place.region}{fips}"


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


ECR: Final = RegistryKind(
    name="ecr",
    title="Amazon ECR (private)",
    example_host="123456789012.dkr.ecr.eu-west-1.amazonaws.com",
    methods=("aws.access_key", "aws.assume_role"),
    anonymous=False,
    presentation=Presentation.BASIC,
    owns=is_ecr_host,
    lease_scope=lease_scope,
    rejections=REJECTIONS,
    may_be_private=True,
    pace=pace,
    storage_names=storage_names,
)
