"""What an upstream lacks is remembered for a moment, and forgotten where the reason may be gone."""

from dataclasses import replace

from tests.proxy.proxy_world import ProxyWorld
from tests.proxy.test_pulls import BY_TAG, MANIFEST
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import FakeServer
from tests.support.registry_world import lease_for
from vreg_proxy.asking import ABSENCE_SECONDS
from vreg_shared.lease import Generation, Lease
from vreg_shared.provider import Presentation
from vreg_shared.secret import Secret

THERE = BY_TAG.replace("main", "other")


def lease_of(server: FakeServer, version: int = 1) -> Lease:
    lease = lease_for(server.authority, Presentation.BASIC)
    return replace(lease, scope=f"identity/{server.authority}", generation=Generation(version, 0, "broker"))


async def lacking(world: ProxyWorld) -> tuple[FakeServer, FakeServer, Secret]:
    """Let two upstreams, each with a lease of its own, say that they lack the tag."""
    servers = []
    for identifier, slug in (("a", "main"), ("b", "other")):
        server = await world.upstream(identifier, identity_id="identity")
        world.put_lease(lease_of(server))
        world.registry(slug, identifier)
        servers.append(server)
    token = world.access()
    assert (await world.get(BY_TAG, token)).status == (await world.get(THERE, token)).status == 404
    return servers[0], servers[1], token


async def test_nobody_is_asked_again_within_moments(world: ProxyWorld) -> None:
    first, second, token = await lacking(world)
    for _ in range(10):
        assert (await world.get(BY_TAG, token)).status == 404
    assert (len(first.seen), len(second.seen)) == (1, 1)
    world.clock.advance(ABSENCE_SECONDS + 1)
    await world.get(BY_TAG, token)
    assert len(first.seen) == 2


async def test_a_new_lease_lets_its_own_upstreams_be_asked_again_and_no_others(world: ProxyWorld) -> None:
    first, second, token = await lacking(world)
    world.put_lease(lease_of(first, version=2))
    await world.get(BY_TAG, token)
    await world.get(THERE, token)
    assert (len(first.seen), len(second.seen)) == (2, 1)


async def test_a_changed_upstream_is_asked_again_and_no_other(world: ProxyWorld) -> None:
    first, second, token = await lacking(world)
    world.put("upstream", world.configured.snapshot().upstreams["b"])
    await world.get(BY_TAG, token)
    await world.get(THERE, token)
    assert (len(first.seen), len(second.seen)) == (1, 2)


async def test_a_changed_registry_asks_nobody_again_but_whom_it_adds(world: ProxyWorld) -> None:
    first, _, token = await lacking(world)
    registry = FakeRegistry()
    registry.add_manifest("team/app", "1", MANIFEST)
    await world.upstream("c", registry)
    world.registry("main", "a", "c")
    assert (await world.get(BY_TAG, token)).body == MANIFEST
    assert len(first.seen) == 1
