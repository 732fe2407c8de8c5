"""The ways to prove ourselves to AWS; each class is also its form."""

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar, Final, Literal, Self

from pydantic import model_validator

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
from vreg_shared.providers.aws import trust
from vreg_shared.providers.aws.fields import (
    CHAINED_SECONDS,
    AccessKeyId,
    Audience,
    DurationSeconds,
    FurtherRoleArns,
    OptionalRoleArn,
    Repositories,
    RoleArn,
    SecretAccessKey,
    SessionName,
    SessionToken,
)
from vreg_shared.providers.aws.policies import SESSION_POLICY_LIMIT, compact, public_policy, pull_policy
from vreg_shared.providers.aws.usable_for import AwsUsableFor

_TEMPORARY: Final = "ASIA"
_OIDC_ISSUER: Final = "https://OIDC_ISSUER"
_SERVICE_ACCOUNT: Final = "system:serviceaccount:NAMESPACE:SERVICE_ACCOUNT"


class _KeyFields(AuthMethod):
    """A key that a person gives us."""

    access_key_id: AccessKeyId
    secret_access_key: SecretAccessKey
    session_token: SessionToken = None

    @model_validator(mode="after")
    def _temporary_keys_have_tokens(self) -> Self:
        """AWS knows a temporary key by its token alone; without it the key looks like a wrong one."""
        if self.access_key_id.startswith(_TEMPORARY) and self.session_token is None:
            message = "a key that begins with ASIA is temporary: give its session token as well"
            raise ValueError(message)
        return self


class RoleChain(AuthMethod):
    """Roles that are assumed one after the other; each but the first with the session of the one before."""

    begins_with_session: ClassVar[bool] = False
    """Whether the first role too is assumed with a session, so that it is a link of a chain already."""

    role_arn: OptionalRoleArn = None
    further_role_arns: FurtherRoleArns = ()
    repositories: Repositories = ()
    session_name: SessionName = None
    duration_seconds: DurationSeconds = CHAINED_SECONDS

    @property
    def role_arns(self) -> tuple[str, ...]:
        """The roles in order; none where the machine's own role pulls."""
        first = (self.role_arn,) if self.role_arn is not None else ()
        return (*first, *self.further_role_arns)

    def session_policy(self, usable_for: AwsUsableFor, *, is_public: bool) -> str | None:
        """Return what the last role's session is limited to; None leaves it what the role may."""
        if not self.repositories:
            return None
        return compact(public_policy() if is_public else pull_policy(usable_for, self.repositories))

    def objections(self, usable_for: UsableFor, now: datetime) -> tuple[Objection, ...]:
        """Return what AWS would refuse: roles of another partition, a policy or a session too long."""
        del now
        return tuple(self._objections(usable_for)) if isinstance(usable_for, AwsUsableFor) else ()

    def _objections(self, usable_for: AwsUsableFor) -> Iterator[Objection]:
        partition = usable_for.partition
        for field, arns in (("role_arn", (self.role_arn,)), ("further_role_arns", self.further_role_arns)):
            if any(arn is not None and arn.split(":")[1] != partition for arn in arns):
                message = f"the identity is usable for {partition} alone: name a role of that partition"
                yield Objection(field, "partition_mismatch", message)
        if self.duration_seconds > CHAINED_SECONDS and self._is_chained():
            message = f"a role assumed with another session gives one of {CHAINED_SECONDS} seconds at most"
            yield Objection("duration_seconds", "duration_too_long", message)
        if self.repositories:
            yield from self._limit_objections(usable_for)

    def _limit_objections(self, usable_for: AwsUsableFor) -> Iterator[Objection]:
        if not self.role_arns:
            message = "only a role that vreg assumes can be limited: name one, or leave this empty"
            yield Objection("repositories", "role_missing", message)
        if len(self.session_policy(usable_for, is_public=False) or "") > SESSION_POLICY_LIMIT:
            message = (
                f"the session policy for these repositories in these accounts is longer than "
                f"{SESSION_POLICY_LIMIT} characters: use fewer patterns, or an identity for each account"
            )
            yield Objection("repositories", "policy_too_long", message)

    def _is_chained(self) -> bool:
        return len(self.role_arns) > (0 if self.begins_with_session else 1)

    def _pull(self, context: TrustContext) -> trust.Pull:
        return _pull(context, self.repositories, self.duration_seconds)


