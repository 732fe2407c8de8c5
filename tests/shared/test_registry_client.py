"""Manifests, blobs and tags of one upstream, through the client's front door."""

import asyncio
import json
from dataclasses import replace

import pytest

from tests.support.fake_registry import error_reply, image_manifest
from tests.support.fake_server import DROP, Reply, Seen
from tests.support.registry_world import REPOSITORY, LeaseSource, World, lease_for, world
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import MANIFEST_ACCEPT, MAX_MANIFEST_BYTES, OCI_MANIFEST
from vreg_shared.oci.reference import Tag
from vreg_shared.provider import Answer, Presentation, RegistryKind, Verdict
from vreg_shared.providers.aws.registry import ECR
from vreg_shared.registry_client import (
    BlobInterruptedError,
    BlobStream,
    Manifest,
    ManifestDescriptor,
    RegistryClient,
    TagPage,
)

LAYER = bytes(range(256)) * 4096
MANIFEST = image_manifest(LAYER)
NAME = str(REPOSITORY)


def _verdict(outcome: object) -> tuple[Answer, str]:
    assert isinstance(outcome, Verdict), outcome
    return outcome.answer, outcome.reason


def _filled(here: World) -> tuple[Digest, Digest]:
    return here.registry.add_manifest(NAME, "v1", MANIFEST), here.registry.add_blob(NAME, LAYER)


async def _blob(client: RegistryClient, digest: Digest, offset: int = 0) -> bytes | Verdict:
    async with client.open_blob(REPOSITORY, digest, offset) as stream:
        if isinstance(stream, Verdict):
            return stream
        return b"".join([chunk async for chunk in stream.chunks])


async def _collect(stream: BlobStream, received: bytearray) -> None:
    async for chunk in stream.chunks:
        received += chunk


async def test_a_tag_is_resolved_by_head_alone() -> None:
    async with world() as here:
        digest, _ = _filled(here)
        client = await here.open_client()
        told = await client.head_manifest(REPOSITORY, Tag("v1"))
        assert told == ManifestDescriptor(digest, OCI_MANIFEST, len(MANIFEST))
        assert [(seen.method, seen.headers["accept"]) for seen in here.server.seen] == [
            ("HEAD", MANIFEST_ACCEPT)
        ]
        assert here.server.seen[0].headers["accept-encoding"] == "identity"


async def test_head_without_a_digest_falls_back_to_get_and_hashes() -> None:
    async with world() as here:
        digest, _ = _filled(here)
        here.registry.hides_digest_on_head = True
        client = await here.open_client()
        told = await client.head_manifest(REPOSITORY, Tag("v1"))
        assert told == ManifestDescriptor(digest, OCI_MANIFEST, len(MANIFEST))
        assert [seen.method for seen in here.server.seen] == ["HEAD", "GET"]


async def test_a_manifest_comes_byte_for_byte_with_our_own_digest() -> None:
    async with world() as here:
        digest, _ = _filled(here)
        client = await here.open_client()
        assert await client.get_manifest(REPOSITORY, digest) == Manifest(digest, OCI_MANIFEST, MANIFEST)
        assert await client.get_manifest(REPOSITORY, Tag("v1")) == Manifest(digest, OCI_MANIFEST, MANIFEST)


async def test_a_sha512_digest_is_checked_with_sha512() -> None:
    async with world() as here:
        digest = Digest.of(MANIFEST, "sha512")
        here.registry.manifests[NAME, str(digest)] = (OCI_MANIFEST, MANIFEST)
        here.registry.override = lambda _seen: Reply(200, (("Content-Type", OCI_MANIFEST),), MANIFEST)
        client = await here.open_client()
        found = await client.get_manifest(REPOSITORY, digest)
        assert isinstance(found, Manifest)
        assert found.digest == digest


@pytest.mark.parametrize("method", ["get_manifest", "head_manifest"])
async def test_another_manifest_than_the_one_asked_for_is_refused(method: str) -> None:
    async with world() as here:
        asked, _ = _filled(here)
        other = image_manifest(b"other")
        here.registry.manifests[NAME, str(asked)] = (OCI_MANIFEST, other)
        client = await here.open_client()
        outcome = await getattr(client, method)(REPOSITORY, asked)
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "digest_mismatch")


async def test_a_promised_digest_must_be_that_of_the_bytes() -> None:
    async with world() as here:
        _filled(here)
        lie = (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", str(Digest.of(b"lie"))))
        here.registry.override = lambda _seen: Reply(200, lie, MANIFEST)
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "digest_mismatch")


