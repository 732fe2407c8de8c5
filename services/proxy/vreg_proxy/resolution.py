"""Which upstream has it: the walk over a registry's memberships, decided purely.

Falling through on anything but a definite *absent* would serve somebody else's image of the same name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from vreg_shared.catalogue import Catalogue, UnknownKindError
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import StalePolicy, UpstreamRecord
from vreg_shared.oci.reference import InvalidNameError, RepositoryName
from vreg_shared.provider import Answer, RegistryKind, Verdict


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream that may be asked for a repository, which it calls `repository`."""

    upstream: UpstreamRecord
    kind: RegistryKind
    membership: MembershipRecord
    repository: RepositoryName


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A membership whose upstream cannot be asked at all: the walk ends here, as at an error."""

    upstream_id: str
    verdict: Verdict


class Step(StrEnum):
    """What follows from an upstream's answer."""

    SERVE = "serve"
    NEXT = "next"
    SERVE_STALE = "serve_stale"
    """Serve what this same upstream gave earlier, and say so."""
    STOP = "stop"
    """Tell the client honestly; nobody else is asked."""


def step_after(answer: Answer, *, on_hidden: str, stale_policy: StalePolicy, has_copy: bool) -> Step:
    """Decide. `has_copy` says that this upstream itself gave us the thing before."""
    match answer:
        case Answer.FOUND:
            return Step.SERVE
        case Answer.ABSENT:
            return Step.NEXT
        case Answer.HIDDEN:
            return Step.NEXT if on_hidden == "continue" else Step.STOP
        case Answer.UNAVAILABLE:
            return Step.SERVE_STALE if has_copy and stale_policy != "never" else Step.STOP
        case Answer.REFUSED:
            return Step.SERVE_STALE if has_copy and stale_policy == "always" else Step.STOP


def candidates(
    registry: RegistryRecord,
    upstreams: Mapping[str, UpstreamRecord],
    kinds: Catalogue,
    repository: RepositoryName,
) -> tuple[Candidate | Obstacle, ...]:
    """Return whom to ask, in order. Patterns are tested first, so nobody hears a name not meant for him.

    A disabled upstream is left out, and so is one that could have no repository of this name. One that is
    not known here yet is an obstacle: we cannot tell whether it has what the next one would serve.
    """
    found: list[Candidate | Obstacle] = []
    for membership in registry.memberships:
        if not is_allowed(membership, repository):
            continue
        upstream = upstreams.get(membership.upstream_id)
        if upstream is None:
            found.append(_obstacle(membership, "upstream_not_known_yet"))
        elif upstream.enabled:
            found.extend(_candidate(upstream, membership, kinds, repository))
    return tuple(found)


def is_allowed(membership: MembershipRecord, repository: RepositoryName) -> bool:
    """Whether a membership's patterns let a repository's name through; `*` also spans `/`, and deny wins."""
    name = repository.value
    if any(fnmatchcase(name, pattern) for pattern in membership.deny):
        return False
    return not membership.allow or any(fnmatchcase(name, pattern) for pattern in membership.allow)


def _candidate(
    upstream: UpstreamRecord, membership: MembershipRecord, kinds: Catalogue, repository: RepositoryName
) -> Iterator[Candidate | Obstacle]:
    try:
        kind = kinds.kind(upstream.kind)
        prefixed = repository.with_prefix(upstream.repository_prefix)
        name = RepositoryName.parse(kind.upstream_repository(prefixed.value, upstream.host))
    except UnknownKindError:
        yield _obstacle(membership, "kind_not_known")
    except InvalidNameError:
        return  # too long for any registry
    else:
        yield Candidate(upstream, kind, membership, name)


def _obstacle(membership: MembershipRecord, reason: str) -> Obstacle:
    return Obstacle(membership.upstream_id, Verdict(Answer.UNAVAILABLE, reason))
