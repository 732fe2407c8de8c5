"""Upstreams that cannot be reached are left in peace for a moment, so that clients fail fast."""

from dataclasses import dataclass, replace
from typing import Final

from vreg_shared.clock import Clock
from vreg_shared.provider import Answer, Verdict

PEACE_SECONDS: Final = 5.0
"""Between two probes. An upstream that is back is heard of within that and the time of one answer."""
FAILURES: Final = 3
"""In a row: one reset is no outage."""
THROTTLED_SECONDS: Final = 5.0
"""For an upstream that throttles and does not say for how long."""
SHORTEST_THROTTLE_SECONDS: Final = 1.0
LONGEST_THROTTLE_SECONDS: Final = 60.0
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


@dataclass(frozen=True, slots=True)
class _Open:
    until: float
    verdict: Verdict


class Breaker:
    """Remembers by upstream that it did not answer. After a pause one request goes ahead as a probe.

    A probe that never returns holds up nobody: the next goes ahead one pause later. What fails meanwhile,
    begun before, does not put it off.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[str, _Open] = {}
        self._failures: dict[str, int] = {}

    def verdict(self, upstream_id: str) -> Verdict | None:
        """Return what to answer without asking; None when the caller may ask."""
        found = self._open.get(upstream_id)
        if found is None:
            return None
        left = found.until - self._clock.monotonic()
        if left > 0:
            return replace(found.verdict, retry_after=left)
        self._hold(upstream_id, PEACE_SECONDS, found.verdict)
        return None

    def heard(self, upstream_id: str, verdict: Verdict | None) -> None:
        """Take in an answer; None stands for the thing asked for."""
        if verdict is not None and _is_throttled(verdict):
            self._hold(upstream_id, _throttle(verdict), verdict)
        elif verdict is not None and _is_silence(verdict):
            self._failures[upstream_id] = failures = self._failures.get(upstream_id, 0) + 1
            if failures >= FAILURES and upstream_id not in self._open:
                self._hold(upstream_id, PEACE_SECONDS, verdict)
        else:
            self.forget(upstream_id)

    def forget(self, upstream_id: str) -> None:
        """Ask anew: it answered, or its record changed."""
        self._open.pop(upstream_id, None)
        self._failures.pop(upstream_id, None)

    def _hold(self, upstream_id: str, seconds: float, verdict: Verdict) -> None:
        """Keep everybody off for a while; a longer pause that the upstream asked for stays."""
        until = self._clock.monotonic() + seconds
        known = self._open.get(upstream_id)
        if known is None or known.until < until:
            self._open[upstream_id] = _Open(until, verdict)


def _is_throttled(verdict: Verdict) -> bool:
    return verdict.answer is Answer.UNAVAILABLE and verdict.reason == "throttled"


def _is_silence(verdict: Verdict) -> bool:
    return verdict.answer is Answer.UNAVAILABLE and verdict.reason in _SILENT


def _throttle(verdict: Verdict) -> float:
    """Return for how many seconds not to ask again; an upstream that throttles may say so itself."""
    asked = verdict.retry_after if verdict.retry_after is not None else THROTTLED_SECONDS
    return min(max(asked, SHORTEST_THROTTLE_SECONDS), LONGEST_THROTTLE_SECONDS)