def _typed(body: bytes, *headers: tuple[str, str], **reply: object) -> Reply:
    return Reply(200, (("Content-Type", OCI_MANIFEST), *headers), body, **reply)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (_typed(b" " * (MAX_MANIFEST_BYTES + 1)), "body_too_large"),
        (_typed(b" " * (MAX_MANIFEST_BYTES + 1), length=None), "body_too_large"),
        (_typed(MANIFEST, ("Content-Encoding", "gzip")), "body_encoded"),
        (_typed(MANIFEST, ("Content-Encoding", "identity, br")), "body_encoded"),
        (_typed(MANIFEST, length=len(MANIFEST) + 1), "body_truncated"),
        (_typed(MANIFEST, cut=5), "body_truncated"),
        (_typed(MANIFEST, is_chunked=True, cut=5), "body_truncated"),
        (_typed(MANIFEST[:-5], length=None), "manifest_invalid"),
        (_typed(b"<html>sign in to the airport</html>"), "manifest_invalid"),
        (_typed(b'{"schemaVersion":2,"layers":[],"manifests":[]}'), "manifest_invalid"),
        (_typed(MANIFEST, *((f"X-{n}", "x" * 8000) for n in range(5))), "headers_too_large"),
        (_typed(MANIFEST, ("X", "x" * 20_000)), "bad_answer"),
        (_typed(MANIFEST, *((f"X-{n}", "x") for n in range(500))), "bad_answer"),
        (Reply(204), "unexpected_answer"),
        (Reply(206, (), MANIFEST), "unexpected_answer"),
        (Reply(304), "unexpected_answer"),
        (Reply(500, (), b"oops"), "upstream_error"),
        (Reply(503, (), b"oops"), "upstream_error"),
        (Reply(429, (("Retry-After", "7"),), b"slow down"), "throttled"),
        (Reply(302), "bad_redirect"),
    ],
)
async def test_a_manifest_that_cannot_be_trusted_is_unavailable(reply: Reply, reason: str) -> None:
    async with world() as here:
        here.registry.override = lambda _seen: reply
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert _verdict(outcome) == (Answer.UNAVAILABLE, reason)


async def test_a_throttled_answer_is_asked_once_and_says_when_to_come_back() -> None:
    async with world() as here:
        here.registry.override = lambda _seen: Reply(429, (("Retry-After", "7"),))
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.retry_after == 7
        assert len(here.server.seen) == 1


async def test_what_an_error_body_says_beyond_8_kib_is_not_read() -> None:
    async with world() as here:
        here.registry.override = lambda _seen: Reply(500, (), b"x" * 5_000_000)
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert len(outcome.detail) < 8192


async def test_a_detail_never_repeats_our_credential() -> None:
    async with world() as here:

        def parrot(seen: Seen) -> Reply:
            return Reply(403, (), f"you sent {seen.headers['authorization']} hunter2".encode())

        here.registry.override = parrot
        lease = lease_for(here.server.authority, Presentation.BASIC)
        client = await here.open_client(LeaseSource([lease]))
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.detail == ""


@pytest.mark.parametrize("drops", [1, 2])
async def test_a_connection_lost_before_the_answer_is_tried_again(drops: int) -> None:
    async with world() as here:
        digest, _ = _filled(here)
        left = [DROP] * drops
        here.registry.override = lambda _seen: left.pop() if left else None
        client = await here.open_client()
        found = await client.get_manifest(REPOSITORY, digest)
        assert isinstance(found, Manifest)
        assert len(here.server.seen) == drops + 1


async def test_three_tries_are_all_even_over_kept_alive_connections() -> None:
    async with world() as here:
        digest, _ = _filled(here)
        client = await here.open_client()
        assert isinstance(await client.get_manifest(REPOSITORY, digest), Manifest)
        here.server.seen.clear()
        here.registry.override = lambda _seen: DROP
        outcome = await client.get_manifest(REPOSITORY, digest)
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "connection_failed")
        assert len(here.server.seen) == 3


async def test_a_blob_comes_through_the_storage_redirect() -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.storage = here.storage.origin
        client = await here.open_client()
        assert await client.head_blob(REPOSITORY, digest) == len(LAYER)
        assert await _blob(client, digest) == LAYER
        assert [seen.target for seen in here.storage.seen] == [f"//blobs/{digest}?{here.registry.signature}"]


