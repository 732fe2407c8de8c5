"""A hundred clients ask two worker processes for one blob that nobody has yet."""

import asyncio

import pytest

from tests.clouds.images import make_image
from tests.e2e.scene import PLACES, Scene

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CLIENTS = 100


async def test_it_is_fetched_once_and_everybody_gets_its_bytes(stage: Scene) -> None:
    place = PLACES[0]
    image = make_image("cold", 50 * 1024 * 1024)
    (layer,) = image.layers
    stage.push_to_ecr(place, image, "cold")
    together = asyncio.Barrier(CLIENTS)

    async def pull() -> int:
        async with stage.puller() as puller:
            await puller.manifest(f"demo/{place.repository}", "cold")
            await together.wait()
            return await puller.blob(f"demo/{place.repository}", layer)

    sizes = await asyncio.gather(*(pull() for _ in range(CLIENTS)))

    assert set(sizes) == {len(image.blobs[layer])}
    path = stage.clouds.aws.blob_path(place.account, place.region, place.repository, layer)
    assert stage.clouds.log.count(service="s3", method="GET", path=path) == 1
    assert stage.clouds.log.count(host=place.host, method="GET", path=f"*/blobs/{layer}") == 1
    assert len(stage.stack.services()["vreg_proxy"]) >= 3, "a supervisor and two workers"
