"""Answers `vreg.proxy.probe`: a look at a saved upstream, with the lease and connections of pulls."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_proxy.config_cache import Snapshot
from vreg_proxy.connection_tests.pull import Aim, Pull
from vreg_proxy.connection_tests.reach import failed, of_verdict
from vreg_proxy.upstreams import Upstreams, UpstreamUnusableError
from vreg_shared.bus import BusPermissionError
from vreg_shared.catalogue import Catalogue, UnknownKindError
from vreg_shared.clock import Clock
from vreg_shared.errors import VregError
from vreg_shared.messages.connection_test import Stage, StageReport
from vreg_shared.messages.health import PROBE_SECONDS, PROBE_SUBJECT, ProbeReply, ProbeRequest
from vreg_shared.messages.signed_request import RequestRejectedError
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_shared.probe import probe_of

QUEUE: Final = "proxies"
REFUSED_SECONDS: Final = 30.0
_log = structlog.get_logger(__name__)


class Responds(Protocol):
    """The part of the bus that is needed."""

    async def respond(
        self, subject: str, handler: Callable[[bytes], Awaitable[bytes]], queue: str, *, deadline: float
    ) -> None:
        """Answer requests for ever; raise BusPermissionError."""
        ...


class Probes:
    """Looks at upstreams as they are configured here. A proxy that knows none of that id says so."""

    def __init__(
        self, snapshot: Callable[[], Snapshot], upstreams: Upstreams, catalogue: Catalogue, clock: Clock
    ) -> None:
        self._snapshot = snapshot
        self._upstreams = upstreams
        self._catalogue = catalogue
        self._clock = clock

    async def run(self, bus: Responds) -> None:
        """Answer for ever. A bus that forbids it is asked again: its grants may be mended while we serve."""
        while True:
            try:
                await bus.respond(PROBE_SUBJECT, self.answer, QUEUE, deadline=PROBE_SECONDS)
            except BusPermissionError as error:
                _log.error("bus_refuses_requests", bus_subject=PROBE_SUBJECT, reason=str(error))
            await asyncio.sleep(REFUSED_SECONDS)

    async def answer(self, payload: bytes) -> bytes:
        """Return the encoded reply; raise RequestRejectedError."""
        try:
            request = ProbeRequest.model_validate_json(payload)
        except ValidationError as error:
            raise RequestRejectedError("the request for a probe cannot be read") from error
        upstream = self._snapshot().upstreams.get(request.upstream_id)
        reports = await self._look(upstream) if upstream is not None else None
        return ProbeReply(reports=reports).model_dump_json().encode()

    async def _look(self, upstream: UpstreamRecord) -> tuple[StageReport, ...]:
        try:
            kind = self._catalogue.kind(upstream.kind)
            probe = probe_of(upstream.probe)
            aim = Aim.of(probe, upstream, kind) if probe is not None else None
            async with (
                self._upstreams.client_of(upstream, kind) as client,
                aclosing(Pull(client, self._clock).reports(aim)) as reports,
            ):
                return tuple([report async for report in reports])
        except UpstreamUnusableError as error:
            return (of_verdict(Stage.REGISTRY, error.verdict, 0.0),)
        except UnknownKindError as error:
            return (failed(Stage.REGISTRY, "kind_not_known", str(error)),)
        except VregError as error:
            return (failed(Stage.MANIFEST, "probe_invalid", str(error)),)
