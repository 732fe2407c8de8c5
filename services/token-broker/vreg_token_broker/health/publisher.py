"""Puts health on the bus: the latest of each upstream, as soon as the bus takes it."""

import asyncio
from typing import Final, Protocol

import structlog

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.clock import Clock
from vreg_shared.messages.health import BUCKET, HealthRecord, key_of
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.signing import SigningKey

RETRY_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Puts(Protocol):
    """The part of the bus that is needed."""

    async def put(self, bucket: str, key: str, value: bytes) -> None:
        """Store a value; raise a BusError."""
        ...


class HealthPublisher:
    """A record's version is the millisecond it was made in, and above any that was heard of its key."""

    def __init__(self, bus: Puts, signing_key: SigningKey, clock: Clock) -> None:
        self._bus = bus
        self._signing_key = signing_key
        self._clock = clock
        self._waiting: dict[str, SignedRecord] = {}
        self._versions: dict[str, int] = {}
        self._wake = asyncio.Event()

    def found(self, key: str, version: int) -> None:
        """Take note of what is on the bus."""
        self._versions[key] = max(self._versions.get(key, 0), version)

    def publish(self, record: HealthRecord) -> None:
        """Have a record published; of several that wait, the latest."""
        self._offer(key_of(record.upstream_id), record.model_dump_json(), deleted=False)

    def withdraw(self, upstream_id: str) -> None:
        """Have a deleted upstream's record taken back."""
        self._offer(key_of(upstream_id), "", deleted=True)

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                if not await self._put(next(iter(self._waiting))):
                    await asyncio.sleep(RETRY_SECONDS)

    async def _put(self, key: str) -> bool:
        record = self._waiting.pop(key)
        try:
            await self._bus.put(BUCKET, key, encode(record, self._signing_key, BUCKET))
        except BusUnavailableError as error:
            self._waiting.setdefault(key, record)
            _log.info("health_waits_for_the_bus", key=key, reason=str(error))
            return False
        except BusError as error:
            _log.error("health_refused_by_the_bus", key=key, reason=str(error))
        return True

    def _offer(self, key: str, body: str, *, deleted: bool) -> None:
        version = max(int(self._clock.now().timestamp() * 1000), self._versions.get(key, 0) + 1)
        self._versions[key] = version
        self._waiting[key] = SignedRecord(key, version, deleted=deleted, body=body)
        self._wake.set()
