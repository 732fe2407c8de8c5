"""The fields that Google's auth methods are made of: each with its grammar and what people are told of it."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from vreg_shared.providers.gcp.service_account_key import require_rsa_key
from vreg_shared.secret import Secret

_EMAIL: Final = r"^[a-z0-9][a-z0-9-]*@[a-z0-9][a-z0-9.-]*\.gserviceaccount\.com$"
_POOL_ID: Final = r"^[a-z0-9-]{4,32}$"

ServiceAccount = Annotated[
    str,
    Field(pattern=_EMAIL, max_length=254, examples=["vreg-pull@my-project.iam.gserviceaccount.com"]),
]
KeyOwner = Annotated[
    ServiceAccount, Field(title="Service account", description="`client_email` of the key file.")
]
KeyId = Annotated[
    str,
    Field(
        title="Key id",
        description="`private_key_id` of the key file.",
        examples=["0123456789abcdef0123456789abcdef01234567"],
        pattern=r"^[A-Za-z0-9_-]{1,128}$",
    ),
]
PrivateKey = Annotated[
    Secret,
    AfterValidator(require_rsa_key),
    Field(title="Private key", description="`private_key` of the key file, from BEGIN to END."),
]
ProjectNumber = Annotated[
    str,
    Field(
        title="Project number",
        description="Number, not id, of the project that holds the workload identity pool.",
        examples=["123456789012"],
        pattern=r"^[0-9]{1,20}$",
    ),
]
PoolId = Annotated[
    str,
    Field(
        title="Workload identity pool",
        description="The pool's id.",
        examples=["vreg"],
        pattern=_POOL_ID,
    ),
]
PoolProviderId = Annotated[
    str,
    Field(
        title="Pool provider",
        description="Id of the provider in the pool.",
        examples=["vreg"],
        pattern=_POOL_ID,
    ),
]
Chain = Annotated[
    tuple[ServiceAccount, ...],
    Field(
        title="Impersonate",
        description="Service accounts to act as, each permitted to the one before it; the last one reads the "
        "images. Empty: the identity itself reads them.",
        max_length=5,
    ),
]
Lifetime = Annotated[
    int,
    Field(
        title="Token lifetime (seconds)",
        description="Of an impersonated token. More than 3600 needs the organisation policy "
        "constraints/iam.allowServiceAccountCredentialLifetimeExtension.",
        ge=600,
        le=43200,
    ),
]
AwsRegion = Annotated[
    str,
    Field(
        title="AWS region",
        description="Of the STS endpoint at which Google verifies the AWS identity.",
        examples=["eu-west-1"],
        pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$",
        max_length=32,
    ),
]
