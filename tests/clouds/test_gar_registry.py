"""The emulated Artifact Registry on `/v2/`: every line of what is known of the real one, over the wire."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.gcp.scene import IMAGE, LOCATION, PROJECT, PULLER, REPOSITORY, Scene, set_scene
from tests.clouds.gcp.tokens import IAM
from tests.clouds.images import make_image, make_index

MEMBER = f"serviceAccount:{PULLER}"
BLOB = IMAGE.layers[0]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
async def client(world: Clouds, scene: Scene) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with a good token, who follows no redirects."""
    async with world.http_client() as client:
        client.base_url = httpx.URL(f"https://{scene.host}")
        client.headers["Authorization"] = f"Bearer {world.gcp.issue_token(MEMBER)}"
        yield client


@pytest.fixture
async def stranger(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Somebody without a credential."""
    del client.headers["Authorization"]
    return client


def error(answer: httpx.Response) -> tuple[int, str, str]:
    (only,) = answer.json()["errors"]
    return answer.status_code, only["code"], only["message"]


def basic(username: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}


async def test_without_a_credential_the_door_names_its_token_endpoint(
    stranger: httpx.AsyncClient, scene: Scene
) -> None:
    door = await stranger.get("/v2/")
    manifest = await stranger.get(f"/v2/{scene.path}/manifests/1.0")
    short = await stranger.get(f"/v2/{PROJECT}/{REPOSITORY}/manifests/1.0")

    realm = f'Bearer realm="https://{scene.host}/v2/token"'
    assert error(door) == (401, "UNAUTHORIZED", "not authenticated: No credential was supplied.")
    assert door.headers["www-authenticate"] == realm
    assert error(manifest)[2] == "not authenticated: No valid credential was supplied."
    scope = f'scope="repository:{scene.path}:pull"'
    assert manifest.headers["www-authenticate"] == f'{realm},service="{scene.host}",{scope}'
    assert f'"repository:{PROJECT}/{REPOSITORY}/pkg:pull"' in short.headers["www-authenticate"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer ya29.garbage"},
        {"Authorization": "Basic %%%"},
        {"Authorization": "Negotiate abc"},
        basic("oauth2accesstoken", "garbage"),
        basic("somebody", "garbage"),
        basic("_json_key", "garbage"),
    ],
)
async def test_a_rejected_credential_gets_no_challenge(
    stranger: httpx.AsyncClient, scene: Scene, headers: dict[str, str]
) -> None:
    for path in ("/v2/", f"/v2/{scene.path}/manifests/1.0"):
        answer = await stranger.get(path, headers=headers)
        assert error(answer)[:2] == (401, "UNAUTHORIZED")
        assert "www-authenticate" not in answer.headers
    token = await stranger.get("/v2/token", headers=headers)
    assert error(token) == (401, "UNAUTHORIZED", "authentication failed")


async def test_a_token_that_ended_is_a_rejected_one(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    path = f"/v2/{scene.path}/manifests/1.0"
    assert (await client.get(path)).status_code == 200
    assert world.gcp.expire_tokens() == 1
    answer = await client.get(path)
    assert (answer.status_code, "www-authenticate" in answer.headers) == (401, False)
    client.headers["Authorization"] = f"Bearer {world.gcp.issue_token(MEMBER)}"
    assert (await client.get(path)).status_code == 200
    world.gcp.revoke_tokens()
    assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize("username", ["oauth2accesstoken", "_token", "_dcgcr_2_1_5_token"])
async def test_a_token_may_come_as_a_password(
    stranger: httpx.AsyncClient, world: Clouds, scene: Scene, username: str
) -> None:
    headers = basic(username, world.gcp.issue_token(MEMBER))
    assert (await stranger.get(f"/v2/{scene.path}/manifests/1.0", headers=headers)).status_code == 200


async def test_a_key_file_may_come_as_a_password(
    stranger: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    text = json.dumps(world.gcp.add_key(PULLER).document())
    encoded = base64.b64encode(text.encode()).decode()
    for headers in (basic("_json_key", text), basic("_json_key_base64", encoded)):
        assert (await stranger.get(f"/v2/{scene.path}/manifests/1.0", headers=headers)).status_code == 200


async def test_what_may_not_be_read_looks_like_what_is_not_there(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    world.gcp.deny(PROJECT, LOCATION, REPOSITORY, MEMBER)
    forbidden = error(await client.get(f"/v2/{scene.path}/manifests/1.0"))
    missing = error(await client.get(f"/v2/{PROJECT}/gone/app/manifests/1.0"))

    where = f"projects/{PROJECT}/locations/{LOCATION}/repositories"
    permission = '"artifactregistry.repositories.downloadArtifacts"'
    words = f'Permission {permission} denied on resource "{{}}" (or it may not exist)'
    assert forbidden == (403, "DENIED", words.format(f"{where}/{REPOSITORY}"))
    assert missing == (403, "DENIED", words.format(f"{where}/gone"))
    world.gcp.grant_project(PROJECT, MEMBER)
    assert error(await client.get(f"/v2/{PROJECT}/gone/app/manifests/1.0"))[:2] == (404, "NAME_UNKNOWN")
    world.gcp.set_switch("missing_is_hidden", is_so=True)
    assert error(await client.get(f"/v2/{PROJECT}/gone/app/manifests/1.0"))[:2] == (403, "DENIED")


async def test_a_repository_of_another_location_is_hidden_too(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    elsewhere = world.gcp.host("us-central1")
    answer = await client.get(f"https://{elsewhere}/v2/{scene.path}/manifests/1.0")
    assert error(answer)[:2] == (403, "DENIED")


async def test_a_deleted_repository_is_gone_at_once(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    world.gcp.delete_repository(PROJECT, LOCATION, REPOSITORY)
    assert (await client.get(f"/v2/{scene.path}/manifests/1.0")).status_code == 403


async def test_a_token_for_something_else_does_not_pull(
    stranger: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    headers = {"Authorization": f"Bearer {world.gcp.issue_token(MEMBER, (IAM,))}"}
    answer = await stranger.get(f"/v2/{scene.path}/manifests/1.0", headers=headers)
    assert error(answer)[:2] == (403, "DENIED")


async def test_names_and_tags_that_are_wrong_are_told_apart(client: httpx.AsyncClient, scene: Scene) -> None:
    short = await client.get(f"/v2/{PROJECT}/manifests/1.0")
    unknown = await client.get(f"/v2/{scene.path}/manifests/2.0")
    assert error(short) == (400, "NAME_INVALID", "invalid number of path components: 1")
    assert error(unknown) == (404, "MANIFEST_UNKNOWN", 'Failed to fetch "2.0"')
    missing = await client.get(f"/v2/{scene.path}/blobs/sha256:{'0' * 64}")
    assert error(missing)[:2] == (404, "BLOB_UNKNOWN")


async def test_a_blob_is_redirected_to_a_place_on_the_same_host(
    client: httpx.AsyncClient, scene: Scene, world: Clouds
) -> None:
    answer = await client.get(f"/v2/{scene.path}/blobs/{BLOB}")
    location = answer.headers["location"]

    assert answer.status_code == 302
    assert location.startswith(
        f"/artifacts-downloads/namespaces/{PROJECT}/repositories/{REPOSITORY}/downloads/"
    )
    assert len(location) > 900
    target = urljoin(str(answer.url), location)
    with_credential = await client.get(target)
    del client.headers["Authorization"]
    without = await client.get(target)
    part = await client.get(target, headers={"Range": "bytes=10-19"})
    assert with_credential.content == without.content == IMAGE.blobs[BLOB]
    assert (part.status_code, part.content) == (206, IMAGE.blobs[BLOB][10:20])
    assert (await client.get(target + "x")).status_code == 403
    world.gcp.set_switch("has_ranges", is_so=False)
    assert (await client.get(target, headers={"Range": "bytes=10-19"})).status_code == 200
    world.gcp.set_clock_offset(1300)
    assert (await client.get(target)).status_code == 403


async def test_tags_come_all_at_once_with_maps_of_googles_own(
    client: httpx.AsyncClient, scene: Scene
) -> None:
    scene.images.push(make_image("other"), "2.0", "latest")
    answer = await client.get(f"/v2/{scene.path}/tags/list", params={"n": 1, "last": "1.0"})

    found = answer.json()
    assert found["tags"] == ["1.0", "2.0", "latest"]
    assert found["name"] == scene.path
    assert found["child"] == []
    entry = found["manifest"][IMAGE.digest]
    assert entry["tag"] == ["1.0"]
    assert all(isinstance(entry[name], str) for name in ("imageSizeBytes", "timeCreatedMs", "timeUploadedMs"))
    assert "link" not in answer.headers


async def test_images_of_one_repository_have_tags_of_their_own(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    index = make_index("nested")
    world.gar(PROJECT, LOCATION, REPOSITORY, "deep/er/app").push(index, "1.0")
    path = f"/v2/{PROJECT}/{REPOSITORY}/deep/er/app/manifests"
    answer = await client.get(f"{path}/1.0")
    assert answer.headers["docker-content-digest"] == index.digest
    assert (await client.get(f"/v2/{scene.path}/manifests/{index.digest}")).status_code == 404
    assert (await client.get(f"{path}/1.0", headers={"Accept": IMAGE.media_type})).status_code == 404
    world.gcp.set_switch("has_digest_on_manifests", is_so=False)
    assert "docker-content-digest" not in (await client.head(f"{path}/1.0")).headers


async def test_referrers_are_listed_unless_there_is_no_such_thing(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    signature = make_image("signature", subject=IMAGE)
    scene.images.push(signature)
    path = f"/v2/{scene.path}/referrers/{IMAGE.digest}"
    assert [each["digest"] for each in (await client.get(path)).json()["manifests"]] == [signature.digest]
    world.gcp.set_switch("has_referrers", is_so=False)
    assert (await client.get(path)).status_code == 404


async def test_everybody_may_read_what_is_for_everybody(
    stranger: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    path = f"/v2/{scene.path}/manifests/1.0"
    given = await stranger.get("/v2/token", params={"scope": f"repository:{scene.path}:pull"})
    headers = {"Authorization": f"Bearer {given.json()['token']}"}

    assert given.json()["expires_in"] == 43200
    assert json.loads(base64.b64decode(given.json()["token"]))["product"] == "artifactregistry"
    status, code, message = error(await stranger.get(path, headers=headers))
    assert (status, code) == (403, "DENIED")
    assert message.startswith("Unauthenticated request. Unauthenticated requests do not have permission")
    assert message.endswith("(or it may not exist)")
    world.gcp.grant(PROJECT, LOCATION, REPOSITORY, "allUsers")
    assert (await stranger.get(path, headers=headers)).status_code == 200
    assert (await stranger.post("/v2/token")).status_code == 405


async def test_the_token_endpoint_itself_may_refuse_nobody_in_particular(
    stranger: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    world.gcp.set_switch("anonymous_is_refused_at_token", is_so=True)
    answer = await stranger.get("/v2/token", params={"scope": f"repository:{scene.path}:pull"})
    assert error(answer)[:2] == (403, "DENIED")


@pytest.mark.parametrize(
    ("host", "location"),
    [("gcr.io", "us"), ("us.gcr.io", "us"), ("eu.gcr.io", "europe"), ("asia.gcr.io", "asia")],
)
async def test_gcr_hosts_are_repositories_of_that_name(
    client: httpx.AsyncClient, world: Clouds, host: str, location: str
) -> None:
    images = world.gar(PROJECT, location, host, "app", readers=(MEMBER,))
    images.push(IMAGE, "1.0")
    assert (images.host, images.path) == (host, f"{PROJECT}/app")
    for name, path in ((host, images.path), (f"{location}-docker.pkg.dev", f"{PROJECT}/{host}/app")):
        answer = await client.get(f"https://{name}/v2/{path}/manifests/1.0")
        assert answer.headers["docker-content-digest"] == IMAGE.digest


async def test_the_older_gcr_keeps_blobs_at_cloud_storage(client: httpx.AsyncClient, world: Clouds) -> None:
    world.gcp.set_switch("gcr_stores_apart", is_so=True)
    world.gar(PROJECT, "us", "gcr.io", "app", readers=(MEMBER,)).push(IMAGE, "1.0")
    answer = await client.get(f"https://gcr.io/v2/{PROJECT}/app/blobs/{BLOB}")
    location = answer.headers["location"]
    assert location.startswith("https://storage.googleapis.com/")
    assert (await client.get(location)).status_code == 400
    del client.headers["Authorization"]
    assert (await client.get(location)).content == IMAGE.blobs[BLOB]


async def test_regional_endpoints_and_projects_with_a_domain_are_served(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    answer = await client.get(f"https://docker.{LOCATION}.rep.pkg.dev/v2/{scene.path}/manifests/1.0")
    assert answer.status_code == 200
    world.gar("example.com/p", LOCATION, "r", "app", readers=(MEMBER,)).push(IMAGE, "1.0")
    assert (await client.get("/v2/example.com/p/r/app/manifests/1.0")).status_code == 200


@pytest.mark.parametrize("host", ["docker.pkg.dev", "nowhere-docker.pkg.dev", "uk.gcr.io", "pkg.dev"])
async def test_a_name_google_does_not_have_does_not_resolve(world: Clouds, host: str) -> None:
    async with world.http_client() as client:
        with pytest.raises(httpx.ProxyError):
            await client.get(f"https://{host}/v2/")


async def test_what_is_throttled_or_unwell_says_so(client: httpx.AsyncClient, world: Clouds) -> None:
    world.faults.add(Fault(Harm.THROTTLE, service="gar", retry_after=3))
    throttled = await client.get("/v2/")
    world.faults.add(Fault(Harm.FAIL, service="gar", status=502))
    unwell = await client.get("/v2/")
    assert error(throttled)[:2] == (429, "TOOMANYREQUESTS")
    assert throttled.headers["retry-after"] == "3"
    assert (unwell.status_code, unwell.headers["content-type"]) == (502, "text/html")
