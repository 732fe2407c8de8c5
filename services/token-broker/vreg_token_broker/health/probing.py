"""When to look at an upstream again: regularly and spread out, and soon while something is wrong. Pure."""

import hashlib
from datetime import timedelta
from typing import Final

from vreg_token_broker.health.state import Contact

SUSPECT_SECONDS: Final = 15.0
"""Between looks while it fails, or has just failed: recovery should be noticed as soon as failure."""
RECOVERING_SECONDS: Final = 3.0
"""Between looks once an ill upstream has answered well: one more and it is well again."""
JITTER: Final = 0.2


def next_look(upstream_id: str, contact: Contact, interval: timedelta) -> timedelta:
    """Return how long after one look the next is due; each upstream has its own share of the jitter."""
    usual = interval.total_seconds()
    if contact.is_bad and contact.successes:
        usual = RECOVERING_SECONDS
    elif contact.is_bad or contact.failures:
        usual = SUSPECT_SECONDS
    return timedelta(seconds=usual * (1 + JITTER * _spread(upstream_id)))


def first_look(upstream_id: str, interval: timedelta) -> timedelta:
    """Return how long after the start the first look is due, so that many are not looked at together."""
    within = min(interval.total_seconds(), 60.0)
    return timedelta(seconds=within * (_spread(upstream_id) + 1) / 2)


def _spread(upstream_id: str) -> float:
    """Return a number in [-1, 1] that is always the same for an upstream."""
    raw = int.from_bytes(hashlib.sha256(b"look/" + upstream_id.encode()).digest()[:8])
    return raw / (2**64 - 1) * 2 - 1
