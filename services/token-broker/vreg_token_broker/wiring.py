"""Where the broker's world is assembled from its settings, and taken down again."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_shared.bus import Bus, BusPermissionError
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import Clock
from vreg_shared.egress import EgressPolicy
from vreg_shared.key_files import KeyFolder, PublicKeyFolder, Service
from vreg_shared.messages import connection_test, identity, lease, refresh, upstream
from vreg_shared.messages import health as health_messages
from vreg_shared.messages.health import HealthRecord
from vreg_shared.messages.record import RecordRejectedError, SignedRecord
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.platform_environment import platform_environment
from vreg_shared.record_follower import RecordFollower, signed_by
from vreg_shared.sealing import SealingKey, SealingPublicKey
from vreg_shared.secret import Secret
from vreg_shared.signing import SigningKey, VerifyingKey
from vreg_shared.topology import BUCKETS, STREAMS, inbox_prefix
from vreg_token_broker.audit_publisher import AuditPublisher, Cursor
from vreg_token_broker.connection_tests.climb import Climb
from vreg_token_broker.connection_tests.proxy_stages import ProxyStages
from vreg_token_broker.connection_tests.requests import ConnectionTests
from vreg_token_broker.exchange import ExchangeWorld
from vreg_token_broker.exchanges import find_exchanges
from vreg_token_broker.generations import Generations
from vreg_token_broker.health.leases import Leases
from vreg_token_broker.health.proxies import Observed, ProxyProbes
from vreg_token_broker.health.publisher import HealthPublisher
from vreg_token_broker.health.signs import Signs
from vreg_token_broker.health.watch import HealthWatch, HealthWorld
from vreg_token_broker.holder import holder_of
from vreg_token_broker.identity_tokens import GrantedIdentityTokens
from vreg_token_broker.journal import Journal
from vreg_token_broker.leadership import BUCKET as LEADER_BUCKET
from vreg_token_broker.leadership import KEY as LEADER_KEY
from vreg_token_broker.leadership import Candidate, Leadership
from vreg_token_broker.lease_book import LeaseBook
from vreg_token_broker.lease_publisher import LeasePublisher
from vreg_token_broker.ledger import Ledger
from vreg_token_broker.orders import Orders
from vreg_token_broker.records import BookKeeping, FoundLeases
from vreg_token_broker.refresh_requests import RefreshRequests
from vreg_token_broker.refresher import Exchanges, Refresher, RefresherWorld
from vreg_token_broker.settings import BrokerSettings
from vreg_token_broker.trust_file import write_trust_file
from vreg_token_broker.waits import EventWaits

FOUND_SECONDS: Final = 5.0
"""How long the first exchange waits for configuration and what was handed out to be read from the bus."""
REFUSED_SECONDS: Final = 30.0
QUEUE: Final = "token-broker"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerKeys:
    """What the broker proves itself with, opens with, believes and seals for."""

    signing: SigningKey
    sealing: SealingKey
    nkey_seed: Secret
    api: VerifyingKey
    proxies: SealingPublicKey

    @classmethod
    def read(cls, settings: BrokerSettings) -> "BrokerKeys":
        """Read every key; raise MissingKeyError for the first that cannot be had."""
        own, public = KeyFolder(settings.keys), PublicKeyFolder(settings.public_keys)
        return cls(
            own.signing_key(),
            own.sealing_key(),
            own.nkey_seed(),
            public.verifying_key(Service.API),
            public.sealing_key(Service.PROXY),
        )


async def open_ledger(settings: BrokerSettings, keys: BrokerKeys, clock: Clock) -> Ledger:
    """Open the journal; raise AuditUnavailableError when it cannot be read or is somebody else's."""
    ledger = Ledger(Journal(settings.broker_state / "journal"), keys.signing, settings.broker_id, clock)
    unheard = await ledger.open()
    if unheard:
        _log.warning("exchanges_ended_unheard", count=unheard)
    return ledger


