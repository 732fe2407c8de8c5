"""Where tests push to in the emulated Artifact Registry."""

from dataclasses import dataclass

from tests.clouds.content import ContentStore
from tests.clouds.gcp.control import GcpControl
from tests.clouds.images import Image, store


@dataclass(frozen=True)
class GarImages:
    """Images at a host below a path; the repository must exist."""

    gcp: GcpControl
    content: ContentStore
    host: str
    path: str

    def push(self, image: Image, *tags: str) -> str:
        """Put the image there under these tags; return its digest."""

        def put(digest: str, image: Image, tag: str | None) -> None:
            blobs = tuple(image.blobs)
            self.gcp.put_manifest(
                self.host, self.path, digest=digest, media_type=image.media_type, blobs=blobs, tag=tag
            )

        return store(image, self.content, put, *tags)
