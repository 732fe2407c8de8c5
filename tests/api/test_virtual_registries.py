from typing import Any

import pytest

from tests.support.api_world import ROOT, Api
from vreg_shared.messages.registry import RegistryRecord


async def upstreams(api: Api, count: int) -> list[str]:
    made = [
        await api.create("upstreams", {"name": f"u{index}", "kind": "oci", "host": f"r{index}.example.com"})
        for index in range(count)
    ]
    return [each["id"] for each in made]


async def test_a_registry_is_created_read_listed_changed_and_deleted(any_api: Api) -> None:
    first, second = await upstreams(any_api, 2)
    body = {
        "slug": "team",
        "description": "Everything\nthe team pulls",
        "anonymous_pull": True,
        "mirror_namespaces": ["registry.k8s.io", "docker.io"],
        "memberships": [
            {
                "upstream_id": second,
                "allow": ["team-a/*"],
                "deny": ["team-a/secret*"],
                "on_hidden": "continue",
            },
            {"upstream_id": first},
        ],
    }
    created = await any_api.create("virtual_registries", body)
    assert [each["upstream_id"] for each in created["memberships"]] == [second, first]
    assert created["on_source_change"] == "allow"
    assert created["mirror_namespaces"] == ["docker.io", "registry.k8s.io"]
    path = f"/virtual_registries/{created['id']}"
    assert (await any_api.call("GET", path)).json() == created
    assert (await any_api.call("GET", "/virtual_registries")).json()["items"] == [created]
    change = {"slug": "team2", "anonymous_pull": False, "on_source_change": "block"}
    changed = (await any_api.change("virtual_registries", created, change)).json()
    assert (changed["slug"], changed["on_source_change"]) == ("team2", "block")
    assert changed["memberships"] == created["memberships"]
    assert (await any_api.call("DELETE", path)).status_code == 204
    assert (await any_api.call("GET", path)).status_code == 404


async def test_memberships_are_reordered_by_giving_them_anew(any_api: Api) -> None:
    ids = await upstreams(any_api, 5)
    body = {"slug": "team", "memberships": [{"upstream_id": each} for each in ids]}
    created = await any_api.create("virtual_registries", body)
    wanted = [ids[3], ids[0], ids[4]]
    change = {"memberships": [{"upstream_id": each} for each in wanted]}
    changed = (await any_api.change("virtual_registries", created, change)).json()
    assert [each["upstream_id"] for each in changed["memberships"]] == wanted
    read = await any_api.call("GET", f"/virtual_registries/{created['id']}")
    assert read.json() == changed
    emptied = await any_api.change("virtual_registries", changed, {"memberships": []})
    assert emptied.json()["memberships"] == []


async def test_the_record_says_all_that_proxies_need(api: Api) -> None:
    (first,) = await upstreams(api, 1)
    body = {
        "slug": "team",
        "memberships": [{"upstream_id": first, "allow": ["a/*"]}],
        "mirror_namespaces": ["docker.io"],
    }
    created = await api.create("virtual_registries", body)
    found = await api.world.virtual_registries.read(created["id"], ROOT)
    expected = {name: created[name] for name in RegistryRecord.model_fields}
    assert found.record().model_dump(mode="json") == expected


@pytest.mark.parametrize(
    "slug", ["team", "a", "team-1", "team_a", "team__a", "team.a", "team--a", "0", "a" * 64]
)
async def test_a_slug_is_a_component_of_an_image_name(api: Api, slug: str) -> None:
    assert (await api.create("virtual_registries", {"slug": slug}))["slug"] == slug


@pytest.mark.parametrize(
    "slug",
    [
        "",
        "Team",
        "team/a",
        "-team",
        "team-",
        ".team",
        "..",
        "te..am",
        "team___a",
        "té",
        "a b",
        "a" * 65,
        "team\n",
        "v2",
        "v1",
        "token",
        "api",
        "manifests",
        "blobs",
        "tags",
        "referrers",
        7,
        None,
        True,
        ["team"],
    ],
)
async def test_other_slugs_are_refused(api: Api, slug: object) -> None:
    answer = await api.call("POST", "/virtual_registries", json={"slug": slug})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "slug"


async def test_a_slug_is_taken_once(any_api: Api) -> None:
    first = await any_api.create("virtual_registries", {"slug": "team"})
    answer = await any_api.call("POST", "/virtual_registries", json={"slug": "team"})
    assert answer.status_code == 409
    assert answer.json()["code"] == "name_taken"
    await any_api.call("DELETE", f"/virtual_registries/{first['id']}")
    assert (await any_api.create("virtual_registries", {"slug": "team"}))["id"] != first["id"]