async def serve(
    settings: BrokerSettings, keys: BrokerKeys, ledger: Ledger, clock: Clock, stopping: asyncio.Event
) -> None:
    """Keep leases fresh until told to stop; nothing here waits for the bus to begin."""
    bus = Bus(
        settings.nats_url, keys.nkey_seed, f"vreg-{settings.broker_id}", inbox_prefix(Service.TOKEN_BROKER)
    )
    for declared in (*BUCKETS, *STREAMS):
        await (bus.ensure_bucket if declared in BUCKETS else bus.ensure_stream)(declared.name)
    egress = EgressPolicy.from_settings(settings)
    trust_file = write_trust_file(settings.broker_state, egress.ca_pem)
    grants = OperatorGrants.from_settings(settings)
    environment = platform_environment(catalogue(), grants.ambient_methods, os.environ)
    identity_tokens = GrantedIdentityTokens(grants, KeyFolder(settings.keys).issuer_path, clock)
    world = ExchangeWorld(
        clock, egress, str(trust_file), identity_tokens=identity_tokens, environment=environment
    )
    generations = Generations(settings.broker_id, clock)
    candidate = Candidate(settings.broker_id, holder_of(settings.broker_state))
    leadership = Leadership(bus, keys.signing, candidate, clock)
    publisher = LeasePublisher(bus, keys.signing, keys.proxies, leadership)
    book, orders = LeaseBook(catalogue()), Orders(catalogue(), keys.sealing, clock, grants)
    exchanges = Exchanges(catalogue(), orders, find_exchanges(catalogue(), world))
    found = FoundLeases(generations, publisher, keys.proxies.key_id.hex())
    refresher = Refresher(
        book,
        exchanges,
        ledger,
        RefresherWorld(publisher, generations, clock, EventWaits(), inherits=found, turns=leadership),
    )
    keeping = BookKeeping(book, refresher, found)
    health = Health(
        settings=settings, keys=keys, ledger=ledger, clock=clock, bus=bus, book=book, refresher=refresher
    )
    audit = AuditPublisher(ledger, bus, Cursor(settings.broker_state / "published.json"))
    bus.on_connected(publisher.repeat_all)
    bus.on_connected(leadership.reconnected)
    bus.on_connected(audit.reconnected)
    leases = RecordFollower(
        bus,
        lease.BUCKET,
        lease.KEY_FILTER,
        verify=signed_by(keys.signing.verifying, lease.BUCKET),
        on_record=found.lease,
    )
    from_api = [
        RecordFollower(bus, bucket, keys_of, verify=signed_by(keys.api, bucket), on_record=on_record)
        for bucket, keys_of, on_record in (
            (upstream.BUCKET, upstream.KEY_FILTER, keeping.upstream),
            (identity.BUCKET, identity.KEY_FILTER, keeping.identity),
        )
    ]
    followers = (leases, *from_api)
    told_before = RecordFollower(
        bus,
        health_messages.BUCKET,
        health_messages.KEY_FILTER,
        verify=signed_by(keys.signing.verifying, health_messages.BUCKET),
        on_record=health.found,
    )
    requests = RefreshRequests(refresher, leadership)
    tests = ConnectionTests(
        lambda: Climb(catalogue(), orders, refresher, clock),
        ProxyStages(bus, keys.signing, clock),
        keys.proxies,
        keys.api,
        clock,
    )
    _log.info("broker_started", broker=settings.broker_id, bus=settings.nats_url)
    async with asyncio.TaskGroup() as group:
        serving = [
            group.create_task(bus.run()),
            group.create_task(publisher.run()),
            group.create_task(health.publisher.run()),
            group.create_task(_persist(told_before.run)),
            group.create_task(audit.run()),
            *(group.create_task(_persist(follower.run)) for follower in followers),
            group.create_task(_persist(lambda: bus.follow(LEADER_BUCKET, LEADER_KEY, leadership.heard))),
            group.create_task(_tell_of(followers)),
        ]
        standing = group.create_task(leadership.run())
        answering = (
            partial(bus.respond, refresh.SUBJECT, requests.answer, QUEUE, deadline=10.0),
            partial(
                bus.tell,
                connection_test.SUBJECT,
                tests.answer,
                QUEUE,
                deadline=connection_test.DEADLINE_SECONDS,
            ),
            partial(bus.respond, health_messages.OBSERVED_SUBJECT, health.observed.answer, QUEUE),
        )
        term = Term(refresher, publisher, followers, answering, health.watch)
        await _lead_in_turn(leadership, term, stopping)
        await publisher.finish()
        standing.cancel()
        await leadership.resign()
        for task in serving:
            task.cancel()
    await ledger.close()
    _log.info("broker_stopped")


