"""Amazon Web Services: private ECR in every partition."""

from typing import Final

from vreg_shared.provider import MethodExample, Provider
from vreg_shared.providers.aws.auth_methods import AccessKey, AssumeRole
from vreg_shared.providers.aws.registry import ECR
from vreg_shared.providers.aws.usable_for import AwsUsableFor
from vreg_shared.secret import Secret

_USABLE_FOR: Final = AwsUsableFor(partition="aws", accounts=("123456789012",))
_HOST: Final = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"

PROVIDER: Final = Provider(
    name="aws",
    title="Amazon Web Services",
    kinds=(ECR,),
    methods=(AccessKey, AssumeRole),
    usable_for=AwsUsableFor,
    examples=(
        MethodExample(
            method=AccessKey(
                access_key_id="AKIAIOSFODNN7EXAMPLE",
                secret_access_key=Secret("example-secret-access-key-of-40-characters"),
            ),
            usable_for=_USABLE_FOR,
            kind="ecr",
            host=_HOST,
        ),
        MethodExample(
            method=AssumeRole(
                access_key_id="AKIAIOSFODNN7EXAMPLE",
                secret_access_key=Secret("example-secret-access-key-of-40-characters"),
                role_arn="arn:aws:iam::123456789012:role/vreg-pull",
            ),
            usable_for=_USABLE_FOR,
            kind="ecr",
            host=_HOST,
        ),
    ),
)
