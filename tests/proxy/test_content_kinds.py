"""Every kind of content the specification knows comes through byte for byte; nothing in it is followed."""

import base64
import hashlib
import json
from itertools import count

import pytest

from tests.proxy.proxy_world import ProxyWorld
from tests.proxy.test_pulls import BLOB, BY_DIGEST, BY_TAG, LAYER, MANIFEST, OTHER, holding
from tests.support.fake_registry import FakeRegistry, artifact, image_manifest, index_of
from tests.support.fake_server import Reply, Seen
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

DOCUMENT = json.loads(MANIFEST)
EMBEDDED = {
    **DOCUMENT,
    "config": {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": str(Digest.of(b"{}")),
        "size": 2,
        "data": base64.b64encode(b"{}").decode(),
    },
}
DESCRIBED = {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(MANIFEST)), "size": len(MANIFEST)}
KINDS = {
    "index": (OCI_INDEX, index_of({**DESCRIBED, "platform": {"os": "linux", "architecture": "amd64"}})),
    "list": (DOCKER_LIST, json.dumps({**json.loads(index_of()), "mediaType": DOCKER_LIST}).encode()),
    "docker": (DOCKER_MANIFEST, json.dumps({**DOCUMENT, "mediaType": DOCKER_MANIFEST}).encode()),
    "artifact": (OCI_MANIFEST, artifact(MANIFEST, "application/vnd.example.sbom+json")),
    "embedded": (OCI_MANIFEST, json.dumps(EMBEDDED).encode()),
    "odd spacing": (OCI_MANIFEST, b"  " + json.dumps(DOCUMENT, indent=7).encode() + b"\n\n"),
    "unheard of": ("application/vnd.example.v9+json", b'{"mediaType":"application/vnd.example.v9+json"}'),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
async def test_a_manifest_comes_through_as_it_is(world: ProxyWorld, kind: str, algorithm: str) -> None:
    media_type, body = KINDS[kind]
    registry = FakeRegistry()
    digest = registry.add_manifest("team/app", "1", body, media_type, algorithm)
    await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    for reference in ("1", str(digest)):
        path = f"/v2/main/team/app/manifests/{reference}"
        for _ in range(2):
            answer = await world.get(path, token)
            assert (answer.status, answer.body) == (200, body)
            assert answer.headers["content-type"] == media_type
            assert answer.headers["docker-content-digest"] == str(digest)
        assert (await world.get(path, token, method="HEAD")).headers == answer.headers


async def test_a_manifest_that_is_not_what_its_digest_says_is_refused(world: ProxyWorld) -> None:
    registry, digest = FakeRegistry(), Digest.of(MANIFEST, "sha512")
    registry.manifests["team/app", str(digest)] = (OCI_MANIFEST, OTHER)
    await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(f"/v2/main/team/app/manifests/{digest}", world.access())
    assert (answer.status, answer.error_code()) == (502, "MANIFEST_INVALID")


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("content", [b"", b"x", LAYER])
async def test_a_blob_of_any_size_comes_through(world: ProxyWorld, algorithm: str, content: bytes) -> None:
    registry = FakeRegistry()
    digest = registry.add_blob("team/app", content, algorithm)
    await world.upstream("a", registry)
    world.registry("main", "a")
    token, path = world.access(), f"/v2/main/team/app/blobs/{digest}"
    for _ in range(2):
        answer = await world.get(path, token)
        assert (answer.status, answer.body, answer.is_complete) == (200, content, True)
        assert answer.headers["docker-content-digest"] == str(digest)
        assert answer.headers["content-length"] == str(len(content))
    assert (await world.get(path, token, method="HEAD")).headers == answer.headers


@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
async def test_there_is_no_part_of_an_empty_blob(world: ProxyWorld, asked: str) -> None:
    registry = FakeRegistry()
    digest = registry.add_blob("team/app", b"")
    await world.upstream("a", registry)
    world.registry("main", "a")
    path = f"/v2/main/team/app/blobs/{digest}"
    answer = await world.get(path, world.access(), headers={"range": asked})
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */0")


async def test_the_urls_of_a_foreign_layer_are_never_dialled(world: ProxyWorld) -> None:
    """A registry that must not hold a layer names where it is; that is for the client to decide."""
    canary = await world.upstream("canary")
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": str(Digest.of(b"elsewhere")),
        "size": 9,
        "urls": [f"{canary.origin}/layer", f"{canary.origin}/v2/x/blobs/y"],
    }
    document = {**DOCUMENT, "config": {**DOCUMENT["config"], "urls": [canary.origin]}, "layers": [foreign]}
    body = json.dumps({**document, "subject": {**DESCRIBED, "urls": [canary.origin]}}).encode()
    await world.upstream("a", holding(body))
    world.registry("main", "a")
    token = world.access()
    pulled = await world.get(BY_TAG, token)
    assert (pulled.status, pulled.body) == (200, body)
    for method in ("HEAD", "GET"):
        blob = await world.get(f"/v2/main/team/app/blobs/{foreign['digest']}", token, method=method)
        assert blob.status == 404
    await world.get(f"/v2/main/team/app/referrers/{Digest.of(body)}", token)
    assert canary.connections == 0


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST, BLOB, "/v2/main/team/app/tags/list", "/v2/_catalog"])
async def test_a_head_is_a_get_without_its_body(world: ProxyWorld, path: str) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    get = await world.get(path, token)
    head = await world.get(path, token, method="HEAD")
    assert (head.status, head.headers, head.body) == (200, get.headers, b"")


