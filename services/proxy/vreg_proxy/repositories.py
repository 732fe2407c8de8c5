"""Listing repositories: those that were served before. An upstream's own list may name what is not for us."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from vreg_proxy.holdings import MemoryUnreadableError
from vreg_shared.membership import is_allowed
from vreg_shared.messages.registry import RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.oci.reference import RepositoryName

BATCH: Final = 1000


class ServedBefore(Protocol):
    """Who remembers what was served."""

    async def served(self, registry_id: str, after: str, most: int) -> Sequence[tuple[str, str]] | None:
        """Return (repository, upstream id), by repository, after `after`; None when it cannot be said."""
        ...


class Repositories:
    """Lists what this proxy has served and would still serve from where it came."""

    def __init__(self, memory: ServedBefore) -> None:
        self._memory = memory

    async def after(
        self,
        last: str,
        most: int,
        registries: Sequence[RegistryRecord],
        upstreams: Mapping[str, UpstreamRecord],
    ) -> list[str]:
        """Return at most so many names with their slugs, in lexical order; raise MemoryUnreadableError."""
        found: list[str] = []
        for registry in sorted(registries, key=_prefix):
            prefix = _prefix(registry)
            if last.startswith(prefix) or last < prefix:
                room, start = most - len(found), last.removeprefix(prefix) if last.startswith(prefix) else ""
                found += [prefix + name for name in await self._of(registry, start, room, upstreams)]
            if len(found) >= most:
                break
        return found

    async def _of(
        self, registry: RegistryRecord, start: str, most: int, upstreams: Mapping[str, UpstreamRecord]
    ) -> list[str]:
        found: list[str] = []
        while len(found) < most:
            batch = await self._memory.served(registry.id, start, BATCH)
            if batch is None:
                raise MemoryUnreadableError("the cache's index cannot be read")
            found += [name for name, server in batch if _is_served(registry, name, upstreams.get(server))]
            if len(batch) < BATCH:
                break
            start = batch[-1][0]
        return found[:most]


def _prefix(registry: RegistryRecord) -> str:
    return f"{registry.slug}/"


def _is_served(registry: RegistryRecord, name: str, upstream: UpstreamRecord | None) -> bool:
    """Whether the upstream is still a member, and may still be asked for this name."""
    return (
        upstream is not None
        and upstream.enabled
        and any(
            membership.upstream_id == upstream.id and is_allowed(membership, RepositoryName(name))
            for membership in registry.memberships
        )
    )
