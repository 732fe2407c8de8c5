"""The proxy as a process: settings, workers, the bus coming and going, and raw HTTP."""

import asyncio
import os
import signal
import ssl
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import trustme

from tests.proxy.proxy_process import Keys, environment, is_alive, proxy_process
from tests.proxy.proxy_world import ACCESS_ID, basic
from tests.proxy.test_pulls import BLOB, BY_TAG, LAYER, MANIFEST, holding
from tests.support.fake_registry import basic as upstream_basic
from tests.support.fake_server import serving
from tests.support.nats_server import UserNkey, running_nats_server
from tests.support.registry_world import AUTHORITY, CA_PEM
from tests.support.wait import eventually
from vreg_shared.bus import Bus, BusError
from vreg_shared.key_files import Service
from vreg_shared.lease import Generation, Lease, RegistryCredential
from vreg_shared.messages import lease as lease_message
from vreg_shared.messages.access import AccessRecord, hash_token, new_token
from vreg_shared.messages.cache import LIST_SUBJECT, CacheListReply, CacheListRequest
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.messages.refresh import SUBJECT, RefreshReply
from vreg_shared.messages.registry import BUCKET, MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.private_ca import fingerprints
from vreg_shared.provider import Presentation
from vreg_shared.secret import Secret

RECORD = RegistryRecord | UpstreamRecord | AccessRecord
TOKEN = new_token(ACCESS_ID)
HEADERS = {"authorization": basic("any", TOKEN)}


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.make(tmp_path / "keys", {service: UserNkey.generate().seed for service in Service})


async def publish(bus: Bus, keys: Keys, noun: str, record: RECORD, version: int = 1) -> None:
    """Put a record on the bus as the api does."""
    signed = SignedRecord(f"{noun}.{record.id}", version, deleted=False, body=record.model_dump_json())
    await bus.put(BUCKET, signed.key, encode(signed, keys.signing[Service.API], BUCKET))


async def publish_lease(bus: Bus, keys: Keys, lease: Lease, version: int) -> None:
    """Put a lease on the bus as the broker does."""
    sealed = lease_message.seal_lease(lease, keys.sealing[Service.PROXY].public)
    key = lease_message.key_of(lease.scope)
    signed = SignedRecord(key, version, deleted=False, body=sealed.model_dump_json())
    raw = encode(signed, keys.signing[Service.TOKEN_BROKER], lease_message.BUCKET)
    await bus.put(lease_message.BUCKET, key, raw)


def records(host: str, identity_id: str | None = None) -> list[tuple[str, RECORD]]:
    return [
        (
            "upstream",
            UpstreamRecord(
                id="a", name="a", kind="oci", host=host, private_ca=CA_PEM, identity_id=identity_id
            ),
        ),
        ("registry", RegistryRecord(id="r", slug="main", memberships=(MembershipRecord(upstream_id="a"),))),
        ("access", AccessRecord(id=ACCESS_ID, name="t", secret_sha256=hash_token(TOKEN), role="puller")),
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"VREG_KEYS": None}, "VREG_KEYS"),
        ({"VREG_KEYS": "/nonexistent"}, "VREG_KEYS"),
        ({"VREG_PROXY_STATE": None}, "VREG_PROXY_STATE"),
        ({"VREG_PROXY_STATE": "/proc/none"}, "VREG_PROXY_STATE"),
        ({"VREG_PROXY_LISTEN": "nonsense"}, "VREG_PROXY_LISTEN"),
        ({"VREG_PROXY_LISTEN": "203.0.113.1:1"}, "VREG_PROXY_LISTEN"),
        ({"VREG_PROXY_LISTEN": "0.0.0.0:0"}, "VREG_PROXY_EXTERNAL_URL"),
        ({"VREG_PROXY_METRICS_LISTEN": "127.0.0.1:0"}, "VREG_PROXY_METRICS_LISTEN"),
        ({"VREG_PROXY_METRICS_LISTEN": "203.0.113.1:1"}, "VREG_PROXY_METRICS_LISTEN"),
        ({"VREG_PROXY_DRAIN_GRACE": "soon"}, "VREG_PROXY_DRAIN_GRACE"),
        ({"VREG_PROXY_CLIENT_REQUESTS": "0"}, "VREG_PROXY_CLIENT_REQUESTS"),
        ({"VREG_PROXY_UPSTREAM_FILLS": "97"}, "VREG_PROXY_UPSTREAM_FILLS"),
        ({"VREG_PROXY_EXTERNAL_URL": "https://user@host/path"}, "VREG_PROXY_EXTERNAL_URL"),
        ({"VREG_PROXY_WORKERS": "0"}, "VREG_PROXY_WORKERS"),
        ({"VREG_PROXY_CACHE_SIZE": "a lot"}, "VREG_PROXY_CACHE_SIZE"),
        ({"VREG_PROXY_CACHE_SIZE": "0"}, "VREG_PROXY_CACHE_SIZE"),
        ({"VREG_PROXY_CACHE_KEEP_FREE": "-1"}, "VREG_PROXY_CACHE_KEEP_FREE"),
        ({"VREG_PROXY_CACHE_MAX_IDLE": "0"}, "VREG_PROXY_CACHE_MAX_IDLE"),
        ({"VREG_PROXY_CACHE_MAX_IDLE": "P3D"}, "VREG_PROXY_CACHE_MAX_IDLE"),
        ({"VREG_PROXY_TLS_KEY": "/dev/null"}, "VREG_PROXY_TLS"),
        ({"VREG_PROXY_TLS_CERTIFICATE": "/etc/hosts", "VREG_PROXY_TLS_KEY": "/etc/hosts"}, "VREG_PROXY_TLS"),
        ({"HTTPS_PROXY": "socks5://x"}, "HTTPS_PROXY"),
    ],
)
async def test_a_bad_setting_is_one_clear_line_before_anything_starts(
    tmp_path: Path, keys: Keys, change: dict[str, str | None], named: str
) -> None:
    settings = environment(tmp_path, keys, "nats://127.0.0.1:9", 0) | change
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vreg_proxy",
        env={name: value for name, value in settings.items() if value is not None},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert err.decode().count("\n") == 1
    assert named in err.decode()


