"""An upstream's rate limit, as the proxies last heard of it: all are asked, the tightest is shown."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_api import problems
from vreg_api.problems import ProblemError
from vreg_api.upstreams.schemas import RateLimitView
from vreg_shared.bus import BusError
from vreg_shared.clock import Clock
from vreg_shared.messages.rate_limit import (
    DEADLINE_SECONDS,
    QUIET_SECONDS,
    SUBJECT,
    ObservedRateLimit,
    RateLimitReply,
    RateLimitRequest,
)

_SHORTEST: Final = timedelta(seconds=60)
"""What is left of a second says something for longer than that second."""
_RETRY_SECONDS: Final = "5"
_log = structlog.get_logger(__name__)


class Gathers(Protocol):
    """The part of the bus that is needed."""

    @property
    def connected(self) -> bool:
        """Whether the bus is there now."""
        ...

    async def gather(self, subject: str, payload: bytes, *, deadline: float, quiet: float) -> list[bytes]:
        """Ask everybody; raise BusError when nobody answered."""
        ...


class RateLimits:
    """Asks the proxies; nothing of it is stored."""

    def __init__(self, bus: Gathers, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def of(self, upstream_id: str) -> RateLimitView:
        """Return the tightest limit that holds now; raise ProblemError when no proxy answers."""
        replies = _readable(await self._answers(upstream_id))
        if not replies:
            raise _nobody("no proxy gave an answer that can be read; are they of another version?")
        observed = telling([reply.observed for reply in replies if reply.observed], self._clock.now())
        if observed is None:
            return RateLimitView(proxy_processes=len(replies))
        said = observed.rate_limit
        return RateLimitView(
            limit=said.limit,
            remaining=said.remaining,
            window_seconds=said.window_seconds,
            source=said.source,
            observed_at=observed.observed_at,
            proxy_processes=len(replies),
        )

    async def _answers(self, upstream_id: str) -> list[bytes]:
        if not self._bus.connected:
            raise _nobody("the bus is down, so no proxy can be asked; try again")
        request = RateLimitRequest(upstream_id=upstream_id).model_dump_json().encode()
        try:
            return await self._bus.gather(SUBJECT, request, deadline=DEADLINE_SECONDS, quiet=QUIET_SECONDS)
        except BusError as error:
            _log.warning("no_proxy_answers", bus_subject=SUBJECT, reason=str(error))
            raise _nobody("no proxy answers; see whether one is running, and try again") from error


def telling(observed: Sequence[ObservedRateLimit], now: datetime) -> ObservedRateLimit | None:
    """Return the tightest of those whose window is not over, for proxies may be counted each for itself.

    When all are over, the latest says most; its time says how little.
    """
    current = [each for each in observed if now < each.observed_at + _window(each)]
    if current:
        return min(current, key=lambda each: each.rate_limit.remaining)
    return max(observed, key=lambda each: each.observed_at, default=None)


def _window(observed: ObservedRateLimit) -> timedelta:
    return max(timedelta(seconds=observed.rate_limit.window_seconds or 0), _SHORTEST)


def _readable(answers: Iterable[bytes]) -> list[RateLimitReply]:
    replies = []
    for raw in answers:
        try:
            replies.append(RateLimitReply.model_validate_json(raw))
        except ValidationError as error:
            _log.warning("proxy_answer_unreadable", bus_subject=SUBJECT, problems=error.error_count())
    return replies


def _nobody(detail: str) -> ProblemError:
    return ProblemError(problems.NO_PROXY_ANSWERS, detail, headers={"Retry-After": _RETRY_SECONDS})