@pytest.mark.parametrize(
    "path",
    [
        *("/v2/main/none/manifests/1", f"/v2/main/team/app/blobs/{Digest.of(b'?')}", "/v2/none/x/tags/list"),
        *("/v2/main/A/manifests/1", "/v2/main/team/app/manifests/sha256:1", "/v2/nowhere"),
    ],
)
async def test_the_head_of_an_error_has_no_body_either(world: ProxyWorld, path: str) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    get = await world.get(path, token)
    head = await world.get(path, token, method="HEAD")
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.body))
    assert 400 <= head.status < 500


@pytest.mark.parametrize(
    ("condition", "status"),
    [(f'"{Digest.of(LAYER)}"', 206), ('"other"', 200), (f'W/"{Digest.of(LAYER)}"', 200), ("yesterday", 200)],
)
async def test_a_part_is_sent_only_of_the_content_the_client_has(
    world: ProxyWorld, condition: str, status: int
) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    headers = {"range": "bytes=10-19", "if-range": condition}
    answer = await world.get(BLOB, world.access(), headers=headers)
    assert (answer.status, answer.body) == (status, LAYER[10:20] if status == 206 else LAYER)


UPLOAD = "/v2/main/team/app/blobs/uploads/"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("POST", UPLOAD),
            ("POST", UPLOAD.removesuffix("/")),
            ("GET", UPLOAD + "1"),
            ("HEAD", UPLOAD + "1"),
        ),
        *((method, UPLOAD + "1") for method in ("PATCH", "PUT", "DELETE")),
        *((method, path) for method in ("PUT", "DELETE", "PATCH") for path in (BY_TAG, BY_DIGEST, BLOB)),
        *((method, "/v2/main/team/app/tags/list") for method in ("POST", "DELETE")),
        *((method, "/v2/") for method in ("POST", "PUT", "OPTIONS", "TRACE")),
        ("PUT", f"/v2/main/team/app/referrers/{Digest.of(MANIFEST)}"),
    ],
)
async def test_there_is_no_way_to_push(world: ProxyWorld, method: str, path: str) -> None:
    server = await world.upstream("a", holding())
    world.registry("main", "a")
    query = f"mount={Digest.of(LAYER)}&from=main/team/app"
    answer = await world.get(path, world.access(), method=method, query=query)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert method == "HEAD" or answer.error_code() == "UNSUPPORTED"
    assert not server.seen


async def test_what_is_served_is_what_its_digest_says_while_a_tag_moves(world: ProxyWorld) -> None:
    """An upstream that shows another manifest at every request never makes us mix two."""
    number = count()

    def moving(seen: Seen) -> Reply | None:
        if "/manifests/" not in seen.path:
            return None
        body = image_manifest(str(next(number)).encode())
        headers = (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", str(Digest.of(body))))
        return Reply(200, headers, body)

    await world.upstream("a", FakeRegistry(override=moving), tag_validity_seconds=0)
    world.registry("main", "a")
    token = world.access()
    for _ in range(100):
        answer = await world.get(BY_TAG, token)
        said = answer.headers["docker-content-digest"]
        assert said == f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        again = await world.get(f"/v2/main/team/app/manifests/{said}", token)
        assert again.body == answer.body
