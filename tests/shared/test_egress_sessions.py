"""The outbound dialer with sockets: nothing is connected to that the rules refuse."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from tests.support.clock import ManualClock
from tests.support.fake_registry import FakeRegistry, error_reply
from tests.support.fake_server import DROP, Reply, Seen, canary, serving
from tests.support.hostile_hosts import ADDRESSES, connections_tried, hosts
from tests.support.ports import free_ports
from tests.support.registry_world import (
    AUTHORITY,
    CA_PEM,
    LOOPBACK,
    REPOSITORY,
    LeaseSource,
    any_oci,
    lease_for,
    world,
)
from vreg_shared.egress import (
    ConnectionLostError,
    EgressPolicy,
    EgressRefusedError,
    EgressScope,
    InvalidAuthorityError,
    open_session,
    read_url,
    tls_context,
)
from vreg_shared.oci.digest import Digest
from vreg_shared.oci.reference import Tag
from vreg_shared.provider import Answer, Verdict
from vreg_shared.registry_client import FixedCredentials, RegistryClient, Target, open_upstream_session

REGISTRY_HOST = "127.0.0.77"
ONLY_THE_REGISTRY = EgressPolicy(allowed_cidrs=(ipaddress.ip_network(f"{REGISTRY_HOST}/32"),))
BLOB = Digest.of(b"blob")


class AddressBook(AbstractResolver):
    """Answers from a table; each question takes the next answer, and the last one stays."""

    def __init__(self, entries: Mapping[str, list[list[str]]]) -> None:
        self.entries = {name: list(answers) for name, answers in entries.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:  # noqa: ARG002 - the protocol's
        self.asked.append(host)
        answers = self.entries.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in addresses
        ]

    async def close(self) -> None:
        pass


async def _ask_everything(client: RegistryClient) -> list[object]:
    outcomes: list[object] = [
        await client.ping(),
        await client.head_manifest(REPOSITORY, Tag("v1")),
        await client.get_manifest(REPOSITORY, Tag("v1")),
        await client.head_blob(REPOSITORY, BLOB),
        await client.list_tags(REPOSITORY),
    ]
    async with client.open_blob(REPOSITORY, BLOB) as stream:
        outcomes.append(stream)
    return outcomes


async def test_no_spelling_is_connected_to_as_an_upstream() -> None:
    async with canary() as heard:
        port = heard[0].rpartition(":")[2]
        with connections_tried() as tried:
            for host in hosts():
                try:
                    target = Target("u", any_oci, f"{host}:{port}")
                    async with open_upstream_session(EgressPolicy(), target) as session:
                        client = RegistryClient(target, session, FixedCredentials(), ManualClock())
                        outcomes = await _ask_everything(client)
                except EgressRefusedError:
                    continue
                for outcome in outcomes:
                    assert isinstance(outcome, Verdict)
                    assert outcome.answer is Answer.UNAVAILABLE
                    assert outcome.reason in {"egress_refused", "dns_failed"}, (host, outcome)
        assert (tried, heard[1:]) == ([], [])


@pytest.mark.parametrize("entry", ["redirect", "realm", "token redirect", "page", "configured realm"])
async def test_no_spelling_is_connected_to_through_what_an_upstream_says(entry: str) -> None:
    async with (
        world(ONLY_THE_REGISTRY, REGISTRY_HOST) as here,
        canary("127.0.0.1", here.server.port) as heard,
    ):
        where = {"": ""}

        def registry(seen: Seen) -> Reply | None:
            location = (("Location", where[""]),)
            if entry == "redirect":
                return Reply(307, location)
            if entry == "page":
                return Reply(200, (("Link", f'<{where[""]}>; rel="next"'),), b'{"tags":["a"]}')
            if seen.path == "/token" and entry == "token redirect":
                return Reply(307, location)
            realm = f"{here.server.origin}/token" if entry == "token redirect" else where[""]
            return error_reply(401, "UNAUTHORIZED", "", (("WWW-Authenticate", f'Bearer realm="{realm}"'),))

        here.registry.override = registry
        with connections_tried() as tried:
            for host in hosts():
                lease = lease_for(here.server.authority, realm_hosts=(f"{host}:{here.server.port}",))
                where[""] = f"https://{host}:{here.server.port}/token"
                if not host.isascii():  # as a careless upstream would put it on the wire
                    where[""] = where[""].encode().decode("latin-1")
                try:
                    realm = where[""] if entry == "configured realm" else None
                    client = await here.open_client(LeaseSource([lease]), token_realm=realm)
                except EgressRefusedError:
                    continue
                outcomes = (
                    [await client.list_tags(REPOSITORY)] if entry == "page" else await _ask_everything(client)
                )
                assert all(isinstance(outcome, Verdict) for outcome in outcomes), (host, outcomes)
        allowed = {(REGISTRY_HOST, here.server.port)}
        assert set(tried) <= allowed
        assert (heard[1:], here.storage.connections) == ([], 0)
        assert not any("token" in seen.path for seen in here.server.seen) or entry == "token redirect"


async def test_no_name_that_resolves_inside_is_connected_to() -> None:
    entries = {f"n{number}.example": [[address]] for number, address in enumerate(ADDRESSES)}
    entries |= {f"m{number}.example": [["8.8.8.8", address]] for number, address in enumerate(ADDRESSES)}
    book = AddressBook(entries)
    with connections_tried() as tried:
        async with open_session(EgressPolicy(), resolver=lambda: book) as session:
            for name in entries:
                for method in ("GET", "HEAD", "POST"):
                    with pytest.raises(EgressRefusedError):
                        await session.request(method, read_url(f"https://{name}/"))
    assert tried == []
    assert set(book.asked) == set(entries)


async def test_a_literal_does_not_slip_past_the_resolver() -> None:
    book = AddressBook({})
    with connections_tried() as tried:
        async with open_session(EgressPolicy(), resolver=lambda: book) as session:
            for url in (
                "https://127.0.0.1/",
                "https://8.8.8.8/",
                "https://[::1]/",
                "https://2130706433/",
                "http://x.example/",
            ):
                with pytest.raises(EgressRefusedError):
                    await session.get(URL(url, encoded=True))
    assert (tried, book.asked) == ([], [])


async def test_a_careless_caller_is_still_checked_at_each_redirect() -> None:
    async with world(ONLY_THE_REGISTRY, REGISTRY_HOST) as here:
        here.registry.override = lambda _seen: Reply(302, (("Location", f"{here.storage.origin}/x"),))
        policy = ONLY_THE_REGISTRY.scoped(EgressScope(ports=frozenset({here.server.port})))
        async with open_session(policy, private_ca=CA_PEM) as session:
            with pytest.raises(EgressRefusedError):
                await session.get(here.server.origin)
        assert here.storage.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    names = ("registry.example",)
    async with serving(lambda _seen: Reply(200, (), b"ok"), AUTHORITY, names=names) as server:
        rebinding = AddressBook({"registry.example": [["127.0.0.1"], ["169.254.169.254"]]})
        scope = EgressScope(ports=frozenset({server.port}))
        policy = LOOPBACK.scoped(scope)
        with connections_tried() as tried:
            async with open_session(policy, private_ca=CA_PEM, resolver=lambda: rebinding) as session:
                for _ in range(3):
                    async with session.get(read_url(f"https://registry.example:{server.port}/")) as response:
                        assert response.status == 200
                        response.close()
        assert {address[0] for address in tried if isinstance(address, tuple)} == {"127.0.0.1"}


@asynccontextmanager
async def _client(
    host: str, *, private_ca: str | None = CA_PEM, book: AddressBook | None = None, sock_read: float = 30
) -> AsyncIterator[RegistryClient]:
    target = Target("u", any_oci, host)
    async with open_session(
        LOOPBACK.scoped(target.egress_scope()),
        private_ca=private_ca,
        resolver=(lambda: book) if book is not None else None,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=sock_read, sock_read=sock_read),
    ) as session:
        yield RegistryClient(target, session, FixedCredentials(), ManualClock())


async def _reason(client: RegistryClient) -> str:
    outcome = await client.get_manifest(REPOSITORY, Tag("v1"))
    assert isinstance(outcome, Verdict)
    assert outcome.answer is Answer.UNAVAILABLE
    assert not outcome.refreshable
    return outcome.reason


async def test_a_name_that_does_not_resolve_is_called_that() -> None:
    async with _client("registry.example", book=AddressBook({})) as client:
        assert await _reason(client) == "dns_failed"


async def test_a_refused_connection_is_called_that() -> None:
    async with _client(f"127.0.0.1:{free_ports(1)[0]}") as client:
        assert await _reason(client) == "connection_refused"


async def test_a_silent_server_is_a_timeout() -> None:
    async with serving(lambda _seen: Reply(200, (), b"x", length=9, stall=True), AUTHORITY) as server:
        async with _client(server.authority, sock_read=0.2) as client:
            assert await _reason(client) == "timeout"
        assert len(server.seen) == 1


@pytest.mark.parametrize("fault", ["unknown authority", "wrong name"])
async def test_a_certificate_that_does_not_hold_is_called_that(fault: str) -> None:
    authority = trustme.CA() if fault == "unknown authority" else AUTHORITY
    async with serving(FakeRegistry(), authority) as server:
        host = server.authority if fault == "unknown authority" else f"registry.example:{server.port}"
        async with _client(host, book=AddressBook({"registry.example": [["127.0.0.1"]]})) as client:
            assert await _reason(client) == "tls_failed"
        assert server.seen == []


async def test_a_server_without_tls_is_called_that() -> None:
    async def clear(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(clear, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, _client(host) as client:
        assert await _reason(client) == "tls_failed"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_before_1_2_is_not_spoken() -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("registry.example").configure_cert(old)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = tls_context(CA_PEM).wrap_bio(back, there, server_hostname="registry.example")
    server = old.wrap_bio(there, back, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        server.do_handshake()


async def test_without_the_private_ca_the_upstream_is_not_trusted() -> None:
    async with serving(FakeRegistry(), AUTHORITY) as server:
        async with _client(server.authority, private_ca=None) as client:
            assert await _reason(client) == "tls_failed"
        async with _client(server.authority) as client:
            assert (await client.ping()).answer is Answer.FOUND


async def test_the_operators_ca_bundle_is_trusted_too() -> None:
    async with serving(FakeRegistry(), AUTHORITY) as server:
        target = Target("u", any_oci, server.authority)
        policy = EgressPolicy(allowed_cidrs=LOOPBACK.allowed_cidrs, ca_pem=CA_PEM)
        async with open_upstream_session(policy, target) as session:
            client = RegistryClient(target, session, FixedCredentials(), ManualClock())
            assert (await client.ping()).answer is Answer.FOUND


@pytest.mark.parametrize(
    "pem", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "\u00fc"]
)
async def test_a_private_ca_that_is_none_is_named(pem: str) -> None:
    with pytest.raises(InvalidAuthorityError, match="PEM"):
        open_session(EgressPolicy(), private_ca=pem)


async def test_a_session_never_repeats_a_request_by_itself() -> None:
    async with world() as here:
        left = [Reply(200, (), b"ok")]
        here.registry.override = lambda _seen: left.pop() if left else Reply(status=200, cut=0, length=5)
        policy = LOOPBACK.scoped(EgressScope(ports=frozenset({here.server.port})))
        async with open_session(policy, private_ca=CA_PEM) as session:
            async with session.get(here.server.origin) as response:
                assert await response.read() == b"ok"
            here.server.handler = lambda _seen: DROP
            with pytest.raises(ConnectionLostError):
                await session.get(here.server.origin)
        assert len(here.server.seen) == 2


async def test_cookies_are_neither_kept_nor_sent() -> None:
    async with world() as here:
        here.registry.override = lambda _seen: Reply(200, (("Set-Cookie", "a=b; Path=/"),), b"{}")
        client = await here.open_client()
        await client.ping()
        await client.ping()
        assert ["cookie" in seen.headers for seen in here.server.seen] == [False, False]
