"""ECR Public: its API asked by the real boto3, its registry by hand."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ProxyConnectionError

from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.policy import PUBLIC_TOKEN_ACTIONS, Statement, may_pull_public
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import make_image
from tests.clouds.scene import ACCOUNT
from tests.clouds.sdk import Sdk, refused

HOSTS = ("public.ecr.aws", "ecr-public.aws.com")
NAME = "docker/library/alpine"
OCI = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        running.ecr_public(NAME).push(make_image("alpine"), "3.20")
        yield running


@pytest.fixture
async def client(world: Clouds) -> AsyncIterator[httpx.AsyncClient]:
    async with world.http_client() as made:
        yield made


@pytest.fixture
def key(world: Clouds) -> MadeKey:
    return world.aws.add_user(ACCOUNT, "public", allow=may_pull_public())


def authorization(world: Clouds, key: MadeKey, region: str = "us-east-1") -> str:
    given = Sdk(world, key, region).client("ecr-public").get_authorization_token()["authorizationData"]
    return str(given["authorizationToken"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def anonymous(client: httpx.AsyncClient, host: str) -> str:
    answer = await client.get(f"https://{host}/token/?service=public.ecr.aws&scope=repository:{NAME}:pull")
    assert set(answer.json()) == {"token"}
    return str(answer.json()["token"])


def denied(answer: httpx.Response) -> str:
    assert answer.status_code == 400
    assert "www-authenticate" not in answer.headers
    (error,) = answer.json()["errors"]
    assert error["code"] == "DENIED"
    return str(error["message"])


def test_a_token_is_an_object_and_comes_from_us_east_1(world: Clouds, key: MadeKey) -> None:
    assert base64.b64decode(authorization(world, key)).startswith(b"AWS:")
    (entry,) = world.log.entries(service="ecr-public-api")
    assert entry.host == "api.ecr-public.us-east-1.amazonaws.com"
    assert entry.operation == "GetAuthorizationToken"


def test_names_that_boto3_makes_up_for_other_regions_do_not_resolve(world: Clouds, key: MadeKey) -> None:
    with pytest.raises(ProxyConnectionError):
        authorization(world, key, "eu-west-1")


@pytest.mark.parametrize("missing", PUBLIC_TOKEN_ACTIONS)
def test_both_permissions_are_needed(world: Clouds, key: MadeKey, missing: str) -> None:
    others = tuple(action for action in PUBLIC_TOKEN_ACTIONS if action != missing)
    world.aws.set_policy(key.arn, (Statement(others),))

    code, _, message = refused(authorization, world, key)

    assert (code, f"perform: {missing} on resource: *" in message) == ("AccessDeniedException", True)


@pytest.mark.parametrize("host", HOSTS)
async def test_nothing_shown_is_challenged_with_the_hosts_own_realm(
    client: httpx.AsyncClient, host: str
) -> None:
    answer = await client.get(f"https://{host}/v2/")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(f'Bearer realm="https://{host}/token/",')


async def test_everybody_may_pull_with_a_token_of_the_realm_and_blobs_are_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    token = await anonymous(client, HOSTS[0])
    manifest = await client.get(f"https://{HOSTS[0]}/v2/{NAME}/manifests/3.20", headers=bearer(token) | OCI)
    layer = manifest.json()["layers"][0]["digest"]
    hop = await client.get(f"https://{HOSTS[0]}/v2/{NAME}/blobs/{layer}", headers=bearer(token))
    location = hop.headers["location"]

    assert (hop.status_code, httpx.URL(location).host.endswith(".cloudfront.net")) == (307, True)
    assert (await client.get(location)).status_code == 200
    assert (await client.get(location, headers={"Range": "bytes=0-0"})).status_code == 206
    assert (await client.get(location, headers=bearer(token))).status_code == 400
    assert (await client.get(location.replace("Signature=", "Signature=0"))).status_code == 403


async def test_the_api_token_is_a_bearer_as_it_is_and_never_basic(
    world: Clouds, client: httpx.AsyncClient, key: MadeKey
) -> None:
    token = authorization(world, key)
    url = f"https://{HOSTS[0]}/v2/{NAME}/manifests/3.20"

    assert (await client.get(url, headers=bearer(token) | OCI)).status_code == 200
    assert world.log.entries(operation="GET manifests")[-1].principal == key.arn
    basic = await client.get(url, headers={"Authorization": f"Basic {token}"})
    assert denied(basic) == "Your Authorization Token is invalid."
    realm = f"https://{HOSTS[0]}/token/?service=public.ecr.aws"
    logged_in = (await client.get(realm, headers={"Authorization": f"Basic {token}"})).json()["token"]
    assert (await client.get(url, headers=bearer(logged_in) | OCI)).status_code == 200


async def test_a_token_that_ended_or_is_none_is_400_without_a_challenge(
    world: Clouds, client: httpx.AsyncClient
) -> None:
    token = await anonymous(client, HOSTS[0])
    world.aws.expire_tokens()
    url = f"https://{HOSTS[0]}/v2/{NAME}/tags/list"

    assert denied(await client.get(url, headers=bearer(token))).startswith("Your Authorization Token has ex")
    assert denied(await client.get(url, headers=bearer("x"))) == "Your Authorization Token is invalid."


async def test_what_is_not_there_is_404_and_too_much_is_429(world: Clouds, client: httpx.AsyncClient) -> None:
    headers = bearer(await anonymous(client, HOSTS[0]))
    missing = await client.get(f"https://{HOSTS[0]}/v2/nobody/nothing/tags/list", headers=headers)
    assert (missing.status_code, missing.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")
    world.faults.add(Fault(Harm.THROTTLE, service="ecr-public"))
    throttled = await client.get(f"https://{HOSTS[0]}/v2/{NAME}/tags/list", headers=headers)
    assert (throttled.status_code, "toomanyrequests" in throttled.text) == (429, True)
