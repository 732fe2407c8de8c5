"""A small Google Cloud that tests start from: a project, an image, and the service account that reads it."""

from dataclasses import dataclass

from tests.clouds.clouds import Clouds
from tests.clouds.gcp.repository import GarImages
from tests.clouds.images import Image, make_image

PROJECT = "a-project"
PROJECT_NUMBER = "123456789012"
LOCATION = "europe-west3"
REPOSITORY = "team"
PULLER = f"vreg-pull@{PROJECT}.iam.gserviceaccount.com"
BROKER = f"vreg-broker@{PROJECT}.iam.gserviceaccount.com"
MIDDLE = f"vreg-middle@{PROJECT}.iam.gserviceaccount.com"
IMAGE = make_image("app", 3000)


@dataclass(frozen=True, slots=True)
class Scene:
    """`images` holds IMAGE under the tag 1.0, and PULLER may read it."""

    images: GarImages
    image: Image

    @property
    def host(self) -> str:
        """The registry's host."""
        return self.images.host

    @property
    def path(self) -> str:
        """The image's name on the registry."""
        return self.images.path


def set_scene(clouds: Clouds, image: Image = IMAGE) -> Scene:
    """Make the service accounts, without keys or a right to act as each other, and push the image."""
    member = clouds.gcp.add_service_account(PULLER)
    for email in (BROKER, MIDDLE):
        clouds.gcp.add_service_account(email)
    images = clouds.gar(PROJECT, LOCATION, REPOSITORY, "app", readers=(member,))
    images.push(image, "1.0")
    return Scene(images, image)
