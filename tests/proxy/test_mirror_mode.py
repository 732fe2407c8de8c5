"""Mirror mode: names as another registry spells them, looked up in the registry that mirrors it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.proxy_world import ProxyWorld, proxy_world
from tests.proxy.test_client_authentication import bearer_for
from tests.proxy.test_pulls import LAYER, MANIFEST, OTHER, holding
from tests.support.fake_server import FakeServer
from vreg_proxy.distribution.mirrors import asked_namespace
from vreg_shared.oci.challenge import parse_challenges
from vreg_shared.oci.digest import Digest

TAG = "/v2/team/app/manifests/1"
BLOB = f"/v2/team/app/blobs/{Digest.of(LAYER)}"
REFERRERS = f"/v2/team/app/referrers/{Digest.of(MANIFEST)}"
NS = "ns=docker.io"


async def hub(world: ProxyWorld, **fields: object) -> FakeServer:
    server = await world.upstream("hub", holding())
    world.registry("hub", "hub", mirror_namespaces=("docker.io",), **fields)
    return server


@pytest.fixture
async def rooted(tmp_path: Path) -> AsyncIterator[ProxyWorld]:
    """A proxy whose names without a slug are Docker Hub's."""
    async with proxy_world(tmp_path / "rooted", mirror_namespace="docker.io") as made:
        yield made


@pytest.mark.parametrize("path", [TAG, BLOB, "/v2/team/app/tags/list", REFERRERS])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_name_of_a_namespace_is_looked_up_where_it_is_mirrored(
    world: ProxyWorld, path: str, method: str
) -> None:
    server = await hub(world)
    token = world.access()
    by_slug = await world.get(path.replace("/v2/", "/v2/hub/"), token, method=method)
    by_namespace = await world.get(path, token, method=method, query=NS)
    assert by_namespace.status == 200
    assert by_namespace.body == by_slug.body
    assert by_namespace.headers == {**by_slug.headers, "oci-namespace": "docker.io"}
    assert {seen.path.partition("/v2/")[2].rpartition("/")[0][:8] for seen in server.seen} == {"team/app"}


async def test_a_name_of_one_component_is_a_name_there(world: ProxyWorld) -> None:
    await world.upstream("k8s", holding(name="pause"))
    world.registry("k8s", "k8s", mirror_namespaces=("registry.k8s.io",))
    answer = await world.get("/v2/pause/manifests/1", world.access(), query="ns=registry.k8s.io")
    assert (answer.status, answer.body) == (200, MANIFEST)


@pytest.mark.parametrize(
    "query",
    [
        *("ns=quay.io", "ns=127.0.0.1:80", "ns=", "ns=docker.io&ns=quay.io", "ns=docker.io%00", "ns=%ff"),
        *("ns=docker.io/", "ns=" + "d" * 2000, "&".join(["ns=docker.io"] * 20)),
    ],
)
async def test_an_unknown_namespace_is_refused_before_anybody_is_asked(world: ProxyWorld, query: str) -> None:
    server = await hub(world)
    answer = await world.get(TAG, world.access(), query=query)
    assert (answer.status, answer.error_code()) == (404, "NAME_UNKNOWN")
    assert "oci-namespace" not in answer.headers
    assert not server.seen


async def test_a_slug_wins_over_a_namespace(world: ProxyWorld) -> None:
    """Or a name meant for one registry would be asked for where a stranger may have taken it."""
    server = await hub(world)
    await world.upstream("own", holding(OTHER, name="app"))
    world.registry("team", "own")
    for query in (NS, "ns=quay.io"):
        answer = await world.get(TAG, world.access(), query=query)
        assert (answer.status, answer.body) == (200, OTHER)
        assert "oci-namespace" not in answer.headers
    assert not server.seen
    no_right = await world.get(TAG, world.access(registry_ids=("id-hub",)), query=NS)
    assert no_right.status == 404
    assert not server.seen


async def test_a_mirror_asks_for_the_same_rights_as_the_registry(world: ProxyWorld) -> None:
    server = await hub(world)
    stranger = await world.get(TAG, query=NS)
    (challenge,) = parse_challenges([stranger.headers["www-authenticate"]])
    assert (stranger.status, challenge.parameters["scope"]) == (401, "repository:hub/team/app:pull")
    no_right = world.access(registry_ids=("id-other",))
    assert (await world.get(TAG, no_right, query=NS)).status == 404
    assert not server.seen
    token = world.access()
    bearer = await bearer_for(world, token, "scope=repository:team/app:pull repository:hub/team/app:pull")
    assert (await world.get(TAG, bearer=bearer, query=NS)).status == 200
    narrow = await bearer_for(world, token, "scope=repository:hub/other:pull")
    assert (await world.get(TAG, bearer=narrow, query=NS)).status == 401


async def test_a_mirror_is_as_open_as_its_registry(world: ProxyWorld) -> None:
    await hub(world, anonymous_pull=True)
    assert (await world.get(TAG, query=NS)).body == MANIFEST


async def test_a_push_to_a_mirror_is_not_supported(world: ProxyWorld) -> None:
    await hub(world)
    answer = await world.get("/v2/team/app/blobs/uploads/", world.access(), method="POST", query=NS)
    assert answer.status == 405


async def test_names_without_a_slug_need_a_namespace_unless_the_operator_said_one(
    world: ProxyWorld, rooted: ProxyWorld
) -> None:
    for proxy, status in ((world, 404), (rooted, 200)):
        await hub(proxy)
        token = proxy.access()
        assert (await proxy.get(TAG, token)).status == status
        assert (await proxy.get(TAG.replace("/v2/", "/v2/hub/"), token)).status == 200


async def test_a_client_that_asks_for_its_own_scope_gets_a_token_that_fits(rooted: ProxyWorld) -> None:
    """As dockerd does, which does not read the scope of a challenge."""
    await hub(rooted, anonymous_pull=True)
    bearer = await bearer_for(rooted, None, "scope=repository:team/app:pull")
    assert (await rooted.get("/v2/", bearer=bearer)).status == 200
    assert (await rooted.get(TAG, bearer=bearer)).body == MANIFEST


async def test_a_named_namespace_wins_over_the_operators(rooted: ProxyWorld) -> None:
    server = await hub(rooted)
    assert (await rooted.get(TAG, rooted.access(), query="ns=quay.io")).status == 404
    assert not server.seen


@pytest.mark.parametrize("path", ["/v2/", "/v2", "/v2/token", "/v2/_catalog"])
async def test_our_own_places_stay_ours(rooted: ProxyWorld, path: str) -> None:
    await hub(rooted)
    token = rooted.access()
    assert (await rooted.get(path, token, query=NS)).status == 200
    assert (await rooted.get(path, token)).status == 200


@pytest.mark.parametrize("path", ["/v2/../x/manifests/1", "/v2/%2e/a/manifests/1", "/v2/a//manifests/1"])
async def test_a_malformed_name_stays_malformed(rooted: ProxyWorld, path: str) -> None:
    await hub(rooted)
    answer = await rooted.get(path, rooted.access(), query=NS)
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (400, "NAME_INVALID")


@given(st.binary(max_size=60) | st.text(alphabet="ns=&.dockeri%0", max_size=40).map(str.encode))
def test_no_query_breaks_the_reader_of_namespaces(query: bytes) -> None:
    found = asked_namespace(query)
    assert found is None or found == found.lower()
