"""Whose a repository is: the upstream its tags come from is remembered, a change of it told or refused.

The memory is this host's own, from the first tag served on. Digests do not count: they mean the same bytes
wherever they come from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vreg_proxy.audit import TellsAudit
from vreg_proxy.cache.recent import Recent
from vreg_proxy.holdings import MemoryUnreadableError, Servers
from vreg_proxy.resolution import Candidate, Obstacle
from vreg_shared.clock import Clock
from vreg_shared.messages.audit_facts import Named, SourceChanged
from vreg_shared.messages.registry import RegistryRecord, key_of
from vreg_shared.oci.reference import RepositoryName, Tag

TOLD_AGAIN_SECONDS: Final = 3600.0
_REMEMBERED: Final = 10_000
_SHELF: Final = "source:"
"""Sources lie beside the servers of digests, where no registry's id can be."""


@dataclass(frozen=True, slots=True)
class TagFound:
    """A tag, and the upstream it was found in."""

    registry: RegistryRecord
    repository: RepositoryName
    tag: Tag
    upstream_id: str


class Sources:
    """Decides on the source of every tag that was found."""

    def __init__(self, memory: Servers, audit: TellsAudit, clock: Clock) -> None:
        self._memory = memory
        self._audit = audit
        self._clock = clock
        self._told: Recent[tuple[str, ...], float] = Recent(_REMEMBERED)

    async def admit(self, found: TagFound, asked: Sequence[Candidate | Obstacle]) -> bool:
        """Return whether the tag may be served, and remember its source if so; raise MemoryUnreadableError.

        A source that cannot be read may be another than this one: it is not written over, and may not change
        where that is blocked.
        """
        shelf, repository = _SHELF + found.registry.id, found.repository.value
        before = await self._memory.server_of(shelf, repository)
        names = {each.upstream.id: each.upstream.name for each in asked if isinstance(each, Candidate)}
        if before is not None and before != found.upstream_id:
            is_blocked = stays(found.registry, before, names)
            self._tell_once(found, before, names, "blocked" if is_blocked else "allowed")
            if is_blocked:
                return False
        if before is None and not self._memory.can_tell_servers:
            if found.registry.on_source_change == "block" and names.keys() - {found.upstream_id}:
                raise MemoryUnreadableError("the source of a repository cannot be read")
            return True
        self._memory.remember_server(shelf, repository, found.upstream_id)
        return True

    def _tell_once(
        self, found: TagFound, before: str, names: Mapping[str, str], outcome: Literal["allowed", "blocked"]
    ) -> None:
        """Tell the audit, but not of every pull."""
        change = (found.registry.id, found.repository.value, before, found.upstream_id, outcome)
        now = self._clock.monotonic()
        if now < (self._told.get(change) or 0.0):
            return
        self._told.put(change, now + TOLD_AGAIN_SECONDS)
        facts = SourceChanged(
            registry=Named(id=found.registry.id, slug=found.registry.slug),
            repository=found.repository.value,
            tag=found.tag.value,
            from_=Named(id=before, name=names.get(before)),
            to=Named(id=found.upstream_id, name=names.get(found.upstream_id)),
            outcome=outcome,
        )
        self._audit.tell(SourceChanged.kind, key_of(found.registry.id), facts.told())


def stays(registry: RegistryRecord, before: str, asked: Mapping[str, str]) -> bool:
    """Whether a repository must stay with the upstream it came from so far.

    One that is not asked for it any more cannot be meant: so an operator lets the repository move.
    """
    return registry.on_source_change == "block" and before in asked
