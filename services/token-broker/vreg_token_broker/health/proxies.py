"""What proxies tell of upstreams, asked (`vreg.proxy.probe`) and of themselves (`vreg.broker.observed`)."""

from typing import Protocol

import structlog
from pydantic import ValidationError

from vreg_shared.bus import BusError
from vreg_shared.clock import Clock
from vreg_shared.messages.connection_test import StageReport
from vreg_shared.messages.health import (
    PROBE_SECONDS,
    PROBE_SUBJECT,
    ObservationReport,
    ProbeReply,
    ProbeRequest,
)
from vreg_shared.messages.signed_request import RequestRejectedError
from vreg_token_broker.health.signs import Signs

_log = structlog.get_logger(__name__)


class Requests(Protocol):
    """The part of the bus that is needed."""

    @property
    def connected(self) -> bool:
        """Whether the bus is there now."""
        ...

    async def request(self, subject: str, payload: bytes, *, deadline: float) -> bytes:
        """Ask once; raise a BusError."""
        ...


class ProxyProbes:
    """Asks whichever proxy takes it."""

    def __init__(self, bus: Requests) -> None:
        self._bus = bus

    async def probe(self, upstream_id: str) -> tuple[StageReport, ...] | None:
        """Return what a proxy saw; None when none could look, which says nothing of the upstream."""
        if not self._bus.connected:
            return None
        request = ProbeRequest(upstream_id=upstream_id).model_dump_json().encode()
        try:
            raw = await self._bus.request(PROBE_SUBJECT, request, deadline=PROBE_SECONDS)
            return ProbeReply.model_validate_json(raw).reports
        except (BusError, ValidationError) as error:
            _log.info("no_proxy_could_look", upstream_id=upstream_id, reason=str(error))
            return None


class Observed:
    """Takes in what proxies report of themselves."""

    def __init__(self, signs: Signs, clock: Clock) -> None:
        self._signs = signs
        self._clock = clock

    async def answer(self, payload: bytes) -> bytes:
        """Take in one report; raise RequestRejectedError."""
        try:
            report = ObservationReport.model_validate_json(payload)
        except ValidationError as error:
            raise RequestRejectedError("the report of a proxy cannot be read") from error
        now = self._clock.now()
        for observation in report.observations:
            self._signs.observed(observation, now)
        return b""
