"""An upstream that cannot be reached is left in peace, probed by one, and heard of soon when it is back."""

import itertools

import pytest

from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.proxy.test_pulls import BLOB, BY_TAG, LAYER, MANIFEST, holding
from tests.support.clock import ManualClock
from tests.support.fake_registry import FakeRegistry, error_reply
from tests.support.fake_server import DROP, FakeServer
from tests.support.registry_world import lease_for
from vreg_proxy.breaker import FAILURES, PEACE_SECONDS, Breaker
from vreg_shared.oci.digest import Digest
from vreg_shared.provider import Answer, Verdict

SILENCE = Verdict(Answer.UNAVAILABLE, "timeout")
PULLS_A_SECOND = 20


def throttled(retry_after: float | None = None) -> Verdict:
    return Verdict(Answer.UNAVAILABLE, "throttled", retry_after=retry_after)


def open_breaker(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.verdict("a") is None
        breaker.heard("a", SILENCE)
    assert breaker.verdict("a") is not None
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(ManualClock())
    for verdict in (SILENCE, SILENCE, None, SILENCE, SILENCE, Verdict(Answer.ABSENT, "manifest_unknown")):
        breaker.heard("a", verdict)
    breaker.heard("a", SILENCE)
    assert breaker.verdict("a") is None


@pytest.mark.parametrize("probes_return", [True, False])
def test_while_it_is_open_there_is_one_probe_in_five_seconds(*, probes_return: bool) -> None:
    clock = ManualClock()
    breaker = open_breaker(clock)
    probes = []
    for _ in range(60 * PULLS_A_SECOND):
        clock.advance(1 / PULLS_A_SECOND)
        if breaker.verdict("a") is None:
            probes.append(clock.monotonic())
            if probes_return:
                breaker.heard("a", SILENCE)
    assert 11 <= len(probes) <= 12
    assert all(later - earlier >= 5 for earlier, later in itertools.pairwise(probes))


@pytest.mark.parametrize("moment", [0.0, 0.5, 4.9, 7.3, 9.95])
def test_an_upstream_that_is_back_is_heard_of_within_six_seconds(moment: float) -> None:
    clock = ManualClock()
    breaker = open_breaker(clock)
    back_at = clock.monotonic() + moment
    while breaker.verdict("a") is not None or clock.monotonic() < back_at:
        clock.advance(1 / PULLS_A_SECOND)
    assert clock.monotonic() - back_at <= 6
    breaker.heard("a", None)
    assert breaker.verdict("a") is None


def test_what_was_begun_before_and_fails_late_does_not_put_the_probe_off() -> None:
    clock = ManualClock()
    breaker = open_breaker(clock)
    for _ in range(5):
        clock.advance(1)
        breaker.heard("a", SILENCE)
    assert breaker.verdict("a") is None


def test_one_upstream_is_nothing_to_another() -> None:
    breaker = open_breaker(ManualClock())
    assert breaker.verdict("b") is None
    breaker.heard("b", None)
    breaker.forget("b")
    assert breaker.verdict("a") is not None


@pytest.mark.parametrize(
    ("retry_after", "pause"), [(None, 5.0), (0.0, 1.0), (7.0, 7.0), (3600.0, 60.0)], ids=str
)
def test_an_upstream_that_throttles_once_is_left_alone_within_bounds(
    retry_after: float | None, pause: float
) -> None:
    clock = ManualClock()
    breaker = Breaker(clock)
    breaker.heard("a", throttled(retry_after))
    clock.advance(pause - 0.1)
    told = breaker.verdict("a")
    assert told is not None
    assert told.retry_after == pytest.approx(0.1)
    clock.advance(0.1)
    assert breaker.verdict("a") is None
    assert breaker.verdict("a") is not None


async def several(world: ProxyWorld) -> tuple[FakeServer, FakeServer]:
    silent = FakeRegistry(override=lambda _: DROP)
    first, second = await world.upstream("a", silent), await world.upstream("b", silent)
    world.registry("main", "a")
    world.registry("other", "b")
    return first, second


async def test_uncached_pulls_fail_without_asking_while_it_is_open(world: ProxyWorld) -> None:
    first, _ = await several(world)
    token = world.access()
    for number in range(FAILURES):
        await world.get(f"/v2/main/app{number}/manifests/1", token)
    asked = len(first.seen)
    for number in range(20):
        answer = await world.get(f"/v2/main/more{number}/manifests/1", token)
        assert (answer.status, answer.error_code()) == (503, "UNAVAILABLE")
        assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert len(first.seen) == asked


async def test_a_right_to_an_evicted_blob_asks_no_silent_upstream_and_the_probe_brings_it_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("proxy")
    async with proxy_world(folder) as world:
        registry = holding()
        server = await world.upstream("a", registry)
        world.registry("main", "a")
        token = world.access()
        assert (await world.get(BLOB, token)).body == LAYER
        await world.cache.settled()
        for kept in [path for path in folder.rglob("*") if Digest.of(LAYER).hex in path.name]:
            kept.unlink()
        registry.override = lambda _: DROP
        for number in range(FAILURES):
            await world.get(f"/v2/main/app{number}/manifests/1", token)
        asked = len(server.seen)
        for _ in range(3):
            assert (await world.get(BLOB, token)).status == 503
        assert len(server.seen) == asked
        registry.override = None
        world.clock.advance(PEACE_SECONDS)
        assert (await world.get(BLOB, token)).body == LAYER


async def test_a_change_of_one_upstream_leaves_the_breaker_of_others_open(world: ProxyWorld) -> None:
    first, second = await several(world)
    token = world.access()
    for number in range(FAILURES):
        await world.get(f"/v2/main/app{number}/manifests/1", token)
        await world.get(f"/v2/other/app{number}/manifests/1", token)
    asked = len(first.seen), len(second.seen)
    world.put("upstream", world.configured.snapshot().upstreams["b"])
    world.put_lease(lease_for("registry.example.com"))
    world.registry("third", "b")
    await world.get("/v2/main/app/manifests/1", token)
    await world.get("/v2/other/app/manifests/1", token)
    assert len(first.seen) == asked[0]
    assert len(second.seen) > asked[1]


async def test_after_429_without_a_word_on_how_long_the_next_pull_does_not_ask(world: ProxyWorld) -> None:
    registry = holding()
    registry.override = lambda _: error_reply(429, "TOOMANYREQUESTS")
    server = await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    for number in range(5):
        assert (await world.get(f"/v2/main/app{number}/manifests/1", token)).status == 429
    assert len(server.seen) == 1
    registry.override = None
    world.clock.advance(5)
    assert (await world.get(BY_TAG, token)).body == MANIFEST
