"""What the cache holds, for people: listed by upstream, repository and digest, and taken away on request."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from vreg_proxy.cache.books import PURGED
from vreg_proxy.cache.content_store import ContentStore
from vreg_proxy.cache.index_disk import IndexDisk, Row, Statement
from vreg_proxy.cache.origin import Kind
from vreg_proxy.cache.threads import in_thread
from vreg_shared.errors import VregError
from vreg_shared.oci.digest import Digest

MOST_LISTED: Final = 200
_KEY: Final = "r.upstream_id, r.repository, r.digest, r.kind"
_LIST: Final = (
    f"SELECT {_KEY}, r.media_type, r.size, COALESCE(c.last_used, -1),"  # noqa: S608 - constants
    " COALESCE((SELECT group_concat(tag, ' ') FROM tags t WHERE t.upstream_id = r.upstream_id"
    " AND t.cache_epoch = r.cache_epoch AND t.repository = r.repository AND t.digest = r.digest), '')"
    " FROM rights r LEFT JOIN content c ON c.digest = r.digest WHERE"
)
_LATEST: Final = "r.cache_epoch = (SELECT MAX(cache_epoch) FROM rights e WHERE e.upstream_id = r.upstream_id)"


class CacheUnreadableError(VregError):
    """The cache's index cannot be read or written now; try again, and see the proxy's `/readyz`."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries are meant; None means any. A repository is spelled as the upstream does."""

    upstream_id: str
    repository: str | None = None
    digest: Digest | None = None

    def where(self, table: str) -> tuple[str, Row]:
        """Return a condition and its values."""
        parts = {"upstream_id": self.upstream_id, "repository": self.repository}
        if self.digest is not None:
            parts["digest"] = str(self.digest)
        given = {name: value for name, value in parts.items() if value is not None}
        return " AND ".join(f"{table}.{name} = ?" for name in given), tuple(given.values())


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where an entry stands in the order of the list, which is the same in every cache."""

    upstream_id: str
    repository: str
    digest: str
    kind: str


@dataclass(frozen=True, slots=True)
class Content:
    """One thing that one repository of one upstream gave. `size` is in bytes.

    `last_used` None: the bytes made room for others, and the right to them is still known.
    """

    position: Position
    kind: Kind
    media_type: str
    size: int
    last_used: datetime | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken away: rights, and bytes that nobody else has a right to."""

    entries: int
    bytes: int


class Contents:
    """Asked by the api over the bus; nothing here is in a pull's way."""

    def __init__(self, disk: IndexDisk, store: ContentStore, executor: Executor) -> None:
        self._disk = disk
        self._store = store
        self._executor = executor

    async def page(
        self, selection: Selection | None, after: Position | None, most: int
    ) -> tuple[Content, ...]:
        """Return entries in order, beginning behind `after`; raise CacheUnreadableError."""
        where, values = selection.where("r") if selection is not None else ("TRUE", ())
        if after is not None:
            where += f" AND ({_KEY}) > (?, ?, ?, ?)"
            values = (*values, after.upstream_id, after.repository, after.digest, after.kind)
        query = f"{_LIST} {where} AND {_LATEST} ORDER BY {_KEY} LIMIT ?"
        return tuple(_content(row) for row in await self._rows(query, (*values, min(most, MOST_LISTED))))

    async def remove(self, selection: Selection) -> Removed:
        """Take rights and tags away, and bytes that nobody else has a right to; raise CacheUnreadableError.

        Other processes forget within about a second. Readers and fills under way go on.
        """
        rights, values = selection.where("rights")
        tags, _ = selection.where("tags")
        found = await self._rows(f"SELECT digest FROM rights WHERE {rights}", values)  # noqa: S608 - made of constants
        await self._write(
            [
                (f"DELETE FROM rights WHERE {rights}", values),  # noqa: S608 - the same
                (f"DELETE FROM tags WHERE {tags}", values),  # noqa: S608 - the same
                PURGED,
            ]
        )
        return Removed(len(found), await self._drop_unowned({str(row[0]) for row in found}))

    async def _drop_unowned(self, digests: set[str]) -> int:
        freed = 0
        for digest in sorted(digests):
            query = (
                "SELECT size FROM content WHERE digest = ?"
                " AND NOT EXISTS (SELECT 1 FROM rights WHERE rights.digest = content.digest)"
            )
            for (size,) in await self._rows(query, (digest,)):
                if await in_thread(self._executor, self._store.remove, Digest.parse(digest)):
                    freed += int(size)
                await self._write([("DELETE FROM content WHERE digest = ?", (digest,))])
        return freed

    async def _rows(self, query: str, values: Row) -> Sequence[Row]:
        found = await self._disk.browse([(query, values)])
        if found is None:
            raise CacheUnreadableError("the cache's index cannot be read now; try again")
        return found[0]

    async def _write(self, statements: Sequence[Statement]) -> None:
        self._disk.later(statements)
        await self._disk.flushed()
        if self._disk.problem is not None:
            raise CacheUnreadableError(f"{self._disk.problem}; try again")


def _content(row: Row) -> Content:
    upstream_id, repository, digest, kind, media_type, size, last_used, tags = row
    return Content(
        Position(str(upstream_id), str(repository), str(digest), str(kind)),
        Kind(str(kind)),
        str(media_type),
        int(size),
        datetime.fromtimestamp(int(last_used), UTC) if int(last_used) >= 0 else None,
        tuple(sorted(str(tags).split())),
    )
