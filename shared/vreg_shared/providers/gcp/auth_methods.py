"""The ways to prove ourselves to Google; each class is also its form.

Nothing here is a URL, a file or a command: Google's endpoints are constants of the exchange.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from vreg_shared.auth_method import (
    AuthMethod,
    IdentityTokenNeed,
    Objection,
    TokenFileName,
    TrustContext,
    TrustStep,
    UsableFor,
)
from vreg_shared.aws_machine import CONTAINER_VARIABLES, INSTANCE_VARIABLES
from vreg_shared.providers.gcp import trust
from vreg_shared.providers.gcp.fields import (
    AwsRegion,
    Chain,
    KeyId,
    KeyOwner,
    Lifetime,
    PoolId,
    PoolProviderId,
    PrivateKey,
    ProjectNumber,
)
from vreg_shared.secret import Secret


def _repeated(chain: Sequence[str]) -> tuple[Objection, ...]:
    if len(set(chain)) == len(chain):
        return ()
    return (Objection("impersonate", "chain_repeats", "name each service account of the chain once"),)


class ServiceAccountKey(AuthMethod):
    """A service account's key, used as it is."""

    tag: ClassVar[str] = "gcp.service_account_key"
    title: ClassVar[str] = "Service account key"
    help: ClassVar[str] = (
        "A key file of a service account that may read the repositories. It lives until deleted, and many "
        "organisations forbid it: prefer workload identity federation."
    )

    method: Literal["gcp.service_account_key"] = "gcp.service_account_key"
    client_email: KeyOwner
    private_key_id: KeyId
    private_key: PrivateKey

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the service account is permitted to read."""
        return (trust.reader(context.usable_for, trust.account_member(self.client_email)),)


class Impersonation(AuthMethod):
    """A service account's key that may do one thing: act as another service account."""

    tag: ClassVar[str] = "gcp.impersonation"
    title: ClassVar[str] = "Impersonate with a key"
    help: ClassVar[str] = (
        "The key's service account may create tokens of the service account that reads the images, directly "
        "or through a chain. The key by itself reads nothing."
    )

    method: Literal["gcp.impersonation"] = "gcp.impersonation"
    client_email: KeyOwner
    private_key_id: KeyId
    private_key: PrivateKey
    impersonate: Annotated[Chain, Field(min_length=1)]
    lifetime_seconds: Lifetime = 3600

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Return whether the chain turns back on itself."""
        del usable_for, now
        return _repeated((self.client_email, *self.impersonate))

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how each service account is permitted to act as the next, and the last one to read."""
        member = trust.account_member(self.client_email)
        return trust.chained(context.usable_for, member, self.impersonate)


class Metadata(AuthMethod):
    """The service account of the machine, pod or service that the token-broker runs as."""

    tag: ClassVar[str] = "gcp.metadata"
    title: ClassVar[str] = "Metadata server"
    help: ClassVar[str] = (
        "For a token-broker on Compute Engine, GKE with workload identity, or Cloud Run: Google's metadata "
        "server gives it tokens, and there is nothing to keep."
    )
    is_ambient: ClassVar[bool] = True
    platform_variables: ClassVar[tuple[str, ...]] = ("GCE_METADATA_HOST",)

    method: Literal["gcp.metadata"] = "gcp.metadata"
    impersonate: Chain = ()
    lifetime_seconds: Lifetime = 3600

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Return whether the chain turns back on itself."""
        del usable_for, now
        return _repeated(self.impersonate)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the machine's service account is permitted."""
        member = trust.account_member("BROKER_SERVICE_ACCOUNT")
        return trust.chained(context.usable_for, member, self.impersonate)