async def test_a_taken_port_is_one_clear_line(tmp_path: Path, keys: Keys) -> None:
    async with proxy_process(tmp_path, keys) as proxy:
        settings = environment(tmp_path / "second", keys, "nats://127.0.0.1:9", proxy.port)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "vreg_proxy", env=settings, stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert process.returncode == 2
        assert b"VREG_PROXY_LISTEN" in err


async def test_two_workers_of_one_cache_answer_the_api_as_one(tmp_path: Path) -> None:
    async with running_nats_server(tmp_path / "nats") as nats:
        keys = Keys.make(tmp_path / "keys", nats.seeds)
        more = {"VREG_PROXY_WORKERS": "2", "VREG_PROXY_CACHE_SIZE": "1GiB", "VREG_PROXY_CACHE_MAX_IDLE": "30"}
        async with nats.bus(Service.API) as bus, proxy_process(tmp_path, keys, nats.url, **more):

            async def folders() -> list[str]:
                with suppress(BusError):
                    request = CacheListRequest().model_dump_json().encode()
                    answers = await bus.gather(LIST_SUBJECT, request, deadline=2, quiet=0.5)
                    return [CacheListReply.model_validate_json(answer).folder for answer in answers]
                return []

            await eventually(folders, deadline=30)
            assert await folders() == [(tmp_path / "cache" / "folder-id").read_text()]


async def test_configuration_comes_over_the_bus_and_outlives_it(tmp_path: Path) -> None:
    async with (
        running_nats_server(tmp_path / "nats") as nats,
        serving(holding(), AUTHORITY) as upstream,
        httpx.AsyncClient(headers=HEADERS) as client,
    ):
        keys = Keys.make(tmp_path / "keys", nats.seeds)
        async with nats.bus(Service.API) as bus, proxy_process(tmp_path, keys, nats.url) as proxy:
            assert (await client.get(f"{proxy.url}/v2/")).status_code == 401
            for noun, record in records(upstream.authority):
                await publish(bus, keys, noun, record)

            async def is_served() -> bool:
                return (await client.get(f"{proxy.url}{BY_TAG}")).content == MANIFEST

            await eventually(is_served)
            assert (await client.get(f"{proxy.url}{BLOB}")).content == LAYER
            assert (await client.get(f"{proxy.url}/readyz")).json()["bus"] == "up"
            await nats.kill()
            await proxy.end()
            await proxy.start()
            assert (await client.get(f"{proxy.url}{BY_TAG}")).content == MANIFEST
            assert (await client.get(f"{proxy.url}{BLOB}")).content == LAYER
            assert (await client.get(f"{proxy.url}/readyz")).json()["bus"] == "down"
            assert len(upstream.seen) == 2
            await nats.start()
            await publish(bus, keys, "registry", RegistryRecord(id="r", slug="renamed"), version=2)

            async def is_gone() -> bool:
                return (await client.get(f"{proxy.url}{BY_TAG}")).status_code == 404

            await eventually(is_gone)


