"""What a machine is told of its role, asked as botocore asks it, and at the edges by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.policy import may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.scene import ACCOUNT
from tests.clouds.sdk import Sdk, refused

TTL = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def role(world: Clouds) -> str:
    services = ("pods.eks.amazonaws.com", "ec2.amazonaws.com")
    return world.aws.add_role(ACCOUNT, "machine", trusts=services, allow=may_pull())


def imds(world: Clouds) -> httpx.Client:
    return httpx.Client(base_url=world.local["aws-instance"], trust_env=False)


def test_a_pod_asks_with_its_token_and_gets_what_signs(world: Clouds, role: str) -> None:
    token, origin = world.aws.associate_pod(role), world.local["aws-container"]

    given = ContainerMetadataFetcher().retrieve_full_uri(f"{origin}/v1/credentials", {"Authorization": token})

    key = MadeKey(given["AccessKeyId"], given["SecretAccessKey"], role, given["Token"])
    assert Sdk(world, key).token()
    assert given["AccountId"] == ACCOUNT


def test_a_pod_without_token_or_association_is_nobody(world: Clouds, role: str) -> None:
    token, url = world.aws.associate_pod(role), f"{world.local['aws-container']}/v1/credentials"
    with httpx.Client(trust_env=False) as client:
        assert client.get(url).status_code == 400
        assert client.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 403
        world.aws.dissociate_pod(token)
        assert client.get(url, headers={"Authorization": token}).status_code == 403


def test_an_instance_gives_its_role_by_version_two(world: Clouds, role: str) -> None:
    world.aws.set_instance_role(role)

    given = InstanceMetadataFetcher(
        base_url=world.local["aws-instance"], env={}
    ).retrieve_iam_role_credentials()

    key = MadeKey(given["access_key"], given["secret_key"], role, given["token"])
    assert Sdk(world, key).token()
    assert given["role_name"] == "machine"
    assert world.log.count(operation="InstanceMetadataV1") == 0


def test_where_version_two_is_refused_botocore_falls_back_and_is_answered(world: Clouds, role: str) -> None:
    world.aws.set_instance_role(role)
    world.aws.set_instance_put(status=403)

    assert InstanceMetadataFetcher(
        base_url=world.local["aws-instance"], env={}
    ).retrieve_iam_role_credentials()
    assert world.log.count(operation="InstanceMetadataV1") == 2


def test_a_session_of_the_metadata_service_has_rules(world: Clouds) -> None:
    with imds(world) as client:
        assert client.put("/latest/api/token").status_code == 400
        assert client.put("/latest/api/token", headers={next(iter(TTL)): "21601"}).status_code == 400
        assert client.put("/latest/api/token", headers=TTL | {"X-Forwarded-For": "x"}).status_code == 403
        token = client.put("/latest/api/token", headers=TTL).text
        roles = "/latest/meta-data/iam/security-credentials/"
        assert client.get(roles, headers={"x-aws-ec2-metadata-token": "wrong"}).status_code == 401
        assert client.get(roles, headers={"x-aws-ec2-metadata-token": token}).status_code == 404


def test_beyond_the_hop_limit_the_answer_never_comes(world: Clouds) -> None:
    world.aws.set_instance_put(is_too_far=True)
    with imds(world) as client, pytest.raises(httpx.ReadTimeout):
        client.put("/latest/api/token", headers=TTL, timeout=0.2)


def test_credentials_end_when_the_platform_says(world: Clouds, role: str) -> None:
    world.aws.set_machine_session_life(-5)
    token, origin = world.aws.associate_pod(role), world.local["aws-container"]
    given = ContainerMetadataFetcher().retrieve_full_uri(f"{origin}/v1/credentials", {"Authorization": token})

    key = MadeKey(given["AccessKeyId"], given["SecretAccessKey"], role, given["Token"])

    assert refused(Sdk(world, key).token)[0] == "ExpiredTokenException"