class _Federation(AuthMethod):
    """What every proof has that Google takes through a workload identity pool."""

    project_number: ProjectNumber
    pool: PoolId
    provider: PoolProviderId
    impersonate: Chain = ()
    lifetime_seconds: Lifetime = 3600

    @property
    def provider_name(self) -> str:
        """The full resource name, with the leading slashes that STS wants."""
        return trust.provider_name(self.project_number, self.pool, self.provider)

    @property
    def pool_name(self) -> str:
        """The pool's name as it stands in principals."""
        return trust.pool_name(self.project_number, self.pool)

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Return whether the chain turns back on itself."""
        del usable_for, now
        return _repeated(self.impersonate)


class WorkloadIdentityFederation(_Federation):
    """A signed identity token, which Google trusts by agreement with its issuer."""

    tag: ClassVar[str] = "gcp.workload_identity_federation"
    title: ClassVar[str] = "Workload identity federation"
    help: ClassVar[str] = (
        "No secret at all: vreg's own issuer, or the platform it runs on, signs a token, and a workload "
        "identity pool accepts it. No service account is needed: the pool's principal gets the role."
    )

    method: Literal["gcp.workload_identity_federation"] = "gcp.workload_identity_federation"
    audience: Annotated[
        str | None,
        Field(
            title="Audience",
            description="Only if the pool's provider has allowed audiences of its own: one of them.",
            examples=["https://registry.example.com/google"],
            # Neither AWS's audience (a bare name) nor Azure's (api://): a token is good for one cloud.
            pattern=r"^(https:)?//[a-z0-9.-]+(/[A-Za-z0-9._~/-]*)?$",
            max_length=256,
        ),
    ] = None
    token_file: TokenFileName = None

    @property
    def identity_token(self) -> IdentityTokenNeed:
        """A token meant for the pool's provider, whose name is a URL there, and none where STS is asked."""
        return IdentityTokenNeed(self.audience or f"https:{self.provider_name}", self.token_file)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the pool is made, and how this subject is permitted to read."""
        is_own = self.token_file is None
        subject = context.subject if is_own else "SUBJECT"
        issuer = (context.issuer_url if is_own else None) or "ISSUER_URL"
        member = f"principal://{self.pool_name}/subject/{subject}"
        pool = trust.Pool(self.project_number, self.pool, self.provider)
        made = trust.oidc_provider(pool, issuer, subject, self.identity_token.audience)
        return (*made, *trust.chained(context.usable_for, member, self.impersonate, is_federated=True))


class AwsFederation(_Federation):
    """The AWS identity of the machine that the token-broker runs on."""

    tag: ClassVar[str] = "gcp.aws_federation"
    title: ClassVar[str] = "Federation from AWS"
    help: ClassVar[str] = (
        "For a token-broker on AWS: a signed question about its own AWS role is what Google's workload "
        "identity pool accepts. There is nothing to keep."
    )
    is_ambient: ClassVar[bool] = True
    platform_variables: ClassVar[tuple[str, ...]] = (*CONTAINER_VARIABLES, *INSTANCE_VARIABLES)

    method: Literal["gcp.aws_federation"] = "gcp.aws_federation"
    region: AwsRegion = "us-east-1"
    source: Annotated[
        Literal["container", "instance"],
        Field(
            title="Where AWS gives credentials",
            description="`container`: an ECS task or EKS Pod Identity; `instance`: an EC2 instance.",
        ),
    ]

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the pool is made, and how the AWS role is permitted to read."""
        role = "arn:aws:sts::AWS_ACCOUNT_ID:assumed-role/AWS_ROLE"
        member = f"principalSet://{self.pool_name}/attribute.aws_role/{role}"
        made = trust.aws_provider(trust.Pool(self.project_number, self.pool, self.provider))
        return (*made, *trust.chained(context.usable_for, member, self.impersonate, is_federated=True))


class AwsAccessKeyFederation(_Federation):
    """An AWS user's access key, which Google trusts through AWS."""

    tag: ClassVar[str] = "gcp.aws_access_key_federation"
    title: ClassVar[str] = "Federation from AWS with an access key"
    help: ClassVar[str] = (
        "An AWS user that needs no permission in AWS: Google asks AWS whose key it is. The key lives until "
        "deleted; prefer an identity without a secret."
    )

    method: Literal["gcp.aws_access_key_federation"] = "gcp.aws_access_key_federation"
    region: AwsRegion = "us-east-1"
    access_key_id: Annotated[
        str,
        Field(
            title="AWS access key id",
            description="Begins with AKIA.",
            examples=["AKIAIOSFODNN7EXAMPLE"],
            pattern=r"^[A-Z0-9]{16,128}$",
        ),
    ]
    secret_access_key: Annotated[
        Secret, Field(title="AWS secret access key", description="Shown once by AWS when the key was made.")
    ]

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the pool is made, and how the AWS user is permitted to read."""
        user = "arn:aws:iam::AWS_ACCOUNT_ID:user/AWS_USER"
        member = f"principal://{self.pool_name}/subject/{user}"
        made = trust.aws_provider(trust.Pool(self.project_number, self.pool, self.provider))
        return (*made, *trust.chained(context.usable_for, member, self.impersonate, is_federated=True))
