"""The emulated registries put together: what answers under a host name, and how a test controls it."""

from collections.abc import Mapping

from tests.clouds.cloud import Cloud, Parts
from tests.clouds.hub.blob_cdn import BlobCdn
from tests.clouds.hub.control import HubControl
from tests.clouds.hub.model import HubState
from tests.clouds.hub.registry import HubRegistry
from tests.clouds.hub.sites import SITES
from tests.clouds.hub.token_endpoint import TokenEndpoint
from tests.clouds.wire import Service


class Hub:
    """Docker Hub, GitLab, GHCR and a Quay of one's own."""

    def __init__(self, parts: Parts) -> None:
        state = HubState(parts.clock, parts.content)
        realm, cdn = TokenEndpoint(state), BlobCdn(state)
        registry = HubRegistry(state, realm, cdn)
        self.control: object = HubControl(state, cdn)
        self.local: Mapping[str, Service] = {}
        self._services: dict[str, Service] = {}
        for site in SITES:
            self._services |= {site.realm_host: realm, site.storage_host: cdn, site.host: registry}

    def find(self, host: str) -> Service | None:
        """Return what answers under a lower-case host name."""
        return self._services.get(host)


def cloud(parts: Parts) -> Cloud:
    """Return the emulated registries."""
    return Hub(parts)
