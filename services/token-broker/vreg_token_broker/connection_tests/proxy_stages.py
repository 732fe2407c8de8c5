"""A proxy's stages, as the broker hears of them: pulls are made from a proxy's network, not from ours."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.clock import Clock
from vreg_shared.explanations import remedy_of
from vreg_shared.messages.connection_test import (
    PROXY_SUBJECT,
    PULL,
    PULL_SECONDS,
    REACH,
    REACH_SECONDS,
    ProxyOrder,
    StageReport,
)
from vreg_shared.messages.signed_request import sign_request
from vreg_shared.signing import SigningKey

_STAGES: Final = {"reach": REACH, "pull": PULL}
_SECONDS: Final = {"reach": REACH_SECONDS, "pull": PULL_SECONDS}
_log = structlog.get_logger(__name__)


class Converses(Protocol):
    """The part of the bus that is needed."""

    def converse(self, subject: str, payload: bytes, *, deadline: float) -> AsyncGenerator[bytes, None]:
        """Ask one, and give his answers; raise BusError."""
        ...


class ProxyStages:
    """Asks whichever proxy takes the order; every stage of it is reported once, also when none does."""

    def __init__(self, bus: Converses, signing_key: SigningKey, clock: Clock) -> None:
        self._bus = bus
        self._signing_key = signing_key
        self._clock = clock

    async def reports(self, order: ProxyOrder) -> AsyncGenerator[StageReport, None]:
        """Give the stages of `order.part` as they end."""
        missing = list(_STAGES[order.part])
        raw = sign_request(order, PROXY_SUBJECT, self._signing_key, self._clock.now())
        reason, detail = "no_proxy", "the proxy ended the test early"
        try:
            async with aclosing(
                self._bus.converse(PROXY_SUBJECT, raw, deadline=_SECONDS[order.part])
            ) as answers:
                async for answer in answers:
                    report = StageReport.model_validate_json(answer)
                    if report.stage in missing:
                        missing.remove(report.stage)
                        yield report
        except BusUnavailableError as error:
            reason, detail = "timeout" if len(missing) < len(_STAGES[order.part]) else "no_proxy", str(error)
        except (BusError, ValidationError) as error:
            _log.warning("proxy_did_not_test", reason=str(error))
            detail = str(error) if isinstance(error, BusError) else "the proxy is of another version"
        for number, stage in enumerate(missing):
            if number:
                yield StageReport(stage=stage, outcome="skipped", reason="earlier_stage_failed")
            else:
                yield StageReport(
                    stage=stage, outcome="failed", reason=reason, detail=detail, remedy=remedy_of(reason)
                )
