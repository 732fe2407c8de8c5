"""The emulated clouds' clock: the machine's, moved by an offset that a test chooses."""

import time
from dataclasses import dataclass


@dataclass
class CloudClock:
    """`offset` is in seconds; positive means that the clouds are ahead of their clients."""

    offset: float = 0.0

    def now(self) -> float:
        """Return seconds since the epoch, as the clouds see them."""
        return time.time() + self.offset
