"""Nobody's failure is filled in with somebody else's image of the same name, and no right travels."""

import itertools

import pytest

from tests.proxy.proxy_world import ProxyWorld
from tests.proxy.test_pulls import BLOB, BY_DIGEST, BY_TAG, LAYER, MANIFEST, OTHER, holding
from tests.support.fake_registry import FakeRegistry, error_reply
from tests.support.fake_server import DROP, SILENCE, Reply
from vreg_shared.messages.registry import MembershipRecord
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST

FAILURES = {
    "401": error_reply(401, "UNAUTHORIZED"),
    "403": error_reply(403, "DENIED"),
    "429": error_reply(429, "TOOMANYREQUESTS"),
    "500": error_reply(500, "UNKNOWN"),
    "502": Reply(502, (), b"bad gateway"),
    "503": error_reply(503, "UNAVAILABLE"),
    "teapot": Reply(418, (), b""),
    "reset": DROP,
    "short body": Reply(200, (("Content-Type", OCI_MANIFEST),), MANIFEST, cut=20),
    "redirect to nowhere": Reply(302, (), b""),
    "another host's certificate": None,
}


SILENT = {
    "before the status": SILENCE,
    "in an absence's body": Reply(404, (), b"{}", cut=0, stall=True),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    ("path", "method"), list(itertools.product((BY_TAG, BY_DIGEST, BLOB), ("GET", "HEAD")))
)
async def test_a_failing_upstream_is_not_filled_in_by_the_next(
    world: ProxyWorld, failure: str, path: str, method: str
) -> None:
    reply = FAILURES[failure]
    await world.upstream("a", FakeRegistry(override=lambda _: reply))
    if reply is None:
        record = world.configured.snapshot().upstreams["a"]
        world.put("upstream", record.model_copy(update={"private_ca": None}))
    lower = await world.upstream("b", holding())
    world.registry("main", "a", "b")
    answer = await world.get(path, world.access(), method=method)
    if (method, failure) != ("HEAD", "short body"):  # which nobody can see
        assert answer.status >= 400 or not answer.is_complete
    assert answer.status != 404
    assert answer.body not in (MANIFEST, LAYER)
    assert not lower.seen


