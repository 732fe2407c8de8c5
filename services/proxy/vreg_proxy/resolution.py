"""Which upstream has it: the walk over a registry's memberships, decided purely.

Falling through on anything but a definite *absent* would serve somebody else's image of the same name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vreg_shared.catalogue import Catalogue
from vreg_shared.membership import Match, Standing, matches
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.reference import RepositoryName
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


def step_after(answer: Answer, *, on_hidden: str, has_stale: bool) -> Step:
    """Decide. `has_stale` says that the upstream's own earlier copy may be served in this case."""
    if answer is Answer.FOUND:
        return Step.SERVE
    if has_stale:
        return Step.SERVE_STALE
    leads_on = answer is Answer.ABSENT or (answer is Answer.HIDDEN and on_hidden == "continue")
    return Step.NEXT if leads_on else Step.STOP


def candidates(
    registry: RegistryRecord,
    upstreams: Mapping[str, UpstreamRecord],
    kinds: Catalogue,
    repository: RepositoryName,
) -> tuple[Candidate | Obstacle, ...]:
    """Return whom to ask, in order.

    A disabled upstream is left out, and so is one that could have no repository of this name. One that is
    not known here yet is an obstacle: we cannot tell whether it has what the next one would serve.
    """
    found = matches(registry, upstreams, kinds, repository)
    return tuple(asked for match in found for asked in _asked(match))


def _asked(match: Match) -> Iterator[Candidate | Obstacle]:
    if match.standing in {Standing.UPSTREAM_NOT_KNOWN, Standing.KIND_NOT_KNOWN}:
        verdict = Verdict(Answer.UNAVAILABLE, match.standing.value)
        yield Obstacle(match.membership.upstream_id, verdict)
    elif match.upstream is not None and match.kind is not None and match.repository is not None:
        yield Candidate(match.upstream, match.kind, match.membership, match.repository)
