"""Real clients pull images of every shape, by name and through their mirrors, and run what they got."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.containerd import Containerd
from tests.clients.credentials import write_auth_file
from tests.clients.dockerd import Dockerd
from tests.clients.found import ALL
from tests.clients.podman import Podman
from tests.clients.puller import Puller
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.hub.sites import DOCKER_HUB
from tests.clouds.images import Image, make_image, make_index
from tests.clouds.program import program_that_says
from tests.e2e.admin import Admin
from tests.e2e.stack import Stack, stack
from tests.support.wait import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

MEBIBYTE = 1024 * 1024
LARGE = 256 * MEBIBYTE if os.environ.get("VREG_TEST_FULL") == "1" else 16 * MEBIBYTE
"""Bytes of each of four layers: with VREG_TEST_FULL=1 they are a gibibyte together, which takes minutes."""
SHAPES = {
    "single": lambda: make_image("single", 3_000_000),
    "docker": lambda: make_image("docker", 100_000, is_docker=True),
    "platforms": lambda: make_index("platforms", 20_000, architectures=("amd64", "arm64", "s390x")),
    "docker-platforms": lambda: make_index("docker-platforms", 20_000, is_docker=True),
    "forty-layers": lambda: make_image("forty", *([2_000] * 40)),
    "large": lambda: make_image("large", *([LARGE] * 4)),
}
GREETING = "pulled through vreg"


@dataclass
class Stage:
    """A vreg before Docker Hub: `hub` mirrors it for everybody, `team` is for those with the token."""

    clouds: Clouds
    stack: Stack
    token: str
    digests: dict[str, str]

    def push(self, name: str, image: Image, *tags: str) -> str:
        return self.clouds.hub_repository(DOCKER_HUB.host, name, is_public=True).push(image, *tags)

    def auth_file(self, folder: Path) -> Path:
        return write_auth_file(folder / "config" / "config.json", self.stack.proxy, self.token)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("images")
    async with clouds(folder / "clouds", is_separate=True) as world:
        settings = {**world.environment, "VREG_PROXY_MIRROR_NAMESPACE": "docker.io"}
        async with stack(folder, environment=settings, workers=2) as vreg:
            admin = Admin(vreg)
            upstream = await admin.upstream("hub", "oci", DOCKER_HUB.host)
            await admin.registry("team", [upstream])
            await vreg.create(
                "virtual_registries",
                {
                    "slug": "hub",
                    "memberships": [{"upstream_id": upstream}],
                    "anonymous_pull": True,
                    "mirror_namespaces": ["docker.io"],
                },
            )
            _, token = await admin.access_token("client")
            running = Stage(world, vreg, token, {})
            for name, make in SHAPES.items():
                running.digests[name] = running.push(f"library/{name}", make(), "1")
            await eventually(lambda: is_set_up(running), deadline=20)
            yield running


async def is_set_up(running: Stage) -> bool:
    async with Puller(running.stack.proxy, running.token) as puller:
        return all([await puller.status(f"{slug}/single/tags/list") == 200 for slug in ("team", "hub")])


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
async def test_every_shape_of_image_is_pulled(hub: Stage, kind: type, tmp_path: Path) -> None:
    if not kind.is_installed():
        pytest.skip(f"{kind.name} is not installed; tests/install-tools installs it")
    client = kind(tmp_path / kind.name, hub.auth_file(tmp_path))
    try:
        for name, digest in hub.digests.items():
            image = f"{hub.stack.proxy}/team/library/{name}:1"
            assert await client.pull(image, deadline=300) == digest
    finally:
        await client.close()


@pytest.mark.parametrize("kind", [Containerd, Dockerd, Podman], ids=lambda kind: kind.name)
async def test_a_client_that_asks_for_docker_hub_is_served_by_its_mirror(
    hub: Stage, kind: type, tmp_path: Path
) -> None:
    if not kind.is_installed():
        pytest.skip(f"{kind.name} is not installed; tests/install-tools installs it")
    image = make_image(f"mirrored by {kind.name}", 50_000)
    hub.push("library/mirrored", image, kind.name)
    hub.push("acme/mirrored", image, kind.name)
    client = kind(tmp_path / kind.name, hub.auth_file(tmp_path), mirror=hub.stack.proxy)
    try:
        for name in ("library/mirrored", "acme/mirrored"):
            assert await client.pull(f"docker.io/{name}:{kind.name}") == image.digest
    finally:
        await client.close()


async def test_what_podman_pulled_runs(hub: Stage, tmp_path: Path) -> None:
    if not Podman.is_installed():
        pytest.skip("podman is not installed; tests/install-tools installs it")
    image = make_image("runs", 1_000, program=program_that_says(GREETING))
    hub.push("library/runs", image, "1")
    client = Podman(tmp_path / "podman", hub.auth_file(tmp_path))
    name = f"{hub.stack.proxy}/team/library/runs:1"
    try:
        assert await client.pull(name) == image.digest
        assert GREETING in await client.run(name)
    finally:
        await client.close()
