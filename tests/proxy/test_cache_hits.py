"""Every complete answer is counted once, by where it came from."""

from collections import Counter

from tests.proxy.proxy_world import ProxyWorld
from tests.proxy.test_pulls import BLOB, BY_DIGEST, BY_TAG, LAYER, MANIFEST, holding
from tests.support.fake_registry import error_reply
from tests.support.fake_server import Reply, Seen
from vreg_proxy.cache import CacheStatistics


async def told(world: ProxyWorld) -> CacheStatistics:
    world.cache.statistics.flush()
    await world.cache.flushed()
    return await world.cache.statistics.snapshot()


async def hits(world: ProxyWorld) -> Counter[str]:
    return Counter({each.hit.value: each.answers for each in (await told(world)).served})


async def test_answers_are_counted_by_where_they_came_from(world: ProxyWorld) -> None:
    broken = False

    def override(_seen: Seen) -> Reply | None:
        return error_reply(503, "UNAVAILABLE") if broken else None

    registry = holding()
    registry.override = override
    await world.upstream("a", registry, tag_validity_seconds=60)
    world.registry("main", "a")
    token = world.access()
    expected: Counter[str] = Counter()
    for path, hit in ((BLOB, "filled"), (BLOB, "disk"), (BY_TAG, "filled"), (BY_TAG, "memory")):
        assert (await world.get(path, token)).status == 200
        expected[hit] += 1
        assert await hits(world) == expected
    world.clock.advance(61)
    await world.get(BY_TAG, token)
    assert await hits(world) == expected + Counter({"revalidated": 1})
    broken = True
    world.clock.advance(61)
    await world.get(BY_TAG, token)
    assert await hits(world) == expected + Counter({"revalidated": 1, "stale": 1})
    counts = await told(world)
    assert {(each.registry_id, each.upstream_id) for each in counts.served} == {("id-main", "a")}
    assert {each.upstream_id: each.bytes for each in counts.fetched} == {"a": len(LAYER) + len(MANIFEST)}
    assert sum(each.bytes for each in counts.served) == 2 * len(LAYER) + 4 * len(MANIFEST)


async def test_a_refusal_and_a_head_of_a_blob_are_no_hits(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    assert (await world.get(BLOB.replace("app", "none"), token)).status == 404
    assert (await world.get(BLOB, token, method="HEAD")).status == 200
    assert await hits(world) == Counter()
    await world.get(BY_DIGEST, token, method="HEAD")
    (served,) = (await told(world)).served
    assert (served.answers, served.bytes) == (1, 0)
