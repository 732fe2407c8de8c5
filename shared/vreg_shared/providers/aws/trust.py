"""What AWS must be told of an identity: policies and aws commands with everything filled in that we know.

Words in capitals are for the reader to replace.
"""

import shlex
from dataclasses import dataclass
from typing import Final

from vreg_shared.auth_method import TrustStep
from vreg_shared.providers.aws.hosts import partition_named
from vreg_shared.providers.aws.policies import (
    Document,
    allow,
    document,
    public_policy,
    pull_policy,
    readable,
    repository_policy,
    trust,
)
from vreg_shared.providers.aws.usable_for import AwsUsableFor

_ASSUME: Final = "sts:AssumeRole"
_POLICY_NAME: Final = "vreg"
USUAL_SESSION_SECONDS: Final = 3600
"""The longest session of a role of which nothing else was said when it was made."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs the identity token, and what the trust policy compares of it, exactly and with case."""

    url: str
    subject: str
    audience: str


@dataclass(frozen=True, slots=True)
class Pull:
    """What the last one of a chain may read: patterns of repositories in the accounts of `usable_for`.

    `session_seconds` is how long its sessions shall last.
    """

    usable_for: AwsUsableFor
    repositories: tuple[str, ...] = ()
    session_seconds: int = USUAL_SESSION_SECONDS

    @property
    def partition(self) -> str:
        """The partition that every ARN names."""
        return self.usable_for.partition

    @property
    def home(self) -> str:
        """The account that a principal of ours without one of its own is put into."""
        return self.usable_for.accounts[0] if self.usable_for.accounts else "ACCOUNT"


def user_that_pulls(access_key_id: str, pull: Pull) -> tuple[TrustStep, ...]:
    """Return how the user of a key gets to pull with it."""
    policy = pull_policy(pull.usable_for, pull.repositories)
    user = f"arn:{pull.partition}:iam::{pull.home}:user/USER"
    return (
        _owner_of(access_key_id),
        TrustStep("What the user may do, and no more", readable(policy), "json", "pull.json"),
        TrustStep("Attach it to the user", _put("user", "USER", "pull.json")),
        *_other_accounts(user, pull),
        *_ecr_public("user", "USER", pull),
    )


def user_that_assumes(
    access_key_id: str, roles: tuple[str, ...], external_id: str, pull: Pull
) -> tuple[TrustStep, ...]:
    """Return how the user of a key may assume the first role, and each role the next."""
    user = f"arn:{pull.partition}:iam::KEY_ACCOUNT:user/USER"
    may_assume = document(allow(_ASSUME, roles[0]))
    return (
        _owner_of(access_key_id),
        TrustStep("What the user may do, and no more", readable(may_assume), "json", "user.json"),
        TrustStep("Attach it to the user", _put("user", "USER", "user.json")),
        *_chain(roles, trust({"AWS": user}, _ASSUME, _only_with(external_id)), external_id, pull),
    )


def federated_role(
    issuer: Issuer, roles: tuple[str, ...], external_id: str, pull: Pull
) -> tuple[TrustStep, ...]:
    """Return how an account learns of the issuer, and its role of one subject there."""
    name, account = issuer.url.removeprefix("https://"), roles[0].split(":")[4]
    provider = _command(
        "aws iam create-open-id-connect-provider",
        f"--url {shlex.quote(issuer.url)}",
        f"--client-id-list {shlex.quote(issuer.audience)}",
    )
    trusted = trust(
        {"Federated": f"arn:{pull.partition}:iam::{account}:oidc-provider/{name}"},
        "sts:AssumeRoleWithWebIdentity",
        {"StringEquals": {f"{name}:aud": issuer.audience, f"{name}:sub": issuer.subject}},
    )
    return (
        TrustStep(f"In account {account}, make the issuer known; once for all identities", provider),
        *_chain(roles, trusted, external_id, pull),
    )


def container_role(roles: tuple[str, ...], external_id: str, pull: Pull) -> tuple[TrustStep, ...]:
    """Return how the token-broker's pod or task gets a role."""
    own = _machine_role(roles, pull)
    services = ["pods.eks.amazonaws.com", "ecs-tasks.amazonaws.com"]
    pod = _command(
        "aws eks create-pod-identity-association",
        "--cluster-name CLUSTER",
        "--namespace NAMESPACE",
        "--service-account SERVICE_ACCOUNT",
        f"--role-arn {own}",
    )
    return (
        *_chain((own, *roles), trust({"Service": services}, [_ASSUME, "sts:TagSession"]), external_id, pull),
        TrustStep("In EKS, give it to the token-broker's service account", pod),
        TrustStep(
            "In ECS instead, name it in the task definition",
            readable({"taskRoleArn": own}),
            "json",
            "task-definition.json",
        ),
    )


