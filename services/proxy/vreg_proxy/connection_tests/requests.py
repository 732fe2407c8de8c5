"""Answers `vreg.proxy.test`, for brokers alone: one proxy of all takes each order."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_proxy.connection_tests.pull import Aim, Pull
from vreg_proxy.connection_tests.reach import Reach, failed
from vreg_shared.bus import BusPermissionError
from vreg_shared.catalogue import Catalogue, UnknownKindError
from vreg_shared.clock import Clock
from vreg_shared.egress import EgressPolicy, EgressRefusedError, InvalidAuthorityError
from vreg_shared.lease import InvalidGenerationError, Lease
from vreg_shared.messages.connection_test import (
    PROXY_SUBJECT,
    PULL_SECONDS,
    ProxyOrder,
    Stage,
    StageReport,
)
from vreg_shared.messages.lease import open_lease
from vreg_shared.messages.signed_request import RequestRejectedError, read_request
from vreg_shared.oci.digest import InvalidDigestError
from vreg_shared.oci.reference import InvalidNameError, InvalidTagError
from vreg_shared.registry_client import FixedCredentials, RegistryClient, Target, open_upstream_session
from vreg_shared.sealing import SealBrokenError, SealingKey
from vreg_shared.signing import VerifyingKey

QUEUE: Final = "proxies"
REFUSED_SECONDS: Final = 30.0
Say = Callable[[bytes], Awaitable[None]]
_log = structlog.get_logger(__name__)


class Tells(Protocol):
    """The part of the bus that is needed."""

    async def tell(
        self, subject: str, teller: Callable[[bytes, Say], Awaitable[None]], queue: str, *, deadline: float
    ) -> None:
        """Answer conversations for ever; raise BusPermissionError."""
        ...


class ConnectionTests:
    """Follows a broker's orders; the lease in one is opened for it alone, and kept nowhere."""

    def __init__(
        self,
        catalogue: Catalogue,
        policy: EgressPolicy,
        sealing_key: SealingKey,
        broker: VerifyingKey,
        clock: Clock,
    ) -> None:
        self._catalogue = catalogue
        self._policy = policy
        self._sealing_key = sealing_key
        self._broker = broker
        self._clock = clock

    async def run(self, bus: Tells) -> None:
        """Answer for ever. A bus that forbids it is asked again: its grants may be mended while we serve."""
        while True:
            try:
                await bus.tell(PROXY_SUBJECT, self.answer, QUEUE, deadline=PULL_SECONDS)
            except BusPermissionError as error:
                _log.error("bus_refuses_requests", bus_subject=PROXY_SUBJECT, reason=str(error))
            await asyncio.sleep(REFUSED_SECONDS)

    async def answer(self, payload: bytes, say: Say) -> None:
        """Run one part of a test; raise RequestRejectedError."""
        order = self._read(payload)
        async with aclosing(self._reports(order)) as reports:
            async for report in reports:
                await say(report.model_dump_json().encode())

    def _read(self, payload: bytes) -> ProxyOrder:
        try:
            body = read_request(payload, PROXY_SUBJECT, self._broker, self._clock.now())
            return ProxyOrder.model_validate_json(body)
        except ValidationError as error:
            raise RequestRejectedError("the order for a connection test cannot be read") from error

    async def _reports(self, order: ProxyOrder) -> AsyncGenerator[StageReport, None]:
        upstream = order.upstream
        try:
            kind = self._catalogue.kind(upstream.kind)
        except UnknownKindError as error:
            raise RequestRejectedError(str(error)) from error
        target = Target(upstream.id, kind, upstream.host, upstream.token_realm)
        if order.part == "reach":
            reports = Reach(self._policy, self._clock).reports(target, upstream.private_ca)
        else:
            reports = self._pulled(order, target)
        async with aclosing(reports):
            async for report in reports:
                yield report

    async def _pulled(self, order: ProxyOrder, target: Target) -> AsyncGenerator[StageReport, None]:
        upstream = order.upstream
        try:
            lease = self._opened(order)
            aim = Aim.of(order.probe, upstream, target.kind) if order.probe is not None else None
            session = open_upstream_session(self._policy, target, upstream.private_ca)
        except (SealBrokenError, InvalidGenerationError) as error:
            yield failed(Stage.REGISTRY, "seal_broken", str(error))
            return
        except (InvalidNameError, InvalidTagError, InvalidDigestError) as error:
            yield failed(Stage.MANIFEST, "probe_invalid", str(error))
            return
        except (InvalidAuthorityError, EgressRefusedError) as error:
            yield failed(Stage.REGISTRY, "egress_refused", str(error))
            return
        async with session:
            client = RegistryClient(target, session, FixedCredentials(lease), self._clock)
            async with aclosing(Pull(client, self._clock).reports(aim)) as reports:
                async for report in reports:
                    yield report

    def _opened(self, order: ProxyOrder) -> Lease | None:
        return open_lease(order.lease, self._sealing_key) if order.lease is not None else None
