"""Believing the bus: signed records only, higher versions only, and gone only when a tombstone says so."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from vreg_shared.bus import Entry
from vreg_shared.messages.record import RecordRejectedError, SignedRecord, decode
from vreg_shared.signing import VerifyingKey

Verify = Callable[[bytes, str], SignedRecord]
"""Reads what lay below a key; raises RecordRejectedError unless its writer put it there."""

OnRecord = Callable[[SignedRecord, bytes], Awaitable[None]]
"""Takes an accepted record and its bytes as they came; may raise RecordRejectedError for its body."""

_log = structlog.stdlib.get_logger()


class Follows(Protocol):
    """The part of the bus that is needed."""

    async def follow(
        self,
        bucket: str,
        key_filter: str,
        on_entry: Callable[[Entry], Awaitable[None]],
        on_synced: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Hand over every latest value and then each change, for ever."""
        ...


def signed_by(writer: VerifyingKey, bucket: str) -> Verify:
    """Return a `Verify` for records that `writer` put into `bucket`."""

    def verify(raw: bytes, key: str) -> SignedRecord:
        return decode(raw, writer, bucket, key)

    return verify


class RecordFollower:
    """Follows signed records of a bucket and hands on each that is newer than what was known of its key.

    A rejected entry is counted, logged once, and changes nothing: the last good record stays. A record
    missing from the bus means nothing. A tombstone is handed on with `deleted` set, and its version is
    remembered, so that an older record cannot bring the key back.
    """

    def __init__(  # noqa: PLR0913 - what to follow, whom to believe and whom to tell
        self,
        bus: Follows,
        bucket: str,
        key_filter: str,
        *,
        verify: Verify,
        on_record: OnRecord,
        on_synced: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.rejected = 0
        """How many entries were refused since the start; anything but 0 deserves an alarm."""
        self._bus = bus
        self._bucket = bucket
        self._key_filter = key_filter
        self._verify = verify
        self._on_record = on_record
        self._on_synced = on_synced
        self._synced = asyncio.Event()
        self._versions: dict[str, int] = {}
        self._settled: dict[str, bytes] = {}

    @property
    def is_synced(self) -> bool:
        """Whether a whole snapshot of the bus has been handed on since the start."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Return once a whole snapshot of the bus has been handed on."""
        await self._synced.wait()

    def version(self, key: str) -> int:
        """Return the highest version accepted for `key`, tombstones included; 0 if none."""
        return self._versions.get(key, 0)

    async def restore(self, key: str, raw: bytes) -> bool:
        """Take a record kept on disk as if it came from the bus; return whether it was accepted.

        Call it before `run`. It trusts the disk no more than the bus.
        """
        return await self._take(key, raw, origin="disk")

    async def run(self) -> None:
        """Follow for ever; raises only BusPermissionError and what `on_record` itself raises."""
        await self._bus.follow(self._bucket, self._key_filter, self._receive, self._receive_synced)

    async def _receive(self, entry: Entry) -> None:
        await self._take(entry.key, entry.value, origin="bus")

    async def _receive_synced(self) -> None:
        self._synced.set()
        if self._on_synced is not None:
            await self._on_synced()

    async def _take(self, key: str, raw: bytes, origin: str) -> bool:
        digest = hashlib.sha256(raw).digest()
        if self._settled.get(key) == digest:
            return False  # every snapshot brings what is known already, good or bad
        try:
            accepted = await self._accept(key, raw)
        except RecordRejectedError as error:
            accepted = False
            self.rejected += 1
            _log.error("record rejected", bucket=self._bucket, key=key, origin=origin, reason=str(error))
        self._settled[key] = digest
        return accepted

    async def _accept(self, key: str, raw: bytes) -> bool:
        record = self._verify(raw, key)
        if record.version <= self.version(key):
            return False
        await self._on_record(record, raw)
        self._versions[key] = record.version
        return True
