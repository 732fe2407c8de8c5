"""What lets a principal of AWS pull from one repository of ECR: its own policy, and the repository's."""

import re
import shlex
from typing import Final

from vreg_shared.auth_method import TrustStep
from vreg_shared.provider import Reader
from vreg_shared.providers.aws.hosts import EcrHost
from vreg_shared.providers.aws.policies import (
    LOGIN_ACTION,
    PULL_ACTIONS,
    allow,
    document,
    readable,
    repository_policy,
)

_SESSION: Final = re.compile(
    r"arn:(?P<partition>[a-z-]+):sts::(?P<account>\d{12}):assumed-role/(?P<role>[^/]+)/.+"
)
_USER: Final = re.compile(r"arn:[a-z-]+:iam::(?P<account>\d{12}):user/(?:.+/)?(?P<user>[^/]+)")


def read_grant(reader: Reader) -> tuple[TrustStep, ...]:
    """Return the policy of role or user, and for another account's repository what that must say too.

    A session's ARN does not tell its role's path, so a role with one is named without it.
    """
    place = EcrHost.parse(reader.host)
    arn = f"arn:{place.partition.name}:ecr:{place.region}:{place.account}:repository/{reader.repository}"
    policy = document(allow(LOGIN_ACTION, "*"), allow(PULL_ACTIONS, arn))
    principal, kind, name, account = _principal(reader.principal)
    put = (
        f"aws iam put-{kind}-policy --{kind}-name {shlex.quote(name)} \\\n"
        "  --policy-name vreg-pull \\\n  --policy-document file://pull.json"
    )
    own = (
        TrustStep(f"What the {kind} must be allowed", readable(policy), "json", "pull.json"),
        TrustStep(f"Attach it to the {kind}", put),
    )
    if account == place.account:
        return own
    set_policy = (
        f"aws ecr set-repository-policy --region {place.region} \\\n"
        f"  --registry-id {place.account} --repository-name {shlex.quote(reader.repository)} \\\n"
        "  --policy-text file://repository.json"
    )
    return (
        *own,
        TrustStep(
            f"In account {place.account}, what the repository itself must say",
            readable(repository_policy(principal)),
            "json",
            "repository.json",
        ),
        TrustStep("Set it on the repository", set_policy),
    )


def _principal(text: str) -> tuple[str, str, str, str | None]:
    """Return (ARN, kind, name, account) of a role or a user; words to replace where it does not say."""
    session = _SESSION.fullmatch(text)
    if session is not None:
        arn = f"arn:{session['partition']}:iam::{session['account']}:role/{session['role']}"
        return arn, "role", session["role"], session["account"]
    user = _USER.fullmatch(text)
    if user is not None:
        return text, "user", user["user"], user["account"]
    return "PRINCIPAL_ARN", "user", "USER", None
