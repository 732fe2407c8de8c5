"""Upstreams that cannot be reached are left in peace for a moment, so that clients fail fast."""

from typing import Final

from vreg_shared.clock import Clock
from vreg_shared.provider import Answer, Verdict

PEACE_SECONDS: Final = 2.0
FAILURES: Final = 3
"""In a row: one reset is no outage."""
LONGEST_PEACE_SECONDS: Final = 60.0
_SILENT: Final = frozenset(
    {
        "timeout",
        "connection_refused",
        "connection_failed",
        "dns_failed",
        "tls_failed",
        "proxy_unreachable",
    }
)


class Breaker:
    """Remembers by upstream that it did not answer. After the pause one request goes ahead as a probe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, tuple[float, Verdict]] = {}
        self._failures: dict[str, int] = {}

    def verdict(self, upstream_id: str) -> Verdict | None:
        """Return what to answer without asking; None when the caller may ask."""
        until, verdict = self._open.get(upstream_id, (0.0, None))
        if verdict is None:
            return None
        now = self._clock.monotonic()
        if now < until:
            return verdict
        self._open[upstream_id] = (now + PEACE_SECONDS, verdict)
        return None

    def heard(self, upstream_id: str, verdict: Verdict | None) -> None:
        """Take in an answer; None stands for the thing asked for."""
        pause = _pause(verdict) if verdict is not None else 0.0
        if verdict is None or not pause:
            self._open.pop(upstream_id, None)
            self._failures.pop(upstream_id, None)
            return
        self._failures[upstream_id] = failures = self._failures.get(upstream_id, 0) + 1
        if failures >= FAILURES or verdict.reason == "throttled":
            self._open[upstream_id] = (self._clock.monotonic() + pause, verdict)

    def clear(self) -> None:
        """Forget everything: the configuration changed."""
        self._open.clear()
        self._failures.clear()


def _pause(verdict: Verdict) -> float:
    """Return for how many seconds not to ask again; an upstream that throttles says so itself."""
    if verdict.answer is not Answer.UNAVAILABLE:
        return 0.0
    if verdict.reason == "throttled" and verdict.retry_after is not None:
        return min(verdict.retry_after, LONGEST_PEACE_SECONDS)
    return PEACE_SECONDS if verdict.reason in _SILENT else 0.0