class AccessKey(_KeyFields):
    """A user's access key, used as it is."""

    tag: ClassVar[str] = "aws.access_key"
    title: ClassVar[str] = "Access key"
    help: ClassVar[str] = (
        "The key of an IAM user that may call ecr:GetAuthorizationToken and read the repositories. "
        "It lives until deleted: prefer a role."
    )

    method: Literal["aws.access_key"] = "aws.access_key"

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the key's user gets to pull."""
        return trust.user_that_pulls(self.access_key_id, _pull(context))


class AssumeRole(RoleChain, _KeyFields):
    """An access key that may do one thing: assume a role, with an external id that vreg made."""

    tag: ClassVar[str] = "aws.assume_role"
    title: ClassVar[str] = "Assume a role"
    help: ClassVar[str] = (
        "The role's trust policy names the key's user and requires the external id that vreg shows for "
        "this identity. The role may read the repositories, in its own account or in others."
    )

    method: Literal["aws.assume_role"] = "aws.assume_role"
    role_arn: RoleArn

    def _is_chained(self) -> bool:
        return super()._is_chained() or self.access_key_id.startswith(_TEMPORARY)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the key's user may assume the role, and the role pull."""
        return trust.user_that_assumes(
            self.access_key_id, self.role_arns, context.external_id, self._pull(context)
        )


class _TokenFields(AuthMethod):
    """A signed token that the broker has or gets made."""

    token_file: TokenFileName = None
    audience: Audience = "sts.amazonaws.com"


class WebIdentity(RoleChain, _TokenFields):
    """A signed token, of vreg's own issuer or a Kubernetes cluster's (IRSA), for a role: no secret."""

    tag: ClassVar[str] = "aws.web_identity"
    title: ClassVar[str] = "Web identity (OIDC, IRSA)"
    help: ClassVar[str] = (
        "Keyless: the role's account knows the token's issuer as an OIDC provider, and its trust policy "
        "names the audience and the subject that vreg shows for this identity."
    )

    method: Literal["aws.web_identity"] = "aws.web_identity"
    role_arn: RoleArn

    @property
    def identity_token(self) -> IdentityTokenNeed:
        """The token that the first role is assumed with."""
        return IdentityTokenNeed(self.audience, self.token_file)

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the account learns of the issuer, and the role of the subject."""
        is_own = self.token_file is None
        issuer = trust.Issuer(
            (context.issuer_url or _OIDC_ISSUER) if is_own else _OIDC_ISSUER,
            context.subject if is_own else _SERVICE_ACCOUNT,
            self.audience,
        )
        return trust.federated_role(issuer, self.role_arns, context.external_id, self._pull(context))


class Container(RoleChain):
    """The role of the token-broker's own pod (EKS Pod Identity) or task (ECS)."""

    tag: ClassVar[str] = "aws.container"
    title: ClassVar[str] = "Container role (EKS Pod Identity, ECS)"
    help: ClassVar[str] = (
        "What the token-broker's own pod or task is to AWS, and, if named, a role assumed with it. Whoever "
        "may make identities can use it."
    )
    is_ambient: ClassVar[bool] = True
    platform_variables: ClassVar[tuple[str, ...]] = CONTAINER_VARIABLES
    begins_with_session: ClassVar[bool] = True

    method: Literal["aws.container"] = "aws.container"

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the pod or task gets its role."""
        return trust.container_role(self.role_arns, context.external_id, self._pull(context))


class Instance(RoleChain):
    """The role of the EC2 instance that the token-broker runs on."""

    tag: ClassVar[str] = "aws.instance"
    title: ClassVar[str] = "Instance role (EC2)"
    help: ClassVar[str] = (
        "What the token-broker's own EC2 instance is to AWS, and, if named, a role assumed with it. Whoever "
        "may make identities can use it. Version 2 of the metadata service only."
    )
    is_ambient: ClassVar[bool] = True
    platform_variables: ClassVar[tuple[str, ...]] = INSTANCE_VARIABLES
    begins_with_session: ClassVar[bool] = True

    method: Literal["aws.instance"] = "aws.instance"

    def trust_steps(self, context: TrustContext) -> tuple[TrustStep, ...]:
        """Return how the instance gets its role."""
        return trust.instance_role(self.role_arns, context.external_id, self._pull(context))


METHODS: Final = (AccessKey, AssumeRole, WebIdentity, Container, Instance)


def _pull(
    context: TrustContext,
    repositories: tuple[str, ...] = (),
    session_seconds: int = trust.USUAL_SESSION_SECONDS,
) -> trust.Pull:
    usable_for = context.usable_for if isinstance(context.usable_for, AwsUsableFor) else AwsUsableFor()
    return trust.Pull(usable_for, repositories, session_seconds)
