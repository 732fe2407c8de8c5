"""Real clients pull real images through `vreg up` from ECR and from real registries."""

from pathlib import Path

import pytest

from tests.clients.credentials import write_auth_file
from tests.clients.found import ALL
from tests.clouds.images import make_image, make_index
from tests.e2e.scene import PLACES, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
async def test_pulls_from_every_account_region_and_registry(stage: Scene, kind: type, tmp_path: Path) -> None:
    if not kind.is_installed():
        pytest.skip(f"{kind.name} is not installed; tests/install-tools installs it")
    auth_file = write_auth_file(tmp_path / "config" / "config.json", stage.stack.proxy, stage.token)
    client = kind(tmp_path / kind.name, auth_file)
    image = make_image(kind.name, 3_000_000, 50_000)
    try:
        for place in PLACES:
            stage.push_to_ecr(place, image, kind.name)
            assert await client.pull(stage.image(place.repository, kind.name)) == image.digest
        for registry in (stage.open_registry, stage.protected_registry):
            repository = f"{kind.name}/app"
            await stage.push_to_registry(registry, repository, image, "v1")
            assert await client.pull(stage.image(repository, "v1")) == image.digest
    finally:
        await client.close()


async def test_a_multi_platform_image_arrives_with_all_its_platforms(stage: Scene) -> None:
    index = make_index("platforms", 10_000, architectures=("amd64", "arm64", "s390x"))
    stage.push_to_ecr(PLACES[3], index, "all")
    async with stage.puller() as puller:
        pulled = await puller.pull(f"demo/{PLACES[3].repository}", "all")
    assert pulled.digest == index.digest
    assert pulled.blob_bytes == sum(map(len, index.blobs.values()))


async def test_the_credential_never_travels_to_the_storage_behind_a_redirect(stage: Scene) -> None:
    stage.push_to_ecr(PLACES[0], make_image("redirect", 10_000), "redirect")
    async with stage.puller() as puller:
        await puller.pull(f"demo/{PLACES[0].repository}", "redirect")
    asked = stage.clouds.log.entries(host="*.s3.*")
    assert asked
    assert not any(entry.has_authorization for entry in asked)
