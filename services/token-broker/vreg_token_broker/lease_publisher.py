"""Puts leases on the bus: signed, sealed to the proxies, and again whenever the bus may have lost them."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.lease import Lease
from vreg_shared.messages.lease import BUCKET, key_of, seal_lease
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.sealing import SealingPublicKey
from vreg_shared.signing import SigningKey

RETRY_SECONDS: Final = 1.0
PUT_SECONDS: Final = 5.0
FINISH_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class Puts(Protocol):
    """The part of the bus that is needed."""

    async def put(self, bucket: str, key: str, value: bytes, *, deadline: float) -> None:
        """Store a value; raise a BusError."""
        ...


class Leads(Protocol):
    """Whether this broker is the active one."""

    @property
    def seconds_left(self) -> float:
        """For how long nobody else can publish leases; 0 when somebody may."""
        ...


@dataclass(frozen=True, slots=True)
class _Record:
    """A record as the bus holds it; the higher of two versions is the newer one."""

    version: int
    raw: bytes


_NOTHING: Final = _Record(0, b"")


class LeasePublisher:
    """Sees to it that the bus holds the latest record of every scope, whoever wrote it.

    Only the leader puts anything there, and nothing once that is in doubt: another's may be newer.
    """

    def __init__(self, bus: Puts, signing_key: SigningKey, proxies: SealingPublicKey, leads: Leads) -> None:
        self._bus = bus
        self._signing_key = signing_key
        self._proxies = proxies
        self._leads = leads
        self._latest: dict[str, _Record] = {}
        """What was put on the bus or heard from it; what only waits is not out yet."""
        self._waiting: dict[str, _Record] = {}
        self._wake = asyncio.Event()
        self._draining = asyncio.Lock()

    def publish(self, lease: Lease) -> None:
        """Have a new lease published; the record's version is the instant in its generation."""
        body = seal_lease(lease, self._proxies).model_dump_json()
        self._offer(SignedRecord(key_of(lease.scope), lease.generation.instant_ms, deleted=False, body=body))

    def withdraw(self, scope: str, instant_ms: int) -> None:
        """Have a scope's lease deleted by a tombstone."""
        self.withdraw_key(key_of(scope), instant_ms)

    def withdraw_key(self, key: str, instant_ms: int) -> None:
        """Have the lease below a key deleted by a tombstone."""
        self._offer(SignedRecord(key, instant_ms, deleted=True, body=""))

    def found(self, key: str, version: int, raw: bytes) -> None:
        """Take note of a record that is on the bus; what waits to be published may be older."""
        self._keep(key, _Record(version, raw))

    def repeat(self, scope: str) -> None:
        """Put the latest record of a scope on the bus again."""
        key = key_of(scope)
        if key in self._latest:
            self._wait(key, self._latest[key])

    async def repeat_all(self) -> None:
        """Put everything on the bus again: it was gone, and may have lost its store."""
        for key, record in self._latest.items():
            self._wait(key, record)

    def forget_waiting(self) -> None:
        """Publish nothing of what waits: another broker has led, and knows better."""
        self._waiting.clear()

    async def run(self) -> None:
        """Publish for ever, the oldest first; what cannot be stored now is tried again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._drain():
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def finish(self) -> None:
        """Publish what waits, while this broker leads and the bus takes it; end within FINISH_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_SECONDS):
                await self._drain()

    async def _drain(self) -> bool:
        async with self._draining:
            while self._waiting:
                seconds = min(self._leads.seconds_left, PUT_SECONDS)
                if seconds <= 0 or not await self._put(next(iter(self._waiting)), seconds):
                    return False
        return True

    async def _put(self, key: str, seconds: float) -> bool:
        record = self._waiting.pop(key)
        try:
            await self._bus.put(BUCKET, key, record.raw, deadline=seconds)
        except BusUnavailableError as error:
            self._wait(key, record)
            _log.info("lease_waits_for_the_bus", key=key, reason=str(error))
            return False
        except BusError as error:
            _log.error("lease_refused_by_the_bus", key=key, reason=str(error))
        self._keep(key, record)
        return True

    def _offer(self, record: SignedRecord) -> None:
        self._wait(record.key, _Record(record.version, encode(record, self._signing_key, BUCKET)))

    def _wait(self, key: str, record: _Record) -> None:
        """Have a record published, unless a newer one waits or was published already."""
        known = (self._waiting.get(key, _NOTHING), self._latest.get(key, _NOTHING))
        if record.version >= max(each.version for each in known):
            self._waiting[key] = record
            self._wake.set()

    def _keep(self, key: str, record: _Record) -> None:
        """Remember what is out; what waits and is no newer need not be published."""
        if self._latest.get(key, _NOTHING).version < record.version:
            self._latest[key] = record
        if key in self._waiting and self._waiting[key].version <= record.version:
            del self._waiting[key]
