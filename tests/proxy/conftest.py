"""A proxy for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.proxy.proxy_world import ProxyWorld, proxy_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ProxyWorld]:
    async with proxy_world(tmp_path / "cache") as made:
        yield made