def instance_role(roles: tuple[str, ...], external_id: str, pull: Pull) -> tuple[TrustStep, ...]:
    """Return how the instance gets a role, and a container on it an answer of the metadata service."""
    own = _machine_role(roles, pull)
    service = f"ec2.{partition_named(pull.partition).suffix}"
    name = _name_of(own)
    attach = "\n".join(
        (
            f"aws iam create-instance-profile --instance-profile-name {name}",
            f"aws iam add-role-to-instance-profile --instance-profile-name {name} --role-name {name}",
            _command(
                "aws ec2 associate-iam-instance-profile",
                "--instance-id INSTANCE",
                f"--iam-instance-profile Name={name}",
            ),
        )
    )
    metadata = _command(
        "aws ec2 modify-instance-metadata-options",
        "--instance-id INSTANCE",
        "--http-endpoint enabled",
        "--http-tokens required",
        "--http-put-response-hop-limit 2",
    )
    return (
        *_chain((own, *roles), trust({"Service": service}, _ASSUME), external_id, pull),
        TrustStep("Give it to the instance", attach),
        TrustStep(
            "Let containers on it reach version 2 of the metadata service, and nobody version 1", metadata
        ),
    )


def _chain(
    roles: tuple[str, ...], first_trust: Document, external_id: str, pull: Pull
) -> tuple[TrustStep, ...]:
    """Return how each role is made: trusted by the one before it, allowed to assume the next or to pull."""
    steps: list[TrustStep] = []
    for number, role in enumerate(roles, start=1):
        is_last, suffix = number == len(roles), "" if number == 1 else f"-{number}"
        trusted = first_trust
        if number > 1:
            trusted = trust({"AWS": roles[number - 2]}, _ASSUME, _only_with(external_id))
        allowed = (
            pull_policy(pull.usable_for, pull.repositories)
            if is_last
            else document(allow(_ASSUME, roles[number]))
        )
        steps += _role(role, trusted, allowed, suffix, pull.session_seconds)
    return (*steps, *_other_accounts(roles[-1], pull), *_ecr_public("role", _name_of(roles[-1]), pull))


def _role(arn: str, trusted: Document, allowed: Document, suffix: str, seconds: int) -> tuple[TrustStep, ...]:
    name, path = shlex.quote(_name_of(arn)), arn.split(":role/")[1].rpartition("/")[0]
    create = _command(
        f"aws iam create-role --role-name {name}",
        *([f"--path {shlex.quote(f'/{path}/')}"] if path else []),
        f"--assume-role-policy-document file://trust{suffix}.json",
        *([f"--max-session-duration {seconds}"] if seconds > USUAL_SESSION_SECONDS else []),
    )
    put = _put("role", _name_of(arn), f"role{suffix}.json")
    account = arn.split(":")[4]
    return (
        TrustStep(f"Who may be the role {arn}", readable(trusted), "json", f"trust{suffix}.json"),
        TrustStep("What it may do, and no more", readable(allowed), "json", f"role{suffix}.json"),
        TrustStep(f"Make the role in account {account}", f"{create}\n{put}"),
    )


def _other_accounts(principal: str, pull: Pull) -> tuple[TrustStep, ...]:
    """Return what accounts must say that the principal is not of: their repositories' own policy."""
    others = [account for account in pull.usable_for.accounts if account != principal.split(":")[4]]
    if not others:
        return ()
    policy = readable(repository_policy(principal))
    command = _command(
        "aws ecr set-repository-policy",
        "--region REGION",
        "--repository-name REPOSITORY",
        "--policy-text file://repository.json",
    )
    return (
        TrustStep("The policy that repositories of other accounts need", policy, "json", "repository.json"),
        TrustStep(f"Set it on each repository to be read in {', '.join(others)}", command),
    )


def _ecr_public(kind: str, name: str, pull: Pull) -> tuple[TrustStep, ...]:
    """Return what ECR Public needs on top, in the one partition that has it."""
    if not pull.usable_for.accounts or pull.partition != "aws":
        return ()
    return (
        TrustStep(
            "Only for upstreams of ECR Public: its token needs two more actions",
            readable(public_policy()),
            "json",
            "public.json",
        ),
        TrustStep("Only for ECR Public: attach it", _put(kind, name, "public.json", "vreg-public")),
    )


def _owner_of(access_key_id: str) -> TrustStep:
    find = f"aws iam get-access-key-last-used --access-key-id {access_key_id} --query UserName --output text"
    return TrustStep("In the key's account, find its USER", find)


def _machine_role(roles: tuple[str, ...], pull: Pull) -> str:
    """Return the ARN that the machine's own role is given; one that pulls is best where the images are."""
    if roles:
        return f"arn:{pull.partition}:iam::MACHINE_ACCOUNT:role/vreg-broker"
    return f"arn:{pull.partition}:iam::{pull.home}:role/vreg-pull"


def _only_with(external_id: str) -> Document:
    return {"StringEquals": {"sts:ExternalId": external_id}}


def _name_of(arn: str) -> str:
    return arn.rpartition("/")[2]


def _put(kind: str, name: str, file: str, policy_name: str = _POLICY_NAME) -> str:
    return _command(
        f"aws iam put-{kind}-policy --{kind}-name {shlex.quote(name)}",
        f"--policy-name {policy_name}",
        f"--policy-document file://{file}",
    )


def _command(*parts: str) -> str:
    return " \\\n  ".join(parts)