async def test_a_blob_is_resumed_where_it_was_left() -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.storage = here.storage.origin
        client = await here.open_client()
        async with client.open_blob(REPOSITORY, digest, 1000) as stream:
            assert isinstance(stream, BlobStream)
            assert (stream.size, stream.offset) == (len(LAYER), 1000)
            assert b"".join([chunk async for chunk in stream.chunks]) == LAYER[1000:]
        assert here.server.seen[0].headers["range"] == "bytes=1000-"
        assert here.storage.seen[0].headers["range"] == "bytes=1000-"


async def test_an_upstream_that_ignores_ranges_is_reported_as_beginning_anew() -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.ignores_range = True
        client = await here.open_client()
        async with client.open_blob(REPOSITORY, digest, 1000) as stream:
            assert isinstance(stream, BlobStream)
            assert (stream.size, stream.offset) == (len(LAYER), 0)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(206, (), LAYER[1000:]),
        Reply(206, (("Content-Range", "bytes 0-1048575/1048576"),), LAYER[1000:]),
        Reply(206, (("Content-Range", "bytes 999-1048575/1048576"),), LAYER[999:]),
        Reply(206, (("Content-Range", "bytes 1000-2000/1048576"),), LAYER[1000:2001]),
        Reply(206, (("Content-Range", "bytes 1000-1048575/*"),), LAYER[1000:]),
        Reply(206, (("Content-Range", "bytes 1000-1048575/1048576"),), LAYER[1001:]),
        Reply(206, (("Content-Range", "bytes 1000-999/1000"),), b""),
        Reply(206, (("Content-Range", "pages 1000-1048575/1048576"),), LAYER[1000:]),
        Reply(206, (("Content-Type", "multipart/byteranges; boundary=x"),), b"--x--"),
    ],
)
async def test_a_range_that_is_not_the_one_asked_for_is_refused(reply: Reply) -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.override = lambda _seen: reply
        client = await here.open_client()
        outcome = await _blob(client, digest, 1000)
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "range_mismatch")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(200, (), LAYER, cut=3000), "connection_failed"),
        (Reply(200, (), LAYER, is_chunked=True, cut=3000), "connection_failed"),
        (Reply(200, (), LAYER[:3000], length=None), "truncated"),
    ],
)
async def test_a_body_that_ends_early_says_where(reply: Reply, reason: str) -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.override = lambda seen: reply if seen.method == "GET" else None
        client = await here.open_client()
        received = bytearray()
        async with client.open_blob(REPOSITORY, digest) as stream:
            assert isinstance(stream, BlobStream)
            with pytest.raises(BlobInterruptedError) as interrupted:
                await _collect(stream, received)
        assert (interrupted.value.reason, interrupted.value.position) == (reason, len(received))
        assert bytes(received) == LAYER[: len(received)]
        assert len(received) <= 3000


@pytest.mark.parametrize("is_chunked", [True, False])
async def test_a_body_longer_than_the_blob_is_cut_off(is_chunked: bool) -> None:  # noqa: FBT001 - a parameter of the case
    async with world() as here:
        _, digest = _filled(here)
        long = Reply(200, (), LAYER + b"more", length=None, is_chunked=is_chunked)
        here.registry.override = lambda seen: long if seen.method == "GET" else None
        client = await here.open_client()
        received = bytearray()
        async with client.open_blob(REPOSITORY, digest) as stream:
            assert isinstance(stream, BlobStream)
            with pytest.raises(BlobInterruptedError) as interrupted:
                await _collect(stream, received)
        assert len(received) <= len(LAYER)
        assert interrupted.value.reason == "over_long"


async def test_a_body_without_a_length_takes_it_from_head() -> None:
    async with world() as here:
        _, digest = _filled(here)
        chunked = Reply(200, (), LAYER, is_chunked=True)
        here.registry.override = lambda seen: chunked if seen.method == "GET" else None
        client = await here.open_client()
        assert await _blob(client, digest) == LAYER


async def test_a_blob_whose_length_nobody_tells_is_unavailable() -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.override = lambda _seen: Reply(200, (), LAYER, is_chunked=True)
        client = await here.open_client()
        assert _verdict(await _blob(client, digest)) == (Answer.UNAVAILABLE, "length_unknown")
        assert _verdict(await client.head_blob(REPOSITORY, digest)) == (Answer.UNAVAILABLE, "length_unknown")


