"""A proxy without a bus: real `/v2/`, cache and clients, fake upstreams, and configuration by hand."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.clock import ManualClock
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_server import FakeServer, serving
from tests.support.registry_world import AUTHORITY, CA_PEM, LOOPBACK
from vreg_proxy.cache import Cache, open_cache
from vreg_proxy.config_cache import ConfigCache, Snapshot
from vreg_proxy.credentials import BrokerUnavailableError
from vreg_proxy.distribution.mirrors import Mirrors
from vreg_proxy.distribution.replies import Asgi
from vreg_proxy.lease_cache import LeaseCache
from vreg_proxy.wiring import Limits, Pulls, make_surface
from vreg_shared.egress import EgressPolicy
from vreg_shared.lease import Lease
from vreg_shared.messages.access import AccessRecord, hash_token, new_token
from vreg_shared.messages.lease import key_of, seal_lease
from vreg_shared.messages.record import SignedRecord
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_shared.messages.registry import MembershipRecord, RegistryRecord
from vreg_shared.messages.upstream import StaleCase, UpstreamRecord
from vreg_shared.metrics import Meter
from vreg_shared.registry_client import open_upstream_session
from vreg_shared.sealing import SealingKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey

EXTERNAL_URL = "https://registry.test"
ACCESS_ID = "01HZZZZZZZZZZZZZZZZZZZZZZ0"


@dataclass
class FakeBroker:
    """Answers what it is told to, and remembers who asked."""

    answer: Callable[[RefreshRequest], RefreshReply] | None = None
    asked: list[RefreshRequest] = field(default_factory=list)

    async def refresh(self, request: RefreshRequest) -> RefreshReply:
        self.asked.append(request)
        if self.answer is None:
            raise BrokerUnavailableError("the bus is down")
        return self.answer(request)


@dataclass
class ToldAudit:
    """Keeps what it is told."""

    told: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)

    def tell(self, kind: str, subject: str, facts: Mapping[str, Any]) -> None:
        self.told.append((kind, subject, facts))


@dataclass
class CountedStale:
    """Keeps what it is told."""

    served: list[tuple[str, str]] = field(default_factory=list)

    def stale_served(self, upstream_id: str, case: StaleCase) -> None:
        self.served.append((upstream_id, case))


@dataclass(frozen=True)
class Answer:
    """What the proxy sent. `is_complete` says that the body ended as announced."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_complete: bool

    def error_code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])

    def reason(self) -> str:
        return str(json.loads(self.body)["errors"][0]["detail"]["reason"])


@dataclass
class Configured:
    """The configuration of a proxy that trusts it for as long as it is told to."""

    config: ConfigCache
    too_old: bool = False
    is_known: bool = True

    def snapshot(self) -> Snapshot:
        return self.config.snapshot()

    def is_too_old(self) -> bool:
        return self.too_old


