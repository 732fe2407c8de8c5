"""What pulling needs of the cache, as small protocols.

Bytes are kept once. The right to read them belongs to an origin, and comes only from its upstream's own
success for exactly that digest.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self

from vreg_proxy.cache import BlobSource, Hit, Origin, Right, TagEntry
from vreg_shared.errors import VregError
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Verdict
from vreg_shared.registry_client import Manifest


class MemoryUnreadableError(VregError):
    """What was served cannot be read at the moment; try again."""


class ManifestHoldings(Protocol):
    """Manifests and tags."""

    async def manifest(self, origin: Origin, digest: Digest) -> Manifest | None:
        """Return a manifest the origin has a right to; None when there is none."""
        ...

    async def store_manifest(self, origin: Origin, manifest: Manifest) -> None:
        """Keep a manifest the origin's upstream just gave us. A full disk is no error."""
        ...

    async def tag(self, origin: Origin, tag: str, checked_after: datetime | None = None) -> TagEntry | None:
        """Return where a tag pointed when its upstream was last asked, by any process."""
        ...

    def point_tag(self, origin: Origin, tag: str, digest: Digest, checked_at: datetime) -> None:
        """Remember what a tag names."""
        ...


class HeldBlob(Protocol):
    """A blob being read, whether it is all here or still on its way."""

    size: int

    @property
    def hit(self) -> Hit:
        """Return where the bytes come from."""
        ...

    def chunks(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes | bytearray]:
        """Yield the bytes from `start` up to `stop`; raise BlobInterruptedError when they cannot be had."""
        ...


class EnteredBlob(HeldBlob, Protocol):
    """A blob's reader: entered once, left once."""

    async def __aenter__(self) -> Self:
        """Begin to read."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Stop reading."""
        ...


class BlobHoldings(Protocol):
    """Blobs."""

    async def right(self, origin: Origin, digest: Digest) -> Right | None:
        """Return the right to a blob that an origin already has, without asking its upstream."""
        ...

    async def blob_size(self, origin: Origin, digest: Digest, source: BlobSource) -> int | Verdict:
        """Return a blob's size in bytes, asking the upstream only when the origin has no right yet."""
        ...

    async def blob(self, origin: Origin, digest: Digest, source: BlobSource) -> EnteredBlob | Verdict:
        """Return a reader, which must be entered, or the upstream's answer."""
        ...


class Servers(Protocol):
    """Which upstream served a repository last: it is asked for its digests first, for it knows the name."""

    async def server_of(self, registry_id: str, repository: str) -> str | None:
        """Return the upstream's id."""
        ...

    @property
    def can_tell_servers(self) -> bool:
        """Whether the None that `server_of` has just returned means nobody."""
        ...

    def remember_server(self, registry_id: str, repository: str, upstream_id: str) -> None:
        """Remember who served."""
        ...