async def test_a_lease_is_asked_of_the_broker_and_outlives_it(tmp_path: Path) -> None:
    registry = holding()
    registry.auth, registry.credential = "basic", upstream_basic("vreg", "hunter2")
    async with (
        running_nats_server(tmp_path / "nats") as nats,
        serving(registry, AUTHORITY) as upstream,
        httpx.AsyncClient(headers=HEADERS) as client,
    ):
        keys = Keys.make(tmp_path / "keys", nats.seeds)
        now = datetime.now(UTC)
        first = Lease(
            private_ca_sha256=tuple(fingerprints(CA_PEM)),
            scope=f"identity/{upstream.authority}",
            identity_id="identity",
            hosts=(upstream.authority,),
            generation=Generation(1, 1, "b"),
            issued_at=now,
            refresh_at=None,
            not_after=None,
            credential=RegistryCredential("vreg", Secret("first"), Presentation.BASIC),
        )
        second = replace(
            first,
            generation=Generation(1, 2, "b"),
            credential=RegistryCredential("vreg", Secret("hunter2"), Presentation.BASIC),
        )
        asked: list[bytes] = []
        async with (
            nats.bus(Service.API) as api,
            nats.bus(Service.TOKEN_BROKER) as broker,
            proxy_process(tmp_path, keys, nats.url) as proxy,
        ):

            async def refresh(raw: bytes) -> bytes:
                asked.append(raw)
                await publish_lease(broker, keys, second, 2)
                return RefreshReply(outcome="issued").model_dump_json().encode()

            async with asyncio.TaskGroup() as group:
                answering = group.create_task(broker.respond(SUBJECT, refresh, "brokers"))
                await publish_lease(broker, keys, first, 1)
                for noun, record in records(upstream.authority, "identity"):
                    await publish(api, keys, noun, record)

                async def is_served() -> bool:
                    return (await client.get(f"{proxy.url}{BY_TAG}")).content == MANIFEST

                await eventually(is_served)
                answering.cancel()
            assert len(asked) == 1
            await nats.kill()
            await proxy.end()
            await proxy.start()
            assert (await client.get(f"{proxy.url}{BLOB}")).content == LAYER
            text = b"".join(path.read_bytes() for path in (tmp_path / "records").rglob("*.json"))
            assert b"hunter2" not in text
            assert "hunter2" not in proxy.log.read_text()


async def test_dead_workers_are_replaced_and_all_end_in_good_order(tmp_path: Path, keys: Keys) -> None:
    async with proxy_process(tmp_path, keys, VREG_PROXY_WORKERS="2") as proxy:
        await eventually(lambda: len(proxy.workers()) == 2, deadline=30)
        first, second = proxy.workers()
        os.kill(first, signal.SIGKILL)
        await eventually(lambda: len({*proxy.workers()} - {first, second}) == 1, deadline=30)
        workers = proxy.workers()
        assert second in workers
        assert await proxy.end() == 0
        assert not [pid for pid in workers if is_alive(pid)]


async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, keys: Keys) -> None:
    async with proxy_process(tmp_path, keys, VREG_PROXY_WORKERS="2") as proxy:
        await eventually(lambda: len(proxy.workers()) == 2, deadline=30)
        workers = proxy.workers()
        await proxy.end(signal.SIGKILL)
        await eventually(lambda: not [pid for pid in workers if is_alive(pid)], deadline=30)


async def test_a_body_under_way_is_finished_before_the_process_ends(tmp_path: Path) -> None:
    body = b"x" * 30_000_000
    registry = holding()
    digest = registry.add_blob("team/app", body)
    async with (
        running_nats_server(tmp_path / "nats") as nats,
        serving(registry, AUTHORITY) as upstream,
        httpx.AsyncClient(headers=HEADERS) as client,
    ):
        keys = Keys.make(tmp_path / "keys", nats.seeds)
        async with nats.bus(Service.API) as bus, proxy_process(tmp_path, keys, nats.url) as proxy:
            for noun, record in records(upstream.authority):
                await publish(bus, keys, noun, record)

            async def is_known() -> bool:
                return (await client.get(f"{proxy.url}{BY_TAG}")).status_code == 200

            await eventually(is_known)
            path = f"{proxy.url}/v2/main/team/app/blobs/{digest}"
            async with client.stream("GET", path) as answer:
                chunks = answer.aiter_bytes()
                received = len(await anext(chunks))
                ending = asyncio.create_task(proxy.end())
                async for chunk in chunks:
                    received += len(chunk)
            assert received == len(body)
            assert await ending == 0


async def test_the_listener_speaks_tls_with_a_certificate(tmp_path: Path, keys: Keys) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    async with (
        proxy_process(
            tmp_path, keys, VREG_PROXY_TLS_CERTIFICATE=str(certificate), VREG_PROXY_TLS_KEY=str(key)
        ) as proxy,
        httpx.AsyncClient(verify=context) as client,
    ):
        answer = await client.get(f"{proxy.url}/v2/")
        assert answer.status_code == 401
        assert f'realm="{proxy.url}/v2/token"' in answer.headers["www-authenticate"]