async def test_an_encoded_blob_is_refused() -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.override = lambda _seen: Reply(200, (("Content-Encoding", "gzip"),), LAYER)
        client = await here.open_client()
        assert _verdict(await _blob(client, digest)) == (Answer.UNAVAILABLE, "body_encoded")


async def test_leaving_a_blob_early_leaves_the_client_usable() -> None:
    async with world() as here:
        manifest, digest = _filled(here)
        client = await here.open_client()
        async with client.open_blob(REPOSITORY, digest) as stream:
            assert isinstance(stream, BlobStream)
        assert isinstance(await client.get_manifest(REPOSITORY, manifest), Manifest)


async def test_connections_are_kept_alive_between_requests() -> None:
    async with world() as here:
        manifest, digest = _filled(here)
        here.registry.storage = here.storage.origin
        client = await here.open_client()
        for _ in range(3):
            await client.head_manifest(REPOSITORY, Tag("v1"))
            await client.get_manifest(REPOSITORY, manifest)
            await client.get_manifest(REPOSITORY, Tag("absent"))
            assert await _blob(client, digest) == LAYER
        assert (here.server.connections, here.storage.connections) == (1, 1)


@pytest.mark.parametrize("status", [400, 403, 404, 500])
async def test_what_storage_refuses_is_never_absent_or_hidden(status: int) -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.storage = here.storage.origin
        here.storage.handler = lambda _seen: Reply(status, (), b"<Error><Code>NoSuchKey</Code></Error>")
        client = await here.open_client()
        outcome = await _blob(client, digest)
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "storage_error")
        assert isinstance(outcome, Verdict)
        assert outcome.detail == f"127.0.0.2 answered {status} NoSuchKey"


async def test_a_registry_behind_a_redirect_may_say_absent_in_its_own_words() -> None:
    async with world() as here:
        moved = Reply(307, (("Location", f"{here.storage.origin}/v2/x/manifests/v1"),))
        here.registry.override = lambda _seen: moved
        here.storage.handler = lambda _seen: error_reply(404, "MANIFEST_UNKNOWN")
        client = await here.open_client()
        for ask in (client.head_manifest, client.get_manifest):
            assert _verdict(await ask(REPOSITORY, Tag("v1"))) == (Answer.ABSENT, "manifest_unknown")


async def test_head_refused_by_storage_falls_back_to_get() -> None:
    async with world() as here:
        _, digest = _filled(here)
        moved = Reply(307, (("Location", f"{here.storage.origin}/x"),))
        here.registry.override = lambda _seen: moved
        here.storage.handler = lambda seen: Reply(403) if seen.method == "HEAD" else Reply(200, (), LAYER)
        client = await here.open_client()
        assert await client.head_blob(REPOSITORY, digest) == len(LAYER)


@pytest.mark.parametrize(
    ("reply", "answer", "reason"),
    [
        (error_reply(404, "MANIFEST_UNKNOWN"), Answer.ABSENT, "manifest_unknown"),
        (error_reply(404, "NAME_UNKNOWN", "does not exist"), Answer.ABSENT, "repository_unknown"),
        (
            error_reply(403, "DENIED", "User: arn:x is not authorized to perform: ecr:BatchGetImage on y"),
            Answer.HIDDEN,
            "permission_denied",
        ),
        (
            error_reply(403, "DENIED", "Your authorization token has expired. Reauthenticate"),
            Answer.REFUSED,
            "broker_says_no",
        ),
        (Reply(401, (), b"Not Authorized\n"), Answer.REFUSED, "broker_says_no"),
        (error_reply(429, "TOOMANYREQUESTS", "Rate exceeded"), Answer.UNAVAILABLE, "throttled"),
        (error_reply(500, "UNKNOWN"), Answer.UNAVAILABLE, "upstream_error"),
    ],
)
@pytest.mark.parametrize("method", ["get_manifest", "head_manifest"])
async def test_ecrs_answers_are_judged_by_its_table(
    reply: Reply, answer: Answer, reason: str, method: str
) -> None:
    async with world() as here:
        here.registry.override = lambda _seen: reply
        source = LeaseSource([lease_for(here.server.authority, Presentation.BASIC)])
        client = await here.open_client(source, _ecr_here())
        outcome = await getattr(client, method)(REPOSITORY, Tag("v1"))
        expected = {"manifest_unknown", "repository_unknown"} if method == "head_manifest" else set()
        if reason in expected:  # a HEAD's 404 is plain enough without its words
            assert _verdict(outcome) == (Answer.ABSENT, "not_found")
        else:
            assert _verdict(outcome) == (answer, reason)


