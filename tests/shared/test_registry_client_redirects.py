"""Redirects: no credential past the first hop, nowhere but https, and addresses checked again."""

import ipaddress

import pytest
from yarl import URL

from tests.support.fake_registry import image_manifest
from tests.support.fake_server import Reply, canary
from tests.support.registry_world import REPOSITORY, LeaseSource, World, lease_for, world
from vreg_shared.egress import EgressPolicy
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.media_types import OCI_MANIFEST
from vreg_shared.oci.reference import Tag
from vreg_shared.provider import Answer, Presentation, Verdict
from vreg_shared.registry_client import RegistryClient
from vreg_shared.registry_client.redirects import next_hop

BLOB = b"layer" * 1000
MANIFEST = image_manifest(BLOB)

ONLY_THE_REGISTRY = EgressPolicy(allowed_cidrs=(ipaddress.ip_network("127.0.0.1/32"),))


async def _ask(client: RegistryClient, question: str) -> object:
    match question:
        case "head_manifest":
            return await client.head_manifest(REPOSITORY, Tag("v1"))
        case "get_manifest":
            return await client.get_manifest(REPOSITORY, Tag("v1"))
        case "head_blob":
            return await client.head_blob(REPOSITORY, Digest.of(BLOB))
    async with client.open_blob(REPOSITORY, Digest.of(BLOB)) as stream:
        if not isinstance(stream, Verdict):
            assert b"".join([chunk async for chunk in stream.chunks]) == BLOB
        return stream


def _target(question: str) -> Reply:
    body = MANIFEST if "manifest" in question else BLOB
    headers = (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", str(Digest.of(body))))
    return Reply(200, headers, body)


QUESTIONS = ("head_manifest", "get_manifest", "head_blob", "open_blob")
HOPS = {
    "another host": ("{storage}/x",),
    "the same host": ("{registry}/elsewhere",),
    "a path on the same host": ("/artifacts-downloads/x?y=%2F",),
    "a relative path": ("elsewhere",),
    "away and back": ("{storage}/x", "{registry}/elsewhere"),
    "five hops": ("/1", "{storage}/2", "{registry}/3", "/4", "/5"),
}


@pytest.mark.parametrize("presentation", [Presentation.BASIC, Presentation.BEARER, Presentation.REALM])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("hops", HOPS)
async def test_no_credential_travels_past_the_first_hop(
    hops: str, question: str, presentation: Presentation
) -> None:
    async with world() as here:
        chain = [hop.format(storage=here.storage.origin, registry=here.server.origin) for hop in HOPS[hops]]
        left = list(chain)

        def redirect(_seen: object) -> Reply:
            return Reply(307, (("Location", left.pop(0)),)) if left else _target(question)

        here.registry.override = redirect
        here.storage.handler = redirect
        client = await here.open_client(LeaseSource([lease_for(here.server.authority, presentation)]))
        if presentation is Presentation.REALM:
            here.registry.override = None
            await client.ping()
            here.registry.override = redirect
            here.server.seen.clear()
        outcome = await _ask(client, question)
        assert not isinstance(outcome, Verdict)
        first, *rest = here.server.seen
        assert "authorization" in first.headers
        for seen in (*rest, *here.storage.seen):
            assert "authorization" not in seen.headers
            assert set(seen.headers) <= {"host", "user-agent", "accept", "accept-encoding", "range"}
        assert len(rest) + len(here.storage.seen) == len(chain)


async def test_a_sixth_hop_is_not_taken() -> None:
    async with world() as here:
        here.registry.override = lambda seen: Reply(302, (("Location", seen.target + "x"),))
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.reason == "too_many_redirects"
        assert len(here.server.seen) == 6


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(
    "location",
    [
        "http://{canary}/x",
        "http://127.0.0.1:{port}/x",
        "https://127.0.0.2:{port}/x",
        "https://127.0.0.1:22/x",
        "https://user:secret@127.0.0.1:{port}/x",
        "https://169.254.169.254/latest/meta-data/",
        "https://0x7f.2:{port}/x",
        "https:\\\\127.0.0.1:{port}/x",
        "https:127.0.0.1:{port}/x",
        "ftp://127.0.0.1:{port}/x",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://127.0.0.1:{port}/a b",
    ],
)
async def test_a_redirect_that_is_not_permitted_is_not_followed(location: str, question: str) -> None:
    async with world(ONLY_THE_REGISTRY) as here, canary() as heard:
        where = location.format(canary=heard[0], port=here.server.port)
        here.registry.override = lambda _seen: Reply(307, (("Location", where),))
        client = await here.open_client()
        outcome = await _ask(client, question)
        assert isinstance(outcome, Verdict)
        assert (outcome.answer, outcome.reason) == (Answer.UNAVAILABLE, "egress_refused")
        assert len(here.server.seen) == 1
        assert (heard[1:], here.storage.seen, here.storage.connections) == ([], [], 0)


async def test_two_locations_are_no_location() -> None:
    async with world() as here:
        both = (("Location", "/a"), ("Location", "/b"))
        here.registry.override = lambda _seen: Reply(307, both)
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.reason == "bad_redirect"


async def _refreshed(here: World) -> RegistryClient:
    host = here.server.authority
    leases = [lease_for(host, Presentation.BASIC, version=version) for version in (1, 2)]
    return await here.open_client(LeaseSource(leases))


async def test_storage_that_answers_401_costs_no_refresh_and_gets_no_credential() -> None:
    async with world() as here:
        digest = here.registry.add_blob(str(REPOSITORY), BLOB)
        here.registry.storage = here.storage.origin
        challenge = (("WWW-Authenticate", 'Basic realm="x", Bearer realm="https://127.0.0.2/token"'),)
        here.storage.handler = lambda _seen: Reply(401, challenge, b"authorization token has expired")
        client = await _refreshed(here)
        async with client.open_blob(REPOSITORY, digest) as outcome:
            assert isinstance(outcome, Verdict)
            assert outcome.reason == "storage_error"
        assert len(here.storage.seen) == 1
        assert "authorization" not in here.storage.seen[0].headers


SIGNED = "https://s.example//a/../b/%2F?X=%2f%2F+%20&sig=a/b==&x=~"


@pytest.mark.parametrize(
    ("current", "location", "expected"),
    [
        ("https://r.example/v2/x", SIGNED, SIGNED),
        ("https://r.example/v2/x", SIGNED + "#fragment", SIGNED),
        ("https://r.example:8443/v2/x", "/y?z=%2F", "https://r.example:8443/y?z=%2F"),
        ("https://r.example/v2/x", "//s.example/y", "https://s.example/y"),
        ("https://r.example/v2/a/b", "../c?d=%2F", "https://r.example/v2/c?d=%2F"),
        ("https://r.example/v2/a/b", "?d=%2F", "https://r.example/v2/a/b?d=%2F"),
        ("https://r.example/v2/a/b", "/x?u=https://y", "https://r.example/x?u=https://y"),
    ],
)
def test_a_location_is_taken_byte_for_byte(current: str, location: str, expected: str) -> None:
    assert str(next_hop(URL(current, encoded=True), location)) == expected
