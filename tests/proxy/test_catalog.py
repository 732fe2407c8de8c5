"""`/v2/_catalog`: the repositories that were served, to those who may pull them."""

import json
from pathlib import Path

import pytest

from tests.proxy.proxy_world import Answer, ProxyWorld, proxy_world
from tests.proxy.test_client_authentication import bearer_for
from tests.proxy.test_pulls import MANIFEST
from tests.support.fake_registry import FakeRegistry
from tests.support.wait import eventually
from vreg_proxy.wiring import Limits
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.oci.challenge import parse_challenges
from vreg_shared.secret import Secret

PATH = "/v2/_catalog"
CATALOG = "scope=registry:catalog:*"
NAMES = ["a/app", "a/team/app", "a-b/app", "open/app"]


@pytest.fixture
async def stage(world: ProxyWorld) -> ProxyWorld:
    """Three registries from which something was pulled, one of them for everybody."""
    upstream = FakeRegistry()
    for name in ("app", "team/app"):
        upstream.add_manifest(name, "1", MANIFEST)
    await world.upstream("up", upstream)
    for slug in ("a", "a-b"):
        world.registry(slug, "up")
    world.registry("open", "up", anonymous_pull=True)
    token = world.access()
    for name in NAMES:
        assert (await world.get(f"/v2/{name}/manifests/1", token)).status == 200
    await served(world, token, sorted(NAMES))
    return world


async def served(world: ProxyWorld, token: Secret | None, expected: list[str]) -> None:
    """Wait until the catalogue is this: what was served is written down soon after."""

    async def is_listed() -> bool:
        return listed(await world.get(PATH, token)) == expected

    await eventually(is_listed)


def listed(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return list(json.loads(answer.body)["repositories"])


async def test_what_was_served_is_listed_in_order(stage: ProxyWorld) -> None:
    assert listed(await stage.get(PATH, stage.access())) == sorted(NAMES)


async def test_pages_put_together_are_the_whole_catalog(stage: ProxyWorld) -> None:
    token = stage.access()
    for n in (1, 2, 3):
        found, query = [], f"n={n}"
        while query:
            page = await stage.get(PATH, token, query=query)
            found.append(listed(page))
            assert page.headers.get("link", f"<{PATH}?").startswith(f"<{PATH}?")
            query = page.headers.get("link", "").partition("?")[2].partition(">")[0]
        assert [len(each) for each in found[:-1]] == [n] * (len(found) - 1)
        assert [name for names in found for name in names] == sorted(NAMES)


@pytest.mark.parametrize("last", [*sorted(NAMES), "a", "a/b", "a-b", "b", "zzz", "a.b/c", "0"])
async def test_a_page_begins_after_any_name(stage: ProxyWorld, last: str) -> None:
    answer = await stage.get(PATH, stage.access(), query=f"last={last}")
    assert listed(answer) == [name for name in sorted(NAMES) if name > last]


@pytest.mark.parametrize("query", ["n=2147483648", "n=-1", "n=x", "n=1001", "last=-", "n=" + "1" * 2000])
async def test_a_page_nobody_should_ask_for_is_refused(stage: ProxyWorld, query: str) -> None:
    assert (await stage.get(PATH, stage.access(), query=query)).status == 400


async def test_a_client_sees_nothing_of_others(stage: ProxyWorld) -> None:
    limited = stage.access(registry_ids=("id-a",))
    assert listed(await stage.get(PATH, limited)) == ["a/app", "a/team/app", "open/app"]
    auditor = stage.access("01HZZZZZZZZZZZZZZZZZZZZZZ1", role="auditor")
    assert listed(await stage.get(PATH, auditor)) == ["open/app"]


async def test_a_stranger_is_sent_to_the_token_endpoint_and_then_sees_what_is_for_everybody(
    stage: ProxyWorld,
) -> None:
    answer = await stage.get(PATH)
    (challenge,) = parse_challenges([answer.headers["www-authenticate"]])
    assert (answer.status, challenge.parameters["scope"]) == (401, "registry:catalog:*")
    assert listed(await stage.get(PATH, bearer=await bearer_for(stage, None, CATALOG))) == ["open/app"]


async def test_a_token_for_a_repository_is_none_for_the_catalog(stage: ProxyWorld) -> None:
    token = stage.access()
    narrow = await bearer_for(stage, token, "scope=repository:a/app:pull")
    answer = await stage.get(PATH, bearer=narrow)
    assert (answer.status, "insufficient_scope" in answer.headers["www-authenticate"]) == (401, True)
    assert listed(await stage.get(PATH, bearer=await bearer_for(stage, token, CATALOG))) == sorted(NAMES)


async def test_strangers_get_no_token_where_nothing_is_for_everybody(world: ProxyWorld) -> None:
    world.registry("main")
    assert (await world.get("/v2/token", query=CATALOG)).status == 401


async def test_what_would_not_be_served_any_more_is_not_listed(stage: ProxyWorld) -> None:
    token = stage.access()
    stage.registry("a", MembershipRecord(upstream_id="up", deny=("team/*",)))
    stage.registry("a-b")
    assert listed(await stage.get(PATH, token)) == ["a/app", "open/app"]
    up = stage.configured.snapshot().upstreams["up"]
    stage.put("upstream", up.model_copy(update={"enabled": False}))
    assert listed(await stage.get(PATH, token)) == []


async def test_a_push_to_the_catalog_is_not_supported(stage: ProxyWorld) -> None:
    assert (await stage.get(PATH, stage.access(), method="DELETE")).status == 405


async def test_the_catalog_counts_among_what_a_client_has_under_way(tmp_path: Path) -> None:
    async with proxy_world(tmp_path, limits=Limits(client_requests=0)) as world:
        assert (await world.get(PATH, world.access())).status == 429
