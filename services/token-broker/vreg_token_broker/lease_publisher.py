"""Puts leases on the bus: signed, sealed to the proxies, and again whenever the bus may have lost them."""

import asyncio
from typing import Final, Protocol

import structlog

from vreg_shared.bus import BusError, BusUnavailableError
from vreg_shared.lease import Lease
from vreg_shared.messages.lease import BUCKET, key_of, seal_lease
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.sealing import SealingPublicKey
from vreg_shared.signing import SigningKey

RETRY_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)


class Puts(Protocol):
    """The part of the bus that is needed."""

    async def put(self, bucket: str, key: str, value: bytes) -> None:
        """Store a value; raise a BusError."""
        ...


class Leads(Protocol):
    """Whether this broker is the active one."""

    @property
    def is_leading(self) -> bool:
        """Whether leases may be published now."""
        ...


class LeasePublisher:
    """Keeps the latest record of every scope, whoever wrote it, and sees to it that the bus holds it.

    Only the leader puts anything there: another's records are newer than what it has not yet published.
    """

    def __init__(self, bus: Puts, signing_key: SigningKey, proxies: SealingPublicKey, leads: Leads) -> None:
        self._bus = bus
        self._signing_key = signing_key
        self._proxies = proxies
        self._leads = leads
        self._versions: dict[str, int] = {}
        self._latest: dict[str, bytes] = {}
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()

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
        """Take note of a record that is on the bus; a newer one replaces what waits to be published."""
        if version > self._versions.get(key, 0):
            self._versions[key], self._latest[key] = version, raw
            self._waiting.pop(key, None)

    def repeat(self, scope: str) -> None:
        """Put the latest record of a scope on the bus again."""
        if key_of(scope) in self._latest:
            self._waiting[key_of(scope)] = None
            self._wake.set()

    async def repeat_all(self) -> None:
        """Put everything on the bus again: it was gone, and may have lost its store."""
        self._waiting.update(dict.fromkeys(self._latest))
        self._wake.set()

    async def run(self) -> None:
        """Publish for ever, the oldest first; what cannot be stored now is tried again."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not await self._drain():
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()

    async def _drain(self) -> bool:
        while self._waiting:
            if not self._leads.is_leading:
                return False
            key = next(iter(self._waiting))
            del self._waiting[key]
            try:
                await self._bus.put(BUCKET, key, self._latest[key])
            except BusUnavailableError as error:
                self._waiting[key] = None
                _log.info("lease_waits_for_the_bus", key=key, reason=str(error))
                return False
            except BusError as error:
                _log.error("lease_refused_by_the_bus", key=key, reason=str(error))
        return True

    def _offer(self, record: SignedRecord) -> None:
        self._versions[record.key] = record.version
        self._latest[record.key] = encode(record, self._signing_key, BUCKET)
        self._waiting[record.key] = None
        self._wake.set()
