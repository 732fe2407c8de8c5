"""Pulling through the proxy, from upstreams that speak real HTTP."""

import json
from pathlib import Path

import pytest

from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.support.fake_registry import FakeRegistry, image_manifest
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST

LAYER = b"layer " * 50_000
MANIFEST = image_manifest(LAYER)


def holding(name: str = "team/app", tag: str = "1", manifest: bytes = MANIFEST) -> FakeRegistry:
    registry = FakeRegistry()
    registry.add_manifest(name, tag, manifest)
    registry.add_blob(name, LAYER)
    return registry


@pytest.fixture
async def world(tmp_path: Path):
    async with proxy_world(tmp_path) as made:
        yield made


async def test_an_image_is_pulled_and_then_served_without_its_upstream(world: ProxyWorld) -> None:
    server = await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    for _ in range(2):
        manifest = await world.get("/v2/main/team/app/manifests/1", token)
        assert (manifest.status, manifest.body) == (200, MANIFEST)
        assert manifest.headers["docker-content-digest"] == str(Digest.of(MANIFEST))
        assert manifest.headers["content-type"] == OCI_MANIFEST
        blob = await world.get(f"/v2/main/team/app/blobs/{Digest.of(LAYER)}", token)
        assert (blob.status, blob.body, blob.is_complete) == (200, LAYER, True)
    asked = [(seen.method, seen.path) for seen in server.seen]
    assert len(asked) == len(set(asked)) == 2


async def test_a_head_tells_what_a_get_would_without_a_body(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    for path in ("manifests/1", f"manifests/{Digest.of(MANIFEST)}", f"blobs/{Digest.of(LAYER)}"):
        head = await world.get(f"/v2/main/team/app/{path}", token, method="HEAD")
        get = await world.get(f"/v2/main/team/app/{path}", token)
        assert head.headers == get.headers
        assert (head.status, head.body) == (200, b"")
