"""Everything the api consists of, put together from a database, a bus, keys and a clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from vreg_api.access.last_uses import LastUses
from vreg_api.access.service import AccessTokens
from vreg_api.access.store import AccessStore, StoredAccess
from vreg_api.archiver import Archiver, ReadsStreams
from vreg_api.audit.archive import Archive, ArchivedOutbox
from vreg_api.audit.refusals import Refusals
from vreg_api.audit.service import AuditEvents
from vreg_api.audit.store import AuditStore
from vreg_api.audit.verification import Verification
from vreg_api.authentication import AccessTokenAuthenticator, Authenticates, FailedAttempts
from vreg_api.connection_tests.running import Broker, Converses
from vreg_api.connection_tests.service import ConnectionTests
from vreg_api.connection_tests.store import ConnectionTestStore
from vreg_api.health.book import HealthBook
from vreg_api.health.service import Health
from vreg_api.health.store import HealthStore
from vreg_api.identities.credentials import Sealer
from vreg_api.identities.service import Identities
from vreg_api.identities.store import IdentityStore
from vreg_api.issuer import Issuer
from vreg_api.ledger import Ledger
from vreg_api.provider_catalogue.service import ProviderCatalogue
from vreg_api.pulls.service import PullLog
from vreg_api.pulls.store import PullStore
from vreg_api.readiness import HasConnection
from vreg_api.records import Records
from vreg_api.relay import RecordBus, Relay
from vreg_api.store.database import Database
from vreg_api.upstreams.rate_limits import Gathers, RateLimits
from vreg_api.upstreams.service import Upstreams
from vreg_api.upstreams.store import UpstreamStore
from vreg_api.virtual_registries.service import VirtualRegistries
from vreg_api.virtual_registries.store import VirtualRegistryStore
from vreg_shared.catalogue import Catalogue
from vreg_shared.clock import Clock
from vreg_shared.failure_limit import FailureLimit
from vreg_shared.key_files import Service
from vreg_shared.messages import audit, pulls
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.sealing import SealingPublicKey
from vreg_shared.signing import SigningKey, VerifyingKey


class ApiBus(RecordBus, HasConnection, Gathers, Converses, ReadsStreams, Protocol):
    """The bus, as the api needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the world is made of."""

    database: Database
    bus: ApiBus
    signing_key: SigningKey
    broker_key: SealingPublicKey
    catalogue: Catalogue
    clock: Clock
    instance: str
    grants: OperatorGrants = field(default_factory=OperatorGrants)
    issuer: Issuer | None = None
    writers: Mapping[Service, VerifyingKey] = field(default_factory=dict)
    """Whose audit events are believed, besides the api's own."""
    audit_retention: timedelta | None = None
    pulls_retention: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The rooms, who guards them, and what carries their changes to the bus."""

    database: Database
    bus: ApiBus
    identities: Identities
    upstreams: Upstreams
    rate_limits: RateLimits
    virtual_registries: VirtualRegistries
    access_tokens: AccessTokens
    provider_catalogue: ProviderCatalogue
    connection_tests: ConnectionTests
    health: Health
    last_uses: LastUses
    authenticator: Authenticates
    failed_attempts: FailedAttempts
    audit_events: AuditEvents
    pull_log: PullLog
    relay: Relay
    archiver: Archiver
    pull_archiver: Archiver
    refusals: Refusals
    issuer: Issuer | None


def make_world(means: Means) -> World:
    """Assemble the api; the relay wakes at every commit."""
    database, clock, catalogue = means.database, means.clock, means.catalogue
    ledger = Ledger(means.signing_key, means.instance, clock)
    identities, upstreams = IdentityStore(), UpstreamStore()
    registries, access = VirtualRegistryStore(), AccessStore()
    keys = {**means.writers, Service.API: means.signing_key.verifying}
    audit_store, pull_log = AuditStore(), PullLog(database, PullStore(), clock, means.pulls_retention)
    archive = Archive(
        database=database, store=audit_store, keys=keys, signing_key=means.signing_key, clock=clock
    )
    outbox = ArchivedOutbox(database, archive)
    last_uses = LastUses(database=database, store=access, clock=clock)
    relay = Relay(means.bus, outbox, Records(database), means.signing_key)
    database.on_commit(relay.wake)
    identities_room = Identities(
        database=database,
        ledger=ledger,
        sealer=Sealer(means.broker_key),
        catalogue=catalogue,
        clock=clock,
        store=identities,
        upstreams=upstreams,
        registries=registries,
        grants=means.grants,
    )
    upstreams_room = Upstreams(
        database=database,
        ledger=ledger,
        catalogue=catalogue,
        clock=clock,
        store=upstreams,
        identities=identities,
        registries=registries,
    )
    registries_room = VirtualRegistries(
        database=database,
        ledger=ledger,
        clock=clock,
        store=registries,
        upstreams=upstreams,
        access=access,
    )
    return World(
        database=database,
        bus=means.bus,
        identities=identities_room,
        upstreams=upstreams_room,
        health=Health(
            database=database,
            store=HealthStore(),
            upstreams=upstreams_room,
            registries=registries_room,
            book=HealthBook(),
            clock=clock,
            is_current=lambda: means.bus.connected,
        ),
        connection_tests=ConnectionTests(
            database=database,
            store=ConnectionTestStore(),
            upstreams=upstreams_room,
            identities=identities_room,
            catalogue=catalogue,
            grants=means.grants,
            broker=Broker(means.bus, means.signing_key, clock),
            clock=clock,
        ),
        rate_limits=RateLimits(means.bus, clock),
        virtual_registries=registries_room,
        access_tokens=AccessTokens(
            database=database, ledger=ledger, clock=clock, store=access, registries=registries
        ),
        provider_catalogue=ProviderCatalogue(catalogue, means.grants),
        last_uses=last_uses,
        authenticator=AccessTokenAuthenticator(StoredAccess(database, access), last_uses, clock),
        failed_attempts=FailedAttempts(FailureLimit(), clock),
        audit_events=AuditEvents(
            database=database,
            store=audit_store,
            archive=archive,
            verification=Verification(database=database, store=audit_store, keys=keys),
            ledger=ledger,
            clock=clock,
            retention=means.audit_retention,
        ),
        pull_log=pull_log,
        relay=relay,
        archiver=Archiver(means.bus, audit.STREAM, archive),
        pull_archiver=Archiver(means.bus, pulls.STREAM, pull_log),
        refusals=Refusals(database, ledger, clock),
        issuer=means.issuer,
    )
