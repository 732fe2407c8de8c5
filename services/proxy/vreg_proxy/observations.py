"""What requests to upstreams came to, counted and told to the broker every few seconds."""

import asyncio
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from vreg_shared.bus import BusError
from vreg_shared.messages.health import (
    OBSERVED_SECONDS,
    OBSERVED_SUBJECT,
    Observation,
    ObservationReport,
)
from vreg_shared.provider import Answer, Verdict

REPORT_SECONDS: Final = 3.0
_MOST_AT_ONCE: Final = 500
_DETAIL: Final = 300
_OF_THE_UPSTREAM: Final = frozenset({Answer.REFUSED, Answer.UNAVAILABLE})
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


@dataclass(slots=True)
class _Counts:
    successes: int = 0
    failures: int = 0
    last: Verdict | None = None


class Observations:
    """Counting costs two additions; what nobody takes is forgotten, for the next report says more."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}

    def heard(self, upstream_id: str, verdict: Verdict | None) -> None:
        """Take in an answer, None for the thing asked for. *Absent* is an answer like any other."""
        counts = self._counts.get(upstream_id)
        if counts is None:
            counts = self._counts[upstream_id] = _Counts()
        if verdict is None or verdict.answer not in _OF_THE_UPSTREAM:
            counts.successes += 1
        else:
            counts.failures += 1
            counts.last = verdict

    def take(self) -> tuple[Observation, ...]:
        """Return what came since the last time."""
        counts, self._counts = self._counts, {}
        return tuple(_told(upstream_id, each) for upstream_id, each in counts.items())

    async def report_to(self, bus: Requests) -> None:
        """Tell the broker for ever."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            observed = self.take()
            for start in range(0, len(observed), _MOST_AT_ONCE):
                await _report(bus, observed[start : start + _MOST_AT_ONCE])


async def _report(bus: Requests, observed: tuple[Observation, ...]) -> None:
    if not bus.connected:
        return
    payload = ObservationReport(observations=observed).model_dump_json().encode()
    try:
        await bus.request(OBSERVED_SUBJECT, payload, deadline=OBSERVED_SECONDS)
    except BusError as error:
        _log.debug("observations_lost", reason=str(error))


def _told(upstream_id: str, counts: _Counts) -> Observation:
    last = counts.last
    if last is None:
        return Observation(upstream_id=upstream_id, successes=counts.successes)
    return Observation(
        upstream_id=upstream_id,
        successes=counts.successes,
        failures=counts.failures,
        answer=last.answer,
        reason=last.reason,
        detail=last.detail[:_DETAIL],
        remedy=last.remedy,
    )
