"""A broker on a real bus, with an api that writes and a proxy that reads, each with its keys and grants."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import BaseModel

from tests.support.nats_server import NatsServer
from tests.support.wait import eventually
from vreg_shared.bus import Bus, BusUnavailableError, Entry
from vreg_shared.clock import SystemClock
from vreg_shared.key_files import KeyFolder, PublicKeyFolder, Service
from vreg_shared.lease import Lease
from vreg_shared.messages import identity as identities
from vreg_shared.messages import lease as leases
from vreg_shared.messages import refresh
from vreg_shared.messages import upstream as upstreams
from vreg_shared.messages.audit import AuditEvent
from vreg_shared.messages.identity import IdentityRecord
from vreg_shared.messages.lease import LeaseRecord, open_lease
from vreg_shared.messages.record import SignedRecord, decode, encode
from vreg_shared.messages.refresh import RefreshReply, RefreshRequest
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.sealing import SealingKey
from vreg_shared.signing import SigningKey
from vreg_token_broker.settings import BrokerSettings
from vreg_token_broker.wiring import BrokerKeys, open_ledger, serve


class Keys:
    """Every service's keys, on disk as `vreg up` lays them."""

    def __init__(self, folder: Path, server: NatsServer) -> None:
        self.private = folder / "token-broker"
        self.public = folder / "public"
        self.api, self.broker = SigningKey.generate(), SigningKey.generate()
        self.broker_sealing, self.proxy_sealing = SealingKey.generate(), SealingKey.generate()
        own, others = KeyFolder(self.private), PublicKeyFolder(self.public)
        self.private.mkdir(parents=True)
        self.public.mkdir()
        own.signing_key_path.write_bytes(self.broker.to_pem())
        own.sealing_key_path.write_bytes(self.broker_sealing.to_pem())
        own.nkey_path.write_text(server.seeds[Service.TOKEN_BROKER].reveal())
        others.signing_path(Service.API).write_bytes(self.api.verifying.to_pem())
        others.sealing_path(Service.PROXY).write_bytes(self.proxy_sealing.public.to_pem())


class BusWorld:
    """The api's and the proxy's side of the bus, and the broker's settings."""

    def __init__(self, server: NatsServer, folder: Path, api: Bus, proxy: Bus) -> None:
        self.server = server
        self.keys = Keys(folder / "keys", server)
        self.state = folder / "state"
        self.seen: list[Lease] = []
        self.versions: list[int] = []
        self.heard: list[tuple[str, int]] = []
        """The key and version of everything that came, repeated or not."""
        self.withdrawn: list[str] = []
        self._api = api
        self._proxy = proxy
        self._version = 0

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        return {
            "VREG_NATS_URL": self.server.url,
            "VREG_KEYS": str(self.keys.private),
            "VREG_PUBLIC_KEYS": str(self.keys.public),
            "VREG_BROKER_STATE": str(self.state),
            **(more or {}),
        }

    async def put_identity(self, record: IdentityRecord) -> None:
        await self._put(identities.BUCKET, identities.key_of(record.id), record)

    async def put_upstream(self, record: UpstreamRecord) -> None:
        await self._put(upstreams.BUCKET, upstreams.key_of(record.id), record)

    async def drop_identity(self, identity_id: str) -> None:
        await self._put(identities.BUCKET, identities.key_of(identity_id), None)

    async def _put(self, bucket: str, key: str, body: BaseModel | None) -> None:
        self._version += 1
        text = body.model_dump_json() if body is not None else ""
        record = SignedRecord(key, self._version, deleted=body is None, body=text)
        await self._api.put(bucket, key, encode(record, self.keys.api, bucket))

    async def ask(self, upstream_id: str, refused: str | None = None) -> RefreshReply:
        request = RefreshRequest(upstream_id=upstream_id, refused_generation=refused)
        raw = await self._proxy.request(refresh.SUBJECT, request.model_dump_json().encode(), deadline=5.0)
        return RefreshReply.model_validate_json(raw)

    async def wait_answering(self) -> None:
        """Return once a broker answers at all."""

        async def answers() -> bool:
            try:
                await self.ask("nobody")
            except BusUnavailableError:
                return False
            return True

        await eventually(answers)

    async def follow(self) -> None:
        """Open every lease with the proxies' key, as a proxy does, for ever."""
        await self._proxy.follow(leases.BUCKET, leases.KEY_FILTER, self._take)

    async def _take(self, entry: Entry) -> None:
        record = decode(entry.value, self.keys.broker.verifying, leases.BUCKET, entry.key)
        self.heard.append((entry.key, record.version))
        if self.versions and record.version in self.versions:
            return
        self.versions.append(record.version)
        if record.deleted:
            self.withdrawn.append(entry.key)
            return
        self.seen.append(open_lease(LeaseRecord.model_validate_json(record.body), self.keys.proxy_sealing))

    def state_of(self, name: str) -> Path:
        return self.state.with_name(self.state.name + name)

    def journal(self, name: str = "") -> list[AuditEvent]:
        files = sorted((self.state_of(name) / "journal").glob("journal-*"))
        return [
            AuditEvent.model_validate_json(line) for file in files for line in file.read_bytes().splitlines()
        ]

    def everything_is_published(self) -> bool:
        """Whether the stream has acknowledged the journal to its end."""
        file = max((self.state / "journal").glob("journal-*"))
        cursor = self.state / "published.json"
        published = json.loads(cursor.read_text()) if cursor.exists() else {}
        return published.get("offset") == file.stat().st_size > 0

    @asynccontextmanager
    async def broker(self, more: dict[str, str] | None = None, name: str = "") -> AsyncIterator[None]:
        """Run a broker's whole world in this process until the block ends; each `name` has its own state."""
        environment = self.environment(more)
        state = self.state_of(name)
        settings = BrokerSettings(
            nats_url=environment["VREG_NATS_URL"],
            keys=self.keys.private,
            public_keys=self.keys.public,
            broker_state=state,
            broker_id=name or "broker",
            https_proxy=environment.get("HTTPS_PROXY"),
            no_proxy=environment.get("NO_PROXY", ""),
            ca_bundle=Path(environment["VREG_CA_BUNDLE"]) if "VREG_CA_BUNDLE" in environment else None,
        )
        state.mkdir(exist_ok=True)
        keys, stopping = BrokerKeys.read(settings), asyncio.Event()
        ledger = await open_ledger(settings, keys, SystemClock())
        running = asyncio.create_task(serve(settings, keys, ledger, SystemClock(), stopping))
        try:
            yield
        finally:
            stopping.set()
            await running


@asynccontextmanager
async def bus_world(server: NatsServer, folder: Path) -> AsyncIterator[BusWorld]:
    """Connect the api and the proxy to a running server."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(server.bus(Service.API))
        proxy = await stack.enter_async_context(server.bus(Service.PROXY))
        world = BusWorld(server, folder, api, proxy)
        following = asyncio.create_task(world.follow())
        try:
            yield world
        finally:
            following.cancel()
