"""Pulling through the proxy, from upstreams that speak real HTTP."""

import json

import pytest

from tests.proxy.proxy_world import ProxyWorld
from tests.support.fake_registry import FakeRegistry, error_reply, image_manifest
from tests.support.fake_server import DROP, Reply
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST

LAYER = b"layer " * 50_000
MANIFEST = image_manifest(LAYER)
OTHER = image_manifest(b"another layer")
SPLITTING = json.dumps({"mediaType": "a/b\r\nX-Evil: 1\r\n\r\n", "config": {}, "layers": []}).encode()
BY_TAG = "/v2/main/team/app/manifests/1"
BY_DIGEST = f"/v2/main/team/app/manifests/{Digest.of(MANIFEST)}"
BLOB = f"/v2/main/team/app/blobs/{Digest.of(LAYER)}"


def holding(manifest: bytes = MANIFEST, name: str = "team/app") -> FakeRegistry:
    registry = FakeRegistry()
    registry.add_manifest(name, "1", manifest)
    registry.add_blob(name, LAYER)
    return registry


async def test_an_image_is_pulled_and_then_served_without_its_upstream(world: ProxyWorld) -> None:
    server = await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    for _ in range(2):
        manifest = await world.get(BY_TAG, token)
        assert (manifest.status, manifest.body) == (200, MANIFEST)
        assert manifest.headers["docker-content-digest"] == str(Digest.of(MANIFEST))
        assert manifest.headers["content-type"] == OCI_MANIFEST
        blob = await world.get(BLOB, token)
        assert (blob.status, blob.body, blob.is_complete) == (200, LAYER, True)
    asked = [(seen.method, seen.path) for seen in server.seen]
    assert len(asked) == len(set(asked)) == 2


async def test_a_head_tells_what_a_get_would_without_a_body(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    for path in (BY_TAG, BY_DIGEST, BLOB):
        head = await world.get(path, token, method="HEAD")
        get = await world.get(path, token)
        assert head.headers == get.headers
        assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST, BLOB])
async def test_what_the_client_has_already_is_not_sent_again(world: ProxyWorld, path: str) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    etag = (await world.get(path, token)).headers["etag"]
    again = await world.get(path, token, headers={"if-none-match": f'"x", W/{etag}'})
    assert (again.status, again.body) == (304, b"")
    assert (await world.get(path, token, headers={"if-none-match": '"x"'})).status == 200


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=100-", 206, 100, len(LAYER)),
        ("bytes=-7", 206, len(LAYER) - 7, len(LAYER)),
        ("bytes=5-99999999", 206, 5, len(LAYER)),
        ("bytes=0-1,5-6", 200, 0, len(LAYER)),
        ("lines=0-1", 200, 0, len(LAYER)),
    ],
)
async def test_one_range_of_a_blob_is_served(
    world: ProxyWorld, asked: str, status: int, start: int, stop: int
) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    answer = await world.get(BLOB, world.access(), headers={"range": asked})
    assert (answer.status, answer.body, answer.is_complete) == (status, LAYER[start:stop], True)
    assert answer.headers["content-length"] == str(stop - start)
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(LAYER)}"


