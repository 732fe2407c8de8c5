"""The emulated world that contract tests share, and one auth method in it at a time."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clouds import issuer
from tests.clouds.clouds import clouds
from tests.contract.kit import Part, Setting, provider_methods


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Setting]:
    """All clouds, and an issuer that they can look up."""
    folder: Path = tmp_path_factory.mktemp("contract")
    async with clouds(folder / "clouds") as running:
        own = issuer.TestIssuer()
        running.sites.serve(issuer.HOST, own.documents())
        yield Setting(running, own, folder)


@pytest.fixture
def setting(world: Setting) -> Iterator[Setting]:
    """The world without the faults of the test before."""
    world.clouds.faults.clear()
    yield world
    world.clouds.faults.clear()


@pytest.fixture(params=provider_methods(), ids=lambda pair: pair[1])
def part(request: pytest.FixtureRequest, setting: Setting) -> Part:
    """Each auth method of the catalogue in turn, trusted by its cloud."""
    provider, tag = request.param
    return setting.cast(provider, tag)
