"""Where the proxy's world is assembled from its settings, and taken down again."""

import asyncio
import multiprocessing
import os
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog

from vreg_proxy.access_log import AccessLog
from vreg_proxy.app import App, World
from vreg_proxy.asking import Asking
from vreg_proxy.audit import AuditTrail, TellsAudit
from vreg_proxy.blobs import Blobs
from vreg_proxy.broker import BusBroker
from vreg_proxy.cache import Cache, open_cache
from vreg_proxy.cache_metrics import cache_samples
from vreg_proxy.cache_requests import CacheRequests
from vreg_proxy.config_cache import ConfigCache
from vreg_proxy.connection_tests.probes import Probes
from vreg_proxy.connection_tests.requests import ConnectionTests
from vreg_proxy.credentials import Broker, LeaseDesk
from vreg_proxy.distribution.authentication import Authenticator
from vreg_proxy.distribution.endpoints import Endpoints
from vreg_proxy.distribution.hot_manifests import HotManifests
from vreg_proxy.distribution.mirrors import MirrorMode, Mirrors
from vreg_proxy.distribution.permission import Gate
from vreg_proxy.distribution.replies import Serves
from vreg_proxy.distribution.surface import Configuration, Surface
from vreg_proxy.distribution.token_endpoint import TokenEndpoint
from vreg_proxy.distribution.tokens import TokenMint
from vreg_proxy.door import Door
from vreg_proxy.following import Following
from vreg_proxy.gauges import CountedBreaker, add_lease_gauge, add_process_gauges, add_upstream_gauges
from vreg_proxy.lease_cache import LeaseCache
from vreg_proxy.limits import ClientLimit
from vreg_proxy.manifests import Manifests
from vreg_proxy.measures import Measures
from vreg_proxy.metrics_listener import serving_metrics
from vreg_proxy.observations import Observations
from vreg_proxy.rate_limit_requests import RateLimitRequests
from vreg_proxy.rate_limits import RateLimits
from vreg_proxy.readiness import Freshness, Readiness
from vreg_proxy.record_files import RecordFiles
from vreg_proxy.referrers import Referrers
from vreg_proxy.repositories import Repositories
from vreg_proxy.settings import ProxySettings
from vreg_proxy.sources import Sources
from vreg_proxy.staleness import CountsStale
from vreg_proxy.tags import Tags
from vreg_proxy.turns import Turns
from vreg_proxy.upstreams import OpenSession, Upstreams
from vreg_proxy.workers import Workers
from vreg_shared.bus import Bus
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import Clock, SystemClock
from vreg_shared.egress import EgressPolicy
from vreg_shared.key_files import KeyFolder, PublicKeyFolder, Service
from vreg_shared.messages import access, lease
from vreg_shared.messages.record import SignedRecord
from vreg_shared.metrics import Meter, exposition
from vreg_shared.registry_client import MAX_BODIES, Target, open_upstream_session
from vreg_shared.settings import load
from vreg_shared.signing import SigningKey
from vreg_shared.telemetry import configure_logging
from vreg_shared.topology import inbox_prefix

WORKERS: Final = "workers"
"""The folder, within that for records, of what worker processes say of themselves."""
ORPHAN_LOOK_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


def create_app() -> App:
    """Return a worker's application, from the environment it was started with."""
    settings = load(ProxySettings)
    configure_logging("proxy", settings.log_level, settings.log_format)
    door = Door(settings.proxy_max_connections)
    return App(
        lambda: open_world(settings, SystemClock(), door), door, settings.proxy_drain_grace.total_seconds()
    )


def check_keys(settings: ProxySettings) -> None:
    """Read every key once; raise MissingKeyError for the first that cannot be had."""
    own, public = KeyFolder(settings.keys), PublicKeyFolder(settings.public_keys)
    own.signing_key()
    own.sealing_key()
    own.nkey_seed()
    public.verifying_key(Service.API)
    public.verifying_key(Service.TOKEN_BROKER)