@dataclass
class ProxyWorld:
    surface: Asgi
    configured: Configured
    leases: LeaseCache
    broker: FakeBroker
    clock: ManualClock
    sealing_key: SealingKey
    pulls: Pulls
    cache: Cache
    open_upstream: Callable[..., Any]
    audit: ToldAudit
    stale: CountedStale
    versions: dict[str, int] = field(default_factory=dict)

    def put(self, noun: str, record: RegistryRecord | UpstreamRecord | AccessRecord) -> None:
        """Publish a record."""
        signed = self._signed(f"{noun}.{record.id}", record.model_dump_json())
        self.configured.config.adopt(signed)
        self.pulls.config_changed(signed)

    def delete(self, key: str) -> None:
        """Publish a tombstone."""
        self.configured.config.adopt(self._signed(key, "", deleted=True))

    def put_lease(self, lease: Lease) -> None:
        """Publish a lease."""
        body = seal_lease(lease, self.sealing_key.public).model_dump_json()
        signed = self._signed(key_of(lease.scope), body)
        self.leases.adopt(signed)
        self.pulls.lease_changed(signed)

    def _signed(self, key: str, body: str, *, deleted: bool = False) -> SignedRecord:
        self.versions[key] = version = self.versions.get(key, 0) + 1
        return SignedRecord(key, version, deleted, body)

    async def upstream(
        self, identifier: str, registry: FakeRegistry | None = None, **fields: object
    ) -> FakeServer:
        """Start an upstream and publish its record; `server.seen` tells what it was asked."""
        server: FakeServer = await self.open_upstream(registry or FakeRegistry())
        self.put(
            "upstream",
            UpstreamRecord(
                id=identifier,
                name=identifier,
                kind="oci",
                host=server.authority,
                private_ca=CA_PEM,
                **fields,  # type: ignore[arg-type]
            ),
        )
        return server

    def registry(self, slug: str, *upstreams: str | MembershipRecord, **fields: object) -> None:
        """Publish a registry over these upstreams, in order."""
        memberships = tuple(
            MembershipRecord(upstream_id=each) if isinstance(each, str) else each for each in upstreams
        )
        self.put("registry", RegistryRecord(id=f"id-{slug}", slug=slug, memberships=memberships, **fields))

    def access(self, access_id: str = ACCESS_ID, **fields: object) -> Secret:
        """Publish an access token and return it."""
        token = new_token(access_id)
        self.put(
            "access",
            AccessRecord(
                id=access_id,
                name="test",
                secret_sha256=hash_token(token),
                **({"role": "puller"} | fields),
            ),
        )
        return token

    async def get(  # noqa: PLR0913 - a request has this many sides
        self,
        path: str,
        token: Secret | None = None,
        *,
        method: str = "GET",
        query: str = "",
        headers: Mapping[str, str] | None = None,
        bearer: str | None = None,
    ) -> Answer:
        """Ask as a client does."""
        given = dict(headers or {})
        if token is not None:
            given["authorization"] = basic("any", token)
        if bearer is not None:
            given["authorization"] = f"Bearer {bearer}"
        return await ask(self.surface, path, method, query, given)


def basic(user: str, token: Secret) -> str:
    return "Basic " + base64.b64encode(f"{user}:{token.reveal()}".encode()).decode()


async def ask(
    app: Asgi, path: str, method: str = "GET", query: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one ASGI request; a body shorter than its Content-Length is not complete."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    started: dict[str, Any] = {}
    body = bytearray()
    ended = False

    async def receive() -> dict[str, Any]:
        if not started.get("asked"):
            started["asked"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await never()
        return {"type": "http.disconnect"}

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            body.extend(message.get("body", b""))
            ended = not message.get("more_body", False)

    await app(scope, receive, send)
    answer_headers = {name.decode(): value.decode() for name, value in started["headers"]}
    return Answer(started["status"], answer_headers, bytes(body), ended)


async def never() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()


@asynccontextmanager
async def proxy_world(
    folder: Path,
    policy: EgressPolicy = LOOPBACK,
    limits: Limits | None = None,
    *,
    mirror_namespace: str | None = None,
) -> AsyncIterator[ProxyWorld]:
    """Assemble a proxy over a cache in `folder`."""
    clock, config, broker, sealing_key = ManualClock(), ConfigCache(), FakeBroker(), SealingKey.generate()
    leases = LeaseCache(sealing_key, clock)
    audit, stale = ToldAudit(), CountedStale()
    configured = Configured(config)
    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(open_cache(folder, clock))
        pulls = Pulls(
            lambda target, private_ca: open_upstream_session(policy, target, private_ca),
            leases,
            broker,
            cache,
            clock,
            audit=audit,
            counts=stale,
            meter=Meter(),
            limits=limits or Limits(),
        )
        stack.push_async_callback(pulls.upstreams.close)

        async def open_upstream(registry: FakeRegistry) -> FakeServer:
            return await stack.enter_async_context(serving(registry, AUTHORITY))

        mirrors = Mirrors(mirror_namespace)
        surface = make_surface(configured, pulls, SigningKey.generate(), EXTERNAL_URL, clock, mirrors=mirrors)
        yield ProxyWorld(
            surface, configured, leases, broker, clock, sealing_key, pulls, cache, open_upstream, audit, stale
        )
