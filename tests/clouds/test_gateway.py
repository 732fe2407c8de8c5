"""The gateway: which names exist, what goes wrong on command, and what is remembered."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
from yarl import URL

from tests.clouds.clouds import Clouds, clouds
from tests.clouds.docker_registry import DockerRegistry
from tests.clouds.faults import Fault, Harm
from tests.clouds.images import EcrRepository, make_image, make_index, push_to_registry
from tests.clouds.remote import ControlError
from tests.clouds.scene import ACCOUNT, REGION, Scene, set_scene
from tests.support.wait import eventually

NAME = "team/app"
LARGE = 600_000
IMAGE = make_image("large", LARGE)
LAYER = IMAGE.layers[0]
BLOB = IMAGE.blobs[LAYER]

needs_registry = pytest.mark.skipif(
    not DockerRegistry.is_installed(), reason="docker-registry is not installed"
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Clouds]:
    async with clouds(tmp_path) as running:
        yield running


@pytest.fixture
def scene(world: Clouds) -> Scene:
    return set_scene(world)


@pytest.fixture
def repository(world: Clouds) -> EcrRepository:
    repository = world.ecr(ACCOUNT, REGION, NAME)
    repository.push(IMAGE, "1")
    return repository


async def layer_url(world: Clouds, scene: Scene, client: httpx.AsyncClient) -> str:
    headers = {"Authorization": f"Basic {world.aws.issue_token(scene.role_arn, REGION)}"}
    answer = await client.get(f"https://{scene.host}/v2/{NAME}/blobs/{LAYER}", headers=headers)
    return answer.headers["location"]


async def read_into(got: bytearray, answer: httpx.Response) -> None:
    async for piece in answer.aiter_raw():
        got += piece


@pytest.mark.parametrize(
    "host",
    [
        "registry.docker.example",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
        "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
        "123456789012.dkr.ecr.xx-mars-1.amazonaws.com",
        "api.ecr.eu-west-1.amazonaws.com.cn",
        "ecr-fips.eu-west-1.amazonaws.com",
    ],
)
async def test_a_name_that_does_not_exist_is_a_bad_gateway(world: Clouds, host: str) -> None:
    async with world.http_client() as client:
        with pytest.raises(httpx.ProxyError, match="502"):
            await client.get(f"https://{host}/v2/")
    assert world.gateway.connects(host) == 1


@pytest.mark.parametrize("authority", ["127.0.0.1", "169.254.169.254", "[::1]", "sts.amazonaws.com:8443"])
async def test_addresses_and_other_ports_are_forbidden(world: Clouds, authority: str) -> None:
    async with world.http_client() as client:
        with pytest.raises(httpx.ProxyError, match="403"):
            await client.get(f"https://{authority}/")


async def test_the_gateway_may_want_a_login(world: Clouds, scene: Scene) -> None:
    world.gateway.require_login("egress", "open sesame")
    async with world.http_client() as client:
        with pytest.raises(httpx.ProxyError, match="407"):
            await client.get(f"https://{scene.host}/v2/")
    named = httpx.Proxy(world.gateway_url, auth=("egress", "open sesame"))
    context = ssl.create_default_context(cafile=str(world.ca_bundle))
    async with httpx.AsyncClient(proxy=named, verify=context, trust_env=False) as client:
        assert (await client.get(f"https://{scene.host}/v2/")).status_code == 401


async def test_every_answer_tells_the_clouds_time(world: Clouds, scene: Scene) -> None:
    world.aws.set_clock_offset(-3600)
    async with world.http_client() as client:
        answer = await client.get(f"https://{scene.host}/v2/")

    told = parsedate_to_datetime(answer.headers["date"])
    assert told.timestamp() == pytest.approx(world.log.entries()[0].at, abs=2)
    assert (datetime.now(UTC) - told).total_seconds() > 3000


async def test_anything_but_connect_is_a_bad_request(world: Clouds) -> None:
    parts = urlsplit(world.gateway_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET http://sts.amazonaws.com/ HTTP/1.1\r\nHost: sts.amazonaws.com\r\n\r\n")

    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()


async def test_a_connection_is_kept_and_counted(world: Clouds, scene: Scene) -> None:
    async with world.http_client() as client:
        for _ in range(5):
            await client.get(f"https://{scene.host}/v2/")
        assert world.gateway.connects(scene.host) == 1
        assert world.gateway.open_connections() == 1

        assert world.gateway.cut("*.dkr.ecr.*") == 1
        await eventually(lambda: world.gateway.open_connections() == 0)


async def test_a_request_for_another_host_is_misdirected(world: Clouds, scene: Scene) -> None:
    async with world.http_client() as client:
        answer = await client.get(f"https://{scene.host}/v2/", headers={"Host": "sts.amazonaws.com"})

    assert answer.status_code == 421


@pytest.mark.usefixtures("repository")
async def test_requests_are_remembered_without_their_secrets(world: Clouds, scene: Scene) -> None:
    async with world.http_client() as client:
        where = await layer_url(world, scene, client)
        await client.get(where, headers={"Range": "bytes=0-9"})

    asked, served = world.log.entries()
    assert (asked.service, asked.operation, asked.status) == ("ecr", "GetDownloadUrlForLayer", 307)
    assert asked.has_authorization
    assert asked.principal.endswith("assumed-role/vreg-pull/a-session")
    assert (served.service, served.subject, served.status) == ("s3", LAYER, 206)
    assert (served.range, served.sent_bytes, served.is_complete) == ("bytes=0-9", 10, True)
    assert not served.has_authorization
    assert "X-Amz" not in str(world.log.entries())
    assert world.log.count(service="s3", subject=LAYER, method="GET") == 1
    world.log.clear()
    assert world.log.count() == 0


async def test_a_throttled_registry_may_say_when_to_come_back(world: Clouds, scene: Scene) -> None:
    world.faults.add(Fault(Harm.THROTTLE, service="ecr", retry_after=7))
    world.faults.add(Fault(Harm.THROTTLE, service="ecr"))
    async with world.http_client() as client:
        first, second, third = [await client.get(f"https://{scene.host}/v2/") for _ in range(3)]

    assert [first.status_code, second.status_code, third.status_code] == [429, 429, 401]
    assert first.json()["errors"][0] == {"code": "TOOMANYREQUESTS", "message": "Rate exceeded"}
    assert first.headers["retry-after"] == "7"
    assert "retry-after" not in second.headers


@pytest.mark.usefixtures("repository")
async def test_a_fault_hits_what_it_aims_at(world: Clouds, scene: Scene) -> None:
    path = world.aws.blob_path(ACCOUNT, REGION, NAME, LAYER)
    world.faults.add(Fault(Harm.FAIL, service="s3", path=path, status=500, times=None))
    async with world.http_client() as client:
        where = await layer_url(world, scene, client)
        assert "InternalError" in (await client.get(where)).text
        world.faults.clear()
        assert (await client.get(where)).status_code == 200


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("harm", [Harm.RESET, Harm.TRUNCATE])
async def test_a_body_ends_early(world: Clouds, scene: Scene, harm: Harm) -> None:
    got = bytearray()
    async with world.http_client() as client:
        where = await layer_url(world, scene, client)
        world.faults.add(Fault(harm, service="s3", after_bytes=300_000))
        async with client.stream("GET", where) as answer:
            assert answer.headers["content-length"] == str(len(BLOB))
            with pytest.raises(httpx.ReadError if harm is Harm.RESET else httpx.RemoteProtocolError):
                await read_into(got, answer)
        assert (await client.get(where)).content == BLOB
    assert bytes(got) == BLOB[: len(got)]
    if harm is Harm.TRUNCATE:
        assert len(got) == 300_000
    cut, whole = world.log.entries(service="s3")
    assert (cut.is_complete, whole.is_complete) == (False, True)


@pytest.mark.usefixtures("repository")
async def test_a_byte_is_corrupted(world: Clouds, scene: Scene) -> None:
    async with world.http_client() as client:
        where = await layer_url(world, scene, client)
        world.faults.add(Fault(Harm.CORRUPT, service="s3", after_bytes=300_000))
        got = (await client.get(where)).content

    assert len(got) == len(BLOB)
    assert [at for at in range(len(BLOB)) if got[at] != BLOB[at]] == [300_000]


@pytest.mark.usefixtures("repository")
async def test_a_body_comes_slowly_or_not_at_all(world: Clouds, scene: Scene) -> None:
    async with world.http_client() as client:
        where = await layer_url(world, scene, client)
        world.faults.add(Fault(Harm.DRIP, service="s3", after_bytes=LARGE - 500, bytes_per_second=4000))
        assert (await client.get(where)).content == BLOB

        world.faults.add(Fault(Harm.STALL, service="s3", after_bytes=1000))
        with pytest.raises(httpx.ReadTimeout):
            await client.get(where, timeout=0.3)


async def test_a_connection_is_dropped_without_an_answer(world: Clouds, scene: Scene) -> None:
    world.faults.add(Fault(Harm.DROP, service="ecr"))
    async with world.http_client() as client:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await client.get(f"https://{scene.host}/v2/")


async def test_an_answer_comes_late_or_connect_is_never_answered(world: Clouds, scene: Scene) -> None:
    async with world.http_client() as client:
        world.faults.add(Fault(Harm.LATENCY, service="ecr", seconds=30))
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"https://{scene.host}/v2/", timeout=0.3)
        world.faults.add(Fault(Harm.SILENT, service="ecr"))
        with pytest.raises(httpx.TimeoutException):
            await client.get(f"https://{scene.host}/v2/", timeout=0.3)
        assert (await client.get(f"https://{scene.host}/v2/")).status_code == 401


async def test_a_hundred_clients_get_a_large_blob_at_once(world: Clouds, scene: Scene) -> None:
    image = make_image("very large", 4 * 1024 * 1024)
    (digest,) = image.layers
    world.ecr(ACCOUNT, REGION, "team/large").push(image, "1")
    headers = {"Authorization": f"Basic {world.aws.issue_token(scene.role_arn, REGION)}"}
    url = f"https://{scene.host}/v2/team/large/blobs/{digest}"
    context = ssl.create_default_context(cafile=str(world.ca_bundle))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, proxy=world.gateway_url) as session:

        async def pull() -> str:
            async with session.get(url, headers=headers, allow_redirects=False) as redirect:
                where = URL(redirect.headers["Location"], encoded=True)
            seen = hashlib.sha256()
            async with session.get(where) as answer:
                async for piece in answer.content.iter_any():
                    seen.update(piece)
            return f"sha256:{seen.hexdigest()}"

        assert set(await asyncio.gather(*(pull() for _ in range(100)))) == {digest}
    assert world.log.count(service="s3", subject=digest, status="200") == 100


def test_a_control_that_makes_no_sense_says_why(world: Clouds) -> None:
    with pytest.raises(ControlError, match="no role"):
        world.aws.delete_role("arn:aws:iam::123456789012:role/nobody")
    with pytest.raises(ControlError, match="emulated regions"):
        world.aws.add_repository(ACCOUNT, "xx-mars-1", "a/b")


@needs_registry
async def test_a_real_registry_answers_under_a_name(world: Clouds) -> None:
    registry = world.registry("registry.example.test")
    index = make_index("multi", 1000)
    for image, tag in ((IMAGE, "1"), (index, "multi")):
        await push_to_registry(registry, NAME, image, tag)
    async with world.http_client() as client:
        client.base_url = httpx.URL("https://registry.example.test")
        answer = await client.get(f"/v2/{NAME}/manifests/1", headers={"Accept": IMAGE.media_type})
        blob = await client.get(f"/v2/{NAME}/blobs/{LAYER}", headers={"Range": "bytes=10-19"})
        world.faults.add(Fault(Harm.TRUNCATE, host="registry.example.test", after_bytes=5))
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(f"/v2/{NAME}/blobs/{LAYER}")
        world.registries.stop("registry.example.test")
        assert (await client.get("/v2/")).status_code == 502
        world.registry("registry.example.test")
        head = await client.head(f"/v2/{NAME}/blobs/{LAYER}")

    assert (answer.content, answer.headers["docker-content-digest"]) == (IMAGE.manifest, IMAGE.digest)
    assert (blob.status_code, blob.content) == (206, BLOB[10:20])
    assert head.headers["content-length"] == str(len(BLOB))
    assert world.log.count(service="registry:registry.example.test", path="*/blobs/*") == 3


@needs_registry
async def test_a_protected_registry_wants_its_credential(world: Clouds) -> None:
    registry = world.registry("harbor.example.test", is_protected=True)
    assert registry.auth is not None
    await push_to_registry(registry, NAME, IMAGE, "1")
    given = base64.b64encode(":".join(registry.auth).encode()).decode()
    async with world.http_client() as client:
        url = f"https://harbor.example.test/v2/{NAME}/tags/list"
        refused = await client.get(url)
        wrong = await client.get(url, auth=("nobody", "nothing"))
        listed = await client.get(url, headers={"Authorization": f"Basic {given}"})

    assert (refused.status_code, wrong.status_code) == (401, 401)
    assert refused.headers["www-authenticate"].startswith("Basic realm=")
    assert listed.json() == {"name": NAME, "tags": ["1"]}


@needs_registry
async def test_an_image_can_be_pushed_through_the_gateway(world: Clouds) -> None:
    world.registry("registry.example.test")
    async with world.http_client() as client:
        begun = await client.post(f"https://registry.example.test/v2/{NAME}/blobs/uploads/")
        upload = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": LAYER})
        assert upload.host == "registry.example.test"
        put = await client.put(upload, content=BLOB)

    assert put.status_code == 201