@asynccontextmanager
async def open_world(settings: ProxySettings, clock: Clock, door: Door) -> AsyncIterator[World]:
    """Restore what is on disk, begin to follow the bus, and serve; nothing here waits for the bus."""
    own, public = KeyFolder(settings.keys), PublicKeyFolder(settings.public_keys)
    policy = EgressPolicy.from_settings(settings)
    bus = Bus(settings.nats_url, own.nkey_seed(), "vreg-proxy", inbox_prefix(Service.PROXY))
    config, leases = ConfigCache(), LeaseCache(own.sealing_key(), clock)
    meter = Meter()
    limits = Limits(settings.proxy_client_requests, settings.proxy_upstream_fills)

    def open_session(target: Target, private_ca: str | None) -> aiohttp.ClientSession:
        return open_upstream_session(policy, target, private_ca)

    async with AsyncExitStack() as stack:
        cache = await stack.enter_async_context(
            open_cache(settings.proxy_cache, clock, limits=settings.cache_limits)
        )
        trail = AuditTrail(own.signing_key(), platform.node() or "proxy", clock)
        pulls = Pulls(
            open_session, leases, BusBroker(bus), cache, clock, audit=trail, meter=meter, limits=limits
        )
        stack.push_async_callback(pulls.upstreams.close)

        def config_changed(record: SignedRecord) -> None:
            pulls.config_changed(record)
            noun, _, identifier = record.key.partition(".")
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
            on_change=pulls.lease_changed,
        )
        restored = await follow_config.restore() + await follow_leases.restore()
        max_stale = settings.proxy_max_stale_auth
        freshness = Freshness(
            config,
            bus,
            follow_config,
            max_stale.total_seconds() if max_stale is not None else None,
            clock,
            mark=records / "confirmed",
        )
        workers = Workers(settings.proxy_state / WORKERS, settings.proxy_workers, clock)
        readiness = Readiness(freshness, follow_leases, bus, cache, door=door, workers=workers)
        add_process_gauges(meter, door, bus, cache, lambda: readiness.obstacle)
        add_upstream_gauges(meter, freshness, pulls.breaker)
        add_lease_gauge(meter, freshness, leases, catalogue(), clock)

        async def numbers() -> str:
            told_by_cache = cache_samples(await cache.statistics.snapshot())
            return exposition([*workers.samples(), told_by_cache])

        await stack.enter_async_context(serving_metrics(settings.proxy_metrics_listen, numbers))
        mirrors = Mirrors(settings.proxy_mirror_namespace)
        surface = make_surface(
            freshness, pulls, own.signing_key(), settings.external_url, clock, mirrors=mirrors
        )
        tests = ConnectionTests(
            catalogue(), policy, own.sealing_key(), public.verifying_key(Service.TOKEN_BROKER), clock
        )
        told = meter.samples if settings.proxy_metrics_listen is not None else tuple
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(bus.run()),
                group.create_task(follow_config.run()),
                group.create_task(follow_leases.run()),
                group.create_task(freshness.watch()),
                group.create_task(RateLimitRequests(pulls.rate_limits).run(bus)),
                group.create_task(CacheRequests(cache).run(bus)),
                group.create_task(trail.run(bus)),
                group.create_task(workers.keep_reporting(lambda: readiness.obstacle, told)),
                group.create_task(pulls.log.run(bus)),
                group.create_task(tests.run(bus)),
                group.create_task(Probes(config.snapshot, pulls.upstreams, catalogue(), clock).run(bus)),
                group.create_task(pulls.observations.report_to(bus)),
                group.create_task(_end_with_supervisor()),
            ]
            _log.info("worker_serving", url=settings.external_url, restored_records=restored)
            try:
                yield World(surface, readiness)
            finally:
                await pulls.log.publish_last(bus)
                for task in running:
                    task.cancel()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one worker takes on at once: of one client, and from one upstream."""

    client_requests: int = 1024
    upstream_fills: int = MAX_BODIES


class Pulls:
    """Everything between a request that was admitted and the upstreams."""

    def __init__(  # noqa: PLR0913 - the whole of the pull path is assembled here
        self,
        open_session: OpenSession,
        leases: LeaseCache,
        broker: Broker,
        cache: Cache,
        clock: Clock,
        *,
        audit: TellsAudit,
        meter: Meter,
        limits: Limits,
        counts: CountsStale | None = None,
    ) -> None:
        self.measures = measures = Measures(meter, clock)
        counts = counts or measures
        self.clients = ClientLimit(limits.client_requests, lambda: measures.hit("client_requests"))
        turns = Turns(limits.upstream_fills, lambda: measures.hit("upstream_fills"))
        self.breaker = CountedBreaker(clock, measures)
        self.rate_limits = RateLimits(clock)
        self.log = AccessLog(f"{platform.node() or 'proxy'}/{os.getpid()}", clock)
        desk = LeaseDesk(leases, broker, clock)
        self.upstreams = Upstreams(open_session, desk, self.rate_limits, clock)
        self.observations = Observations()
        self.asking = Asking(self.upstreams, self.breaker, self.observations, clock)
        hot = HotManifests(clock)
        cache.on_purge(hot.clear)
        manifests = Manifests(cache, self.asking, clock, counts)
        self.endpoints = Endpoints(
            manifests=manifests,
            blobs=Blobs(cache, self.asking, turns, measures),
            tags=Tags(self.asking, clock, counts),
            referrers=Referrers(manifests, cache, self.asking, clock, counts),
            repositories=Repositories(cache),
            servers=cache,
            sources=Sources(cache, audit, clock),
            hot=hot,
            counts=cache.statistics,
            catalogue=catalogue(),
            log=self.log,
        )

    def config_changed(self, record: SignedRecord) -> None:
        """Ask an upstream anew whose record changed. Registries only decide whom to ask."""
        noun, _, identifier = record.key.partition(".")
        if noun == "upstream":
            self.asking.upstream_changed(identifier)

    def lease_changed(self, record: SignedRecord) -> None:
        """Let the upstreams that use it show what they see with it."""
        self.asking.lease_changed(record.key)


def make_surface(  # noqa: PLR0913 - one argument for each thing it is made of
    configuration: Configuration,
    pulls: Pulls,
    signing_key: SigningKey,
    external_url: str,
    clock: Clock,
    *,
    mirrors: Mirrors,
) -> Serves:
    """Assemble `/v2/`."""
    service = urlsplit(external_url).netloc
    mint = TokenMint(signing_key, service)
    gate = Gate(f"{external_url}/v2/token", service)
    surface = Surface(
        configuration,
        Authenticator(configuration, mint, clock),
        gate,
        TokenEndpoint(mint, gate, mirrors, clock),
        pulls.endpoints,
        clients=pulls.clients,
        measures=pulls.measures,
    )
    return MirrorMode(surface, configuration, mirrors)


async def _end_with_supervisor() -> None:
    """Stop this worker when the supervisor that started it is gone, so that no worker is left behind."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    while os.getppid() == supervisor.pid:  # noqa: ASYNC110 - the kernel has no event for it
        await asyncio.sleep(ORPHAN_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
