"""When access tokens were last used, to the minute: noted in memory, written in one go now and then."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from vreg_api.access.store import AccessStore
from vreg_api.store.database import ConflictError, Database, DatabaseUnavailableError
from vreg_shared.clock import Clock

WRITE_SECONDS: Final = 60.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUses:
    """Holds one time for each token that was used since the last writing; a crash loses no more."""

    database: Database
    store: AccessStore
    clock: Clock
    _noted: dict[str, datetime] = field(default_factory=dict)

    def used(self, access_id: str) -> None:
        """Note that a proved token is used now."""
        self._noted[access_id] = self.clock.now().replace(second=0, microsecond=0)

    async def run(self) -> None:
        """Write for ever, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await self.write()
        finally:
            await self.write()

    async def write(self) -> None:
        """Write what was noted; what cannot be written now waits for the next time."""
        if not self._noted:
            return
        noted = dict(self._noted)
        try:
            async with self.database.write(is_news=False) as tx:
                await self.store.write_last_uses(tx, noted)
        except (DatabaseUnavailableError, ConflictError) as error:
            _log.warning("last_uses_wait", tokens=len(noted), reason=str(error))
            return
        for access_id, at in noted.items():
            if self._noted[access_id] == at:
                del self._noted[access_id]
