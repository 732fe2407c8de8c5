"""Who may read what, where tags point, and which upstream served a repository, with a memory in front.

A miss in memory looks at the disk, so that other processes' rights are seen. Nothing here is the truth: every
row can be had again from an upstream, so a broken index is done without.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from vreg_proxy.cache.index_disk import IndexDisk, Row
from vreg_proxy.cache.origin import Kind, Origin, Right
from vreg_proxy.cache.recent import Recent
from vreg_shared.clock import Clock
from vreg_shared.oci.digest import Digest

MOST_RIGHTS: Final = 50_000
MOST_TAGS: Final = 20_000
USES_PER_BATCH: Final = 1_000
AHEAD: Final = timedelta(seconds=5)
"""How far clocks may differ; a check later than that was made while a clock was wrong, and proves nothing."""

_OF_ORIGIN: Final = "upstream_id = ? AND cache_epoch = ? AND repository = ?"
_RIGHT: Final = f"SELECT media_type, size FROM rights WHERE {_OF_ORIGIN} AND digest = ? AND kind = ?"  # noqa: S608 - a constant
_TAG: Final = f"SELECT digest, checked_at FROM tags WHERE {_OF_ORIGIN} AND tag = ?"  # noqa: S608 - a constant
_SERVER: Final = "SELECT upstream_id FROM servers WHERE registry_id = ? AND repository = ?"
_SERVED: Final = (
    "SELECT repository, upstream_id FROM servers WHERE registry_id = ? AND repository > ?"
    " ORDER BY repository LIMIT ?"
)
_GRANT: Final = "INSERT OR REPLACE INTO rights VALUES (?, ?, ?, ?, ?, ?, ?)"
_POINT: Final = (
    "INSERT INTO tags VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " digest = excluded.digest, checked_at = excluded.checked_at"
    " WHERE excluded.checked_at >= checked_at OR checked_at > ?"
)
_REMEMBER: Final = "INSERT OR REPLACE INTO servers VALUES (?, ?, ?)"
_USE: Final = "UPDATE content SET last_used = MAX(last_used, ?) WHERE digest = ?"
_KEPT: Final = (
    "INSERT INTO content VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " size = excluded.size, scrubbed_at = excluded.scrubbed_at,"
    " last_used = MAX(last_used, excluded.last_used)"
)
_GONE: Final = "DELETE FROM content WHERE digest = ?"
_PURGES: Final = "SELECT value FROM marks WHERE name = 'purges'"
_FORGET: Final = (
    "DELETE FROM rights WHERE upstream_id = ? AND cache_epoch < ?",
    "DELETE FROM tags WHERE upstream_id = ? AND cache_epoch < ?",
)


@dataclass(frozen=True, slots=True)
class TagEntry:
    """Where a tag pointed when its upstream was last asked."""

    digest: Digest
    checked_at: datetime

    def is_ahead(self, now: datetime) -> bool:
        """Whether it was checked by a clock that was ahead."""
        return self.checked_at > now + AHEAD


class Index:
    """Memory answers at once; the disk is asked in a thread and never on the loop."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._disk = IndexDisk(path, clock)
        self._rights: Recent[tuple[Origin, Digest, Kind], Right] = Recent(MOST_RIGHTS)
        self._tags: Recent[tuple[Origin, str], TagEntry] = Recent(MOST_TAGS)
        self._servers: Recent[tuple[str, str], str] = Recent(MOST_TAGS)
        self._used: dict[Digest, int] = {}
        self._purges: object = None

    @property
    def disk(self) -> IndexDisk:
        """Return the file, for those who browse it or count in it."""
        return self._disk

    @property
    def problem(self) -> str | None:
        """Return what keeps the index from its file, if anything does."""
        return self._disk.problem

    async def flushed(self) -> None:
        """Wait until what was written so far is seen by other processes, if the disk takes it."""
        await self._disk.flushed()

    async def close(self) -> None:
        """Write what waits and let go of the file."""
        self.write_uses()
        await self._disk.close()

    async def right(self, origin: Origin, digest: Digest, kind: Kind) -> Right | None:
        """Return the origin's right to a digest as this kind of thing, or None when it has to be proved."""
        known = self._rights.get((origin, digest, kind))
        if known is not None:
            return known
        match await self._disk.select(_RIGHT, (*_key(origin), str(digest), kind.value)):
            case (str(media_type), int(size)):
                right = Right(media_type, size, kind)
                self._rights.put((origin, digest, kind), right)
                return right
            case _:
                return None

    def grant(self, origin: Origin, digest: Digest, right: Right) -> None:
        """Remember that the origin's upstream answered 2xx for exactly this digest."""
        if self._rights.get((origin, digest, right.kind)) == right:
            return
        self._rights.put((origin, digest, right.kind), right)
        values = (*_key(origin), str(digest), right.media_type, right.size, right.kind.value)
        self._disk.later([(_GRANT, values)])

    async def tag(self, origin: Origin, tag: str, checked_after: datetime | None = None) -> TagEntry | None:
        """Return where a tag points; one checked before `checked_after` is looked up on disk again.

        Another process may have checked it meanwhile. What comes back may still be older.
        """
        known = self._tags.get((origin, tag))
        now = self._clock.now()
        is_sound = known is not None and not known.is_ahead(now)
        if known is not None and (checked_after is None or (is_sound and known.checked_at >= checked_after)):
            return known
        match await self._disk.select(_TAG, (*_key(origin), tag)):
            case (str(digest), int(checked_at)):
                entry = TagEntry(Digest.parse(digest), datetime.fromtimestamp(checked_at / 1e6, UTC))
            case _:
                return known
        if known is not None and is_sound and (known.checked_at >= entry.checked_at or entry.is_ahead(now)):
            return known
        self._tags.put((origin, tag), entry)
        return entry

    def point(self, origin: Origin, tag: str, entry: TagEntry) -> None:
        """Remember where a tag points; an older check replaces a newer one only if that is in the future."""
        self._tags.put((origin, tag), entry)
        checked_at = int(entry.checked_at.timestamp() * 1e6)
        latest = int((self._clock.now() + AHEAD).timestamp() * 1e6)
        self._disk.later([(_POINT, (*_key(origin), tag, str(entry.digest), checked_at, latest))])

    async def server_of(self, registry_id: str, repository: str) -> str | None:
        """Return the upstream that served this repository of a virtual registry last."""
        known = self._servers.get((registry_id, repository))
        if known is not None:
            return known
        match await self._disk.select(_SERVER, (registry_id, repository)):
            case (str(upstream_id),):
                self._servers.put((registry_id, repository), upstream_id)
                return upstream_id
            case _:
                return None

    async def served(self, registry_id: str, after: str, most: int) -> list[tuple[str, str]] | None:
        """Return repositories of a virtual registry and who served each last, in the order of their names.

        At most so many after `after`; None when the disk cannot say.
        """
        found = await self._disk.browse([(_SERVED, (registry_id, after, most))])
        return (
            None if found is None else [(str(repository), str(upstream)) for repository, upstream in found[0]]
        )

    def remember_server(self, registry_id: str, repository: str, upstream_id: str) -> None:
        """Remember which upstream served this repository."""
        if self._servers.get((registry_id, repository)) != upstream_id:
            self._servers.put((registry_id, repository), upstream_id)
            self._disk.later([(_REMEMBER, (registry_id, repository, upstream_id))])

    def forget_before(self, upstream_id: str, cache_epoch: int) -> None:
        """Remove the rows of an upstream's older epochs; they are out of reach already."""
        self._disk.later([(statement, (upstream_id, cache_epoch)) for statement in _FORGET])

    def kept(self, digest: Digest, size: int) -> None:
        """Note that content is on disk since now, and sound."""
        now = int(self._clock.now().timestamp())
        self._disk.later([(_KEPT, (str(digest), size, now, now))])

    def gone(self, digest: Digest) -> None:
        """Note that content was found bad and taken away."""
        self._disk.later([(_GONE, (str(digest),))])

    def used(self, digest: Digest) -> None:
        """Note that content was read now; written in batches."""
        self._used[digest] = int(self._clock.now().timestamp())
        if len(self._used) >= USES_PER_BATCH:
            self.write_uses()

    def write_uses(self) -> None:
        """Write what was read since the last time."""
        if self._used:
            used, self._used = self._used, {}
            self._disk.later([(_USE, (moment, str(digest))) for digest, moment in used.items()])

    def forget(self) -> None:
        """Drop what is in memory: the disk has the truth."""
        self._rights.clear()
        self._tags.clear()

    async def was_purged(self) -> bool:
        """Whether some process took rights away since the last time we asked; then our memory is dropped.

        The first time says yes: nobody knows what happened before.
        """
        row = await self._disk.select(_PURGES, ())
        purges = row[0] if row is not None else self._purges
        was_purged, self._purges = purges != self._purges, purges
        if was_purged:
            self.forget()
        return was_purged


def _key(origin: Origin) -> Row:
    return (origin.upstream_id, origin.cache_epoch, origin.repository)
