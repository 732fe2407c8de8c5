"""The emulated ECR on `/v2/`: every line of the fact sheet's table, over the wire."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.clouds.aws.policy import Statement, may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.images import INDEX, EcrRepository, Image, make_image, make_index
from tests.clouds.scene import ACCOUNT, OTHER_ACCOUNT, OTHER_REGION, REGION, Scene, set_scene

NAME = "team/app"
IMAGE = make_image("app", 3000)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
def repository(world: Clouds) -> EcrRepository:
    repository = world.ecr(ACCOUNT, REGION, NAME)
    repository.push(IMAGE, "1.0", "latest")
    return repository


@pytest.fixture
async def client(world: Clouds, scene: Scene, repository: EcrRepository) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ARG001 -- filled
    """Somebody with a good token, who follows no redirects."""
    async with world.http_client() as client:
        client.base_url = httpx.URL(f"https://{scene.host}")
        client.headers["Authorization"] = f"Basic {world.aws.issue_token(scene.role_arn, REGION)}"
        yield client


def error(answer: httpx.Response) -> tuple[int, str, str]:
    (only,) = answer.json()["errors"]
    assert "www-authenticate" not in answer.headers
    return answer.status_code, only["code"], only["message"]


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def test_a_token_opens_the_door(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v2/")

    assert answer.status_code == 200
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer eyJhbGciOi"},
        basic("somebody:eyJwYXlsb2FkIjoi"),
    ],
)
async def test_whoever_shows_no_credential_gets_plain_text_and_a_challenge(
    client: httpx.AsyncClient, scene: Scene, headers: dict[str, str]
) -> None:
    del client.headers["Authorization"]

    answer = await client.get(f"/v2/{NAME}/manifests/1.0", headers=headers)

    assert (answer.status_code, answer.text) == (401, "Not Authorized\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-length"] == "15"
    assert (
        answer.headers["www-authenticate"]
        == f'Basic realm="https://{scene.host}/",service="ecr.amazonaws.com"'
    )


async def test_an_expired_token_is_403_without_a_challenge(client: httpx.AsyncClient, world: Clouds) -> None:
    assert world.aws.expire_tokens() == 1

    assert error(await client.get("/v2/")) == (
        403,
        "DENIED",
        "Your authorization token has expired. Reauthenticate and try again.",
    )


async def test_a_token_expires_when_its_life_is_over(
    world: Clouds, scene: Scene, client: httpx.AsyncClient
) -> None:
    world.aws.set_token_life(0)
    headers = {"Authorization": f"Basic {world.aws.issue_token(scene.role_arn, REGION)}"}

    assert error(await client.get("/v2/", headers=headers))[:2] == (403, "DENIED")
    assert (await client.get("/v2/")).status_code == 200


async def test_a_revoked_token_is_an_unknown_one(client: httpx.AsyncClient, world: Clouds) -> None:
    world.aws.revoke_tokens()

    assert (await client.get("/v2/")).status_code == 401


async def test_a_token_outlives_its_session_unless_told_otherwise(
    client: httpx.AsyncClient, world: Clouds
) -> None:
    world.aws.expire_sessions()
    assert (await client.get("/v2/")).status_code == 200

    world.aws.set_tokens_end_with_sessions(is_so=True)
    assert error(await client.get("/v2/"))[:2] == (403, "DENIED")


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Basic %%%"}, {"Authorization": "Basic QVdT"}, basic("AWS:hunter2")]
)
async def test_garbage_is_400_in_words_nobody_can_rely_on(
    client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.get("/v2/", headers=headers)

    assert answer.status_code == 400
    assert "www-authenticate" not in answer.headers


async def test_a_token_of_another_region_is_not_accepted(client: httpx.AsyncClient, world: Clouds) -> None:
    answer = await client.get(f"https://{world.aws.host(ACCOUNT, OTHER_REGION)}/v2/")

    assert answer.status_code == 401


@pytest.mark.parametrize("reference", ["1.0", IMAGE.digest])
async def test_a_manifest_comes_byte_for_byte_with_its_type_and_digest(
    client: httpx.AsyncClient, reference: str
) -> None:
    got = await client.get(f"/v2/{NAME}/manifests/{reference}")
    head = await client.head(f"/v2/{NAME}/manifests/{reference}")

    assert got.content == IMAGE.manifest
    for answer in (got, head):
        assert answer.status_code == 200
        assert answer.headers["content-type"] == IMAGE.media_type
        assert answer.headers["docker-content-digest"] == IMAGE.digest
        assert answer.headers["content-length"] == str(len(IMAGE.manifest))


async def test_head_may_hide_the_digest(client: httpx.AsyncClient, world: Clouds) -> None:
    world.aws.set_digest_on_head(is_so=False)

    assert "docker-content-digest" not in (await client.head(f"/v2/{NAME}/manifests/1.0")).headers


async def test_a_kind_of_manifest_that_is_not_asked_for_is_not_found(
    client: httpx.AsyncClient, repository: EcrRepository
) -> None:
    repository.push(make_index("multi"), "multi")

    path = f"/v2/{NAME}/manifests/multi"
    assert error(await client.get(path, headers={"Accept": IMAGE.media_type}))[:2] == (
        404,
        "MANIFEST_UNKNOWN",
    )
    both = {"Accept": f"{IMAGE.media_type}, {INDEX};q=0.5"}
    assert (await client.get(path, headers=both)).headers["content-type"] == INDEX


@pytest.mark.parametrize("reference", ["2.0", "sha256:" + "0" * 64])
async def test_a_missing_image_is_not_found(client: httpx.AsyncClient, reference: str) -> None:
    assert error(await client.get(f"/v2/{NAME}/manifests/{reference}")) == (
        404,
        "MANIFEST_UNKNOWN",
        "Requested image not found",
    )


async def test_a_missing_repository_is_named(client: httpx.AsyncClient, world: Clouds) -> None:
    world.aws.delete_repository(ACCOUNT, REGION, NAME)

    assert error(await client.get(f"/v2/{NAME}/manifests/1.0")) == (
        404,
        "NAME_UNKNOWN",
        f"The repository with name '{NAME}' does not exist in the registry with id '{ACCOUNT}'",
    )


async def test_what_may_not_be_read_is_refused_with_action_and_resource(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    world.aws.set_policy(scene.role_arn, may_pull(f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/other/*"))

    user = f"User: arn:aws:sts::{ACCOUNT}:assumed-role/vreg-pull/a-session"
    resource = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{NAME}"
    for method, path, action in (
        ("GET", "manifests/1.0", "ecr:BatchGetImage"),
        ("GET", f"blobs/{IMAGE.layers[0]}", "ecr:GetDownloadUrlForLayer"),
        ("GET", "tags/list", "ecr:ListImages"),
    ):
        assert error(await client.request(method, f"/v2/{NAME}/{path}")) == (
            403,
            "DENIED",
            (
                f"{user} is not authorized to perform: {action} on resource: {resource} "
                f"because no identity-based policy allows the {action} action"
            ),
        )
    assert (await client.head(f"/v2/{NAME}/blobs/{IMAGE.layers[0]}")).status_code == 403


async def test_an_explicit_deny_wins(client: httpx.AsyncClient, world: Clouds, scene: Scene) -> None:
    world.aws.deny(scene.role_arn, "ecr:BatchGetImage")

    _, _, message = error(await client.get(f"/v2/{NAME}/manifests/1.0"))

    assert message.endswith("with an explicit deny in an identity-based policy")


async def test_another_accounts_repository_needs_its_own_policy(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    theirs = world.ecr(OTHER_ACCOUNT, REGION, "their/app")
    theirs.push(IMAGE, "1")
    url = f"https://{world.aws.host(OTHER_ACCOUNT, REGION)}/v2/their/app/manifests/1"

    _, _, message = error(await client.get(url))
    assert message.endswith("because no resource-based policy allows the ecr:BatchGetImage action")

    world.ecr(OTHER_ACCOUNT, REGION, "their/app", readers=(scene.role_arn,))
    assert (await client.get(url)).content == IMAGE.manifest


async def test_a_missing_repository_of_another_account_is_hidden(
    client: httpx.AsyncClient, world: Clouds
) -> None:
    answer = await client.get(f"https://{world.aws.host(OTHER_ACCOUNT, REGION)}/v2/nothing/here/manifests/1")

    assert error(answer)[:2] == (403, "DENIED")


async def test_a_malformed_name_is_400(client: httpx.AsyncClient) -> None:
    assert error(await client.get("/v2/Team/App/manifests/1"))[:2] == (400, "NAME_INVALID")


async def test_pushes_are_not_supported(client: httpx.AsyncClient) -> None:
    assert error(await client.put(f"/v2/{NAME}/manifests/1.0", content=b"{}"))[:2] == (405, "UNSUPPORTED")


async def location(client: httpx.AsyncClient, digest: str = IMAGE.layers[0]) -> str:
    answer = await client.get(f"/v2/{NAME}/blobs/{digest}")
    assert answer.status_code == 307
    return answer.headers["location"]


async def test_a_blob_is_redirected_to_a_bucket_in_its_region(client: httpx.AsyncClient) -> None:
    where = await location(client)

    parts = urlsplit(where)
    assert parts.netloc == "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com"
    assert "%2F" in parts.query
    assert parse_qs(parts.query)["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert "sha256" not in parts.path
    del client.headers["Authorization"]
    assert (await client.get(where)).content == IMAGE.blobs[IMAGE.layers[0]]


async def test_head_of_a_blob_answers_itself(client: httpx.AsyncClient) -> None:
    answer = await client.head(f"/v2/{NAME}/blobs/{IMAGE.layers[0]}")

    assert answer.status_code == 200
    assert answer.headers["content-length"] == str(len(IMAGE.blobs[IMAGE.layers[0]]))


async def test_a_blob_of_another_repository_is_unknown(client: httpx.AsyncClient, world: Clouds) -> None:
    other = make_image("other")
    world.ecr(ACCOUNT, REGION, "team/other").push(other, "1")

    assert error(await client.get(f"/v2/{NAME}/blobs/{other.layers[0]}"))[:2] == (404, "BLOB_UNKNOWN")


async def test_the_bucket_refuses_the_registrys_credential(client: httpx.AsyncClient) -> None:
    answer = await client.get(await location(client))

    assert answer.status_code == 400
    assert "<Code>InvalidArgument</Code>" in answer.text
    assert "Only one auth mechanism allowed" in answer.text


async def test_the_signature_covers_method_path_and_every_byte_of_the_query(
    client: httpx.AsyncClient,
) -> None:
    where = await location(client)
    del client.headers["Authorization"]

    assert (await client.head(where)).status_code == 403
    for spoiled in (where.replace("%2F", "/", 1), where.replace("?", "0?", 1), where[:-1] + "x"):
        answer = await client.get(spoiled)
        assert (answer.status_code, "SignatureDoesNotMatch" in answer.text) == (403, True)
    unsigned = await client.get(where.partition("?")[0])
    assert (unsigned.status_code, "AccessDenied" in unsigned.text) == (403, True)


async def test_an_address_is_good_for_a_while_only(client: httpx.AsyncClient, world: Clouds) -> None:
    world.aws.set_storage_url_life(0)
    where = await location(client)
    del client.headers["Authorization"]

    answer = await client.get(where)

    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=10-19", 10, 20), ("bytes=-7", -7, None)],
)
async def test_the_bucket_serves_a_range(
    client: httpx.AsyncClient, asked: str, start: int, stop: int | None
) -> None:
    blob = IMAGE.blobs[IMAGE.layers[0]]
    where = await location(client)
    del client.headers["Authorization"]

    answer = await client.get(where, headers={"Range": asked})

    assert (answer.status_code, answer.content) == (206, blob[start:stop])
    first = start % len(blob)
    last = first + len(answer.content) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(blob)}"


@pytest.mark.parametrize("asked", ["bytes=5-3", "bytes=0-1,3-4", "bits=0-1", "bytes=-"])
async def test_a_range_it_cannot_read_is_ignored(client: httpx.AsyncClient, asked: str) -> None:
    where = await location(client)
    del client.headers["Authorization"]

    assert (await client.get(where, headers={"Range": asked})).status_code == 200


async def test_a_range_past_the_end_is_416(client: httpx.AsyncClient) -> None:
    where = await location(client)
    del client.headers["Authorization"]

    answer = await client.get(where, headers={"Range": "bytes=999999-"})

    assert (answer.status_code, "InvalidRange" in answer.text) == (416, True)


async def test_tags_come_in_pages_with_an_opaque_cursor_and_an_absolute_link(
    client: httpx.AsyncClient, repository: EcrRepository, scene: Scene
) -> None:
    repository.push(IMAGE, *(f"v{number}" for number in range(250)))

    seen: list[str] = []
    where: str | None = f"/v2/{NAME}/tags/list"
    pages = 0
    while where is not None:
        answer = await client.get(where)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        seen += answer.json()["tags"]
        pages += 1
        where = answer.links["next"]["url"] if "next" in answer.links else None
        if where is not None:
            assert where.startswith(f"https://{scene.host}/v2/{NAME}/tags/list?last=")
            cursor = parse_qs(urlsplit(where).query)["last"][0]
            assert len(cursor) > 300
            assert not any(tag in cursor for tag in ("latest", "v249"))
    assert pages == 3
    assert sorted(seen) == sorted(["1.0", "latest", *(f"v{number}" for number in range(250))])
    assert seen != sorted(seen)


async def test_a_page_size_is_kept_from_page_to_page(client: httpx.AsyncClient) -> None:
    first = await client.get(f"/v2/{NAME}/tags/list", params={"n": 1})
    second = await client.get(first.links["next"]["url"])

    assert len(second.json()["tags"]) == 1
    assert "next" not in second.links


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("n=1001", "'maxResults'"),
        ("n=0", "'maxResults'"),
        ("last=1.0", "'NextToken'"),
        ("last=AAAA", "'NextToken'"),
    ],
)
async def test_limits_and_foreign_cursors_are_405(client: httpx.AsyncClient, query: str, words: str) -> None:
    status, code, message = error(await client.get(f"/v2/{NAME}/tags/list?{query}"))

    assert (status, code) == (405, "UNSUPPORTED")
    assert words in message


async def test_a_cursor_is_good_for_its_own_list(
    client: httpx.AsyncClient, world: Clouds, scene: Scene
) -> None:
    world.aws.set_policy(scene.role_arn, (*may_pull(), Statement(("ecr:DescribeRepositories",))))
    world.ecr(ACCOUNT, REGION, "another")
    page = await client.get(f"/v2/{NAME}/tags/list?n=1")
    catalog = await client.get("/v2/_catalog?n=1")

    assert catalog.json() == {"repositories": ["another"]}
    stolen = urlsplit(page.links["next"]["url"]).query
    assert error(await client.get(f"/v2/_catalog?{stolen}"))[0] == 405
    assert (await client.get(catalog.links["next"]["url"])).json() == {"repositories": [NAME]}


async def test_referrers_of_a_subject_are_listed_and_filtered(
    client: httpx.AsyncClient, repository: EcrRepository
) -> None:
    signature = make_image("signature", 10, subject=IMAGE)
    repository.push(signature)

    found = await client.get(f"/v2/{NAME}/referrers/{IMAGE.digest}")
    none = await client.get(f"/v2/{NAME}/referrers/{IMAGE.digest}", params={"artifactType": "x/y"})

    assert [each["digest"] for each in found.json()["manifests"]] == [signature.digest]
    assert none.json()["manifests"] == []
    assert none.headers["oci-filters-applied"] == "artifactType"


@pytest.mark.parametrize(
    "host",
    [
        "{account}.dkr-ecr.{region}.on.aws",
        "{account}.dkr.ecr-fips.{region}.amazonaws.com",
        "{account}.dkr-ecr-fips.{region}.on.aws",
    ],
)
async def test_other_names_of_a_registry_hold_the_same(world: Clouds, scene: Scene, host: str) -> None:
    world.ecr(ACCOUNT, OTHER_REGION, NAME).push(IMAGE, "1")
    headers = {"Authorization": f"Basic {world.aws.issue_token(scene.role_arn, OTHER_REGION)}"}
    name = host.format(account=ACCOUNT, region=OTHER_REGION)
    async with world.http_client() as client:
        answer = await client.get(f"https://{name}/v2/{NAME}/manifests/1", headers=headers)
        blob = await client.get(f"https://{name}/v2/{NAME}/blobs/{IMAGE.layers[0]}", headers=headers)
        content = await client.get(blob.headers["location"])

    assert answer.content == IMAGE.manifest
    assert ("dualstack" in blob.headers["location"]) == ("on.aws" in name)
    assert content.content == IMAGE.blobs[IMAGE.layers[0]]


def test_images_are_the_same_every_time_and_fit_together() -> None:
    again: Image = make_image("app", 3000)

    assert again == IMAGE
    document = json.loads(IMAGE.manifest)
    for described in (document["config"], *document["layers"]):
        assert len(IMAGE.blobs[described["digest"]]) == described["size"]
