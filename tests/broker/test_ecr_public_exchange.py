"""A token of ECR Public, by the broker's own exchange: another API, another shape, always us-east-1."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.broker.aws_climbs import by_key, by_role, exchange_through, order, refused, unavailable
from tests.clouds.aws.control import MadeKey
from tests.clouds.aws.policy import PUBLIC_TOKEN_ACTIONS, Statement, may_pull, may_pull_public
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.scene import ACCOUNT, set_scene
from vreg_shared.provider import Presentation
from vreg_shared.providers.aws import AwsUsableFor
from vreg_token_broker.exchange import Exchange, Issued

HOSTS = ("public.ecr.aws", "ecr-public.aws.com")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def exchange(world: Clouds, tmp_path: Path) -> Exchange:
    return exchange_through(world, tmp_path)


@pytest.fixture
def key(world: Clouds) -> MadeKey:
    return world.aws.add_user(ACCOUNT, "public", allow=may_pull_public())


@pytest.mark.parametrize("host", HOSTS)
async def test_the_credential_is_the_token_as_it_came_and_opens_ecr_public(
    world: Clouds, exchange: Exchange, key: MadeKey, host: str
) -> None:
    outcome = await exchange.lease_for(order(by_key(key), host))

    assert isinstance(outcome, Issued), outcome
    token = outcome.credential.secret.reveal()
    assert outcome.credential.presentation is Presentation.BEARER
    assert base64.b64decode(token).startswith(b"AWS:")
    (entry,) = world.log.entries()
    assert entry.host == "api.ecr-public.us-east-1.amazonaws.com"
    async with world.http_client() as client:
        answer = await client.get(f"https://{host}/v2/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_a_role_is_assumed_in_us_east_1_and_limited_to_the_token(
    world: Clouds, exchange: Exchange
) -> None:
    scene = set_scene(world, allow=(*may_pull(), *may_pull_public()))
    method = by_role(scene, repositories=("team/a",))

    outcome = await exchange.lease_for(order(method, HOSTS[0], usable_for=AwsUsableFor()))

    assert isinstance(outcome, Issued), outcome
    assert [entry.host for entry in world.log.entries()] == [
        "sts.us-east-1.amazonaws.com",
        "api.ecr-public.us-east-1.amazonaws.com",
    ]


@pytest.mark.parametrize("missing", PUBLIC_TOKEN_ACTIONS)
async def test_the_permission_that_is_missing_is_named(
    world: Clouds, exchange: Exchange, key: MadeKey, missing: str
) -> None:
    others = tuple(action for action in PUBLIC_TOKEN_ACTIONS if action != missing)
    world.aws.set_policy(key.arn, (Statement(others),))

    outcome = refused(await exchange.lease_for(order(by_key(key), HOSTS[0])))

    assert outcome.reason == "permission_denied"
    assert missing in outcome.remedy
    assert missing in outcome.detail


async def test_what_may_pass_is_unavailable(world: Clouds, exchange: Exchange, key: MadeKey) -> None:
    for harm, reason in ((Harm.THROTTLE, "throttled"), (Harm.FAIL, "upstream_error")):
        world.faults.add(Fault(harm, service="ecr-public-api"))
        assert unavailable(await exchange.lease_for(order(by_key(key), HOSTS[0]))).reason == reason


async def test_a_role_of_another_partition_cannot_know_ecr_public(world: Clouds, exchange: Exchange) -> None:
    method = by_role(set_scene(world), role_arn=f"arn:aws-cn:iam::{ACCOUNT}:role/pull")

    assert refused(await exchange.lease_for(order(method, HOSTS[0]))).reason == "partition_mismatch"
    assert world.gateway.connects() == 0
