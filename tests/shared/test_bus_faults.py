"""The bus while its server is killed, frozen, wiped or not there yet."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.following import Reader, in_background
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import Bus, BusHinderedError, BusUnavailableError
from vreg_shared.key_files import Service
from vreg_shared.topology import stored

API, BROKER, PROXY = Service.API, Service.TOKEN_BROKER, Service.PROXY


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with running_nats_server(tmp_path) as running:
        yield running


async def test_starting_without_a_server_waits_for_nothing_and_connects_once_there_is_one(
    tmp_path: Path,
) -> None:
    server, reader = NatsServer(tmp_path), Reader()
    try:
        async with server.bus(BROKER) as broker, server.bus(PROXY) as proxy:
            await broker.ensure_bucket("vreg_leases")
            assert not broker.connected
            with pytest.raises(BusUnavailableError, match="no connection to the bus"):
                await broker.put("vreg_leases", "lease.1", b"early", deadline=0.3)
            follow = proxy.follow("vreg_leases", "lease.*", reader.on_entry, reader.on_synced)
            async with in_background(follow):
                await server.start()
                await eventually(lambda: broker.connected)
                await broker.put("vreg_leases", "lease.1", b"token")
                await eventually(lambda: reader.values == {"lease.1": b"token"})
    finally:
        await server.kill()


async def test_a_follower_waits_for_a_bucket_that_is_made_later(tmp_path: Path) -> None:
    server, reader = NatsServer(tmp_path), Reader()
    try:
        await server.start()
        async with server.bus(PROXY) as proxy:
            follow = proxy.follow("vreg_leases", "lease.*", reader.on_entry, reader.on_synced)
            async with in_background(follow):
                await proxy.wait_connected()
                await server.create_streams()
                await eventually(lambda: reader.snapshots == 1)
    finally:
        await server.kill()


async def test_after_kill_and_restart_followers_and_writers_go_on(server: NatsServer) -> None:
    reader = Reader()
    async with server.bus(API) as api, server.bus(PROXY) as proxy:
        follow = proxy.follow("vreg_config", "upstream.*", reader.on_entry, reader.on_synced)
        async with in_background(follow):
            for turn in range(3):
                await api.put("vreg_config", f"upstream.{turn}", b"before")
                await eventually(lambda wanted=turn + 1: len(reader.values) == wanted)
                await server.restart()
                await eventually(lambda wanted=turn + 2: reader.snapshots >= wanted)
    assert set(reader.values) == {"upstream.0", "upstream.1", "upstream.2"}


async def test_a_put_begun_while_the_server_is_away_is_stored_when_it_is_back(server: NatsServer) -> None:
    async with server.bus(API) as api, server.bus(BROKER):
        await api.wait_connected()
        await server.kill()
        put = asyncio.create_task(api.put("vreg_config", "upstream.1", b"patient", deadline=20))
        await eventually(lambda: not api.connected)
        await server.start()
        await put
        assert await server.value("vreg_config", "upstream.1") == b"patient"


async def test_everything_published_across_a_crash_is_stored_exactly_once(server: NatsServer) -> None:
    sent = 200

    async def publish_all(api: Bus) -> None:
        for number in range(sent):
            await api.publish("vreg.audit.api.x", b"fact", message_id=f"event-{number}", deadline=30)

    async with server.bus(API) as api:
        publishing = asyncio.create_task(publish_all(api))

        async def halfway() -> bool:
            return await server.stream_state("VREG_AUDIT", "messages") >= sent // 4

        await eventually(halfway)
        await server.restart()
        await publishing
        assert await server.stream_state("VREG_AUDIT", "messages") == sent


async def test_a_frozen_server_is_noticed_and_left_until_it_answers_again(server: NatsServer) -> None:
    reader = Reader()
    async with server.bus(API) as api, server.bus(PROXY) as proxy:
        follow = proxy.follow("vreg_config", "upstream.*", reader.on_entry, reader.on_synced)
        async with in_background(follow):
            await api.put("vreg_config", "upstream.1", b"one")
            await eventually(lambda: reader.values)
            server.pause()

            async def is_silent() -> bool:
                try:
                    await api.put("vreg_config", "upstream.2", b"", deadline=0.2)
                except BusUnavailableError as error:
                    return "no answer" in str(error)
                return False  # it has not stopped yet

            await eventually(is_silent)
            await eventually(lambda: not proxy.connected and not api.connected)
            with pytest.raises(BusUnavailableError):
                await api.put("vreg_config", "upstream.2", b"", deadline=0.2)
            server.resume()
            await eventually(lambda: proxy.connected and api.connected)
            await api.put("vreg_config", "upstream.2", b"two")
            await eventually(lambda: reader.values.get("upstream.2") == b"two")


async def test_a_frozen_server_with_a_full_socket_is_left_too(server: NatsServer) -> None:
    async with server.bus(API) as api:
        await api.wait_connected()
        server.pause()
        puts = [api.put("vreg_config", f"upstream.{n}", b"x" * 900_000, deadline=1) for n in range(20)]
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
        assert all(isinstance(outcome, BusUnavailableError) for outcome in outcomes)
        await eventually(lambda: not api.connected)
        server.resume()
        await eventually(lambda: api.connected)


async def test_a_wiped_store_is_made_and_filled_again_and_readers_keep_what_they_had(
    server: NatsServer,
) -> None:
    reader, config = Reader(), Reader()
    async with server.bus(BROKER) as broker, server.bus(PROXY) as proxy, server.bus(API) as api:
        await broker.ensure_bucket("vreg_leases")

        async def republish() -> None:
            await broker.put("vreg_leases", "lease.1", b"token")

        broker.on_connected(republish)
        await api.put("vreg_config", "upstream.1", b"one")
        leases = proxy.follow("vreg_leases", "lease.*", reader.on_entry, reader.on_synced)
        upstreams = proxy.follow("vreg_config", "upstream.*", config.on_entry, config.on_synced)
        async with in_background(leases, upstreams):
            await broker.put("vreg_leases", "lease.1", b"token")
            await eventually(lambda: reader.values and config.values)
            await server.kill()
            server.wipe()
            reader.values.clear()
            await server.start()
            await eventually(lambda: reader.values == {"lease.1": b"token"})
        assert config.values == {"upstream.1": b"one"}


async def test_a_stream_lost_under_a_living_connection_is_made_again_by_the_next_put(
    server: NatsServer,
) -> None:
    async with server.bus(BROKER) as broker:
        republished = 0

        async def republish() -> None:
            nonlocal republished
            republished += 1

        await broker.wait_connected()
        await broker.ensure_bucket("vreg_leases")
        broker.on_connected(republish)
        await server.delete_stream("KV_vreg_leases")
        await broker.put("vreg_leases", "lease.1", b"token", deadline=10)
        await eventually(lambda: republished)
        assert await server.value("vreg_leases", "lease.1") == b"token"


async def test_a_stream_that_has_old_limits_is_given_todays(server: NatsServer) -> None:
    wanted = stored("vreg_leases").configuration()
    await server.delete_stream("KV_vreg_leases")
    async with server.as_operator() as operator:
        old = json.dumps(wanted | {"max_bytes": 1024, "deny_purge": False}).encode()
        await operator.request("$JS.API.STREAM.CREATE.KV_vreg_leases", old, timeout=5)
        await server.create_streams()
        answer = await operator.request("$JS.API.STREAM.INFO.KV_vreg_leases", timeout=5)
    present = json.loads(answer.data)["config"]
    assert present["max_bytes"] == wanted["max_bytes"]
    assert present["deny_purge"]


async def test_a_stream_that_cannot_be_changed_does_not_end_the_bus(server: NatsServer) -> None:
    wanted = stored("vreg_leases").configuration()
    await server.delete_stream("KV_vreg_leases")
    async with server.as_operator() as operator:
        in_memory = json.dumps(wanted | {"storage": "memory", "max_bytes": 1024 * 1024}).encode()
        await operator.request("$JS.API.STREAM.CREATE.KV_vreg_leases", in_memory, timeout=5)
    bus = server.bus(BROKER)
    await bus.ensure_bucket("vreg_leases")
    async with bus:
        await bus.wait_connected()
        await bus.put("vreg_leases", "lease.1", b"token")


async def test_a_full_bucket_refuses_and_keeps_what_it_has(server: NatsServer) -> None:
    async with server.bus(BROKER) as broker:
        await broker.put("vreg_leader", "broker", b"x" * 600_000)
        with pytest.raises(BusHinderedError, match="maximum bytes exceeded"):
            await broker.put("vreg_leader", "broker", b"x" * 700_000, deadline=0.3)
        assert await server.value("vreg_leader", "broker") == b"x" * 600_000


async def test_a_callback_that_could_not_reach_the_bus_is_called_again(server: NatsServer) -> None:
    calls = 0

    async def fails_once() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise BusUnavailableError("not now")

    bus = server.bus(BROKER)
    bus.on_connected(fails_once)
    async with bus:
        await eventually(lambda: calls == 2)


async def test_responders_are_back_after_a_restart(server: NatsServer) -> None:
    async def answer(_: bytes) -> bytes:
        return b"here"

    async with server.bus(BROKER) as broker, server.bus(PROXY) as proxy:

        async def answered() -> bool:
            try:
                return await proxy.request("vreg.broker.refresh", b"", deadline=1) == b"here"
            except BusUnavailableError:
                return False

        async with in_background(broker.respond("vreg.broker.refresh", answer, "broker")):
            await eventually(answered)
            await server.restart()
            await eventually(answered)


async def test_followers_through_crashes_leave_no_consumers_and_no_tasks_behind(server: NatsServer) -> None:
    readers = [Reader() for _ in range(10)]
    async with server.bus(PROXY) as proxy:
        follows = [
            proxy.follow("vreg_config", "upstream.*", reader.on_entry, reader.on_synced) for reader in readers
        ]

        async with in_background(*follows):
            await eventually(lambda: all(reader.snapshots == 1 for reader in readers))
            tasks = len(asyncio.all_tasks())
            for turn in range(3):
                await server.restart()
                await eventually(lambda wanted=turn + 2: all(r.snapshots >= wanted for r in readers))

            async def settled() -> bool:
                return await server.stream_state("KV_vreg_config", "consumer_count") == len(readers)

            await eventually(settled, deadline=15)
            assert len(asyncio.all_tasks()) <= tasks + 2
    gc.collect()
    await eventually(lambda: len(asyncio.all_tasks()) == 1)
