import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.api_world import ASSUME_ROLE, Api
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.wait import eventually
from vreg_api.wiring import running
from vreg_api.world import Means, make_world
from vreg_shared.catalogue import catalogue
from vreg_shared.key_files import Service
from vreg_shared.messages.record import SignedRecord
from vreg_shared.record_follower import RecordFollower, signed_by
from vreg_shared.signing import SigningKey


@asynccontextmanager
async def api_on(server: NatsServer, api: Api) -> AsyncIterator[None]:
    """Run the api's own bus and relay on a real server."""
    bus = server.bus(Service.API)
    world = make_world(
        Means(
            database=api.database,
            bus=bus,
            signing_key=api.signing_key,
            broker_key=api.broker_key.public,
            catalogue=catalogue(),
            clock=api.clock,
            instance="test",
        )
    )
    async with running(world, bus, SigningKey.generate().verifying):
        yield


@asynccontextmanager
async def reader(server: NatsServer, api: Api, bucket: str) -> AsyncIterator[dict[str, SignedRecord]]:
    """Follow a bucket as the broker does; yield what it believes."""
    believed: dict[str, SignedRecord] = {}

    async def believe(record: SignedRecord, _raw: bytes) -> None:
        believed[record.key] = record

    async with server.bus(Service.TOKEN_BROKER) as bus:
        for name in ("vreg_config", "vreg_identities"):
            await bus.ensure_bucket(name)
        await bus.ensure_stream("VREG_AUDIT")
        verify = signed_by(api.signing_key.verifying, bucket)
        follower = RecordFollower(bus, bucket, ">", verify=verify, on_record=believe)
        async with owned(follower):
            yield believed


@asynccontextmanager
async def owned(follower: RecordFollower) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(follower.run())
        yield
        task.cancel()


async def test_a_reader_believes_what_the_api_changed_through_loss_of_the_bus_and_its_store(
    tmp_path: Path, api: Api
) -> None:
    async with (
        running_nats_server(tmp_path / "nats") as server,
        reader(server, api, "vreg_config") as config,
        reader(server, api, "vreg_identities") as identities,
        api_on(server, api),
    ):
        identity = await api.create("identities", ASSUME_ROLE)
        registry = await api.create("virtual_registries", {"slug": "team"})
        gone = await api.create("virtual_registries", {"slug": "gone"})
        await eventually(lambda: f"registry.{gone['id']}" in config)
        await eventually(lambda: f"identity.{identity['id']}" in identities)

        await server.kill()
        changed = (
            await api.change("virtual_registries", registry, {"description": "while it was down"})
        ).json()
        await api.call("DELETE", f"/virtual_registries/{gone['id']}")
        server.wipe()
        await server.start()
        key = f"registry.{registry['id']}"
        await eventually(lambda: config[key].version == changed["version"], deadline=30)
        await eventually(lambda: config[f"registry.{gone['id']}"].deleted, deadline=30)

    async with (
        running_nats_server(tmp_path / "another") as server,
        api_on(server, api),
        reader(server, api, "vreg_identities") as identities,
    ):
        # What nobody changed is there too: whoever starts now finds all of it.
        await eventually(lambda: f"identity.{identity['id']}" in identities, deadline=30)