@pytest.mark.parametrize("where", SILENT)
@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST, BLOB])
async def test_a_silent_upstream_is_not_filled_in_by_the_next(
    world: ProxyWorld, path: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_shared.registry_client.client.ANSWER_SECONDS", 0.2)
    silent = await world.upstream("a", FakeRegistry(override=lambda _: SILENT[where]))
    lower = await world.upstream("b", holding())
    world.registry("main", "a", "b")
    answer = await world.get(path, world.access())
    assert (answer.status, answer.reason()) == (503, "timeout")
    assert silent.seen
    assert not lower.seen


async def test_silence_in_the_middle_of_a_manifest_is_not_filled_in_by_the_next(
    world: ProxyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_shared.registry_client.manifests.BODY_SECONDS", 0.2)
    half = Reply(200, (("Content-Type", OCI_MANIFEST),), MANIFEST, cut=20, stall=True)
    await world.upstream("a", FakeRegistry(override=lambda _: half))
    lower = await world.upstream("b", holding())
    world.registry("main", "a", "b")
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.reason()) == (503, "timeout")
    assert not lower.seen


@pytest.mark.parametrize("path", [BY_TAG, BY_DIGEST, BLOB])
@pytest.mark.parametrize("code", ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"])
async def test_only_a_definite_absence_leads_to_the_next(world: ProxyWorld, path: str, code: str) -> None:
    await world.upstream("a", FakeRegistry(override=lambda _: error_reply(404, code)))
    await world.upstream("b", holding())
    world.registry("main", "a", "b")
    assert (await world.get(path, world.access())).status == 200


@pytest.mark.parametrize(("on_hidden", "status"), [("stop", 403), ("continue", 200)])
async def test_hidden_leads_on_only_where_the_membership_says_so(
    world: ProxyWorld, on_hidden: str, status: int
) -> None:
    await world.upstream("a", FakeRegistry(override=lambda _: error_reply(403, "DENIED")))
    await world.upstream("b", holding())
    world.registry(
        "main",
        MembershipRecord.model_validate({"upstream_id": "a", "on_hidden": on_hidden}),
        MembershipRecord(upstream_id="b"),
    )
    assert (await world.get(BY_TAG, world.access())).status == status


async def test_an_upstream_we_have_not_heard_of_yet_is_not_skipped(world: ProxyWorld) -> None:
    lower = await world.upstream("b", holding())
    world.registry("main", "not-here-yet", "b")
    answer = await world.get(BY_TAG, world.access())
    assert (answer.status, answer.reason()) == (503, "upstream_not_known_yet")
    assert not lower.seen


async def test_a_stale_copy_is_the_failing_upstreams_own(world: ProxyWorld) -> None:
    first = FakeRegistry()
    await world.upstream("a", first, tag_validity_seconds=60)
    await world.upstream("b", holding(OTHER))
    world.registry("main", "a", "b")
    token = world.access()
    assert (await world.get(BY_TAG, token)).body == OTHER
    world.clock.advance(61)
    first.override = lambda _: error_reply(503, "UNAVAILABLE")
    assert (await world.get(BY_TAG, token)).status == 503


async def test_a_tag_an_earlier_upstream_comes_to_have_is_its_own_soon(world: ProxyWorld) -> None:
    first = FakeRegistry()
    await world.upstream("a", first, tag_validity_seconds=3600)
    await world.upstream("b", holding(OTHER), tag_validity_seconds=3600)
    world.registry("main", "a", "b")
    token = world.access()
    assert (await world.get(BY_TAG, token)).body == OTHER
    first.add_manifest("team/app", "1", MANIFEST)
    world.clock.advance(16)
    assert (await world.get(BY_TAG, token)).body == MANIFEST


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        (BY_DIGEST, "GET", {}),
        (BY_DIGEST, "HEAD", {}),
        (BLOB, "GET", {}),
        (BLOB, "HEAD", {}),
        (BLOB, "GET", {"range": "bytes=0-9"}),
        (BLOB, "GET", {"if-none-match": f'"{Digest.of(LAYER)}"'}),
        (BY_DIGEST, "GET", {"if-none-match": f'"{Digest.of(MANIFEST)}"'}),
    ],
)
async def test_bytes_of_one_registry_are_no_right_in_another(
    world: ProxyWorld, path: str, method: str, headers: dict[str, str]
) -> None:
    await world.upstream("a", holding())
    poor = await world.upstream("b", FakeRegistry())
    world.registry("main", "a")
    world.registry("other", "b")
    token = world.access()
    await world.get(BY_TAG, token)
    await world.get(BLOB, token)
    kept = await world.get(path.replace("/main/", "/other/"), token, method=method, headers=headers)
    unknown_path = path.replace("/main/", "/other/")[:-8] + "00000000"
    unknown = await world.get(unknown_path, token, method=method, headers=headers)
    assert (kept.status, kept.body) == (unknown.status, unknown.body)
    assert kept.status == 404
    assert all("authorization" not in seen.headers for seen in poor.seen)


async def test_a_purge_needs_the_upstream_again(world: ProxyWorld) -> None:
    server = await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    await world.get(BY_TAG, token)
    record = world.configured.snapshot().upstreams["a"]
    world.put("upstream", record.model_copy(update={"cache_epoch": 1}))
    await world.get(BY_TAG, token)
    assert len(server.seen) == 2


async def test_a_removed_membership_stops_at_once(world: ProxyWorld) -> None:
    await world.upstream("a", holding())
    world.registry("main", "a")
    token = world.access()
    assert (await world.get(BY_TAG, token)).status == 200
    world.registry("main")
    assert (await world.get(BY_TAG, token)).status == 404
    assert (await world.get(BLOB, token)).status == 404


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("path", [BY_TAG, BLOB])
async def test_a_refusal_half_heard_is_not_taken_for_the_one_that_leads_on(
    world: ProxyWorld, status: int, path: str
) -> None:
    """Its words tell an expired credential from a hidden repository."""
    half = Reply(status, (), b'{"errors": [{"code": "DENIED"}]}', cut=10)
    await world.upstream("a", FakeRegistry(override=lambda _: half))
    lower = await world.upstream("b", holding())
    world.registry(
        "main",
        MembershipRecord.model_validate({"upstream_id": "a", "on_hidden": "continue"}),
        MembershipRecord(upstream_id="b"),
    )
    answer = await world.get(path, world.access())
    assert (answer.status, answer.reason()) == (503, "body_truncated")
    assert not lower.seen
