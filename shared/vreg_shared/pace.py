"""How fast a cloud lets something be asked: no second sees more starts of one quota than it permits."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `per_second` starts in any second, of all that name the same quota."""

    quota: str
    per_second: int


class Paces:
    """Remembers the last starts of each quota. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._starts: dict[str, deque[float]] = {}

    def delay(self, pace: Pace, now: float) -> float:
        """Return seconds until a start may be made, 0 if it may be made now."""
        starts = self._starts.get(pace.quota) or deque()
        return 0.0 if len(starts) < pace.per_second else max(starts[0] + 1.0 - now, 0.0)

    def started(self, pace: Pace, now: float) -> None:
        """Count a start."""
        self._starts.setdefault(pace.quota, deque(maxlen=pace.per_second)).append(now)
