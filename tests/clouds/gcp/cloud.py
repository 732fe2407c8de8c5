"""The emulated Google Cloud, put together."""

from collections.abc import Mapping

from tests.clouds.cloud import Cloud, Parts
from tests.clouds.gcp.aws_proof import AwsProofs
from tests.clouds.gcp.control import GcpControl
from tests.clouds.gcp.gar_downloads import Downloads
from tests.clouds.gcp.gar_registry import GarRegistry
from tests.clouds.gcp.iamcredentials import IamCredentials
from tests.clouds.gcp.metadata import Metadata
from tests.clouds.gcp.oauth2 import OAuth2
from tests.clouds.gcp.places import find_place
from tests.clouds.gcp.state import GcpState
from tests.clouds.gcp.sts import Sts
from tests.clouds.wire import Service


class Gcp:
    """The token services, the registry, and what two machines ask: one here, and one on AWS."""

    def __init__(self, parts: Parts) -> None:
        state = GcpState(parts.clock, parts.content)
        downloads = Downloads(state)
        services = (
            OAuth2(state),
            Sts(state, parts.verifier, AwsProofs(parts.asks)),
            IamCredentials(state),
            GarRegistry(state, downloads),
            downloads,
        )
        self._services: dict[str, Service] = {service.name: service for service in services}
        metadata = Metadata(state)
        self.control: object = GcpControl(state)
        self.local: Mapping[str, Service] = {metadata.name: metadata}

    def find(self, host: str) -> Service | None:
        """Return what answers under a name of Google."""
        place = find_place(host)
        return self._services[place.service] if place is not None else None


def cloud(parts: Parts) -> Cloud:
    """Return the emulated Google Cloud."""
    return Gcp(parts)
