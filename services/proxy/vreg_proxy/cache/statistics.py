"""What the cache did: counted in memory, added up on disk by all processes, and never in a client's way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vreg_proxy.cache.hits import Hit
from vreg_proxy.cache.index_disk import IndexDisk, Row

_ADD: Final = (
    "INSERT INTO counts VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " times = times + excluded.times, bytes = bytes + excluded.bytes"
)
_ALL: Final = "SELECT registry_id, upstream_id, event, times, bytes FROM counts ORDER BY 1, 2, 3"
_HELD: Final = (
    "SELECT upstream_id, COUNT(*), SUM(size) FROM ("
    " SELECT rights.upstream_id, content.size FROM rights INDEXED BY rights_by_digest"
    " CROSS JOIN content ON content.digest = rights.digest GROUP BY rights.digest, rights.upstream_id"
    ") GROUP BY upstream_id ORDER BY upstream_id"
)
"""By digest first: that order is an index's, and nothing has to be sorted."""
_WHOLE: Final = "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM content"
_FETCHED: Final = "fetched"
_EVICTED: Final = "evicted"
_QUARANTINED: Final = "quarantined"
_NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Served:
    """Complete answers of one class to clients of one registry, from one upstream's things."""

    registry_id: str
    upstream_id: str
    hit: Hit
    answers: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """Bytes of manifests and blobs that an upstream sent."""

    upstream_id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Held:
    """What is on disk by right of one upstream. Content that several have a right to counts for each."""

    upstream_id: str
    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """All processes' counts since the folder was made, some seconds old; `entries` and `bytes` are now."""

    served: tuple[Served, ...] = ()
    fetched: tuple[Fetched, ...] = ()
    held: tuple[Held, ...] = ()
    entries: int = 0
    bytes: int = 0
    evicted_entries: int = 0
    evicted_bytes: int = 0
    quarantined: int = 0


class TellsStatistics(Protocol):
    """Who can tell what the cache did: for metrics, and for the api's questions."""

    async def snapshot(self) -> CacheStatistics:
        """Return the counts of all processes that share the folder."""
        ...


class Statistics:
    """Counting is two additions in a dictionary; `flush` brings them to the disk's queue."""

    def __init__(self, disk: IndexDisk) -> None:
        self._disk = disk
        self._counts: dict[tuple[str, str, str], list[int]] = {}
        self._last = CacheStatistics()

    def served(self, registry_id: str, upstream_id: str, hit: Hit, size: int) -> None:
        """Count a complete answer to a client and its body's bytes."""
        self._count((registry_id, upstream_id, hit), size)

    def fetched(self, upstream_id: str, size: int) -> None:
        """Count bytes that an upstream sent."""
        self._count((_NOBODY, upstream_id, _FETCHED), size)

    def evicted(self, entries: int, size: int) -> None:
        """Count what had to make room, or was unused for too long."""
        if entries:
            self._count((_NOBODY, _NOBODY, _EVICTED), size, entries)

    def quarantined(self) -> None:
        """Count content that had gone bad on disk."""
        self._count((_NOBODY, _NOBODY, _QUARANTINED), 0)

    def flush(self) -> None:
        """Hand over what was counted since the last time."""
        if self._counts:
            counts, self._counts = self._counts, {}
            self._disk.later([(_ADD, (*key, times, size)) for key, (times, size) in counts.items()])

    async def snapshot(self) -> CacheStatistics:
        """Return the counts as they are on disk; the last ones known while it cannot be read."""
        rows = await self._disk.browse([(_ALL, ()), (_HELD, ()), (_WHOLE, ())])
        if rows is not None:
            self._last = _statistics(*rows)
        return self._last

    def _count(self, key: tuple[str, str, str], size: int, times: int = 1) -> None:
        count = self._counts.get(key)
        if count is None:
            self._counts[key] = [times, size]
        else:
            count[0] += times
            count[1] += size


def _statistics(counts: Sequence[Row], held: Iterable[Row], whole: Sequence[Row]) -> CacheStatistics:
    hits = {hit.value for hit in Hit}
    ours = {str(event): (int(times), int(size)) for _, upstream, event, times, size in counts if not upstream}
    return CacheStatistics(
        served=tuple(
            Served(str(registry), str(upstream), Hit(str(event)), int(times), int(size))
            for registry, upstream, event, times, size in counts
            if event in hits
        ),
        fetched=tuple(
            Fetched(str(upstream), int(size)) for _, upstream, event, _, size in counts if event == _FETCHED
        ),
        held=tuple(Held(str(upstream), int(entries), int(size)) for upstream, entries, size in held),
        entries=int(whole[0][0]),
        bytes=int(whole[0][1]),
        evicted_entries=ours.get(_EVICTED, (0, 0))[0],
        evicted_bytes=ours.get(_EVICTED, (0, 0))[1],
        quarantined=ours.get(_QUARANTINED, (0, 0))[0],
    )
