"""IAM's documents, and the least that pulling needs of them. Pure.

Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/security_iam_id-based-policy-examples.html;
ECR Public's token also needs sts:GetServiceBearerToken (seqera/wave#1066).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from vreg_shared.providers.aws.usable_for import AwsUsableFor

PULL_ACTIONS: Final = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
LOGIN_ACTION: Final = "ecr:GetAuthorizationToken"
PUBLIC_LOGIN_ACTIONS: Final = ("ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken")
SESSION_POLICY_LIMIT: Final = 2048
"""Characters of an inline session policy. Source: botocore data/sts/2011-06-15/service-2.json."""
Document = dict[str, Any]


def document(*statements: Document) -> Document:
    """Return a policy of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(actions: str | Sequence[str], resource: str | Sequence[str]) -> Document:
    """Return a statement that allows actions on resources."""
    return {"Effect": "Allow", "Action": _one_or_all(actions), "Resource": _one_or_all(resource)}


def trust(principal: Document, actions: str | Sequence[str], condition: Document | None = None) -> Document:
    """Return a policy that lets a principal take on a role."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": _one_or_all(actions)}
    return document(statement | ({"Condition": condition} if condition is not None else {}))


def pull_policy(usable_for: AwsUsableFor, repositories: Iterable[str] = ()) -> Document:
    """Return what lets a principal pull from the accounts; without patterns, all their repositories.

    GetAuthorizationToken knows no resources. Without accounts only ECR Public is left to pull from.
    """
    if not usable_for.accounts:
        return public_policy()
    patterns = tuple(repositories) or ("*",)
    prefix = f"arn:{usable_for.partition}:ecr:*"
    resources = [
        f"{prefix}:{account}:repository/{pattern}" for account in usable_for.accounts for pattern in patterns
    ]
    return document(allow(LOGIN_ACTION, "*"), allow(PULL_ACTIONS, resources))


def public_policy() -> Document:
    """Return what lets a principal get a token of ECR Public, whose repositories everybody may read."""
    return document(allow(PUBLIC_LOGIN_ACTIONS, "*"))


def repository_policy(principal_arn: str) -> Document:
    """Return what a repository of another account must say; it is its own resource."""
    statement = {"Sid": "VregPull", "Effect": "Allow", "Principal": {"AWS": principal_arn}}
    return document(statement | {"Action": list(PULL_ACTIONS)})


def compact(policy: Document) -> str:
    """Return a policy as short as it can be written."""
    return json.dumps(policy, separators=(",", ":"))


def readable(policy: Document) -> str:
    """Return a policy for people."""
    return json.dumps(policy, indent=2)


def _one_or_all(values: str | Sequence[str]) -> str | list[str]:
    """Return a single value without brackets, as IAM's own examples have it."""
    if isinstance(values, str):
        return values
    return values[0] if len(values) == 1 else list(values)
