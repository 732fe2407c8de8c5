"""The last rung: challenges, realms, registry tokens."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_registry import basic, error_reply, image_manifest
from tests.support.fake_server import Reply, Seen, canary
from tests.support.registry_world import REPOSITORY, LeaseSource, World, any_oci, lease_for, world
from vreg_shared.lease import Generation, Lease
from vreg_shared.oci.challenge import Challenge
from vreg_shared.oci.reference import RepositoryName, Tag
from vreg_shared.provider import Answer, Presentation, RegistryKind, Verdict
from vreg_shared.registry_client import Manifest, ManifestDescriptor, RegistryClient, TagPage, Target
from vreg_shared.registry_client.challenges import (
    BasicAsked,
    RealmRejectedError,
    TokenOffer,
    permitted_realm,
    readable_scopes,
    wanted,
)
from vreg_shared.registry_client.registry_tokens import parse_token
from vreg_shared.registry_client.single_flight import SingleFlight
from vreg_shared.registry_client.transport import RequestFailedError

MANIFEST = image_manifest(b"layer")
NAME = str(REPOSITORY)
GOOD = basic("vreg", "hunter2")
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def _bearer(here: World) -> None:
    here.registry.auth = "bearer"
    here.registry.realm = f"{here.server.origin}/token"
    here.registry.add_manifest(NAME, "v1", MANIFEST)


async def _client(here: World, *leases: str) -> tuple[RegistryClient, LeaseSource]:
    """Return a client whose successive leases have these secrets."""
    host = here.server.authority
    source = LeaseSource(
        [lease_for(host, secret=secret, version=number) for number, secret in enumerate(leases, 1)]
    )
    return await here.open_client(source), source


def _tokens_asked(here: World) -> list[str]:
    return [seen.query for seen in here.server.seen if seen.path == "/token"]


async def test_a_token_is_taken_once_for_a_repository() -> None:
    async with world() as here:
        _bearer(here)
        client, _ = await _client(here, "hunter2")
        for _ in range(3):
            assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert _tokens_asked(here) == [f"service=registry.test&scope=repository%3A{'team%2Fapp'}%3Apull"]
        sent = [seen.headers.get("authorization", "")[:6] for seen in here.server.seen]
        assert sent == ["", "Basic ", "Bearer", "Bearer", "Bearer"]


async def test_an_anonymous_upstream_takes_a_token_without_a_credential() -> None:
    async with world() as here:
        _bearer(here)
        client = await here.open_client()
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert all(not seen.headers.get("authorization", "").startswith("Basic") for seen in here.server.seen)


async def test_with_a_credential_nothing_is_asked_anonymously() -> None:
    async with world() as here:
        here.registry.add_manifest(NAME, "v1", MANIFEST)
        client, _ = await _client(here, "hunter2")
        await client.get_manifest(REPOSITORY, Tag("v1"))
        first, second = here.server.seen
        assert (first.target, second.headers["authorization"]) == ("/v2/", GOOD)


async def test_basic_is_used_where_basic_is_asked_for() -> None:
    async with world() as here:
        here.registry.auth = "basic"
        here.registry.add_manifest(NAME, "v1", MANIFEST)
        client, _ = await _client(here, "hunter2")
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert [seen.path for seen in here.server.seen] == ["/v2/", f"/v2/{NAME}/manifests/v1"]


async def test_a_token_is_renewed_before_it_ends() -> None:
    async with world() as here:
        _bearer(here)
        client, _ = await _client(here, "hunter2")
        await client.ping()
        await client.get_manifest(REPOSITORY, Tag("v1"))
        here.clock.advance(269)
        await client.get_manifest(REPOSITORY, Tag("v1"))
        assert len(_tokens_asked(here)) == 2
        here.clock.advance(2)
        await client.get_manifest(REPOSITORY, Tag("v1"))
        assert len(_tokens_asked(here)) == 3


async def test_a_token_the_registry_forgot_is_taken_anew_without_a_refresh() -> None:
    async with world() as here:
        _bearer(here)
        client, source = await _client(here, "hunter2", "never")
        await client.get_manifest(REPOSITORY, Tag("v1"))
        here.clock.advance(1)
        here.registry.revoked.update(here.registry.issued)
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert (len(_tokens_asked(here)), source.refused) == (2, [])


async def test_fifty_requests_at_once_take_one_token() -> None:
    async with world() as here:
        _bearer(here)
        client, _ = await _client(here, "hunter2")
        outcomes = await asyncio.gather(*(client.get_manifest(REPOSITORY, Tag("v1")) for _ in range(50)))
        assert all(isinstance(outcome, Manifest) for outcome in outcomes)
        assert len(_tokens_asked(here)) == 1
        assert [seen.path for seen in here.server.seen].count("/v2/") == 1


async def test_each_repository_has_its_own_token() -> None:
    async with world() as here:
        _bearer(here)
        here.registry.add_manifest("other", "v1", MANIFEST)
        client, _ = await _client(here, "hunter2")
        await asyncio.gather(
            *(client.get_manifest(RepositoryName.parse(name), Tag("v1")) for name in (NAME, "other") * 5)
        )
        assert len(_tokens_asked(here)) == 2


async def test_a_credential_the_realm_refuses_is_replaced_once() -> None:
    async with world() as here:
        _bearer(here)
        client, source = await _client(here, "expired", "hunter2")
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert len(source.refused) == 1


async def test_a_credential_the_realm_refuses_twice_is_refused() -> None:
    async with world() as here:
        _bearer(here)
        client, source = await _client(here, "expired", "wrong", "hunter2")
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert (outcome.answer, outcome.reason) == (Answer.REFUSED, "credential_rejected")
        assert len(source.refused) == 1


@pytest.mark.parametrize(
    ("reply", "answer", "reason"),
    [
        (error_reply(403, "DENIED", "retrieving permissions failed"), Answer.HIDDEN, "permission_denied"),
        (error_reply(404, "NAME_UNKNOWN"), Answer.UNAVAILABLE, "token_endpoint_unknown"),
        (error_reply(429, "TOOMANYREQUESTS"), Answer.UNAVAILABLE, "throttled"),
        (Reply(503), Answer.UNAVAILABLE, "upstream_error"),
        (Reply(302, (("Location", "https://127.0.0.2/"),)), Answer.REFUSED, "realm_rejected"),
        (Reply(200, (), b"{}"), Answer.UNAVAILABLE, "bad_token_answer"),
        (Reply(200, (), b"[]"), Answer.UNAVAILABLE, "bad_token_answer"),
        (Reply(200, (), b"<html>"), Answer.UNAVAILABLE, "bad_token_answer"),
        (Reply(200, (), b'{"token":"a\\r\\nX: y"}'), Answer.UNAVAILABLE, "bad_token_answer"),
        (Reply(200, (), b'{"token":7}'), Answer.UNAVAILABLE, "bad_token_answer"),
        (Reply(200, (), b" " * 65537), Answer.UNAVAILABLE, "body_too_large"),
        (Reply(200, (("Content-Encoding", "gzip"),), b"x"), Answer.UNAVAILABLE, "body_encoded"),
    ],
)
async def test_a_realms_failure_is_no_answer_about_the_repository(
    reply: Reply, answer: Answer, reason: str
) -> None:
    async with world() as here:
        _bearer(here)
        here.registry.override = lambda seen: reply if seen.path == "/token" else None
        client, _ = await _client(here, "hunter2")
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert (outcome.answer, outcome.reason) == (answer, reason)
        assert here.storage.seen == []


@pytest.mark.parametrize(
    ("error", "answer", "reason"),
    [
        ("insufficient_scope", Answer.HIDDEN, "permission_denied"),
        ("invalid_token", Answer.REFUSED, "registry_token_rejected"),
    ],
)
async def test_a_401_for_a_token_just_issued_is_not_the_leases_fault(
    error: str, answer: Answer, reason: str
) -> None:
    async with world() as here:
        _bearer(here)
        value = f'Bearer realm="{here.registry.realm}",error="{error}"'
        refusal = error_reply(401, "UNAUTHORIZED", "", (("WWW-Authenticate", value),))
        here.registry.override = lambda seen: refusal if "manifests" in seen.path else None
        client, source = await _client(here, "hunter2", "other")
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert (outcome.answer, outcome.reason, source.refused) == (answer, reason, [])


@pytest.mark.parametrize(("ends", "answer"), [(True, "given"), (False, "registry_token_rejected")])
async def test_a_lease_that_ends_is_replaced_once_when_its_tokens_are_worth_nothing(
    ends: bool,  # noqa: FBT001 - a case
    answer: str,
) -> None:
    async with world() as here:
        _bearer(here)
        here.registry.credential = basic("vreg", "ended")
        _reject_tokens(here)
        end = NOW if ends else None
        leases = [
            replace(lease_for(here.server.authority, secret=secret, version=version), not_after=end)
            for version, secret in enumerate(("ended", "fresh"), 1)
        ]
        source = LeaseSource(leases)
        replacing = source.replace

        async def replace_and_mend(refused: Generation) -> Lease:
            here.registry.credential, here.registry.override = basic("vreg", "fresh"), None
            return await replacing(refused)

        source.replace = replace_and_mend  # type: ignore[method-assign]  # the cloud is well again by then
        client = await here.open_client(source)
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert (outcome.reason if isinstance(outcome, Verdict) else "given") == answer
        assert len(source.refused) == int(ends)


async def test_a_lease_that_ends_is_not_replaced_twice_for_one_request() -> None:
    async with world() as here:
        _bearer(here)
        _reject_tokens(here)
        lease = replace(lease_for(here.server.authority), not_after=NOW)
        later = replace(lease, generation=Generation(2, 0, "broker"))
        source = LeaseSource([lease, later, later])
        client = await here.open_client(source)
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert (outcome.reason, len(source.refused)) == ("registry_token_rejected", 1)


def _reject_tokens(here: World) -> None:
    value = f'Bearer realm="{here.registry.realm}",error="invalid_token"'
    refusal = error_reply(401, "UNAUTHORIZED", "", (("WWW-Authenticate", value),))
    here.registry.override = lambda seen: refusal if "manifests" in seen.path else None


BAD_TOKEN = error_reply(400, "DENIED", "Your Authorization Token has expired.")
ecr_public = replace(any_oci, stale_token_statuses=frozenset({400, 401}))


def _call_old_tokens_bad(here: World, refusal: Reply) -> None:
    """Answer as public.ecr.aws does: a token that ended is a bad request, without a challenge."""

    def answer(seen: Seen) -> Reply | None:
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        return refusal if token in here.registry.revoked else None

    here.registry.override = answer


@pytest.mark.parametrize("has_lease", [True, False])
@pytest.mark.parametrize("refusal", [BAD_TOKEN, error_reply(401, "UNAUTHORIZED")], ids=["400", "401"])
async def test_a_stale_token_that_no_challenge_speaks_of_is_taken_anew_once(
    refusal: Reply,
    has_lease: bool,  # noqa: FBT001 - a case
) -> None:
    async with world() as here:
        _bearer(here)
        source = LeaseSource([lease_for(here.server.authority)])
        client = await here.open_client(source if has_lease else None, ecr_public)
        await client.get_manifest(REPOSITORY, Tag("v1"))
        here.clock.advance(1)
        here.registry.revoked.update(here.registry.issued)
        _call_old_tokens_bad(here, refusal)
        assert isinstance(await client.head_manifest(REPOSITORY, Tag("v1")), ManifestDescriptor)
        assert (len(_tokens_asked(here)), source.refused) == (2, [])


async def test_a_registry_that_calls_every_token_stale_is_asked_twice_and_no_more() -> None:
    async with world() as here:
        _bearer(here)
        client, source = await _client_of(here, ecr_public)
        await client.get_manifest(REPOSITORY, Tag("v1"))
        here.clock.advance(1)
        here.server.seen.clear()
        here.registry.override = lambda seen: BAD_TOKEN if "manifests" in seen.path else None
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.answer is Answer.UNAVAILABLE
        assert [seen.path for seen in here.server.seen] == [
            f"/v2/{NAME}/manifests/v1",
            "/token",
            f"/v2/{NAME}/manifests/v1",
        ]
        assert source.refused == []


async def test_a_bad_request_is_no_stale_token_where_the_kind_does_not_say_so() -> None:
    async with world() as here:
        _bearer(here)
        client, _ = await _client_of(here, any_oci)
        await client.get_manifest(REPOSITORY, Tag("v1"))
        here.clock.advance(1)
        here.registry.override = lambda seen: BAD_TOKEN if "manifests" in seen.path else None
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Verdict)
        assert len(_tokens_asked(here)) == 1


async def _client_of(here: World, kind: RegistryKind) -> tuple[RegistryClient, LeaseSource]:
    source = LeaseSource([lease_for(here.server.authority)])
    return await here.open_client(source, kind), source


async def test_a_401_without_any_challenge_refreshes_once() -> None:
    async with world() as here:

        def gar(seen: Seen) -> Reply | None:
            if seen.headers.get("authorization") == "Bearer expired":
                return error_reply(401, "UNAUTHORIZED", "authentication failed")
            return None

        here.registry.override = gar
        here.registry.add_manifest(NAME, "v1", MANIFEST)
        host = here.server.authority
        source = LeaseSource(
            [
                lease_for(host, Presentation.BEARER, secret="expired"),
                lease_for(host, Presentation.BEARER, secret="fresh", version=2),
            ]
        )
        client = await here.open_client(source)
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert len(source.refused) == 1


async def test_an_anonymous_401_means_hidden_and_asks_nobody() -> None:
    async with world() as here:
        here.registry.auth = "basic"
        client = await here.open_client()
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert (outcome.answer, outcome.reason) == (Answer.HIDDEN, "authentication_required")


async def test_a_scope_the_challenge_adds_for_reading_is_asked_for() -> None:
    async with world() as here:
        _bearer(here)
        scope = f"repository:{NAME}:metadata_read"
        value = f'Bearer realm="{here.registry.realm}",service="s",scope="{scope}"'

        def acr(seen: Seen) -> Reply | None:
            token = seen.headers.get("authorization", "").removeprefix("Bearer ")
            if not seen.path.endswith("/tags/list") or "metadata_read" in base64.b64decode(token).decode():
                return None
            return error_reply(401, "UNAUTHORIZED", "", (("WWW-Authenticate", value),))

        here.registry.override = acr
        client, source = await _client(here, "hunter2")
        assert await client.list_tags(REPOSITORY) == TagPage((Tag("v1"),), None)
        assert source.refused == []


def _hostile(evil: str, host: str, port: int) -> list[str]:
    here = f"127.0.0.1:{port}"
    realms = [
        f"https://{evil}/token",
        f"https://127.0.0.2:{port}/token",
        f"http://{here}/token",
        f"https://{here}1/token",
        "https://127.0.0.1/token",
        "https://127.0.0.1:8443/token",
        f"https://{here}.evil.example/token",
        f"https://127.0.0.1.evil.example:{port}/token",
        f"https://user@{here}/token",
        f"https://{here}@{evil}/token",
        f"https://{evil}\\@{here}/token",
        f"https://{here}%2f@{evil}/token",
        f"//{here}/token",
        f"https:{here}/token",
        "/token",
        "",
        f"https://[::ffff:127.0.0.1]:{port}/token",
        f"https://0x7f000001:{port}/token",
        f"https://127.0.0.1.:{port}/token",
        f"https://localhost:{port}/token",
        f"ftp://{here}/token",
        f"https://{host}.example/token",
        f" https://{here} /token",
        f"https://{here}\t/token",
    ]
    values = [f'Bearer realm="{realm}",service="s",scope="repository:{NAME}:pull"' for realm in realms]
    values.append(f'Negotiate, Bearer realm="https://{evil}/a", Basic realm="x"')
    values.append(f"bearer realm=https://{evil}/a")
    return values


@pytest.mark.parametrize("number", range(26))
@pytest.mark.parametrize("at", ["/v2/", "repository"])
async def test_a_hostile_realm_gets_nothing(number: int, at: str) -> None:
    async with world() as here, canary() as heard:
        value = _hostile(heard[0], "127.0.0.1", here.server.port)[number]
        challenge = error_reply(401, "UNAUTHORIZED", "", (("WWW-Authenticate", value),))

        def registry(seen: Seen) -> Reply | None:
            return challenge if (at == "/v2/" or seen.path != "/v2/") else None

        here.registry.override = registry
        for client in (await here.open_client(), (await _client(here, "hunter2", "hunter3"))[0]):
            outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
            assert isinstance(outcome, Verdict)
            assert (outcome.answer, outcome.reason) == (Answer.REFUSED, "realm_rejected")
        assert (heard[1:], here.storage.connections) == ([], 0)
        assert not any(seen.path.endswith("/token") for seen in here.server.seen)


async def test_a_second_challenge_does_not_replace_the_good_one() -> None:
    async with world() as here, canary() as heard:
        _bearer(here)
        both = (
            ("WWW-Authenticate", f'Bearer realm="https://{heard[0]}/token",service="s"'),
            ("WWW-Authenticate", f'Bearer realm="{here.registry.realm}",service="s"'),
        )

        def registry(seen: Seen) -> Reply | None:
            if "authorization" in seen.headers or seen.path == "/token":
                return None
            return error_reply(401, "UNAUTHORIZED", "", both)

        here.registry.override = registry
        client, _ = await _client(here, "hunter2")
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert heard[1:] == []


async def test_a_configured_realm_on_another_host_is_used() -> None:
    async with world() as here:
        _bearer(here)
        here.registry.realm = f"{here.storage.origin}/auth/token"
        here.storage.handler = lambda seen: here.registry(Seen("GET", "/token?" + seen.query, seen.headers))
        lease = lease_for(here.server.authority, realm_hosts=(here.storage.authority,))
        client = await here.open_client(LeaseSource([lease]), token_realm=here.registry.realm)
        assert isinstance(await client.get_manifest(REPOSITORY, Tag("v1")), Manifest)
        assert [seen.headers["authorization"] for seen in here.storage.seen] == [GOOD]


async def test_a_configured_realm_that_the_lease_does_not_name_never_sees_the_password() -> None:
    async with world() as here:
        _bearer(here)
        here.registry.realm = f"{here.storage.origin}/auth/token"
        source = LeaseSource([lease_for(here.server.authority)])
        client = await here.open_client(source, token_realm=here.registry.realm)
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.reason == "realm_rejected"
        assert here.storage.seen == []


async def test_a_realm_that_moved_below_its_pinned_host_is_refused() -> None:
    async with world() as here:
        _bearer(here)
        here.registry.realm = f"{here.storage.origin}/other/token"
        source = LeaseSource([lease_for(here.server.authority)])
        client = await here.open_client(source, token_realm=f"{here.storage.origin}/auth/token")
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.reason == "realm_rejected"
        assert here.storage.seen == []


HUB = Target("u", any_oci, "registry-1.docker.io")


def test_docker_hubs_realm_is_known_and_no_other_is() -> None:
    assert permitted_realm("https://auth.docker.io/token", HUB) is not None
    assert permitted_realm("https://AUTH.docker.io:443/token", HUB) is not None
    for other in (
        "https://auth.docker.io/other",
        "https://auth.docker.io.evil/token",
        "https://docker.io/token",
    ):
        assert permitted_realm(other, HUB) is None


def test_bearer_is_preferred_to_basic() -> None:
    offered = [Challenge("basic", {}), Challenge("bearer", {"realm": "https://auth.docker.io/token"})]
    assert isinstance(wanted(offered, HUB), TokenOffer)
    assert wanted([Challenge("basic", {})], HUB) == BasicAsked()
    assert wanted([Challenge("negotiate", {})], HUB) is None
    with pytest.raises(RealmRejectedError):
        wanted([Challenge("bearer", {}), Challenge("basic", {})], HUB)


def test_a_realms_own_query_is_kept() -> None:
    realm = permitted_realm("https://registry-1.docker.io/t?account=x%2Fy", HUB)
    assert realm is not None
    url = TokenOffer(realm, "a b").url(("repository:x:pull",))
    assert str(url) == (
        "https://registry-1.docker.io/t?account=x%2Fy&service=a%20b&scope=repository%3Ax%3Apull"
    )


@pytest.mark.parametrize(
    ("offered", "scopes"),
    [
        ((), ("repository:a/b:pull",)),
        (("repository:a/b:pull",), ("repository:a/b:pull",)),
        (("repository:a/b:pull,push",), ("repository:a/b:pull",)),
        (("repository:a/b:metadata_read,delete",), ("repository:a/b:pull", "repository:a/b:metadata_read")),
        (("repository:secret/x:pull",), ("repository:a/b:pull",)),
        (
            ("repository:a/b:push", "registry:catalog:*", "repository(plugin):a/b:pull"),
            ("repository:a/b:pull",),
        ),
        (("aws",), ("repository:a/b:pull", "aws")),
    ],
)
def test_only_reading_the_same_repository_is_asked_for(
    offered: tuple[str, ...], scopes: tuple[str, ...]
) -> None:
    assert readable_scopes("a/b", offered) == scopes


def _jwt(**claims: float) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.sig"


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        ({"token": "t"}, 54),
        ({"access_token": "t", "expires_in": 300}, 270),
        ({"token": "t", "access_token": "u", "expires_in": 300.5}, 270.5),
        ({"token": "t", "expires_in": 43200}, 3570),
        ({"token": "t", "expires_in": "300"}, 54),
        ({"token": "t", "expires_in": -5}, 54),
        ({"token": "t", "expires_in": True}, 54),
        ({"token": _jwt(exp=NOW.timestamp() + 600)}, 570),
        ({"token": _jwt(exp=NOW.timestamp() - 600)}, 54),
        ({"token": _jwt(nbf=0)}, 54),
        ({"token": "a.!!.c"}, 54),
    ],
)
def test_a_tokens_life_is_read_with_a_margin(answer: dict[str, object], life: float) -> None:
    token = parse_token(json.dumps(answer).encode(), 100.0, NOW)
    assert token.usable_until == pytest.approx(100 + life)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_answer_of_a_token_endpoint_breaks_us(body: bytes | str) -> None:
    with suppress(RequestFailedError):
        parse_token(body.encode() if isinstance(body, str) else body, 0.0, NOW)


async def test_a_follower_takes_over_when_the_leader_leaves() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    release = asyncio.Event()
    runs: list[int] = []

    def work(number: int) -> Callable[[], Awaitable[int]]:
        async def run() -> int:
            runs.append(number)
            await release.wait()
            return number

        return run

    leader = asyncio.create_task(flight.run("key", work(1)))
    await asyncio.sleep(0)
    followers = [asyncio.create_task(flight.run("key", work(number))) for number in (2, 3)]
    await asyncio.sleep(0)
    leader.cancel()
    while len(runs) < 2:  # noqa: ASYNC110 - turns of the loop, not time
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    release.set()
    assert len(set(await asyncio.gather(*followers))) == 1
    assert len(runs) == 2
