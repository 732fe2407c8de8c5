"""The broker, as the proxy reaches it: one request over the bus with a deadline."""

from typing import Protocol

from pydantic import ValidationError

from vreg_proxy.credentials import BrokerUnavailableError
from vreg_shared.bus import BusError
from vreg_shared.messages.refresh import DEADLINE_SECONDS, SUBJECT, RefreshReply, RefreshRequest


class Requests(Protocol):
    """The part of the bus that is needed."""

    @property
    def connected(self) -> bool:
        """Whether the bus is there now, as far as we know."""
        ...

    async def request(self, subject: str, payload: bytes, *, deadline: float) -> bytes:
        """Ask once; raise a BusError."""
        ...


class BusBroker:
    """Asks `vreg.broker.refresh`."""

    def __init__(self, bus: Requests) -> None:
        self._bus = bus

    async def refresh(self, request: RefreshRequest) -> RefreshReply:
        """Ask for a lease newer than the refused one; raise BrokerUnavailableError, at once without a bus."""
        if not self._bus.connected:
            raise BrokerUnavailableError("the bus is down")
        try:
            payload = request.model_dump_json().encode()
            raw = await self._bus.request(SUBJECT, payload, deadline=DEADLINE_SECONDS)
            return RefreshReply.model_validate_json(raw)
        except (BusError, ValidationError) as error:
            raise BrokerUnavailableError(f"the token broker did not answer: {error}") from error
