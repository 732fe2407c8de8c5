"""What the forms of AWS's auth methods ask for.

Constraints: botocore data/sts/2011-06-15/service-2.json.
"""

from typing import Annotated, Final

from pydantic import Field

from vreg_shared.secret import Secret

CHAINED_SECONDS: Final = 3600
"""The longest session of a role that is assumed with another session."""
_ROLE_ARN: Final = r"^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$"
_ROLE_EXAMPLE: Final = "arn:aws:iam::123456789012:role/vreg-pull"

AccessKeyId = Annotated[
    str,
    Field(
        title="Access key id",
        description="Begins with AKIA for a user's key, with ASIA for a temporary one.",
        examples=["AKIAIOSFODNN7EXAMPLE"],
        pattern=r"^[A-Z0-9]{16,128}$",
    ),
]
SecretAccessKey = Annotated[
    Secret, Field(title="Secret access key", description="Shown once by AWS when the key was made.")
]
SessionToken = Annotated[
    Secret | None,
    Field(
        title="Session token",
        description="Only for temporary keys (ASIA…); they end and cannot be refreshed.",
    ),
]
Audience = Annotated[
    str,
    Field(
        title="Audience",
        description="What the signed token is meant for: a client id of the OIDC provider in IAM.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}$",
    ),
]
RoleArn = Annotated[
    str,
    Field(
        title="Role ARN",
        description="The role to assume.",
        examples=[_ROLE_EXAMPLE],
        pattern=_ROLE_ARN,
        max_length=600,
    ),
]
OptionalRoleArn = Annotated[
    str | None,
    Field(
        title="Role ARN",
        description="A role to assume with the machine's own; empty: the machine's own role pulls.",
        examples=[_ROLE_EXAMPLE],
        pattern=_ROLE_ARN,
        max_length=600,
    ),
]
FurtherRoleArns = Annotated[
    tuple[Annotated[str, Field(pattern=_ROLE_ARN, max_length=600)], ...],
    Field(
        title="Further role ARNs",
        description="Roles to assume after it, each with the session of the one before; the last one pulls.",
        examples=[["arn:aws:iam::210987654321:role/vreg-pull"]],
        max_length=4,
    ),
]
Repositories = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[a-z0-9*][a-z0-9*._/-]{0,255}$")], ...],
    Field(
        title="Repositories",
        description="Names or patterns with *; the role's session is limited to them, whatever the role may. "
        "Empty: all that the role may read.",
        examples=[["team-a/*"]],
        max_length=50,
    ),
]
SessionName = Annotated[
    str | None,
    Field(
        title="Session name",
        description="Shown in CloudTrail; vreg uses the identity's id when empty.",
        examples=["vreg-production"],
        pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$",
    ),
]
DurationSeconds = Annotated[
    int,
    Field(
        title="Session duration (seconds)",
        description="At most the role's own maximum; at most one hour if what it is assumed with is itself a "
        "session.",
        ge=900,
        le=43200,
    ),
]
