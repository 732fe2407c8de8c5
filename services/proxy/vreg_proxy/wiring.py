"""Where the proxy's world is assembled from its settings, and taken down again."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from vreg_proxy.app import App, World
from vreg_proxy.asking import Asking
from vreg_proxy.blobs import Blobs
from vreg_proxy.breaker import Breaker
from vreg_proxy.broker import BusBroker
from vreg_proxy.cache import Cache, open_cache
from vreg_proxy.config_cache import ConfigCache
from vreg_proxy.connection_tests.probes import Probes
from vreg_proxy.connection_tests.requests import ConnectionTests
from vreg_proxy.credentials import Broker, LeaseDesk
from vreg_proxy.distribution.authentication import Authenticator
from vreg_proxy.distribution.endpoints import Endpoints
from vreg_proxy.distribution.hot_manifests import HotManifests
from vreg_proxy.distribution.permission import Gate
from vreg_proxy.distribution.surface import Configuration, Surface
from vreg_proxy.distribution.token_endpoint import TokenEndpoint
from vreg_proxy.distribution.tokens import TokenMint
from vreg_proxy.following import Following
from vreg_proxy.lease_cache import LeaseCache
from vreg_proxy.manifests import Manifests
from vreg_proxy.observations import Observations
from vreg_proxy.rate_limit_requests import RateLimitRequests
from vreg_proxy.rate_limits import RateLimits
from vreg_proxy.readiness import Freshness, Readiness
from vreg_proxy.record_files import RecordFiles
from vreg_proxy.settings import ProxySettings
from vreg_proxy.tags import Tags
from vreg_proxy.upstreams import OpenSession, Upstreams
from vreg_shared.bus import Bus
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import Clock, SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.key_files import KeyFolder, PublicKeyFolder, Service
from vreg_shared.messages import access, lease
from vreg_shared.messages.record import SignedRecord
from vreg_shared.registry_client import Target, open_upstream_session
from vreg_shared.settings import load
from vreg_shared.signing import SigningKey
from vreg_shared.telemetry import configure_logging
from vreg_shared.topology import inbox_prefix

ORPHAN_LOOK_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


def create_app() -> App:
    """Return a worker's application, from the environment it was started with."""
    settings = load(ProxySettings)
    configure_logging("proxy", settings.log_level, settings.log_format)
    return App(lambda: open_world(settings, SystemClock()))


def check_keys(settings: ProxySettings) -> None:
    """Read every key once; raise MissingKeyError for the first that cannot be had."""
    own, public = KeyFolder(settings.keys), PublicKeyFolder(settings.public_keys)
    own.signing_key()
    own.sealing_key()
    own.nkey_seed()
    public.verifying_key(Service.API)
    public.verifying_key(Service.TOKEN_BROKER)


@asynccontextmanager
async def open_world(settings: ProxySettings, clock: Clock) -> AsyncIterator[World]:
    """Restore what is on disk, begin to follow the bus, and serve; nothing here waits for the bus."""
    own, public = KeyFolder(settings.keys), PublicKeyFolder(settings.public_keys)
    policy = EgressPolicy.from_settings(settings)
    bus = Bus(settings.nats_url, own.nkey_seed(), "vreg-proxy", inbox_prefix(Service.PROXY))
    config, leases = ConfigCache(), LeaseCache(own.sealing_key(), clock)

    def open_session(target: Target, private_ca: str | None) -> aiohttp.ClientSession:
        return open_upstream_session(policy, target, private_ca)

    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(open_cache(settings.proxy_cache, clock))
        pulls = Pulls(open_session, leases, BusBroker(bus), cache, clock)
        stack.push_async_callback(pulls.upstreams.close)

        def config_changed(record: SignedRecord) -> None:
            noun, _, identifier = record.key.partition(".")
            if noun == "access":
                return
            pulls.asking.forget()
            upstream = config.upstream(identifier) if noun == "upstream" else None
            if upstream is not None and upstream.cache_epoch:
                cache.forget_before(upstream.id, upstream.cache_epoch)

        records = settings.proxy_state
        follow_config = Following(
            bus=bus,
            bucket=access.BUCKET,
            writer=public.verifying_key(Service.API),
            cache=config,
            files=RecordFiles(records / access.BUCKET),
            on_change=config_changed,
        )
        follow_leases = Following(
            bus=bus,
            bucket=lease.BUCKET,
            writer=public.verifying_key(Service.TOKEN_BROKER),
            cache=leases,
            files=RecordFiles(records / lease.BUCKET),
            on_change=lambda _: pulls.asking.forget(),
        )
        restored = await follow_config.restore() + await follow_leases.restore()
        max_stale = settings.proxy_max_stale_auth
        freshness = Freshness(
            config, bus, follow_config, max_stale.total_seconds() if max_stale is not None else None, clock
        )
        readiness = Readiness(freshness, bus, cache)
        surface = make_surface(freshness, pulls, own.signing_key(), settings.external_url, clock)
        tests = ConnectionTests(
            catalogue(), policy, own.sealing_key(), public.verifying_key(Service.TOKEN_BROKER), clock
        )
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(bus.run()),
                group.create_task(follow_config.run()),
                group.create_task(follow_leases.run()),
                group.create_task(freshness.watch()),
                group.create_task(RateLimitRequests(pulls.rate_limits).run(bus)),
                group.create_task(tests.run(bus)),
                group.create_task(Probes(config.snapshot, pulls.upstreams, catalogue(), clock).run(bus)),
                group.create_task(pulls.observations.report_to(bus)),
                group.create_task(_end_with_supervisor()),
            ]
            _log.info("worker_serving", url=settings.external_url, restored_records=restored)
            try:
                yield World(surface, readiness)
            finally:
                for task in running:
                    task.cancel()


class Pulls:
    """Everything between a request that was admitted and the upstreams."""

    def __init__(
        self, open_session: OpenSession, leases: LeaseCache, broker: Broker, cache: Cache, clock: Clock
    ) -> None:
        self.rate_limits = RateLimits(clock)
        desk = LeaseDesk(leases, broker, clock)
        self.upstreams = Upstreams(open_session, desk, self.rate_limits, clock)
        self.observations = Observations()
        self.asking = Asking(self.upstreams, Breaker(clock), self.observations, clock)
        self.endpoints = Endpoints(
            manifests=Manifests(cache, self.asking, clock),
            blobs=Blobs(cache, self.asking),
            tags=Tags(self.asking, clock),
            servers=cache,
            hot=HotManifests(clock),
            catalogue=catalogue(),
        )


def make_surface(
    configuration: Configuration, pulls: Pulls, signing_key: SigningKey, external_url: str, clock: Clock
) -> Surface:
    """Assemble `/v2/`."""
    service = urlsplit(external_url).netloc
    mint = TokenMint(signing_key, service)
    gate = Gate(f"{external_url}/v2/token", service)
    return Surface(
        configuration,
        Authenticator(configuration, mint, clock),
        gate,
        TokenEndpoint(mint, gate, clock),
        pulls.endpoints,
    )


async def _end_with_supervisor() -> None:
    """Stop this worker when the supervisor that started it is gone, so that no worker is left behind."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    while os.getppid() == supervisor.pid:  # noqa: ASYNC110 - the kernel has no event for it
        await asyncio.sleep(ORPHAN_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
