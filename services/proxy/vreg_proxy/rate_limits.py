"""What upstreams last said of their rate limits, and a word to the operator while there is time."""

from collections.abc import Callable
from typing import Final

import structlog

from vreg_shared.clock import Clock
from vreg_shared.messages.rate_limit import ObservedRateLimit
from vreg_shared.rate_limit import RateLimit

UNKNOWN_WINDOW_SECONDS: Final = 3600
"""For how long not to repeat ourselves about an upstream that names no window."""
_log = structlog.get_logger(__name__)


class RateLimits:
    """Keeps the latest of each upstream that was asked by this process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ears: dict[str, _Ear] = {}

    def listener(self, upstream_id: str) -> Callable[[RateLimit], None]:
        """Return who listens to a new client; what earlier ones heard was said to another credential."""
        self._ears[upstream_id] = ear = _Ear(upstream_id, self._clock)
        return ear.hear

    def latest(self, upstream_id: str) -> ObservedRateLimit | None:
        """Return what was heard last, None when nothing was."""
        ear = self._ears.get(upstream_id)
        return ear.latest if ear is not None else None


class _Ear:
    def __init__(self, upstream_id: str, clock: Clock) -> None:
        self.latest: ObservedRateLimit | None = None
        self._upstream_id = upstream_id
        self._clock = clock
        self._silent_until = float("-inf")

    def hear(self, rate_limit: RateLimit) -> None:
        """Take in what was said, and warn once a window when little is left."""
        self.latest = ObservedRateLimit(rate_limit=rate_limit, observed_at=self._clock.now())
        now = self._clock.monotonic()
        if not rate_limit.is_low or now < self._silent_until:
            return
        self._silent_until = now + (rate_limit.window_seconds or UNKNOWN_WINDOW_SECONDS)
        _log.warning(
            "rate_limit_low",
            upstream=self._upstream_id,
            remaining=rate_limit.remaining,
            limit=rate_limit.limit,
            window_seconds=rate_limit.window_seconds,
            source=rate_limit.source,
            remedy="let this upstream know an account, or a paid one; trust its tags for longer",
        )
