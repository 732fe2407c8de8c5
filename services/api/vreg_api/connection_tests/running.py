"""A test under way: ordered of a broker, its stages written down as they come."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.clock import Clock
from vreg_shared.explanations import remedy_of
from vreg_shared.messages.connection_test import (
    CLIMB,
    DEADLINE_SECONDS,
    PULL,
    REACH,
    SUBJECT,
    ConnectionOrder,
    StageReport,
)
from vreg_shared.messages.signed_request import sign_request
from vreg_shared.signing import SigningKey

_STAGES: Final = (*REACH, *CLIMB, *PULL)
_log = structlog.get_logger(__name__)


class Converses(Protocol):
    """The part of the bus that is needed."""

    def converse(self, subject: str, payload: bytes, *, deadline: float) -> AsyncGenerator[bytes, None]:
        """Ask one, and give his answers; raise BusError."""
        ...


class Broker:
    """The brokers, as a connection test reaches them: whichever leads takes the order."""

    def __init__(self, bus: Converses, signing_key: SigningKey, clock: Clock) -> None:
        self._bus = bus
        self._signing_key = signing_key
        self._clock = clock

    async def run(
        self, order: ConnectionOrder, heard: Callable[[StageReport], Awaitable[bool]]
    ) -> list[StageReport]:
        """Return all reports; `heard` says whether to go on. Whatever goes wrong is a failed stage."""
        reports: list[StageReport] = []
        reason, detail = "no_broker", "the token-broker ended the test early"
        raw = sign_request(order, SUBJECT, self._signing_key, self._clock.now())
        try:
            async with aclosing(self._bus.converse(SUBJECT, raw, deadline=DEADLINE_SECONDS)) as answers:
                async for answer in answers:
                    reports.append(StageReport.model_validate_json(answer))
                    if not await heard(reports[-1]):
                        return reports
        except BusUnavailableError as error:
            reason, detail = "test_timeout" if reports else "no_broker", str(error)
        except (BusError, ValidationError) as error:
            _log.warning("broker_did_not_test", reason=str(error))
            detail = str(error) if isinstance(error, BusError) else "the token-broker is of another version"
        known = {report.stage for report in reports}
        for stage in [stage for stage in _STAGES if stage not in known]:
            is_first = len(reports) == len(known)
            report = StageReport(
                stage=stage,
                outcome="failed" if is_first else "skipped",
                reason=reason if is_first else "earlier_stage_failed",
                detail=detail if is_first else "",
                remedy=remedy_of(reason) if is_first else "",
            )
            reports.append(report)
            await heard(report)
        return reports
