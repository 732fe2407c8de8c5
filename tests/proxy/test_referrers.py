"""What refers to a manifest is asked of the upstream that gave it: by its API, or the tag in place of one."""

import json
from typing import Any

import pytest

from tests.proxy.proxy_world import Answer, ProxyWorld
from tests.proxy.test_pulls import MANIFEST, OTHER, holding
from tests.support.fake_registry import FakeRegistry, artifact, error_reply, index_of
from tests.support.fake_server import DROP, Reply, Seen
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_INDEX, OCI_MANIFEST
from vreg_shared.registry_client import fallback_tag

SUBJECT = Digest.of(MANIFEST)
PATH = f"/v2/main/team/app/referrers/{SUBJECT}"
SIGNATURE = artifact(MANIFEST, "application/vnd.example.signature", annotations={"by": "me"})
BILL = artifact(MANIFEST, "application/vnd.example.sbom+json")
SIGNATURES = "artifactType=application/vnd.example.signature"
EMPTY = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def signed(*artifacts: bytes) -> FakeRegistry:
    registry = holding()
    for body in artifacts or (SIGNATURE, BILL):
        registry.manifests["team/app", str(Digest.of(body))] = (OCI_MANIFEST, body)
    return registry


def tagged(registry: FakeRegistry, index: bytes, media_type: str = OCI_INDEX) -> FakeRegistry:
    """Let a registry without the API hold a list under the tag that stands in for it."""
    registry.has_referrers = False
    registry.add_manifest("team/app", str(fallback_tag(SUBJECT)), index, media_type)
    return registry


def described(body: bytes) -> dict[str, Any]:
    document = json.loads(body)
    return {
        "mediaType": OCI_MANIFEST,
        "digest": str(Digest.of(body)),
        "size": len(body),
        "artifactType": document["artifactType"],
        **({"annotations": document["annotations"]} if "annotations" in document else {}),
    }


def digests(answer: Answer) -> set[str]:
    assert (answer.status, answer.headers["content-type"]) == (200, OCI_INDEX), answer.body
    index = json.loads(answer.body)
    assert (index["schemaVersion"], index["mediaType"]) == (2, OCI_INDEX)
    return {each["digest"] for each in index["manifests"]}


BOTH = {str(Digest.of(SIGNATURE)), str(Digest.of(BILL))}


async def test_all_that_refers_to_a_manifest_is_listed_as_its_upstream_describes_it(
    world: ProxyWorld,
) -> None:
    await world.upstream("a", signed())
    world.registry("main", "a")
    token = world.access()
    answer = await world.get(PATH, token)
    assert digests(answer) == BOTH
    assert described(SIGNATURE) in json.loads(answer.body)["manifests"]
    assert "oci-filters-applied" not in answer.headers
    head = await world.get(PATH, token, method="HEAD")
    assert (head.status, head.headers, head.body) == (200, answer.headers, b"")


@pytest.mark.parametrize("filters", [True, False])
async def test_one_type_is_listed_whether_or_not_the_upstream_can_filter(
    world: ProxyWorld, *, filters: bool
) -> None:
    registry = signed()
    registry.filters_referrers = filters
    await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    answer = await world.get(PATH, token, query=SIGNATURES)
    assert digests(answer) == {str(Digest.of(SIGNATURE))}
    assert answer.headers["oci-filters-applied"] == "artifactType"
    for spelled in ("sbom+json", "sbom%2Bjson"):
        query = f"artifactType=application/vnd.example.{spelled}"
        assert digests(await world.get(PATH, token, query=query)) == {str(Digest.of(BILL))}
    assert digests(await world.get(PATH, token, query="artifactType=a/b")) == set()


@pytest.mark.parametrize("query", ["artifactType=", "artifactType=a", "artifactType=a/b&artifactType=c/d"])
async def test_a_type_that_is_none_is_refused(world: ProxyWorld, query: str) -> None:
    server = await world.upstream("a", signed())
    world.registry("main", "a")
    assert (await world.get(PATH, world.access(), query=query)).status == 400
    assert not server.seen


async def test_the_upstreams_pages_are_one_list(world: ProxyWorld) -> None:
    many = [artifact(MANIFEST, "a/b", f"{number}".encode()) for number in range(7)]
    registry = signed(*many)
    registry.referrers_per_page = 2
    server = await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(PATH, world.access())
    assert digests(answer) == {str(Digest.of(each)) for each in many}
    assert "link" not in answer.headers
    assert sum("/referrers/" in seen.path for seen in server.seen) == 4


