"""One running scene for all tests of a module: starting one takes seconds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clouds.docker_registry import DockerRegistry
from tests.e2e.scene import Scene, scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Clouds and a vreg that an administrator has set up, with two proxy workers."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed; tests/install-tools installs it")
    folder: Path = tmp_path_factory.mktemp("scene")
    async with scene(folder, workers=2) as running:
        await running.set_up()
        yield running
