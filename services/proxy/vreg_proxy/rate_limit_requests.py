"""Answers `vreg.proxy.rate_limits`, for this process alone: the asker gathers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_proxy.rate_limits import RateLimits
from vreg_shared.bus import BusPermissionError
from vreg_shared.errors import VregError
from vreg_shared.messages.rate_limit import SUBJECT, RateLimitReply, RateLimitRequest

REFUSED_SECONDS: Final = 30.0
_EVERYBODY: Final = ""
_log = structlog.get_logger(__name__)


class RequestRejectedError(VregError):
    """The request cannot be read: the asker is of another version."""


class Responds(Protocol):
    """The part of the bus that is needed."""

    async def respond(self, subject: str, handler: Callable[[bytes], Awaitable[bytes]], queue: str) -> None:
        """Answer requests for ever; raise BusPermissionError."""
        ...


class RateLimitRequests:
    """Turns requests into answers."""

    def __init__(self, rate_limits: RateLimits) -> None:
        self._rate_limits = rate_limits

    async def run(self, bus: Responds) -> None:
        """Answer for ever. A bus that forbids it is asked again: its grants may be mended while we serve."""
        while True:
            try:
                await bus.respond(SUBJECT, self.answer, _EVERYBODY)
            except BusPermissionError as error:
                _log.error("bus_refuses_requests", bus_subject=SUBJECT, reason=str(error))
            await asyncio.sleep(REFUSED_SECONDS)

    async def answer(self, payload: bytes) -> bytes:
        """Return the encoded reply; raise RequestRejectedError."""
        try:
            request = RateLimitRequest.model_validate_json(payload)
        except ValidationError as error:
            raise RequestRejectedError("the request for a rate limit cannot be read") from error
        reply = RateLimitReply(observed=self._rate_limits.latest(request.upstream_id))
        return reply.model_dump_json().encode()
