"""How much the cache may keep, and for how long: decided purely, from what is there now."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

KEEP_FREE: Final = 256 * 1024 * 1024
SCRUB_RATE: Final = 8 * 1024 * 1024
SLACK: Final = 20
"""One part in so many is freed beyond what is needed, so that the next blob does not need it again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows, in bytes.

    `keep_free` is left on the disk for everything else: what was unused longest goes before the cache touches
    it, and new blobs are passed through when nothing is left to go. `size` None means as much as that allows;
    `max_idle` None means for ever. `scrub_rate` is in bytes a second, and 0 is never.
    """

    size: int | None = None
    keep_free: int = KEEP_FREE
    max_idle: timedelta | None = None
    scrub_rate: int = 0

    def surplus(self, kept: int, free: int | None) -> int:
        """Return how many bytes have to go, with some slack; `free` None: the disk could not say.

        When all we keep would not be enough room, others fill the disk, and giving it up helps nobody.
        """
        over = 0 if self.size is None else kept - self.size
        short = 0 if free is None else self.keep_free - free
        short = 0 if short > kept else short
        needed = max(over, short)
        return needed + min(kept, self.size or kept) // SLACK if needed > 0 else 0

    def may_ever_hold(self, size: int) -> bool:
        """Whether one blob of this size fits in at all."""
        return self.size is None or size <= self.size

    def idle_since(self, now: datetime) -> int | None:
        """Return the Unix second before which the last use was too long ago."""
        return int((now - self.max_idle).timestamp()) if self.max_idle is not None else None
