"""The permissions as a live server applies them: this table is exact, everything beside it is refused."""

import json
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import nats.errors
import pytest
from nats.aio.client import Client

from tests.support.nats_server import NatsServer, UserNkey, running_nats_server
from tests.support.wait import eventually
from vreg_shared.bus import BusPermissionError
from vreg_shared.key_files import Service
from vreg_shared.topology import STREAMS, consumer_inbox_prefix, consumer_of, grants, inbox_prefix

API, BROKER, PROXY = Service.API, Service.TOKEN_BROKER, Service.PROXY

KEYS = {
    "vreg_config": ("registry.1", "upstream.1", "access.1", "other.1", "upstream.1.more"),
    "vreg_identities": ("identity.1", "other.1"),
    "vreg_leases": ("lease.1", "other.1"),
    "vreg_health": ("upstream.1", "other.1"),
    "vreg_leader": ("broker", "other"),
}
READERS = {
    "vreg_config": {BROKER, PROXY},
    "vreg_identities": {BROKER},
    "vreg_leases": {BROKER, PROXY},
    "vreg_health": {API, BROKER, PROXY},
    "vreg_leader": {BROKER},
}
WRITERS = {
    "$KV.vreg_config.registry.1": {API},
    "$KV.vreg_config.upstream.1": {API},
    "$KV.vreg_config.access.1": {API},
    "$KV.vreg_identities.identity.1": {API},
    "$KV.vreg_leases.lease.1": {BROKER},
    "$KV.vreg_health.upstream.1": {BROKER},
    "$KV.vreg_leader.broker": {BROKER},
    "vreg.audit.api.x": {API},
    "vreg.audit.token-broker.exchange.intent": {BROKER},
    "vreg.audit.proxy.x": {PROXY},
    "vreg.access.proxy.pulls": {PROXY},
    "vreg.access.api.x": set(),
    "vreg.broker.refresh": {PROXY},
    "vreg.broker.test": {API},
    "vreg.broker.observed": {PROXY},
    "vreg.proxy.p1.test": {API, BROKER},
    "vreg.inbox.api.x": {BROKER, PROXY},
    "vreg.inbox.proxy.x": {BROKER},
    "vreg.inbox.token-broker.x": {PROXY},
}
LISTENERS = {
    "vreg.inbox.api.x": {API},
    "vreg.inbox.token-broker.x": {BROKER},
    "vreg.inbox.proxy.x": {PROXY},
    "vreg.broker.refresh": {BROKER},
    "vreg.broker.test": {BROKER},
    "vreg.broker.observed": {BROKER},
    "vreg.proxy.p1.test": {PROXY},
}
FORBIDDEN_EVERYWHERE = (
    ">",
    "vreg.>",
    "vreg.other",
    "vreg.audit.x",
    "vreg.audit",
    "vreg.broker.other",
    "_INBOX.x.y",
    "vreg.inbox.x",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.OTHER",
    "$JS.API.STREAM.RESTORE.OTHER",
    "$JS.API.META.LEADER.STEPDOWN",
    "$JS.API.ACCOUNT.PURGE.x",
    "$JS.API.SERVER.REMOVE",
    "$JSC.R.x",
    "$JS.ACK.x.y",
)


def published() -> dict[str, set[Service]]:
    """Every subject worth trying, with who may publish to it."""
    table: dict[str, set[Service]] = {subject: set() for subject in FORBIDDEN_EVERYWHERE}
    for bucket, keys in KEYS.items():
        stream = f"KV_{bucket}"
        table |= {f"$KV.{bucket}.{key}": set() for key in keys}
        table |= {subject: {BROKER} for subject in stream_making(stream)}
        table |= {subject: set() for subject in stream_harming(stream)}
        for key in (">", *keys):
            value = f"$KV.{bucket}.{key}"
            table[f"$JS.API.CONSUMER.CREATE.{stream}.name.{value}"] = READERS[bucket]
            table[f"$JS.API.DIRECT.GET.{stream}.{value}"] = set()
        table[f"$JS.FC.{stream}.name.x"] = READERS[bucket]
    for stream in STREAMS:
        table |= {subject: {BROKER} for subject in stream_making(stream.name)}
        table |= {subject: set() for subject in stream_harming(stream.name)}
        table[f"$JS.API.DIRECT.GET.{stream.name}.{stream.root}.api.x"] = set()
        table[f"$JS.API.CONSUMER.CREATE.{stream.name}.name.{stream.subjects}"] = {API}
        table[f"$JS.FC.{stream.name}.name.x"] = {API}
    return table | WRITERS


