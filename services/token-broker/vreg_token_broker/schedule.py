"""When to refresh and how long to wait: pure, from lives of three seconds to twelve hours."""

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

REFRESH_FRACTION: Final = 0.5
JITTER: Final = 0.1
UNAVAILABLE_BASE_SECONDS: Final = 0.4
UNAVAILABLE_CAP_SECONDS: Final = 15.0
REFUSED_BASE_SECONDS: Final = 60.0
REFUSED_CAP_SECONDS: Final = 300.0
FAILURES_PER_MINUTE: Final = 10
FORCED_BASE_SECONDS: Final = 3.0
FORCED_CAP_SECONDS: Final = 60.0
_MINUTE: Final = 60.0
_MOST_DOUBLINGS: Final = 16


def refresh_after(scope: str, life: timedelta) -> timedelta:
    """Return how long after its issue a lease is refreshed: half its life, give or take a tenth of that.

    The same scope always gets the same share, so leases issued together drift apart and stay apart, and a
    failed refresh leaves at least 45 % of the life to mend it, however short that is.
    """
    return life * (REFRESH_FRACTION * (1 + JITTER * _spread(scope)))


def unavailable_delay(failures: int, chance: float, retry_after: float | None = None) -> float:
    """Return seconds until the next try after `failures` in a row; `chance` is uniform in [0, 1).

    Full jitter on a doubling that is capped; never sooner than the cloud asked for, if it named a time
    of at most the refused cap.
    """
    ceiling = _doubled(UNAVAILABLE_BASE_SECONDS, failures, UNAVAILABLE_CAP_SECONDS)
    return max(chance * ceiling, min(retry_after or 0.0, REFUSED_CAP_SECONDS))


def refused_delay(failures: int, chance: float) -> float:
    """Return seconds until a refusal is tested again: a minute, growing to five, less up to a tenth."""
    return _doubled(REFUSED_BASE_SECONDS, failures, REFUSED_CAP_SECONDS) * (1 - JITTER * chance)


def forced_gap(previous_gap: float, since_previous: float) -> float:
    """Return seconds that must lie between two exchanges forced by refused leases.

    It doubles while fresh leases go on being refused, since then the lease is not what is wrong.
    """
    if since_previous > _MINUTE:
        return FORCED_BASE_SECONDS
    return min(max(previous_gap, FORCED_BASE_SECONDS / 2) * 2, FORCED_CAP_SECONDS)


def calm(failed_at: Sequence[float], due: float) -> float:
    """Return `due`, or later: so that no minute sees more than FAILURES_PER_MINUTE tries that failed.

    All are monotonic seconds, `failed_at` ascending.
    """
    if len(failed_at) < FAILURES_PER_MINUTE:
        return due
    return max(due, failed_at[-FAILURES_PER_MINUTE] + _MINUTE)


def _doubled(base: float, failures: int, cap: float) -> float:
    return min(cap, base * 2.0 ** min(max(failures - 1, 0), _MOST_DOUBLINGS))


def _spread(scope: str) -> float:
    """Return a number in [-1, 1] that is always the same for a scope."""
    raw = int.from_bytes(hashlib.sha256(scope.encode()).digest()[:8])
    return raw / (2**64 - 1) * 2 - 1
