"""From the database to the bus: every change as it is made, and everything whenever the bus may have lost it.

The bus hears the *current* record of whatever the outbox names, so changes may be told twice or late but
never wrongly: readers take higher versions only.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from vreg_api.records import UnknownKeyError
from vreg_api.store.database import ConflictError, DatabaseUnavailableError
from vreg_api.store.outbox import NO_RECORD, Waiting
from vreg_shared.bus import BusError, BusHinderedError, BusUnavailableError
from vreg_shared.bus.backoff import delays
from vreg_shared.messages.audit import AuditEvent
from vreg_shared.messages.record import SignedRecord, encode
from vreg_shared.signing import SigningKey

POLL_SECONDS: Final = 2.0
"""How soon we notice what another api process committed and did not live to tell."""
_BATCH: Final = 100
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 15.0
_log = structlog.get_logger(__name__)


class RecordBus(Protocol):
    """The part of the bus that is needed."""

    async def wait_connected(self) -> None:
        """Return once the bus is there."""
        ...

    def on_connected(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call after every connection."""
        ...

    async def put(self, bucket: str, key: str, value: bytes) -> None:
        """Store a value; raise BusError."""
        ...

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Store a message; raise BusError."""
        ...


class WaitingChanges(Protocol):
    """The outbox."""

    async def waiting(self, after: int, limit: int) -> list[Waiting]:
        """Return the oldest changes above `after`."""
        ...

    async def remove(self, waiting: Waiting) -> None:
        """Forget a change."""
        ...


class CurrentRecords(Protocol):
    """What the database holds now."""

    def bucket(self, key: str) -> str:
        """Return where the record of `key` belongs."""
        ...

    async def current(self, key: str) -> SignedRecord:
        """Return the record or tombstone of `key`."""
        ...

    async def keys(self) -> list[str]:
        """Return every key."""
        ...


class Relay:
    """Publishes until cancelled. Any number may run: what they do is idempotent."""

    def __init__(
        self, bus: RecordBus, outbox: WaitingChanges, records: CurrentRecords, signing_key: SigningKey
    ) -> None:
        self._bus = bus
        self._outbox = outbox
        self._records = records
        self._signing_key = signing_key
        self._woken = asyncio.Event()
        self._must_reconcile = True
        self._to_reconcile: deque[str] = deque()
        self._hindered: list[str] = []
        """Records that the bus could not take when everything was told."""

    def wake(self) -> None:
        """Say that something was committed."""
        self._woken.set()

    async def run(self) -> None:
        """Relay for ever; failures of bus and database are waited out."""
        self._bus.on_connected(self._reconnected)
        waits = delays(_FIRST_DELAY, _LONGEST_DELAY)
        while True:
            await self._bus.wait_connected()
            self._woken.clear()
            try:
                is_all_told = await self._drain()
                if not await self._reconcile_some():
                    continue  # new changes are told between its parts
            except (BusUnavailableError, DatabaseUnavailableError, ConflictError) as error:
                _log.warning("relay_waits", reason=str(error))
                is_all_told = False
            if is_all_told:
                waits = delays(_FIRST_DELAY, _LONGEST_DELAY)
            await self._rest(POLL_SECONDS if is_all_told else next(waits))

    async def _reconnected(self) -> None:
        """Tell the bus everything, for it may have lost anything."""
        self._must_reconcile = True
        self.wake()

    async def _rest(self, seconds: float) -> None:
        """Wait for a commit or a connection, but not longer."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _drain(self) -> bool:
        """Tell of every change that waits; return whether the bus took all of them.

        What is not taken waits, and what was changed after it of the same record, but nothing else.
        """
        after, is_all_told = 0, True
        held: set[str] = set()
        while batch := await self._outbox.waiting(after, _BATCH):
            for change in batch:
                if change.key not in held and await self._is_told(change):
                    await self._outbox.remove(change)
                    continue
                is_all_told = False
                if change.key != NO_RECORD:
                    held.add(change.key)
            after = batch[-1].id
        return is_all_told

    async def _is_told(self, change: Waiting) -> bool:
        """Publish a change; one that the bus will not take must not hold up the others."""
        try:
            if change.key != NO_RECORD:
                await self._publish_current(change.key)
            event = AuditEvent.model_validate_json(change.event)
            await self._bus.publish(event.bus_subject, change.event.encode(), message_id=event.id)
        except BusHinderedError as error:
            _log.error("change_waits", key=change.key, reason=str(error))
            return False
        except BusUnavailableError:
            raise
        except (BusError, UnknownKeyError) as error:
            _log.error("change_not_published", key=change.key, reason=str(error))
            return False
        return True

    async def _reconcile_some(self) -> bool:
        """Tell a part of everything, so that new changes need not wait long; return whether all is told."""
        if self._must_reconcile:
            keys = await self._records.keys()
            self._must_reconcile = False
            self._to_reconcile = deque(keys)
            _log.info("reconciling", records=len(keys))
        for _ in range(min(_BATCH, len(self._to_reconcile))):
            try:
                await self._publish_current(self._to_reconcile[0])
            except BusHinderedError as error:
                _log.error("record_waits", key=self._to_reconcile[0], reason=str(error))
                self._hindered.append(self._to_reconcile[0])
            except BusUnavailableError:
                raise
            except (BusError, UnknownKeyError) as error:
                _log.error("record_not_published", key=self._to_reconcile[0], reason=str(error))
            self._to_reconcile.popleft()
        if self._to_reconcile or self._must_reconcile:
            return False
        self._to_reconcile.extend(self._hindered)  # for the next time
        self._hindered.clear()
        return True

    async def _publish_current(self, key: str) -> None:
        """Publish a record, and again if it was changed meanwhile.

        Another api process may have published the newer one before our older one arrived.
        """
        bucket = self._records.bucket(key)
        record = await self._records.current(key)
        while True:
            await self._bus.put(bucket, key, encode(record, self._signing_key, bucket))
            now = await self._records.current(key)
            if now.version == record.version:
                return
            record = now
