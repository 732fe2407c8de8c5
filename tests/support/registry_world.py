"""A fake registry, its storage on another address, and a real client for them."""

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import trustme

from tests.support.clock import ManualClock
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import FakeServer, Handler, serving
from vreg_shared.egress import EgressPolicy
from vreg_shared.lease import Generation, Lease, RegistryCredential
from vreg_shared.oci.reference import RepositoryName
from vreg_shared.private_ca import fingerprints
from vreg_shared.provider import Answer, Presentation, RegistryKind, Verdict
from vreg_shared.providers.basic.registry import OCI
from vreg_shared.registry_client import (
    Credentials,
    CredentialUnavailableError,
    FixedCredentials,
    RegistryClient,
    Target,
    open_upstream_session,
)
from vreg_shared.secret import Secret

AUTHORITY = trustme.CA()
CA_PEM = AUTHORITY.cert_pem.bytes().decode()
REPOSITORY = RepositoryName.parse("team/app")
LOOPBACK = EgressPolicy(allowed_cidrs=(ipaddress.ip_network("127.0.0.0/8"),))

any_oci: RegistryKind = replace(OCI, owns=lambda _host: True)
"""The generic kind, with no host of its own to speak of."""


def lease_for(  # noqa: PLR0913 - a lease has this many sides
    host: str,
    presentation: Presentation = Presentation.REALM,
    *,
    realm_hosts: tuple[str, ...] = (),
    version: int = 1,
    username: str = "vreg",
    secret: str = "hunter2",  # noqa: S107 - made up
) -> Lease:
    """Return a lease whose generation is `version`."""
    return Lease(
        scope="scope",
        identity_id="identity",
        hosts=(host, *realm_hosts),
        generation=Generation(version, 0, "broker"),
        issued_at=datetime(2026, 1, 1, tzinfo=UTC),
        refresh_at=None,
        not_after=None,
        credential=RegistryCredential(username, Secret(secret), presentation),
        private_ca_sha256=tuple(fingerprints(CA_PEM)),
    )


@dataclass
class LeaseSource:
    """Credentials that hold a queue of leases; each replacement takes the next and is remembered."""

    leases: list[Lease]
    refused: list[Generation] = field(default_factory=list)

    async def current(self) -> Lease | None:
        return self.leases[0]

    async def replace(self, refused: Generation) -> Lease:
        self.refused.append(refused)
        if len(self.leases) == 1:
            raise CredentialUnavailableError(Verdict(Answer.REFUSED, "broker_says_no"))
        self.leases.pop(0)
        return self.leases[0]


@dataclass
class World:
    """What a test needs to see both ends."""

    registry: FakeRegistry
    server: FakeServer
    storage: FakeServer
    clock: ManualClock
    open_client: Callable[..., Awaitable[RegistryClient]]


@asynccontextmanager
async def world(policy: EgressPolicy = LOOPBACK, host: str = "127.0.0.1") -> AsyncIterator[World]:
    """Start both servers, the registry on `host`.

    `open_client(credentials, kind, ...)` gives clients that end with the world.
    """
    registry = FakeRegistry()
    clock = ManualClock()
    async with AsyncExitStack() as stack:
        server, storage = await _pair(stack, host, registry, registry.storage_reply)

        async def open_client(
            credentials: Credentials | None = None,
            kind: RegistryKind = any_oci,
            *,
            token_realm: str | None = None,
            host: str | None = None,
        ) -> RegistryClient:
            target = Target("upstream", kind, host or server.authority, token_realm)
            session = await stack.enter_async_context(open_upstream_session(policy, target, CA_PEM))
            return RegistryClient(target, session, credentials or FixedCredentials(), clock)

        yield World(registry, server, storage, clock, open_client)


async def _pair(
    stack: AsyncExitStack, host: str, first: Handler, second: Handler
) -> tuple[FakeServer, FakeServer]:
    """Serve on two addresses and one port, for the port is part of what an upstream may use."""
    for _ in range(20):
        server = await stack.enter_async_context(serving(first, AUTHORITY, host))
        try:
            return server, await stack.enter_async_context(
                serving(second, AUTHORITY, "127.0.0.2", server.port)
            )
        except OSError:
            continue
    raise RuntimeError("no port is free on both addresses")
