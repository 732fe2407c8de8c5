"""How fast a cloud lets something be asked: no second sees more starts of one quota than it permits."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `per_second` starts in any second, of all that name the same quota."""

    quota: str
    per_second: int


class Paces:
    """Remembers the last starts of each quota."""

    def __init__(self) -> None:
        self._starts: dict[str, deque[float]] = {}

    def delay(self, pace: Pace | None, now: float) -> float:
        """Return seconds until a start may be made, and count it as made then; `now` is monotonic."""
        if pace is None:
            return 0.0
        starts = self._starts.setdefault(pace.quota, deque(maxlen=pace.per_second))
        start = now if len(starts) < pace.per_second else max(now, starts[0] + 1.0)
        starts.append(start)
        return start - now
