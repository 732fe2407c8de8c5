"""The age of leases: a hybrid clock that starts above whatever was handed out before, by us or by anybody."""

from datetime import datetime, timedelta
from typing import Final

from vreg_shared.clock import Clock
from vreg_shared.lease import Generation

BELIEVABLE_AHEAD: Final = timedelta(days=1)
"""How far ahead of our clock a generation named by a proxy may be before it is taken for nonsense."""


class Generations:
    """Gives out generations, each higher than all given out, read from the bus or named by a proxy."""

    def __init__(self, broker: str, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._highest_ms = 0
        self._identity_versions: dict[str, int] = {}

    def next(self, scope: str, identity_version: int) -> Generation:
        """Return the next generation of a scope."""
        version = max(identity_version, self._identity_versions.get(scope, 0))
        self._identity_versions[scope] = version
        return Generation(version, self.next_instant(), self._broker)

    def next_instant(self) -> int:
        """Return milliseconds since 1970, or more when that was given out already."""
        self._highest_ms = max(_milliseconds(self._clock.now()), self._highest_ms + 1)
        return self._highest_ms

    def found(self, scope: str, generation: Generation) -> None:
        """Take note of what a broker signed."""
        self._highest_ms = max(self._highest_ms, generation.instant_ms)
        known = self._identity_versions.get(scope, 0)
        self._identity_versions[scope] = max(known, generation.identity_version)

    def found_instant(self, instant_ms: int) -> None:
        """Take note of a signed record's version, which is an instant."""
        self._highest_ms = max(self._highest_ms, instant_ms)

    def named(self, scope: str, generation: Generation) -> None:
        """Take note of what a proxy says it holds, unless nobody can have given it out yet."""
        if generation.instant_ms <= _milliseconds(self._clock.now() + BELIEVABLE_AHEAD):
            self.found(scope, generation)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
