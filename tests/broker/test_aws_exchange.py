"""The real botocore through the egress gateway, to emulated STS and ECR under their real names."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.broker.aws_climbs import (
    IDENTITY,
    by_key,
    by_role,
    exchange_through,
    order,
    refused,
    unavailable,
)
from tests.clouds.aws.policy import may_pull
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.faults import Fault, Harm
from tests.clouds.scene import ACCOUNT, OTHER_REGION, REGION, Scene, set_scene
from tests.support.wait import eventually
from vreg_shared.provider import Presentation
from vreg_shared.secret import Secret
from vreg_token_broker.exchange import (
    Exchange,
    Issued,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
def exchange(world: Clouds, tmp_path: Path) -> Exchange:
    return exchange_through(world, tmp_path)


async def test_a_role_becomes_a_registry_credential(world: Clouds, scene: Scene, exchange: Exchange) -> None:
    outcome = await exchange.lease_for(order(by_role(scene), scene.host))

    assert isinstance(outcome, Issued)
    assert outcome.credential.username == "AWS"
    assert outcome.credential.presentation is Presentation.BASIC
    assert outcome.not_after is not None
    assert outcome.issued_at.utcoffset() == timedelta(0) == outcome.not_after.utcoffset()
    assert abs(outcome.not_after - outcome.issued_at - timedelta(hours=12)) < timedelta(seconds=5)
    assert outcome.principal == f"arn:aws:sts::{ACCOUNT}:assumed-role/vreg-pull/vreg-{IDENTITY}"
    assert len(outcome.request_ids) == 2
    assert world.log.count(operation="AssumeRole") == 1
    assert world.log.count(operation="GetAuthorizationToken") == 1


async def test_the_credential_opens_the_registry(world: Clouds, scene: Scene, exchange: Exchange) -> None:
    outcome = await exchange.lease_for(order(by_role(scene), scene.host))
    assert isinstance(outcome, Issued)
    async with world.http_client() as client:
        answer = await client.get(
            f"https://{scene.host}/v2/",
            auth=(outcome.credential.username, outcome.credential.secret.reveal()),
        )
    assert answer.status_code == 200


async def test_a_key_becomes_a_registry_credential(world: Clouds, exchange: Exchange) -> None:
    key = world.aws.add_user(ACCOUNT, "puller", allow=may_pull())
    outcome = await exchange.lease_for(order(by_key(key), world.aws.host(ACCOUNT, REGION)))
    assert isinstance(outcome, Issued)
    assert outcome.principal == key.access_key_id


async def test_a_temporary_key_works_until_it_ends_and_then_wants_a_person(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    key = world.aws.open_session(scene.role_arn, "handed-over", 900)
    assert isinstance(await exchange.lease_for(order(by_key(key), scene.host)), Issued)
    world.aws.expire_sessions()
    outcome = refused(await exchange.lease_for(order(by_key(key), scene.host)))
    assert outcome.reason == "credential_expired"
    assert world.log.count(operation="AssumeRole") == 0


async def test_sts_and_ecr_are_asked_in_the_region_of_the_host(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    host = world.aws.host(ACCOUNT, OTHER_REGION)
    assert isinstance(await exchange.lease_for(order(by_role(scene), host)), Issued)
    assert world.log.count(host=f"sts.{OTHER_REGION}.amazonaws.com") == 1
    assert world.log.count(host=f"api.ecr.{OTHER_REGION}.amazonaws.com") == 1
    assert world.log.count() == 2


async def test_a_role_of_another_partition_is_refused_before_anybody_is_asked(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    host = f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn"
    outcome = refused(await exchange.lease_for(order(by_role(scene), host)))
    assert outcome.reason == "partition_mismatch"
    assert world.gateway.connects() == 0


async def test_a_role_with_another_external_id_may_not_be_assumed(scene: Scene, exchange: Exchange) -> None:
    outcome = refused(await exchange.lease_for(order(by_role(scene), scene.host, "another-id")))
    assert outcome.reason == "permission_denied"
    assert "sts:AssumeRole" in outcome.detail
    assert "external id" in outcome.remedy


async def test_a_missing_permission_is_named(world: Clouds, scene: Scene, exchange: Exchange) -> None:
    world.aws.deny(scene.role_arn, "ecr:GetAuthorizationToken")
    outcome = refused(await exchange.lease_for(order(by_role(scene), scene.host)))
    assert outcome.reason == "permission_denied"
    assert "ecr:GetAuthorizationToken" in outcome.remedy
    assert outcome.request_ids


async def test_a_wrong_secret_and_an_unknown_key_are_bad_credentials(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    wrong = by_role(scene, secret_access_key=Secret("not the secret"))
    assert refused(await exchange.lease_for(order(wrong, scene.host))).reason == "bad_credentials"
    direct = by_key(replace(scene.key, secret_access_key="not the secret"))
    assert refused(await exchange.lease_for(order(direct, scene.host))).reason == "bad_credentials"
    world.aws.delete_key(scene.key.access_key_id)
    for method in (by_role(scene), by_key(scene.key)):
        assert refused(await exchange.lease_for(order(method, scene.host))).reason == "bad_credentials"


@pytest.mark.parametrize("offset", [1200.0, -1200.0])
async def test_a_wrong_clock_is_told_apart_from_a_wrong_key(
    world: Clouds, scene: Scene, exchange: Exchange, offset: float
) -> None:
    world.aws.set_clock_offset(offset)
    assert refused(await exchange.lease_for(order(by_role(scene), scene.host))).reason == "clock_skew"
    assert refused(await exchange.lease_for(order(by_key(scene.key), scene.host))).reason == "clock_skew"


async def test_a_region_switched_off_wants_a_person(world: Clouds, scene: Scene, exchange: Exchange) -> None:
    world.aws.disable_region("999988887777", REGION)
    outcome = refused(await exchange.lease_for(order(by_role(scene), scene.host)))
    assert outcome.reason == "region_disabled"


async def test_a_duration_the_role_does_not_permit_is_a_setting_to_correct(
    scene: Scene, exchange: Exchange
) -> None:
    outcome = refused(await exchange.lease_for(order(by_role(scene, duration_seconds=7200), scene.host)))
    assert outcome.reason == "settings_invalid"
    assert "MaxSessionDuration" in outcome.detail


async def test_a_session_that_ended_on_the_way_is_assumed_again_once(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    world.aws.set_session_life(-10.0)
    outcome = refused(await exchange.lease_for(order(by_role(scene), scene.host)))
    assert outcome.reason == "credential_expired"
    assert world.log.count(operation="AssumeRole") == 2


@pytest.mark.parametrize(("service", "connects"), [("sts", 1), ("ecr-api", 2)])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault(Harm.THROTTLE), "throttled"),
        (Fault(Harm.FAIL, status=500), "upstream_error"),
        (Fault(Harm.FAIL, status=503), "upstream_error"),
        (Fault(Harm.DROP), "connection_failed"),
        (Fault(Harm.UNREACHABLE), "connection_failed"),
        (Fault(Harm.UNTRUSTED), "tls_failed"),
        (Fault(Harm.OUTDATED), "tls_failed"),
    ],
)
async def test_what_may_pass_is_unavailable_and_asked_exactly_once(  # noqa: PLR0913, PLR0917 - two tables
    world: Clouds, scene: Scene, exchange: Exchange, service: str, connects: int, fault: Fault, reason: str
) -> None:
    world.faults.add(replace(fault, service=service))
    outcome = unavailable(await exchange.lease_for(order(by_role(scene), scene.host)))
    assert outcome.reason == reason
    assert world.faults.waiting() == ()
    assert world.gateway.connects() == connects
    assert isinstance(await exchange.lease_for(order(by_role(scene), scene.host)), Issued)


async def test_a_silent_cloud_is_given_up_and_stalls_nobody(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    world.faults.add(Fault(Harm.LATENCY, service="sts", seconds=60.0))
    silent = asyncio.create_task(exchange.lease_for(order(by_role(scene), scene.host)))
    await eventually(lambda: not world.faults.waiting())
    began = time.monotonic()
    assert isinstance(await exchange.lease_for(order(by_role(scene), scene.host)), Issued)
    assert not silent.done()
    assert unavailable(await silent).reason == "timeout"
    assert time.monotonic() - began < 30


async def test_no_secret_stands_in_what_is_told(world: Clouds, scene: Scene, exchange: Exchange) -> None:
    outcomes = [await exchange.lease_for(order(by_role(scene), scene.host))]
    for fault in (Fault(Harm.FAIL), Fault(Harm.UNREACHABLE), Fault(Harm.UNTRUSTED)):
        world.faults.add(fault)
        outcomes.append(await exchange.lease_for(order(by_role(scene), scene.host)))
    assert isinstance(outcomes[0], Issued)
    assert scene.key.secret_access_key not in repr(outcomes)
    assert outcomes[0].credential.secret.reveal() not in repr(outcomes)


async def test_a_full_start_makes_every_exchange_once(
    world: Clouds, scene: Scene, exchange: Exchange
) -> None:
    orders = [order(by_role(scene), scene.host) for _ in range(30)]
    outcomes = await asyncio.gather(*(exchange.lease_for(each) for each in orders))
    assert all(isinstance(outcome, Issued) for outcome in outcomes)
    assert world.log.count(operation="GetAuthorizationToken") == 30
    named = [thread for thread in threading.enumerate() if thread.name.startswith("aws-exchange")]
    assert named
