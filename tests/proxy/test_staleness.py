"""What is served when an upstream does not confirm its own earlier copy, and what the client is told."""

import pytest

from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.proxy.test_pulls import BY_DIGEST, BY_TAG, MANIFEST, OTHER, holding
from tests.support.fake_registry import FakeRegistry, error_reply
from tests.support.fake_server import DROP
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.secret import Secret

TAGS = "/v2/main/team/app/tags/list"
GONE = error_reply(404, "MANIFEST_UNKNOWN")
DOWN = error_reply(503, "UNAVAILABLE")


async def pulled(world: ProxyWorld, registry: FakeRegistry, **fields: object) -> Secret:
    """Pull the tag, and let its validity pass."""
    await world.upstream("a", registry, tag_validity_seconds=60, **fields)
    await world.upstream("b", holding(OTHER))
    world.registry("main", "a", "b")
    token = world.access()
    assert (await world.get(BY_TAG, token)).body == MANIFEST
    world.clock.advance(100)
    return token


async def test_a_stale_answer_says_so_says_how_old_it_is_and_is_counted(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry)
    registry.override = lambda _: DOWN
    stale = await world.get(BY_TAG, token)
    assert (stale.status, stale.body) == (200, MANIFEST)
    assert stale.headers["warning"].startswith("110 ")
    assert stale.headers["age"] == "100"
    assert world.stale.served == [("a", "server_error")]
    registry.override = None
    world.clock.advance(10)
    fresh = await world.get(BY_TAG, token)
    assert not {"warning", "age"} & fresh.headers.keys()
    assert len(world.stale.served) == 1


async def test_a_copy_nobody_confirmed_for_too_long_is_not_served(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry, max_stale_seconds=600)
    registry.override = lambda _: DOWN
    world.clock.advance(500)
    assert (await world.get(BY_TAG, token)).headers["age"] == "600"
    world.clock.advance(2)
    answer = await world.get(BY_TAG, token)
    assert (answer.status, answer.reason()) == (503, "upstream_error")
    assert (await world.get(BY_DIGEST, token)).body == MANIFEST
    assert "warning" not in (await world.get(BY_DIGEST, token)).headers


async def test_a_clock_set_back_makes_no_copy_older(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry, max_stale_seconds=600)
    world.clock.step_wall(-100_000)
    registry.override = lambda _: DOWN
    assert (await world.get(BY_TAG, token)).body == MANIFEST


async def test_a_tag_checked_by_a_clock_that_was_ahead_is_checked_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("proxy")
    async with proxy_world(folder) as world:
        world.clock.step_wall(100_000)
        await pulled(world, holding())
    for _ in range(2):  # what is checked now stays
        async with proxy_world(folder) as world:
            server = await world.upstream("a", holding(OTHER), tag_validity_seconds=60)
            world.registry("main", "a")
            assert (await world.get(BY_TAG, world.access())).body == OTHER
    assert not server.seen


async def test_a_tag_that_was_deleted_leads_on_as_any_absence_does(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry)
    registry.override = lambda _: GONE
    assert (await world.get(BY_TAG, token)).body == OTHER


async def test_a_deleted_tag_is_kept_where_the_policy_says_so_and_said_to_be_stale(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry, stale_for=("deleted",))
    registry.override = lambda _: GONE
    answer = await world.get(BY_TAG, token)
    assert (answer.body, answer.headers["age"]) == (MANIFEST, "100")
    assert world.stale.served == [("a", "deleted")]


async def test_a_deleted_tag_does_not_come_back_when_its_upstream_goes_down(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry)
    registry.override = lambda _: GONE
    assert (await world.get(BY_TAG, token)).body == OTHER
    world.clock.advance(100)
    registry.override = lambda _: DOWN
    assert (await world.get(BY_TAG, token)).status == 503
    registry.override = None
    world.clock.advance(100)
    assert (await world.get(BY_TAG, token)).body == MANIFEST


async def test_hidden_that_continues_is_forgotten_as_what_was_deleted_is(world: ProxyWorld) -> None:
    registry = holding()
    token = await pulled(world, registry)
    fresh = await world.get(TAGS, token)
    world.clock.advance(100)
    hides = MembershipRecord.model_validate({"upstream_id": "a", "on_hidden": "continue"})
    world.registry("main", hides, "b")
    registry.override = lambda _: error_reply(403, "DENIED")
    assert (await world.get(BY_TAG, token)).body == OTHER
    assert (await world.get(TAGS, token)).body == fresh.body
    world.clock.advance(100)
    registry.override = lambda _: DOWN
    assert (await world.get(BY_TAG, token)).status == 503
    assert (await world.get(TAGS, token)).status == 503


async def test_a_deleted_tag_is_forgotten_though_its_manifest_was_evicted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("proxy")
    async with proxy_world(folder) as world:
        registry = holding()
        token = await pulled(world, registry)
        (kept,) = [path for path in folder.rglob("*") if Digest.of(MANIFEST).hex in path.name]
        kept.unlink()
        world.cache.purged()
        registry.override = lambda seen: GONE if seen.path.endswith("/1") else None
        assert (await world.get(BY_TAG, token)).body == OTHER
        assert (await world.get(BY_DIGEST, token)).body == MANIFEST
        world.clock.advance(100)
        registry.override = lambda _: DOWN
        assert (await world.get(BY_TAG, token)).status == 503


async def test_a_slow_upstream_gets_its_whole_time_where_no_copy_may_be_served(
    world: ProxyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_proxy.asking.COPY_SECONDS", 0.0)
    registry = holding()
    token = await pulled(world, registry, stale_for=())
    assert "warning" not in (await world.get(BY_TAG, token)).headers


async def test_an_earlier_list_of_tags_stands_in_for_its_own_upstream(world: ProxyWorld) -> None:
    registry = holding()
    await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    fresh = await world.get(TAGS, token)
    assert "warning" not in fresh.headers
    world.clock.advance(50)
    registry.override = lambda _: DROP
    stale = await world.get(TAGS, token)
    assert (stale.body, stale.headers["age"]) == (fresh.body, "50")
    assert world.stale.served == [("a", "network")]
    upstream = world.configured.snapshot().upstreams["a"]
    world.put("upstream", upstream.model_copy(update={"stale_for": ()}))
    assert (await world.get(TAGS, token)).status == 503
