"""Leases as the broker signed and sealed them, opened in memory alone, found by their scope."""

import asyncio
import math

from pydantic import ValidationError

from vreg_shared.clock import Clock
from vreg_shared.lease import Generation, InvalidGenerationError, Lease, LeaseNeed
from vreg_shared.messages.lease import LeaseRecord, key_of, open_lease
from vreg_shared.messages.record import RecordRejectedError, SignedRecord
from vreg_shared.sealing import SealBrokenError, SealingKey


class LeaseCache:
    """Adopts a lease when it is for its key, not older than the kept one, not ended, and sealed for us.

    When a lease ends is reckoned once, as it comes: a wall clock that is set afterwards ends none. One that
    is used too long, by a machine that slept, is rejected by its registry and replaced as any other.
    """

    def __init__(self, sealing_key: SealingKey, clock: Clock) -> None:
        self._sealing_key = sealing_key
        self._clock = clock
        self._kept: dict[str, Lease] = {}
        self._ends_at: dict[str, float] = {}
        self._changed = asyncio.Event()

    def adopt(self, record: SignedRecord) -> None:
        """Take in a verified record; raise RecordRejectedError when its lease must not be used.

        One that has ended is left alone: it does no harm, and the broker makes another.
        """
        if record.deleted:
            self._kept.pop(record.key, None)
            self._ends_at.pop(record.key, None)
            return
        try:
            header = LeaseRecord.model_validate_json(record.body)
            self._check(record.key, header)
            seconds = self._seconds_left(header)
            if seconds <= 0:
                return
            self._kept[record.key] = open_lease(header, self._sealing_key)
            self._ends_at[record.key] = self._clock.monotonic() + seconds
        except ValidationError as error:
            raise RecordRejectedError("the lease cannot be read") from error
        except (InvalidGenerationError, SealBrokenError) as error:
            raise RecordRejectedError(str(error)) from error
        self._announce()

    def get(self, scope: str) -> Lease | None:
        """Return the newest lease of a scope, even when it has ended."""
        return self._kept.get(key_of(scope))

    async def newer(self, scope: str, than: Generation | None, need: LeaseNeed) -> Lease:
        """Wait for a usable lease that meets `need` and is newer; the caller sets the deadline."""
        while True:
            changed = self._changed
            lease = self.get(scope)
            if lease is not None and self.serves(lease, than, need):
                return lease
            await changed.wait()

    def serves(self, lease: Lease, refused: Generation | None, need: LeaseNeed) -> bool:
        """Whether a lease meets `need` now and is not the refused one or older."""
        newer = refused is None or lease.generation > refused
        return newer and lease.meets(need) and self.is_usable(lease)

    def is_usable(self, lease: Lease) -> bool:
        """Whether a kept lease has not ended by its own account."""
        return self._clock.monotonic() < self._ends_at.get(key_of(lease.scope), -math.inf)

    def _seconds_left(self, header: LeaseRecord) -> float:
        if header.not_after is None:
            return math.inf
        return (header.not_after - self._clock.now()).total_seconds()

    def _check(self, key: str, header: LeaseRecord) -> None:
        if key_of(header.scope) != key:
            raise RecordRejectedError("the lease is of another scope")
        kept = self._kept.get(key)
        if kept is not None and Generation.parse(header.generation) < kept.generation:
            raise RecordRejectedError("the lease is of an older generation")

    def _announce(self) -> None:
        """Wake all who wait; whoever comes next waits for the next change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