class Serves(Protocol):
    """Who does something for as long as this broker leads: keeps leases, or watches over health."""

    async def run(self, ended: asyncio.Event, /) -> None:
        """Do it until told to stop."""
        ...


class Health:
    """Everything that health is made of."""

    def __init__(  # noqa: PLR0913 - it looks at all there is
        self,
        *,
        settings: BrokerSettings,
        keys: BrokerKeys,
        ledger: Ledger,
        clock: Clock,
        bus: Bus,
        book: LeaseBook,
        refresher: Refresher,
    ) -> None:
        signs = Signs()
        self.publisher = HealthPublisher(bus, keys.signing, clock)
        self.observed = Observed(signs, clock)
        self.watch = HealthWatch(
            HealthWorld(
                upstreams=book,
                leases=Leases(refresher, clock),
                signs=signs,
                tells=self.publisher,
                probes=ProxyProbes(bus),
                ledger=ledger,
                clock=clock,
                interval=settings.health_interval,
            )
        )

    async def found(self, record: SignedRecord, _raw: bytes) -> None:
        """Take note of what was told before; raise RecordRejectedError."""
        self.publisher.found(record.key, record.version)
        if record.deleted:
            return
        try:
            self.watch.remember(HealthRecord.model_validate_json(record.body))
        except ValidationError as error:
            raise RecordRejectedError(f"the record {record.key} cannot be read") from error


class Forgets(Protocol):
    """Who publishes leases."""

    def forget_waiting(self) -> None:
        """Publish nothing of what waits."""
        ...


class Syncs(Protocol):
    """Who follows what is on the bus."""

    async def wait_synced(self) -> None:
        """Return once all of it is known."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """What a broker does while it leads, and at no other time."""

    refresher: Serves
    publisher: Forgets
    followers: Iterable[Syncs]
    answering: Iterable[Callable[[], Awaitable[None]]]
    watch: Serves

    async def serve(self, ended: asyncio.Event) -> None:
        """Answer proxies and the api, and keep leases fresh until told to end."""
        async with asyncio.TaskGroup() as group:
            answering = [group.create_task(_persist(answer)) for answer in self.answering]
            await _first_of(_look(self.followers), ended.wait())
            watching = group.create_task(self.watch.run(ended))
            await self.refresher.run(ended)
            await watching
            for task in answering:
                task.cancel()


async def _lead_in_turn(leadership: Leadership, term: Term, stopping: asyncio.Event) -> None:
    """Serve whenever this broker is the one that leads, until told to stop."""
    while True:
        await _first_of(leadership.wait_elected(), stopping.wait())
        if stopping.is_set():
            return
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(term.serve(ended))
            await _first_of(leadership.wait_deposed(), stopping.wait())
            ended.set()
            await serving
        if not stopping.is_set():
            term.publisher.forget_waiting()


async def _first_of(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when one of these has ended, without the others."""
    async with asyncio.TaskGroup() as group:
        waiting = {group.create_task(wait) for wait in waits}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _look(followers: Iterable[Syncs]) -> None:
    """Return once it is known what was handed out before and for what, or that this cannot be known now.

    A part of the upstreams would be another plan, and no lease that is out would fit it.
    """
    try:
        async with asyncio.timeout(FOUND_SECONDS):
            await _synced(followers)
    except TimeoutError:
        _log.warning("leases_not_found", remedy="proxies name what they hold when they ask")


async def _tell_of(followers: Iterable[Syncs]) -> None:
    """Say once that this broker could lead."""
    await _synced(followers)
    _log.info("broker_follows")


async def _synced(followers: Iterable[Syncs]) -> None:
    for follower in followers:
        await follower.wait_synced()


async def _persist(work: Callable[[], Awaitable[None]]) -> None:
    """Do it again when the bus forbids it: its grants may be mended while we run."""
    while True:
        try:
            await work()
        except BusPermissionError as error:
            _log.error("bus_refuses", reason=str(error))
        await asyncio.sleep(REFUSED_SECONDS)
