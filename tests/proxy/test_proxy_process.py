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


GET = b"GET /v2/ HTTP/1.1\r\n"
HOST = b"Host: x\r\n"
SMUGGLED = b"GET /v2/_catalog HTTP/1.1\r\nHost: smuggled\r\n\r\n"
RAW: dict[str, tuple[bytes, bytes]] = {
    "plain": (GET + HOST + b"\r\n", b"401"),
    "length and chunked": (
        b"POST /v2/ HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + SMUGGLED,
        b"400",
    ),
    "two lengths": (
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
        b"400",
    ),
    "odd encoding": (
        b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED,
        b"400",
    ),
    "negative length": (b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", b"400"),
    "signed length": (b"POST /v2/ HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx", b"400"),
    "bare line feeds": (b"GET /v2/ HTTP/1.1\nHost: x\n\n", b"400"),
    "space before colon": (GET + b"Host : x\r\n\r\n", b"400"),
    "folded header": (GET + HOST + b"A: b\r\n c\r\n\r\n", b"400"),
    "no host": (GET + b"\r\n", b"400"),
    "two hosts": (GET + HOST + b"Host: y\r\n\r\n", b"400"),
    "absolute form": (b"GET http://evil.example/v2/ HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "authority form": (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "no path": (b"GET v2/ HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "large header": (GET + HOST + b"A: " + b"x" * 100_000 + b"\r\n\r\n", b"400"),
    "many headers": (GET + HOST + b"".join(b"A%d: x\r\n" % n for n in range(200)) + b"\r\n", b"400"),
    "long target": (b"GET /v2/" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "http 0.9": (b"GET /v2/\r\n\r\n", b"400"),
    "http 2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
    "unknown method": (b"BREW /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "control in header": (GET + HOST + b"A: \x01\r\n\r\n", b"400"),
    "null in path": (b"GET /v2/\0 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "high byte in path": (b"GET /v2/\xff/manifests/1 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "encoded traversal": (b"GET /v2/a%2f..%2fb/manifests/1 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "dots": (b"GET /v2/../../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "two credentials": (GET + HOST + b"Authorization: Basic a\r\nAuthorization: Basic b\r\n\r\n", b"400"),
    "large range": (GET + HOST + b"Range: bytes=" + b"0-1," * 6000 + b"\r\n\r\n", b"401"),
    "pushing": (b"PUT /v2/a/b/manifests/1 HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nabcde", b"401"),
    "tls": (bytes.fromhex("16030100c8010000c40303") + b"\0" * 50, b"400"),
}


async def test_raw_requests_get_one_answer_or_a_refusal(tmp_path: Path, keys: Keys) -> None:
    wrong: dict[str, bytes] = {}
    async with proxy_process(tmp_path, keys) as proxy:
        for name, (request, status) in RAW.items():
            answer = await raw(proxy.port, request)
            if answer.count(b"HTTP/1.1 ") != 1 or answer[9:12] != status or b"smuggled" in answer:
                wrong[name] = answer[:200]
    assert not wrong


async def raw(port: int, request: bytes) -> bytes:
    """Send bytes and return all that comes back until the other side closes or stays silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        writer.write(request)
        async with asyncio.timeout(1):
            while piece := await reader.read(65536):
                answer += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return answer
