"""Who pulled what: counted as it happens, told to the api every second, and never in a pull's way.

Equal pulls of one second are one record with their number, so that a thousand pulls of one manifest cost a
thousand additions. While the bus is down the oldest records go, and how many went is told.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import structlog
from ulid import ULID

from vreg_proxy.cache import Hit
from vreg_shared.bus import BusError
from vreg_shared.clock import Clock
from vreg_shared.messages.pulls import MAX_PULLS, SUBJECT, Pull, PullBatch, What

BATCH_SECONDS: Final = 1.0
LAST_SECONDS: Final = 2.0
"""For the last batches, while the process ends."""
MOST_COUNTED: Final = 5000
"""Different pulls that are told apart within a second; more are dropped and counted."""
MOST_WAITING: Final = 40
"""Batches kept while the bus is down."""
_log = structlog.get_logger(__name__)


class Publishes(Protocol):
    """The part of the bus that is needed."""

    async def publish(self, subject: str, payload: bytes, *, message_id: str) -> None:
        """Store a message once for each id; raise a BusError."""
        ...


class Pulled(NamedTuple):
    """What two equal pulls have in common."""

    access_id: str | None
    registry_id: str
    repository: str
    reference: str
    digest: str
    what: What
    upstream_id: str
    hit: Hit


class NotesPulls(Protocol):
    """Who wants to know of pulls."""

    def pulled(self, pull: Pulled, size: int) -> None:
        """Take note of a whole answer of `size` bytes; neither waits nor raises."""
        ...


@dataclass(slots=True)
class _Count:
    time: datetime
    count: int = 0
    size: int = 0


class AccessLog:
    """Counts pulls and publishes them in batches."""

    def __init__(self, proxy: str, clock: Clock) -> None:
        self.dropped = 0
        """Pulls that could not be told of since the start."""
        self._proxy = proxy
        self._clock = clock
        self._counts: dict[Pulled, _Count] = {}
        self._waiting: deque[PullBatch] = deque()
        self._untold = 0

    def pulled(self, pull: Pulled, size: int) -> None:
        """Take note of a whole answer of `size` bytes; neither waits nor raises."""
        counted = self._counts.get(pull)
        if counted is None:
            if len(self._counts) >= MOST_COUNTED:
                self._drop(1)
                return
            counted = self._counts[pull] = _Count(self._clock.now())
        counted.count += 1
        counted.size += size

    async def run(self, bus: Publishes) -> None:
        """Publish every second until cancelled."""
        while True:
            await asyncio.sleep(BATCH_SECONDS)
            await self.publish(bus)

    async def publish_last(self, bus: Publishes) -> None:
        """Tell the rest, when no pull is under way any more and the bus still runs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self.publish(bus)
        if self._waiting:
            _log.info("pulls_not_told", batches=len(self._waiting))

    async def publish(self, bus: Publishes) -> None:
        """Tell what was counted; what the bus does not take waits for the next time."""
        self._collect()
        while self._waiting:
            batch = self._waiting[0]
            try:
                await bus.publish(SUBJECT, batch.model_dump_json().encode(), message_id=batch.id)
            except BusError as error:
                _log.debug("pulls_wait", reason=str(error), batches=len(self._waiting))
                return
            if self._waiting and self._waiting[0] is batch:
                self._waiting.popleft()

    def _collect(self) -> None:
        """Make batches of what was counted; the oldest go when too many wait."""
        counts, self._counts = self._counts, {}
        pulls = [self._record(pull, count) for pull, count in counts.items()]
        for start in range(0, len(pulls), MAX_PULLS):
            dropped, self._untold = self._untold, 0
            part = tuple(pulls[start : start + MAX_PULLS])
            self._waiting.append(PullBatch(id=str(ULID()), proxy=self._proxy, pulls=part, dropped=dropped))
        while len(self._waiting) > MOST_WAITING:
            lost = self._waiting.popleft()
            self._untold += lost.dropped
            self._drop(sum(pull.count for pull in lost.pulls))

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._untold += count

    @staticmethod
    def _record(pull: Pulled, count: _Count) -> Pull:
        return Pull(
            time=count.time,
            access_id=pull.access_id,
            registry_id=pull.registry_id,
            upstream_id=pull.upstream_id,
            repository=pull.repository,
            reference=pull.reference,
            digest=pull.digest,
            what=pull.what,
            hit=pull.hit.value,
            bytes=count.size,
            count=count.count,
        )
