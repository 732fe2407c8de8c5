"""What the index says of the content on disk as a whole: for the evictor, the scrub and the census.

Everything blocks and raises sqlite3.Error: use a thread.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from vreg_proxy.cache.index_file import IndexFile
from vreg_shared.oci.digest import Digest

WAIT_SECONDS: Final = 2.0
_IS_MANIFEST: Final = (
    "EXISTS (SELECT 1 FROM rights WHERE rights.digest = content.digest AND rights.kind = 'manifest')"
)
_IS_TAGGED: Final = "EXISTS (SELECT 1 FROM tags WHERE tags.digest = content.digest)"
_ROWS: Final = "SELECT digest, size, last_used FROM content WHERE"
_BY_USE: Final = "ORDER BY last_used LIMIT ?"
LEAST_MISSED: Final = (
    f"{_ROWS} NOT {_IS_MANIFEST} {_BY_USE}",
    f"{_ROWS} {_IS_MANIFEST} AND NOT {_IS_TAGGED} {_BY_USE}",
    f"{_ROWS} {_IS_TAGGED} {_BY_USE}",
)
"""Blobs first, then manifests without a tag, then the rest: they are small, and pulls begin with them."""
_IDLE: Final = f"{_ROWS} last_used < ? {_BY_USE}"
_DROP: Final = "DELETE FROM content WHERE digest = ? AND last_used <= ?"
_DROP_RIGHTS: Final = ("DELETE FROM rights WHERE digest = ?", "DELETE FROM tags WHERE digest = ?")
MOST_ROWS: Final = 1_000_000
"""Rights, and tags, beyond which those without content go: an upstream gives them again when asked."""
TRIMMED_AT_ONCE: Final = 10_000
_IS_LOOSE: Final = "NOT EXISTS (SELECT 1 FROM content WHERE content.digest = {0}.digest)"
_KEYS: Final = {
    "rights": "upstream_id, cache_epoch, repository, digest, kind",
    "tags": "upstream_id, cache_epoch, repository, tag",
}
_COUNT: Final = "SELECT COUNT(*) FROM {0}"
_LOOSE: Final = f"SELECT {{1}} FROM {{0}} WHERE {_IS_LOOSE} LIMIT ?"  # noqa: S608 - constants
_FORGET: Final = "DELETE FROM {0} WHERE ({1}) = ({2})"
_STALE_TAGS: Final = f"DELETE FROM tags WHERE checked_at < ? AND {_IS_LOOSE.format('tags')}"  # noqa: S608 - constants
PURGED: Final = ("INSERT INTO marks VALUES ('purges', 1) ON CONFLICT DO UPDATE SET value = value + 1", ())
_FOUND: Final = "INSERT OR IGNORE INTO content VALUES (?, ?, ?, 0)"
_MARK: Final = "INSERT OR REPLACE INTO marks VALUES (?, ?)"


@dataclass(frozen=True, slots=True)
class Entry:
    """Content as the index knows it; `last_used` is a Unix second."""

    digest: Digest
    size: int
    last_used: int


class Books:
    """One for each thread that uses it."""

    def __init__(self, path: Path) -> None:
        self._file = IndexFile(path, WAIT_SECONDS)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def total(self) -> int:
        """Return the bytes of all content."""
        return int(str((self._file.first("SELECT COALESCE(SUM(size), 0) FROM content", ()) or (0,))[0]))

    def least_missed(self, most: int) -> list[Entry]:
        """Return what should go first when there is no room."""
        for query in LEAST_MISSED:
            entries = self._entries(query, (most,))
            if entries:
                return entries
        return []

    def idle(self, since: int, most: int) -> list[Entry]:
        """Return what was last used before this Unix second."""
        return self._entries(_IDLE, (since, most))

    def dropped(self, entries: Iterable[Entry], *, with_rights: bool) -> None:
        """Take entries out whose bytes are gone; one that came back meanwhile stays."""
        statements = [(_DROP, (str(entry.digest), entry.last_used)) for entry in entries]
        if with_rights:
            digests = [values[0] for _, values in statements]
            rights = [(query, (digest,)) for digest in digests for query in _DROP_RIGHTS]
            self._file.write([*statements, *rights, PURGED])
        else:
            self._file.write(statements)

    def drop_stale_tags(self, since: int) -> None:
        """Forget tags that were last checked before this Unix second and whose content is not here."""
        self._file.write([(_STALE_TAGS, (since * 1_000_000,))])

    def trim(self, most: int) -> None:
        """Keep the index from growing for ever: beyond so many rows those without content go."""
        for table, keys in _KEYS.items():
            surplus = self._count(table) - most
            while surplus > 0 and (loose := self._loose(table, min(surplus, TRIMMED_AT_ONCE))):
                forget = _FORGET.format(table, keys, ", ".join("?" * len(loose[0])))
                self._file.write([(forget, row) for row in loose])
                surplus -= len(loose)

    def due_for_scrub(self, before: int, most: int) -> list[Entry]:
        """Return what was hashed longest ago, and before this Unix second."""
        query = f"{_ROWS} scrubbed_at < ? ORDER BY scrubbed_at LIMIT ?"
        return self._entries(query, (before, most))

    def scrubbed(self, digest: Digest, now: datetime) -> None:
        """Note that content was hashed and is sound."""
        moment = int(now.timestamp())
        self._file.write([("UPDATE content SET scrubbed_at = ? WHERE digest = ?", (moment, str(digest)))])

    def lost(self, digest: Digest) -> None:
        """Note that content is not there any more."""
        self._file.write([("DELETE FROM content WHERE digest = ?", (str(digest),))])

    def last_census(self) -> int | None:
        """Return when all files were last counted, as a Unix second."""
        row = self._file.first("SELECT value FROM marks WHERE name = 'census'", ())
        return int(str(row[0])) if row is not None else None

    def known(self) -> dict[str, int]:
        """Return the size of every entry by digest."""
        return {
            str(digest): int(size)
            for digest, size in self._file.all([("SELECT digest, size FROM content", ())])[0]
        }

    def counted(self, found: Mapping[str, tuple[int, int]], missing: Sequence[str], now: datetime) -> None:
        """Take in what a census found (size and Unix second of each digest), and what it did not find."""
        self._file.write(
            [
                *((_FOUND, (digest, size, moment)) for digest, (size, moment) in found.items()),
                *(("DELETE FROM content WHERE digest = ?", (digest,)) for digest in missing),
                (_MARK, ("census", int(now.timestamp()))),
            ]
        )

    def _count(self, table: str) -> int:
        return int(str((self._file.first(_COUNT.format(table), ()) or (0,))[0]))

    def _loose(self, table: str, most: int) -> list[tuple[str | int, ...]]:
        """Return keys of rows without content: reading keeps no other process from writing."""
        return self._file.all([(_LOOSE.format(table, _KEYS[table]), (most,))])[0]

    def _entries(self, query: str, values: tuple[int, ...]) -> list[Entry]:
        rows = self._file.all([(query, values)])[0]
        return [Entry(Digest.parse(str(digest)), int(size), int(used)) for digest, size, used in rows]
