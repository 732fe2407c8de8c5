"""Pulling through the operator's forward proxy, under real names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from tests.support.clock import ManualClock
from tests.support.fake_proxy import FakeProxy, proxying
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import FakeServer, Reply, serving
from tests.support.hostile_hosts import connections_tried, hosts
from tests.support.ports import free_ports
from tests.support.registry_world import AUTHORITY, CA_PEM, REPOSITORY, LeaseSource, any_oci, lease_for
from vreg_shared.egress import EgressPolicy
from vreg_shared.oci.reference import Tag
from vreg_shared.provider import Answer, RegistryKind, Verdict
from vreg_shared.registry_client import (
    BlobStream,
    FixedCredentials,
    RegistryClient,
    Target,
    open_upstream_session,
)
from vreg_shared.settings import EgressSettings

HOST = "registry.example"
STORAGE = "bucket.s3.example"
BLOB = b"layer" * 1000
KIND: RegistryKind = replace(any_oci, storage_names=lambda _host: ("*.s3.example",))


@dataclass
class Office:
    """A network whose only way out is the proxy."""

    proxy: FakeProxy
    registry: FakeRegistry
    server: FakeServer
    storage: FakeServer

    def policy(self, no_proxy: str = "", userinfo: str = "", **more: object) -> EgressPolicy:
        url = self.proxy.url.replace("//", f"//{userinfo}")
        return EgressPolicy.from_settings(
            EgressSettings.model_validate({"HTTPS_PROXY": url, "NO_PROXY": no_proxy, **more})
        )

    @asynccontextmanager
    async def client(
        self, policy: EgressPolicy, host: str = HOST, private_ca: str | None = CA_PEM
    ) -> AsyncIterator[RegistryClient]:
        target = Target("upstream", KIND, host)
        credentials = LeaseSource([lease_for(host)])
        async with open_upstream_session(policy, target, private_ca) as session:
            yield RegistryClient(target, session, credentials, ManualClock())


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    registry = FakeRegistry(auth="bearer", realm=f"https://{HOST}/token", storage=f"https://{STORAGE}")
    async with (
        proxying() as proxy,
        serving(registry, AUTHORITY, names=(HOST,)) as server,
        serving(registry.storage_reply, AUTHORITY, names=(STORAGE,)) as storage,
    ):
        proxy.routes = {
            f"{HOST}:443": ("127.0.0.1", server.port),
            f"{STORAGE}:443": ("127.0.0.1", storage.port),
        }
        yield Office(proxy, registry, server, storage)


async def test_a_blob_comes_through_the_proxy_with_its_signature_untouched() -> None:
    async with office() as here, here.client(here.policy()) as client:
        digest = here.registry.add_blob(str(REPOSITORY), BLOB)
        with connections_tried() as tried:
            async with client.open_blob(REPOSITORY, digest) as stream:
                assert isinstance(stream, BlobStream)
                assert b"".join([chunk async for chunk in stream.chunks]) == BLOB
        assert here.storage.seen[0].query == here.registry.signature
        assert "%2F" in here.storage.seen[0].query
        assert set(here.proxy.asked) == {f"CONNECT {HOST}:443", f"CONNECT {STORAGE}:443"}
        assert ("127.0.0.1", here.proxy.port) in tried


async def test_the_credential_for_the_proxy_goes_to_the_proxy_alone() -> None:
    async with office() as here, here.client(here.policy(userinfo="me:p%40ss@")) as client:
        assert (await client.ping()).answer is Answer.FOUND
        assert {headers["proxy-authorization"] for headers in here.proxy.headers} == {"Basic bWU6cEBzcw=="}
        assert all("authorization" not in headers for headers in here.proxy.headers)
        assert all("proxy-authorization" not in seen.headers for seen in here.server.seen)


async def test_a_name_that_is_not_the_upstreams_own_is_not_even_asked_for() -> None:
    async with office() as here, here.client(here.policy()) as client:
        digest = here.registry.add_blob(str(REPOSITORY), BLOB)
        here.registry.storage = "https://evil.example"
        async with client.open_blob(REPOSITORY, digest) as outcome:
            assert isinstance(outcome, Verdict)
            assert outcome.reason == "egress_refused"
            assert "VREG_EGRESS_ALLOWED_NAMES" in outcome.detail
        assert not any("evil" in asked for asked in here.proxy.asked)
        policy = here.policy(egress_allowed_names="evil.*")
        here.proxy.routes["evil.example:443"] = ("127.0.0.1", here.storage.port)
        async with here.client(policy) as permitted, permitted.open_blob(REPOSITORY, digest) as outcome:
            assert isinstance(outcome, Verdict)
            assert outcome.reason == "tls_failed"  # reached, and not who it says it is


async def test_no_literal_and_no_odd_spelling_reaches_the_proxy() -> None:
    async with office() as here, here.client(here.policy()) as client:
        location = [""]
        here.registry.auth = "none"
        here.registry.override = lambda _seen: Reply(307, (("Location", location[0]),))
        for host in hosts():
            location[0] = f"https://{host}/x".encode().decode("latin-1")
            outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
            assert isinstance(outcome, Verdict)
            assert outcome.reason in {"egress_refused", "upstream_error"}, (host, outcome)
        assert set(here.proxy.asked) == {f"CONNECT {HOST}:443"}


@pytest.mark.parametrize("refusal", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_proxy_that_says_no_is_called_that(refusal: str) -> None:
    async with office() as here, here.client(here.policy()) as client:
        here.proxy.routes.clear()
        here.proxy.refusal = refusal
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert (outcome.answer, outcome.reason) == (Answer.UNAVAILABLE, "proxy_refused")
        assert refusal[:3] in outcome.detail


async def test_a_proxy_that_is_not_there_is_called_that() -> None:
    async with office() as here:
        here.proxy.port = free_ports(1)[0]
        async with here.client(here.policy()) as client:
            outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.reason == "proxy_unreachable"


async def test_tls_is_checked_through_the_proxy_too() -> None:
    async with office() as here, here.client(here.policy(), private_ca=None) as client:
        outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
        assert isinstance(outcome, Verdict)
        assert outcome.reason == "tls_failed"


async def test_what_no_proxy_names_goes_past_it_by_the_direct_rules() -> None:
    async with office() as here:
        direct = f"127.0.0.1:{here.server.port}"
        target = Target("upstream", KIND, direct)
        for cidrs, reason in (("", "egress_refused"), ("127.0.0.0/8", "")):
            policy = here.policy("127.0.0.0/8", egress_allowed_cidrs=cidrs)
            async with open_upstream_session(policy, target, CA_PEM) as session:
                here.registry.auth = "none"
                verdict = await RegistryClient(target, session, FixedCredentials(), ManualClock()).ping()
                assert verdict.reason == (reason or "ok")
        assert here.proxy.asked == []


async def test_the_proxy_itself_is_no_upstream() -> None:
    async with office() as here:
        policy = here.policy("*", egress_allowed_cidrs="127.0.0.0/8")
        async with here.client(policy, host=f"127.0.0.1:{here.proxy.port}") as client:
            outcome = await client.ping()
        assert outcome.reason == "egress_refused"
        assert here.proxy.asked == []
