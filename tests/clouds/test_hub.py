"""The emulated Docker Hub and its like: every line of the fact sheet that a pull meets, over the wire."""

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.hub.model import Hiding
from tests.clouds.hub.sites import DOCKER_HUB, GHCR, GITLAB, QUAY, SITES, Site
from tests.clouds.images import make_image

IMAGE = make_image("hub", 3000)
PUBLIC, PRIVATE = "library/alpine", "acme/private"
(LAYER,) = IMAGE.layers


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        for site in SITES:
            running.hub_repository(site.host, PUBLIC).push(IMAGE, "1")
            running.hub_repository(site.host, PRIVATE, is_public=False, readers=("vreg",)).push(IMAGE, "1")
        yield running


@pytest.fixture
async def client(world: Clouds) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who follows no redirects."""
    async with world.http_client() as client:
        yield client


async def token(
    client: httpx.AsyncClient, name: str, site: Site = DOCKER_HUB, auth: tuple[str, str] | None = None
) -> str:
    query = {"service": site.service, "scope": f"repository:{name}:pull"}
    answer = await client.get(site.realm, params=query, auth=auth)
    assert answer.status_code == 200
    return str(answer.json()["token"])


async def get(
    client: httpx.AsyncClient,
    bearer: str | None,
    path: str = f"{PUBLIC}/manifests/1",
    *,
    site: Site = DOCKER_HUB,
    method: str = "GET",
    **headers: str,
) -> httpx.Response:
    sent = {"Authorization": f"Bearer {bearer}"} if bearer is not None else {}
    return await client.request(method, f"https://{site.host}/v2/{path}", headers=sent | headers)


def challenge(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', answer.headers["www-authenticate"]))


async def test_the_challenge_names_realm_service_and_scope(client: httpx.AsyncClient) -> None:
    assert challenge(await get(client, None)) == {
        "realm": "https://auth.docker.io/token",
        "service": "registry.docker.io",
        "scope": "repository:library/alpine:pull",
    }
    assert "scope" not in challenge(await get(client, None, ""))


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.host)
async def test_every_site_gives_a_public_image_to_anybody_with_a_token(
    client: httpx.AsyncClient, site: Site
) -> None:
    assert challenge(await get(client, None, site=site))["realm"] == site.realm

    answer = await get(client, await token(client, PUBLIC, site), site=site)

    assert (answer.status_code, answer.content) == (200, IMAGE.manifest)
    assert answer.headers["docker-content-digest"] == IMAGE.digest


async def test_a_realm_may_stand_on_the_registrys_own_host_or_elsewhere(client: httpx.AsyncClient) -> None:
    assert GITLAB.realm == "https://gitlab.com/jwt/auth"
    assert (await client.get("https://registry.gitlab.com/jwt/auth")).status_code == 401
    assert (await client.get("https://gitlab.com/v2/")).status_code == 404
    assert QUAY.realm_host == QUAY.host


async def test_the_token_says_how_long_it_lives_where_its_site_does(client: httpx.AsyncClient) -> None:
    said = (await client.get(DOCKER_HUB.realm, params={"service": DOCKER_HUB.service})).json()
    assert (said["expires_in"], said["access_token"]) == (300, said["token"])
    assert said["issued_at"].endswith("Z")
    assert (await client.get(GHCR.realm, params={"service": GHCR.service})).json().keys() == {"token"}


async def test_a_token_is_good_for_its_repository_and_host_alone(client: httpx.AsyncClient) -> None:
    bearer = await token(client, PUBLIC)

    assert challenge(await get(client, bearer, f"{PRIVATE}/manifests/1"))["error"] == "insufficient_scope"
    assert challenge(await get(client, bearer, site=QUAY))["error"] == "invalid_token"
    assert (await get(client, bearer, "")).status_code == 200


async def test_a_token_for_a_private_repository_is_given_without_the_access(
    client: httpx.AsyncClient,
) -> None:
    for name in (PRIVATE, "acme/nothing", "alpine"):
        refused = await get(client, await token(client, name), f"{name}/manifests/1")
        assert challenge(refused)["error"] == "insufficient_scope"
        assert challenge(refused)["scope"] == f"repository:{name}:pull"


def test_docker_hub_has_no_names_of_one_component(world: Clouds) -> None:
    with pytest.raises(Exception, match="library/alpine"):
        world.hub.add_repository(DOCKER_HUB.host, "alpine")


async def test_a_password_opens_what_its_account_may_read(world: Clouds, client: httpx.AsyncClient) -> None:
    login = world.hub.add_account(DOCKER_HUB.host, "vreg")
    stranger = world.hub.add_account(DOCKER_HUB.host, "stranger")

    mine = await token(client, PRIVATE, auth=(login.username, login.password))
    theirs = await token(client, PRIVATE, auth=(stranger.username, stranger.password))

    assert (await get(client, mine, f"{PRIVATE}/manifests/1")).status_code == 200
    assert (await get(client, theirs, f"{PRIVATE}/manifests/1")).status_code == 401


async def test_a_wrong_revoked_or_foreign_password_is_refused_at_the_realm(
    world: Clouds, client: httpx.AsyncClient
) -> None:
    old = world.hub.add_account(DOCKER_HUB.host, "vreg")
    new = world.hub.add_password(DOCKER_HUB.host, "vreg")
    query = {"service": DOCKER_HUB.service, "scope": f"repository:{PUBLIC}:pull"}

    async def status(password: str, site: Site = DOCKER_HUB) -> int:
        answer = await client.get(
            site.realm, params=query | {"service": site.service}, auth=("vreg", password)
        )
        return answer.status_code

    assert [await status(password) for password in ("wrong", old.password, new.password)] == [401, 200, 200]
    world.hub.revoke_password(DOCKER_HUB.host, "vreg", old.password)
    assert [await status(password) for password in (old.password, new.password)] == [401, 200]
    assert await status(new.password, GITLAB) == 401


async def test_a_token_outlives_the_password_it_was_got_with_and_then_ends(
    world: Clouds, client: httpx.AsyncClient
) -> None:
    login = world.hub.add_account(DOCKER_HUB.host, "vreg")
    bearer = await token(client, PRIVATE, auth=(login.username, login.password))

    world.hub.revoke_password(DOCKER_HUB.host, "vreg", login.password)
    assert (await get(client, bearer, f"{PRIVATE}/manifests/1")).status_code == 200

    assert world.hub.expire_tokens() == 1
    assert challenge(await get(client, bearer, f"{PRIVATE}/manifests/1"))["error"] == "invalid_token"


async def test_basic_opens_nothing_at_the_registry_itself(world: Clouds, client: httpx.AsyncClient) -> None:
    login = world.hub.add_account(DOCKER_HUB.host, "vreg")
    pair = base64.b64encode(f"{login.username}:{login.password}".encode()).decode()
    answer = await client.get(f"https://{DOCKER_HUB.host}/v2/", headers={"Authorization": f"Basic {pair}"})
    assert answer.status_code == 401


async def test_the_realm_knows_get_and_its_own_service_alone(client: httpx.AsyncClient) -> None:
    assert (await client.post(DOCKER_HUB.realm, data={})).status_code == 405
    assert (await client.get(DOCKER_HUB.realm, params={"service": "other"})).status_code == 400
    assert (await client.get("https://auth.docker.io/other")).status_code == 404


@pytest.mark.parametrize(
    ("hiding", "status", "code"),
    [
        (Hiding.INSUFFICIENT_SCOPE, 401, "UNAUTHORIZED"),
        (Hiding.DENIED, 401, "DENIED"),
        (Hiding.NOT_FOUND, 404, "NAME_UNKNOWN"),
    ],
)
async def test_a_repository_is_hidden_in_every_way_that_was_reported(
    world: Clouds, client: httpx.AsyncClient, hiding: Hiding, status: int, code: str
) -> None:
    world.hub.set_hiding(hiding)
    answer = await get(client, await token(client, PRIVATE), f"{PRIVATE}/manifests/1")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


async def test_the_realm_itself_may_refuse_what_is_hidden(world: Clouds, client: httpx.AsyncClient) -> None:
    world.hub.set_hiding(Hiding.AT_REALM)
    query = {"service": DOCKER_HUB.service, "scope": f"repository:{PRIVATE}:pull"}
    assert (await client.get(DOCKER_HUB.realm, params=query)).status_code == 403


async def test_get_counts_and_head_tells(world: Clouds, client: httpx.AsyncClient) -> None:
    bearer = await token(client, PUBLIC)

    answers = [await get(client, bearer, method=method) for method in ("HEAD", "GET", "HEAD", "GET", "HEAD")]

    assert [answer.headers["ratelimit-remaining"] for answer in answers] == [
        f"{left};w=21600" for left in (100, 99, 99, 98, 98)
    ]
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"100;w=21600"}
    assert {answer.headers["docker-ratelimit-source"] for answer in answers} == {"203.0.113.7"}
    assert world.hub.pulls_counted() == 2
    assert "ratelimit-limit" not in (await get(client, bearer, f"{PUBLIC}/blobs/{LAYER}")).headers
    assert "ratelimit-limit" not in (await get(client, await token(client, PUBLIC, QUAY), site=QUAY)).headers


async def test_an_account_is_counted_for_itself_and_a_paid_one_not_at_all(
    world: Clouds, client: httpx.AsyncClient
) -> None:
    login = world.hub.add_account(DOCKER_HUB.host, "vreg")
    bearer = await token(client, PUBLIC, auth=(login.username, login.password))

    counted = await get(client, bearer)
    world.hub.set_rate_limit(account=None)
    paid = await get(client, bearer)

    assert counted.headers["ratelimit-remaining"] == "199;w=21600"
    assert len(counted.headers["docker-ratelimit-source"]) == 36
    assert "ratelimit-remaining" not in paid.headers


async def test_pulls_that_are_used_up_are_refused_until_the_window_is_over(
    world: Clouds, client: httpx.AsyncClient
) -> None:
    world.hub.set_rate_limit(anonymous=1)
    bearer = await token(client, PUBLIC)
    await get(client, bearer)

    refused = await get(client, bearer)

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (429, "TOOMANYREQUESTS")
    assert "unauthenticated pull rate limit" in refused.json()["errors"][0]["message"]
    assert refused.headers["ratelimit-remaining"] == "0;w=21600"
    assert (await get(client, bearer, method="HEAD")).status_code == 200
    world.hub.set_head_is_limited(is_so=True)
    assert (await get(client, bearer, method="HEAD")).status_code == 429
    world.hub.forget_pulls()
    assert (await get(client, bearer)).status_code == 200


async def test_the_limiter_against_abuse_speaks_no_json(world: Clouds, client: httpx.AsyncClient) -> None:
    bearer = await token(client, PUBLIC)
    world.faults.add(Fault(Harm.THROTTLE, service="hub"))
    answer = await get(client, bearer)
    assert (answer.status_code, answer.text) == (429, "Too Many Requests (HAP429)\n")


async def test_blobs_are_elsewhere_and_refuse_a_second_credential(client: httpx.AsyncClient) -> None:
    bearer, blob = await token(client, PUBLIC), IMAGE.blobs[LAYER]
    head = await get(client, bearer, f"{PUBLIC}/blobs/{LAYER}", method="HEAD")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(blob)))

    redirect = await get(client, bearer, f"{PUBLIC}/blobs/{LAYER}")
    assert redirect.status_code == 307
    location = redirect.headers["location"]
    assert location.startswith("https://production.cloudflare.docker.com/registry-v2//docker/")

    assert (await client.get(location)).content == blob
    part = await client.get(location, headers={"Range": "bytes=10-"})
    assert (part.status_code, part.content) == (206, blob[10:])
    assert part.headers["content-range"] == f"bytes 10-{len(blob) - 1}/{len(blob)}"
    assert (await client.get(location, headers={"Range": "bytes=99999-"})).status_code == 416
    assert (await client.get(location, headers={"Authorization": f"Bearer {bearer}"})).status_code == 400
    assert (await client.get(location.replace("//docker/", "/docker/"))).status_code == 403
    assert (await client.get(location[:-1])).status_code == 403


async def test_what_is_not_there_is_told_to_whoever_may_read(client: httpx.AsyncClient) -> None:
    bearer = await token(client, PUBLIC)
    nothing = f"sha256:{'0' * 64}"
    assert (await get(client, bearer, f"{PUBLIC}/manifests/2")).json()["errors"][0][
        "code"
    ] == "MANIFEST_UNKNOWN"
    assert (await get(client, bearer, f"{PUBLIC}/blobs/{nothing}")).json()["errors"][0][
        "code"
    ] == "BLOB_UNKNOWN"
    assert (await get(client, bearer, f"{PUBLIC}/referrers/{IMAGE.digest}")).status_code == 404
    assert (await get(client, bearer, f"{PUBLIC}/tags/list")).json()["tags"] == ["1"]


async def test_the_log_knows_who_asked_for_what(world: Clouds, client: httpx.AsyncClient) -> None:
    login = world.hub.add_account(DOCKER_HUB.host, "vreg")
    await get(client, await token(client, PUBLIC, auth=(login.username, login.password)))
    await get(client, await token(client, PUBLIC), method="HEAD")

    assert world.log.count(operation="Token", principal="vreg", subject=PUBLIC) == 1
    assert world.log.count(operation="GET manifests", principal="vreg", subject=f"{PUBLIC}:1") == 1
    assert world.log.count(operation="HEAD manifests", principal="anonymous") == 1
    assert login.password not in str(world.log.entries())
