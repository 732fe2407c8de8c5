"""Each part of vreg is killed under load: pulls go on, and what was lost comes back."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.clients.puller import Puller
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.e2e.cache_files import is_committed_rightly
from tests.e2e.load import pulls
from tests.e2e.scene import PLACES, Scene
from tests.support.wait import eventually

_CONNECTIONS = 8
pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def kill(stage: Scene, service: str) -> list[int]:
    """Kill every process of a service as the kernel would; return who they were."""
    victims = stage.stack.services()[service]
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    return victims


async def is_back(stage: Scene, service: str, victims: list[int]) -> None:
    """Wait until `vreg up` has started the service again, and all of vreg answers."""

    def others() -> bool:
        return bool(set(stage.stack.services().get(service, ())) - set(victims))

    await eventually(others, deadline=30)
    await eventually(stage.stack.is_ready, deadline=30)


@pytest.mark.parametrize("service", ["nats-server", "vreg_token_broker", "vreg_api"])
async def test_pulls_go_on_while_it_is_gone_and_after(stage: Scene, service: str) -> None:
    async with pulls(stage, f"killed-{service.replace('_', '-')}") as outcome:
        await outcome.more(20)
        victims = kill(stage, service)
        await outcome.more(20)
        await is_back(stage, service, victims)
        await outcome.more(20)


async def test_a_proxy_that_joins_while_brokers_change_serves_as_soon_as_it_is_ready(stage: Scene) -> None:
    digest = stage.push_to_ecr(PLACES[0], make_image("joined", 20_000), "joined")
    async with stage.stack.another_broker("standby"):
        victims = kill(stage, "vreg_token_broker")
        async with stage.stack.another_proxy("joined") as address:
            for _ in range(_CONNECTIONS):  # one after the other, so that each worker process gets some
                async with Puller(address, stage.token) as puller:
                    assert (await puller.pull(f"demo/{PLACES[0].repository}", "joined")).digest == digest
        await is_back(stage, "vreg_token_broker", victims)


async def test_configuration_flows_again_after_the_bus_was_killed(stage: Scene) -> None:
    victims = kill(stage, "nats-server")
    await is_back(stage, "nats-server", victims)
    _, token = await stage.admin.access_token("made-after-the-kill")

    async def is_accepted() -> bool:
        async with Puller(stage.stack.proxy, token) as puller:
            return await puller.status("") == 200

    await eventually(is_accepted, deadline=20)


async def test_a_proxy_killed_in_the_middle_of_a_fill_leaves_no_half_blob(stage: Scene) -> None:
    place = PLACES[2]
    image = make_image("killed-mid-fill", 8 * 1024 * 1024)
    (layer,) = image.layers
    stage.push_to_ecr(place, image, "mid-fill")
    path = stage.clouds.aws.blob_path(place.account, place.region, place.repository, layer)
    stage.clouds.faults.add(
        Fault(Harm.DRIP, service="s3", path=path, after_bytes=4_000_000, bytes_per_second=10_000)
    )

    async with stage.puller() as puller:
        fetching = asyncio.create_task(puller.blob(f"demo/{place.repository}", layer))
        await eventually(lambda: parts(stage), deadline=20)
        victims = kill(stage, "vreg_proxy")
        with pytest.raises(aiohttp.ClientError):
            await fetching

    await is_back(stage, "vreg_proxy", victims)
    stage.clouds.faults.clear()
    await eventually(lambda: serves(stage), deadline=20)
    async with stage.puller() as puller:
        assert await puller.blob(f"demo/{place.repository}", layer) == len(image.blobs[layer])
    await is_committed_rightly(stage, layer)


def parts(stage: Scene) -> list[Path]:
    """Return the fills under way that hold something."""
    cache = stage.stack.home / "proxy" / "cache"
    return [path for path in cache.rglob("*.part") if path.stat().st_size]


async def serves(stage: Scene) -> bool:
    """Whether the proxy answers."""
    try:
        async with stage.puller() as puller:
            return await puller.status("") == 200
    except aiohttp.ClientError:
        return False
