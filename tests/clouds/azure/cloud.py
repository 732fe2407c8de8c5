"""The emulated Azure, put together."""

from collections.abc import Mapping

from tests.clouds.azure.acr_registry import AcrRegistry
from tests.clouds.azure.blob_storage import BlobStorage
from tests.clouds.azure.control import AzureControl
from tests.clouds.azure.entra import Entra
from tests.clouds.azure.machine import AppService, Imds
from tests.clouds.azure.places import find_place
from tests.clouds.azure.state import AzureState
from tests.clouds.cloud import Cloud, Parts
from tests.clouds.wire import Service


class Azure:
    """Entra, registries and their storage in every cloud; the managed identity endpoints of a machine."""

    def __init__(self, parts: Parts) -> None:
        self._state = AzureState(parts.clock, parts.content, parts.verifier)
        storage, app_service = BlobStorage(self._state), AppService(self._state)
        services = (Entra(self._state), AcrRegistry(self._state, storage), storage)
        self._services: dict[str, Service] = {service.name: service for service in services}
        self.control: object = AzureControl(self._state, app_service)
        self.local: Mapping[str, Service] = {
            service.name: service for service in (Imds(self._state), app_service)
        }

    def find(self, host: str) -> Service | None:
        """Return what answers under a name of Azure; a registry that was never made has no name."""
        place = find_place(host)
        if place is None or (
            place.service == "acr" and place.login_server not in self._state.model.registries
        ):
            return None
        return self._services[place.service]


def cloud(parts: Parts) -> Cloud:
    """Return the emulated Azure."""
    return Azure(parts)
