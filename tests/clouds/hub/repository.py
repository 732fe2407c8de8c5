"""A repository of an emulated registry, to push to as its owner does."""

from dataclasses import dataclass

from tests.clouds.content import ContentStore
from tests.clouds.hub.control import HubControl
from tests.clouds.images import Image, store


@dataclass(frozen=True)
class HubRepository:
    """Where to push; the repository must exist."""

    hub: HubControl
    content: ContentStore
    host: str
    name: str

    def push(self, image: Image, *tags: str) -> str:
        """Put the image there under these tags; return its digest."""

        def put(digest: str, image: Image, tag: str | None) -> None:
            self.hub.put_manifest(
                self.host,
                self.name,
                digest=digest,
                media_type=image.media_type,
                blobs=tuple(image.blobs),
                tag=tag,
            )

        return store(image, self.content, put, *tags)
