"""What an emulated repository holds: tags, manifests and blobs; the bytes are in the content store."""

from dataclasses import dataclass, field

from tests.clouds.content import ContentStore
from tests.clouds.wire import FileSpan


@dataclass
class Shelf:
    """One repository's content. `manifests` is digest to media type."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)

    def put(self, digest: str, media_type: str, blobs: tuple[str, ...], tag: str | None) -> None:
        """Hold a manifest and its blobs, which are in the content store already."""
        self.manifests[digest] = media_type
        self.blobs.update(blobs)
        if tag is not None:
            self.tags[tag] = digest

    def manifest(self, reference: str, accept: str | None) -> tuple[str, str] | None:
        """Return digest and media type of what a tag or digest names, if the client takes that kind."""
        digest = reference if ":" in reference else self.tags.get(reference, "")
        media_type = self.manifests.get(digest)
        return (digest, media_type) if media_type is not None and _accepts(accept, media_type) else None


def whole(content: ContentStore, digest: str) -> FileSpan:
    """Return all of a manifest or blob as a body."""
    return FileSpan(content.path(digest), 0, content.size(digest))


def _accepts(header: str | None, media_type: str) -> bool:
    """Whether the client can read this kind of manifest; a kind it does not name is not found."""
    if header is None:
        return True
    offered = {part.partition(";")[0].strip().lower() for part in header.split(",")}
    return bool(offered & {media_type, "*/*", "application/*"})
