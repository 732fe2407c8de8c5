"""The emulated AWS, put together."""

from collections.abc import Mapping

from tests.clouds.aws.control import AwsControl
from tests.clouds.aws.ecr_api import EcrApi
from tests.clouds.aws.ecr_public_api import EcrPublicApi
from tests.clouds.aws.ecr_public_registry import EcrPublicRegistry
from tests.clouds.aws.ecr_registry import EcrRegistry
from tests.clouds.aws.layer_bucket import LayerBucket
from tests.clouds.aws.machine import ContainerCredentials, InstanceMetadata
from tests.clouds.aws.places import find_place
from tests.clouds.aws.public_cdn import PublicCdn
from tests.clouds.aws.state import AwsState
from tests.clouds.aws.sts import Sts
from tests.clouds.aws.web_identity import WebIdentities
from tests.clouds.cloud import Cloud, Parts
from tests.clouds.wire import Service


class Aws:
    """STS, both ECRs with what their blobs lie in, and what a machine is told, in every partition."""

    def __init__(self, parts: Parts) -> None:
        state = AwsState(parts.clock, parts.content)
        bucket, cdn = LayerBucket(state), PublicCdn(state)
        services = (
            Sts(state, WebIdentities(state, parts.verifier)),
            EcrApi(state),
            EcrRegistry(state, bucket),
            bucket,
            EcrPublicApi(state),
            EcrPublicRegistry(state, cdn),
            cdn,
        )
        container, instance = ContainerCredentials(state), InstanceMetadata(state)
        self._services: dict[str, Service] = {service.name: service for service in services}
        self.control: object = AwsControl(state, bucket, container, instance)
        self.local: Mapping[str, Service] = {each.name: each for each in (container, instance)}

    def find(self, host: str) -> Service | None:
        """Return what answers under a name of AWS."""
        place = find_place(host)
        return self._services[place.service] if place is not None else None


def cloud(parts: Parts) -> Cloud:
    """Return the emulated AWS."""
    return Aws(parts)
