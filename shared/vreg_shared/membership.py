"""Which upstreams of a registry a repository's name leads to, in which order, and why not to the others.

Pure: the proxy walks by it, and whoever explains a walk says the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from vreg_shared.catalogue import Catalogue, UnknownKindError
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.reference import InvalidNameError, RepositoryName
from vreg_shared.provider import RegistryKind


class Standing(StrEnum):
    """What a membership means for a repository's name."""

    ASKED = "asked"
    DENIED = "denied"
    """One of its deny patterns fits the name."""
    NOT_ALLOWED = "not_allowed"
    """It has allow patterns, and none of them fits."""
    DISABLED = "disabled"
    NAME_TOO_LONG = "name_too_long"
    """With the upstream's prefix the name is longer than any registry allows: it cannot be there."""
    UPSTREAM_NOT_KNOWN = "upstream_not_known_yet"
    """Its upstream's record has not arrived: the walk ends, for it may have what the next would serve."""
    KIND_NOT_KNOWN = "kind_not_known"
    """Its upstream is of a kind from a newer vreg: the walk ends here."""


@dataclass(frozen=True, slots=True)
class Match:
    """A membership's standing. `pattern` is the deny or allow pattern that decided, if one did.

    Of one that is asked, `repository` is the name its upstream is asked for.
    """

    membership: MembershipRecord
    standing: Standing
    pattern: str | None = None
    upstream: UpstreamRecord | None = None
    kind: RegistryKind | None = None
    repository: RepositoryName | None = None


def matches(
    registry: RegistryRecord,
    upstreams: Mapping[str, UpstreamRecord],
    kinds: Catalogue,
    repository: RepositoryName,
) -> tuple[Match, ...]:
    """Return the standing of every membership, in their order.

    Patterns are tested first, so that nobody hears a name that is not meant for him.
    """
    return tuple(_match(membership, upstreams, kinds, repository) for membership in registry.memberships)


def is_allowed(membership: MembershipRecord, repository: RepositoryName) -> bool:
    """Whether a membership's patterns let a repository's name through; `*` also spans `/`, and deny wins."""
    return _by_patterns(membership, repository)[0] is Standing.ASKED


def _match(
    membership: MembershipRecord,
    upstreams: Mapping[str, UpstreamRecord],
    kinds: Catalogue,
    repository: RepositoryName,
) -> Match:
    standing, pattern = _by_patterns(membership, repository)
    if standing is not Standing.ASKED:
        return Match(membership, standing, pattern)
    upstream = upstreams.get(membership.upstream_id)
    if upstream is None:
        return Match(membership, Standing.UPSTREAM_NOT_KNOWN, pattern)
    if not upstream.enabled:
        return Match(membership, Standing.DISABLED, pattern, upstream)
    try:
        kind = kinds.kind(upstream.kind)
        name = _upstream_name(upstream, kind, repository)
    except UnknownKindError:
        return Match(membership, Standing.KIND_NOT_KNOWN, pattern, upstream)
    except InvalidNameError:
        return Match(membership, Standing.NAME_TOO_LONG, pattern, upstream)
    return Match(membership, Standing.ASKED, pattern, upstream, kind, name)


def _by_patterns(membership: MembershipRecord, repository: RepositoryName) -> tuple[Standing, str | None]:
    denying = _fitting(membership.deny, repository)
    if denying is not None:
        return Standing.DENIED, denying
    allowing = _fitting(membership.allow, repository)
    is_asked = allowing is not None or not membership.allow
    return (Standing.ASKED if is_asked else Standing.NOT_ALLOWED), allowing


def _fitting(patterns: tuple[str, ...], repository: RepositoryName) -> str | None:
    return next((pattern for pattern in patterns if fnmatchcase(repository.value, pattern)), None)


def _upstream_name(
    upstream: UpstreamRecord, kind: RegistryKind, repository: RepositoryName
) -> RepositoryName:
    prefixed = repository.with_prefix(upstream.repository_prefix)
    return RepositoryName.parse(kind.upstream_repository(prefixed.value, upstream.host))
