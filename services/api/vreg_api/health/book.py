"""The latest health of every upstream, as this process heard it on the bus, and who waits for news."""

import asyncio
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from vreg_shared.messages.health import HealthRecord
from vreg_shared.messages.record import RecordRejectedError, SignedRecord

_KEPT_NEWS: Final = 1000


class HealthBook:
    """Kept in memory: the bus brings it again after a start."""

    def __init__(self) -> None:
        self._records: dict[str, HealthRecord] = {}
        self._news: list[HealthRecord] = []
        self._forgotten = 0
        self._changed = asyncio.Event()

    def adopt(self, record: SignedRecord) -> HealthRecord | None:
        """Take in a verified record; return it if its state or reason is news. Raises RecordRejectedError."""
        upstream_id = record.key.partition(".")[2]
        if record.deleted:
            self._records.pop(upstream_id, None)
            return None
        try:
            heard = HealthRecord.model_validate_json(record.body)
        except ValidationError as error:
            raise RecordRejectedError("the health record cannot be read; is the broker newer?") from error
        before = self._records.get(upstream_id)
        self._records[upstream_id] = heard
        if before is not None and (before.state, before.reason) == (heard.state, heard.reason):
            return None
        self._tell(heard)
        return heard

    def record(self, upstream_id: str) -> HealthRecord | None:
        """Return an upstream's health; None when nobody has told it."""
        return self._records.get(upstream_id)

    def records(self) -> Mapping[str, HealthRecord]:
        """Return everything that is known, by upstream."""
        return dict(self._records)

    @property
    def position(self) -> int:
        """Where news begins for who has read everything so far."""
        return self._forgotten + len(self._news)

    async def news_after(self, position: int) -> tuple[int, list[HealthRecord]]:
        """Wait for changes after a position; return where they end, and those that are still kept."""
        while self.position <= position:
            await self._changed.wait()
        return self.position, self._news[max(0, position - self._forgotten) :]

    def _tell(self, record: HealthRecord) -> None:
        self._news.append(record)
        if len(self._news) > _KEPT_NEWS:
            del self._news[: _KEPT_NEWS // 2]
            self._forgotten += _KEPT_NEWS // 2
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
