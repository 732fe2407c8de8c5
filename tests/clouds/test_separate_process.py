"""The same world in a process of its own, as heavy tests and the demo run it."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.clouds.clouds import clouds, running_clouds
from tests.clouds.docker_registry import DockerRegistry
from tests.clouds.faults import Fault, Harm
from tests.clouds.hosting import ADDRESSES
from tests.clouds.images import make_image
from tests.clouds.remote import ControlError
from tests.clouds.scene import ACCOUNT, REGION, set_scene
from tests.support.wait import eventually

IMAGE = make_image("separate", 100_000)
_ROOT = Path(__file__).parents[2]


async def test_the_controls_are_the_same(tmp_path: Path) -> None:
    async with clouds(tmp_path, is_separate=True) as world:
        scene = set_scene(world)
        world.ecr(ACCOUNT, REGION, "team/app").push(IMAGE, "1")
        token = world.aws.issue_token(scene.role_arn, REGION)
        world.faults.add(Fault(Harm.THROTTLE, service="ecr", retry_after=3))
        url = f"https://{scene.host}/v2/team/app/manifests/1"
        async with world.http_client() as client:
            throttled = await client.get(url, headers={"Authorization": f"Basic {token}"})
            got = await client.get(url, headers={"Authorization": f"Basic {token}"})

        assert (throttled.status_code, throttled.headers["retry-after"]) == (429, "3")
        assert got.content == IMAGE.manifest
        assert world.faults.waiting() == ()
        assert [entry.status for entry in world.log.entries(host=scene.host)] == [429, 200]
        assert world.gateway.connects(scene.host) == 1
        with pytest.raises(ControlError, match="no role"):
            world.aws.delete_role("arn:aws:iam::123456789012:role/nobody")


@pytest.mark.skipif(not DockerRegistry.is_installed(), reason="no docker-registry")
async def test_it_runs_by_itself_until_told_to_stop_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.clouds", "--directory", str(tmp_path)),
        *("--registry", "registry.example.test", "--protected-registry", "harbor.example.test"),
        cwd=_ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    said = json.loads(await process.stdout.readline())
    assert json.loads((tmp_path / ADDRESSES).read_text()) == said
    with running_clouds(tmp_path) as world:
        set_scene(world)
        async with world.http_client() as client:
            open_, closed = [
                (await client.get(f"https://{host}/v2/")).status_code
                for host in ("registry.example.test", "harbor.example.test")
            ]
    process.send_signal(signal.SIGTERM)

    assert await process.wait() == 0
    assert (open_, closed) == (200, 401)
    for registry in said["registries"]:
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(registry["origin"])


async def test_it_ends_when_the_test_that_started_it_does(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.clouds", "--directory", str(tmp_path), "--until-input-ends"),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    await eventually((tmp_path / ADDRESSES).exists)
    assert process.stdin is not None
    process.stdin.close()

    assert await process.wait() == 0
