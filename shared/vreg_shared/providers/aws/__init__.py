"""Amazon Web Services: private ECR in every partition, and ECR Public."""

from typing import Final

from vreg_shared.auth_method import AuthMethod
from vreg_shared.provider import MethodExample, Provider
from vreg_shared.providers.aws.auth_methods import (
    METHODS,
    AccessKey,
    AssumeRole,
    Container,
    Instance,
    WebIdentity,
)
from vreg_shared.providers.aws.refusals import ECR_LOGIN, ECR_PUBLIC_LOGIN, REFUSALS
from vreg_shared.providers.aws.registry import ECR, ECR_PUBLIC
from vreg_shared.providers.aws.usable_for import AwsUsableFor
from vreg_shared.secret import Secret

_HOST: Final = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
_ROLE: Final = "arn:aws:iam::123456789012:role/vreg-pull"
_KEY_ID: Final = "AKIAIOSFODNN7EXAMPLE"
_SECRET: Final = Secret("example-secret-access-key-of-40-characters")


def _example(method: AuthMethod) -> MethodExample:
    usable_for = AwsUsableFor(partition="aws", accounts=("123456789012",))
    return MethodExample(method=method, usable_for=usable_for, kind="ecr", host=_HOST)


PROVIDER: Final = Provider(
    name="aws",
    title="Amazon Web Services",
    kinds=(ECR, ECR_PUBLIC),
    methods=METHODS,
    usable_for=AwsUsableFor,
    refusals=REFUSALS,
    credential_steps=frozenset({ECR_LOGIN, ECR_PUBLIC_LOGIN}),
    examples=(
        _example(AccessKey(access_key_id=_KEY_ID, secret_access_key=_SECRET)),
        MethodExample(
            method=AccessKey(access_key_id=_KEY_ID, secret_access_key=_SECRET),
            usable_for=AwsUsableFor(),
            kind="ecr_public",
            host="public.ecr.aws",
        ),
        _example(
            AssumeRole(
                access_key_id=_KEY_ID,
                secret_access_key=_SECRET,
                role_arn=_ROLE,
                repositories=("team-a/*",),
            )
        ),
        _example(WebIdentity(role_arn=_ROLE)),
        _example(Container()),
        _example(Instance(role_arn=_ROLE)),
    ),
)