@pytest.mark.parametrize(
    ("membership", "field"),
    [
        ({}, "memberships.0.upstream_id"),
        ({"upstream_id": "nonsense"}, "memberships.0.upstream_id"),
        ({"upstream_id": "01KAS1G6V5X4T3NQ7R8M2C9B0Z"}, "memberships.0.upstream_id"),
        ({"upstream_id": "own", "allow": "team-a/*"}, "memberships.0.allow"),
        ({"upstream_id": "own", "allow": [""]}, "memberships.0.allow.0"),
        ({"upstream_id": "own", "allow": ["ok", "Team/*"]}, "memberships.0.allow.1"),
        ({"upstream_id": "own", "deny": ["[a-z]"]}, "memberships.0.deny.0"),
        ({"upstream_id": "own", "deny": ["a" * 256]}, "memberships.0.deny.0"),
        ({"upstream_id": "own", "allow": ["a"] * 101}, "memberships.0.allow"),
        ({"upstream_id": "own", "on_hidden": "maybe"}, "memberships.0.on_hidden"),
        ({"upstream_id": "own", "position": 1}, "memberships.0.position"),
    ],
)
async def test_a_wrong_membership_is_refused_at_its_field(
    api: Api, membership: dict[str, Any], field: str
) -> None:
    (own,) = await upstreams(api, 1)
    if membership.get("upstream_id") == "own":
        membership = {**membership, "upstream_id": own}
    answer = await api.call("POST", "/virtual_registries", json={"slug": "x", "memberships": [membership]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


async def test_an_upstream_is_in_a_registry_once(api: Api) -> None:
    (own,) = await upstreams(api, 1)
    body = {"slug": "x", "memberships": [{"upstream_id": own}, {"upstream_id": own}]}
    answer = await api.call("POST", "/virtual_registries", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "memberships"


async def test_a_registry_too_large_for_the_bus_is_refused_and_leaves_nothing(any_api: Api) -> None:
    ids = await upstreams(any_api, 15)
    patterns = [f"{'a' * 240}{index}" for index in range(100)]
    memberships = [{"upstream_id": each, "allow": patterns} for each in ids]
    answer = await any_api.call("POST", "/virtual_registries", json={"slug": "x", "memberships": memberships})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == "too_large"
    assert (await any_api.call("GET", "/virtual_registries")).json()["items"] == []


async def test_a_registry_that_a_token_is_limited_to_is_not_deleted(any_api: Api) -> None:
    registry = await any_api.create("virtual_registries", {"slug": "team"})
    body = {"name": "ci", "role": "puller", "registry_ids": [registry["id"]]}
    token = await any_api.create("access_tokens", body)
    answer = await any_api.call("DELETE", f"/virtual_registries/{registry['id']}")
    assert answer.status_code == 409
    assert answer.json()["used_by"] == [{"noun": "access token", "id": token["id"], "name": "ci"}]
    await any_api.call("DELETE", f"/access_tokens/{token['id']}")
    assert (await any_api.call("DELETE", f"/virtual_registries/{registry['id']}")).status_code == 204


async def test_a_namespace_is_mirrored_by_one_registry(any_api: Api) -> None:
    hub = await any_api.create("virtual_registries", {"slug": "hub", "mirror_namespaces": ["docker.io"]})
    body = {"slug": "team", "mirror_namespaces": ["quay.io", "docker.io"]}
    taken = await any_api.call("POST", "/virtual_registries", json=body)
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "mirror_namespaces")
    emptied = (await any_api.change("virtual_registries", hub, {"mirror_namespaces": []})).json()
    assert emptied["mirror_namespaces"] == []
    team = await any_api.create("virtual_registries", body)
    kept = (await any_api.change("virtual_registries", team, {"slug": "crew"})).json()
    assert kept["mirror_namespaces"] == ["docker.io", "quay.io"]
    await any_api.call("DELETE", f"/virtual_registries/{team['id']}")
    again = await any_api.change("virtual_registries", emptied, {"mirror_namespaces": ["docker.io"] * 2})
    assert again.json()["mirror_namespaces"] == ["docker.io"]


@pytest.mark.parametrize("host", ["docker.io", "registry.k8s.io", "localhost:5000", "a", "1.2.3.4:5000"])
async def test_a_namespace_is_a_host(api: Api, host: str) -> None:
    created = await api.create("virtual_registries", {"slug": "team", "mirror_namespaces": [host]})
    assert created["mirror_namespaces"] == [host]


@pytest.mark.parametrize(
    "namespaces",
    [
        *([each] for each in ("", "Docker.io", "https://docker.io", "docker.io/x", "a b", "-a", "a:0", "*")),
        *(["docker.io\n"], ["a..b"], [7], "docker.io", None, [f"h{number}" for number in range(21)]),
    ],
)
async def test_other_namespaces_are_refused(api: Api, namespaces: object) -> None:
    body = {"slug": "team", "mirror_namespaces": namespaces}
    answer = await api.call("POST", "/virtual_registries", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith("mirror_namespaces")
