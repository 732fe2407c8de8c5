"""Signed records on their way from the bus to a cache and to the disk, and from the disk back at start."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from vreg_proxy.record_files import RecordFiles
from vreg_shared.bus import BusPermissionError
from vreg_shared.messages.record import SignedRecord
from vreg_shared.record_follower import Follows, RecordFollower, signed_by
from vreg_shared.signing import VerifyingKey

REFUSED_SECONDS: Final = 30.0
ALL_KEYS: Final = ">"
_log = structlog.get_logger(__name__)


class Adopts(Protocol):
    """A cache of verified records."""

    def adopt(self, record: SignedRecord) -> None:
        """Take in a record; raise RecordRejectedError."""
        ...


class Following:
    """One bucket: verified, adopted, told of, and kept on disk verbatim."""

    def __init__(  # noqa: PLR0913 - one bucket has this many sides
        self,
        *,
        bus: Follows,
        bucket: str,
        writer: VerifyingKey,
        cache: Adopts,
        files: RecordFiles,
        on_change: Callable[[SignedRecord], None],
    ) -> None:
        self._bucket = bucket
        self._cache = cache
        self._files = files
        self._on_change = on_change
        self._restoring = False
        self._was_whole = False
        self._follower = RecordFollower(
            bus,
            bucket,
            ALL_KEYS,
            verify=signed_by(writer, bucket),
            on_record=self._take,
            on_synced=self._keep_whole,
        )

    @property
    def is_synced(self) -> bool:
        """Whether a whole snapshot of the bus has been handed on since the start."""
        return self._follower.is_synced

    @property
    def is_whole(self) -> bool:
        """Whether everything is here as it was at some time, from the disk or from the bus, be it nothing."""
        return self._was_whole or self.is_synced

    async def restore(self) -> int:
        """Take what lies on disk, with the bus's own suspicion; return how many records were accepted."""
        self._restoring = True
        try:
            self._was_whole = self._files.is_whole
            kept = await asyncio.to_thread(lambda: list(self._files.all()))
            return sum([await self._follower.restore(key, raw) for key, raw in kept])
        finally:
            self._restoring = False

    async def run(self) -> None:
        """Follow for ever. A bus that forbids it is asked again: its grants may be mended while we serve."""
        while True:
            try:
                await self._follower.run()
            except BusPermissionError as error:
                _log.error("bus_refuses_records", bucket=self._bucket, reason=str(error))
            await asyncio.sleep(REFUSED_SECONDS)

    async def _take(self, record: SignedRecord, raw: bytes) -> None:
        self._cache.adopt(record)
        self._on_change(record)
        if self._restoring:
            return
        try:
            await asyncio.to_thread(self._files.keep, record.key, record.version, raw)
        except OSError as error:
            _log.warning("record_not_kept", key=record.key, reason=error.strerror)

    async def _keep_whole(self) -> None:
        try:
            await asyncio.to_thread(self._files.mark_whole)
        except OSError as error:
            _log.warning("records_not_kept", bucket=self._bucket, reason=error.strerror)
