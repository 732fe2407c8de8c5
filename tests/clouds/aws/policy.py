"""A small IAM: statements with globs, an explicit deny wins, and another account must allow as well."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

PULL_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
TOKEN_ACTION = "ecr:GetAuthorizationToken"


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