async def test_an_upstream_without_end_of_pages_is_given_up(world: ProxyWorld) -> None:
    again = (("Content-Type", OCI_INDEX), ("Link", f'</v2/team/app/referrers/{SUBJECT}?more>; rel="next"'))

    def endless(seen: Seen) -> Reply | None:
        return Reply(200, again, index_of()) if "/referrers/" in seen.path else None

    registry = signed()
    registry.override = endless
    server = await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(PATH, world.access())
    assert (answer.status, answer.reason()) == (503, "too_many_referrers")
    assert len(server.seen) < 110


@pytest.mark.parametrize("link", ["https://evil.example/v2/x", "/admin", "//evil.example/v2/"])
async def test_a_page_elsewhere_is_not_followed(world: ProxyWorld, link: str) -> None:
    def elsewhere(seen: Seen) -> Reply | None:
        headers = (("Content-Type", OCI_INDEX), ("Link", f'<{link}>; rel="next"'))
        return Reply(200, headers, index_of()) if "/referrers/" in seen.path else None

    registry = signed()
    registry.override = elsewhere
    await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(PATH, world.access())
    assert (answer.status, answer.reason()) == (503, "page_link_rejected")


@pytest.mark.parametrize(
    "lacking",
    [
        error_reply(404, "NAME_UNKNOWN"),
        Reply(404, (), b"404 page not found"),
        error_reply(405, "UNSUPPORTED"),
        Reply(406),
        Reply(501),
        Reply(200, (("Content-Type", "text/html"),), b"<html>"),
    ],
)
async def test_the_tag_that_stands_in_is_read_where_there_is_no_such_api(
    world: ProxyWorld, lacking: Reply
) -> None:
    registry = tagged(signed(), index_of(described(SIGNATURE), described(BILL)))
    registry.override = lambda seen: lacking if "/referrers/" in seen.path else None
    await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    assert digests(await world.get(PATH, token)) == BOTH
    assert digests(await world.get(PATH, token, query=SIGNATURES)) == {str(Digest.of(SIGNATURE))}


@pytest.mark.parametrize("has_api", [True, False])
async def test_what_nothing_refers_to_has_an_empty_list(world: ProxyWorld, *, has_api: bool) -> None:
    registry = holding()
    registry.has_referrers = has_api
    await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(PATH, world.access())
    assert (answer.status, json.loads(answer.body)) == (200, EMPTY)


async def test_a_signatures_tag_is_a_tag_like_any_other(world: ProxyWorld) -> None:
    registry = holding()
    tag = f"sha256-{SUBJECT.hex}.sig"
    registry.add_manifest("team/app", tag, SIGNATURE)
    await world.upstream("a", registry)
    world.registry("main", "a")
    answer = await world.get(f"/v2/main/team/app/manifests/{tag}", world.access())
    assert (answer.status, answer.body) == (200, SIGNATURE)


@pytest.mark.parametrize(
    ("answered", "status"),
    [
        (error_reply(401, "UNAUTHORIZED"), 403),
        (error_reply(403, "DENIED"), 403),
        (error_reply(429, "TOOMANYREQUESTS"), 429),
        (Reply(500), 503),
        (DROP, 503),
        (Reply(200, (("Content-Type", OCI_INDEX),), b"no json"), 503),
        (Reply(200, (("Content-Type", OCI_INDEX),), index_of({"digest": "sha256:1"})), 503),
        (Reply(200, (("Content-Type", OCI_INDEX),), index_of({**described(BILL), "size": "1"})), 503),
    ],
)
@pytest.mark.parametrize("on_hidden", ["stop", "continue"])
async def test_a_failure_is_never_an_empty_list(
    world: ProxyWorld, answered: Reply, status: int, on_hidden: str
) -> None:
    registry = signed()
    registry.override = lambda seen: answered if "/referrers/" in seen.path else None
    await world.upstream("a", registry)
    world.registry("main", MembershipRecord.model_validate({"upstream_id": "a", "on_hidden": on_hidden}))
    assert (await world.get(PATH, world.access())).status == status


async def test_a_failure_of_the_tag_is_no_empty_list_either(world: ProxyWorld) -> None:
    registry = holding()
    registry.has_referrers = False
    registry.override = lambda seen: Reply(500) if "/manifests/sha256-" in seen.path else None
    await world.upstream("a", registry)
    world.registry("main", "a")
    assert (await world.get(PATH, world.access())).status == 503