def _ecr_here() -> RegistryKind:
    return replace(ECR, storage_names=lambda _host: ())


@pytest.mark.parametrize(
    "question", ["ping", "head_manifest", "get_manifest", "head_blob", "open_blob", "tags"]
)
async def test_an_expired_credential_is_replaced_once_and_the_question_asked_again(question: str) -> None:
    async with world() as here:
        manifest, blob = _filled(here)
        here.registry.auth = "basic"
        expired = error_reply(403, "DENIED", "Your authorization token has expired. Reauthenticate")
        fresh = here.registry.credential
        here.registry.override = lambda seen: None if seen.headers["authorization"] == fresh else expired
        host = here.server.authority
        source = LeaseSource(
            [
                lease_for(host, Presentation.BASIC, secret="old"),
                lease_for(host, Presentation.BASIC, version=2),
            ]
        )
        old = source.leases[0].generation
        client = await here.open_client(source, _ecr_here())
        outcome = {
            "ping": client.ping,
            "head_manifest": lambda: client.head_manifest(REPOSITORY, Tag("v1")),
            "get_manifest": lambda: client.get_manifest(REPOSITORY, manifest),
            "head_blob": lambda: client.head_blob(REPOSITORY, blob),
            "open_blob": lambda: _blob(client, blob),
            "tags": lambda: client.list_tags(REPOSITORY),
        }[question]()
        result = await outcome
        assert not isinstance(result, Verdict) or result.answer is Answer.FOUND
        assert source.refused == [old]


async def test_a_fresh_credential_that_is_refused_too_is_the_end() -> None:
    async with world() as here:
        here.registry.override = lambda _seen: Reply(401, (), b"Not Authorized\n")
        host = here.server.authority
        source = LeaseSource([lease_for(host, Presentation.BASIC, version=n) for n in (1, 2, 3, 4)])
        client = await here.open_client(source, _ecr_here())
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert _verdict(outcome) == (Answer.REFUSED, "credential_rejected")
        assert (len(source.refused), len(here.server.seen)) == (1, 2)


async def test_a_lease_for_another_host_is_not_sent() -> None:
    async with world() as here:
        _filled(here)
        for presentation in Presentation:
            client = await here.open_client(LeaseSource([lease_for("other.example", presentation)]))
            outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
            assert _verdict(outcome) == (Answer.REFUSED, "lease_not_for_host")
        assert here.server.seen == []


async def test_tags_come_in_pages_by_the_upstreams_own_links() -> None:
    async with world() as here:
        for tag in ("a", "b", "c"):
            here.registry.add_manifest(NAME, tag, MANIFEST)
        client = await here.open_client()
        first = await client.list_tags(REPOSITORY, n=2)
        assert first == TagPage((Tag("a"), Tag("b")), f"/v2/{NAME}/tags/list?last=b&n=2")
        assert isinstance(first, TagPage)
        assert await client.list_tags(REPOSITORY, page=first.next_page) == TagPage((Tag("c"),), None)
        assert await client.list_tags(REPOSITORY, last="b") == TagPage((Tag("c"),), None)
        assert here.server.seen[1].target == first.next_page


@pytest.mark.parametrize(
    "link",
    [
        "https://127.0.0.2:1/v2/x",
        "//evil.example/v2/x",
        "http://{host}/v2/x",
        "https://{host}:1/v2/x",
        "https://user@{host}/v2/x",
        "https:\\\\evil.example/v2/x",
    ],
)
async def test_a_page_link_elsewhere_is_refused(link: str) -> None:
    async with world() as here:
        headers = (("Link", f'<{link.format(host=here.server.authority)}>; rel="next"'),)
        here.registry.override = lambda _seen: Reply(200, headers, b'{"tags":["a"]}')
        client = await here.open_client()
        outcome = await client.list_tags(REPOSITORY)
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "page_link_rejected")
        assert here.storage.seen == []


