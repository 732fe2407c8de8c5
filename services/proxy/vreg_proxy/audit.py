"""What the proxy has to tell the audit: taken at once, published in the background, never in a pull's way."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.clock import Clock
from vreg_shared.key_files import Service
from vreg_shared.messages.audit import audit_event
from vreg_shared.signing import SigningKey

MOST_WAITING: Final = 1000
"""Events kept while the bus is down. What comes after that goes to the log alone."""
RETRY_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class Publishes(Protocol):
    """The part of the bus that is needed."""

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Store a message once for each id; raise a BusError."""
        ...


class TellsAudit(Protocol):
    """Who takes facts for the audit."""

    def tell(self, kind: str, subject: str, facts: Mapping[str, Any]) -> None:
        """Take a fact; neither waits nor raises. `facts` are JSON values and no secret."""
        ...


@dataclass(frozen=True, slots=True)
class _Fact:
    kind: str
    subject: str
    time: datetime
    facts: Mapping[str, Any]


class AuditTrail:
    """Signs and publishes in order what it was told, each event under its own id.

    Nothing is kept on disk: what waits when the process ends is lost, and was logged when it was told.
    """

    def __init__(self, signing_key: SigningKey, instance: str, clock: Clock) -> None:
        self._signing_key = signing_key
        self._instance = instance
        self._clock = clock
        self._waiting: asyncio.Queue[_Fact] = asyncio.Queue(MOST_WAITING)
        self.dropped = 0
        """Events that found no room since the start."""

    def tell(self, kind: str, subject: str, facts: Mapping[str, Any]) -> None:
        """Take a fact, e.g. of the kind `pull.source_changed`."""
        _log.info("audit_event", kind=kind, subject=subject, facts=facts)
        try:
            self._waiting.put_nowait(_Fact(kind, subject, self._clock.now(), facts))
        except asyncio.QueueFull:
            self.dropped += 1
            _log.error("audit_event_dropped", kind=kind, subject=subject, remedy="see why the bus is down")

    async def run(self, bus: Publishes) -> None:
        """Publish for ever; an event waits while the bus is down."""
        while True:
            await self._publish(await self._waiting.get(), bus)

    async def _publish(self, fact: _Fact, bus: Publishes) -> None:
        event = audit_event(
            writer=Service.PROXY,
            instance=self._instance,
            kind=fact.kind,
            subject=fact.subject,
            time=fact.time,
            data=dict(fact.facts),
            signing_key=self._signing_key,
        )
        payload = event.line().encode()
        while True:
            try:
                await bus.publish(event.bus_subject, payload, message_id=event.id)
            except BusUnavailableError:
                await asyncio.sleep(RETRY_SECONDS)
            except BusError as error:
                self.dropped += 1
                _log.error("audit_refused_by_the_bus", kind=fact.kind, reason=str(error))
                return
            else:
                return
