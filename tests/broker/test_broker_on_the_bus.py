"""The whole broker against a real bus and emulated AWS: configuration in, leases out."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.broker.bus_world import BusWorld, bus_world
from tests.broker.test_aws_exchange import by_role
from tests.broker.world import PASSWORD, identity, upstream
from tests.clouds.clouds import Clouds, clouds
from tests.clouds.scene import ACCOUNT, REGION, Scene, set_scene
from tests.support.nats_server import running_nats_server
from tests.support.wait import eventually
from vreg_shared.messages import lease as leases
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.provider import Presentation
from vreg_token_broker.ledger import problems

USABLE_FOR = {"partition": "aws", "accounts": [ACCOUNT]}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[BusWorld]:
    async with running_nats_server(tmp_path / "nats") as server, bus_world(server, tmp_path) as connected:
        yield connected


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path / "clouds") as running:
        yield running


@pytest.fixture
def scene(aws: Clouds) -> Scene:
    return set_scene(aws, external_id="vreg-external-idn1")


def aws_identity(world: BusWorld, scene: Scene, version: int = 1) -> IdentityRecord:
    return identity(world.keys.broker_sealing, by_role(scene), usable_for=USABLE_FOR, version=version)


def exchanges(aws: Clouds) -> int:
    return aws.log.count(operation="GetAuthorizationToken", status="200")


async def test_configuration_becomes_a_lease_that_a_proxy_can_open_and_use(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.put_upstream(upstream(host=scene.host))
        await world.put_identity(aws_identity(world, scene))
        await eventually(lambda: world.seen)
        lease = world.seen[0]
        assert lease.covers(scene.host)
        async with aws.http_client() as client:
            login = (lease.credential.username, lease.credential.secret.reveal())
            assert (await client.get(f"https://{scene.host}/v2/", auth=login)).status_code == 200
        assert aws.log.count(operation="AssumeRole") == exchanges(aws) == 1
        reply = await world.ask("ups1")
        assert (reply.outcome, reply.generation) == ("issued", str(lease.generation))


async def test_a_password_needs_no_network(world: BusWorld) -> None:
    host = "harbor.example.com"
    record = identity(world.keys.broker_sealing, PASSWORD, usable_for={"hosts": [host]})
    async with world.broker():
        await world.put_identity(record)
        await world.put_upstream(upstream(host=host, kind="oci"))
        await eventually(lambda: world.seen)
    assert world.seen[0].credential.presentation is Presentation.REALM
    assert world.seen[0].credential.secret == PASSWORD.password
    assert world.seen[0].not_after is None


async def test_ten_generations_of_three_seconds_are_ten_exchanges_and_never_a_gap(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.aws.set_token_life(3.0)
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: len(world.seen) >= 10, deadline=40)
        seen, made = len(world.seen), exchanges(aws)
        assert made - seen in {0, 1}
        for before, after in zip(world.seen, world.seen[1:], strict=False):
            assert before.not_after is not None
            assert after.issued_at < before.not_after
            assert after.generation > before.generation
    outcomes = [event for event in world.journal() if event.type == "vreg.exchange.outcome"]
    assert len(outcomes) == exchanges(aws)
    assert sorted(world.versions) == world.versions


async def test_fifty_proxies_that_were_refused_cost_one_exchange(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen)
        refused = str(world.seen[0].generation)
        replies = await asyncio.gather(*(world.ask("ups1", refused) for _ in range(50)))
        assert {reply.outcome for reply in replies} == {"issued"}
        assert len({reply.generation for reply in replies}) == 1
        assert replies[0].generation != refused
        assert exchanges(aws) == 2
        await eventually(lambda: len(world.seen) == 2)


async def test_a_proxy_that_is_ahead_of_the_broker_gets_its_first_lease(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.wait_answering()
        asking = asyncio.create_task(world.ask("ups1"))
        await world.put_upstream(upstream(host=scene.host))
        await world.put_identity(aws_identity(world, scene))
        assert (await asking).outcome == "issued"


async def test_a_deleted_identity_takes_its_leases_with_it(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen)
        await world.drop_identity("idn1")
        await eventually(lambda: world.withdrawn)
        assert (await world.ask("ups1")).outcome == "unavailable"


async def test_an_identity_deleted_while_no_broker_ran_takes_its_leases_with_it(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen)
    await world.drop_identity("idn1")
    async with world.broker(dict(aws.environment)):
        await eventually(lambda: world.withdrawn)
    assert exchanges(aws) == 1


async def test_a_restarted_broker_starts_above_what_it_handed_out(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    for count in (1, 2, 3):
        async with world.broker(dict(aws.environment)):
            await world.put_identity(aws_identity(world, scene))
            await world.put_upstream(upstream(host=scene.host))
            await eventually(lambda count=count: len(world.seen) >= count)
    generations = [lease.generation for lease in world.seen]
    assert generations == sorted(set(generations))
    assert exchanges(aws) == len(generations)


async def test_leases_and_audit_survive_the_loss_of_the_bus_and_its_store(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen)
        first = str(world.seen[0].generation)
        await world.server.kill()
        world.server.wipe()
        await world.server.start()
        key = leases.key_of(world.seen[0].scope)
        await eventually(partial(world.server.value, leases.BUCKET, key), deadline=30)
        reply = await world.ask("ups1")
        assert (reply.outcome, reply.generation) == ("issued", first)
        assert exchanges(aws) == 1


async def test_exchanges_go_on_while_the_bus_is_away_and_are_told_afterwards(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    aws.aws.set_token_life(3.0)
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen)
        await world.server.kill()
        before = exchanges(aws)
        await eventually(lambda: exchanges(aws) >= before + 2, deadline=20)
        await world.server.start()
        last = len(world.seen)
        await eventually(lambda: len(world.seen) > last, deadline=20)


async def test_every_event_reaches_the_stream_signed_and_chained(
    world: BusWorld, aws: Clouds, scene: Scene
) -> None:
    async with world.broker(dict(aws.environment)):
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        await eventually(lambda: world.seen)
        await eventually(world.everything_is_published)
    lines = [event.model_dump_json().encode() for event in world.journal()]
    assert problems(lines, world.keys.broker.verifying) == []
    assert [event.type for event in world.journal()] == ["vreg.exchange.intent", "vreg.exchange.outcome"]
    text = b"".join(lines).decode()
    assert scene.key.secret_access_key not in text
    assert world.seen[0].credential.secret.reveal() not in text
    assert f"arn:aws:sts::{ACCOUNT}:assumed-role/vreg-pull/vreg-idn1" in text
    assert REGION in text


async def test_a_record_nobody_signed_moves_nothing(world: BusWorld, aws: Clouds, scene: Scene) -> None:
    async with world.broker(dict(aws.environment)):
        forged = world.keys.api
        world.keys.api = world.keys.broker
        await world.put_identity(aws_identity(world, scene))
        await world.put_upstream(upstream(host=scene.host))
        world.keys.api = forged
        await world.wait_answering()
        reply = await world.ask("ups1")
        assert (reply.outcome, reply.reason) == ("unavailable", "upstream_unknown")
        assert exchanges(aws) == 0


async def test_a_broker_stops_at_once_when_told_to_without_a_bus(world: BusWorld) -> None:
    await world.server.kill()
    async with world.broker():
        await asyncio.sleep(0)