@pytest.mark.parametrize("page", ["/token?x", "//evil.example/v2/", "https://evil.example/v2/", "/v2/ x", ""])
async def test_a_page_that_no_registry_named_is_refused(page: str) -> None:
    async with world() as here:
        client = await here.open_client()
        outcome = await client.list_tags(REPOSITORY, page=page)
        assert _verdict(outcome) == (Answer.UNAVAILABLE, "page_link_rejected")
        assert here.server.seen == []


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        ({"name": "x", "tags": None}, ()),
        ({"tags": ["ok", "../../etc/passwd", 7, "", "-bad", "ok2"]}, (Tag("ok"), Tag("ok2"))),
        ({"tags": ["v1"], "child": [], "manifest": {"sha256:…": {"imageSizeBytes": "1"}}}, (Tag("v1"),)),
    ],
)
async def test_tags_are_read_leniently(body: object, tags: tuple[Tag, ...]) -> None:
    async with world() as here:
        here.registry.override = lambda _seen: Reply(200, (), json.dumps(body).encode())
        client = await here.open_client()
        assert await client.list_tags(REPOSITORY) == TagPage(tags, None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "bad_answer"),
        (b"[" * 100_000, "bad_answer"),
        (b" " * (8 * 2**20 + 1), "body_too_large"),
        (b'{"tags": [' + b'"a",' * 100_000 + b'"a"]}', "too_many_tags"),
    ],
)
async def test_a_list_of_tags_that_is_none_is_unavailable(body: bytes, reason: str) -> None:
    async with world() as here:
        here.registry.override = lambda _seen: Reply(200, (), body)
        client = await here.open_client()
        assert _verdict(await client.list_tags(REPOSITORY)) == (Answer.UNAVAILABLE, reason)


@pytest.mark.parametrize("body", [b"", MANIFEST[:50]])
async def test_an_answer_that_stands_still_ends_at_its_deadline(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vreg_shared.registry_client.manifests.BODY_SECONDS", 0.1)
    monkeypatch.setattr("vreg_shared.registry_client.pages.BODY_SECONDS", 0.1)
    async with world() as here:
        still = Reply(200, (("Content-Type", OCI_MANIFEST),), body, length=5000, stall=True)
        here.registry.override = lambda _seen: still
        client = await here.open_client()
        for outcome in (
            await client.get_manifest(REPOSITORY, Tag("v1")),
            await client.list_tags(REPOSITORY),
        ):
            assert _verdict(outcome) == (Answer.UNAVAILABLE, "timeout")


async def test_an_answer_that_never_begins_ends_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_shared.registry_client.client.ANSWER_SECONDS", 0.1)
    async with world() as here:
        here.registry.override = lambda seen: Reply(302, (("Location", seen.target),), b"", 9, stall=True)
        client = await here.open_client()
        assert _verdict(await _blob(client, Digest.of(b""))) == (Answer.UNAVAILABLE, "timeout")
        assert _verdict(await client.ping()) == (Answer.UNAVAILABLE, "timeout")


@pytest.mark.parametrize(
    "reply", [DROP, Reply(403, (), b"no"), Reply(200, (), b"x" * 99, cut=9), Reply(302), Reply(429)]
)
async def test_no_word_of_ours_repeats_a_signature(reply: Reply) -> None:
    async with world() as here:
        _, digest = _filled(here)
        here.registry.storage = here.storage.origin
        here.storage.handler = lambda _seen: reply
        client = await here.open_client()
        async with client.open_blob(REPOSITORY, digest) as stream:
            if isinstance(stream, BlobStream):
                with pytest.raises(BlobInterruptedError) as interrupted:
                    await _collect(stream, bytearray())
                assert "X-Sig" not in f"{interrupted.value}"
            else:
                assert "X-Sig" not in repr(stream)


async def test_blobs_on_their_way_leave_room_for_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_shared.registry_client.client.MAX_BODIES", 1)
    async with world() as here:
        _, layer = _filled(here)
        client = await here.open_client()
        async with client.open_blob(REPOSITORY, layer):
            second = asyncio.create_task(_blob(client, layer))
            assert isinstance(await client.head_manifest(REPOSITORY, Tag("v1")), ManifestDescriptor)
            assert not second.done()
        assert await second == LAYER
        assert [seen.method for seen in here.server.seen] == ["GET", "HEAD", "GET"]


async def test_a_blob_whose_turn_does_not_come_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vreg_shared.registry_client.client.MAX_BODIES", 1)
    monkeypatch.setattr("vreg_shared.registry_client.client.TURN_SECONDS", 0.05)
    async with world() as here:
        _, layer = _filled(here)
        client = await here.open_client()
        async with client.open_blob(REPOSITORY, layer):
            assert _verdict(await _blob(client, layer)) == (Answer.UNAVAILABLE, "too_many_blobs")
        assert await _blob(client, layer) == LAYER
