"""The ways to prove ourselves to AWS; each class is also its form.

Field constraints: botocore data/sts/2011-06-15/service-2.json.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vreg_shared.auth_method import AuthMethod
from vreg_shared.secret import Secret

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


class AccessKey(AuthMethod):
    """A user's access key, used as it is."""

    tag: ClassVar[str] = "aws.access_key"
    title: ClassVar[str] = "Access key"
    help: ClassVar[str] = (
        "The key of an IAM user that may call ecr:GetAuthorizationToken and read the repositories. "
        "It lives until deleted: prefer a role."
    )

    method: Literal["aws.access_key"] = "aws.access_key"
    access_key_id: AccessKeyId
    secret_access_key: SecretAccessKey
    session_token: SessionToken = None


class AssumeRole(AuthMethod):
    """An access key that may do one thing: assume a role, with an external id that vreg made."""

    tag: ClassVar[str] = "aws.assume_role"
    title: ClassVar[str] = "Assume a role"
    help: ClassVar[str] = (
        "The role's trust policy names the key's user and requires the external id that vreg shows for "
        "this identity. The role may read the repositories, in its own account or in others."
    )

    method: Literal["aws.assume_role"] = "aws.assume_role"
    access_key_id: AccessKeyId
    secret_access_key: SecretAccessKey
    session_token: SessionToken = None
    role_arn: Annotated[
        str,
        Field(
            title="Role ARN",
            description="The role to assume.",
            examples=["arn:aws:iam::123456789012:role/vreg-pull"],
            pattern=r"^arn:aws(-[a-z]+)*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]+$",
            max_length=600,
        ),
    ]
    session_name: Annotated[
        str | None,
        Field(
            title="Session name",
            description="Shown in CloudTrail; vreg uses the identity's id when empty.",
            examples=["vreg-production"],
            pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$",
        ),
    ] = None
    duration_seconds: Annotated[
        int,
        Field(
            title="Session duration (seconds)",
            description="At most the role's own maximum; one hour if the key is itself temporary.",
            ge=900,
            le=43200,
        ),
    ] = 3600