def stream_making(stream: str) -> Iterable[str]:
    return (f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO"))


def stream_harming(stream: str) -> Iterable[str]:
    verbs = ("DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.GET", "MSG.DELETE", "LEADER.STEPDOWN")
    yield from (f"$JS.API.STREAM.{verb}.{stream}" for verb in verbs)
    yield from (f"$JS.API.CONSUMER.{verb}.{stream}" for verb in ("CREATE", "NAMES", "LIST"))
    verbs = ("CREATE", "DELETE", "INFO", "MSG.NEXT", "PAUSE", "RESET", "LEADER.STEPDOWN", "UNPIN")
    yield from (f"$JS.API.CONSUMER.{verb}.{stream}.name" for verb in verbs)
    yield f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.name"
    yield f"$JS.API.DIRECT.GET.{stream}"
    yield f"$JS.ACK.{stream}.name.1.1.1.1.1"


def listened() -> dict[str, set[Service]]:
    """Every subject worth trying, with who may subscribe to it."""
    closed = ("$KV.>", "$KV.*.>", "$JS.API.>", "$JS.>", "$JS.EVENT.>", "$SYS.>", "vreg.audit.>")
    table: dict[str, set[Service]] = {s: set() for s in (*FORBIDDEN_EVERYWHERE, *closed)}
    table |= {f"$KV.{bucket}.{key}": set() for bucket, keys in KEYS.items() for key in (">", *keys)}
    table |= {f"$JS.API.DIRECT.GET.KV_{bucket}.>": set() for bucket in KEYS}
    table |= {f"$JS.FC.KV_{bucket}.>": set() for bucket in KEYS}
    return table | {subject: set() for subject in WRITERS} | LISTENERS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with running_nats_server(tmp_path) as running:
        yield running


@asynccontextmanager
async def signed_in(server: NatsServer, service: Service | None) -> AsyncIterator[tuple[Client, set[str]]]:
    """Give a plain client of that service or of an outside consumer, and what was refused, in lower case."""
    refused: set[str] = set()

    async def on_error(error: Exception) -> None:
        refused.update(re.findall(r"permissions violation for \w+ to \"(.+?)\"", str(error).lower()))

    client = Client()
    await client.connect(
        server.url,
        error_cb=on_error,
        nkeys_seed_str=(server.nkeys[service] if service else server.consumer).seed.reveal(),
        inbox_prefix=inbox_prefix(service) if service else consumer_inbox_prefix("siem"),
    )
    try:
        yield client, refused
    finally:
        await client.close()


@pytest.mark.parametrize("service", Service)
async def test_a_service_publishes_to_its_own_subjects_and_is_refused_all_others(
    server: NatsServer, service: Service
) -> None:
    table = published()
    async with signed_in(server, service) as (client, refused):
        for subject in table:
            await client.publish(subject, b"{}")
        await client.flush()  # goes out ahead of what is buffered
        await client.flush()
        assert {s for s in table if s.lower() in refused} == {
            subject for subject, services in table.items() if service not in services
        }


@pytest.mark.parametrize("queue", ["", "group"])
@pytest.mark.parametrize("service", Service)
async def test_a_service_listens_to_its_own_subjects_and_is_refused_all_others(
    server: NatsServer, service: Service, queue: str
) -> None:
    table = listened()
    async with signed_in(server, service) as (client, refused):
        for subject in table:
            await client.subscribe(subject, queue)
        await client.flush()  # goes out ahead of what is buffered
        await client.flush()
        assert {s for s in table if s.lower() in refused} == {
            subject for subject, services in table.items() if service not in services
        }


async def test_a_consumer_cannot_ask_for_more_in_its_body_than_its_subject_says(server: NatsServer) -> None:
    async with signed_in(server, PROXY) as (client, _):
        subject = "$JS.API.CONSUMER.CREATE.KV_vreg_config.name.$KV.vreg_config.upstream.*"
        for filters in (
            b'"filter_subject": "$KV.vreg_config.>"',
            b'"filter_subjects": ["$KV.vreg_config.upstream.*", "$KV.vreg_config.>"]',
        ):
            body = b'{"stream_name": "KV_vreg_config", "config": {"name": "name", %s}}' % filters
            answer = await client.request(subject, body, timeout=2)
            assert b'"error"' in answer.data


@pytest.mark.parametrize("service", [API, PROXY])
async def test_nobody_has_a_stream_deleted_by_an_answer_to_his_question(
    server: NatsServer, service: Service
) -> None:
    async with signed_in(server, service) as (client, _):
        for allowed in (*grants(service).publish, "$JS.API.DIRECT.GET.KV_vreg_health.$KV.vreg_health.none"):
            subject = allowed.replace("*", "none").replace(">", "none")
            for stream in ("VREG_AUDIT", "KV_vreg_identities"):
                await client.publish(subject, b"", reply=f"$JS.API.STREAM.DELETE.{stream}")
        await client.flush()
    for stream in ("VREG_AUDIT", "KV_vreg_identities"):
        assert await server.stream_state(stream, "messages") >= 0


async def test_an_outside_consumer_reads_audit_events_by_its_own_name_and_can_do_nothing_else(
    server: NatsServer,
) -> None:
    feed = consumer_of("siem")
    allowed = {
        f"$JS.API.CONSUMER.CREATE.VREG_AUDIT.{feed}.vreg.audit.>",
        f"$JS.FC.VREG_AUDIT.{feed}.x",
    }
    table = set(published()) | allowed
    async with signed_in(server, None) as (client, refused):
        for subject in table:
            await client.publish(subject, b"{}")
        for subject in listened():
            await client.subscribe(subject)
        await client.flush()
        await client.flush()
        assert {s for s in table if s.lower() in refused} == table - allowed
        assert {s for s in listened() if s.lower() in refused} == set(listened())


async def test_an_outside_consumer_has_no_stream_deleted_by_an_answer_to_it(server: NatsServer) -> None:
    feed = consumer_of("siem")
    async with signed_in(server, None) as (client, _):
        for subject in (
            f"$JS.API.CONSUMER.CREATE.VREG_AUDIT.{feed}.vreg.audit.>",
            f"$JS.FC.VREG_AUDIT.{feed}.x",
        ):
            await client.publish(subject, b"", reply="$JS.API.STREAM.DELETE.VREG_AUDIT")
        body = {
            "stream_name": "VREG_AUDIT",
            "action": "create",
            "config": {
                "name": feed,
                "deliver_subject": "$JS.API.STREAM.DELETE.VREG_AUDIT",
                "filter_subject": "vreg.audit.>",
                "ack_policy": "none",
                "idle_heartbeat": 100_000_000,
                "flow_control": True,
            },
        }
        await client.request(
            f"$JS.API.CONSUMER.CREATE.VREG_AUDIT.{feed}.vreg.audit.>", json.dumps(body).encode(), timeout=2
        )
        async with server.bus(API) as api:  # some beats later
            for number in range(5):
                await api.publish("vreg.audit.api.x", b"{}", message_id=str(number))
    assert await server.stream_state("VREG_AUDIT", "messages") >= 5


async def test_nobody_signs_in_without_a_known_nkey(server: NatsServer) -> None:
    for seed in (None, UserNkey.generate().seed.reveal()):
        client = Client()
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization"):
            await client.connect(server.url, nkeys_seed_str=seed, allow_reconnect=False, error_cb=_silent)
        await client.close()


async def test_an_nkey_taken_out_of_the_configuration_ends_its_connection_only(server: NatsServer) -> None:
    async with server.bus(PROXY) as proxy, server.bus(API) as api:
        await proxy.wait_connected()
        await api.wait_connected()
        known = server.nkeys[PROXY]
        server.nkeys[PROXY] = UserNkey.generate()
        server.reload()
        await eventually(lambda: not proxy.connected)
        await api.put("vreg_config", "upstream.1", b"still here")
        server.nkeys[PROXY] = known
        server.reload()
        await eventually(lambda: proxy.connected)


async def test_what_is_refused_is_raised_at_once_by_the_bus(server: NatsServer) -> None:
    async def ignore(_: object) -> None: ...

    async def answer(payload: bytes) -> bytes:
        return payload

    async with server.bus(API) as api, server.bus(PROXY) as proxy:
        refused = (
            api.follow("vreg_identities", ">", ignore),
            api.ensure_bucket("vreg_config"),
            api.request("vreg.broker.refresh", b"", deadline=5),
            api.respond("vreg.broker.refresh", answer, "broker"),
            proxy.put("vreg_leases", "lease.1", b"forged"),
            proxy.publish("vreg.audit.api.x", b"", message_id="1"),
        )
        await api.wait_connected()
        for call in refused:
            with pytest.raises(BusPermissionError, match="may not"):
                await call


async def _silent(_: Exception) -> None: ...
