"""Which real clients this machine has."""

from pathlib import Path
from typing import Protocol

from tests.clients.containerd import Containerd
from tests.clients.dockerd import Dockerd
from tests.clients.podman import Podman
from tests.clients.skopeo import Skopeo


class Client(Protocol):
    """A container client: pulls an image cold and says which manifest it got."""

    name: str

    async def prepare(self) -> None: ...

    async def pull(self, image: str, *, deadline: float = 120) -> str: ...

    async def close(self) -> None: ...


ALL = (Containerd, Dockerd, Podman, Skopeo)


def clients_found(folder: Path, auth_file: Path) -> list[Client]:
    """Return one of each installed client, with folders of their own below `folder`."""
    return [kind(folder / kind.name, auth_file) for kind in ALL if kind.is_installed()]
