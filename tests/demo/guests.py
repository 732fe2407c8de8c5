"""Registries beside the clouds: Docker Hub and a docker-registry, each open to all and behind a password."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.clouds.hub.sites import DOCKER_HUB
from tests.clouds.images import Image, make_image, push_to_registry
from tests.e2e.cast import SLUG, Cast

_OPEN, _PROTECTED = "registry.example.test", "harbor.example.test"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Guest:
    """One upstream beside the clouds; `name` says how it is reached."""

    name: str
    repository: str
    membership: dict[str, Any]
    put: Callable[[Image, str], Awaitable[None]]

    async def push(self, seed: str, tag: str) -> str:
        """Push an image that nobody has pulled; return its digest."""
        image = make_image(f"{self.name}/{seed}", 2 * _MIB)
        await self.put(image, tag)
        return image.digest

    def image(self, play: Cast, tag: str) -> str:
        """Return what a person would write behind `docker pull`."""
        return f"{play.stack.proxy}/{SLUG}/{self.repository}:{tag}"


async def guests(play: Cast) -> list[Guest]:
    """Make the four upstreams, and the identities that two of them need."""
    return [
        await _docker_hub(play, "alpine", is_public=True),
        await _docker_hub(play, "team/private", is_public=False),
        await _docker_registry(play, _OPEN, is_protected=False),
        await _docker_registry(play, _PROTECTED, is_protected=True),
    ]


async def _docker_hub(play: Cast, name: str, *, is_public: bool) -> Guest:
    host, identity_id, readers = DOCKER_HUB.host, None, ()
    if not is_public:
        login = play.clouds.hub.add_account(host, "vreg-demo")
        identity_id = await _identity(play, "docker-hub-token", login.username, login.password, host)
        readers = (login.username,)
    path = name if "/" in name else f"library/{name}"
    repository = play.clouds.hub_repository(host, path, is_public=is_public, readers=readers)

    async def put(image: Image, tag: str) -> None:
        repository.push(image, tag)

    title = "Docker Hub, anonymous" if is_public else "Docker Hub, access token"
    return Guest(title, name, await _membership(play, title, host, identity_id, name), put)


async def _docker_registry(play: Cast, host: str, *, is_protected: bool) -> Guest:
    registry, identity_id = play.clouds.registry(host, is_protected=is_protected), None
    if registry.username is not None and registry.password is not None:
        identity_id = await _identity(play, "robot", registry.username, registry.password, host)
    name = f"tools/{'robot' if is_protected else 'open'}"

    async def put(image: Image, tag: str) -> None:
        await push_to_registry(registry, name, image, tag)

    title = f"docker-registry, {'password' if is_protected else 'anonymous'}"
    return Guest(title, name, await _membership(play, title, host, identity_id, name), put)


async def _identity(play: Cast, name: str, username: str, password: str, host: str) -> str:
    method = {"method": "basic.password", "username": username, "password": password}
    return str((await play.admin.identity(name, method, {"hosts": [host]}))["id"])


async def _membership(
    play: Cast, title: str, host: str, identity_id: str | None, repository: str
) -> dict[str, Any]:
    name = title.lower().replace(", ", "-").replace(" ", "-")
    upstream_id = await play.admin.upstream(name, "oci", host, identity_id, tag_validity_seconds=0)
    return {"upstream_id": upstream_id, "allow": [repository]}