async def test_only_the_upstream_that_has_the_subject_is_asked(world: ProxyWorld) -> None:
    first = signed(SIGNATURE)
    first.manifests.pop(("team/app", str(SUBJECT)))
    first.manifests.pop(("team/app", "1"))
    before = await world.upstream("a", first)
    await world.upstream("b", signed(BILL))
    world.registry("main", "a", "b")
    assert digests(await world.get(PATH, world.access())) == {str(Digest.of(BILL))}
    assert not any("/referrers/" in seen.path for seen in before.seen)


async def test_a_list_grants_no_more_than_a_pull_does(world: ProxyWorld) -> None:
    """Two registries over upstreams that both may know the digest: each answers from its own alone."""
    await world.upstream("a", signed())
    world.registry("main", "a")
    stranger = holding(OTHER)
    server = await world.upstream("b", stranger)
    world.registry("other", "b")
    token = world.access()
    assert digests(await world.get(PATH, token)) == BOTH
    known = await world.get(PATH.replace("/main/", "/other/"), token)
    unknown = await world.get(f"/v2/other/team/app/referrers/{Digest.of(b'?')}", token)
    assert (known.status, known.headers, known.body) == (unknown.status, unknown.headers, unknown.body)
    assert json.loads(known.body) == EMPTY
    assert not any("/referrers/" in seen.path for seen in server.seen)


async def test_a_list_cannot_be_pulled_as_if_it_were_content(world: ProxyWorld) -> None:
    await world.upstream("a", signed())
    world.registry("main", "a")
    token = world.access()
    body = (await world.get(PATH, token)).body
    answer = await world.get(f"/v2/main/team/app/manifests/{Digest.of(body)}", token)
    assert answer.status == 404


async def test_a_list_is_asked_for_again_when_it_may_have_changed(world: ProxyWorld) -> None:
    registry = signed(SIGNATURE)
    server = await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    for _ in range(3):
        assert digests(await world.get(PATH, token)) == {str(Digest.of(SIGNATURE))}
    assert sum("/referrers/" in seen.path for seen in server.seen) == 1
    registry.manifests["team/app", str(Digest.of(BILL))] = (OCI_MANIFEST, BILL)
    world.clock.advance(16)
    assert digests(await world.get(PATH, token)) == BOTH


async def test_a_list_that_is_too_long_is_not_read_to_its_end_nor_asked_for_by_everybody(
    world: ProxyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = signed(*(artifact(MANIFEST, "a/b", f"{number}".encode()) for number in range(20)))
    registry.referrers_per_page = 1
    monkeypatch.setattr("vreg_proxy.referrers.MAX_MANIFEST_BYTES", 400)
    server = await world.upstream("a", registry)
    world.registry("main", "a")
    token = world.access()
    for _ in range(2):
        assert (await world.get(PATH, token)).reason() == "too_many_referrers"
    assert 1 < sum("/referrers/" in seen.path for seen in server.seen) < 5
    world.clock.advance(16)
    monkeypatch.undo()
    assert len(digests(await world.get(PATH, token))) == 20


async def test_a_slow_list_gets_its_whole_time_where_no_copy_may_be_served(
    world: ProxyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.upstream("a", signed(), stale_policy="never")
    world.registry("main", "a")
    token = world.access()
    assert digests(await world.get(PATH, token)) == BOTH
    monkeypatch.setattr("vreg_proxy.asking.COPY_SECONDS", 0.0)
    world.clock.advance(61)
    assert digests(await world.get(PATH, token)) == BOTH


@pytest.mark.parametrize(("policy", "status"), [("on_unavailable", 200), ("never", 503)])
async def test_a_list_is_served_stale_by_the_rules_of_tags(
    world: ProxyWorld, policy: str, status: int
) -> None:
    registry = signed()
    await world.upstream("a", registry, stale_policy=policy)
    world.registry("main", "a")
    token = world.access()
    fresh = await world.get(PATH, token)
    registry.override = lambda _: DROP
    world.clock.advance(61)
    stale = await world.get(PATH, token)
    assert stale.status == status
    if status == 200:
        assert stale.body == fresh.body
        assert "Stale" in stale.headers["warning"]


def test_the_tag_of_a_long_digest_is_cut_as_specified() -> None:
    digest = Digest.of(b"x", "sha512")
    assert fallback_tag(digest).value == f"sha512-{digest.hex[:64]}"
