"""What a registry gives us when it does give: manifests, blobs and pages of tags."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from vreg_shared.errors import VregError
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import Tag


class BlobInterruptedError(VregError):
    """A blob's body ended early, late or not at all; open it again at `position`.

    `reason` is `truncated`, `over_long`, `timeout` or `connection_failed`. Of an over-long body the bytes
    handed out so far cannot be trusted either: begin anew.
    """

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"the blob's body was interrupted at byte {position}: {reason}")
        self.reason = reason
        self.position = position


@dataclass(frozen=True, slots=True)
class ManifestDescriptor:
    """What HEAD tells of a manifest. Only a GET proves it: the digest is the upstream's word."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's exact bytes, the digest we computed from them, and their one media type."""

    digest: Digest
    media_type: str
    body: bytes

    @property
    def descriptor(self) -> ManifestDescriptor:
        """The same facts without the bytes."""
        return ManifestDescriptor(self.digest, self.media_type, len(self.body))


@dataclass(frozen=True, slots=True)
class BlobStream:
    """A blob on its way. `size` is the whole blob's, `offset` where `chunks` really begin.

    An upstream may ignore a range: then `offset` is 0. `chunks` gives exactly `size - offset` bytes or
    raises BlobInterruptedError; nobody has compared them with the digest yet.
    """

    size: int
    offset: int
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class TagPage:
    """Some tags, in the upstream's order; `next_page` is its own link to more, given back verbatim."""

    tags: tuple[Tag, ...]
    next_page: str | None


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that names another as its subject, as a list describes it; only a pull proves it."""

    digest: Digest
    media_type: str
    size: int
    artifact_type: str | None = None
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """Some referrers, in the upstream's order; `next_page` is its own link to more."""

    referrers: tuple[Referrer, ...]
    next_page: str | None
