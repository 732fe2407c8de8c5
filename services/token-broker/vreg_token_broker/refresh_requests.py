"""Answers `vreg.broker.refresh`: what proxies ask after a lease was refused, or before the first one."""

import asyncio
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from vreg_shared.errors import VregError
from vreg_shared.lease import Generation, InvalidGenerationError
from vreg_shared.messages.refresh import DEADLINE_SECONDS, RefreshReply, RefreshRequest
from vreg_token_broker.exchange import Refused
from vreg_token_broker.keeper import Told

ANSWER_SECONDS: Final = DEADLINE_SECONDS - 0.5
"""A little less than an asker waits, so that it hears why."""
_RETRY_SECONDS: Final = 1.0
_NOT_LEADING: Final = RefreshReply(
    outcome="unavailable",
    reason="not_leading",
    detail="another token-broker answers, or soon will",
    retry_after=_RETRY_SECONDS,
)
_log = structlog.get_logger(__name__)


class RequestRejectedError(VregError):
    """The request cannot be read: the asker is of another version."""


class Asks(Protocol):
    """Who knows of leases."""

    async def ask(self, upstream_id: str, refused: Generation | None) -> Told:
        """Return a generation that is not refused, or why there is none."""
        ...


class Leads(Protocol):
    """Whether this broker is the active one."""

    @property
    def is_leading(self) -> bool:
        """Whether what it knows is the latest."""
        ...


class RefreshRequests:
    """Turns requests into answers; what one costs is the keeper's business."""

    def __init__(self, refresher: Asks, leads: Leads, deadline: float = ANSWER_SECONDS) -> None:
        self._refresher = refresher
        self._leads = leads
        self._deadline = deadline

    async def answer(self, payload: bytes) -> bytes:
        """Return the encoded reply; raise RequestRejectedError."""
        try:
            request = RefreshRequest.model_validate_json(payload)
            named = request.refused_generation
            refused = Generation.parse(named) if named is not None else None
        except (ValidationError, InvalidGenerationError) as error:
            raise RequestRejectedError("the refresh request cannot be read") from error
        reply = await self._reply(request.upstream_id, refused)
        _log.info(
            "refresh_answered",
            upstream=request.upstream_id,
            refused=request.refused_generation,
            outcome=reply.outcome,
            reason=reply.reason,
        )
        return reply.model_dump_json().encode()

    async def _reply(self, upstream_id: str, refused: Generation | None) -> RefreshReply:
        """Only a leader knows the latest, and it may have ceased to lead while the answer was found."""
        reply = await self._leaders_reply(upstream_id, refused) if self._leads.is_leading else _NOT_LEADING
        return reply if self._leads.is_leading else _NOT_LEADING

    async def _leaders_reply(self, upstream_id: str, refused: Generation | None) -> RefreshReply:
        try:
            async with asyncio.timeout(self._deadline):
                told = await self._refresher.ask(upstream_id, refused)
        except TimeoutError:
            return RefreshReply(
                outcome="unavailable",
                reason="timeout",
                detail="an exchange is under way",
                retry_after=_RETRY_SECONDS,
            )
        if told.failure is None:
            return RefreshReply(outcome="issued", generation=str(told.generation))
        return RefreshReply(
            outcome="refused" if isinstance(told.failure, Refused) else "unavailable",
            reason=told.failure.reason,
            detail=told.failure.detail,
            retry_after=told.retry_after,
        )