async def test_a_range_outside_the_blob_is_refused_with_its_size(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    answer = await world.get(BLOB, world.access(), headers={"range": f"bytes={len(LAYER)}-"})
    assert (answer.status, answer.error_code()) == (416, "RANGE_INVALID")
    assert answer.headers["content-range"] == f"bytes */{len(LAYER)}"


async def test_a_tag_is_asked_about_again_when_its_validity_has_passed(world: ProxyWorld) -> None:
    registry = holding()
    server = await world.upstream("a", registry, tag_validity_seconds=60)
    world.registry("main", "a")
    token = world.access()
    await world.get(BY_TAG, token)
    world.clock.advance(59)
    await world.get(BY_TAG, token)
    assert len(server.seen) == 1
    world.clock.advance(2)
    await world.get(BY_TAG, token)
    assert [seen.method for seen in server.seen] == ["GET", "HEAD"]
    registry.add_manifest("team/app", "1", OTHER)
    world.clock.advance(61)
    assert (await world.get(BY_TAG, token)).body == OTHER


async def test_a_stale_copy_is_served_with_a_warning_while_its_upstream_is_down(world: ProxyWorld) -> None:
    registry = holding()
    await world.upstream("a", registry, tag_validity_seconds=60)
    world.registry("main", "a")
    token = world.access()
    await world.get(BY_TAG, token)
    world.clock.advance(61)
    registry.override = lambda _: error_reply(503, "UNAVAILABLE")
    stale = await world.get(BY_TAG, token)
    assert (stale.status, stale.body) == (200, MANIFEST)
    assert "Stale" in stale.headers["warning"]
    registry.override = None
    world.clock.advance(61)
    assert "warning" not in (await world.get(BY_TAG, token)).headers


async def test_no_stale_copy_is_served_when_the_policy_says_never(world: ProxyWorld) -> None:
    registry = holding()
    await world.upstream("a", registry, tag_validity_seconds=60, stale_for=())
    world.registry("main", "a")
    token = world.access()
    await world.get(BY_TAG, token)
    world.clock.advance(61)
    registry.override = lambda _: error_reply(503, "UNAVAILABLE")
    assert (await world.get(BY_TAG, token)).status == 503


async def test_a_digest_needs_no_upstream_once_its_owner_gave_it(world: ProxyWorld) -> None:
    registry = holding()
    await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    await world.get(BY_TAG, token)
    await world.get(BLOB, token)
    registry.override = lambda _: DROP
    world.clock.advance(10_000)
    assert (await world.get(BY_DIGEST, token)).body == MANIFEST
    assert (await world.get(BLOB, token)).body == LAYER


async def test_a_prefix_and_a_kind_spell_the_name_for_the_upstream(world: ProxyWorld) -> None:
    server = await world.upstream("a", holding(name="mirror/team/app"), repository_prefix="mirror")
    world.registry("main", "a")
    assert (await world.get(BY_TAG, world.access())).status == 200
    assert server.seen[0].path == "/v2/mirror/team/app/manifests/1"


async def test_patterns_are_tested_before_an_upstream_hears_the_name(world: ProxyWorld) -> None:
    kept_out = await world.upstream("a", holding(OTHER))
    not_allowed = await world.upstream("b", holding(OTHER))
    await world.upstream("c", holding())
    world.registry(
        "main",
        MembershipRecord(upstream_id="a", deny=("team/*",)),
        MembershipRecord(upstream_id="b", allow=("public/*",)),
        MembershipRecord(upstream_id="c", allow=("team/*", "x")),
    )
    assert (await world.get(BY_TAG, world.access())).body == MANIFEST
    assert not kept_out.seen
    assert not not_allowed.seen


async def test_blobs_are_asked_for_where_the_manifest_came_from(world: ProxyWorld) -> None:
    first = await world.upstream("a")
    await world.upstream("b", holding())
    world.registry("main", "a", "b")
    token = world.access()
    await world.get(BY_TAG, token)
    assert (await world.get(BLOB, token)).body == LAYER
    assert [seen.path for seen in first.seen] == ["/v2/team/app/manifests/1"]


async def test_a_corrupted_blob_is_never_complete(world: ProxyWorld) -> None:
    registry = holding()
    registry.blobs["team/app", str(Digest.of(LAYER))] = LAYER[:-1] + b"X"
    await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    answer = await world.get(BLOB, token)
    assert (answer.status, answer.is_complete) == (200, False)
    registry.blobs["team/app", str(Digest.of(LAYER))] = LAYER
    assert (await world.get(BLOB, token)).body == LAYER


async def test_a_small_corrupted_blob_gets_an_honest_answer(world: ProxyWorld) -> None:
    registry = FakeRegistry()
    registry.blobs["team/app", str(Digest.of(b"config"))] = b"confiX"
    await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(f"/v2/main/team/app/blobs/{Digest.of(b'config')}", world.access())
    assert (answer.status, answer.reason()) == (503, "digest_mismatch")


async def test_an_ambiguous_manifest_is_refused(world: ProxyWorld) -> None:
    document = json.dumps({**json.loads(MANIFEST), "manifests": []}).encode()
    await world.upstream("a", holding(document))
    world.registry("main", "a")
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.error_code()) == (502, "MANIFEST_INVALID")


