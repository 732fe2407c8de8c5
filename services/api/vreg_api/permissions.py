"""Who may do what: a table of roles, what limits leave of it, and the one function that decides.

Pure. docs/access.md says the same for people.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from types import MappingProxyType
from typing import Final

from vreg_shared.messages.access import Role

Limits = frozenset[str] | None
"""The ids of the virtual registries that a token is good for; None for all."""


class Action(StrEnum):
    """What can be done with a noun."""

    READ = "read"
    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    PULL = "pull"


class Noun(StrEnum):
    """What something can be done with."""

    IDENTITY = "identity"
    MACHINE_IDENTITY = "machine identity"
    """An identity that stands on what the operator gave to vreg's own machine."""
    UPSTREAM = "upstream"
    CACHED_CONTENT = "cached content"
    VIRTUAL_REGISTRY = "virtual registry"
    ACCESS_TOKEN = "access token"  # noqa: S105 - a noun, no password
    OWN_ACCESS_TOKEN = "own access token"  # noqa: S105 - the same
    PROVIDER_CATALOGUE = "provider catalogue"
    AUDIT = "audit"
    HEALTH = "health"
    CONNECTION_TEST = "connection test"


@dataclass(frozen=True, slots=True)
class Thing:
    """One of a noun, and the virtual registries it serves; None when it serves all, now and later."""

    noun: Noun
    registry_ids: Limits = None


Permission = tuple[Action, Noun]
Permissions = frozenset[Permission]


def _each(actions: Iterable[Action], nouns: Iterable[Noun]) -> Permissions:
    return frozenset(product(actions, nouns))


_SELF: Final = _each([Action.READ], [Noun.OWN_ACCESS_TOKEN])
_PULL: Final = _each([Action.PULL], [Noun.VIRTUAL_REGISTRY])
_VIEW: Final = _SELF | _each([Action.READ], set(Noun) - {Noun.AUDIT})
_CHANGES: Final = (Action.CREATE, Action.CHANGE, Action.DELETE)
_EDIT: Final = _each(_CHANGES, [Noun.IDENTITY, Noun.UPSTREAM, Noun.VIRTUAL_REGISTRY]) | _each(
    [Action.DELETE], [Noun.CACHED_CONTENT]
)
_TRY: Final = _each([Action.CREATE, Action.CHANGE], [Noun.CONNECTION_TEST]) | _each(
    [Action.CHANGE], [Noun.HEALTH]
)
"""Trying an upstream with a stored secret, and looking after one that is ill."""
_ADMINISTER: Final = _each(_CHANGES, [Noun.MACHINE_IDENTITY, Noun.ACCESS_TOKEN])
_AUDIT: Final = _each([Action.READ], [Noun.AUDIT])
ROLES: Final[Mapping[Role, Permissions]] = MappingProxyType(
    {
        "admin": _PULL | _VIEW | _EDIT | _TRY | _ADMINISTER | _AUDIT,
        "editor": _PULL | _VIEW | _EDIT | _TRY,
        "viewer": _PULL | _VIEW,
        "auditor": _VIEW | _AUDIT,
        "puller": _PULL | _SELF,
    }
)
_LEFT_BY_LIMITS: Final = (
    _PULL
    | (_VIEW - _each([Action.READ], [Noun.CONNECTION_TEST]))
    | _each([Action.CHANGE], [Noun.UPSTREAM, Noun.VIRTUAL_REGISTRY])
    | _each([Action.DELETE], [Noun.CACHED_CONTENT])
    | _each(_CHANGES, [Noun.ACCESS_TOKEN])
)
"""What a token that is limited to virtual registries can do at all: nothing that others would notice."""
_SHARED_READING: Final = frozenset({Noun.IDENTITY, Noun.MACHINE_IDENTITY, Noun.UPSTREAM, Noun.CACHED_CONTENT})
"""What several registries may use, so that one of them is enough to see it."""
_OWN_FIELDS: Final[Mapping[Noun, frozenset[str]]] = MappingProxyType(
    {
        Noun.UPSTREAM: frozenset(
            {"description", "tag_validity_seconds", "stale_for", "max_stale_seconds", "enabled"}
        ),
        Noun.VIRTUAL_REGISTRY: frozenset({"description", "memberships"}),
    }
)
"""What limits leave to change: neither names, which all share, nor whose content it is, nor who may pull."""


def may(role: Role, limits: Limits, action: Action, noun: Noun) -> bool:
    """Whether a token can do this with any of a noun at all."""
    permission = (action, noun)
    return permission in ROLES[role] and (limits is None or permission in _LEFT_BY_LIMITS)


def permits(role: Role, limits: Limits, action: Action, thing: Thing) -> bool:
    """Whether a token may do this with a thing; limits permit to change only what nobody else uses."""
    if not may(role, limits, action, thing.noun):
        return False
    if limits is None:
        return True
    if not thing.registry_ids:
        return False
    if action is Action.READ and thing.noun in _SHARED_READING:
        return not limits.isdisjoint(thing.registry_ids)
    return thing.registry_ids <= limits


def fields_beyond(limits: Limits, noun: Noun, fields: Iterable[str]) -> tuple[str, ...]:
    """Return those of `fields` that limits do not leave to change."""
    if limits is None or noun not in _OWN_FIELDS:
        return ()
    return tuple(sorted(set(fields) - _OWN_FIELDS[noun]))


def is_no_more(role: Role, limits: Limits, than_role: Role, than_limits: Limits) -> bool:
    """Whether the first token can do nothing that the second cannot."""
    are_limits_within = than_limits is None or (limits is not None and limits <= than_limits)
    return ROLES[role] <= ROLES[than_role] and are_limits_within


def permissions_of(role: Role, limits: Limits) -> Permissions:
    """Return everything that a token can do."""
    return ROLES[role] if limits is None else ROLES[role] & _LEFT_BY_LIMITS
