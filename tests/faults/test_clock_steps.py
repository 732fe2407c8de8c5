"""F25: the wall clock is set while the proxy runs. Nothing fails, and nobody is asked for new leases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.faults.edition import amount
from tests.faults.figures import tell
from tests.faults.history import failures, recorded
from tests.faults.pull_path import REPOSITORY, Client
from tests.proxy.proxy_process import Keys, proxy_process
from tests.proxy.proxy_world import basic
from tests.proxy.test_proxy_process import TOKEN, publish, publish_lease, records
from tests.support.fake_registry import FakeRegistry, image_manifest
from tests.support.fake_registry import basic as upstream_basic
from tests.support.fake_server import FakeServer, serving
from tests.support.nats_server import NatsServer, running_nats_server
from tests.support.registry_world import AUTHORITY, CA_PEM
from tests.support.wait import eventually
from vreg_shared.bus import Bus
from vreg_shared.key_files import Service
from vreg_shared.lease import Generation, Lease, RegistryCredential
from vreg_shared.messages.refresh import SUBJECT, RefreshReply
from vreg_shared.private_ca import fingerprints
from vreg_shared.provider import Presentation
from vreg_shared.secret import Secret

PULLS = amount(5, 100)
STEPS = ("+13h", "-5m", "+0")
LEASE = timedelta(hours=12)
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@dataclass
class _Broker:
    """Gives out leases that live for half a day by the right clock, and counts them."""

    bus: Bus
    keys: Keys
    host: str
    issued: int = 0
    asked: list[bytes] = field(default_factory=list)

    async def issue(self) -> None:
        """Publish one more."""
        self.issued += 1
        now = datetime.now(UTC)
        lease = Lease(
            scope=f"identity/{self.host}",
            identity_id="identity",
            hosts=(self.host,),
            generation=Generation(1, self.issued, "b"),
            issued_at=now,
            refresh_at=None,
            not_after=now + LEASE,
            credential=RegistryCredential("vreg", Secret("hunter2"), Presentation.BASIC),
            private_ca_sha256=tuple(fingerprints(CA_PEM)),
        )
        await publish_lease(self.bus, self.keys, lease, self.issued)

    async def refresh(self, raw: bytes) -> bytes:
        """Answer a proxy."""
        self.asked.append(raw)
        await self.issue()
        return RefreshReply(outcome="issued").model_dump_json().encode()


async def test_a_clock_that_is_set_fails_no_pull_and_makes_no_exchanges(tmp_path: Path) -> None:
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed; tests/install-tools installs it")
    registry = FakeRegistry()
    registry.auth, registry.credential = "basic", upstream_basic("vreg", "hunter2")
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    with recorded(tmp_path) as history:
        async with _served(tmp_path, registry) as (nats, server, keys, broker):
            async with proxy_process(tmp_path, keys, nats.url, **faked) as proxy:
                path = f"{proxy.url}/v2/main/{REPOSITORY}"
                await eventually(lambda: _knows_us(path), deadline=60)
                async with Client("client", path, basic("any", TOKEN), history) as client:
                    number = 0
                    for step in ("+0", *STEPS):
                        clock.write_text(step)
                        await eventually(lambda step=step: _tells(proxy.url, step))
                        with history.fault(step):
                            for _ in range(PULLS):
                                number += 1
                                await _cold_and_warm(client, registry, number)
            assert not failures(history)
            assert len(broker.asked) <= 1, "a clock that is set costs one exchange at most"
            heads = sum(seen.method == "HEAD" for seen in server.seen)
    tell("G16", f"steps {', '.join(STEPS)}: failed pulls of {len(history.pulls)}", 0, "0")
    tell("G16", "exchanges beyond the first", len(broker.asked), "≤ 1 a credential")
    tell("F25", f"questions about tags ({PULLS} a step, each pulled twice)", heads, "no storm")


@asynccontextmanager
async def _served(
    folder: Path, registry: FakeRegistry
) -> AsyncIterator[tuple[NatsServer, FakeServer, Keys, _Broker]]:
    """Run a bus with configuration and a first lease on it, an upstream, and a broker that answers."""
    async with (
        running_nats_server(folder / "nats") as nats,
        serving(registry, AUTHORITY) as server,
        nats.bus(Service.API) as api,
        nats.bus(Service.TOKEN_BROKER) as bus,
        asyncio.TaskGroup() as group,
    ):
        keys = Keys.make(folder / "keys", nats.seeds)
        broker = _Broker(bus, keys, server.authority)
        answering = group.create_task(bus.respond(SUBJECT, broker.refresh, "brokers"))
        await broker.issue()
        for noun, record in records(server.authority, "identity"):
            await publish(api, keys, noun, record)
        yield nats, server, keys, broker
        answering.cancel()


async def _cold_and_warm(client: Client, registry: FakeRegistry, number: int) -> None:
    """Pull an image that nobody has yet, then again."""
    layer = b"layer %d" % number
    digest = str(registry.add_blob(REPOSITORY, layer))
    registry.add_manifest(REPOSITORY, f"v{number}", image_manifest(layer))
    for _ in range(2):
        await client.manifest(f"v{number}")
        await client.blob(digest)


async def _knows_us(path: str) -> bool:
    async with httpx.AsyncClient(headers={"authorization": basic("any", TOKEN)}) as client:
        try:
            return (await client.get(f"{path}/manifests/none")).status_code == 404
        except httpx.TransportError:
            return False  # it is busy: ask again


async def _tells(url: str, step: str) -> bool:
    """Whether the proxy's own clock is where it was set, by the Date of its answers."""
    async with httpx.AsyncClient() as client:
        try:
            date = (await client.get(f"{url}/livez")).headers["date"]
        except httpx.TransportError:
            return False  # it is busy: ask again
    told = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC)
    units = {"h": timedelta(hours=1), "m": timedelta(minutes=1)}
    set_to = timedelta() if step == "+0" else int(step[:-1]) * units[step[-1]]
    return abs(told - datetime.now(UTC) - set_to) < timedelta(minutes=1)
