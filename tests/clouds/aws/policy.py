"""A small IAM: statements with globs, an explicit deny wins, and another account must allow as well."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

PULL_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
TOKEN_ACTION = "ecr:GetAuthorizationToken"
PUBLIC_TOKEN_ACTIONS = ("ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken")


@dataclass(frozen=True, slots=True)
class Statement:
    """Actions ignore case, resources do not, as in IAM."""

    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    is_allow: bool = True

    def covers(self, action: str, resource: str) -> bool:
        """Whether the statement speaks of this action on this resource."""
        return any(fnmatchcase(action.lower(), each.lower()) for each in self.actions) and any(
            fnmatchcase(resource, each) for each in self.resources
        )


def may_pull(*repositories: str) -> tuple[Statement, ...]:
    """Return the least that pulling needs; `repositories` are globs of ARNs, none means all."""
    resources = repositories or ("*",)
    return (Statement((TOKEN_ACTION,)), Statement((*PULL_ACTIONS, "ecr:ListImages"), resources))


def may_pull_public() -> tuple[Statement, ...]:
    """Return what a token of ECR Public needs; its repositories are everybody's."""
    return (Statement(PUBLIC_TOKEN_ACTIONS),)


def may_assume(*roles: str) -> tuple[Statement, ...]:
    """Return the permission to assume these roles."""
    return (Statement(("sts:AssumeRole",), roles),)


def refusal(
    statements: Iterable[Statement], action: str, resource: str, *, is_allowed_there: bool | None = None
) -> str | None:
    """Return why IAM refuses, in its words, or None when it allows.

    `is_allowed_there` is what the resource's own policy says: None when it has none to ask. Within an
    account either policy suffices; callers pass False for another account's resource without one.
    """
    speaking = [statement for statement in statements if statement.covers(action, resource)]
    if any(not statement.is_allow for statement in speaking):
        return "with an explicit deny in an identity-based policy"
    if not speaking:
        return f"because no identity-based policy allows the {action} action"
    if is_allowed_there is False:
        return f"because no resource-based policy allows the {action} action"
    return None


def session_refusal(limits: Iterable[Statement] | None, action: str, resource: str) -> str | None:
    """Return why a session's own policy refuses what its role may, or None; None limits nothing."""
    if limits is None or refusal(limits, action, resource) is None:
        return None
    return f"because no session policy allows the {action} action"


def read_policy(text: str) -> tuple[Statement, ...]:
    """Read a policy document of allows and denies without conditions; raise ValueError."""
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("Version") != "2012-10-17":
        raise ValueError("Syntax errors in policy.")
    statements = document.get("Statement")
    return tuple(_statement(each) for each in (statements if isinstance(statements, list) else [statements]))


def _statement(given: object) -> Statement:
    if not isinstance(given, dict) or given.keys() - {"Sid", "Effect", "Action", "Resource"}:
        raise ValueError("Syntax errors in policy.")
    if given.get("Effect") not in {"Allow", "Deny"}:
        raise ValueError("Invalid effect.")
    return Statement(
        _texts(given.get("Action")), _texts(given.get("Resource")), is_allow=given["Effect"] == "Allow"
    )


def _texts(given: object) -> tuple[str, ...]:
    values = given if isinstance(given, list) else [given]
    if not values or not all(isinstance(value, str) and value for value in values):
        raise ValueError("Policy statement must contain actions and resources.")
    return tuple(values)
