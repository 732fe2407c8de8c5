"""Where the api's world is assembled from its settings, run, and taken down again."""

import asyncio
import os
import platform
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from vreg_api.app import create_app
from vreg_api.issuer import Issuer
from vreg_api.settings import ApiSettings
from vreg_api.store.database import Database
from vreg_api.world import Means, World, make_world
from vreg_shared.bus import Bus, BusPermissionError
from vreg_shared.catalogue import catalogue
from vreg_shared.clock import SystemClock
from vreg_shared.key_files import KeyFolder, PublicKeyFolder, Service
from vreg_shared.messages import health
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.record_follower import RecordFollower, signed_by
from vreg_shared.signing import VerifyingKey
from vreg_shared.topology import inbox_prefix

_REFUSED_SECONDS: Final = 30.0
_log = structlog.get_logger(__name__)


def open_world(settings: ApiSettings) -> tuple[World, Bus]:
    """Return the world and its bus, neither connected to anything yet; raise MissingKeyError."""
    own, public = KeyFolder(settings.keys), PublicKeyFolder(settings.public_keys)
    bus = Bus(settings.nats_url, own.nkey_seed(), "vreg-api", inbox_prefix(Service.API))
    means = Means(
        database=Database(settings.database_url),
        bus=bus,
        signing_key=own.signing_key(),
        broker_key=public.sealing_key(Service.TOKEN_BROKER),
        catalogue=catalogue(),
        clock=SystemClock(),
        instance=platform.node() or "api",
        grants=OperatorGrants.from_settings(settings),
        writers={service: public.verifying_key(service) for service in Service},
        audit_retention=settings.audit_retention,
        pulls_retention=settings.pulls_retention,
        issuer=Issuer(settings.issuer_url, public.issuer_jwks_path) if settings.issuer_url else None,
    )
    return make_world(means), bus


def open_app(settings: ApiSettings) -> ASGIApp:
    """Return the application, which connects when it starts; raise MissingKeyError."""
    world, bus = open_world(settings)
    broker = PublicKeyFolder(settings.public_keys).verifying_key(Service.TOKEN_BROKER)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with running(world, bus, broker):
            yield

    return create_app(world, lifespan)


@asynccontextmanager
async def running(world: World, bus: Bus, broker: VerifyingKey) -> AsyncIterator[None]:
    """Keep bus and relay running, then close the database; what waits in the outbox waits there."""
    follower = RecordFollower(
        bus,
        health.BUCKET,
        health.KEY_FILTER,
        verify=signed_by(broker, health.BUCKET),
        on_record=world.health.heard,
    )
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_or_end_process("bus", bus.run())),
                group.create_task(_or_end_process("relay", world.relay.run())),
                group.create_task(_or_end_process("health", _persist(follower))),
                group.create_task(_or_end_process("archiver", world.archiver.run())),
                group.create_task(_or_end_process("pull archiver", world.pull_archiver.run())),
                group.create_task(_or_end_process("refusals", world.refusals.run())),
                group.create_task(_or_end_process("retention", _let_go(world))),
                group.create_task(_or_end_process("last_uses", world.last_uses.run())),
            ]
            try:
                async with world.connection_tests.running():
                    yield
            finally:
                for task in tasks:
                    task.cancel()
    finally:
        await world.database.close()


async def _persist(follower: RecordFollower) -> None:
    """Follow again when the bus forbids it: its grants may be mended, and health ends nobody's work."""
    while True:
        try:
            await follower.run()
        except BusPermissionError as error:
            _log.error("bus_refuses", reason=str(error))
        await asyncio.sleep(_REFUSED_SECONDS)


async def _let_go(world: World) -> None:
    """Keep neither audit events nor pulls for longer than they are to be."""
    async with asyncio.TaskGroup() as group:
        group.create_task(world.audit_events.prune_for_ever())
        group.create_task(world.pull_log.prune_for_ever())


async def _or_end_process(what: str, running: Coroutine[None, None, None]) -> None:
    """Let the api be started again: if its changes reach nobody, it must not go on as if they did."""
    try:
        await running
    except Exception:  # noqa: BLE001 - whatever it is, it ends the process
        _log.exception("part_failed", part=what)
        os.kill(os.getpid(), signal.SIGTERM)
