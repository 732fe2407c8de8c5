"""How leases stand, as health sees them: their times, and why the last refresh failed. Nothing secret."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from vreg_shared.clock import Clock
from vreg_shared.messages.health import TokenLife
from vreg_shared.messages.upstream import UpstreamRecord
from vreg_token_broker.exchange import Refused
from vreg_token_broker.health.state import Token
from vreg_token_broker.keeper import Standing


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """One lease: what it means for health, and the times that people are shown."""

    token: Token
    life: TokenLife


class Stands(Protocol):
    """Who keeps leases."""

    def standing(self, upstream: UpstreamRecord) -> Standing | Refused | None:
        """Return how an upstream's lease stands, or why there can be none; None for one without identity."""
        ...


class Leases:
    """Reads the keepers' standing."""

    def __init__(self, stands: Stands, clock: Clock) -> None:
        self._stands = stands
        self._clock = clock

    def status(self, upstream: UpstreamRecord) -> LeaseStatus | None:
        """Return how an upstream's lease stands; None for one without identity."""
        standing = self._stands.standing(upstream)
        if standing is None:
            return None
        if isinstance(standing, Refused):
            return LeaseStatus(Token(failure=standing), TokenLife())
        return _status(standing, self._clock.now())


def _status(standing: Standing, now: datetime) -> LeaseStatus:
    lease, wait = standing.lease, standing.seconds_left
    token = Token(
        not_after=lease.not_after if lease is not None else None,
        is_usable=lease is not None and lease.is_usable(now),
        failure=standing.failure,
    )
    life = TokenLife(
        issued_at=lease.issued_at if lease is not None else None,
        refresh_at=lease.refresh_at if lease is not None else None,
        not_after=token.not_after,
        next_try_at=now + timedelta(seconds=wait) if wait is not None else None,
        failures=standing.failures,
    )
    return LeaseStatus(token, life)
