"""Where a right to read comes from: one repository of one upstream, in one epoch of its cache."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Origin:
    """Rights belong to an origin and to nobody else; `repository` is the name as the upstream spells it.

    Raising `cache_epoch` leaves every right of the older epochs behind: that is how a purge works.
    """

    upstream_id: str
    cache_epoch: int
    repository: str

    @property
    def mark(self) -> str:
        """Return a short text other processes can compare, from which no name can be read."""
        return _mark(self.upstream_id, self.cache_epoch, self.repository)

    @property
    def upstream_mark(self) -> str:
        """Return the same for all repositories of the upstream in this epoch."""
        return _mark(self.upstream_id, self.cache_epoch)


def _mark(*parts: str | int) -> str:
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]


class Kind(StrEnum):
    """What a digest names; a right for the one is none for the other."""

    MANIFEST = "manifest"
    BLOB = "blob"


@dataclass(frozen=True, slots=True)
class Right:
    """An origin's own 2xx for exactly one digest. `size` is in bytes."""

    media_type: str
    size: int
    kind: Kind
