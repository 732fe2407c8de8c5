"""How long to wait before starting a process again: doubling with full jitter, to a cap, for ever."""

import random
from dataclasses import dataclass

_FIRST_SECONDS = 0.5
_CAP_SECONDS = 30.0
_STABLE_SECONDS = 60.0


@dataclass(slots=True)
class RestartDelays:
    """One process's patience; it starts afresh once the process has run for a minute."""

    failures: int = 0

    def after(self, ran_for: float) -> float:
        """Return seconds to wait after a process ended that had run for `ran_for` seconds."""
        if ran_for >= _STABLE_SECONDS:
            self.failures = 0
        longest = min(_CAP_SECONDS, _FIRST_SECONDS * 2**self.failures)
        self.failures = min(self.failures + 1, 16)
        return random.uniform(0, longest)  # noqa: S311 - spreads load, guards nothing