async def test_tags_are_listed_sorted_and_paged(world: ProxyWorld) -> None:
    registry = FakeRegistry()
    for number in range(7):
        registry.add_manifest("team/app", f"v{number}", MANIFEST)
    server = await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    path, seen, query = "/v2/main/team/app/tags/list", [], "n=3"
    while query:
        page = await world.get(path, token, query=query)
        listed = json.loads(page.body)
        assert listed["name"] == "main/team/app"
        seen.append(listed["tags"])
        link = page.headers.get("link", "")
        query = link.partition("?")[2].partition(">")[0]
    assert seen == [["v0", "v1", "v2"], ["v3", "v4", "v5"], ["v6"]]
    assert len(server.seen) == 1


async def test_an_upstream_without_end_of_tags_is_given_up(world: ProxyWorld) -> None:
    page = json.dumps({"tags": [f"v{number}" for number in range(60_000)]}).encode()
    again = (("Link", '</v2/team/app/tags/list?again>; rel="next"'),)
    server = await world.upstream("a", FakeRegistry(override=lambda _: Reply(200, again, page)))
    world.registry("main", "a")
    answer = await world.get("/v2/main/team/app/tags/list", world.access())
    assert (answer.status, answer.reason()) == (503, "too_many_tags")
    assert len(server.seen) == 2


@pytest.mark.parametrize("query", ["n=2147483648", "n=-1", "n=x", "n=1001", "last=-", "n=" + "1" * 2000])
async def test_a_page_nobody_should_ask_for_is_refused(world: ProxyWorld, query: str) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    answer = await world.get("/v2/main/team/app/tags/list", world.access(), query=query)
    assert answer.status == 400


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        (error_reply(401, "UNAUTHORIZED", "SECRETWORD"), 403, "DENIED"),
        (error_reply(403, "DENIED", "SECRETWORD"), 403, "DENIED"),
        (error_reply(429, "TOOMANYREQUESTS", "SECRETWORD", (("Retry-After", "7"),)), 429, "TOOMANYREQUESTS"),
        (error_reply(500, "X", "SECRETWORD"), 503, "UNAVAILABLE"),
        (error_reply(404, "MANIFEST_UNKNOWN", "SECRETWORD"), 404, "MANIFEST_UNKNOWN"),
        (Reply(200, (), b"SECRETWORD no json"), 502, "MANIFEST_INVALID"),
    ],
)
async def test_a_client_hears_the_truth_in_our_own_words(
    world: ProxyWorld, reply: Reply, status: int, code: str
) -> None:
    registry = FakeRegistry(override=lambda _: reply)
    await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.error_code()) == (status, code)
    assert b"SECRETWORD" not in answer.body
    assert "www-authenticate" not in answer.headers
    assert len(answer.headers["x-request-id"]) == 16
    if status == 429:
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [BY_TAG, BLOB, "/v2/main/team/app/blobs/uploads/"])
async def test_pushing_is_not_supported(world: ProxyWorld, method: str, path: str) -> None:
    answer = await world.get(path, world.access(), method=method)
    assert (answer.status, answer.error_code()) == (405, "UNSUPPORTED")


@pytest.mark.parametrize("path", [BY_TAG, f"/v2/main/team/app/manifests/{Digest.of(SPLITTING)}"])
async def test_a_manifest_cannot_put_headers_into_our_answer(world: ProxyWorld, path: str) -> None:
    reply = Reply(200, (("Content-Type", "application/json"),), SPLITTING)
    await world.upstream("a", FakeRegistry(override=lambda _: reply))
    world.registry("main", "a")
    answer = await world.get(path, world.access())
    assert answer.error_code() == "MANIFEST_INVALID"
    assert not any("\n" in value for value in answer.headers.values())
